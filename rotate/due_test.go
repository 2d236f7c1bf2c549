package rotate_test

import (
	"testing"

	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/harness"
)

// A rotation that began because the token in use is due never ends done with that token:
// even if Entra lost it, and the token store has its value, a new one is created.
func TestDueTokenIsNoReplacement(t *testing.T) {
	s := shortScenario()
	s.Actions = map[string]func(*harness.Harness){"graph.test#1": func(h *harness.Harness) { h.SaveGarbage() }}
	expectOutcome(t, s, "done", func(t *testing.T, r harness.Result) {
		if r.Harness.CallCounts["aws.create"] != 1 || r.Rotation.NewTokenID == r.Harness.Connection.TokenIDs[0] {
			t.Errorf("created %d tokens, and %s is in use", r.Harness.CallCounts["aws.create"], r.Rotation.NewTokenID)
		}
		for deletion := range clouds.EntriesOf[clouds.Deletion](r.Harness.Clouds) {
			if deletion.TokenID != r.Harness.Connection.TokenIDs[0] {
				t.Errorf("token %s was deleted", deletion.TokenID)
			}
		}
	})
}
