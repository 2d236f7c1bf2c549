package app

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"entra-aws-exporter/internal/simulator"
)

// wireFault is a fault of one call on the wire.
type wireFault string

const (
	faultRefused      wireFault = "refused"      // 403, without effect
	faultThrottled    wireFault = "throttled"    // 429
	faultUnavailable  wireFault = "503"          // without effect
	faultReset        wireFault = "reset"        // the connection is reset before the call takes effect
	faultResponseLost wireFault = "answer lost"  // the call takes effect, then the connection is reset
	faultGarbled      wireFault = "garbled"      // the call takes effect, and the 200 has a broken body
	faultHTMLPage     wireFault = "foreign page" // a web page with status 200, without effect
	faultHang         wireFault = "hang"         // no response until the caller times out
	faultLateEffect   wireFault = "late"         // the connection is reset, and the call takes effect a minute later
	faultStale        wireFault = "stale"        // the previous response to the same read
	faultKilledBefore wireFault = "killed before"
	faultKilledAfter  wireFault = "killed after"
	faultNone         wireFault = ""
)

func wireFaults() []wireFault {
	return []wireFault{
		faultRefused, faultThrottled, faultUnavailable, faultReset, faultResponseLost, faultGarbled, faultHTMLPage, faultHang, faultLateEffect, faultStale, faultKilledBefore, faultKilledAfter,
	}
}

// callInjector numbers the calls of one rotation and injects a fault into one of them.
type callInjector struct {
	harness  *harness
	next     http.RoundTripper
	target   int // the number of the call that fails
	fault    wireFault
	onKill   func()
	counting atomic.Bool
	dead     atomic.Bool
	mu       sync.Mutex
	trace    []string // the operations, in the order in which they were called
}

var errKilled = errors.New("this process was killed")

// RoundTrip implements http.RoundTripper.
func (c *callInjector) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case c.dead.Load():
		return nil, errKilled
	case !c.counting.Load():
		return c.next.RoundTrip(r)
	}
	before := c.harness.Calls()
	c.mu.Lock()
	number := len(c.trace)
	c.trace = append(c.trace, "")
	c.mu.Unlock()
	defer func() { // a rotation makes one call at a time
		c.mu.Lock()
		defer c.mu.Unlock()
		c.trace[number] = operationBetween(before, c.harness.Calls())
	}()
	if number != c.target {
		return c.next.RoundTrip(r)
	}
	return c.inject(r)
}

func (c *callInjector) inject(r *http.Request) (*http.Response, error) {
	once := func(fault simulator.Fault) (*http.Response, error) {
		fault.Operation, fault.Times = "*", 1
		c.harness.InjectFault(fault)
		return c.next.RoundTrip(r)
	}
	switch c.fault {
	case faultRefused:
		return once(simulator.Fault{Status: http.StatusForbidden, Code: "AccessDeniedException", Message: "Not now."})
	case faultThrottled:
		return once(simulator.Fault{Status: http.StatusTooManyRequests, Code: "TooManyRequestsException", RetryAfter: "7"})
	case faultUnavailable:
		return once(simulator.Fault{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable"})
	case faultReset:
		return once(simulator.Fault{Effect: simulator.EffectReset})
	case faultHTMLPage:
		return once(simulator.Fault{Effect: simulator.EffectHTML})
	case faultHang:
		return once(simulator.Fault{Effect: simulator.EffectHang})
	case faultLateEffect:
		return once(simulator.Fault{Effect: simulator.EffectLate, Delay: simulator.Duration(time.Minute)})
	case faultStale:
		return once(simulator.Fault{Effect: simulator.EffectStale})
	case faultKilledBefore:
		c.kill()
		return nil, errKilled
	case faultResponseLost, faultGarbled, faultKilledAfter, faultNone:
	}
	response, err := c.next.RoundTrip(r)
	if err != nil {
		return response, err
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	switch {
	case err != nil:
		return nil, err
	case c.fault == faultKilledAfter:
		c.kill()
		return nil, errKilled
	case c.fault == faultGarbled:
		response.StatusCode, response.Status, response.ContentLength = http.StatusOK, "200 OK", -1
		response.Header.Del("Content-Length")
		response.Header.Set("Content-Type", "application/json")
		response.Body = io.NopCloser(strings.NewReader(`{"` + strings.Repeat("x", 50)))
		return response, nil
	}
	return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
}

func (c *callInjector) kill() {
	c.dead.Store(true)
	c.onKill()
}

// operationBetween is the operation whose count has grown.
func operationBetween(before, after map[string]int) string {
	for operation, count := range after {
		if count > before[operation] {
			return operation
		}
	}
	return ""
}
