// Package sigv4 verifies AWS Signature Version 4 on the side of the service, so that a
// client with a wrong key, region, service name or clock is refused as by AWS itself.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
package sigv4

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// MaxSkew is how far a request's date may be from the service's clock.
const MaxSkew = 15 * time.Minute

const (
	algorithm  = "AWS4-HMAC-SHA256"
	dateFormat = "20060102T150405Z"
)

// Key is what the service knows of an access key.
type Key struct {
	Secret       string
	SessionToken string // of temporary credentials; "" for a user's own key
}

// Scope is for what a request was signed, and by whom.
type Scope struct {
	AccessKeyID string
	Date        string // YYYYMMDD
	Region      string
	Service     string
}

// The codes of refusals, as the JSON protocols name them.
const (
	Missing    = "MissingAuthenticationTokenException" // no Authorization header
	Incomplete = "IncompleteSignatureException"        // a part of it is missing or malformed
	UnknownKey = "UnrecognizedClientException"         // the session token is not the key's
	Mismatch   = "InvalidSignatureException"           // the signature, scope or date does not fit
)

// Error is a refused request, with the code and the sentence that AWS would send.
type Error struct{ Code, Message string }

func (e *Error) Error() string { return e.Message }

func refuse(code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Parse reads the scope of a signed request without verifying it.
func Parse(r *http.Request) (Scope, error) {
	scope, _, _, err := parse(r.Header.Get("Authorization"))
	return scope, err
}

// parse reads "AWS4-HMAC-SHA256 Credential=…/…/…/…/aws4_request, SignedHeaders=…, Signature=…".
func parse(authorization string) (scope Scope, signedHeaders []string, signature string, err error) {
	if authorization == "" {
		return scope, nil, "", refuse(Missing, "Missing Authentication Token")
	}
	rest, found := strings.CutPrefix(authorization, algorithm+" ")
	if !found {
		return scope, nil, "", refuse(Incomplete, "Authorization header requires '%s' algorithm.", algorithm)
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = value
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if fields[name] == "" {
			return scope, nil, "", refuse(Incomplete, "Authorization header requires '%s' parameter.", name)
		}
	}
	parts := strings.Split(fields["Credential"], "/")
	if len(parts) != 5 || parts[4] != "aws4_request" {
		return scope, nil, "", refuse(Incomplete, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", fields["Credential"])
	}
	return Scope{parts[0], parts[1], parts[2], parts[3]}, strings.Split(fields["SignedHeaders"], ";"), fields["Signature"], nil
}

// Verify checks that the request with this body was signed with key for service, at
// most MaxSkew away from now. An error is always an *Error.
func Verify(r *http.Request, body []byte, key Key, service string, now time.Time) (Scope, error) {
	scope, signedHeaders, signature, err := parse(r.Header.Get("Authorization"))
	if err != nil {
		return Scope{}, err
	}
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Amz-Security-Token")), []byte(key.SessionToken)) != 1 {
		return scope, refuse(UnknownKey, "The security token included in the request is invalid.")
	}
	date, err := checkDate(r, scope, now)
	if err != nil {
		return scope, err
	}
	if scope.Service != service {
		return scope, refuse(Mismatch, "Credential should be scoped to correct service: '%s'.", service)
	}
	for name := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") && !slices.Contains(signedHeaders, lower) {
			return scope, refuse(Mismatch, "'Host' or a 'X-Amz-*' header must be a 'SignedHeader' in the AWS Authorization: %s.", lower)
		}
	}
	if _, _, want, err := parse(sign(r, signedHeaders, body, scope, key, date)); err != nil || subtle.ConstantTimeCompare([]byte(want), []byte(signature)) != 1 {
		return scope, refuse(Mismatch, "The request signature we calculated does not match the signature you provided. "+
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return scope, nil
}

// sign returns the Authorization header of a request with these signed headers and no
// others.
func sign(r *http.Request, signedHeaders []string, body []byte, scope Scope, key Key, date time.Time) string {
	again := &http.Request{Method: r.Method, URL: r.URL, Host: r.Host, Header: http.Header{}}
	for _, name := range signedHeaders {
		if values := r.Header.Values(name); len(values) > 0 {
			again.Header[http.CanonicalHeaderKey(name)] = values
		}
	}
	if slices.Contains(signedHeaders, "content-length") {
		again.ContentLength = int64(len(body))
	}
	again.Header.Del("Content-Length")
	hash := sha256.Sum256(body)
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableHeaderHoisting = true })
	credentials := aws.Credentials{AccessKeyID: scope.AccessKeyID, SecretAccessKey: key.Secret, SessionToken: key.SessionToken}
	if err := signer.SignHTTP(r.Context(), credentials, again, hex.EncodeToString(hash[:]), scope.Service, scope.Region, date); err != nil {
		return ""
	}
	return again.Header.Get("Authorization")
}

func checkDate(r *http.Request, scope Scope, now time.Time) (time.Time, error) {
	sent := r.Header.Get("X-Amz-Date")
	date, err := time.Parse(dateFormat, sent)
	if err != nil {
		return date, refuse(Incomplete, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if !strings.HasPrefix(sent, scope.Date) {
		return date, refuse(Mismatch, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s'.", scope.Date, sent)
	}
	switch skew := now.Sub(date); {
	case skew > MaxSkew:
		return date, refuse(Mismatch, "Signature expired: %s is now earlier than %s (%s - 15 min.)",
			sent, now.Add(-MaxSkew).UTC().Format(dateFormat), now.UTC().Format(dateFormat))
	case skew < -MaxSkew:
		return date, refuse(Mismatch, "Signature not yet current: %s is still later than %s (%s + 15 min.)",
			sent, now.Add(MaxSkew).UTC().Format(dateFormat), now.UTC().Format(dateFormat))
	}
	return date, nil
}
