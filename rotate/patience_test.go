package rotate_test

import (
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/test/harness"

	"entra-aws-exporter/internal/model"
)

// injectFor lets every call of this name go wrong like this for a while.
func injectFor(l *harness.Harness, name string, f harness.Fault, during time.Duration) {
	l.Lock()
	defer l.Unlock()
	l.FaultsByName = map[string]harness.Fault{name: f}
	time.AfterFunc(during, func() {
		l.Lock()
		defer l.Unlock()
		l.FaultsByName = nil
	})
}

// TestTroubleThatLastsIsTold: after the plan a rotation goes on trying for ever, and says
// what keeps it from getting on: each kind once, and after an hour where an operator looks.
func TestTroubleThatLastsIsTold(t *testing.T) {
	const half = 3 * time.Hour
	for _, test := range []struct {
		name     string
		trouble  func(*harness.Harness)
		waiting  model.WaitingReason
		sentence string
		told     []string
	}{
		{
			"a cloud", func(l *harness.Harness) {
				injectFor(l, "graph.job", harness.Throttled, half)
				time.AfterFunc(half+time.Second, func() { injectFor(l, "graph.job", harness.Refused, half) })
			}, "",
			"corp is stalled in phase retire since 2000-01-01 01:03 UTC: graph.job: other: 400 BadRequest; " +
				"it retries automatically; next: doctor corp.",
			[]string{"step=graph.job: throttled: 429 until the deadline; retrying", "step=graph.job: other: 400 BadRequest; retrying"},
		},
		{
			"the vault", func(l *harness.Harness) {
				l.SetTokensUnreadable(true)
				time.AfterFunc(2*half, func() { l.SetTokensUnreadable(false) })
			}, model.WaitingStoreUnavailable,
			"corp is stalled in phase retire since 2000-01-01 01:03 UTC: reading the token store entry ROTATION-1: permission denied; " +
				"it retries automatically; next: make the state directory, and the age identity if there is one, readable and writable.",
			[]string{"step=reading the token store entry ROTATION-1: permission denied; retrying"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := harness.BaseScenario()
			s.Actions = map[string]func(*harness.Harness){"graph.log#1": test.trouble}
			var shown []model.RotationStatus
			s.Until = func(l *harness.Harness, ses *harness.Process) bool {
				if status := ses.Engine.Status(l.Connection.Name); strings.Contains(status.Message, "is stalled in phase") {
					shown = append(shown, status)
				}
				return l.IsOver(ses)
			}
			mustEnd(t, s, "done", expectNoOutage, func(t *testing.T, o harness.Result) {
				story := readable(o.Harness, o.Harness.Timeline())
				if n := strings.Count(story, "rotation stalled"); n < 4 || n > 6 {
					t.Errorf("told %d times in six hours, want about every hour", n)
				}
				for _, step := range test.told {
					if n := strings.Count(story, step); n != 1 {
						t.Errorf("%q stands %d times in the story", step, n)
					}
				}
				if len(shown) < 30 {
					t.Fatalf("shown %d times, looking every ten minutes for six hours", len(shown))
				}
				last := shown[len(shown)-1]
				if got := readable(o.Harness, last.Message); got != test.sentence || last.Waiting != test.waiting {
					t.Errorf("waiting %q\n%s\nwant %q\n%s", last.Waiting, got, test.waiting, test.sentence)
				}
			})
		})
	}
}

// TestTheSwitchGivesInOnWhatLasts: an error that may pass has an hour to do so, and only a
// test that was made speaks against a token.
func TestTheSwitchGivesInOnWhatLasts(t *testing.T) {
	const tokens = "tokens: OLD (created 1999-01-21 00:00 UTC, expires 2000-01-21 00:00 UTC) and NEW1 (created 2000-01-01 00:10 UTC, expires 2000-12-31 00:10 UTC); "
	const next = tokens + "next: test the connection in Entra, then rotation reset corp."
	for _, test := range []struct {
		name, call string
		fault      harness.Fault
		lasts      time.Duration
		ending     string
		puts       int // at most
		sentence   string
	}{
		{"a save without an answer, for fifty minutes", "graph.put", harness.ResponseLost, 50 * time.Minute, "done", 12, ""},
		{"a save without an answer, for ever", "graph.put", harness.ResponseLost, 99 * time.Hour, "blocked switch_failed", 12,
			"corp is blocked in phase switch (switch_failed): token NEW1 was sent to Entra 11 times and no save was confirmed, the last answer was: " +
				"graph.put: timeout: no answer; the old token's value is unknown; " + next},
		{"a save that is refused, for fifty minutes", "graph.put", harness.Throttled, 50 * time.Minute, "done", 12, ""},
		{"a save that is refused, for ever", "graph.put", harness.Throttled, 99 * time.Hour, "blocked switch_failed", 12,
			"corp is blocked in phase switch (switch_failed): token NEW1 could not be saved to Entra, which keeps what it has: " +
				"graph.put: throttled: 429 until the deadline; " + next},
		{"a test without a verdict, for fifty minutes", "graph.test", harness.Throttled, 50 * time.Minute, "done", 2, ""},
		{"a test without a verdict, for ever", "graph.test", harness.Throttled, 99 * time.Hour, "blocked switch_failed", 1,
			"corp is blocked in phase switch (switch_failed): token NEW1 was saved to Entra and could not be tested: " +
				"graph.test: throttled: 429 until the deadline; " + next},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := harness.BaseScenario()
			var saving, over time.Time
			s.Actions = map[string]func(*harness.Harness){"scim.probe#3": func(l *harness.Harness) { // right before the first save
				saving = time.Now()
				injectFor(l, test.call, test.fault, test.lasts)
			}}
			s.BeforeCall = func(*harness.Harness, string) { over = time.Now() }
			mustEnd(t, s, test.ending, expectNoOutage, func(t *testing.T, o harness.Result) {
				if o.Harness.CallCounts["graph.put"] > test.puts {
					t.Errorf("saved %d times, want at most %d", o.Harness.CallCounts["graph.put"], test.puts)
				}
				if got := readable(o.Harness, o.Status.Message); got != test.sentence {
					t.Errorf("%s\nwant\n%s", got, test.sentence)
				}
				if took := over.Sub(saving); took < time.Hour {
					t.Errorf("it gave in after %s", took)
				}
			})
		})
	}
}
