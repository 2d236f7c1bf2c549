package rotate_test

import (
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/harness"
)

// TestBlockWithDeadToken: whatever a rotation is blocked for, Entra is not left with a token
// that AWS refuses, or the reason says so.
func TestBlockWithDeadToken(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func(*harness.Scenario)
		outcome string
		works   bool // what Entra holds
	}{
		{
			"credentials_overwritten by a mistyped token", func(s *harness.Scenario) {
				s.Actions = map[string]func(*harness.Harness){"graph.log#1": (*harness.Harness).SaveGarbage}
			}, "done", true,
		},
		{
			"job_stopped, and the new token was deleted meanwhile", func(s *harness.Scenario) { *s = stoppedWithoutToken() },
			"blocked job_stopped", true,
		},
		{
			"own_credential_expiring, and the token has expired", func(s *harness.Scenario) {
				*s = repairScenario()
				s.Prepare = func(h *harness.Harness) { h.OwnCredentialExpires = time.Now().Add(36 * time.Hour) }
			}, "blocked entra_holds_dead_token", false,
		},
		{
			"unknown_secret_keys, and the token was deleted", func(s *harness.Scenario) {
				*s = repairScenario()
				s.Prepare, s.Quirks = nil, quirk("extra_keys", clouds.ExtraMasked)
			}, "blocked entra_holds_dead_token", false,
		},
		{
			"endpoint_refuses_entra: Entra's token may be alright", blockedScenarios[model.BlockedEndpointRefusesEntra],
			"blocked endpoint_refuses_entra", true,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := harness.BaseScenario()
			test.change(&s)
			expectOutcome(t, s, test.outcome, func(t *testing.T, r harness.Result) {
				r.Harness.WithClouds(func(m *clouds.Model) {
					held := m.SavedToken(r.Harness.Connection.ServicePrincipalID)
					if works := held != "" && m.TokenAccepted(held) == clouds.AcceptedByAll; works != test.works {
						t.Errorf("Entra holds %q, works: %t", held, works)
					}
				})
			})
		})
	}
}

// stoppedWithoutToken is a rotation that waits for a stopped job, while somebody deletes the
// token that Entra holds.
func stoppedWithoutToken() harness.Scenario {
	s := shortScenario()
	s.Prepare = nil
	s.Actions = map[string]func(*harness.Harness){"graph.put#1": func(h *harness.Harness) {
		harness.ActionOn(harness.PauseJob)(h)
		harness.After(3*time.Hour, func(h *harness.Harness, m *clouds.Model) error {
			id := ""
			for c := range clouds.EntriesOf[clouds.Creation](m) {
				id = c.TokenID
			}
			return m.DeleteBearerToken(harness.Operator, h.Connection.IdentityStoreID, h.Connection.ProvisioningTenantID, id)
		})(h)
	}}
	return s
}
