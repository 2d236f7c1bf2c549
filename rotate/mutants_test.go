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

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// mistake is one that must be caught: in this file, old becomes new.
type mistake struct {
	name, file, old, new string
	cases                string // the scenarios that are most likely to catch it, a pattern
	also                 []patch
}

// patch is a further place that makes the same mistake, where one door stands behind another.
type patch struct{ file, old, new string }

func (m mistake) mutant() mutant.Mutant {
	made := mutant.Mutant{Name: m.name, Env: []string{mutantCases + "=" + m.cases}}
	for _, p := range append([]patch{{m.file, m.old, m.new}}, m.also...) {
		made.Patches = append(made.Patches, mutant.Patch{File: p.file, Old: p.old, New: p.new})
	}
	return made
}

// TestMutants compiles the package with one mistake at a time, laid over its source, and
// plays scenarios until one of them catches it. A mistake that nobody catches is a hole
// in the matrix.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the package once for each mutant")
	}
	trial := mutant.Trial{Tests: "^TestTheMutant$", Notice: regexp.MustCompile(`CAUGHT (.*)`), Limit: 5 * time.Minute}
	control := mistake{name: "no mistake at all", file: "act.go", old: "package rotate", new: "package rotate", cases: "^whole|^repaired|^trap|^situation|^stalemate"}
	if by, err := trial.Catch(t.Context(), t.TempDir(), control.mutant()); !errors.Is(err, mutant.ErrSurvived) {
		t.Fatalf("without any mistake: %s %v", by, err)
	}
	list := mistakes
	switch name := os.Getenv("MUTANT"); {
	case name != "":
		list = slices.DeleteFunc(slices.Clone(mistakes), func(m mistake) bool { return !strings.Contains(m.name, name) })
	case os.Getenv("MUTANTS") != "full":
		list = list[:quickMutants]
	}
	var mutants []mutant.Mutant
	for _, m := range list {
		mutants = append(mutants, m.mutant())
	}
	trial.All(t, mutants)
}

const mutantCases = "MUTANT_CASES"

// TestTheMutant plays the scenarios that fit the pattern until one of them goes wrong.
func TestTheMutant(t *testing.T) {
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
