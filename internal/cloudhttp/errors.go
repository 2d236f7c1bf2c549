package cloudhttp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"entra-aws-exporter/internal/model"
)

// TimeoutError says that one attempt took too long. The caller still had time.
type TimeoutError struct{ After time.Duration }

// Error implements error.
func (e *TimeoutError) Error() string { return fmt.Sprintf("no complete response within %s", e.After) }

// Timeout implements net.Error's part that the AWS SDK's retryer asks for.
func (*TimeoutError) Timeout() bool { return true }

// TooLargeError says that a response exceeded the size of any legitimate one.
type TooLargeError struct{ Limit int64 }

// Error implements error.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the response is larger than %d MiB", e.Limit>>20)
}

// RetryableError tells the AWS SDK's retryer not to repeat the request.
func (*TooLargeError) RetryableError() bool { return false }

// Classify tells why a request got no usable response. It sets Unsent only where no
// connection was established.
func Classify(cause error) *model.Error {
	var request *url.Error
	if errors.As(cause, &request) {
		cause = request.Err // a URL can hold a user's name
	}
	failed := &model.Error{Reason: model.ReasonNetwork, Detail: Describe(cause), Err: cause}
	var (
		large   *TooLargeError
		dns     *net.DNSError
		dial    *net.OpError
		timeout interface{ Timeout() bool }
	)
	switch {
	case errors.Is(cause, context.Canceled):
		failed.Reason, failed.Detail = model.ReasonOther, "canceled before the response arrived"
		return failed
	case errors.As(cause, &large):
		failed.Reason = model.ReasonInvalidResponse
	case errors.As(cause, &dns):
		failed.Detail, failed.Unsent = "cannot resolve "+dns.Name, true
		failed.Advice = "check the region and the endpoints in the config, and the DNS of this host"
	case isTLS(cause):
		failed.Unsent, failed.Advice = true, "if a proxy inspects TLS, set http_client.tls_config.ca_file"
	case errors.As(cause, &dial) && (dial.Op == "dial" || dial.Op == "proxyconnect"):
		failed.Unsent = true
	}
	switch {
	case errors.Is(cause, context.DeadlineExceeded):
		failed.Reason = model.ReasonTimeout
		if !failed.Unsent {
			failed.Detail = "no response before the deadline"
		}
	case errors.As(cause, &timeout) && timeout.Timeout():
		failed.Reason = model.ReasonTimeout
	}
	return failed
}

// WebPage describes a response for a browser. The clouds' APIs send none.
const WebPage = "a web page, probably of a proxy or gateway"

// IsWebPage reports whether a response is one for a browser, by its content type or the
// beginning of its body, which may be nil.
func IsWebPage(contentType string, body []byte) bool {
	const html = "text/html"
	kind, _, _ := mime.ParseMediaType(contentType)
	return kind == html || strings.HasPrefix(http.DetectContentType(body), html)
}

// ProxyRefusal returns the error for a refusal that is a page for a browser; nil for any
// other response. A proxy or gateway refused the request, so no permission in the cloud
// helps.
func ProxyRefusal(status int, contentType string, body []byte) *model.Error {
	isRefusal := status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusProxyAuthRequired
	if !isRefusal || !IsWebPage(contentType, body) {
		return nil
	}
	return &model.Error{
		Reason: model.ReasonInvalidResponse, Status: status, Detail: fmt.Sprintf("HTTP status %d with %s", status, WebPage),
		Advice: "check http_client.proxy_url, and the proxies and firewalls on the way to the cloud",
	}
}

func isTLS(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		authority    x509.UnknownAuthorityError
		host         x509.HostnameError
		record       tls.RecordHeaderError
	)
	return errors.As(err, &verification) || errors.As(err, &authority) || errors.As(err, &host) || errors.As(err, &record)
}

// Describe returns the innermost error's text: without URLs, which can hold a user's
// name, and without the layers of wrapping that the SDKs and net/http add.
func Describe(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the connection ended before the response did"
	}
	var operation *net.OpError
	if errors.As(err, &operation) {
		return Truncate(operation.Error(), maxDescription)
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return Truncate(err.Error(), maxDescription)
}

// NotSent marks the failure of a step before a write: the write itself was not sent.
func NotSent(err error) error {
	var failed *model.Error
	if !errors.As(err, &failed) {
		return err
	}
	marked := *failed
	marked.Unsent = true
	return &marked
}

// NotRead marks the failure of a reading right before a write: the write was not sent, and
// may be made when the reading succeeds.
func NotRead(err error) error {
	err = NotSent(err)
	if failed, ok := errors.AsType[*model.Error](err); ok {
		failed.Unread = true
	}
	return err
}

const maxDescription = 400 // bytes

// valuePattern matches what could be a token's value, also escaped for JSON or HTML.
var valuePattern = regexp.MustCompile(`[A-Za-z0-9+/_=.~:%&;#\\-]{40,}`) //nolint:gochecknoglobals // compiled once, never changed

// RedactValues replaces what could be a token's value in a message of AWS or Entra: a
// service may echo what it was sent, or what it stores. ARNs, URLs and names without a
// digit stay.
func RedactValues(message string) string {
	return valuePattern.ReplaceAllStringFunc(message, func(run string) string {
		if strings.HasPrefix(run, "arn:") || strings.Contains(run, "://") || !strings.ContainsAny(run, "0123456789") {
			return run
		}
		return "(value)"
	})
}

// Truncate makes a service's text fit for one line of a log, with at most so many bytes.
func Truncate(text string, limit int) string {
	text = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(text, "?"), func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}
