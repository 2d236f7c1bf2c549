package entra

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"
)

const (
	readLimit    = 90 * time.Second // a reading, the waits for a throttled Graph included
	attemptLimit = 30 * time.Second // one request of it, with its answer's body
	actLimit     = 20 * time.Second // an act

	answerSize   = 32 << 20 // bytes; the largest legitimate answer is a page of the provisioning log
	metadataSize = 4 << 20
	signInSize   = 1 << 20
	failureSize  = 64 << 10 // of an error's body, what is kept to explain it
)

// errTooLarge is an answer beyond what its service can legitimately send.
var errTooLarge = errors.New("the answer is too large")

// errNoAnswer is the end of an attempt's own limit, while the caller still had time.
var errNoAnswer = fmt.Errorf("no answer within %s", attemptLimit)

// web makes every HTTP request to Microsoft: one place for limits and counting.
type web struct {
	agent     string
	transport http.RoundTripper
	observe   func(service, code string)
}

func newWeb(o TenantOptions) *web {
	w := &web{agent: "entra-aws-exporter/" + o.Version, transport: o.Transport, observe: o.Observe}
	if o.Version == "" {
		w.agent += "unknown"
	}
	if w.transport == nil {
		w.transport = http.DefaultTransport
	}
	if w.observe == nil {
		w.observe = func(string, string) {}
	}
	return w
}

// client returns the HTTP client for one service. It follows no redirect: an access
// token is meant for one host.
func (w *web) client(service string, size int64, throttle *throttle) *http.Client {
	return &http.Client{
		Transport:     &wire{web: w, service: service, size: size, throttle: throttle},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// exchange is what was seen on the wire during one call: what the SDKs' errors lose.
// It belongs to the goroutine that makes the call.
type exchange struct {
	sent    bool      // a request may have reached the service
	status  int       // of the last answer; 0: none
	kind    string    // its Content-Type
	date    time.Time // the service's clock; zero: it did not say
	wait    time.Duration
	failure []byte // the beginning of the body of an answer of 400 and above
	foreign bool   // an act was answered with something that is not Graph's
	err     error  // why the last request got no answer
}

type exchangeKey struct{}

func withExchange(ctx context.Context, x *exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, x)
}

func exchangeOf(ctx context.Context) *exchange {
	if x, ok := ctx.Value(exchangeKey{}).(*exchange); ok {
		return x
	}
	return &exchange{}
}

// wire sends one request and reads the whole answer within its limits, so that neither
// a trickle nor a flood reaches the SDK.
type wire struct {
	*web
	service  string
	size     int64
	throttle *throttle // nil: none
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(request *http.Request) (*http.Response, error) {
	x := exchangeOf(request.Context())
	if err := w.throttle.enter(request); err != nil {
		return nil, err
	}
	ctx, cancel := request.Context(), context.CancelFunc(func() {})
	if request.Method == http.MethodGet {
		ctx, cancel = context.WithTimeout(ctx, attemptLimit)
	}
	defer cancel()
	attempt := request.Clone(ctx)
	attempt.Header.Set("User-Agent", w.agent)
	setLength(attempt)

	x.sent, x.status, x.err = true, 0, nil
	response, body, err := w.send(attempt)
	if err != nil {
		w.observe(w.service, "error")
		if request.Context().Err() == nil && ctx.Err() != nil {
			err = errNoAnswer
		}
		x.err = err
		return nil, err
	}
	w.observe(w.service, strconv.Itoa(response.StatusCode))
	x.status, x.kind = response.StatusCode, response.Header.Get("Content-Type")
	x.date, _ = http.ParseTime(response.Header.Get("Date"))
	if x.failure = nil; x.status >= http.StatusBadRequest {
		x.failure = body[:min(len(body), failureSize)]
	}
	// What a proxy made up must not count as an act that was done.
	x.foreign = request.Method != http.MethodGet && len(bytes.TrimSpace(body)) > 0 && !json.Valid(body)
	if int64(len(body)) > w.size {
		x.err = errTooLarge
		return nil, errTooLarge
	}
	x.wait = rewriteRetryAfter(response, x.date)
	w.throttle.note(request, x.status, x.wait)
	// The SDK would parse a challenge in a way that an odd one crashes, and then send
	// the request again, which no act may be. Our tokens never ask for challenges.
	response.Header.Del("WWW-Authenticate")
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return response, nil
}

func (w *wire) send(request *http.Request) (*http.Response, []byte, error) {
	response, err := w.transport.RoundTrip(request)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, w.size+1))
	if err == nil {
		err = request.Context().Err() // what arrived until then may be torn
	}
	return response, body, err
}

// setLength tells the length of a body, which the SDK leaves open: a chunked request
// is refused by some proxies.
func setLength(request *http.Request) {
	body, ok := request.Body.(io.Seeker)
	if !ok || request.ContentLength != 0 {
		return
	}
	if length, err := body.Seek(0, io.SeekEnd); err == nil {
		request.ContentLength = length
	}
	_, _ = body.Seek(0, io.SeekStart)
}

// rewriteRetryAfter returns how long the service asks to wait, and leaves it in the
// header as whole seconds. A date is taken by the service's own clock, not ours.
func rewriteRetryAfter(response *http.Response, now time.Time) time.Duration {
	value := response.Header.Get("Retry-After")
	if value == "" {
		return 0
	}
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil {
		at, err := http.ParseTime(value)
		if now.IsZero() {
			now = time.Now()
		}
		if err == nil {
			seconds = at.Sub(now).Seconds()
		}
	}
	if math.IsNaN(seconds) {
		seconds = 0
	}
	seconds = math.Ceil(min(max(seconds, 1), (365 * 24 * time.Hour).Seconds()))
	response.Header.Set("Retry-After", strconv.Itoa(int(seconds)))
	return time.Duration(seconds) * time.Second
}
