package rotate_test

import (
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"entra-aws-exporter/test/harness"

	"entra-aws-exporter/internal/model"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

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

// add adds what one play has reached.
func (c *coverage) add(eye *harness.InvariantObserver) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for what := range eye.Transitions {
		c.steps[what]++
	}
	for what := range eye.Blocked {
		c.blocked[what]++
	}
	for what := range eye.Waiting {
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
	t.Logf("coverage: %d phase transitions, %d of %d blocked reasons, %d of %d waiting reasons",
		len(c.steps), len(c.blocked), len(model.BlockedReasons()), len(c.waiting), len(model.WaitingReasons()))
	for _, step := range slices.Sorted(maps.Keys(c.steps)) {
		t.Logf("%6d %s", c.steps[step], step)
	}
}

// transitions that there are: the phases' own table, as the contract tells it.
var transitions = []string{
	"plan -> create", "plan -> test", "create -> test", "create -> plan", "create -> undo", "test -> switch", "test -> undo", "switch -> resume",
	"resume -> verify", "verify -> resume", "verify -> retire", "verify -> switch", "retire -> confirm", "retire -> switch",
	"confirm -> switch", "confirm -> create", "confirm -> retire", "retire -> create", "switch -> create",
	"switch -> test", "resume -> test", "verify -> test", "retire -> test", "confirm -> test", "undo -> test", // a person reset it
}

// requireCoverage fails for everything that was never reached: what nothing has entered, nothing
// has proven.
func (c *coverage) requireCoverage(t *testing.T) {
	for _, step := range transitions {
		if c.steps[step] == 0 {
			t.Errorf("no scenario went %s", step)
		}
	}
	for step := range c.steps {
		if !slices.Contains(transitions, step) {
			t.Errorf("not in the table of transitions: %s", step)
		}
	}
	for _, reason := range model.BlockedReasons() {
		if c.blocked[string(reason)] == 0 {
			t.Errorf("nothing was ever blocked for %s", reason)
		}
	}
	for _, reason := range model.WaitingReasons() {
		if c.waiting[string(reason)] == 0 {
			t.Errorf("nothing ever waited for %s", reason)
		}
	}
}
