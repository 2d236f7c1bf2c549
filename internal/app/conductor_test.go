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

// accident is what befalls one call on its way.
type accident string

const (
	refusedCall    accident = "refused"      // 403, and nothing happens
	throttledCall  accident = "throttled"    // 429
	brokenCall     accident = "503"          // and nothing happens
	resetCall      accident = "reset"        // the connection dies before anything happens
	lostAnswer     accident = "answer lost"  // it takes effect, and the connection dies
	garbledAnswer  accident = "garbled"      // it takes effect, and the answer is a 2xx that is none
	foreignAnswer  accident = "foreign page" // nothing happens, and a web page answers 200
	silentCall     accident = "hang"         // no answer until the caller gives up
	lateEffect     accident = "late"         // the connection dies, and it takes effect a minute later
	staleAnswer    accident = "stale"        // what the same read was answered last
	killedBefore   accident = "killed before"
	killedAfter    accident = "killed after"
	nothingHappens accident = ""
)

func accidents() []accident {
	return []accident{
		refusedCall, throttledCall, brokenCall, resetCall, lostAnswer, garbledAnswer, foreignAnswer, silentCall, lateEffect, staleAnswer, killedBefore, killedAfter,
	}
}

// conductor numbers the calls of one rotation on their way to the simulated clouds, and
// lets an accident befall one of them.
type conductor struct {
	lab      *lab
	next     http.RoundTripper
	at       int // the number of the call that it befalls
	what     accident
	onKill   func()
	counting atomic.Bool
	dead     atomic.Bool
	mu       sync.Mutex
	trace    []string // the operations, in the order in which they were called
}

var errKilled = errors.New("this process is dead")

// RoundTrip implements http.RoundTripper.
func (c *conductor) RoundTrip(r *http.Request) (*http.Response, error) {
	switch {
	case c.dead.Load():
		return nil, errKilled
	case !c.counting.Load():
		return c.next.RoundTrip(r)
	}
	before := c.lab.Calls()
	c.mu.Lock()
	number := len(c.trace)
	c.trace = append(c.trace, "")
	c.mu.Unlock()
	defer func() { // a rotation makes one call at a time
		c.mu.Lock()
		defer c.mu.Unlock()
		c.trace[number] = called(before, c.lab.Calls())
	}()
	if number != c.at {
		return c.next.RoundTrip(r)
	}
	return c.befall(r)
}

func (c *conductor) befall(r *http.Request) (*http.Response, error) {
	once := func(fault simulator.Fault) (*http.Response, error) {
		fault.Operation, fault.Times = "*", 1
		c.lab.fault(fault)
		return c.next.RoundTrip(r)
	}
	switch c.what {
	case refusedCall:
		return once(simulator.Fault{Status: http.StatusForbidden, Code: "AccessDeniedException", Message: "Not now."})
	case throttledCall:
		return once(simulator.Fault{Status: http.StatusTooManyRequests, Code: "TooManyRequestsException", RetryAfter: "7"})
	case brokenCall:
		return once(simulator.Fault{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable"})
	case resetCall:
		return once(simulator.Fault{Effect: simulator.EffectReset})
	case foreignAnswer:
		return once(simulator.Fault{Effect: simulator.EffectHTML})
	case silentCall:
		return once(simulator.Fault{Effect: simulator.EffectHang})
	case lateEffect:
		return once(simulator.Fault{Effect: simulator.EffectLate, Delay: simulator.Duration(time.Minute)})
	case staleAnswer:
		return once(simulator.Fault{Effect: simulator.EffectStale})
	case killedBefore:
		c.kill()
		return nil, errKilled
	case lostAnswer, garbledAnswer, killedAfter, nothingHappens:
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
	case c.what == killedAfter:
		c.kill()
		return nil, errKilled
	case c.what == garbledAnswer:
		response.StatusCode, response.Status, response.ContentLength = http.StatusOK, "200 OK", -1
		response.Header.Del("Content-Length")
		response.Header.Set("Content-Type", "application/json")
		response.Body = io.NopCloser(strings.NewReader(`{"` + strings.Repeat("x", 50)))
		return response, nil
	}
	return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
}

func (c *conductor) kill() {
	c.dead.Store(true)
	c.onKill()
}

// called is the operation that was counted in between.
func called(before, after map[string]int) string {
	for operation, count := range after {
		if count > before[operation] {
			return operation
		}
	}
	return ""
}
