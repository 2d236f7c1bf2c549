package rotate_test

import (
	"testing"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/harness"
)

// TestRollover: an alert starts a rollover, an operator approves the deletion, and every
// sign-in succeeds.
func TestRollover(t *testing.T) {
	expectOutcome(t, harness.RolloverScenario(), "done")
}

// TestRollback: AWS accepts nothing that the new certificate signs. The old one is active
// again right after CloudTrail has delivered the first failures, and users sign in.
func TestRollback(t *testing.T) {
	const delivery, everyMinute = 15 * time.Minute, time.Minute
	s := harness.RolloverScenario()
	s.Spec.SignInEvery = everyMinute
	s.Quirks.CloudTrailDelay = delivery
	must(s.Quirks.Set("trust_lag", "240h"))
	s.Prepare = func(h *harness.Harness) { h.TrustsLate = true }
	expectOutcome(t, s, "blocked sign_in_failing", func(t *testing.T, r harness.Result) {
		var activated []clouds.CertificateActivation
		var refused []time.Time
		r.Harness.WithClouds(func(m *clouds.Model) {
			for a := range clouds.EntriesOf[clouds.CertificateActivation](m) {
				activated = append(activated, a)
			}
			signIns, err := m.SignIns(r.Harness.Connection.EntraTenantID, r.Harness.Connection.ServicePrincipalID)
			must(err)
			for _, signIn := range signIns {
				if !signIn.Accepted {
					refused = append(refused, signIn.At)
				}
			}
		})
		if len(activated) != 2 || activated[1].After != r.Harness.OldCertificate() || len(refused) == 0 {
			t.Fatalf("activations %v, %d sign-ins refused", activated, len(refused))
		}
		// three failures, their delivery, and the next look five minutes later, which reads twice
		if took, most := activated[1].At.Sub(activated[0].At), 3*everyMinute+delivery+5*time.Minute+2*time.Minute; took > most {
			t.Errorf("rolled back %s after the activation, want at most %s", took, most)
		}
		if last := refused[len(refused)-1]; last.After(activated[1].At) {
			t.Errorf("a sign-in was refused at %s, after the rollback at %s", last, activated[1].At)
		}
	})
}

// TestRolloverUsesWhatItMade: a rollover that was aborted after the import left its
// certificate. The next one makes no other.
func TestRolloverUsesWhatItMade(t *testing.T) {
	for _, c := range rolloverSituations() {
		if c.name != "rollover situation:aborted after the import, and alerted again" {
			continue
		}
		expectOutcome(t, c.Scenario, "aborted", func(t *testing.T, r harness.Result) {
			records := r.Harness.Current.Load().Engine.Records()
			if len(records) != 2 || records[0].Outcome != "done" || r.Harness.CallCounts["graph.create_certificate"] != 1 {
				t.Errorf("%d certificates were made: %+v", r.Harness.CallCounts["graph.create_certificate"], records)
			}
		})
	}
}
