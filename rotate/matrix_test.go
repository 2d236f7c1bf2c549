package rotate_test

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

	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/harness"
)

// The matrix: see docs/rotation-proof.md.

// faultsOf are the faults that a call of this name can have.
func faultsOf(name string) []harness.Fault {
	switch name {
	case "journal.save":
		return []harness.Fault{harness.Refused, harness.ResponseLost, harness.KilledBefore, harness.KilledAfter, harness.SuspendedAfter, harness.Terminated, harness.DiskFull}
	case "tokens.reserve":
		return []harness.Fault{harness.Refused, harness.KilledBefore, harness.KilledAfter, harness.DiskFull}
	case "tokens.destroy":
		return []harness.Fault{harness.Refused, harness.KilledBefore, harness.KilledAfter}
	case "tokens.write":
		return []harness.Fault{harness.Refused, harness.KilledBefore, harness.KilledAfter, harness.TornWrite, harness.Terminated}
	case "aws.create", "aws.delete", "graph.put", "graph.start", "graph.canary",
		"graph.create_certificate", "aws.import_certificate", "graph.activate_certificate", "aws.delete_certificate":
		return []harness.Fault{harness.Refused, harness.ResponseLost, harness.KilledBefore, harness.KilledAfter, harness.EffectDelayed, harness.Unparsable, harness.Throttled, harness.SuspendedBefore, harness.SuspendedAfter, harness.Terminated}
	default:
		return []harness.Fault{harness.Refused, harness.KilledBefore, harness.Throttled, harness.Unparsable, harness.StaleRead, harness.SuspendedBefore, harness.Terminated}
	}
}

// fullMatrix reports whether all cases run, or one of them is looked for. Otherwise a
// sample runs, which takes a minute or two.
func fullMatrix() bool { return *only != "" || strings.HasPrefix(os.Getenv("MATRIX"), "full") }

// share is how many cases there are for each one that runs: 20 with MATRIX=20 (of the
// sample) or MATRIX=full/20 (of all); 1: all run.
func share() uint64 {
	many, err := strconv.ParseUint(strings.TrimPrefix(os.Getenv("MATRIX"), "full/"), 10, 32)
	if err != nil || many == 0 {
		return 1
	}
	return many
}

// sampled are the cases that run, always the same ones.
func sampled(cases []matrixCase) []matrixCase {
	return slices.DeleteFunc(cases, func(c matrixCase) bool { return hashOf(c.name)%share() != 0 })
}

// shortScenario is the scenario of the crash matrix: a rotation with the shortest possible
// waits. The old token's value is in the token store, as after an earlier rotation.
func shortScenario() harness.Scenario {
	s := harness.BaseScenario()
	s.Policy.RetireAfter = 0
	s.Prepare = storeOldValue
	s.Quiet = true
	return s
}

// storeOldValue puts the value of the token in use into the token store.
func storeOldValue(h *harness.Harness) {
	old := h.Connection.TokenIDs[0]
	key := h.Connection.Key()
	h.Store.Reserve(key + "/earlier")
	if err := h.Store.Write(key+"/earlier", harness.StoredEntry(key, old, h.Clouds.TokenValue(old)), false); err != nil {
		panic(err)
	}
}

// repairScenario is the scenario of an expired token. The job is in quarantine and both
// slots hold expired tokens, so the engine first deletes one and later starts the job. A
// canary is provisioned.
func repairScenario() harness.Scenario {
	s := shortScenario()
	s.Prepare = withCanary
	s.Spec.Tokens = []clouds.TokenSpec{{Age: 368 * day, Left: -3 * day, Saved: true}, {Age: 400 * day, Left: -35 * day}}
	s.Spec.QuarantinedFor = 3*day - time.Hour
	return s
}

// prefixed are the scenarios whose cases have names with a prefix.
var prefixed = map[string]func() harness.Scenario{"repair ": repairScenario, "rollover ": rolloverScenario, "import ": importScenario}

// TestCrashMatrix runs a rotation once to record its calls, and then once for each fault
// that each call can have. Then come pairs of faults, two processes on one store, the
// actions of operators, edge cases, blocked rotations and calls that fail for good. In the
// end, every transition and reason must have been c.
func TestCrashMatrix(t *testing.T) {
	c := newCoverage()
	calls := recordCalls(t, shortScenario)
	if *only != "" && strings.Contains(*only, "+") {
		c.run(t, []matrixCase{parsePair(*only)})
		return
	}
	repaired := recordCalls(t, repairScenario)
	repairs := singleFaults("repair ", repaired, repairScenario)
	if !fullMatrix() {
		repairs = slices.DeleteFunc(repairs, func(tested matrixCase) bool { return hashOf(tested.name)%8 != 0 })
	}
	all := slices.Concat(singleFaults("", calls, shortScenario), repairs)
	if !fullMatrix() { // the pairs of MATRIX=full/N follow from all single faults
		all = sampled(all)
	}
	singles := c.run(t, all)
	allPairs := faultPairs(singles)
	pairs := sampled(samplePairs(1200, allPairs))
	c.run(t, pairs)
	c.run(t, sampled(tokenReplicas(calls)))
	c.run(t, sampled(tokenActions(calls)))
	c.run(t, slices.Concat(situations(), edgeCases(), tokenBlockedCases(), sampled(tokenLastingFaults(repaired))))
	if *only == "" && share() == 1 {
		c.requireCoverage(t)
	}
	t.Logf("%d single faults; %d of %d pairs", len(singles), len(pairs), len(allPairs))
	c.report(t)
}

// recordCalls records the calls of a rotation without faults.
func recordCalls(t *testing.T, base func() harness.Scenario) (calls []string) {
	harness.Run(t, base(), func(t *testing.T, r harness.Result) {
		if r.Outcome != "done" {
			t.Fatalf("without any fault, the outcome is %s\n%s", r.Outcome, r.Harness.Timeline())
		}
		calls = slices.Clone(r.Harness.Calls)
	})
	return calls
}

// singleFaults are the cases with one fault in a rotation with these calls.
func singleFaults(prefix string, calls []string, base func() harness.Scenario) []matrixCase {
	var cases []matrixCase
	for number, call := range calls {
		for _, f := range faultsOf(call) {
			cases = append(cases, withFaults(base, prefix, []injection{{number, call, f, nextCall(calls, number)}}))
		}
	}
	return cases
}

func nextCall(calls []string, number int) string {
	if number+1 < len(calls) {
		return calls[number+1]
	}
	return ""
}

// injection is one fault at one call.
type injection struct {
	number int
	call   string
	fault  harness.Fault
	next   string // the call after it in a rotation without faults
}

func (i injection) String() string {
	return fmt.Sprintf("%s:%s:%d", i.call, strings.ReplaceAll(string(i.fault), " ", "_"), i.number)
}

// withFaults is the case of a rotation with these faults.
func withFaults(base func() harness.Scenario, prefix string, injections []injection) matrixCase {
	c := matrixCase{Scenario: base(), base: base, prefix: prefix, injections: injections}
	c.Faults = map[int]harness.Fault{}
	names := make([]string, len(injections))
	for n, i := range injections {
		names[n] = i.String()
		c.Faults[i.number] = i.fault
		c.allowed = append(c.allowed, outcomesAfter(i)...)
	}
	c.name = prefix + strings.Join(names, "+")
	if len(injections) > 1 {
		c.allowed = append(c.allowed, outcomesAfterTwo...)
		if !slices.ContainsFunc(injections, func(i injection) bool { return !i.losesValue() }) {
			c.allowed = append(c.allowed, "blocked budget_exhausted")
		}
		if !slices.ContainsFunc(injections, func(i injection) bool { return !i.losesActivation() }) {
			c.allowed = append(c.allowed, "blocked activation_failed")
		}
	}
	return c
}

// faultPairs adds a second fault at the calls that followed the first one. If the state
// before a call was the same in several runs, only the first of them counts.
func faultPairs(singles []caseResult) []matrixCase {
	var cases []matrixCase
	seen := map[uint64]bool{}
	for _, r := range singles {
		first := r.injections[0]
		for at := first.number + 1; at < len(r.calls); at++ {
			call := r.calls[at]
			for _, f := range faultsOf(call) {
				state := fnv.New64a()
				_, _ = fmt.Fprint(state, r.prefix, r.states[at], call, f)
				if seen[state.Sum64()] {
					continue
				}
				seen[state.Sum64()] = true
				cases = append(cases, withFaults(r.base, r.prefix, []injection{first, {at, call, f, nextCall(r.calls, at)}}))
			}
		}
	}
	return cases
}

// samplePairs are all pairs, or a sample that is always the same.
func samplePairs(sample int, pairs []matrixCase) []matrixCase {
	if fullMatrix() {
		return pairs
	}
	sorted := slices.Clone(pairs)
	slices.SortFunc(sorted, func(a, b matrixCase) int { return cmp.Compare(hashOf(a.name), hashOf(b.name)) })
	return sorted[:min(sample, len(sorted))]
}

// hashOf is an arbitrary number for a name, always the same.
func hashOf(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return h.Sum64()
}

// parsePair is the case of two faults with this name.
func parsePair(name string) matrixCase {
	var injections []injection
	base, prefix, faults := shortScenario, "", name
	for beginning, scenario := range prefixed {
		if rest, found := strings.CutPrefix(name, beginning); found {
			base, prefix, faults = scenario, beginning, rest
		}
	}
	for _, part := range strings.Split(faults, "+") {
		fields := strings.Split(part, ":")
		var number int
		if _, err := fmt.Sscan(fields[len(fields)-1], &number); err != nil || len(fields) != 3 {
			panic("no such scenario: " + name)
		}
		injections = append(injections, injection{number, fields[0], harness.Fault(strings.ReplaceAll(fields[1], "_", " ")), ""})
	}
	return withFaults(base, prefix, injections)
}
