package rotate_test

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/test/harness"

	"entra-aws-exporter/test/mutant"
)

// rotationMutant is one bug. Its cases are the scenarios that are most likely to catch it,
// a pattern.
type rotationMutant struct {
	name, cases string
	edits       []edit
}

// edit is a mutant.Edit. A place without a directory is in package rotate.
type edit struct{ Place, Pattern, Replacement string }

func (m rotationMutant) mutant() mutant.Mutant {
	made := mutant.Mutant{Name: m.name, Env: []string{mutantCases + "=" + m.cases}}
	for _, e := range m.edits {
		made.Edits = append(made.Edits, mutant.Edit(e))
	}
	return made
}

// TestMutantsApply finds the place of each bug, which a change of the code can take away.
func TestMutantsApply(t *testing.T) {
	for _, m := range rotationMutants {
		if _, err := m.mutant().Apply(); err != nil {
			t.Error(err)
		}
	}
}

// TestMutants compiles the packages with one bug at a time, laid over their source, and
// plays scenarios until one of them catches it. A bug that none catches is a gap in the
// matrix.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the packages once for each mutant")
	}
	runner := mutant.Runner{Tests: "^TestMutantScenarios$", Caught: regexp.MustCompile(`CAUGHT (.*)`), Timeout: 5 * time.Minute}
	control := rotationMutant{name: "no bug", cases: "^whole|^repaired|^trap|^situation|^stalemate"}
	if caughtBy, err := runner.Test(t.Context(), t.TempDir(), control.mutant()); !errors.Is(err, mutant.ErrSurvived) {
		t.Fatalf("without any bug: %s %v", caughtBy, err)
	}
	list := rotationMutants
	switch name := os.Getenv("MUTANT"); {
	case name != "":
		list = slices.DeleteFunc(slices.Clone(list), func(m rotationMutant) bool { return !strings.Contains(m.name, name) })
	case os.Getenv("MUTANTS") != "full":
		list = list[:quickMutants]
	}
	var mutants []mutant.Mutant
	for _, m := range list {
		mutants = append(mutants, m.mutant())
	}
	runner.Run(t, mutants)
}

const mutantCases = "MUTANT_CASES"

// TestMutantScenarios plays the scenarios that match the pattern until one of them fails.
func TestMutantScenarios(t *testing.T) {
	pattern := os.Getenv(mutantCases)
	if pattern == "" {
		t.Skip("played by TestMutants")
	}
	fits := regexp.MustCompile(pattern)
	c := newCoverage()
	for _, tr := range mutantCases_(t) {
		if !fits.MatchString(tr.name) {
			continue
		}
		r := c.runOne(t, tr)
		if len(r.wrong) > 0 {
			t.Errorf("CAUGHT %s: %s: %s", r.name, r.ending, r.wrong[0])
			if os.Getenv("MUTANT_ALL") == "" {
				return
			}
		}
	}
}

// callsOf records the calls of a rotation, however it ends.
func callsOf(t *testing.T, base func() harness.Scenario) (trace []string) {
	harness.Run(t, base(), func(_ *testing.T, o harness.Result) { trace = slices.Clone(o.Harness.Calls) })
	return trace
}

// mutantCases_ are all trials of the matrices that can be told without playing others.
func mutantCases_(t *testing.T) []matrixCase {
	trace := callsOf(t, shortScenario)
	whole := matrixCase{Scenario: shortScenario(), name: "whole", allowed: []string{"done"}}
	repaired := matrixCase{Scenario: repairScenario(), name: "repaired", allowed: []string{"done"}}
	trials := append([]matrixCase{whole, repaired}, situations()...)
	trials = append(append(trials, edgeCases()...), afterBlock()...)
	trials = append(trials, singlesOf("", trace, shortScenario)...)
	repairs := callsOf(t, repairScenario)
	trials = append(trials, singlesOf("repair ", repairs, repairScenario)...)
	trials = append(trials, outages(repairs)...)
	trials = append(trials, replicas(trace)...)
	return append(trials, actorsAt(trace)...)
}
