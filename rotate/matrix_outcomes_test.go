package rotate_test

import (
	"strings"

	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/harness"
)

// The matrix: see docs/rotation-proof.md. A rotation that is blocked or aborted without
// need fails too, so each case names the outcomes that it allows.

// outcomesAfter are the outcomes that a single fault allows.
func outcomesAfter(fault injection) []string {
	outcomes := []string{"done"}
	switch {
	case fault.fault == harness.Terminated: // in good order: nothing is lost by it
	case fault.call == "aws.create":
		outcomes = append(outcomes, "aborted")
		if fault.fault == harness.EffectDelayed {
			outcomes = append(outcomes, "blocked orphan_token")
		}
	case fault.call == "graph.create_certificate":
		outcomes = append(outcomes, "aborted")
	case fault.call == "aws.import_certificate" && fault.fault == harness.Refused:
		outcomes = []string{"blocked import_refused"}
	case fault.call == "graph.activate_certificate" && fault.fault == harness.Refused:
		outcomes = []string{"blocked activation_failed"}
	case strings.HasPrefix(fault.call, "table."), strings.HasPrefix(fault.call, "secrets."):
		outcomes = append(outcomes, "aborted") // at the creation: its intent or its value is lost
	case fault.call == "tokens.write":
		outcomes = append(outcomes, "aborted") // the only copy of the value is lost
	case fault.call == "journal.save" && (fault.next == "aws.create" || fault.next == "graph.create_certificate"):
		outcomes = append(outcomes, "aborted") // the intent was written, and nothing was requested
	}
	return outcomes
}

// outcomesAfterTwo are the outcomes that two faults allow in addition.
var outcomesAfterTwo = []string{"aborted", "blocked orphan_token", "blocked state_restored"}

// losesValue reports whether the fault may lose the value of a created token. Two of them
// exceed the day's rate limit.
func (i injection) losesValue() bool { return i.call == "aws.create" || i.call == "tokens.write" }

// losesActivation reports whether the fault may lose an activation whose intent is written.
// A third attempt needs an operator.
func (i injection) losesActivation() bool {
	return i.call == "graph.activate_certificate" || i.call == "journal.save" && i.next == "graph.activate_certificate"
}

// outcomesUnder are the outcomes that a combination of quirks allows. Where it is a
// blocked reason, nothing but an operator can help.
func outcomesUnder(q clouds.Quirks) []string {
	if q.SecretsGet == clouds.Gone {
		return []string{"blocked api_changed"}
	}
	if q.ExtraKeys == clouds.ExtraMasked {
		return []string{"blocked unknown_secret_keys"}
	}
	if q.PutSecrets == clouds.PutLimited {
		return []string{"blocked storage_limit", "done"}
	}
	outcomes := []string{"done"}
	if q.PutSecrets == clouds.PutKeepsToken || q.PutSecrets == clouds.PutNeedsAll && q.SettingsKeys == clouds.KeysAbsent {
		// The save is dropped: nothing shows it until CloudTrail does, or the old token is gone.
		return append(outcomes, "blocked proof_contradicted", "blocked entra_holds_dead_token", "blocked switch_failed", "blocked switch_reverted")
	}
	if q.SourceAddress == clouds.SourceRefusesExporter && q.InlineTest == clouds.InlineIgnored {
		outcomes = append(outcomes, "aborted", "blocked endpoint_refuses_entra")
	}
	return outcomes
}
