package rotate_test

import (
	"context"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/token"
	"entra-aws-exporter/test/harness"
)

// AWS accepts the exporter's address and refuses Entra's. No token helps: none is created
// where the journal knows the saved value, and none is saved twice where it does not.
func TestEndpointRefusesOnlyEntra(t *testing.T) {
	for _, test := range []struct {
		name           string
		prepare        func(*harness.Harness)
		creates, saves int
	}{
		{"the saved value is known", func(h *harness.Harness) { storeOldValue(h); saveEarlierRotation(h, nil) }, 0, 0},
		{"the saved value is unknown", func(*harness.Harness) {}, 1, 1},
		{"the audit log cannot be read", func(h *harness.Harness) {
			storeOldValue(h)
			saveEarlierRotation(h, nil)
			h.Deny(clouds.ReadDirectoryAudits)
		}, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := harness.BaseScenario()
			s.Prepare = func(h *harness.Harness) { test.prepare(h); h.AllowOnlyFrom(clouds.ExporterAddress) }
			expectOutcome(t, s, "blocked endpoint_refuses_entra", func(t *testing.T, r harness.Result) {
				if creates, saves := r.Harness.CallCounts["aws.create"], r.Harness.CallCounts["graph.put"]; creates != test.creates || saves != test.saves {
					t.Errorf("%d tokens were created and %d saved, want %d and %d", creates, saves, test.creates, test.saves)
				}
			})
		})
	}
	t.Run("the saved value is another one", func(t *testing.T) { // then a save does help
		s := harness.BaseScenario()
		s.Quirks.InlineTest = clouds.InlineIgnored
		s.Prepare = func(h *harness.Harness) { storeOldValue(h); saveEarlierRotation(h, nil); h.SaveGarbage() }
		expectOutcome(t, s, "done")
	})
}

// expiredAssertion is an Entra that takes the exporter's assertion for expired.
type expiredAssertion struct{ token.Provisioning }

func (expiredAssertion) Job(context.Context) (model.Job, error) {
	return model.Job{}, &model.Error{Reason: model.ReasonAuth, Op: "reading the provisioning job", Code: "AADSTS700024"}
}

// A clock that is ten minutes behind makes Entra refuse the sign-in. The clock is the
// reason, not the credential.
func TestWrongClockExplainsRefusedSignIn(t *testing.T) {
	s := harness.BaseScenario()
	s.Prepare = func(h *harness.Harness) {
		h.Clouds.SetSkew(clouds.Skew{AWS: 10 * time.Minute, Entra: 10 * time.Minute})
		h.Configure = func(c token.Options) []token.Options {
			c.Provisioning = expiredAssertion{c.Provisioning}
			return []token.Options{c}
		}
	}
	expectOutcome(t, s, "blocked clock", expectNoOutage)
}

// The token that an operator names was the due one. Once it is deleted, nothing is left to do.
func TestRetireTokenLeavesNothingDue(t *testing.T) {
	s := harness.BaseScenario()
	s.Spec.Tokens = []clouds.TokenSpec{{Age: 345 * day, Left: 20 * day}, {Age: 10 * day, Left: 355 * day, Saved: true}}
	s.Begin = func(h *harness.Harness, p *harness.Process) {
		err := p.Engine.Start(context.Background(), h.Connection.Name, harness.StartOptions{RetireToken: h.Connection.TokenIDs[0]})
		h.Note("operator names a token: %v", err)
	}
	expectOutcome(t, s, "aborted", expectNoOutage, expectSteps("(named)", "is deleted, as the operator asked"), func(t *testing.T, r harness.Result) {
		if r.Rotation.Reason != token.ReasonRetired || r.Harness.CallCounts["aws.create"] != 0 {
			t.Errorf("%+v", r.Rotation)
		}
	})
}

// The speedup divides every wait of a rotation but those for CloudTrail's whole seconds, and
// how long its own credential must live.
func TestSpeedupDividesEveryWait(t *testing.T) {
	const speedup = 5
	took := func(speedup int) (duration time.Duration) {
		s := harness.BaseScenario()
		s.Prepare = func(h *harness.Harness) {
			storeOldValue(h)
			h.Speedup, h.OwnCredentialExpires = speedup, time.Now().Add(72*time.Hour/time.Duration(speedup))
			_ = h.Clouds.SetSpeed(float64(speedup))
		}
		expectOutcome(t, s, "done", func(_ *testing.T, r harness.Result) { duration = r.Rotation.Ended.Sub(r.Rotation.Started) })
		return duration
	}
	whole, shortened := took(1), took(speedup)
	if limit := whole/speedup + 3*time.Minute; shortened > limit { // a cycle may begin later
		t.Errorf("a rotation takes %s, and %s with a speedup of %d; want at most %s", whole, shortened, speedup, limit)
	}
}
