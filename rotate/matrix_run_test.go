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

	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/certificate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/token"
	"entra-aws-exporter/test/harness"
)

// The matrix: see docs/rotation-proof.md.

var only = flag.String("scenario", "", "run only the matrix scenario with this name, and print its timeline")

// matrixCase is one scenario of a matrix and the outcomes that it may have.
type matrixCase struct {
	harness.Scenario
	name    string
	allowed []string // an outcome, or the beginning of one followed by *

	injections []injection             // the faults, if the case consists of faults only
	base       func() harness.Scenario // the scenario without them
	prefix     string                  // the beginning of the name for this scenario
}

// caseResult is the result of a matrixCase.
type caseResult struct {
	matrixCase
	outcome    string
	violations []string
	timeline   string
	calls      []string
	states     []uint64 // the state before each call
	outage     float64  // seconds in which AWS refused what Entra held, whatever the cause
	byExporter float64  // the seconds of them that the exporter caused
}

// run runs cases on all processors, each in a bubble of its own.
func (c *coverage) run(t *testing.T, cases []matrixCase) []caseResult {
	if *only != "" {
		cases = slices.DeleteFunc(cases, func(tested matrixCase) bool { return tested.name != *only })
	}
	results := make([]caseResult, len(cases))
	t.Run("cases", func(t *testing.T) {
		for worker := range runtime.GOMAXPROCS(0) {
			t.Run(strconv.Itoa(worker), func(t *testing.T) {
				t.Parallel()
				for i := worker; i < len(cases); i += runtime.GOMAXPROCS(0) {
					results[i] = c.runOne(t, cases[i])
				}
			})
		}
	})
	for _, r := range results {
		c.outcomes[r.outcome]++
		c.count++
		c.outage += r.outage
		c.byExporter += r.byExporter
		if len(r.violations) > 0 {
			c.failed++
			t.Errorf("%s: %s\n  %s\n%s", r.name, r.outcome, strings.Join(r.violations, "\n  "), r.timeline)
		} else if *only != "" {
			t.Logf("%s: %s\n%s", r.name, r.outcome, r.timeline)
		}
	}
	return results
}

// runOne runs a case and checks the invariants and its outcome.
func (c *coverage) runOne(t *testing.T, tested matrixCase) caseResult {
	result := caseResult{matrixCase: tested}
	s := tested.Scenario
	s.Quiet = *only == ""
	var observer *harness.InvariantObserver
	prepare := s.Prepare
	s.Prepare = func(h *harness.Harness) {
		observer = harness.Observe(h)
		if prepare != nil {
			prepare(h)
		}
	}
	if len(tested.injections) == 1 {
		beforeCall := s.BeforeCall
		s.BeforeCall = func(h *harness.Harness, name string) {
			result.states = append(result.states, stateOf(h))
			if beforeCall != nil {
				beforeCall(h, name)
			}
		}
	}
	harness.Run(t, s, func(_ *testing.T, r harness.Result) {
		result.outcome, result.violations = r.Outcome, append(harness.Check(r), observer.Violations...)
		result.calls = r.Harness.Calls
		if *only != "" {
			result.timeline = r.Harness.Timeline()
		}
		r.Harness.WithClouds(func(m *clouds.Model) { result.addOutages(m) })
		observer.Update()
		if reason, blocked := strings.CutPrefix(r.Outcome, "blocked "); blocked {
			observer.Blocked[reason] = true // includes a reason that prevents the start
		}
		c.add(observer)
	})
	if !allows(tested.allowed, result.outcome) {
		result.violations = append(result.violations, "outcome not allowed: "+result.outcome)
	}
	return result
}

// addOutages adds the outages that the case's procedure could have caused.
func (r *caseResult) addOutages(m *clouds.Model) {
	add := func(seconds float64, by clouds.Actor) {
		if r.outage += seconds; by == harness.Exporter.Actor {
			r.byExporter += seconds
		}
	}
	if r.Rolls != nil {
		for _, outage := range m.SignInOutages() {
			add(outage.Seconds(m.Now()), outage.CausedBy)
		}
		return
	}
	for _, outage := range m.Outages() {
		add(outage.Seconds(m.Now()), outage.CausedBy)
	}
}

func allows(allowed []string, outcome string) bool {
	return slices.ContainsFunc(allowed, func(pattern string) bool {
		start, open := strings.CutSuffix(pattern, "*")
		return pattern == outcome || open && strings.HasPrefix(outcome, start)
	})
}

// stateOf hashes the state of the model, the store and the rotation, without any time.
func stateOf(h *harness.Harness) uint64 {
	if h.Rolls != nil {
		return rolloverStateOf(h)
	}
	hash := fnv.New64a()
	h.Lock()
	defer h.Unlock()
	_, _ = fmt.Fprint(hash, h.Clouds.SavedToken(h.Connection.ServicePrincipalID), h.ListedTokens(), len(h.Store.Values()))
	rec := h.Current.Load().Engine.Record(h.Connection.Name)
	if rec == nil || rec.Rotation == nil {
		return hash.Sum64()
	}
	rot := rec.Rotation
	_, _ = fmt.Fprint(hash, rot.Phase, rot.Waiting, rot.PendingPut, rot.NewID(), rot.Proof.Level, rot.Proof.Put, rot.Proof.Stored.Local.IsZero(),
		rot.Proof.Gone.Local.IsZero(), rot.Proof.Propagated.Local.IsZero(), rot.Trial.Passed.Local.IsZero(), rot.Recoveries, rot.ProofRestarts)
	for _, kind := range []journal.OperationKind{token.OperationCreate, token.OperationPut, token.OperationStart, token.OperationDelete} {
		for _, operation := range rot.Operations[kind] {
			_, _ = fmt.Fprint(hash, operation.Outcome, operation.Why)
		}
	}
	return hash.Sum64()
}

// rolloverStateOf is stateOf for a rollover.
func rolloverStateOf(h *harness.Harness) uint64 {
	hash := fnv.New64a()
	active, listed, trusted := h.CertificateState()
	_, _ = fmt.Fprint(hash, active, listed, trusted)
	rotation, progress := h.Current.Load().Engine.Rollover(h.Connection.Name)
	if rotation == nil {
		return hash.Sum64()
	}
	_, _ = fmt.Fprint(hash, rotation.Phase, rotation.Waiting, progress.Proof.Level, progress.Repair != nil, progress.New != nil && progress.New.Imported.Local.IsZero(),
		progress.Proof.Gone.Local.IsZero())
	for _, kind := range []journal.OperationKind{certificate.OperationCreate, certificate.OperationImport, certificate.OperationActivate, certificate.OperationDelete} {
		for _, operation := range rotation.Operations[kind] {
			_, _ = fmt.Fprint(hash, operation.Outcome, operation.Why)
		}
	}
	return hash.Sum64()
}
