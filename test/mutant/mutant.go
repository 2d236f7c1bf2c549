// Package mutant tries the tests of this module: it lays one deliberate mistake at a
// time over a package's source and runs those of its tests that should notice. Only
// tests use it.
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
	"strings"
	"sync"
	"testing"
	"time"
)

// Mutant is one deliberate mistake in the package whose test is running.
type Mutant struct {
	Name    string
	Patches []Patch  // one, or several where one door stands behind another
	Env     []string // for the tests that should notice
}

// Patch makes the mistake in one place: in File, Old, which stands there once, becomes New.
type Patch struct{ File, Old, New string }

// Trial is how a package's mutants are tried.
type Trial struct {
	Tests  string         // the tests that should notice, a pattern for -run
	Notice *regexp.Regexp // what they print when they do; its first group is shown
	Limit  time.Duration  // how long one mutant may take
}

// ErrSurvived means that the tests passed.
var ErrSurvived = errors.New("SURVIVED")

// All tries mutants, two at a time, and prints a table of who was caught by what. One
// that survives fails the test: it is a hole in the tests. So does one that does not
// compile or panics: it proves nothing.
func (tr Trial) All(t *testing.T, mutants []Mutant) {
	t.Helper()
	by, failures := make([]string, len(mutants)), make([]error, len(mutants))
	began := time.Now()
	var running sync.WaitGroup
	slots := make(chan struct{}, 2)
	for i, m := range mutants {
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			by[i], failures[i] = tr.Catch(t.Context(), t.TempDir(), m)
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
		t.Logf("%-55s %s", m.Name, by[i])
	}
	t.Logf("%d of %d mutants caught, in %s", caught, len(mutants), time.Since(began).Round(time.Second))
}

// Catch returns what the tests printed when they noticed the mutant.
func (tr Trial) Catch(ctx context.Context, directory string, m Mutant) (string, error) {
	overlay, err := m.overlay(directory)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, tr.Limit)
	defer cancel()
	command := exec.CommandContext(ctx, "go", "test", "-overlay", overlay, "-vet=off", "-run", tr.Tests, ".") //nolint:gosec // of this module
	command.Env = append(os.Environ(), m.Env...)
	output, err := command.CombinedOutput()
	if err == nil {
		return "", ErrSurvived
	}
	if hit := tr.Notice.FindSubmatch(output); hit != nil {
		return string(hit[1]), nil
	}
	return "", fmt.Errorf("caught by nothing but a crash, or does not compile: %w\n%.2000s", err, output)
}

// overlay writes the changed files and what "go test -overlay" wants to know of them.
func (m Mutant) overlay(directory string) (string, error) {
	sources := map[string]string{}
	for _, p := range m.Patches {
		if sources[p.File] == "" {
			content, err := os.ReadFile(p.File)
			if err != nil {
				return "", err
			}
			sources[p.File] = string(content)
		}
		if n := strings.Count(sources[p.File], p.Old); n != 1 {
			return "", fmt.Errorf("%s holds %d times: %s", p.File, n, p.Old)
		}
		sources[p.File] = strings.Replace(sources[p.File], p.Old, p.New, 1)
	}
	replace := map[string]string{}
	for file, source := range sources {
		here, err := filepath.Abs(file)
		if err != nil {
			return "", err
		}
		replace[here] = filepath.Join(directory, file)
		if err := os.WriteFile(replace[here], []byte(source), 0o600); err != nil {
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
