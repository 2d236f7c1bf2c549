package rotate

import (
	"testing"

	"entra-aws-exporter/internal/simulator/world"
)

func TestARotationFromAlertToProof(t *testing.T) {
	play(t, usual(), func(t *testing.T, o outcome) {
		if testing.Verbose() {
			t.Log(o.lab.story())
			t.Log(len(o.lab.trace), o.lab.trace)
		}
		if o.ending != "done" {
			t.Fatalf("ended %s, want done\n%s", o.ending, o.lab.story())
		}
		var deletions []string
		for d := range world.RecordsOf[world.Deletion](o.lab.world) {
			deletions = append(deletions, d.TokenID)
		}
		if len(deletions) != 1 || deletions[0] != o.lab.at.TokenIDs[0] {
			t.Errorf("deleted %v, want the old token %v alone", deletions, o.lab.at.TokenIDs)
		}
		if gaps := o.lab.world.Gaps(); len(gaps) > 0 {
			t.Errorf("provisioning was interrupted: %v", gaps)
		}
	})
}
