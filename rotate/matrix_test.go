package rotate_test

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/test/harness"

	"entra-aws-exporter/internal/simulator/clouds"
)

// kinds are the faults that can befall a call of this name.
func kinds(name string) []harness.Fault {
	switch name {
	case "journal.save":
		return []harness.Fault{harness.Refused, harness.ResponseLost, harness.KilledBefore, harness.KilledAfter, harness.SuspendedAfter, harness.Terminated, harness.DiskFull}
	case "vault.reserve":
		return []harness.Fault{harness.Refused, harness.KilledBefore, harness.KilledAfter, harness.DiskFull}
	case "vault.destroy":
		return []harness.Fault{harness.Refused, harness.KilledBefore, harness.KilledAfter}
	case "vault.write":
		return []harness.Fault{harness.Refused, harness.KilledBefore, harness.KilledAfter, harness.TornWrite, harness.Terminated}
	case "aws.create", "aws.delete", "graph.put", "graph.start", "graph.canary":
		return []harness.Fault{harness.Refused, harness.ResponseLost, harness.KilledBefore, harness.KilledAfter, harness.EffectDelayed, harness.Unparsable, harness.Throttled, harness.SuspendedBefore, harness.SuspendedAfter, harness.Terminated}
	default:
		return []harness.Fault{harness.Refused, harness.KilledBefore, harness.Throttled, harness.Unparsable, harness.StaleRead, harness.SuspendedBefore, harness.Terminated}
	}
}

// full is true if everything is to be played, or looked through for one scenario, not
// what fits into a minute or two.
func full() bool { return *only != "" || strings.HasPrefix(os.Getenv("MATRIX"), "full") }

// share is of how many trials one is played, by MATRIX=20 (of the usual ones) or
// MATRIX=full/20; 1: all.
func share() uint64 {
	many, err := strconv.ParseUint(strings.TrimPrefix(os.Getenv("MATRIX"), "full/"), 10, 32)
	if err != nil || many == 0 {
		return 1
	}
	return many
}

// shared are the trials to be played, always the same ones.
func shared(trials []matrixCase) []matrixCase {
	return slices.DeleteFunc(trials, func(tr matrixCase) bool { return number(tr.name)%share() != 0 })
}

// shortScenario is the scenario of the crash matrix: a rotation in which every wait is as short
// as it can be. The old token's value is in the vault, as after an earlier rotation.
func shortScenario() harness.Scenario {
	s := harness.BaseScenario()
	s.Policy.RetireAfter = 0
	s.Prepare = storeOldValue
	s.Quiet = true
	return s
}

// storeOldValue puts the value of the token in use into the vault.
func storeOldValue(l *harness.Harness) {
	old := l.Connection.TokenIDs[0]
	key := l.Connection.Key()
	l.Store.Reserve(key + "/earlier")
	if err := l.Store.Write(key+"/earlier", harness.StoredEntry(key, old, l.Clouds.TokenValue(old)), false); err != nil {
		panic(err)
	}
}

// repairScenario is the scenario of a token that has expired: the job is in quarantine, both
// slots are taken by the dead, so that a token is deleted first, and the job started. A
// canary is provisioned.
func repairScenario() harness.Scenario {
	s := shortScenario()
	s.Prepare = withCanary
	s.Spec.Tokens = []clouds.TokenSpec{{Age: 368 * day1, Left: -3 * day1, Saved: true}, {Age: 400 * day1, Left: -35 * day1}}
	s.Spec.QuarantinedFor = 3*day1 - time.Hour
	return s
}

// TestCrashMatrix plays the rotation once to record its calls, and then once for each
// thing that can go wrong at each of them; then with two things, and with other people's
// hands. It ends by demanding that everything there is was reached.
func TestCrashMatrix(t *testing.T) {
	reached := newCoverage()
	trace := undisturbed(t, shortScenario)
	if *only != "" && strings.Contains(*only, "+") {
		reached.run(t, []matrixCase{pairNamed(*only)})
		return
	}
	repaired := undisturbed(t, repairScenario)
	repairs := singlesOf("repair ", repaired, repairScenario)
	if !full() {
		repairs = slices.DeleteFunc(repairs, func(tr matrixCase) bool { return number(tr.name)%8 != 0 })
	}
	all := slices.Concat(singlesOf("", trace, shortScenario), repairs)
	if !full() { // the pairs of a share follow from all single faults
		all = shared(all)
	}
	singles := reached.run(t, all)
	pairs := pairsOf(singles)
	played := shared(sampleOf(pairs))
	reached.run(t, played)
	reached.run(t, shared(replicas(trace)))
	reached.run(t, shared(actorsAt(trace)))
	reached.run(t, slices.Concat(situations(), edgeCases(), afterBlock(), shared(outages(repaired))))
	if *only == "" && share() == 1 {
		reached.requireCoverage(t)
	}
	t.Logf("%d single faults; %d of %d pairs", len(singles), len(played), len(pairs))
	reached.report(t)
}

// undisturbed records the calls of a rotation that nothing happens to.
func undisturbed(t *testing.T, base func() harness.Scenario) (trace []string) {
	harness.Run(t, base(), func(t *testing.T, o harness.Result) {
		if o.Outcome != "done" {
			t.Fatalf("without any fault it ended %s\n%s", o.Outcome, o.Harness.Timeline())
		}
		trace = slices.Clone(o.Harness.Calls)
	})
	return trace
}

// singlesOf are all single faults of a rotation with these calls.
func singlesOf(prefix string, trace []string, base func() harness.Scenario) []matrixCase {
	var trials []matrixCase
	for number, call := range trace {
		for _, f := range kinds(call) {
			trials = append(trials, faulty(base, prefix, []injection{{number, call, f, following(trace, number)}}))
		}
	}
	return trials
}

func following(trace []string, number int) string {
	if number+1 < len(trace) {
		return trace[number+1]
	}
	return ""
}

// injection is one fault at one call.
type injection struct {
	number int
	call   string
	fault  harness.Fault
	next   string // the call after it, if nothing had happened
}

func (s injection) String() string {
	return fmt.Sprintf("%s:%s:%d", s.call, strings.ReplaceAll(string(s.fault), " ", "_"), s.number)
}

// faulty is the trial of a rotation with these faults.
func faulty(base func() harness.Scenario, prefix string, strikes []injection) matrixCase {
	tr := matrixCase{Scenario: base(), base: base, prefix: prefix, strikes: strikes}
	tr.Faults = map[int]harness.Fault{}
	names := make([]string, len(strikes))
	for i, s := range strikes {
		names[i] = s.String()
		tr.Faults[s.number] = s.fault
		tr.allowed = append(tr.allowed, endingsAfter(s)...)
	}
	tr.name = prefix + strings.Join(names, "+")
	if len(strikes) > 1 {
		tr.allowed = append(tr.allowed, endingsAfterTwo...)
		if !slices.ContainsFunc(strikes, func(s injection) bool { return !s.losesValue() }) {
			tr.allowed = append(tr.allowed, "blocked budget_exhausted")
		}
	}
	return tr
}

// pairsOf puts a second fault at the calls that followed the first one. Where the world
// and the rotation stand as they did in another run before the same call, only the first
// such run is taken.
func pairsOf(singles []result) []matrixCase {
	var trials []matrixCase
	seen := map[uint64]bool{}
	for _, r := range singles {
		first := r.strikes[0]
		for at := first.number + 1; at < len(r.trace); at++ {
			call := r.trace[at]
			for _, f := range kinds(call) {
				state := fnv.New64a()
				_, _ = fmt.Fprint(state, r.prefix, r.states[at], call, f)
				if seen[state.Sum64()] {
					continue
				}
				seen[state.Sum64()] = true
				trials = append(trials, faulty(r.base, r.prefix, []injection{first, {at, call, f, following(r.trace, at)}}))
			}
		}
	}
	return trials
}

// sampleOf is all pairs, or a sample that is always the same.
func sampleOf(pairs []matrixCase) []matrixCase {
	const sample = 1200
	if full() {
		return pairs
	}
	sorted := slices.Clone(pairs)
	slices.SortFunc(sorted, func(a, b matrixCase) int { return cmp.Compare(number(a.name), number(b.name)) })
	return sorted[:min(sample, len(sorted))]
}

// number is an arbitrary number for a name, always the same.
func number(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return h.Sum64()
}

// pairNamed is the trial of two faults with this name.
func pairNamed(name string) matrixCase {
	var strikes []injection
	base, prefix := shortScenario, ""
	faults, repaired := strings.CutPrefix(name, "repair ")
	if repaired {
		base, prefix = repairScenario, "repair "
	}
	for _, part := range strings.Split(faults, "+") {
		fields := strings.Split(part, ":")
		var number int
		if _, err := fmt.Sscan(fields[len(fields)-1], &number); err != nil || len(fields) != 3 {
			panic("no such scenario: " + name)
		}
		strikes = append(strikes, injection{number, fields[0], harness.Fault(strings.ReplaceAll(fields[1], "_", " ")), ""})
	}
	return faulty(base, prefix, strikes)
}
