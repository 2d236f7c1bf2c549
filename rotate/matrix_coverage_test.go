package rotate_test

import (
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/test/harness"
)

// The matrix: see docs/rotation-proof.md.

// coverage is what all cases together have reached.
type coverage struct {
	kind        model.Procedure
	mu          sync.Mutex
	count       int // cases
	failed      int // cases with a violation
	outcomes    map[string]int
	transitions map[string]int // "phase -> phase"
	blocked     map[string]int
	waiting     map[string]int
	outage      float64 // seconds
	byExporter  float64 // the seconds of them that the exporter caused
	began       time.Time
}

func newCoverage() *coverage { return coverageOf(model.ProcedureToken) }

func coverageOf(kind model.Procedure) *coverage {
	return &coverage{kind: kind, outcomes: map[string]int{}, transitions: map[string]int{}, blocked: map[string]int{}, waiting: map[string]int{}, began: time.Now()}
}

// add adds what one case has reached.
func (c *coverage) add(observer *harness.InvariantObserver) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for transition := range observer.Transitions {
		c.transitions[transition]++
	}
	for reason := range observer.Blocked {
		c.blocked[reason]++
	}
	for reason := range observer.Waiting {
		c.waiting[reason]++
	}
}

// report prints the counts.
func (c *coverage) report(t *testing.T) {
	t.Logf("%d scenarios, %d violations, in %s", c.count, c.failed, time.Since(c.began).Round(time.Second))
	for _, outcome := range slices.Sorted(maps.Keys(c.outcomes)) {
		t.Logf("%6d %s", c.outcomes[outcome], outcome)
	}
	t.Logf("outage seconds: %.0f in all, %.0f caused by the exporter", c.outage, c.byExporter)
	t.Logf("coverage: %d phase transitions, %d of %d blocked reasons, %d of %d waiting reasons",
		len(c.transitions), len(c.blocked), len(model.BlockedReasonsOf(c.kind)), len(c.waiting), len(waitingReasons[c.kind]))
	for _, transition := range slices.Sorted(maps.Keys(c.transitions)) {
		t.Logf("%6d %s", c.transitions[transition], transition)
	}
}

// phaseTransitions are the transitions that the state diagrams of rotate/doc.go and
// rotate/certificate/procedure.go allow.
var phaseTransitions = map[model.Procedure][]string{
	model.ProcedureToken: {
		"plan -> create", "plan -> test", "create -> test", "create -> plan", "create -> undo", "test -> switch", "test -> undo", "switch -> resume", "switch -> undo",
		"resume -> verify", "verify -> resume", "verify -> retire", "verify -> switch", "retire -> confirm", "retire -> switch",
		"confirm -> switch", "confirm -> create", "confirm -> retire", "retire -> create", "switch -> create", "resume -> create",
		"switch -> test", "resume -> test", "verify -> test", "retire -> test", "confirm -> test", "undo -> test", // after an operator's reset
	},
	model.ProcedureCertificate: {
		"plan -> create", "plan -> import", "create -> import", "import -> settle", "settle -> activate", "activate -> verify", "verify -> retire", "retire -> confirm",
		"settle -> import", "activate -> import", "verify -> import", "retire -> import", "confirm -> import", // after an operator's reset
	},
}

// waitingReasons are the reasons for which rotations of each kind wait.
var waitingReasons = map[model.Procedure][]model.WaitingReason{
	model.ProcedureToken: model.WaitingReasons(),
	model.ProcedureCertificate: {
		model.WaitingProofPending, model.WaitingRetireWait, model.WaitingSettling, model.WaitingStoreUnavailable, model.WaitingApproval, model.WaitingOnHold,
	},
}

// requireCoverage fails for every transition and reason that no case reached. What was
// never entered is not proven.
func (c *coverage) requireCoverage(t *testing.T) {
	for _, transition := range phaseTransitions[c.kind] {
		if c.transitions[transition] == 0 {
			t.Errorf("no scenario reached %s", transition)
		}
	}
	for transition := range c.transitions {
		if !slices.Contains(phaseTransitions[c.kind], transition) {
			t.Errorf("not in the table of transitions: %s", transition)
		}
	}
	for _, reason := range model.BlockedReasonsOf(c.kind) {
		if c.blocked[string(reason)] == 0 {
			t.Errorf("no scenario was blocked for %s", reason)
		}
	}
	for _, reason := range waitingReasons[c.kind] {
		if c.waiting[string(reason)] == 0 {
			t.Errorf("no scenario waited for %s", reason)
		}
	}
}
