package rotate_test

import (
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/test/harness"
)

// A transient failure never blocks. AWS throttles every deletion for hours, or answers
// 503, or Entra throttles the reading of its credentials for longer than it may refuse a
// new token: the rotation still ends as done.
func TestTransientFailuresNeverBlock(t *testing.T) {
	for _, test := range []struct {
		name, call, before string
		fault              harness.Fault
		lasts              time.Duration
	}{
		{"deletions are throttled", "aws.delete", "scim.probe#1", harness.Throttled, 5 * time.Hour},
		{"deletions are answered 503", "aws.delete", "scim.probe#1", harness.Unavailable, 5 * time.Hour},
		{"deletions do not reach AWS", "aws.delete", "scim.probe#1", harness.Unreachable, 5 * time.Hour},
		{"reading the credentials is throttled", "graph.secrets", "scim.probe#1", harness.Throttled, 4 * time.Hour},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := harness.BaseScenario()
			s.Actions = map[string]func(*harness.Harness){test.before: func(h *harness.Harness) {
				injectFor(h, test.call, test.fault, test.lasts)
			}}
			expectOutcome(t, s, "done", expectNoOutage, func(t *testing.T, r harness.Result) {
				if test.call == "aws.delete" && r.Harness.CallCounts["aws.delete"] < 6 {
					t.Errorf("deleted in %d attempts, so the fault was not long enough", r.Harness.CallCounts["aws.delete"])
				}
				if created := r.Harness.CallCounts["aws.create"]; created != 1 {
					t.Errorf("%d tokens were created, want 1", created)
				}
			})
		})
	}
}

// For a minute after a save, the simulated Entra cannot test it. No operator wants to read
// about that.
func TestSettlingIsNoFailure(t *testing.T) {
	s := harness.BaseScenario()
	expectOutcome(t, s, "done", expectNoOutage, func(t *testing.T, r harness.Result) {
		if timeline := r.Harness.Timeline(); strings.Contains(timeline, "; retrying") {
			t.Errorf("a failure is reported:\n%s", timeline)
		}
	})
}
