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
		case clouds.Wire, clouds.Rollover: // the engine does not see the wire, nor a rotation the certificate
		}
	}
	newCoverage().runQuirks(t, coupled, others, sample, sample/2, quirkCases)
}

// runQuirks runs the cases of every combination of the coupled quirks, and of combinations
// that cover the others three by three.
func (c *coverage) runQuirks(t *testing.T, coupled, others []clouds.Quirk, products, triples int, casesOf func(clouds.Quirks) []matrixCase) {
	product := slices.Collect(covering.Product(clouds.DefaultQuirks(), coupled))
	rows := covering.Triples(clouds.DefaultQuirks(), others)
	enumerated := len(product)
	if !fullMatrix() {
		product, rows = sampleQuirks(product, products), sampleQuirks(rows, triples)
	}
	var cases []matrixCase
	for _, quirks := range slices.Concat(product, rows) {
		cases = append(cases, casesOf(quirks)...)
	}
	c.run(t, sampled(cases))
	t.Logf("%d combinations (of %d of the coupled quirks, %d covering the others three by three), each with and without a crash",
		len(product)+len(rows), enumerated, len(rows))
	c.report(t)
}

// sampleQuirks are some of the combinations, always the same.
func sampleQuirks(all []clouds.Quirks, sample int) []clouds.Quirks {
	slices.SortFunc(all, func(a, b clouds.Quirks) int { return strings.Compare(hashedName(a), hashedName(b)) })
	return all[:min(sample, len(all))]
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
