package entra

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// permissionsPage is where the permissions and the way to grant them are described.
const permissionsPage = "deploy/permissions/entra.md"

// explain classifies a call to Graph that failed, from what was seen on the wire: the
// SDK's own errors lose the status, or panic when they are printed.
func explain(c call, x *exchange, cause error) *model.Error {
	var failed *model.Error
	switch {
	case errors.As(cause, &failed): // the sign-in or the throttle said it
		copied := *failed
		failed = &copied
	case x.err != nil && !isContext(x.err):
		failed = explainTransport(x.err)
	case isContext(cause) && x.status == http.StatusTooManyRequests:
		failed = &model.Error{Reason: model.ReasonThrottled, Status: x.status, Detail: "429 until the deadline"}
	case isContext(cause):
		failed = explainContext(cause)
		failed.Unsent = !x.sent
	case x.status >= http.StatusBadRequest:
		failed = refused(c, x)
	case x.status >= http.StatusOK && x.status <= 299:
		failed = unreadable(c, x, cause)
	case x.status != 0:
		failed = &model.Error{
			Reason: model.ReasonInvalidResponse, Status: x.status, Detail: "a redirect elsewhere: " + answered(x),
			Advice: "check the tenant's endpoints, and what stands between",
		}
	default:
		failed = &model.Error{Reason: model.ReasonOther, Unsent: !x.sent, Err: cause}
	}
	failed.Op = c.doing
	return failed
}

// unreadable classifies a 2xx that is not what was asked for.
func unreadable(c call, x *exchange, cause error) *model.Error {
	failed := &model.Error{
		Reason: model.ReasonInvalidResponse, Status: x.status, Detail: answered(x) + " that cannot be read", Err: cause,
	}
	if !c.sensitive {
		failed.Detail += ": " + clean(cause.Error())
	}
	if c.undocumented {
		failed.Reason = model.ReasonAPIChanged
	}
	return failed
}

// refused classifies an answer of 400 and above.
func refused(c call, x *exchange) *model.Error {
	code, message := graphFailure(x.failure)
	gone := c.undocumented && isGone(x.status, code, message)
	if c.sensitive {
		message = ""
	}
	failed := &model.Error{Reason: model.ReasonOther, Status: x.status, Code: code, Detail: answered(x)}
	if code != "" {
		failed.Detail = fmt.Sprintf("%d %s", x.status, code)
	}
	if message != "" {
		failed.Detail += ": " + message
	}
	switch {
	case isLicence(code, message):
		failed.Reason, failed.Advice = model.ReasonLicence, "the tenant needs Microsoft Entra ID P1 or P2 for this"
	case x.status == http.StatusUnauthorized:
		failed.Reason, failed.Advice = model.ReasonAuth, "check the tenant's cloud and endpoints, and the clock"
	case x.status == http.StatusForbidden && c.needs == "":
		failed.Reason = model.ReasonPermission
	case x.status == http.StatusForbidden:
		failed.Reason = model.ReasonPermission
		failed.Advice = "grant the application permission " + c.needs + " with admin consent, see " + permissionsPage
	case gone:
		failed.Reason, failed.Advice = model.ReasonAPIChanged, "this API is undocumented; see whether a newer release of the exporter knows its successor"
	case x.status == http.StatusNotFound:
		failed.Reason, failed.Advice = model.ReasonNotFound, c.missing
	case x.status == http.StatusTooManyRequests:
		failed.Reason = model.ReasonThrottled
		if x.wait > 0 {
			failed.Detail += fmt.Sprintf(", to be asked again in %s", x.wait)
		}
	case x.status == http.StatusRequestTimeout || x.status == http.StatusGatewayTimeout:
		failed.Reason = model.ReasonTimeout
	}
	return failed
}

func isLicence(code, message string) bool {
	return strings.Contains(code, "NonPremiumTenant") || strings.Contains(code, "PremiumLicense") ||
		strings.Contains(strings.ToLower(message), "premium license")
}

// isGone tells an address that Graph no longer knows from an object that is not there.
func isGone(status int, code, message string) bool {
	return status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented ||
		strings.Contains(message, "not found for the segment") ||
		(status == http.StatusNotFound && !strings.Contains(code, "ResourceNotFound"))
}

// graphFailure reads code and message of Graph's error body, whatever of it is there.
// The provisioning service wraps its own error, as JSON, into the message of an
// UnknownError.
func graphFailure(body []byte) (code, message string) {
	code, message = failureOf(body)
	if inner := strings.TrimSpace(message); strings.HasPrefix(inner, "{") {
		message = ""
		if innerCode, innerMessage := failureOf([]byte(inner)); innerCode != "" {
			code, message = innerCode, innerMessage
		}
	}
	if !codePattern.MatchString(code) {
		code = aadsts.FindString(string(body))
	}
	return code, clean(message)
}

func failureOf(body []byte) (code, message string) {
	type failure struct{ Code, Message string }
	var answer struct {
		Error *failure
		failure
	}
	_ = json.Unmarshal(body, &answer) // what can be read of it
	if answer.Error != nil {
		return answer.Error.Code, answer.Error.Message
	}
	return answer.Code, answer.Message
}

// explainTransport classifies a request without an answer. Unsent is set only where
// the connection did not come about.
func explainTransport(cause error) *model.Error {
	var wrapped *url.Error
	if errors.As(cause, &wrapped) {
		cause = wrapped.Err // the URL says nothing new
	}
	if isContext(cause) {
		return explainContext(cause)
	}
	failed := &model.Error{Reason: model.ReasonNetwork, Detail: cause.Error(), Err: cause}
	var (
		dns         *net.DNSError
		dial        *net.OpError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		authority   x509.UnknownAuthorityError
		timeout     net.Error
	)
	switch {
	case errors.Is(cause, errTooLarge):
		failed.Reason = model.ReasonInvalidResponse
	case errors.Is(cause, errNoAnswer):
		failed.Reason = model.ReasonTimeout
	case errors.As(cause, &dns):
		failed.Detail, failed.Unsent = "the name "+dns.Name+" cannot be resolved", true
	case errors.As(cause, &certificate), errors.As(cause, &authority):
		failed.Advice, failed.Unsent = "if a proxy inspects TLS, set http_client.tls_config.ca_file", true
	case errors.As(cause, &record):
		failed.Unsent = true
	case errors.As(cause, &dial) && (dial.Op == "dial" || dial.Op == "proxyconnect"):
		failed.Unsent = true
	}
	if failed.Reason == model.ReasonNetwork && errors.As(cause, &timeout) && timeout.Timeout() {
		failed.Reason = model.ReasonTimeout
	}
	return failed
}

func isContext(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

func explainContext(cause error) *model.Error {
	if errors.Is(cause, context.DeadlineExceeded) {
		return &model.Error{Reason: model.ReasonTimeout, Detail: "no answer before the deadline", Err: context.DeadlineExceeded}
	}
	return &model.Error{Reason: model.ReasonOther, Detail: "given up: the exporter no longer waits for it", Err: context.Canceled}
}

// unsent is the end of the caller's time before anything was asked.
func unsent(cause error, detail string) *model.Error {
	failed := explainContext(cause)
	failed.Unsent = true
	if failed.Reason == model.ReasonTimeout {
		failed.Detail = detail
	}
	return failed
}

// answered names an answer by status and kind: "answered 200 with text/html".
func answered(x *exchange) string {
	kind, _, err := mime.ParseMediaType(x.kind)
	if err != nil || kind == "" {
		return fmt.Sprintf("answered %d without a type", x.status)
	}
	return fmt.Sprintf("answered %d with %s", x.status, kind)
}

const messageLength = 200 // runes of a service's message that an error repeats

var (
	codePattern  = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,100}$`)
	mailPattern  = regexp.MustCompile(`[^\s'"<>(),;]+@[^\s'"<>(),;]+`)
	tokenPattern = regexp.MustCompile(`[A-Za-z0-9+/_=.~-]{60,}`)
)

// clean makes a service's message fit to be repeated: one line, not long, and without
// what looks like a mail address or a token.
func clean(message string) string {
	message = strings.Join(strings.Fields(message), " ")
	message = mailPattern.ReplaceAllString(message, "(address)")
	message = tokenPattern.ReplaceAllString(message, "(value)")
	if runes := []rune(message); len(runes) > messageLength {
		message = string(runes[:messageLength]) + "…"
	}
	return strings.ToValidUTF8(message, "?")
}

// instant reads a time that Graph may have left out or sent as the year 1.
func instant(t *time.Time) time.Time {
	if t == nil || t.Year() < 1990 {
		return time.Time{}
	}
	return t.UTC()
}
