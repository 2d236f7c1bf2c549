package identitycenter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

// apiCall is one kind of call, as its errors describe it.
type apiCall struct {
	op          string // "listing the SCIM tokens of corp"
	action      string // the IAM action that allows it
	alternative string // for an undocumented API: the documented way, should the API have changed
	jsonVersion string // for an undocumented API: the config key of its JSON version, with the other version
}

const (
	permissionsPage = "see deploy/permissions/aws.md"
	checkEndpoints  = "check for a proxy, and the endpoints under aws.endpoints"
)

var (
	actionPattern = regexp.MustCompile(`not authorized to perform:? ([a-z0-9-]+:[A-Za-z*]+)`)
	kmsPattern    = regexp.MustCompile(`kms:[A-Z]|KMS[ _]|\bKMS\b`)
)

// classify turns an error of the SDK, of a JSON service or of the network into a
// *model.Error. It is the only place that decides a reason. It returns nil for nil.
func (c apiCall) classify(err error) error {
	if err == nil {
		return nil
	}
	failure := &model.Error{Op: c.op, Err: err}
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.Response != nil && response.Response.Response != nil {
		failure.Status = response.Response.StatusCode
	}
	var known *model.Error
	var signIn *signInError
	refusedByProxy := proxyRefusal(err)
	switch {
	case errors.As(err, &known):
		c.copyFrom(failure, known)
	case errors.As(err, &signIn):
		classifySignIn(failure, signIn)
	case refusedByProxy != nil:
		c.copyFrom(failure, refusedByProxy)
	case errorCode(err) != "" && errorCode(err) != "UnknownError":
		c.classifyCode(failure)
	case failure.Status != 0 && (failure.Status < 200 || failure.Status > 299):
		c.classifyStatus(failure)
	default:
		classifyTransport(failure)
	}
	return failure
}

// proxyRefusal returns the error if the SDK's response is a proxy's page; nil: it is not.
// The SDK has read the body already.
func proxyRefusal(err error) *model.Error {
	var response *smithyhttp.ResponseError
	if !errors.As(err, &response) || response.Response == nil || response.Response.Response == nil {
		return nil
	}
	return cloudhttp.ProxyRefusal(response.Response.StatusCode, response.Response.Header.Get("Content-Type"), nil)
}

// errorCode returns a service's error code; "": the error has none.
func errorCode(err error) string {
	var refusal smithy.APIError
	if !errors.As(err, &refusal) {
		return ""
	}
	return refusal.ErrorCode()
}

// kmsReason returns the Reason of an error that AWS's key management caused; "": it is none.
// Code and message can be those of any refusal.
func kmsReason(err error) string {
	var (
		console *serviceError
		denied  *types.AccessDeniedException
		invalid *types.ValidationException
		missing *types.ResourceNotFoundException
		reason  string
	)
	switch {
	case errors.As(err, &console):
		reason = console.reason
	case errors.As(err, &denied):
		reason = string(denied.Reason)
	case errors.As(err, &invalid):
		reason = string(invalid.Reason)
	case errors.As(err, &missing):
		reason = string(missing.Reason)
	}
	if !strings.HasPrefix(strings.ToUpper(reason), "KMS") {
		return ""
	}
	return truncate(reason)
}

// describeCode sets the service's error code and returns "code: message" and the message.
func describeCode(failure *model.Error) (detail, message string) {
	var refusal smithy.APIError
	if !errors.As(failure.Err, &refusal) {
		return "", ""
	}
	failure.Code = truncate(cloudhttp.RedactValues(refusal.ErrorCode()))
	detail = failure.Code
	if reason := kmsReason(failure.Err); reason != "" {
		detail += " (" + reason + ")"
	}
	if message = truncate(cloudhttp.RedactValues(refusal.ErrorMessage())); message == "" {
		return detail, ""
	}
	return detail + ": " + message, message
}

func isThrottlingCode(code string) bool {
	_, throttled := retry.DefaultThrottleErrorCodes[code]
	return throttled
}

// copyFrom completes an error that was classified where the response was read.
func (c apiCall) copyFrom(failure, known *model.Error) {
	failure.Reason, failure.Detail, failure.Advice, failure.Code = known.Reason, known.Detail, known.Advice, known.Code
	failure.Unsent = known.Unsent
	if failure.Status == 0 {
		failure.Status = known.Status
	}
	if known.Reason == model.ReasonAPIChanged && failure.Advice == "" {
		failure.Advice = c.alternative
	}
}

// classifyCode decides by a service's error code. The codes common to all services:
// https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
func (c apiCall) classifyCode(failure *model.Error) {
	detail, message := describeCode(failure)
	failure.Reason, failure.Detail = model.ReasonOther, detail
	switch {
	case isThrottlingCode(failure.Code) || failure.Status == http.StatusTooManyRequests:
		failure.Reason = model.ReasonThrottled
	case isSignInCode(failure.Code):
		failure.Reason = model.ReasonAuth
		failure.Advice = "check the credentials behind aws.profile, aws.role_arn or the environment, and this host's clock"
	case isDenialCode(failure.Code):
		c.classifyDenied(failure, message)
	case failure.Code == "OutboundWebIdentityFederationDisabledException":
		failure.Reason = model.ReasonAuth
		failure.Advice = "enable outbound web identity federation for the account, " + permissionsPage
	case isUnknownOperationCode(failure.Code) && c.alternative != "":
		failure.Reason, failure.Advice = model.ReasonAPIChanged, "set "+c.jsonVersion+"; if that does not help: "+c.alternative
	case kmsReason(failure.Err) != "":
		failure.Advice = "check the identity store's KMS key: its state, its policy and its region"
	case failure.Code == "ResourceNotFoundException":
		failure.Reason = model.ReasonNotFound
		failure.Advice = "the next poll looks it up again; if ids are set in the config, check them"
	case failure.Code == "ValidationException" && c.alternative != "":
		failure.Advice = "check aws.identity_store_id and aws.provisioning_tenant_id; if they are right, " + c.alternative
	}
}

// classifyDenied names the missing permission, and whether a policy denies it explicitly.
func (c apiCall) classifyDenied(failure *model.Error, message string) {
	failure.Reason = model.ReasonPermission
	action := c.action
	named := actionPattern.FindStringSubmatch(message)
	if named != nil {
		action = named[1]
	}
	explicit := strings.Contains(message, "explicit deny")
	isKMS := kmsReason(failure.Err) != "" || kmsPattern.MatchString(message) || strings.HasPrefix(failure.Code, "KMS")
	if isKMS && named == nil {
		action = "kms:Decrypt"
	}
	switch {
	case isKMS && explicit:
		failure.Advice = fmt.Sprintf("an explicit deny forbids %s on the identity store's KMS key, %s", action, permissionsPage)
	case isKMS:
		failure.Advice = fmt.Sprintf("allow %s on the identity store's KMS key, %s", action, permissionsPage)
	case explicit:
		failure.Advice = fmt.Sprintf("an explicit deny, such as a service control policy, forbids %s: exempt this identity there, %s",
			action, permissionsPage)
	default:
		failure.Advice = fmt.Sprintf("allow %s, %s", action, permissionsPage)
	}
}

// classifyStatus decides by the status of a response without an error code.
func (c apiCall) classifyStatus(failure *model.Error) {
	failure.Reason = model.ReasonOther
	failure.Detail = fmt.Sprintf("HTTP status %d without an error code", failure.Status)
	switch {
	case failure.Status == http.StatusTooManyRequests:
		failure.Reason = model.ReasonThrottled
	case failure.Status == http.StatusUnauthorized, failure.Status == http.StatusForbidden:
		failure.Reason, failure.Advice = model.ReasonPermission, fmt.Sprintf("allow %s, %s", c.action, permissionsPage)
	case c.alternative != "" && (failure.Status == http.StatusNotFound || failure.Status < 400):
		failure.Reason, failure.Advice = model.ReasonAPIChanged, c.alternative
	case failure.Status < 400:
		failure.Reason, failure.Advice = model.ReasonInvalidResponse, checkEndpoints
	}
}

// classifySignIn classifies a failure of the credential chain: nothing was sent. A failure
// of STS itself passes, so it is no refusal.
func classifySignIn(failure *model.Error, signIn *signInError) {
	status := failure.Status
	failure.Unsent, failure.Status = true, 0
	failure.Reason = model.ReasonAuth
	failure.Detail = "no AWS credentials: " + cloudhttp.Describe(signIn.err)
	failure.Advice = "set aws.profile, the AWS_* environment, a web identity or an instance role, " + permissionsPage
	var step *smithy.OperationError
	refusedByProxy := proxyRefusal(signIn.err)
	switch {
	case refusedByProxy != nil:
		failure.Reason, failure.Advice = refusedByProxy.Reason, refusedByProxy.Advice
		failure.Detail = "no AWS credentials: " + refusedByProxy.Detail
	case errors.As(signIn.err, &step) && step.ServiceID == "ec2imds":
		failure.Detail = "no AWS credentials in the environment, a profile, a web identity, a container or an instance role"
	case strings.Contains(signIn.err.Error(), "RootCAs"): // see loadConfig
		failure.Detail = "the AWS config file sets ca_bundle, which the exporter does not read"
		failure.Advice = "remove it there and set AWS_CA_BUNDLE or http_client.tls_config.ca_file"
	case errorCode(signIn.err) != "" || status >= http.StatusInternalServerError:
		detail, _ := describeCode(failure)
		if detail == "" || failure.Code == "UnknownError" {
			detail = fmt.Sprintf("HTTP status %d", status)
		}
		failure.Detail = "no AWS credentials: " + detail
		if signIn.role != "" {
			failure.Detail = fmt.Sprintf("cannot assume %s: %s", signIn.role, detail)
			failure.Advice = "check role_arn and external_id in the config, and that the role's trust policy allows sts:AssumeRole to the caller, " + permissionsPage
			if strings.Contains(detail, "no identity-based policy allows the sts:AssumeRole action") {
				failure.Advice = "allow sts:AssumeRole on this role to the caller, " + permissionsPage
			}
		}
		switch {
		case isThrottlingCode(failure.Code) || status == http.StatusTooManyRequests:
			failure.Reason, failure.Advice = model.ReasonThrottled, ""
		case status >= http.StatusInternalServerError:
			failure.Reason, failure.Advice = model.ReasonOther, ""
		}
	case isTransport(signIn.err):
		classifyTransport(failure)
		failure.Unsent = true
		failure.Detail = "no AWS credentials: " + failure.Detail
	}
}

// classifyTransport classifies a request without a response, or with one that the SDK
// cannot read.
func classifyTransport(failure *model.Error) {
	transport := cloudhttp.Classify(failure.Err)
	var unreadable *smithy.DeserializationError
	switch {
	case transport.Reason != model.ReasonNetwork || transport.Unsent:
	case errors.As(failure.Err, &unreadable):
		transport.Reason, transport.Detail = model.ReasonInvalidResponse, "the SDK cannot read the response"
		transport.Advice = checkEndpoints
	case !isTransport(failure.Err):
		transport.Reason = model.ReasonOther
	}
	failure.Reason, failure.Detail, failure.Advice, failure.Unsent = transport.Reason, transport.Detail, transport.Advice, transport.Unsent
}

// isTransport reports whether the HTTP client failed, rather than a step before or after it.
func isTransport(err error) bool {
	var unsent *smithyhttp.RequestSendError
	var request *url.Error
	return errors.As(err, &unsent) || errors.As(err, &request) || errors.Is(err, context.DeadlineExceeded)
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

// truncate makes a service's text fit for one line of a log.
func truncate(text string) string { return cloudhttp.Truncate(text, 400) }
