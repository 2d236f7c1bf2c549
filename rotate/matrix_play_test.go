package rotate

import (
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"entra-aws-exporter/internal/simulator/world"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

var only = flag.String("scenario", "", "play only the scenario of the matrix with this name, and tell its story")

// trial is one scenario of a matrix and the endings that it may have.
type trial struct {
	scenario
	name    string
	base    func() scenario
	prefix  string
	strikes []strike
	allowed []string // an ending, or its beginning followed by *
}

// result is what came of it.
type result struct {
	trial
	ending string
	wrong  []string
	story  string
	trace  []string
	states []uint64 // before each call
	gap    float64  // seconds in which AWS refused what Entra held, whoever caused it
	ours   float64  // … caused by the exporter
}

// coverage is what all trials together have reached.
type coverage struct {
	mu       sync.Mutex
	count    int
	bad      int
	endings  map[string]int
	steps    map[string]int // "phase -> phase"
	blocked  map[string]int
	waiting  map[string]int
	gap, our float64
	began    time.Time
}

func newCoverage() *coverage {
	return &coverage{endings: map[string]int{}, steps: map[string]int{}, blocked: map[string]int{}, waiting: map[string]int{}, began: time.Now()}
}

// play plays trials on all processors, each in a bubble of its own.
func (c *coverage) play(t *testing.T, trials []trial) []result {
	if *only != "" {
		trials = slices.DeleteFunc(trials, func(tr trial) bool { return tr.name != *only })
	}
	if part, err := strconv.Atoi(os.Getenv("MATRIX")); err == nil { // every so manieth, for the impatient
		trials = slices.DeleteFunc(trials, func(tr trial) bool { return number(tr.name)%uint64(part) != 0 })
	}
	results := make([]result, len(trials))
	t.Run("plays", func(t *testing.T) {
		for worker := range runtime.GOMAXPROCS(0) {
			t.Run(strconv.Itoa(worker), func(t *testing.T) {
				t.Parallel()
				for i := worker; i < len(trials); i += runtime.GOMAXPROCS(0) {
					results[i] = c.one(t, trials[i])
				}
			})
		}
	})
	for _, r := range results {
		c.endings[r.ending]++
		c.count++
		c.gap += r.gap
		c.our += r.ours
		if len(r.wrong) > 0 {
			if c.bad++; c.bad <= 40 {
				t.Errorf("%s: %s\n  %s\n%s", r.name, r.ending, strings.Join(r.wrong, "\n  "), r.story)
			}
		} else if *only != "" {
			t.Logf("%s: %s\n%s", r.name, r.ending, r.story)
		}
	}
	return results
}

// one plays a trial and judges it.
func (c *coverage) one(t *testing.T, tr trial) result {
	r := result{trial: tr}
	s := tr.scenario
	s.quiet = *only == ""
	var eye *witness
	prepare := s.prepare
	s.prepare = func(l *lab) {
		eye = watching(l)
		if prepare != nil {
			prepare(l)
		}
	}
	if len(tr.strikes) == 1 && tr.prefix == "" {
		every := s.every
		s.every = func(l *lab, name string) {
			r.states = append(r.states, stateOf(l))
			if every != nil {
				every(l, name)
			}
		}
	}
	play(t, s, func(_ *testing.T, o outcome) {
		r.ending, r.wrong = o.ending, append(judge(o), eye.verdicts...)
		r.trace = o.lab.trace
		if *only != "" {
			r.story = o.lab.story()
		}
		o.lab.locked(func(w *world.World) {
			for _, gap := range w.Gaps() {
				r.gap += gap.Seconds(w.Now())
				if gap.Culprit == exporter.Actor {
					r.ours += gap.Seconds(w.Now())
				}
			}
		})
		c.see(eye)
	})
	if !allows(tr.allowed, r.ending) {
		r.wrong = append(r.wrong, "ending not allowed: "+r.ending)
	}
	return r
}

func allows(allowed []string, ending string) bool {
	return slices.ContainsFunc(allowed, func(one string) bool {
		start, open := strings.CutSuffix(one, "*")
		return one == ending || open && strings.HasPrefix(ending, start)
	})
}

// stateOf hashes where the world and the rotation stand, apart from when they came there.
func stateOf(l *lab) uint64 {
	h := fnv.New64a()
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprint(h, l.world.SavedToken(l.at.ServicePrincipalID), l.listed(), len(l.memory.values()))
	b := l.current.engine.bookFor(l.at.Name)
	if b == nil || b.last() == nil || b.last().Rotation == nil {
		return h.Sum64()
	}
	rec := b.last()
	rot := rec.Rotation
	_, _ = fmt.Fprint(h, rot.Phase, rot.Waiting, rot.Want, rot.newID(), rot.Proof.Level, rot.Proof.Put, rot.Proof.Stored.Local.IsZero(),
		rot.Proof.Gone.Local.IsZero(), rot.Proof.Settled.Local.IsZero(), rot.Tests.Passed.Local.IsZero(), rot.Rescues, rot.Renewed)
	for _, list := range [][]act{rot.Creates, rot.Puts, rot.Starts, rot.Deletes} {
		for _, a := range list {
			_, _ = fmt.Fprint(h, a.Outcome, a.Why)
		}
	}
	return h.Sum64()
}

// see adds what one play has reached.
func (c *coverage) see(eye *witness) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for what := range eye.steps {
		c.steps[what]++
	}
	for what := range eye.blocked {
		c.blocked[what]++
	}
	for what := range eye.waiting {
		c.waiting[what]++
	}
}

// report prints what was played and what came of it.
func (c *coverage) report(t *testing.T) {
	t.Logf("%d scenarios, %d violations, in %s", c.count, c.bad, time.Since(c.began).Round(time.Second))
	for _, ending := range slices.Sorted(maps.Keys(c.endings)) {
		t.Logf("%6d %s", c.endings[ending], ending)
	}
	t.Logf("gap seconds: %.0f in all, %.0f caused by the exporter", c.gap, c.our)
	t.Logf("coverage: %d phase transitions, %d of %d blocked reasons, %d of %d waiting reasons here",
		len(c.steps), len(c.blocked), len(BlockedReasons()), len(c.waiting), len(WaitingReasons()))
	for _, step := range slices.Sorted(maps.Keys(c.steps)) {
		t.Logf("%6d %s", c.steps[step], step)
	}
}

// transitions that there are: the phases' own table, as the contract tells it.
var transitions = []string{
	"plan -> create", "plan -> test", "create -> test", "create -> undo", "test -> switch", "test -> undo", "switch -> resume",
	"resume -> verify", "verify -> resume", "verify -> retire", "verify -> switch", "retire -> confirm", "retire -> switch",
	"confirm -> switch", "confirm -> create", // confirm -> retire needs AWS to list a deleted token again
}

// demand fails for everything that was never reached: what nothing has entered, nothing
// has proven.
func (c *coverage) demand(t *testing.T) {
	for _, step := range transitions {
		if c.steps[step] == 0 {
			t.Errorf("no scenario went %s", step)
		}
	}
	for step := range c.steps {
		if !slices.Contains(transitions, step) && !strings.HasSuffix(step, " -> undo") {
			t.Logf("not in the table of transitions: %s", step)
		}
	}
	for _, reason := range BlockedReasons() {
		if _, told := stuck[reason]; c.blocked[string(reason)] == 0 && !told { // TestEveryBlockedReasonIsReachedAndSaysWhatToDo
			t.Errorf("nothing was ever blocked for %s", reason)
		}
	}
	for _, reason := range WaitingReasons() {
		if c.waiting[string(reason)] == 0 {
			t.Errorf("nothing ever waited for %s", reason)
		}
	}
}

// notedSteps reads the phases, blocks and waits that a record shows.
func (w *witness) note(rec *record) {
	rot := rec.Rotation
	if rot == nil {
		return
	}
	for i := 1; i < len(rot.Phases); i++ {
		w.steps[string(rot.Phases[i-1].Phase)+" -> "+string(rot.Phases[i].Phase)] = true
	}
	if rot.Blocked != nil {
		w.blocked[string(rot.Blocked.Reason)] = true
	}
	if rot.Waiting != notWaiting {
		w.waiting[string(rot.Waiting)] = true
	}
	if !rec.Held.IsZero() {
		w.waiting[string(Held)] = true
	}
}

func lastAct(list []act) act {
	if len(list) == 0 {
		return act{}
	}
	return list[len(list)-1]
}
