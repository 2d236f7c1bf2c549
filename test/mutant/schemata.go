package mutant

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"entra-aws-exporter/test/mutant/active"
)

// Binary is the compiled tests of a package, with all mutants of a set inside.
type Binary struct {
	Path    string
	Package string // its directory, in which the tests run
}

// Compile compiles the tests of packages, given by their directories, with all mutants of
// the set inside. It writes into the directory.
func (s Set) Compile(ctx context.Context, directory string, packages ...string) ([]Binary, error) {
	overlay, err := writeOverlay(directory, s.Source)
	if err != nil {
		return nil, err
	}
	var binaries []Binary
	for i, name := range packages {
		b := Binary{filepath.Join(directory, strconv.Itoa(i)+".test"), name}
		command := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", b.Path, ".") //nolint:gosec // of this module
		command.Dir = name
		if output, err := command.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("compiling %s with its mutants: %w\n%.4000s", name, err, output)
		}
		binaries = append(binaries, b)
	}
	return binaries, nil
}

// Tests lists the tests of a binary whose name matches a pattern.
func (b Binary) Tests(ctx context.Context, pattern string) ([]string, error) {
	output, err := b.command(ctx, "-test.list", pattern).Output()
	return strings.Fields(string(output)), err
}

func (b Binary) command(ctx context.Context, arguments ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, b.Path, arguments...) //nolint:gosec // compiled above
	command.Dir = b.Package
	return command
}

// Reach runs a test without any mutant, and returns those whose place it reaches.
func (b Binary) Reach(ctx context.Context, test, directory string) ([]int, error) {
	file := filepath.Join(directory, test+".reach")
	command := b.command(ctx, "-test.run", "^"+test+"$")
	command.Env = append(os.Environ(), active.ReachVariable+"="+file)
	if output, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("without any mutant, %s fails: %w\n%.2000s", test, err, output)
	}
	content, err := os.ReadFile(file) //nolint:gosec // written by the test
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var numbers []int
	for _, field := range strings.Fields(string(content)) {
		number, err := strconv.Atoi(field)
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, number)
	}
	return numbers, err
}

// Catches runs tests on a mutant, and returns the first that fails; "": all pass.
func (b Binary) Catches(ctx context.Context, number int, tests []string, timeout time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	command := b.command(ctx, "-test.failfast", "-test.run", "^("+strings.Join(tests, "|")+")$")
	command.Env = append(os.Environ(), active.Variable+"="+strconv.Itoa(number))
	output, err := command.CombinedOutput()
	if err == nil {
		return ""
	}
	if ctx.Err() != nil {
		return "no end in " + timeout.String()
	}
	for line := range strings.Lines(string(output)) {
		if name, failed := strings.CutPrefix(strings.TrimSpace(line), "--- FAIL: "); failed {
			return strings.Fields(name)[0]
		}
	}
	return "a panic"
}

// Work is a mutant and the scenarios that reach its place, by their numbers.
type Work struct {
	Number    int
	Place     string
	Scenarios []int
}

// The lines that a worker prints: one before each scenario of a mutant, one with what came
// of it.
const (
	lineBegan    = "MUTANT BEGAN "
	lineCaught   = "MUTANT CAUGHT "
	lineSurvived = "MUTANT SURVIVED "
)

// PrintBegan tells Play that a scenario of a mutant begins.
func PrintBegan(number int) { fmt.Printf("\n%s%d\n", lineBegan, number) } //nolint:forbidigo // Play reads it

// PrintCaught tells Play what caught a mutant.
func PrintCaught(number int, by string) { fmt.Printf("\n%s%d %s\n", lineCaught, number, by) } //nolint:forbidigo // Play reads it

// PrintSurvived tells Play that nothing caught a mutant.
func PrintSurvived(number int) { fmt.Printf("\n%s%d\n", lineSurvived, number) } //nolint:forbidigo // Play reads it

// Play makes a worker play scenarios against mutants, one after the other, and tells what
// caught each, but for the survivors. The worker is a test that reads the work from the
// file named in the variable. A mutant that ends the worker, or makes it run forever, is
// caught; another worker continues.
func (b Binary) Play(ctx context.Context, test, variable, directory string, work []Work, timeout time.Duration, caught func(number int, by string)) error {
	for len(work) > 0 {
		file := filepath.Join(directory, "work.json")
		content, err := json.Marshal(work)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return err
		}
		done, err := b.playOnce(ctx, test, variable+"="+file, work, timeout, caught)
		if err != nil {
			return err
		}
		work = work[done:]
	}
	return nil
}

// playOnce starts one worker, and returns with how many mutants it is done.
func (b Binary) playOnce(ctx context.Context, test, variable string, work []Work, timeout time.Duration, caught func(int, string)) (int, error) {
	ctx, kill := context.WithCancel(ctx)
	defer kill()
	command := b.command(ctx, "-test.run", "^"+test+"$", "-test.timeout", "0")
	command.Env = append(os.Environ(), variable)
	output, err := command.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := command.Start(); err != nil {
		return 0, err
	}
	done, inProgress, silent := 0, false, false
	watchdog := time.AfterFunc(10*timeout, func() { silent = true; kill() }) // it prepares the scenarios first
	var tail []string
	for lines := bufio.NewScanner(output); lines.Scan(); {
		line := lines.Text()
		tail = append(tail[max(0, len(tail)-40):], line)
		switch {
		case strings.HasPrefix(line, lineBegan):
			inProgress = true
			watchdog.Reset(timeout)
		case strings.HasPrefix(line, lineCaught):
			_, by, _ := strings.Cut(strings.TrimPrefix(line, lineCaught), " ")
			caught(work[done].Number, by)
			done++
			inProgress = false
			watchdog.Reset(timeout)
		case strings.HasPrefix(line, lineSurvived):
			done++
			inProgress = false
			watchdog.Reset(timeout)
		}
	}
	watchdog.Stop()
	ended := command.Wait()
	switch {
	case done == len(work):
		return done, nil
	case silent && inProgress:
		caught(work[done].Number, "no end in "+timeout.String())
		return done + 1, nil
	case inProgress:
		caught(work[done].Number, "a panic")
		return done + 1, nil
	default:
		return done, fmt.Errorf("the worker ended after %d of %d mutants: %w\n%s", done, len(work), ended, strings.Join(tail, "\n"))
	}
}

// Run runs a test with these environment variables.
func (b Binary) Run(ctx context.Context, test string, variables ...string) error {
	command := b.command(ctx, "-test.run", "^"+test+"$", "-test.timeout", "0")
	command.Env = append(os.Environ(), variables...)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%.4000s", test, err, output)
	}
	return nil
}
