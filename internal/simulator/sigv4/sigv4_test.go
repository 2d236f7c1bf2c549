package sigv4_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/simulator/sigv4"
)

// The key, date and answers of AWS's published test suite.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-elements.html
const (
	publishedID     = "AKIDEXAMPLE"
	publishedSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
	publishedDate   = "20150830T123600Z"
	publishedToken  = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)

func TestPublishedVectors(t *testing.T) {
	for _, vector := range []struct {
		name, method, target, host, body, signed, service, signature string
		header                                                       map[string]string
		token                                                        string
	}{
		{
			name: "the worked example of the documentation", method: "GET", host: "iam.amazonaws.com",
			target: "/?Action=ListUsers&Version=2010-05-08", service: "iam",
			header:    map[string]string{"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
			signed:    "content-type;host;x-amz-date",
			signature: "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
		},
		{
			name: "get-vanilla", method: "GET", target: "/", signed: "host;x-amz-date",
			signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
		},
		{
			name: "get-vanilla-query-order-key-case", method: "GET", target: "/?Param2=value2&Param1=value1", signed: "host;x-amz-date",
			signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
		},
		{
			name: "post-vanilla", method: "POST", target: "/", signed: "host;x-amz-date",
			signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
		},
		{
			name: "post-x-www-form-urlencoded", method: "POST", target: "/", body: "Param1=value1",
			header: map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, signed: "content-type;host;x-amz-date",
			signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
		},
		{
			name: "get-header-value-trim", method: "GET", target: "/", signed: "host;my-header1;my-header2;x-amz-date",
			header:    map[string]string{"My-Header1": "value1", "My-Header2": `"a   b   c"`},
			signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
		},
		{
			name: "post-sts-header-before", method: "POST", target: "/", signed: "host;x-amz-date;x-amz-security-token",
			token:     publishedToken,
			signature: "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
		},
	} {
		t.Run(vector.name, func(t *testing.T) {
			if vector.host == "" {
				vector.host, vector.service = "example.amazonaws.com", "service"
			}
			r := httptest.NewRequest(vector.method, "https://"+vector.host+vector.target, nil)
			r.Header.Set("X-Amz-Date", publishedDate)
			for name, value := range vector.header {
				r.Header.Set(name, value)
			}
			if vector.token != "" {
				r.Header.Set("X-Amz-Security-Token", vector.token)
			}
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+publishedID+"/20150830/us-east-1/"+vector.service+
				"/aws4_request, SignedHeaders="+vector.signed+", Signature="+vector.signature)
			now, _ := time.Parse("20060102T150405Z", publishedDate)
			key := sigv4.Key{Secret: publishedSecret, SessionToken: vector.token}
			scope, err := sigv4.Verify(r, []byte(vector.body), key, vector.service, now)
			if err != nil {
				t.Fatal(err)
			}
			if want := (sigv4.Scope{AccessKeyID: publishedID, Date: "20150830", Region: "us-east-1", Service: vector.service}); scope != want {
				t.Errorf("scope %+v, want %+v", scope, want)
			}
			if _, err := sigv4.Verify(r, []byte(vector.body+"x"), key, vector.service, now); err == nil {
				t.Error("another body was accepted")
			}
		})
	}
}

// signed returns the request of get-vanilla, which the cases below spoil.
func signed() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://example.amazonaws.com/", nil)
	r.Header.Set("X-Amz-Date", publishedDate)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "+
		"SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")
	return r
}

func TestRefusals(t *testing.T) {
	at, _ := time.Parse("20060102T150405Z", publishedDate)
	for _, test := range []struct {
		name    string
		spoil   func(*http.Request)
		key     sigv4.Key
		service string
		skew    time.Duration
		kind    string
		want    string
	}{
		{name: "no signature", spoil: func(r *http.Request) { r.Header.Del("Authorization") }, kind: sigv4.Missing, want: "Missing Authentication Token"},
		{name: "a bearer token", spoil: func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, kind: sigv4.Incomplete, want: "requires 'AWS4-HMAC-SHA256' algorithm"},
		{name: "half a signature", spoil: func(r *http.Request) {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host")
		}, kind: sigv4.Incomplete, want: "requires 'Signature' parameter"},
		{name: "half a scope", spoil: func(r *http.Request) {
			r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=x")
		}, kind: sigv4.Incomplete, want: "exactly 5 slash-delimited elements"},
		{name: "another secret", key: sigv4.Key{Secret: "wrong"}, kind: sigv4.Mismatch, want: "does not match the signature you provided"},
		{name: "another method", spoil: func(r *http.Request) { r.Method = http.MethodPut }, kind: sigv4.Mismatch, want: "does not match"},
		{name: "another host", spoil: func(r *http.Request) { r.Host = "evil.example" }, kind: sigv4.Mismatch, want: "does not match"},
		{name: "another service", service: "identitystore", kind: sigv4.Mismatch, want: "Credential should be scoped to correct service: 'identitystore'."},
		{name: "an unsigned x-amz header", spoil: func(r *http.Request) { r.Header.Set("X-Amz-Target", "A.B") }, kind: sigv4.Mismatch, want: "must be a 'SignedHeader'"},
		{name: "a session token that is not the key's", spoil: func(r *http.Request) { r.Header.Set("X-Amz-Security-Token", "t") }, kind: sigv4.UnknownKey, want: "security token included in the request is invalid"},
		{name: "fifteen minutes late", skew: 15 * time.Minute},
		{name: "more than fifteen minutes late", skew: 15*time.Minute + time.Second, kind: sigv4.Mismatch,
			want: "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T125101Z - 15 min.)"},
		{name: "from the future", skew: -15*time.Minute - time.Second, kind: sigv4.Mismatch, want: "Signature not yet current"},
		{name: "a wrong payload hash", spoil: func(r *http.Request) { r.Header.Set("X-Amz-Content-Sha256", "00") }, kind: sigv4.Mismatch, want: "must be a 'SignedHeader'"},
		{name: "no date", spoil: func(r *http.Request) { r.Header.Del("X-Amz-Date") }, kind: sigv4.Incomplete, want: "requires existence of either a 'X-Amz-Date'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := signed()
			if test.spoil != nil {
				test.spoil(r)
			}
			if test.key.Secret == "" {
				test.key.Secret = publishedSecret
			}
			if test.service == "" {
				test.service = "service"
			}
			_, err := sigv4.Verify(r, nil, test.key, test.service, at.Add(test.skew))
			if test.kind == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var refused *sigv4.Error
			if !errors.As(err, &refused) || refused.Code != test.kind || !strings.Contains(refused.Message, test.want) {
				t.Errorf("got %v, want kind %s: …%s…", err, test.kind, test.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature=x")
	f.Add("AWS4-HMAC-SHA256 Credential=,,=")
	f.Fuzz(func(t *testing.T, header string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", header)
		if _, err := sigv4.Verify(r, nil, sigv4.Key{Secret: "s"}, "service", time.Now()); err == nil {
			t.Error("accepted")
		}
	})
}
