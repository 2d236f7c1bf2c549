package cloudhttp_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

// roundTrip is a transport without a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// responding answers every request with a status and a body.
func responding(status int, header http.Header, body string) roundTrip {
	return func(*http.Request) (*http.Response, error) {
		if header == nil {
			header = http.Header{}
		}
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

// client returns a client with small limits that counts its requests.
func client(transport http.RoundTripper, counts map[string]int) *http.Client {
	options := cloudhttp.Options{
		Version: "1.2.3", Transport: transport,
		Observe: func(service, code string) { counts[service+" "+code]++ },
	}
	return options.Client(cloudhttp.Service{
		Name: "service", MaxBody: 10, UserAgent: "entra-aws-exporter/1.2.3",
		Timeout: func(r *http.Request) time.Duration {
			if r.Method == http.MethodGet {
				return 5 * time.Second
			}
			return 0
		},
	})
}

func do(ctx context.Context, t *testing.T, c *http.Client, method string) (*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, "https://cloud.example/path", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := c.Do(request)
	if err == nil {
		t.Cleanup(func() { _ = response.Body.Close() })
	}
	return response, err
}

func TestExchangeRecordsTheLastRequest(t *testing.T) {
	counts, x := map[string]int{}, &cloudhttp.Exchange{}
	ctx := cloudhttp.WithExchange(t.Context(), x)
	header := http.Header{"Date": {"Sun, 01 Mar 2026 10:00:00 GMT"}, "Content-Type": {"text/html; charset=utf-8"}, "Retry-After": {"7"}}
	response, err := do(ctx, t, client(responding(503, header, "<html>"), counts), http.MethodPut)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "<html>" || response.ContentLength != 6 {
		t.Errorf("body %q of %d bytes, %v", body, response.ContentLength, err)
	}
	want := cloudhttp.Exchange{
		Sent: true, Status: 503, ContentType: "text/html; charset=utf-8", Date: time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
		RetryAfter: 7 * time.Second, ErrorBody: []byte("<html>"), NotJSON: true,
	}
	if got := fmt.Sprintf("%+v", *x); got != fmt.Sprintf("%+v", want) || x.String() != "HTTP status 503 with text/html" {
		t.Errorf("got %s: %s", got, x)
	}
	if _, err := do(ctx, t, client(responding(200, nil, "{}"), counts), http.MethodGet); err != nil || x.ErrorBody != nil || x.NotJSON {
		t.Errorf("after a good one: %+v, %v", *x, err)
	}
	reset := &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	failing := roundTrip(func(*http.Request) (*http.Response, error) { return nil, reset })
	if _, err := do(ctx, t, client(failing, counts), http.MethodGet); !errors.Is(err, reset) || !errors.Is(x.Err, reset) || x.Status != 0 {
		t.Errorf("after a reset: %+v, %v", *x, err)
	}
	if got := fmt.Sprint(counts); got != "map[service 200:1 service 503:1 service error:1]" {
		t.Errorf("counted %s", got)
	}
}

func TestRequestsCarryUserAgentAndLength(t *testing.T) {
	var sent *http.Request
	transport := roundTrip(func(r *http.Request) (*http.Response, error) {
		sent = r
		return responding(204, nil, "")(r)
	})
	body := struct { // as the Graph SDK hands it over: of unknown length
		io.ReadSeeker
		io.Closer
	}{bytes.NewReader([]byte("four")), io.NopCloser(nil)}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://cloud.example/", body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client(transport, map[string]int{}).Transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if sent.ContentLength != 4 || sent.Header.Get("User-Agent") != "entra-aws-exporter/1.2.3" || request.Header.Get("User-Agent") != "" {
		t.Errorf("sent %d bytes by %s; the caller's request has %v", sent.ContentLength, sent.Header.Get("User-Agent"), request.Header)
	}
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hanging := roundTrip(func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() })
		started := time.Now()
		_, err := do(t.Context(), t, client(hanging, map[string]int{}), http.MethodGet)
		if timeout := (*cloudhttp.TimeoutError)(nil); !errors.As(err, &timeout) || time.Since(started) != 5*time.Second {
			t.Errorf("%v after %s", err, time.Since(started))
		}
		// A write has no limit but its caller's deadline, which is no TimeoutError.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		started = time.Now()
		_, err = do(ctx, t, client(hanging, map[string]int{}), http.MethodPut)
		if timeout := (*cloudhttp.TimeoutError)(nil); errors.As(err, &timeout) || !errors.Is(err, context.DeadlineExceeded) || time.Since(started) != time.Minute {
			t.Errorf("%v after %s", err, time.Since(started))
		}
		_, err = do(t.Context(), t, client(responding(200, nil, "eleven byte"), map[string]int{}), http.MethodGet)
		if large := (*cloudhttp.TooLargeError)(nil); !errors.As(err, &large) {
			t.Errorf("got %v", err)
		}
		if response, err := do(t.Context(), t, client(responding(200, nil, "ten bytes!"), map[string]int{}), http.MethodGet); err != nil || response.ContentLength != 10 {
			t.Errorf("got %v", err)
		}
	})
}

func TestNoRedirectIsFollowed(t *testing.T) {
	counts := map[string]int{}
	response, err := do(t.Context(), t, client(responding(302, http.Header{"Location": {"https://elsewhere.example/"}}, ""), counts), http.MethodGet)
	if err != nil || response.StatusCode != http.StatusFound || counts["service 302"] != 1 {
		t.Errorf("%v, %v", err, counts)
	}
}

func TestRetryAfter(t *testing.T) {
	const now = "Sun, 01 Mar 2026 10:00:00 GMT" // of the service, whose clock differs from ours
	for value, want := range map[string]time.Duration{
		"":                              0,
		"30":                            30 * time.Second,
		"0.2":                           time.Second,
		"-5":                            0,
		"soon":                          0,
		"NaN":                           0,
		"600":                           10 * time.Minute,
		"3600":                          cloudhttp.MaxRetryAfter,
		"31536000":                      cloudhttp.MaxRetryAfter,
		"Sun, 01 Mar 2026 11:00:00 GMT": 10 * time.Minute,
		"1e300":                         cloudhttp.MaxRetryAfter,
		"99999999999999":                cloudhttp.MaxRetryAfter,
		"Sun, 01 Mar 2026 10:00:20 GMT": 20 * time.Second,
		"Thu, 01 Jan 1998 00:00:00 GMT": 0,
	} {
		response := &http.Response{Header: http.Header{"Retry-After": {value}, "Date": {now}}}
		if got := cloudhttp.RetryAfter(response); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func TestClassify(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	for name, test := range map[string]struct {
		err    error
		reason model.Reason
		detail string
		unsent bool
	}{
		"too large":         {&cloudhttp.TooLargeError{Limit: 8 << 20}, model.ReasonInvalidResponse, "the response is larger than 8 MiB", false},
		"timeout":           {&cloudhttp.TimeoutError{After: time.Minute}, model.ReasonTimeout, "no complete response within 1m0s", false},
		"deadline":          {fmt.Errorf("get: %w", context.DeadlineExceeded), model.ReasonTimeout, "no response before the deadline", false},
		"canceled":          {context.Canceled, model.ReasonOther, "canceled before the response arrived", false},
		"name":              {&net.DNSError{Err: "no such host", Name: "a.example", IsNotFound: true}, model.ReasonNetwork, "cannot resolve a.example", true},
		"name, timeout":     {&net.DNSError{Err: "i/o timeout", Name: "a.example", IsTimeout: true}, model.ReasonTimeout, "cannot resolve a.example", true},
		"refused":           {dial, model.ReasonNetwork, "dial tcp: connection refused", true},
		"proxy":             {&net.OpError{Op: "proxyconnect", Net: "tcp", Err: dial}, model.ReasonNetwork, "proxyconnect tcp: dial tcp: connection refused", true},
		"reset":             {&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, model.ReasonNetwork, "read tcp: connection reset by peer", false},
		"authority":         {x509.UnknownAuthorityError{}, model.ReasonNetwork, "x509: certificate signed by unknown authority", true},
		"certificate":       {&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, model.ReasonNetwork, "x509: certificate signed by unknown authority", true},
		"no TLS":            {tls.RecordHeaderError{Msg: "not TLS"}, model.ReasonNetwork, "tls: not TLS", true},
		"EOF":               {io.EOF, model.ReasonNetwork, "the connection ended before the response did", false},
		"with a user's URL": {&url.Error{Op: "Get", URL: "https://a.example/?name=ada", Err: errors.New("broken\nada")}, model.ReasonNetwork, "broken ada", false},
	} {
		t.Run(name, func(t *testing.T) {
			got := cloudhttp.Classify(test.err)
			if got.Reason != test.reason || got.Detail != test.detail || got.Unsent != test.unsent {
				t.Errorf("got %+v", got)
			}
			for err := error(got); err != nil; err = errors.Unwrap(err) {
				if strings.Contains(err.Error(), "a.example/") {
					t.Errorf("the URL shows in %v", err)
				}
			}
		})
	}
	if err := cloudhttp.Classify(&url.Error{Err: context.Canceled}); !errors.Is(err, context.Canceled) {
		t.Error("the cause is lost")
	}
}

func TestProxyRefusal(t *testing.T) {
	for name, test := range map[string]struct {
		status      int
		contentType string
		body        string
		want        string // "": it is none
	}{
		"401":                    {401, "text/html", "<html>", "HTTP status 401 with a web page, probably of a proxy or gateway"},
		"403":                    {403, "Text/HTML; charset=utf-8", "", "HTTP status 403 with a web page, probably of a proxy or gateway"},
		"407":                    {407, "text/html", "<html>", "HTTP status 407 with a web page, probably of a proxy or gateway"},
		"without a content type": {403, "", "\n <!doctype html>", "HTTP status 403 with a web page, probably of a proxy or gateway"},
		"wrong content type":     {403, "application/json", "<HTML>", "HTTP status 403 with a web page, probably of a proxy or gateway"},
		"JSON":                   {403, "application/json", "{}", ""},
		"XML":                    {403, "text/xml", "<ErrorResponse>", ""},
		"nothing":                {403, "", "", ""},
		"another status":         {404, "text/html", "<html>", ""},
		"a page of a 503":        {503, "text/html", "<html>", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := cloudhttp.ProxyRefusal(test.status, test.contentType, []byte(test.body))
			switch {
			case test.want == "" && got != nil:
				t.Errorf("got %v", got)
			case test.want != "" && (got == nil || got.Detail != test.want || got.Reason != model.ReasonInvalidResponse || got.Status != test.status):
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestNotSent(t *testing.T) {
	before := &model.Error{Reason: model.ReasonTimeout, Status: 504}
	if after := cloudhttp.NotSent(before); model.CallOutcomeOf(after) != model.CallRefused || before.Unsent {
		t.Errorf("got %+v of %+v", after, before)
	}
}

func TestNotRead(t *testing.T) {
	before := &model.Error{Reason: model.ReasonPermission, Status: 403}
	after, ok := errors.AsType[*model.Error](cloudhttp.NotRead(before))
	if !ok || !after.Unsent || !after.Unread || before.Unsent || before.Unread {
		t.Errorf("got %+v of %+v", after, before)
	}
	if plain := errors.New("plain"); !errors.Is(cloudhttp.NotRead(plain), plain) {
		t.Error("another error is lost")
	}
}

func TestTruncate(t *testing.T) {
	for text, want := range map[string]string{
		"a\nb\x00 \tc":         "a b c",
		"ten bytes!":           "ten bytes!",
		"eleven bytes":         "eleven byt…",
		"\xff":                 "?",
		"nine byteä":           "nine byte…", // not half a letter
		"a\u2028b\u0085c\x7fd": "a b c d",
	} {
		if got := cloudhttp.Truncate(text, 10); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
