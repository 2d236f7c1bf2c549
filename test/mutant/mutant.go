// Package mutant checks tests: it applies one deliberate bug at a time to a package of
// this module, and runs the tests that must notice it. Only tests use it.
//
// Read mutant.go (running the tests on a mutant from a list) first, then edit.go (finding
// the place of a bug in the syntax tree, however the source is laid out). generate.go makes
// mutants from the syntax tree by the rules in rules.go, all in one source; schemata.go
// compiles it once and runs the tests on each mutant. The folder active chooses the mutant
// while they run.
package mutant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"
)

// Mutant is one deliberate bug.
type Mutant struct {
	Name  string
	Edits []Edit   // several where the bug is in several places; none: no bug
	Env   []string // environment variables for the tests
}

// Runner runs tests of the package under test on its mutants.
type Runner struct {
	Tests   string         // the tests that must notice a mutant: a pattern for go test -run
	Caught  *regexp.Regexp // what they print then; its first group is shown
	Timeout time.Duration  // for one mutant
}

// ErrSurvived means that the tests passed.
var ErrSurvived = errors.New("SURVIVED")

// Run tests the mutants, two at a time, and prints which test case caught which. A mutant
// that survives fails the test: it is a gap in the tests. So does one that does not compile
// or panics: it proves nothing.
func (r Runner) Run(t *testing.T, mutants []Mutant) {
	t.Helper()
	caughtBy, failures := make([]string, len(mutants)), make([]error, len(mutants))
	began := time.Now()
	var running sync.WaitGroup
	slots := make(chan struct{}, 2)
	for i, m := range mutants {
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			caughtBy[i], failures[i] = r.Test(t.Context(), t.TempDir(), m)
		})
	}
	running.Wait()
	caught := 0
	for i, m := range mutants {
		if failures[i] != nil {
			t.Errorf("%-55s %v", m.Name, failures[i])
			continue
		}
		caught++
		t.Logf("%-55s %s", m.Name, caughtBy[i])
	}
	t.Logf("%d of %d mutants caught, in %s", caught, len(mutants), time.Since(began).Round(time.Second))
}

// Test returns what the tests printed when they noticed the mutant. It writes the changed
// files into the directory.
func (r Runner) Test(ctx context.Context, directory string, m Mutant) (string, error) {
	changed, err := m.Apply()
	if err != nil {
		return "", err
	}
	overlay, err := writeOverlay(directory, changed)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	command := exec.CommandContext(ctx, "go", "test", "-overlay", overlay, "-vet=off", "-run", r.Tests, ".") //nolint:gosec // of this module
	command.Env = append(os.Environ(), m.Env...)
	output, err := command.CombinedOutput()
	if err == nil {
		return "", ErrSurvived
	}
	if found := r.Caught.FindSubmatch(output); found != nil {
		return string(found[1]), nil
	}
	return "", fmt.Errorf("panics or does not compile, which is no catch: %w\n%.2000s", err, output)
}

// Apply returns the changed files by their paths.
func (m Mutant) Apply() (map[string][]byte, error) {
	changed := map[string][]byte{}
	for _, e := range m.Edits {
		if err := e.apply(changed); err != nil {
			return nil, fmt.Errorf("mutant %q: %s: %w", m.Name, e.Place, err)
		}
	}
	return changed, nil
}

// writeOverlay writes the changed files, and the file that go test -overlay reads.
func writeOverlay(directory string, changed map[string][]byte) (string, error) {
	replace := map[string]string{}
	for file, source := range changed {
		replace[file] = filepath.Join(directory, fmt.Sprintf("%d.go", len(replace)))
		if err := os.WriteFile(replace[file], source, 0o600); err != nil {
			return "", err
		}
	}
	content, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	path := filepath.Join(directory, "overlay.json")
	return path, os.WriteFile(path, content, 0o600)
}
