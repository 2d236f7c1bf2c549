package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

// permissionsPage describes the permissions and how to grant them.
const permissionsPage = "deploy/permissions/entra.md"

// The application permissions, as an administrator finds them.
const (
	readApplications  = "Application.Read.All"
	readJobs          = "Synchronization.Read.All"
	readLogs          = "ProvisioningLog.Read.All (AuditLog.Read.All in older tenants)"
	readAudits        = "AuditLog.Read.All"
	readUsers         = "User.Read.All"
	writeApplication  = "Application.ReadWrite.OwnedBy as an owner of the application, or Application.ReadWrite.All,"
	createCertificate = "Application.ReadWrite.OwnedBy as an owner of the application and of its app registration, or Application.ReadWrite.All,"
	writeJobs         = "Application.ReadWrite.OwnedBy as an owner of the application, or Synchronization.ReadWrite.All,"
)

// apiCall is one kind of call, as its errors describe it.
type apiCall struct {
	op           string        // "reading the provisioning job"
	permission   string        // that the call needs
	notFound     string        // what to do when the object does not exist
	timeout      time.Duration // 0: readTimeout
	undocumented bool          // the API may change without notice
	sensitive    bool          // an error's message may hold secrets or personal data
}

// invalid is the error for a response that was read and makes no sense.
func (c apiCall) invalid(x *cloudhttp.Exchange, detail string) *model.Error {
	failed := &model.Error{Reason: model.ReasonInvalidResponse, Op: c.op, Status: x.Status, Detail: detail}
	if c.undocumented {
		failed.Reason = model.ReasonAPIChanged
	}
	return failed
}

// classify tells why a call to Graph failed, from what was seen of its requests: the
// SDK's own errors lose the status, or panic when they are printed.
func classify(call apiCall, x *cloudhttp.Exchange, cause error) *model.Error {
	var failed *model.Error
	switch {
	case errors.As(cause, &failed): // classified by the sign-in or the throttle
		copied := *failed
		failed = &copied
	case x.Err != nil && !isContext(x.Err):
		failed = cloudhttp.Classify(x.Err)
	case isContext(cause) && x.Status == http.StatusTooManyRequests:
		failed = &model.Error{Reason: model.ReasonThrottled, Status: x.Status, Detail: "HTTP status 429 until the deadline"}
	case isContext(cause):
		failed = cloudhttp.Classify(cause)
		failed.Unsent = !x.Sent
	case x.Status >= http.StatusBadRequest:
		failed = classifyStatus(call, x)
	case x.Status >= http.StatusOK && x.Status <= 299:
		failed = classifyBody(call, x, cause)
	case x.Status != 0:
		failed = &model.Error{
			Reason: model.ReasonInvalidResponse, Status: x.Status, Detail: "redirected: " + x.String(),
			Advice: "check the tenant's endpoints, and proxies",
		}
	default:
		failed = &model.Error{Reason: model.ReasonOther, Unsent: !x.Sent, Err: cause}
	}
	failed.Op = call.op
	return failed
}

func isContext(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// classifyBody classifies a 2xx whose body is not what was asked for.
func classifyBody(call apiCall, x *cloudhttp.Exchange, cause error) *model.Error {
	failed := &model.Error{
		Reason: model.ReasonInvalidResponse, Status: x.Status, Detail: "unreadable response, " + x.String(), Err: cause,
	}
	if !call.sensitive {
		failed.Detail += ": " + redact(cause.Error())
	}
	if call.undocumented {
		failed.Reason = model.ReasonAPIChanged
	}
	return failed
}

// classifyStatus classifies a status of 400 and above.
func classifyStatus(call apiCall, x *cloudhttp.Exchange) *model.Error {
	code, message := graphError(x.ErrorBody)
	if refused := cloudhttp.ProxyRefusal(x.Status, x.ContentType, x.ErrorBody); refused != nil && code == "" {
		return refused // Entra's own page, of the federation metadata, has an AADSTS code
	}
	gone := call.undocumented && isGone(x.Status, code, message)
	if call.sensitive {
		message = ""
	}
	failed := &model.Error{Reason: model.ReasonOther, Status: x.Status, Code: code, Detail: x.String()}
	if code != "" {
		failed.Detail = fmt.Sprintf("%d %s", x.Status, code)
	}
	if message != "" {
		failed.Detail += ": " + message
	}
	switch {
	case isLicence(code, message):
		failed.Reason, failed.Advice = model.ReasonLicence, "the tenant needs Microsoft Entra ID P1 or P2 for this"
	case x.Status == http.StatusUnauthorized:
		failed.Reason, failed.Advice = model.ReasonAuth, "check the tenant's cloud and endpoints, and the clock"
	case x.Status == http.StatusForbidden:
		failed.Reason = model.ReasonPermission
		if call.permission != "" {
			failed.Advice = "grant the application permission " + call.permission + " with admin consent, see " + permissionsPage
		}
	case gone:
		failed.Reason, failed.Advice = model.ReasonAPIChanged, "Microsoft does not document this API and may have changed it; update the exporter"
	case x.Status == http.StatusNotFound:
		failed.Reason, failed.Advice = model.ReasonNotFound, call.notFound
	case x.Status == http.StatusTooManyRequests:
		failed.Reason = model.ReasonThrottled
		if x.RetryAfter > 0 {
			failed.Detail += fmt.Sprintf(", retry after %s", x.RetryAfter)
		}
	case x.Status == http.StatusRequestTimeout || x.Status == http.StatusGatewayTimeout:
		failed.Reason = model.ReasonTimeout
	}
	return failed
}

func isLicence(code, message string) bool {
	return strings.Contains(code, "NonPremiumTenant") || strings.Contains(code, "PremiumLicense") ||
		strings.Contains(strings.ToLower(message), "premium license")
}

// isGone distinguishes an address that Graph no longer knows from a missing object.
func isGone(status int, code, message string) bool {
	return status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented ||
		strings.Contains(message, "not found for the segment") ||
		(status == http.StatusNotFound && !strings.Contains(code, "ResourceNotFound"))
}

// graphError reads code and message of Graph's error body, whatever of it is there. The
// provisioning service wraps its own error, as JSON, into the message of an UnknownError.
func graphError(body []byte) (code, message string) {
	code, message = errorBody(body)
	if inner := strings.TrimSpace(message); strings.HasPrefix(inner, "{") {
		message = ""
		if innerCode, innerMessage := errorBody([]byte(inner)); innerCode != "" {
			code, message = innerCode, innerMessage
		}
	}
	if !codePattern.MatchString(code) {
		code = aadstsPattern.FindString(string(body))
	}
	return code, redact(message)
}

func errorBody(body []byte) (code, message string) {
	type content struct{ Code, Message string }
	var outer struct {
		Error *content
		content
	}
	_ = json.Unmarshal(body, &outer) // what can be read of it
	if outer.Error != nil {
		return outer.Error.Code, outer.Error.Message
	}
	return outer.Code, outer.Message
}

const maxMessage = 200 // bytes of a service's message that an error repeats

var (
	codePattern   = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,100}$`)
	mailPattern   = regexp.MustCompile(`[^\s'"<>(),;]+@[^\s'"<>(),;]+`)
	aadstsPattern = regexp.MustCompile(`AADSTS[0-9]{4,8}`)
)

// redact makes a service's message fit to be repeated: one short line, without what
// looks like a mail address or a token.
func redact(message string) string {
	message = mailPattern.ReplaceAllString(strings.Join(strings.Fields(message), " "), "(address)")
	return cloudhttp.Truncate(cloudhttp.RedactValues(message), maxMessage)
}
