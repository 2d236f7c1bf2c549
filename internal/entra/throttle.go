package entra

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"entra-aws-exporter/internal/model"
)

// reportInterval keeps the requests to the audit logs within 5 in 10 seconds per
// application and tenant, with a little room for the network's jitter.
// https://learn.microsoft.com/graph/throttling-limits#identity-and-access-reports-best-practices
const reportInterval = 2100 * time.Millisecond

// throttle holds a tenant's requests back, for all of its connections together: the
// audit logs to their documented rate, and each of the two services until the time
// that it asked for in a 429.
type throttle struct {
	reports *rate.Limiter

	mu    sync.Mutex
	until map[bool]time.Time // by whether the request is to the audit logs
}

func newThrottle() *throttle {
	return &throttle{reports: rate.NewLimiter(rate.Every(reportInterval), 1), until: map[bool]time.Time{}}
}

func toReports(request *http.Request) bool {
	return strings.Contains(request.URL.Path, "/auditLogs/")
}

// enter waits until the request may be sent, or fails at once when its deadline
// comes first. A request that is held back was not sent.
func (t *throttle) enter(request *http.Request) error {
	if t == nil {
		return nil
	}
	ctx := request.Context()
	t.mu.Lock()
	until := t.until[toReports(request)]
	t.mu.Unlock()
	if err := sleepUntil(ctx, until); err != nil {
		return err
	}
	if !toReports(request) {
		return nil
	}
	if err := t.reports.Wait(ctx); err != nil {
		// The limiter gives up early; whoever reads a log in parts must see that it
		// was the deadline.
		<-ctx.Done()
		if errors.Is(ctx.Err(), context.Canceled) {
			return ctx.Err()
		}
		return &model.Error{
			Reason: model.ReasonThrottled, Unsent: true, Err: ctx.Err(),
			Detail: "there is more in the audit logs than 5 requests in 10 seconds can read before the deadline",
		}
	}
	return nil
}

// note remembers what a 429 asked for.
func (t *throttle) note(request *http.Request, status int, wait time.Duration) {
	if t == nil || status != http.StatusTooManyRequests || wait == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if until := time.Now().Add(wait); until.After(t.until[toReports(request)]) {
		t.until[toReports(request)] = until
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
			Detail: fmt.Sprintf("Graph asked all of this tenant's requests to wait another %s", wait.Round(time.Second)),
		}
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// mayRetry decides for the SDK whether a request that was answered 429, 503 or 504 is
// sent again. Only readings are, and only if their deadline leaves time for the wait.
func mayRetry(_ time.Duration, retries int, request *http.Request, response *http.Response) bool {
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
