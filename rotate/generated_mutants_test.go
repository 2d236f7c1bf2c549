package rotate_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"entra-aws-exporter/test/mutant"
	"entra-aws-exporter/test/mutant/active"
)

// generatedFiles are the files with generated mutants: what a deletion is decided by, what
// Entra's token or certificate is proven and recovered by, and how events are counted.
var generatedFiles = []string{
	"rotate/certificate/activate.go",
	"rotate/certificate/approval.go",
	"rotate/certificate/check.go",
	"rotate/certificate/commands.go",
	"rotate/certificate/confirm.go",
	"rotate/certificate/create.go",
	"rotate/certificate/guard.go",
	"rotate/certificate/import.go",
	"rotate/certificate/observe.go",
	"rotate/certificate/plan.go",
	"rotate/certificate/procedure.go",
	"rotate/certificate/proof.go",
	"rotate/certificate/record.go",
	"rotate/certificate/recovery.go",
	"rotate/certificate/retire.go",
	"rotate/certificate/session.go",
	"rotate/certificate/settle.go",
	"rotate/certificate/verify.go",
	"rotate/certificate/weakness.go",
	"rotate/policy/certificate.go",
	"rotate/policy/cloudtrail.go",
	"rotate/policy/policy.go",
	"rotate/policy/ratelimit.go",
	"rotate/policy/remediation.go",
	"rotate/policy/roles.go",
	"rotate/policy/start.go",
	"rotate/token/confirm.go",
	"rotate/token/create.go",
	"rotate/token/guard.go",
	"rotate/token/observe.go",
	"rotate/token/proof.go",
	"rotate/token/recovery.go",
	"rotate/token/resume.go",
	"rotate/token/retire.go",
	"rotate/token/save.go",
	"rotate/token/switch.go",
	"rotate/token/test.go",
	"rotate/token/undo.go",
	"rotate/token/verify.go",
	"internal/poller/event_log.go",
	"internal/poller/event_record.go",
	"internal/poller/event_state.go",
}

// generatedSet generates the mutants.
func generatedSet(t *testing.T) mutant.Set {
	t.Helper()
	set, err := mutant.Generate("..", "entra-aws-exporter", generatedFiles)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// equivalentsFile lists the generated mutants that nobody could notice, each with the reason.
const equivalentsFile = "testdata/equivalent-mutants.txt"

// equivalents reads the reasons by the mutants' keys.
func equivalents(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile(equivalentsFile)
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, reason, found := strings.Cut(line, " || ")
		if !found || reason == "" || reasons[key] != "" {
			t.Errorf("%s: not a mutant and a reason, or twice: %s", equivalentsFile, line)
		}
		reasons[key] = reason
	}
	return reasons
}

// TestEquivalentMutants: each entry of the table is a mutant that is generated.
func TestEquivalentMutants(t *testing.T) {
	keys := map[string]bool{}
	for _, m := range generatedSet(t).Mutants {
		keys[m.Key()] = true
	}
	for key := range equivalents(t) {
		if !keys[key] {
			t.Errorf("%s: no such mutant is generated: %s", equivalentsFile, key)
		}
	}
}

const (
	workVariable  = "MUTANT_WORK"        // the file with a worker's mutants
	reachVariable = "MUTANT_CASES_REACH" // the file that a worker writes what each case reaches to
	partVariable  = "MUTANT_PART"        // which half of the cases, when they are recorded
)

// generatedCases are the cases that are played against generated mutants, the most
// particular ones first.
type generatedCases struct {
	traces     traces
	particular int   // how many are particular
	numbers    []int // of the others, among all
}

func newGeneratedCases(t *testing.T) generatedCases {
	g := generatedCases{particular: len(particularCases())}
	if os.Getenv("MUTANTS") != "full" {
		return g
	}
	g.traces = recordTraces(t)
	for i, c := range g.traces.cases() {
		if len(c.injections) > 0 && c.prefix == "" && hashOf(c.name)%16 == 0 || hashOf(c.name)%96 == 0 {
			g.numbers = append(g.numbers, i)
		}
	}
	return g
}

func (g generatedCases) count() int { return g.particular + len(g.numbers) }

// at makes a case anew: most remember what they did.
func (g generatedCases) at(i int) matrixCase {
	if i < g.particular {
		return particularCases()[i]
	}
	return g.traces.cases()[g.numbers[i-g.particular]]
}

// TestGeneratedReach records which mutants each case reaches.
func TestGeneratedReach(t *testing.T) {
	file := os.Getenv(reachVariable)
	if file == "" {
		t.Skip("run by TestGeneratedMutants")
	}
	cases, c := newGeneratedCases(t), newCoverage()
	reach := make([][]int, cases.count())
	active.Take()
	for i := range reach {
		if os.Getenv(partVariable) != strconv.Itoa(i%2) {
			continue
		}
		tested := cases.at(i)
		if r := c.runOne(t, tested); len(r.violations) > 0 {
			t.Fatalf("without any mutant: %s: %s", tested.name, r.violations[0])
		}
		reach[i] = active.Take()
	}
	content, err := json.Marshal(reach)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestGeneratedCases plays cases against mutants, until one of them fails.
func TestGeneratedCases(t *testing.T) {
	file := os.Getenv(workVariable)
	if file == "" {
		t.Skip("run by TestGeneratedMutants")
	}
	content, err := os.ReadFile(file) //nolint:gosec // written by the runner
	if err != nil {
		t.Fatal(err)
	}
	var work []mutant.Work
	if err := json.Unmarshal(content, &work); err != nil {
		t.Fatal(err)
	}
	cases, c := newGeneratedCases(t), newCoverage()
	catching := map[string][]int{} // the cases that caught other mutants of a place
	for _, w := range work {
		by, number := "", 0
		for _, i := range inOrder(w.Scenarios, catching[w.Place]) {
			mutant.PrintBegan(w.Number)
			active.Activate(w.Number)
			r := c.runOne(t, cases.at(i))
			active.Activate(0)
			if len(r.violations) > 0 {
				by, number = fmt.Sprintf("%s: %s", r.name, r.violations[0]), i
				break
			}
		}
		if by == "" {
			mutant.PrintSurvived(w.Number)
			continue
		}
		catching[w.Place] = append([]int{number}, slices.DeleteFunc(catching[w.Place], func(i int) bool { return i == number })...)
		mutant.PrintCaught(w.Number, by)
	}
}

// inOrder puts those first that are in both lists.
func inOrder(scenarios, first []int) []int {
	var ordered []int
	for _, i := range first {
		if slices.Contains(scenarios, i) {
			ordered = append(ordered, i)
		}
	}
	return append(ordered, slices.DeleteFunc(slices.Clone(scenarios), func(i int) bool { return slices.Contains(ordered, i) })...)
}

// hangs is how long a test or case of a mutant may take.
const hangs = 2 * time.Minute

// TestGeneratedMutants compiles each package once, with all generated mutants inside, and
// plays against each the tests that reach its place, then the cases. A mutant that none catches
// is a gap, unless the table of equivalents has it.
func TestGeneratedMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the packages with their mutants")
	}
	began, set, reasons := time.Now(), generatedSet(t), equivalents(t)
	if !slices.ContainsFunc(set.Mutants, selected) {
		t.Fatalf("MUTANT=%s selects no mutant", os.Getenv("MUTANT"))
	}
	r := generatedRun{T: t, caught: map[int]string{}}
	for _, m := range set.Mutants {
		if reasons[m.Key()] == "" && selected(m) {
			r.open = append(r.open, m)
		}
	}
	for _, unit := range []struct {
		tests   string
		mutants []string // of these directories
	}{
		{"policy", []string{"rotate/policy/"}},
		{"certificate", []string{"rotate/policy/", "rotate/certificate/"}},
		{"token", []string{"rotate/policy/", "rotate/token/"}},
		{"../internal/poller", []string{"internal/poller/"}},
	} {
		if r.left(unit.mutants...) {
			r.runTests(r.compile(set, unit.tests), unit.mutants...)
		}
	}
	t.Logf("unit tests after %s", time.Since(began).Round(time.Second))
	if r.left("rotate/policy/", "rotate/token/") { // the cases are rotations of the token
		b := r.compile(set, ".")
		r.runCases(b)
		t.Logf("cases after %s", time.Since(began).Round(time.Second))
		if os.Getenv("MUTANTS") == "full" && r.left("rotate/policy/", "rotate/token/") {
			r.runTests(b, "rotate/policy/", "rotate/token/")
		}
	}
	r.report(set, reasons, time.Since(began))
}

// selected reports whether a mutant is tested in this run: MUTANT=token/proof.go selects those
// of a file, MUTANT=token/prover. those of a type.
func selected(m mutant.Generated) bool {
	return strings.Contains(m.File+" "+m.Key(), os.Getenv("MUTANT"))
}

// generatedRun is one run of generated mutants.
type generatedRun struct {
	*testing.T
	mu     sync.Mutex
	open   []mutant.Generated // that nothing has caught yet
	caught map[int]string     // by what
}

// settle notes what caught a mutant.
func (r *generatedRun) settle(number int, by string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.caught[number] = by
	i := slices.IndexFunc(r.open, func(m mutant.Generated) bool { return m.Number == number })
	if testing.Verbose() {
		fmt.Printf("%s => %s\n", r.open[i].Key(), by)
	}
	r.open = slices.Delete(r.open, i, i+1)
}

// concurrently runs a function for each of these numbers, two at a time.
func concurrently(count int, do func(int)) {
	var running sync.WaitGroup
	slots := make(chan struct{}, 2)
	for i := range count {
		slots <- struct{}{}
		running.Go(func() {
			defer func() { <-slots }()
			do(i)
		})
	}
	running.Wait()
}

// left reports whether nothing has caught some mutant of the files in these directories yet.
func (r *generatedRun) left(directories ...string) bool {
	return slices.ContainsFunc(r.open, func(m mutant.Generated) bool { return isIn(m, directories) })
}

func isIn(m mutant.Generated, directories []string) bool {
	return slices.ContainsFunc(directories, func(d string) bool { return strings.HasPrefix(m.File, d) })
}

// compile compiles the tests of a package with all mutants inside.
func (r *generatedRun) compile(set mutant.Set, name string) mutant.Binary {
	binaries, err := set.Compile(r.Context(), r.TempDir(), name)
	if err != nil {
		r.Fatal(err)
	}
	return binaries[0]
}

// runTests runs the tests of a package on the mutants of these directories that they reach.
func (r *generatedRun) runTests(b mutant.Binary, directories ...string) {
	names, err := b.Tests(r.Context(), ".")
	if err != nil {
		r.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		return !strings.HasPrefix(name, "Test") || strings.Contains(name, "Matrix") || strings.Contains(name, "Mutant") || strings.HasPrefix(name, "TestGenerated")
	})
	fast, slow := map[int][]string{}, map[int][]string{}
	reports := r.TempDir()
	concurrently(len(names), func(i int) {
		began := time.Now()
		numbers, err := b.Reach(r.Context(), names[i], reports)
		if err != nil {
			r.Error(err)
		}
		reaching := fast
		if time.Since(began) > time.Second {
			reaching = slow
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, n := range numbers {
			reaching[n] = append(reaching[n], names[i])
		}
	})
	for i, reaching := range []map[int][]string{fast, slow} {
		atOnce, limit := []int{8, 1}[i], []time.Duration{hangs / 4, hangs}[i]
		open := slices.DeleteFunc(slices.Clone(r.open), func(m mutant.Generated) bool {
			return len(reaching[m.Number]) == 0 || !isIn(m, directories)
		})
		concurrently(len(open), func(i int) {
			n := open[i].Number
			for tests := range slices.Chunk(reaching[n], atOnce) {
				if by := b.Catches(r.Context(), n, tests, limit); by != "" {
					r.settle(n, by)
					return
				}
			}
		})
	}
}

// runCases plays the matrices' cases against the mutants that are left.
func (r *generatedRun) runCases(b mutant.Binary) {
	scenarios := r.reachOfCases(b)
	var parts [2][]mutant.Work
	places := map[string]int{}            // all mutants of a place are tested by one worker
	constantsLast := slices.Clone(r.open) // fewer of them are caught, which takes longer
	ofTime := func(m mutant.Generated) int { return map[string]int{mutant.Nothing: 1, mutant.Tenfold: 1}[m.Operator] }
	slices.SortStableFunc(constantsLast, func(a, b mutant.Generated) int { return cmp.Compare(ofTime(a), ofTime(b)) })
	for _, m := range constantsLast {
		part, found := places[m.Place]
		if !found {
			part = 0
			if len(parts[1]) < len(parts[0]) {
				part = 1
			}
			places[m.Place] = part
		}
		if len(scenarios[m.Number]) > 0 {
			parts[part] = append(parts[part], mutant.Work{Number: m.Number, Place: m.Place, Scenarios: scenarios[m.Number]})
		}
	}
	concurrently(2, func(i int) {
		err := b.Play(r.Context(), "TestGeneratedCases", workVariable, r.TempDir(), parts[i], hangs, r.settle)
		if err != nil {
			r.Error(err)
		}
	})
}

// reachOfCases returns the cases that reach each mutant.
func (r *generatedRun) reachOfCases(b mutant.Binary) map[int][]int {
	reaching := map[int][]int{}
	directory := r.TempDir()
	concurrently(2, func(part int) {
		file := filepath.Join(directory, strconv.Itoa(part))
		if err := b.Run(r.Context(), "TestGeneratedReach", reachVariable+"="+file, partVariable+"="+strconv.Itoa(part)); err != nil {
			r.Error(err)
			return
		}
		var reach [][]int
		content, err := os.ReadFile(file) //nolint:gosec // written by the worker
		if err == nil {
			err = json.Unmarshal(content, &reach)
		}
		if err != nil {
			r.Error(err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for i, numbers := range reach {
			for _, n := range numbers {
				reaching[n] = append(reaching[n], i)
			}
		}
	})
	for _, list := range reaching {
		slices.Sort(list)
	}
	return reaching
}

// report prints the figures for each file, and every survivor.
func (r *generatedRun) report(set mutant.Set, reasons map[string]string, took time.Duration) {
	type figures struct{ generated, caught, equivalent, surviving int }
	byFile := map[string]*figures{}
	total := &figures{}
	for _, m := range set.Mutants {
		if byFile[m.File] == nil {
			byFile[m.File] = &figures{}
		}
		for _, f := range []*figures{byFile[m.File], total} {
			switch _, equivalent := reasons[m.Key()]; {
			case !selected(m):
			case equivalent:
				f.generated++
				f.equivalent++
			case r.caught[m.Number] != "":
				f.generated++
				f.caught++
			default:
				f.generated++
				f.surviving++
			}
		}
	}
	var table strings.Builder
	line := func(name string, f *figures) {
		fmt.Fprintf(&table, "%-32s %9d %8d %10d %9d\n", name, f.generated, f.caught, f.equivalent, f.surviving)
	}
	fmt.Fprintf(&table, "%-32s %9s %8s %10s %9s\n", "file", "generated", "caught", "equivalent", "surviving")
	for _, file := range generatedFiles {
		if byFile[file] != nil {
			line(file, byFile[file])
		}
	}
	line("in all", total)
	for _, m := range r.open {
		r.Errorf("SURVIVED %s", m.Key())
	}
	r.Logf("in %s\n%s", took.Round(time.Second), table.String())
}
