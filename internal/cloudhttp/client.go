// Package cloudhttp makes the HTTP requests of both cloud clients: it limits each
// attempt in time and size, follows no redirect, counts every request, and keeps what
// the SDKs' errors lose.
//
// Read client.go first: it sends one request. exchange.go is the record of a call's
// requests, errors.go classifies a request that got no response.
package cloudhttp

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"
)

// errorBodySize is how much of an error response's body an Exchange keeps, in bytes.
const errorBodySize = 64 << 10

// Options are common to all requests of the cloud clients.
type Options struct {
	Version   string                     // of the exporter, for the User-Agent
	Transport http.RoundTripper          // default: http.DefaultTransport
	Observe   func(service, code string) // called once per request; code is a status or "error"
	Logger    *slog.Logger               // default: none
}

// WithDefaults returns the options with every field set.
func (o Options) WithDefaults() Options {
	o.Version = cmp.Or(o.Version, "unknown")
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	if o.Observe == nil {
		o.Observe = func(string, string) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Application is the name of the exporter in its User-Agent and its AWS sessions.
const Application = "entra-aws-exporter"

// UserAgent names this version of the exporter.
func (o Options) UserAgent() string { return Application + "/" + o.Version }

// Direct returns the options for requests that no proxy can forward: a metadata service
// has a link-local address.
func (o Options) Direct() Options {
	o.Transport = &http.Transport{DisableKeepAlives: true}
	return o
}

// Service is one API of a cloud, with the limits of a request to it.
type Service struct {
	Name      string                            // for Observe
	MaxBody   int64                             // of a response, in bytes
	Timeout   func(*http.Request) time.Duration // of one attempt, its response included; 0: the caller's deadline only
	UserAgent string                            // "": as the SDK sets it
}

// Client returns the HTTP client for one service. It follows no redirect: an access
// token or a signature is meant for one host.
func (o Options) Client(service Service) *http.Client {
	return &http.Client{
		Transport:     &transport{o.WithDefaults(), service},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// transport sends one request and reads the whole response within its limits, so that
// neither a slow nor an endless response reaches the SDK.
type transport struct {
	Options
	service Service
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := request.Context(), context.CancelFunc(func() {})
	limit := t.service.Timeout(request)
	if limit > 0 {
		ctx, cancel = context.WithTimeout(ctx, limit)
	}
	defer cancel()
	attempt := request.Clone(ctx)
	if t.service.UserAgent != "" {
		attempt.Header.Set("User-Agent", t.service.UserAgent)
	}
	setLength(attempt)
	exchange := ExchangeOf(ctx)
	exchange.Sent, exchange.Status, exchange.Err = true, 0, nil
	response, body, err := t.send(attempt)
	if err != nil {
		t.Observe(t.service.Name, "error")
		if request.Context().Err() == nil && ctx.Err() != nil {
			err = &TimeoutError{After: limit}
		}
		exchange.Err = err
		return nil, err
	}
	t.Observe(t.service.Name, strconv.Itoa(response.StatusCode))
	exchange.record(request.Method, response, body)
	if int64(len(body)) > t.service.MaxBody {
		exchange.Err = &TooLargeError{Limit: t.service.MaxBody}
		return nil, exchange.Err
	}
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return response, nil
}

func (t *transport) send(request *http.Request) (*http.Response, []byte, error) {
	response, err := t.Transport.RoundTrip(request)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, t.service.MaxBody+1))
	if err == nil {
		err = request.Context().Err() // a transport may end the body early instead of failing
	}
	return response, body, err
}

// setLength sets the length of a body where an SDK leaves it open: some proxies refuse a
// chunked request.
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

// record keeps what is known of the last response.
func (x *Exchange) record(method string, response *http.Response, body []byte) {
	x.Status, x.ContentType = response.StatusCode, response.Header.Get("Content-Type")
	x.Date, x.RetryAfter = Date(response), RetryAfter(response)
	if x.ErrorBody = nil; x.Status >= http.StatusBadRequest {
		x.ErrorBody = body[:min(len(body), errorBodySize)]
	}
	x.NotJSON = method != http.MethodGet && len(bytes.TrimSpace(body)) > 0 && !json.Valid(body)
}
