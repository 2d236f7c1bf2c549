package rotate_test

import (
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
)

// ail lets every call of this name go wrong like this for a while.
func (l *lab) ail(name string, f fault, during time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.named = map[string]fault{name: f}
	time.AfterFunc(during, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.named = nil
	})
}

// TestTroubleThatLastsIsTold: after the plan a rotation goes on trying for ever, and says
// what keeps it from getting on: each kind once, and after an hour where an operator looks.
func TestTroubleThatLastsIsTold(t *testing.T) {
	const half = 3 * time.Hour
	for _, test := range []struct {
		name     string
		trouble  func(*lab)
		waiting  model.WaitingReason
		sentence string
		told     []string
	}{
		{
			"a cloud", func(l *lab) {
				l.ail("graph.job", throttled, half)
				time.AfterFunc(half+time.Second, func() { l.ail("graph.job", refused, half) })
			}, "",
			"corp is stalled in phase retire since 2000-01-01 01:03 UTC: graph.job: other: 400 BadRequest; " +
				"it retries automatically; next: doctor corp.",
			[]string{"step=graph.job: throttled: 429 until the deadline; retrying", "step=graph.job: other: 400 BadRequest; retrying"},
		},
		{
			"the vault", func(l *lab) {
				l.seal(true)
				time.AfterFunc(2*half, func() { l.seal(false) })
			}, model.WaitingStoreUnavailable,
			"corp is stalled in phase retire since 2000-01-01 01:03 UTC: reading the token store entry ROTATION-1: permission denied; " +
				"it retries automatically; next: make the state directory, and the age identity if there is one, readable and writable.",
			[]string{"step=reading the token store entry ROTATION-1: permission denied; retrying"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := usual()
			s.hands = map[string]func(*lab){"graph.log#1": test.trouble}
			var shown []model.RotationStatus
			s.until = func(l *lab, ses *session) bool {
				if status := ses.engine.Status(l.at.Name); strings.Contains(status.Message, "is stalled in phase") {
					shown = append(shown, status)
				}
				return l.isOver(ses)
			}
			must(t, s, "done", noGap, func(t *testing.T, o outcome) {
				story := o.lab.readable(o.lab.story())
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
				if got := o.lab.readable(last.Message); got != test.sentence || last.Waiting != test.waiting {
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
		fault      fault
		lasts      time.Duration
		ending     string
		puts       int // at most
		sentence   string
	}{
		{"a save without an answer, for fifty minutes", "graph.put", answerLost, 50 * time.Minute, "done", 12, ""},
		{"a save without an answer, for ever", "graph.put", answerLost, 99 * time.Hour, "blocked switch_failed", 12,
			"corp is blocked in phase switch (switch_failed): token NEW1 was sent to Entra 11 times and no save was confirmed, the last answer was: " +
				"graph.put: timeout: no answer; the old token's value is unknown; " + next},
		{"a save that is refused, for fifty minutes", "graph.put", throttled, 50 * time.Minute, "done", 12, ""},
		{"a save that is refused, for ever", "graph.put", throttled, 99 * time.Hour, "blocked switch_failed", 12,
			"corp is blocked in phase switch (switch_failed): token NEW1 could not be saved to Entra, which keeps what it has: " +
				"graph.put: throttled: 429 until the deadline; " + next},
		{"a test without a verdict, for fifty minutes", "graph.test", throttled, 50 * time.Minute, "done", 2, ""},
		{"a test without a verdict, for ever", "graph.test", throttled, 99 * time.Hour, "blocked switch_failed", 1,
			"corp is blocked in phase switch (switch_failed): token NEW1 was saved to Entra and could not be tested: " +
				"graph.test: throttled: 429 until the deadline; " + next},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := usual()
			var saving, over time.Time
			s.hands = map[string]func(*lab){"scim.probe#3": func(l *lab) { // right before the first save
				saving = time.Now()
				l.ail(test.call, test.fault, test.lasts)
			}}
			s.every = func(*lab, string) { over = time.Now() }
			must(t, s, test.ending, noGap, func(t *testing.T, o outcome) {
				if o.lab.counts["graph.put"] > test.puts {
					t.Errorf("saved %d times, want at most %d", o.lab.counts["graph.put"], test.puts)
				}
				if got := o.lab.readable(o.status.Message); got != test.sentence {
					t.Errorf("%s\nwant\n%s", got, test.sentence)
				}
				if took := over.Sub(saving); took < time.Hour {
					t.Errorf("it gave in after %s", took)
				}
			})
		})
	}
}
