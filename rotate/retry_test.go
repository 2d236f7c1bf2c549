package rotate_test

import (
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/test/harness"
)

// injectFor gives every call of this name a fault for a while.
func injectFor(h *harness.Harness, name string, f harness.Fault, during time.Duration) {
	h.Lock()
	defer h.Unlock()
	h.FaultsByName = map[string]harness.Fault{name: f}
	time.AfterFunc(during, func() {
		h.Lock()
		defer h.Unlock()
		h.FaultsByName = nil
	})
}

// TestPersistentFailureIsLogged: after the plan, a rotation retries until it succeeds. It
// logs each kind of error once. After an hour, the log and the status say that it is stalled.
func TestPersistentFailureIsLogged(t *testing.T) {
	const half = 3 * time.Hour
	for _, test := range []struct {
		name    string
		failure func(*harness.Harness)
		waiting model.WaitingReason
		message string
		steps   []string
	}{
		{
			"Entra", func(h *harness.Harness) {
				injectFor(h, "graph.job", harness.Throttled, half)
				time.AfterFunc(half+time.Second, func() { injectFor(h, "graph.job", harness.Refused, half) })
			}, "",
			"corp is stalled in phase retire since 2000-01-01 01:03 UTC: graph.job: other: 400 BadRequest; " +
				"it retries automatically; next: doctor corp.",
			[]string{"step=graph.job: throttled: 429 until the deadline; retrying", "step=graph.job: other: 400 BadRequest; retrying"},
		},
		{
			"the token store", func(h *harness.Harness) {
				h.SetTokensUnreadable(true)
				time.AfterFunc(2*half, func() { h.SetTokensUnreadable(false) })
			}, model.WaitingStoreUnavailable,
			"corp is stalled in phase retire since 2000-01-01 01:03 UTC: reading the token store entry ROTATION-1: permission denied; " +
				"it retries automatically; next: make the state, and the age identity if there is one, readable and writable (doctor tries it).",
			[]string{"step=reading the token store entry ROTATION-1: permission denied; retrying"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := harness.BaseScenario()
			s.Actions = map[string]func(*harness.Harness){"graph.log#1": test.failure}
			var shown []model.RotationStatus
			s.Until = func(h *harness.Harness, p *harness.Process) bool {
				if status := p.Engine.Status(h.Connection.Name); strings.Contains(status.Message, "is stalled in phase") {
					shown = append(shown, status)
				}
				return h.IsOver(p)
			}
			expectOutcome(t, s, "done", expectNoOutage, func(t *testing.T, r harness.Result) {
				timeline := readable(r.Harness, r.Harness.Timeline())
				if n := strings.Count(timeline, "rotation stalled"); n < 4 || n > 6 {
					t.Errorf("logged %d times in six hours, want about every hour", n)
				}
				for _, step := range test.steps {
					if n := strings.Count(timeline, step); n != 1 {
						t.Errorf("%q is %d times in the timeline", step, n)
					}
				}
				if len(shown) < 30 {
					t.Fatalf("shown %d times in six hours, want about every ten minutes", len(shown))
				}
				last := shown[len(shown)-1]
				if got := readable(r.Harness, last.Message); got != test.message || last.Waiting != test.waiting {
					t.Errorf("waiting %q\n%s\nwant %q\n%s", last.Waiting, got, test.waiting, test.message)
				}
			})
		})
	}
}

// TestSwitchBlocksOnPersistentFailure: a transient error has an hour to resolve itself.
// Only a test that was completed counts against a token.
func TestSwitchBlocksOnPersistentFailure(t *testing.T) {
	const tokens = "tokens: OLD (created 1999-01-21 00:00 UTC, expires 2000-01-21 00:00 UTC) and NEW1 (created 2000-01-01 00:10 UTC, expires 2000-12-31 00:10 UTC); "
	const next = tokens + "next: test the connection in Entra, then rotation reset corp."
	for _, test := range []struct {
		name, call string
		fault      harness.Fault
		lasts      time.Duration
		outcome    string
		puts       int // at most
		message    string
	}{
		{"a save without a response, for fifty minutes", "graph.put", harness.ResponseLost, 50 * time.Minute, "done", 12, ""},
		{"a save without a response, for good", "graph.put", harness.ResponseLost, 99 * time.Hour, "blocked switch_failed", 12,
			"corp is blocked in phase switch (switch_failed): token NEW1 was sent to Entra 11 times and no save was confirmed, the last answer was: " +
				"graph.put: timeout: no response; the old token's value is unknown; " + next},
		{"a save that is refused, for fifty minutes", "graph.put", harness.Throttled, 50 * time.Minute, "done", 12, ""},
		{"a save that is refused, for good", "graph.put", harness.Throttled, 99 * time.Hour, "blocked switch_failed", 12,
			"corp is blocked in phase switch (switch_failed): token NEW1 could not be saved to Entra, which keeps what it has: " +
				"graph.put: throttled: 429 until the deadline; " + next},
		{"a test without a result, for fifty minutes", "graph.test", harness.Throttled, 50 * time.Minute, "done", 2, ""},
		{"a test without a result, for good", "graph.test", harness.Throttled, 99 * time.Hour, "blocked switch_failed", 1,
			"corp is blocked in phase switch (switch_failed): token NEW1 was saved to Entra and could not be tested: " +
				"graph.test: throttled: 429 until the deadline; " + next},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := harness.BaseScenario()
			var saving, over time.Time
			s.Actions = map[string]func(*harness.Harness){"scim.probe#3": func(h *harness.Harness) { // right before the first save
				saving = time.Now()
				injectFor(h, test.call, test.fault, test.lasts)
			}}
			s.BeforeCall = func(*harness.Harness, string) { over = time.Now() }
			expectOutcome(t, s, test.outcome, expectNoOutage, func(t *testing.T, r harness.Result) {
				if r.Harness.CallCounts["graph.put"] > test.puts {
					t.Errorf("saved %d times, want at most %d", r.Harness.CallCounts["graph.put"], test.puts)
				}
				if got := readable(r.Harness, r.Status.Message); got != test.message {
					t.Errorf("%s\nwant\n%s", got, test.message)
				}
				if took := over.Sub(saving); took < time.Hour {
					t.Errorf("it retried for %s only", took)
				}
			})
		})
	}
}
