package rotate

import (
	"flag"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entra-aws-exporter/internal/bridge"
)

var everything = flag.Bool("everything", false, "play the whole matrix, which takes long")

var only = flag.String("scenario", "", "play only the scenario of the matrix with this name, and tell its story")

// kinds are the faults that can befall a call of this name.
func kinds(name string) []fault {
	switch name {
	case "journal.save":
		return []fault{refused, answerLost, killedBefore, killedAfter, sleptAfter}
	case "vault.reserve", "vault.destroy":
		return []fault{refused, killedBefore, killedAfter}
	case "vault.write":
		return []fault{refused, killedBefore, killedAfter, tornWrite}
	case "aws.create", "aws.delete", "graph.put", "graph.start", "graph.canary":
		return []fault{refused, answerLost, killedBefore, killedAfter, effectLater, unparsable, throttled, suspended, sleptAfter}
	default:
		return []fault{refused, killedBefore, throttled, unparsable, staleRead, suspended}
	}
}

// short is the scenario of the crash matrix: a rotation in which every wait is as short
// as it can be. The old token's value is in the vault, as after an earlier rotation.
func short() scenario {
	s := usual()
	s.policy.RetireAfter = 0
	s.prepare = rememberOld
	s.quiet = true
	return s
}

// rememberOld puts the value of the token in use into the vault.
func rememberOld(l *lab) {
	old := l.at.TokenIDs[0]
	key := l.at.Binding.Key()
	content, err := encodeEntry(key, old, bridge.NewSecret(l.world.TokenValue(old)))
	if err == nil {
		l.memory.reserve(key + "/earlier")
		err = l.memory.write(key+"/earlier", content, false)
	}
	if err != nil {
		panic(err)
	}
}

// single is one scenario of the matrix.
type single struct {
	name string
	fault
	call     string
	creating bool // the call is one of those around the creation
	scenario
}

// result is what came of it.
type result struct {
	single
	ending   string
	wrong    []string
	story    string
	took     time.Duration
	statuses []string
}

// TestCrashMatrix plays the rotation once to record its calls, and then once for each
// thing that can go wrong at each of them.
func TestCrashMatrix(t *testing.T) {
	var trace []string
	play(t, short(), func(t *testing.T, o outcome) {
		if o.ending != "done" {
			t.Fatalf("without any fault it ended %s\n%s", o.ending, o.lab.story())
		}
		trace = slices.Clone(o.lab.trace)
	})
	var singles []single
	for _, number := range occurrences(trace) {
		call := trace[number]
		for _, f := range kinds(call) {
			s := short()
			s.faults = map[int]fault{number: f}
			around := trace[max(0, number-2):min(len(trace), number+2)]
			name := fmt.Sprintf("%s:%s:%d", call, strings.ReplaceAll(string(f), " ", "_"), number)
			singles = append(singles, single{name, f, call, slices.Contains(around, "aws.create"), s})
		}
	}
	results := playAll(t, singles)
	report(t, results)
}

// occurrences are the calls of a trace at which faults are tried: all of them, or,
// unless everything is wanted, those whose neighbours did not look the same three times.
func occurrences(trace []string) []int {
	met := map[string]int{}
	var numbers []int
	for number := range trace {
		around := strings.Join(trace[max(0, number-2):min(len(trace), number+2)], " ")
		if met[around]++; met[around] <= 3 || *everything {
			numbers = append(numbers, number)
		}
	}
	return numbers
}

// playAll plays scenarios on all processors.
func playAll(t *testing.T, singles []single) []result {
	if *only != "" {
		singles = slices.DeleteFunc(singles, func(s single) bool { return s.name != *only })
	}
	var mu sync.Mutex
	var results []result
	t.Run("plays", func(t *testing.T) {
		workers := runtime.GOMAXPROCS(0)
		for worker := range workers {
			t.Run(fmt.Sprint(worker), func(t *testing.T) {
				t.Parallel()
				for i := worker; i < len(singles); i += workers {
					r := result{single: singles[i]}
					r.scenario.quiet = *only == ""
					began := time.Now()
					play(t, r.scenario, func(_ *testing.T, o outcome) {
						r.ending, r.wrong = o.ending, judge(o)
						if *only != "" {
							r.story = o.lab.story()
						}
					})
					if !slices.Contains(allowed(r.single), r.ending) {
						r.wrong = append(r.wrong, "ending not allowed: "+r.ending)
					}
					r.took = time.Since(began)
					mu.Lock()
					results = append(results, r)
					mu.Unlock()
				}
			})
		}
	})
	return results
}

// allowed lists the endings that a single fault may lead to.
func allowed(s single) []string {
	endings := []string{"done"}
	switch {
	case s.creating: // refused, or the only copy of the value was lost and the orphan deleted
		endings = append(endings, "aborted")
		if s.fault == effectLater {
			endings = append(endings, "blocked orphan_token") // too late to be recognised as ours
		}
	}
	return endings
}

// report prints the table of endings, and fails for each violation.
func report(t *testing.T, results []result) {
	endings := map[string]int{}
	violations := 0
	for _, r := range results {
		endings[r.ending]++
		if len(r.wrong) > 0 {
			violations++
			if violations <= 40 {
				t.Errorf("%s: %s\n  %s\n%s", r.name, r.ending, strings.Join(r.wrong, "\n  "), r.story)
			}
		} else if *only != "" {
			t.Logf("%s: %s\n%s", r.name, r.ending, r.story)
		}
	}
	t.Logf("%d scenarios, %d violations", len(results), violations)
	for _, ending := range slices.Sorted(maps.Keys(endings)) {
		t.Logf("%6d %s", endings[ending], ending)
	}
}
