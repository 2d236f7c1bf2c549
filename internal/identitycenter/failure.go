package identitycenter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"entra-aws-exporter/internal/model"
)

// operation is one kind of call, as its errors name it.
type operation struct {
	doing   string // "listing the SCIM tokens of corp"
	action  string // the IAM action that allows it
	instead string // for an undocumented API: the documented way, if the API should have changed
}

const permissionsPage = "see deploy/permissions/aws.md"

var (
	actionPattern = regexp.MustCompile(`not authorized to perform:? ([a-z0-9-]+:[A-Za-z*]+)`)
	kmsPattern    = regexp.MustCompile(`kms:[A-Z]|KMS[ _]|\bKMS\b`)
)

// failed classifies an error of the SDK, of the console's API or of the network: the
// one place that decides a reason. It returns nil for nil.
func (o operation) failed(err error) error {
	if err == nil {
		return nil
	}
	failure := &model.Error{Op: o.doing, Err: err}
	var answer *smithyhttp.ResponseError
	if errors.As(err, &answer) && answer.Response != nil && answer.Response.Response != nil {
		failure.Status = answer.Response.StatusCode
	}
	var known *model.Error
	var signIn *signInError
	var refusal smithy.APIError
	switch {
	case errors.As(err, &known):
		o.adopt(failure, known)
	case errors.As(err, &signIn):
		o.notSignedIn(failure, signIn)
	case errors.As(err, &refusal) && refusal.ErrorCode() != "" && refusal.ErrorCode() != "UnknownError":
		o.refused(failure, refusal)
	case errors.Is(err, context.Canceled):
		failure.Reason, failure.Detail = model.ReasonOther, "cancelled before the answer came"
	case failure.Status != 0 && (failure.Status < 200 || failure.Status > 299):
		o.status(failure)
	default:
		o.unanswered(failure)
	}
	return failure
}

// adopt completes an error that was classified where the answer was read.
func (o operation) adopt(failure, known *model.Error) {
	failure.Reason, failure.Detail, failure.Advice, failure.Code = known.Reason, known.Detail, known.Advice, known.Code
	failure.Unsent = known.Unsent
	if failure.Status == 0 {
		failure.Status = known.Status
	}
	if known.Reason == model.ReasonAPIChanged && failure.Advice == "" {
		failure.Advice = o.instead
	}
}

// refused reads a service's error code. The codes common to all of AWS's services:
// https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
func (o operation) refused(failure *model.Error, refusal smithy.APIError) {
	failure.Code = clip(refusal.ErrorCode())
	failure.Detail = failure.Code
	message := clip(refusal.ErrorMessage())
	if message != "" {
		failure.Detail += ": " + message
	}
	_, throttled := retry.DefaultThrottleErrorCodes[failure.Code]
	switch {
	case throttled || failure.Status == http.StatusTooManyRequests:
		failure.Reason = model.ReasonThrottled
	case isSignInCode(failure.Code):
		failure.Reason = model.ReasonAuth
		failure.Advice = "check the credentials behind aws.profile, aws.role_arn or the environment, and this machine's clock"
	case isDenialCode(failure.Code):
		o.denied(failure, message)
	case failure.Code == "OutboundWebIdentityFederationDisabledException":
		failure.Reason = model.ReasonAuth
		failure.Advice = "enable outbound web identity federation for the account, " + permissionsPage
	case isUnknownOperationCode(failure.Code) && o.instead != "":
		failure.Reason, failure.Advice = model.ReasonAPIChanged, o.instead
	case failure.Code == "ResourceNotFoundException":
		failure.Reason = model.ReasonNotFound
		failure.Advice = "it is looked up afresh at the next reading; if ids are set in the config, check them"
	case failure.Code == "ValidationException" && o.instead != "":
		failure.Reason = model.ReasonOther
		failure.Advice = "check aws.identity_store_id and aws.provisioning_tenant_id; if they are right, " + o.instead
	default:
		failure.Reason = model.ReasonOther
	}
}

// denied names the missing permission, and whether a policy forbids it outright.
func (o operation) denied(failure *model.Error, message string) {
	failure.Reason = model.ReasonPermission
	action := o.action
	named := actionPattern.FindStringSubmatch(message)
	if named != nil {
		action = named[1]
	}
	explicit := strings.Contains(message, "explicit deny")
	switch {
	case kmsPattern.MatchString(message), strings.HasPrefix(failure.Code, "KMS"):
		if named == nil {
			action = "kms:Decrypt"
		}
		failure.Advice = fmt.Sprintf("allow %s on the identity store's KMS key, %s", action, permissionsPage)
		if explicit {
			failure.Advice = fmt.Sprintf("an explicit deny forbids %s on the identity store's KMS key, %s", action, permissionsPage)
		}
	case explicit:
		failure.Advice = fmt.Sprintf("an explicit deny, such as a service control policy, forbids %s: except this identity there, %s",
			action, permissionsPage)
	default:
		failure.Advice = fmt.Sprintf("allow %s, %s", action, permissionsPage)
	}
}

// status classifies an answer that carried no error code.
func (o operation) status(failure *model.Error) {
	failure.Detail = fmt.Sprintf("HTTP status %d without an error code", failure.Status)
	switch {
	case failure.Status == http.StatusTooManyRequests:
		failure.Reason = model.ReasonThrottled
	case failure.Status == http.StatusUnauthorized, failure.Status == http.StatusForbidden:
		failure.Reason, failure.Advice = model.ReasonPermission, fmt.Sprintf("allow %s, %s", o.action, permissionsPage)
	case o.instead != "" && (failure.Status == http.StatusNotFound || failure.Status < 400):
		failure.Reason, failure.Advice = model.ReasonAPIChanged, o.instead
	case failure.Status < 400:
		failure.Reason, failure.Advice = model.ReasonInvalidResponse, "is a proxy in the way, or an endpoint under aws.endpoints wrong?"
	default:
		failure.Reason = model.ReasonOther
	}
}

// notSignedIn classifies a failure of the credential chain: nothing was sent.
func (o operation) notSignedIn(failure *model.Error, signIn *signInError) {
	failure.Unsent, failure.Status = true, 0
	failure.Reason = model.ReasonAuth
	failure.Detail = "no AWS credentials: " + rootText(signIn.err)
	failure.Advice = "set aws.profile, the AWS_* environment, a web identity or an instance role, " + permissionsPage
	var step *smithy.OperationError
	var refusal smithy.APIError
	switch {
	case errors.As(signIn.err, &step) && step.ServiceID == "ec2imds":
		failure.Detail = "no AWS credentials in the environment, a profile, a web identity, a container or an instance role"
	case strings.Contains(signIn.err.Error(), "RootCAs"): // AWS_CA_BUNDLE, its twin in the environment, was looked for before
		failure.Detail = "the AWS config file sets ca_bundle, which the exporter does not read"
		failure.Advice = "remove it there and set http_client.tls_config.ca_file"
	case errors.As(signIn.err, &refusal) && signIn.role != "":
		failure.Code = clip(refusal.ErrorCode())
		failure.Detail = fmt.Sprintf("cannot assume %s: %s: %s", signIn.role, failure.Code, clip(refusal.ErrorMessage()))
		failure.Advice = "check aws.role_arn, aws.external_id and the role's trust policy, " + permissionsPage
		if _, throttled := retry.DefaultThrottleErrorCodes[failure.Code]; throttled {
			failure.Reason, failure.Advice = model.ReasonThrottled, ""
		}
	case errors.As(signIn.err, &refusal):
		failure.Code = clip(refusal.ErrorCode())
		failure.Detail = fmt.Sprintf("no AWS credentials: %s: %s", failure.Code, clip(refusal.ErrorMessage()))
	case isUnanswered(signIn.err):
		failure.Advice = ""
		o.unanswered(failure)
		failure.Unsent = true
		failure.Detail = "no AWS credentials: " + failure.Detail
	}
}

// unanswered classifies a request that got no answer, or none that can be read.
func (o operation) unanswered(failure *model.Error) {
	var slow interface{ Timeout() bool }
	var dns *net.DNSError
	var dial *net.OpError
	var large *tooLargeError
	var unreadable *smithy.DeserializationError
	switch err := failure.Err; {
	case errors.As(err, &large):
		failure.Reason, failure.Detail = model.ReasonInvalidResponse, large.Error()
	case errors.As(err, &dns) && !dns.IsTimeout:
		failure.Reason, failure.Unsent = model.ReasonNetwork, true
		failure.Detail = "cannot resolve " + dns.Name
		failure.Advice = "check aws.region, aws.endpoints and the DNS this machine uses"
	case isTLS(err):
		failure.Reason, failure.Unsent = model.ReasonNetwork, true
		failure.Detail = rootText(err)
		failure.Advice = "if a proxy ends TLS, set http_client.tls_config.ca_file"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		failure.Reason, failure.Detail = model.ReasonTimeout, "no answer before the deadline"
		var limited *noAnswerError
		if errors.As(err, &limited) {
			failure.Detail = limited.Error()
		}
		failure.Unsent = errors.As(err, &dial) && dial.Op == "dial"
	case errors.As(err, &unreadable):
		failure.Reason, failure.Detail = model.ReasonInvalidResponse, "the answer is not what the SDK expects"
		failure.Advice = "is a proxy in the way, or an endpoint under aws.endpoints wrong?"
	case isUnanswered(err):
		failure.Reason, failure.Detail = model.ReasonNetwork, rootText(err)
		failure.Unsent = errors.As(err, &dial) && dial.Op == "dial"
	default:
		failure.Reason, failure.Detail = model.ReasonOther, rootText(err)
	}
}

// isUnanswered reports whether the HTTP client failed, rather than something before or after it.
func isUnanswered(err error) bool {
	var unsent *smithyhttp.RequestSendError
	var request *url.Error
	var bare *requestError
	return errors.As(err, &unsent) || errors.As(err, &request) || errors.As(err, &bare) || errors.Is(err, context.DeadlineExceeded)
}

func isTLS(err error) bool {
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &record)
}

func isSignInCode(code string) bool {
	return slices.Contains([]string{
		"UnrecognizedClientException", "InvalidClientTokenId", "ExpiredToken", "ExpiredTokenException",
		"InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "IncompleteSignatureException",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "RequestTimeTooSkewed", "RequestExpired",
		"AuthFailure", "OptInRequired",
	}, code)
}

func isDenialCode(code string) bool {
	return slices.Contains([]string{
		"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "UnauthorizedException",
		"NotAuthorizedException", "KMSAccessDeniedException",
	}, code)
}

func isUnknownOperationCode(code string) bool {
	return slices.Contains([]string{
		"UnknownOperationException", "UnknownOperation", "UnsupportedOperation", "UnsupportedOperationException",
		"SerializationException", "InvalidAction", "UnsupportedProtocol", "UnsupportedProtocolException",
	}, code)
}

// rootText is the innermost error's text: without URLs, which can hold a user's name,
// and without the SDK's and net/http's layers of wrapping.
func rootText(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the connection ended before the answer did"
	}
	var operation *net.OpError
	if errors.As(err, &operation) {
		return clip(operation.Error())
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return clip(err.Error())
		}
		err = inner
	}
}

// clip makes a foreign text fit for one line of a log.
func clip(text string) string {
	const limit = 400
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}
