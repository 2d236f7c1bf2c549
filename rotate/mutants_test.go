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

// rotationMutant is one bug. Its cases are a pattern: those of the matrices that are most
// likely to catch it.
type rotationMutant struct {
	name, cases string
	edits       []edit
}

// edit is a mutant.Edit. A place without a directory is in package rotate.
type edit struct{ Place, Pattern, Replacement string }

func (m rotationMutant) mutant() mutant.Mutant {
	made := mutant.Mutant{Name: m.name, Env: []string{casesVariable + "=" + m.cases}}
	for _, e := range m.edits {
		made.Edits = append(made.Edits, mutant.Edit(e))
	}
	return made
}

// TestMutantsApply finds the place of each bug, and a case for it: a change of the code, or
// of a case's name, could take them away.
func TestMutantsApply(t *testing.T) {
	cases := mutantCases(t)
	for _, m := range slices.Concat(rotationMutants, rolloverMutants) {
		if _, err := m.mutant().Apply(); err != nil {
			t.Error(err)
		}
		pattern := regexp.MustCompile(m.cases)
		if !slices.ContainsFunc(cases, func(c matrixCase) bool { return pattern.MatchString(c.name) }) {
			t.Errorf("mutant %q: no case matches %s", m.name, m.cases)
		}
	}
}

// TestMutants compiles the packages with one bug at a time, laid over their source, and
// runs cases until one of them catches it. The matrix misses a case if none catches it.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the packages once for each mutant")
	}
	list := slices.Concat(rotationMutants, rolloverMutants)
	switch name := os.Getenv("MUTANT"); {
	case name != "":
		list = slices.DeleteFunc(list, func(m rotationMutant) bool { return !strings.Contains(m.name, name) })
	case os.Getenv("MUTANTS") != "full":
		list = slices.Concat(rotationMutants[:quickMutants], rolloverMutants[:quickRolloverMutants])
	}
	if len(list) == 0 {
		t.Fatalf("MUTANT=%s selects no mutant", os.Getenv("MUTANT"))
	}
	runner := mutant.Runner{Tests: "^TestMutantCases$", Caught: regexp.MustCompile(`CAUGHT (.*)`), Timeout: 5 * time.Minute}
	control := rotationMutant{name: "no bug", cases: "^whole|^repaired|^edge|^situation|^blocked|^rollover:|^trick"}
	if caughtBy, err := runner.Test(t.Context(), t.TempDir(), control.mutant()); !errors.Is(err, mutant.ErrSurvived) {
		t.Fatalf("without any bug: %s %v", caughtBy, err)
	}
	var mutants []mutant.Mutant
	for _, m := range list {
		mutants = append(mutants, m.mutant())
	}
	runner.Run(t, mutants)
}

// casesVariable is the environment variable with the pattern of a mutant's cases.
const casesVariable = "MUTANT_CASES"

// TestMutantCases runs the cases that match the pattern until one of them fails.
func TestMutantCases(t *testing.T) {
	pattern := os.Getenv(casesVariable)
	if pattern == "" {
		t.Skip("run by TestMutants")
	}
	matching := regexp.MustCompile(pattern)
	c := newCoverage()
	for _, tested := range mutantCases(t) {
		if !matching.MatchString(tested.name) {
			continue
		}
		r := c.runOne(t, tested)
		if len(r.violations) > 0 {
			t.Errorf("CAUGHT %s: %s: %s", r.name, r.outcome, r.violations[0])
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

// mutantCases are all cases of the matrices that do not depend on the result of another one.
func mutantCases(t *testing.T) []matrixCase {
	traces := recordTraces(t)
	return slices.Concat(particularCases(), traces.cases(), particularRollovers(), recordRollovers(t).cases(), rolloverCases())
}

// particularCases are those that each have a course of their own.
func particularCases() []matrixCase {
	whole := matrixCase{Scenario: shortScenario(), name: "whole", allowed: []string{"done"}}
	repaired := matrixCase{Scenario: repairScenario(), name: "repaired", allowed: []string{"done"}}
	cases := append([]matrixCase{whole, repaired}, situations()...)
	return append(append(cases, edgeCases()...), tokenBlockedCases()...)
}

// traces are the calls of a rotation and of a repair, to which faults and actions are bound.
type traces struct{ rotation, repair []string }

func recordTraces(t *testing.T) traces {
	return traces{callsOf(t, shortScenario), callsOf(t, repairScenario)}
}

// cases are those with one fault or action at one call.
func (calls traces) cases() []matrixCase {
	cases := singleFaults("", calls.rotation, shortScenario)
	cases = append(cases, singleFaults("repair ", calls.repair, repairScenario)...)
	cases = append(cases, tokenLastingFaults(calls.repair)...)
	cases = append(cases, tokenReplicas(calls.rotation)...)
	return append(cases, tokenActions(calls.rotation)...)
}
