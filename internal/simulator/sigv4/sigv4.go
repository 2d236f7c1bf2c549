// Package sigv4 verifies AWS Signature Version 4 on the side of the service, so
// that a client with a wrong key, region, service name or clock is refused as by
// AWS itself.
//
// It is written from the specification and shares no code with any SDK: a mistake
// in signing cannot hide behind the same mistake in verifying.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"time"
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
	SessionToken string    // of temporary credentials; "" for a user's own key
	Expires      time.Time // of temporary credentials; zero: never
}

// Scope is for what a request was signed, and by whom.
type Scope struct {
	AccessKeyID string
	Date        string // YYYYMMDD
	Region      string
	Service     string
}

// Kind is why a request was refused; each protocol has its own name for it.
type Kind int

// The kinds of refusal.
const (
	Missing    Kind = iota + 1 // no Authorization header
	Incomplete                 // a part of it is missing or malformed
	UnknownKey                 // the access key or session token is not known
	Expired                    // the temporary credentials have expired
	Mismatch                   // the signature, scope or date does not fit
)

// Error is a refused request, with the sentence AWS would send.
type Error struct {
	Kind    Kind
	Message string
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

func refuse(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Parse reads the scope of a signed request without verifying it.
func Parse(r *http.Request) (Scope, error) {
	authorization, err := parseAuthorization(r.Header.Get("Authorization"))
	return authorization.scope, err
}

// Verify checks that the request with this body was signed with key for service, at
// most MaxSkew away from now. An error is always an *Error.
func Verify(r *http.Request, body []byte, key Key, service string, now time.Time) (Scope, error) {
	authorization, err := parseAuthorization(r.Header.Get("Authorization"))
	if err != nil {
		return Scope{}, err
	}
	scope := authorization.scope
	if subtle.ConstantTimeCompare([]byte(r.Header.Get("X-Amz-Security-Token")), []byte(key.SessionToken)) != 1 {
		return scope, refuse(UnknownKey, "The security token included in the request is invalid.")
	}
	if !key.Expires.IsZero() && !now.Before(key.Expires) {
		return scope, refuse(Expired, "The security token included in the request is expired")
	}
	if err := checkDate(r, scope, now); err != nil {
		return scope, err
	}
	if scope.Service != service {
		return scope, refuse(Mismatch, "Credential should be scoped to correct service: '%s'.", service)
	}
	if err := checkSignedHeaders(r, authorization.signedHeaders); err != nil {
		return scope, err
	}
	payload := hex.EncodeToString(hash(body))
	if sent := r.Header.Get("X-Amz-Content-Sha256"); sent != "" && sent != payload {
		return scope, refuse(Mismatch, "The value passed in as x-amz-content-sha256 does not match the actual request payload hash.")
	}
	want := Sign(r, authorization.signedHeaders, payload, scope, key.Secret)
	if subtle.ConstantTimeCompare([]byte(want), []byte(authorization.signature)) != 1 {
		return scope, refuse(Mismatch, "The request signature we calculated does not match the signature you provided. "+
			"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	}
	return scope, nil
}

// Sign returns the signature of a request, in hex. The request's X-Amz-Date header
// gives the time, payload is the hex SHA-256 of the body.
func Sign(r *http.Request, signedHeaders []string, payload string, scope Scope, secret string) string {
	date := r.Header.Get("X-Amz-Date")
	stringToSign := strings.Join([]string{
		algorithm,
		date,
		strings.Join([]string{scope.Date, scope.Region, scope.Service, "aws4_request"}, "/"),
		hex.EncodeToString(hash([]byte(canonicalRequest(r, signedHeaders, payload)))),
	}, "\n")
	key := []byte("AWS4" + secret)
	for _, part := range []string{scope.Date, scope.Region, scope.Service, "aws4_request", stringToSign} {
		key = mac(key, part)
	}
	return hex.EncodeToString(key)
}

func checkDate(r *http.Request, scope Scope, now time.Time) error {
	sent := r.Header.Get("X-Amz-Date")
	date, err := time.Parse(dateFormat, sent)
	if err != nil {
		return refuse(Incomplete, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if !strings.HasPrefix(sent, scope.Date) {
		return refuse(Mismatch, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s'.", scope.Date, sent)
	}
	switch skew := now.Sub(date); {
	case skew > MaxSkew:
		return refuse(Mismatch, "Signature expired: %s is now earlier than %s (%s - 15 min.)",
			sent, now.Add(-MaxSkew).UTC().Format(dateFormat), now.UTC().Format(dateFormat))
	case skew < -MaxSkew:
		return refuse(Mismatch, "Signature not yet current: %s is still later than %s (%s + 15 min.)",
			sent, now.Add(MaxSkew).UTC().Format(dateFormat), now.UTC().Format(dateFormat))
	}
	return nil
}

// checkSignedHeaders holds that the host and every x-amz-* header sent are signed.
func checkSignedHeaders(r *http.Request, signed []string) error {
	required := []string{"host"}
	for name := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") {
			required = append(required, lower)
		}
	}
	for _, name := range required {
		found := false
		for _, have := range signed {
			found = found || have == name
		}
		if !found {
			return refuse(Mismatch, "'Host' or a 'X-Amz-*' header must be a 'SignedHeader' in the AWS Authorization: %s.", name)
		}
	}
	return nil
}

func hash(content []byte) []byte {
	sum := sha256.Sum256(content)
	return sum[:]
}

func mac(key []byte, content string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(content)) //nolint:errcheck,gosec // a hash never fails
	return h.Sum(nil)
}
