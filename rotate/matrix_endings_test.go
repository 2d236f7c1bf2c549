package rotate_test

import "entra-aws-exporter/test/harness"

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// endingsAfter lists the endings that a single fault may lead to: a rotation that is
// blocked, or given up, without need is a failure too.
func endingsAfter(s injection) []string {
	endings := []string{"done"}
	switch {
	case s.fault == harness.Terminated: // in good order: nothing is lost by it
	case s.call == "aws.create":
		endings = append(endings, "aborted")
		if s.fault == harness.EffectDelayed {
			endings = append(endings, "blocked orphan_token")
		}
	case s.call == "vault.write":
		endings = append(endings, "aborted") // the only copy of the value is lost
	case s.call == "journal.save" && s.next == "aws.create":
		endings = append(endings, "aborted") // the intent was written, and nothing was asked for
	}
	return endings
}

// endingsAfterTwo are what two faults together may lead to besides.
var endingsAfterTwo = []string{"aborted", "blocked orphan_token", "blocked state_restored"}

// losesValue tells whether a created token's value may be lost by a fault. Two of them
// use up the day's budget.
func (s injection) losesValue() bool { return s.call == "aws.create" || s.call == "vault.write" }
