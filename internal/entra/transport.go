package entra

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

const (
	attemptTimeout = 30 * time.Second // of one GET, its response included; a write has its call's deadline

	maxGraph    = 32 << 20 // bytes; the largest legitimate response is a page of the provisioning log
	maxMetadata = 4 << 20
	maxSignIn   = 1 << 20
)

// newHTTPClient returns the client for one service. The throttle may be nil.
func newHTTPClient(options cloudhttp.Options, service string, maxBody int64, limits *throttle) *http.Client {
	timeout := func(request *http.Request) time.Duration {
		if request.Method == http.MethodGet {
			return attemptTimeout
		}
		return 0
	}
	client := options.Client(cloudhttp.Service{Name: service, MaxBody: maxBody, Timeout: timeout, UserAgent: options.UserAgent()})
	client.Transport = &sdkTransport{next: client.Transport, limits: limits}
	return client
}

// sdkTransport changes responses where the SDKs misread them.
type sdkTransport struct {
	next   http.RoundTripper
	limits *throttle
}

// RoundTrip implements http.RoundTripper.
func (t *sdkTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := t.limits.wait(request); err != nil {
		return nil, err
	}
	response, err := t.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if response.Header.Get("Retry-After") != "" { // the SDKs read whole seconds only, and dates by this host's clock
		wait := max(cloudhttp.RetryAfter(response), time.Second)
		response.Header.Set("Retry-After", strconv.Itoa(int(wait.Seconds())))
		if response.StatusCode == http.StatusTooManyRequests {
			t.limits.pause(request, wait)
		}
	}
	// An odd challenge crashes the SDK's parser, and a good one makes it repeat the
	// request, which no write may be. Our tokens never ask for challenges.
	response.Header.Del("WWW-Authenticate")
	return response, nil
}

// reportInterval keeps the requests to the audit logs within 5 in 10 seconds per
// application and tenant, with a little room for the network's jitter.
// https://learn.microsoft.com/graph/throttling-limits#identity-and-access-reports-best-practices
const reportInterval = 2100 * time.Millisecond

// throttle delays a tenant's requests, for all of its connections together: the audit
// logs to their documented rate, and each service until the time that it asked for in a
// 429. Graph's limits are per service.
// https://learn.microsoft.com/graph/throttling-limits
type throttle struct {
	reports *rate.Limiter

	mu    sync.Mutex
	until map[string]time.Time // by serviceOf the request
}

func newThrottle() *throttle {
	return &throttle{reports: rate.NewLimiter(rate.Every(reportInterval), 1), until: map[string]time.Time{}}
}

// The services behind Graph with limits of their own.
const (
	auditLogs       = "auditLogs"
	synchronization = "synchronization" // the provisioning jobs
	directory       = "directory"       // applications and all other objects
)

func serviceOf(request *http.Request) string {
	switch path := request.URL.Path; {
	case strings.Contains(path, "/auditLogs/"):
		return auditLogs
	case strings.Contains(path, "/synchronization/"):
		return synchronization
	default:
		return directory
	}
}

// wait returns when the request may be sent, or fails at once when its deadline comes
// first. A delayed request was not sent.
func (t *throttle) wait(request *http.Request) error {
	if t == nil {
		return nil
	}
	ctx, service := request.Context(), serviceOf(request)
	t.mu.Lock()
	until := t.until[service]
	t.mu.Unlock()
	if err := sleepUntil(ctx, until); err != nil || service != auditLogs {
		return err
	}
	if err := t.reports.Wait(ctx); err != nil {
		// The limiter fails early. A caller that reads a log in parts must see that the
		// deadline has passed.
		<-ctx.Done()
		if errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		return &model.Error{
			Reason: model.ReasonThrottled, Unsent: true, Err: ctx.Err(),
			Detail: "the audit logs hold more than 5 requests in 10 seconds can read before the deadline",
		}
	}
	return nil
}

// pause delays all requests to the service that answered with a 429.
func (t *throttle) pause(request *http.Request, wait time.Duration) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if until, service := time.Now().Add(wait), serviceOf(request); until.After(t.until[service]) {
		t.until[service] = until
	}
}

func sleepUntil(ctx context.Context, until time.Time) error {
	wait := time.Until(until)
	if wait <= 0 {
		return nil
	}
	if deadline, limited := ctx.Deadline(); limited && deadline.Before(until) {
		return &model.Error{
			Reason: model.ReasonThrottled, Unsent: true, Status: http.StatusTooManyRequests,
			Detail: fmt.Sprintf("Graph asked this tenant to wait another %s", wait.Round(time.Second)),
		}
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// shouldRetry decides for the SDK whether a request is sent again after a 429, 503 or
// 504: only a read, and only if its deadline leaves time for the wait.
func shouldRetry(_ time.Duration, retries int, request *http.Request, response *http.Response) bool {
	if request.Method != http.MethodGet {
		return false
	}
	wait := time.Duration(4<<retries) * time.Second // the SDK's own, rounded up
	if asked, err := time.ParseDuration(response.Header.Get("Retry-After") + "s"); err == nil {
		wait = asked
	}
	deadline, limited := request.Context().Deadline()
	return !limited || time.Until(deadline) > wait
}
