package rotate_test

import (
	"flag"
	"fmt"
	"hash/fnv"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"entra-aws-exporter/test/harness"

	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/token"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

var only = flag.String("scenario", "", "play only the scenario of the matrix with this name, and tell its story")

// matrixCase is one scenario of a matrix and the endings that it may have.
type matrixCase struct {
	harness.Scenario
	name    string
	allowed []string // an ending, or its beginning followed by *

	strikes []injection             // the faults, if it is made of nothing else
	base    func() harness.Scenario // … what they happen to
	prefix  string                  // … and what this is called
}

// result is what came of it.
type result struct {
	matrixCase
	ending string
	wrong  []string
	story  string
	trace  []string
	states []uint64 // before each call
	gap    float64  // seconds in which AWS refused what Entra held, whoever caused it
	ours   float64  // … caused by the exporter
}

// run plays trials on all processors, each in a bubble of its own.
func (c *coverage) run(t *testing.T, trials []matrixCase) []result {
	if *only != "" {
		trials = slices.DeleteFunc(trials, func(tr matrixCase) bool { return tr.name != *only })
	}
	results := make([]result, len(trials))
	t.Run("plays", func(t *testing.T) {
		for worker := range runtime.GOMAXPROCS(0) {
			t.Run(strconv.Itoa(worker), func(t *testing.T) {
				t.Parallel()
				for i := worker; i < len(trials); i += runtime.GOMAXPROCS(0) {
					results[i] = c.runOne(t, trials[i])
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
			c.bad++
			t.Errorf("%s: %s\n  %s\n%s", r.name, r.ending, strings.Join(r.wrong, "\n  "), r.story)
		} else if *only != "" {
			t.Logf("%s: %s\n%s", r.name, r.ending, r.story)
		}
	}
	return results
}

// runOne plays a trial and judges it.
func (c *coverage) runOne(t *testing.T, tr matrixCase) result {
	r := result{matrixCase: tr}
	s := tr.Scenario
	s.Quiet = *only == ""
	var eye *harness.InvariantObserver
	prepare := s.Prepare
	s.Prepare = func(l *harness.Harness) {
		eye = harness.Observe(l)
		if prepare != nil {
			prepare(l)
		}
	}
	if len(tr.strikes) == 1 {
		every := s.BeforeCall
		s.BeforeCall = func(l *harness.Harness, name string) {
			r.states = append(r.states, stateOf(l))
			if every != nil {
				every(l, name)
			}
		}
	}
	harness.Run(t, s, func(_ *testing.T, o harness.Result) {
		r.ending, r.wrong = o.Outcome, append(harness.CheckInvariants(o), eye.Violations...)
		r.trace = o.Harness.Calls
		if *only != "" {
			r.story = o.Harness.Timeline()
		}
		o.Harness.WithClouds(func(w *clouds.Model) {
			for _, gap := range w.Outages() {
				r.gap += gap.Seconds(w.Now())
				if gap.CausedBy == harness.Exporter.Actor {
					r.ours += gap.Seconds(w.Now())
				}
			}
		})
		eye.Update()
		if reason, blocked := strings.CutPrefix(o.Outcome, "blocked "); blocked {
			eye.Blocked[reason] = true // also one that keeps a rotation from beginning
		}
		c.add(eye)
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
func stateOf(l *harness.Harness) uint64 {
	h := fnv.New64a()
	l.Lock()
	defer l.Unlock()
	_, _ = fmt.Fprint(h, l.Clouds.SavedToken(l.Connection.ServicePrincipalID), l.ListedTokens(), len(l.Store.Values()))
	rec := l.Current.Load().Engine.Record(l.Connection.Name)
	if rec == nil || rec.Rotation == nil {
		return h.Sum64()
	}
	rot := rec.Rotation
	_, _ = fmt.Fprint(h, rot.Phase, rot.Waiting, rot.PendingPut, rot.NewID(), rot.Proof.Level, rot.Proof.Put, rot.Proof.Stored.Local.IsZero(),
		rot.Proof.Gone.Local.IsZero(), rot.Proof.Propagated.Local.IsZero(), rot.Trial.Passed.Local.IsZero(), rot.Recoveries, rot.ProofRestarts)
	for _, kind := range []journal.OperationKind{token.OperationCreate, token.OperationPut, token.OperationStart, token.OperationDelete} {
		for _, a := range rot.Operations[kind] {
			_, _ = fmt.Fprint(h, a.Outcome, a.Why)
		}
	}
	return h.Sum64()
}
