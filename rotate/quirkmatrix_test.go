package rotate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"entra-aws-exporter/test/harness"

	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/covering"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// TestQuirkMatrix plays a whole rotation, and one with a crash, in every world that the
// real clouds might turn out to be: the full product of the quirks that touch the switch
// together, and three-wise covering for the rest.
func TestQuirkMatrix(t *testing.T) {
	const sample = 250
	var coupled, others []clouds.Quirk
	for _, q := range clouds.AllQuirks() {
		if q.Coupled {
			coupled = append(coupled, q)
		} else {
			others = append(others, q)
		}
	}
	product := slices.Collect(clouds.Product(clouds.DefaultQuirks(), coupled))
	rows := covering.Triples(clouds.DefaultQuirks(), others)
	enumerated := len(product)
	if !full() {
		slices.SortFunc(product, func(a, b clouds.Quirks) int { return strings.Compare(hashedName(a), hashedName(b)) })
		product = product[:sample]
		slices.SortFunc(rows, func(a, b clouds.Quirks) int { return strings.Compare(hashedName(a), hashedName(b)) })
		rows = rows[:min(sample/2, len(rows))]
	}
	reached := newCoverage()
	var trials []matrixCase
	for _, quirks := range slices.Concat(product, rows) {
		trials = append(trials, quirky(quirks)...)
	}
	reached.run(t, shared(trials))
	t.Logf("%d combinations (of %d of the coupled quirks, %d covering the others three by three), each with and without a crash",
		len(product)+len(rows), enumerated, len(rows))
	reached.report(t)
}

func hashedName(q clouds.Quirks) string { return fmt.Sprintf("%016x", number(q.String())) }

// crashes are where the process dies in the rotation with a crash, one for each combination.
var crashes = []string{"aws.create#1", "graph.put#1", "graph.put#2", "aws.delete#1", "vault.write#2", "journal.save#20"}

// quirky are the two trials of one combination.
func quirky(quirks clouds.Quirks) []matrixCase {
	whole := shortScenario()
	whole.Quirks = quirks
	crash := shortScenario()
	crash.Quirks = quirks
	where := crashes[number(quirks.String())%uint64(len(crashes))]
	crash.FaultsByName = map[string]harness.Fault{where: harness.KilledAfter}
	allowed := endingsOf(quirks)
	killed := slices.Concat(allowed, []string{"aborted", "blocked orphan_token"})
	if quirks.PutSecrets == clouds.PutLimited {
		killed = append(killed, "blocked switch_failed") // one PUT without an answer among those refused: it may be saved
	}
	return []matrixCase{
		{Scenario: whole, name: "quirks:" + quirks.String(), allowed: allowed},
		{Scenario: crash, name: "quirks:" + quirks.String() + ":killed after " + where, allowed: killed},
	}
}

// endingsOf is the table of endings by what the clouds do. Where it names a reason, a
// person must act: nothing that a program may do would help.
func endingsOf(q clouds.Quirks) []string {
	if q.SecretsGet == clouds.Gone {
		return []string{"blocked api_changed"}
	}
	if q.ExtraKeys == clouds.ExtraMasked {
		return []string{"blocked unknown_secret_keys"}
	}
	endings := []string{}
	dropped := q.PutSecrets == clouds.PutKeepsToken || q.PutSecrets == clouds.PutNeedsAll && q.SettingsKeys == clouds.KeysAbsent
	switch {
	case q.PutSecrets == clouds.PutLimited:
		return []string{"blocked storage_limit", "done"}
	case dropped:
		// nothing shows it until the log does, or the old token is gone
		return []string{"blocked proof_contradicted", "blocked entra_holds_dead_token", "blocked switch_failed", "blocked switch_reverted", "done"}
	default:
		endings = append(endings, "done")
	}
	if q.SourceAddress == clouds.SourceRefusesExporter && q.InlineTest == clouds.InlineIgnored {
		endings = append(endings, "aborted", "blocked endpoint_refuses_entra")
	}
	return endings
}
