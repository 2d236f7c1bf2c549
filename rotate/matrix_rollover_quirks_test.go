package rotate_test

import (
	"slices"
	"testing"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/covering"
	"entra-aws-exporter/test/harness"
)

// The matrix of the certificate's rollover: see docs/rotation-proof.md.

// coupledRolloverQuirks meet each other around the activation: when is which certificate
// trusted, shown, signed with, and seen in a log.
var coupledRolloverQuirks = []string{"directory_lag", "signer_uptake", "created_certificate", "trust_list_lag", "trust_lag", "cloudtrail", "sign_in_noise"}

// otherRolloverQuirks are the rest of them, and some of the coupled ones once more. With
// app_policy and certificate_use a rollover ends before it meets another: the blocked cases
// have these two.
var otherRolloverQuirks = []string{"directory_lag", "created_certificate", "trust_list_lag", "trust_slots", "second_import", "last_certificate", "expired_signer", "cloudtrail_delay", "log_delay"}

// TestRolloverQuirkMatrix runs a whole rollover, and one with a fault at an operation,
// under each combination of behaviours that AWS and Entra may turn out to have.
func TestRolloverQuirkMatrix(t *testing.T) {
	coupled := covering.Named(coupledRolloverQuirks...)
	for i, q := range coupled {
		if q.Name == "cloudtrail" { // whose access keys mean nothing to sign-ins
			coupled[i].Values = []string{clouds.TrailPerToken, clouds.TrailAbsent}
		}
	}
	coverageOf(model.ProcedureCertificate).runQuirks(t, coupled, covering.Named(otherRolloverQuirks...), 60, 60, rolloverQuirkCases)
}

// rolloverQuirkCases are the two cases of one combination.
func rolloverQuirkCases(quirks clouds.Quirks) []matrixCase {
	whole, faulty := rolloverScenario(), rolloverScenario()
	whole.Quirks, faulty.Quirks = quirks, quirks
	hash := hashOf(quirks.String())
	operations := []string{"graph.create_certificate#1", "aws.import_certificate#1", "graph.activate_certificate#1", "aws.delete_certificate#1", "journal.save#20"}
	faults := []harness.Fault{harness.KilledAfter, harness.ResponseLost, harness.KilledBefore, harness.EffectDelayed}
	where, f := operations[hash%5], faults[hash/5%4]
	if where == "journal.save#20" {
		f = faults[hash/5%3]
	}
	faulty.FaultsByName = map[string]harness.Fault{where: f}
	allowed := []string{"done"}
	return []matrixCase{
		{Scenario: whole, name: "rollover quirks:" + quirks.String(), allowed: allowed},
		{Scenario: faulty, name: "rollover quirks:" + quirks.String() + ":" + string(f) + " " + where, allowed: append(slices.Clone(allowed), "aborted")},
	}
}
