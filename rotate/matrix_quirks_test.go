package rotate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/covering"
	"entra-aws-exporter/test/harness"
)

// The matrix: see docs/rotation-proof.md.

// TestQuirkMatrix runs a whole rotation, and one with a crash, under each combination of
// behaviours that AWS and Entra may turn out to have. The coupled quirks are combined in
// full, the others three-wise.
func TestQuirkMatrix(t *testing.T) {
	const sample = 250
	var coupled, others []clouds.Quirk
	for _, q := range clouds.AllQuirks() {
		switch q.Kind {
		case clouds.Coupled:
			coupled = append(coupled, q)
		case clouds.Single:
			others = append(others, q)
		case clouds.Wire: // the engine does not see the wire
		}
	}
	product := slices.Collect(covering.Product(clouds.DefaultQuirks(), coupled))
	rows := covering.Triples(clouds.DefaultQuirks(), others)
	enumerated := len(product)
	if !fullMatrix() {
		slices.SortFunc(product, func(a, b clouds.Quirks) int { return strings.Compare(hashedName(a), hashedName(b)) })
		product = product[:sample]
		slices.SortFunc(rows, func(a, b clouds.Quirks) int { return strings.Compare(hashedName(a), hashedName(b)) })
		rows = rows[:min(sample/2, len(rows))]
	}
	reached := newCoverage()
	var cases []matrixCase
	for _, quirks := range slices.Concat(product, rows) {
		cases = append(cases, quirkCases(quirks)...)
	}
	reached.run(t, sampled(cases))
	t.Logf("%d combinations (of %d of the coupled quirks, %d covering the others three by three), each with and without a crash",
		len(product)+len(rows), enumerated, len(rows))
	reached.report(t)
}

func hashedName(q clouds.Quirks) string { return fmt.Sprintf("%016x", hashOf(q.String())) }

// crashPoints are the calls after which the process dies. Each combination has one of them.
var crashPoints = []string{"aws.create#1", "graph.put#1", "graph.put#2", "aws.delete#1", "tokens.write#2", "journal.save#20"}

// quirkCases are the two cases of one combination.
func quirkCases(quirks clouds.Quirks) []matrixCase {
	whole := shortScenario()
	whole.Quirks = quirks
	crash := shortScenario()
	crash.Quirks = quirks
	where := crashPoints[hashOf(quirks.String())%uint64(len(crashPoints))]
	crash.FaultsByName = map[string]harness.Fault{where: harness.KilledAfter}
	allowed := outcomesUnder(quirks)
	killed := slices.Concat(allowed, []string{"aborted", "blocked orphan_token"})
	if quirks.PutSecrets == clouds.PutLimited {
		killed = append(killed, "blocked switch_failed") // one PUT had no response, among those refused: it may be saved
	}
	return []matrixCase{
		{Scenario: whole, name: "quirks:" + quirks.String(), allowed: allowed},
		{Scenario: crash, name: "quirks:" + quirks.String() + ":killed after " + where, allowed: killed},
	}
}
