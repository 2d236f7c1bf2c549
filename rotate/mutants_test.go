package rotate

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// mutant is one deliberate mistake: in this file, old becomes new. It must be caught.
type mutant struct {
	name, file, old, new string
	cases                string // the scenarios that are most likely to catch it, a pattern
	also                 []patch
}

// patch is a further place that makes the same mistake, where one door stands behind another.
type patch struct{ file, old, new string }

// quickMutants are played with every test, the others by make mutants.
const quickMutants = 6

// TestMutants compiles the package with one mistake at a time, laid over its source, and
// plays scenarios until one of them catches it. A mistake that nobody catches is a hole
// in the matrix.
func TestMutants(t *testing.T) {
	if os.Getenv(mutantCases) != "" {
		t.Skip("this is a mutant itself")
	}
	if testing.Short() {
		t.Skip("compiles the package once for each mutant")
	}
	control := mutant{name: "no mistake at all", file: "act.go", old: "package rotate", new: "package rotate", cases: "^whole|^repaired|^trap|^situation"}
	if by := catch(t, control); by != "" {
		t.Fatalf("without any mistake: %s", by)
	}
	list := mutants
	if os.Getenv("MUTANTS") != "full" {
		list = list[:quickMutants]
	}
	if name := os.Getenv("MUTANT"); name != "" {
		list = slices.DeleteFunc(slices.Clone(mutants), func(m mutant) bool { return !strings.Contains(m.name, name) })
	}
	caught := make([]string, len(list))
	began := time.Now()
	var all sync.WaitGroup
	slots := make(chan struct{}, 2)
	for i, m := range list {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			caught[i] = catch(t, m)
		})
	}
	all.Wait()
	count := 0
	for i, m := range list {
		if caught[i] == "" {
			t.Errorf("%-55s SURVIVED", m.name)
			continue
		}
		count++
		t.Logf("%-55s %s", m.name, caught[i])
	}
	t.Logf("%d of %d mutants caught, in %s", count, len(list), time.Since(began).Round(time.Second))
}

const mutantCases = "MUTANT_CASES"

var violation = regexp.MustCompile(`CAUGHT (.*)`)

// catch returns the scenario that caught a mutant; "" if it survived.
func catch(t *testing.T, m mutant) string {
	dir := t.TempDir()
	sources := map[string]string{}
	for _, p := range append([]patch{{m.file, m.old, m.new}}, m.also...) {
		if sources[p.file] == "" {
			content, err := os.ReadFile(p.file)
			if err != nil {
				t.Error(err)
				return ""
			}
			sources[p.file] = string(content)
		}
		if n := strings.Count(sources[p.file], p.old); n != 1 {
			t.Errorf("%s: %s holds %d times: %s", m.name, p.file, n, p.old)
			return ""
		}
		sources[p.file] = strings.Replace(sources[p.file], p.old, p.new, 1)
	}
	replace := map[string]string{}
	for file, source := range sources {
		here, err := filepath.Abs(file)
		if err != nil {
			t.Error(err)
			return ""
		}
		replace[here] = filepath.Join(dir, file)
		if err := os.WriteFile(replace[here], []byte(source), 0o600); err != nil {
			t.Error(err)
			return ""
		}
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o600)
	}
	if err != nil {
		t.Error(err)
		return ""
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-overlay", filepath.Join(dir, "overlay.json"), "-vet=off", "-run", "^TestTheMutant$", ".")
	cmd.Env = append(os.Environ(), mutantCases+"="+m.cases)
	output, err := cmd.CombinedOutput()
	if err == nil {
		return ""
	}
	if hit := violation.FindSubmatch(output); hit != nil {
		return string(hit[1])
	}
	if hit := regexp.MustCompile(`(?m)^panic: .*`).Find(output); hit != nil {
		return string(hit)
	}
	t.Errorf("%s: does not compile, or worse:\n%.2000s", m.name, output)
	return ""
}

// TestTheMutant plays the scenarios that fit the pattern until one of them goes wrong.
func TestTheMutant(t *testing.T) {
	pattern := os.Getenv(mutantCases)
	if pattern == "" {
		t.Skip("played by TestMutants")
	}
	fits := regexp.MustCompile(pattern)
	c := newCoverage()
	for _, tr := range mutantTrials(t) {
		if !fits.MatchString(tr.name) {
			continue
		}
		r := c.one(t, tr)
		if len(r.wrong) > 0 {
			t.Errorf("CAUGHT %s: %s: %s", r.name, r.ending, r.wrong[0])
			if os.Getenv("MUTANT_ALL") == "" {
				return
			}
		}
	}
}

// mutantTrials are all trials of the matrices that can be told without playing others.
func mutantTrials(t *testing.T) []trial {
	var trace []string
	play(t, short(), func(_ *testing.T, o outcome) { trace = slices.Clone(o.lab.trace) })
	whole := trial{scenario: short(), base: short, prefix: "whole ", name: "whole", allowed: []string{"done"}}
	repaired := trial{scenario: repair(), base: repair, prefix: "whole ", name: "repaired", allowed: []string{"done"}}
	trials := append([]trial{whole, repaired}, situations()...)
	trials = append(trials, traps()...)
	trials = append(trials, singlesOf("", trace, short)...)
	trials = append(trials, replicas(trace)...)
	return append(trials, actorsAt(trace)...)
}
