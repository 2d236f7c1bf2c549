package rotate

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/bridge"
)

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

// full is true if everything is to be played, not what fits into a minute or two.
func full() bool { return os.Getenv("MATRIX") == "full" }

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
	key := l.at.Key()
	content, err := encodeEntry(key, old, bridge.NewSecret(l.world.TokenValue(old)))
	if err == nil {
		l.memory.reserve(key + "/earlier")
		err = l.memory.write(key+"/earlier", content, false)
	}
	if err != nil {
		panic(err)
	}
}

// repair is the scenario of a token that has expired: the job is in quarantine, both
// slots are taken by the dead, so that a token is deleted first, and the job started.
func repair() scenario {
	s := short()
	s.spec.Tokens[0].Age, s.spec.Tokens[0].Left = 368*day1, -3*day1
	s.spec.QuarantinedFor = 3*day1 - time.Hour
	return s
}

// TestCrashMatrix plays the rotation once to record its calls, and then once for each
// thing that can go wrong at each of them; then with two things, and with other people's
// hands. It ends by demanding that everything there is was reached.
func TestCrashMatrix(t *testing.T) {
	reached := newCoverage()
	trace := undisturbed(t, short)
	if *only != "" && strings.Contains(*only, "+") {
		reached.play(t, []trial{pairNamed(*only)})
		return
	}
	repairs := singlesOf("repair ", undisturbed(t, repair), repair)
	if !full() {
		repairs = slices.DeleteFunc(repairs, func(tr trial) bool { return number(tr.name)%8 != 0 })
	}
	singles := reached.play(t, slices.Concat(singlesOf("", trace, short), repairs))
	reached.play(t, pairsOf(singles))
	reached.play(t, replicas(trace))
	reached.play(t, actorsAt(trace))
	reached.play(t, slices.Concat(situations(), traps()))
	if *only == "" {
		reached.demand(t)
	}
	reached.report(t)
}

// undisturbed records the calls of a rotation that nothing happens to.
func undisturbed(t *testing.T, base func() scenario) (trace []string) {
	play(t, base(), func(t *testing.T, o outcome) {
		if o.ending != "done" {
			t.Fatalf("without any fault it ended %s\n%s", o.ending, o.lab.story())
		}
		trace = slices.Clone(o.lab.trace)
	})
	return trace
}

// singlesOf are all single faults of a rotation with these calls.
func singlesOf(prefix string, trace []string, base func() scenario) []trial {
	var trials []trial
	for number, call := range trace {
		for _, f := range kinds(call) {
			trials = append(trials, faulty(base, prefix, []strike{{number, call, f, following(trace, number)}}))
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

// strike is one fault at one call.
type strike struct {
	number int
	call   string
	fault  fault
	next   string // the call after it, if nothing had happened
}

func (s strike) String() string {
	return fmt.Sprintf("%s:%s:%d", s.call, strings.ReplaceAll(string(s.fault), " ", "_"), s.number)
}

// faulty is the trial of a rotation with these faults.
func faulty(base func() scenario, prefix string, strikes []strike) trial {
	tr := trial{scenario: base(), base: base, prefix: prefix, strikes: strikes}
	tr.faults = map[int]fault{}
	names := make([]string, len(strikes))
	for i, s := range strikes {
		names[i] = s.String()
		tr.faults[s.number] = s.fault
		tr.allowed = append(tr.allowed, endingsAfter(s)...)
	}
	tr.name = prefix + strings.Join(names, "+")
	if len(strikes) > 1 {
		tr.allowed = append(tr.allowed, endingsAfterTwo...)
	}
	return tr
}

// pairsOf puts a second fault at the calls that followed the first one: all of them, or
// a sample that is always the same. Where the world and the rotation stand as they did
// in another run before the same call, only the first such run is taken.
func pairsOf(singles []result) []trial {
	const sample = 400
	var trials []trial
	seen := map[uint64]bool{}
	for _, r := range singles {
		if r.prefix != "" || len(r.strikes) != 1 {
			continue
		}
		first := r.strikes[0]
		for at := first.number + 1; at < len(r.trace); at++ {
			call := r.trace[at]
			for _, f := range kinds(call) {
				state := fnv.New64a()
				_, _ = fmt.Fprint(state, r.states[at], call, f)
				if seen[state.Sum64()] {
					continue
				}
				seen[state.Sum64()] = true
				trials = append(trials, faulty(r.base, r.prefix, []strike{first, {at, call, f, following(r.trace, at)}}))
			}
		}
	}
	if full() {
		return trials
	}
	slices.SortFunc(trials, func(a, b trial) int { return cmp.Compare(number(a.name), number(b.name)) })
	return trials[:min(sample, len(trials))]
}

// number is an arbitrary number for a name, always the same.
func number(name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return h.Sum64()
}

// pairNamed is the trial of two faults with this name.
func pairNamed(name string) trial {
	var strikes []strike
	for _, part := range strings.Split(name, "+") {
		fields := strings.Split(part, ":")
		var number int
		if _, err := fmt.Sscan(fields[len(fields)-1], &number); err != nil || len(fields) != 3 {
			panic("no such scenario: " + name)
		}
		strikes = append(strikes, strike{number, fields[0], fault(strings.ReplaceAll(fields[1], "_", " ")), ""})
	}
	return faulty(short, "", strikes)
}
