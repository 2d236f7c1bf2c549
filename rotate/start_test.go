package rotate_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/internal/state"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
	"entra-aws-exporter/rotate/token"
	"entra-aws-exporter/test/harness"
)

// manyDueConnections is a process with many due connections, each with its own binding.
func manyDueConnections(h *harness.Harness, size int) (*harness.Process, []string) {
	p := h.Open()
	var connections []token.Options
	var names []string
	for i := range size {
		c := p.ConnectionOptions()
		c.Connection = fmt.Sprintf("connection-%03d", i)
		connections, names = append(connections, c), append(names, c.Connection)
	}
	p.Engine = harness.NewEngine(rotate.Options{Store: p, Holder: "process", Logger: h.Log,
		Snapshot: func(connection string) (model.Snapshot, bool) {
			snapshot, ok := h.Snapshot(h.Connection.Name)
			snapshot.Connection, snapshot.Binding.JobID = connection, connection
			return snapshot, ok
		},
	}, p, connections)
	return p, names
}

// TestEveryDueConnectionStarts: however many connections are due in one payload, each
// starts its rotation.
func TestEveryDueConnectionStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, names := manyDueConnections(harness.New(clouds.Quirks{}, harness.DueConnection(), harness.DefaultPolicy()), 20)
		var alerts sync.WaitGroup
		var mu sync.Mutex
		decisions := map[model.Decision]int{}
		for _, name := range append(names, names...) {
			alerts.Go(func() {
				decision, _, err := p.Engine.Alert(t.Context(), name)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				decisions[decision]++
			})
		}
		alerts.Wait()
		if decisions[model.DecisionStarted] != len(names) || decisions[model.DecisionAlreadyRunning] != len(names) {
			t.Errorf("decisions: %v, want each connection started once and already running once", decisions)
		}
	})
}

// stubProcedure rotates nothing: it passes through the phases of a rotation with one
// operation in each.
type stubProcedure struct {
	rotate.Procedure // nil: the test reaches no other method
	concurrency      *concurrency
	repair           bool
	neverApproved    bool
}

// concurrency counts what happens at the same time.
type concurrency struct {
	mu                         sync.Mutex
	operations, mostOperations int
	changing, mostChanging     int
	done                       map[string]time.Time
}

type stubProgress struct{}

func (*stubProgress) Check(*journal.Rotation) error  { return nil }
func (*stubProgress) Describe(*model.RotationRecord) {}
func (*stubProgress) Inventory() string              { return "tokens: none" }
func (stubProcedure) Kind() model.Procedure          { return model.ProcedureToken }
func (stubProcedure) Ready(model.Snapshot) error     { return nil }
func (p stubProcedure) Changing(r *journal.Rotation) bool {
	return r.Phase == model.PhaseCreate && !p.repair
}
func (stubProcedure) Policy() policy.Policy {
	return policy.Policy{Mode: model.RotationEnabled, MaxAttempts: 3}
}

func (stubProcedure) Due(model.Snapshot, *journal.Record, time.Time) time.Time { return time.Now() }
func (p stubProcedure) Repairs(model.Snapshot, *journal.Record) bool           { return p.repair }
func (stubProcedure) NewProgress(model.Snapshot, any) (journal.Progress, bool) {
	return &stubProgress{}, false
}

func (stubProcedure) Inventory(model.Snapshot, *journal.Record) string { return "tokens: none" }
func (p stubProcedure) Run(s *rotate.Session) rotate.Runner            { return stubRunner{s, p} }

type stubRunner struct {
	session   *rotate.Session
	procedure stubProcedure
}

func (stubRunner) BeforeBlock(context.Context, *rotate.BlockedError) (model.Phase, error) {
	return "", nil
}
func (stubRunner) Inventory() string { return "tokens: none" }

func (r stubRunner) RunPhase(ctx context.Context, phase model.Phase) (model.Phase, error) {
	c := r.procedure.concurrency
	switch phase {
	case model.PhasePlan:
		return model.PhaseCreate, nil
	case model.PhaseCreate:
		c.count(&c.changing, &c.mostChanging, 1)
		defer c.count(&c.changing, &c.mostChanging, -1)
		_, err := r.session.Execute(ctx, rotate.Operation{Kind: "create", Call: func(context.Context) error {
			c.count(&c.operations, &c.mostOperations, 1)
			defer c.count(&c.operations, &c.mostOperations, -1)
			time.Sleep(10 * time.Second)
			return nil
		}})
		if err == nil {
			err = r.session.Wait(ctx, 10*time.Minute, model.WaitingSettling)
		}
		return model.PhaseRetire, err
	default:
		if r.procedure.neverApproved {
			return phase, r.session.Wait(ctx, time.Hour, model.WaitingApproval)
		}
		c.mu.Lock()
		c.done[r.session.Connection.Name] = time.Now()
		c.mu.Unlock()
		return r.session.Finish(ctx, model.OutcomeDone, "", nil)
	}
}

func (c *concurrency) count(counter, most *int, by int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*counter += by
	*most = max(*most, *counter)
}

// TestRotationsOfOneProcess: one operation is in flight at a time, and two rotations are
// between creation and proof. A rotation that waits for approval delays no other one, and
// a repair does not wait for its turn.
func TestRotationsOfOneProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &concurrency{done: map[string]time.Time{}}
		var connections []rotate.Connection
		add := func(name string, p stubProcedure) {
			p.concurrency = c
			connections = append(connections, rotate.Connection{
				Name: name, Procedures: []rotate.Procedure{p},
				Resolve: func(context.Context) (model.Binding, error) { return stubBinding(name), nil },
			})
		}
		add("waiting", stubProcedure{neverApproved: true})
		for i := range 6 {
			add(fmt.Sprintf("due-%d", i), stubProcedure{})
		}
		add("repair", stubProcedure{repair: true})
		engine := rotate.New(rotate.Options{
			Store: &state.Memory{}, Holder: "process", Logger: slog.New(slog.DiscardHandler),
			Codec: journal.Codec{model.ProcedureToken: {
				NewMemory:   func() journal.Memory { return &stubProgress{} },
				NewProgress: func() journal.Progress { return &stubProgress{} },
			}},
			Snapshot: func(name string) (model.Snapshot, bool) { return model.Snapshot{Binding: stubBinding(name)}, true },
		}, connections)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = engine.Run(ctx) }()
		began := time.Now()
		for _, connection := range connections {
			if decision, why, err := engine.Alert(ctx, connection.Name, model.ProcedureToken); decision != model.DecisionStarted {
				t.Fatalf("%s: %s (%s) %v", connection.Name, decision, why, err)
			}
		}
		time.Sleep(2 * time.Hour)
		cancel()
		synctest.Wait()
		if c.mostOperations != 1 || c.mostChanging != 3 { // two, and the repair
			t.Errorf("at most %d operations in flight and %d rotations changing, want 1 and 3", c.mostOperations, c.mostChanging)
		}
		if len(c.done) != 7 || c.done["repair"].Sub(began) > 15*time.Minute {
			t.Errorf("done: %v, want all but the one that waits, and the repair in minutes", c.done)
		}
	})
}

// TestAlertRightAfterHold: an alert starts no rotation that an operator has put on hold,
// even if another process wrote that since this one last read the journal.
func TestAlertRightAfterHold(t *testing.T) {
	for _, test := range []struct {
		name          string
		read          bool // this process has read the journal before
		byThisProcess bool
		released      bool
		want          string
	}{
		{"by this process", true, true, false, "blocked: rotations on hold since 2000-01-01 00:00 UTC <nil>"},
		{"by another process", true, false, false, "blocked: rotations on hold since 2000-01-01 00:00 UTC <nil>"},
		{"by another process before the first read", false, false, false, "blocked: rotations on hold since 2000-01-01 00:00 UTC <nil>"},
		{"released by another process", true, false, true, "started: rotation started <nil>"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := harness.New(clouds.DefaultQuirks(), harness.DueConnection(), harness.DefaultPolicy())
				operator, p := h.Open().Engine, h.Open()
				hold := func(engine harness.Engine, release bool) {
					t.Helper()
					if err := engine.Hold(t.Context(), "corp", release); err != nil {
						t.Fatal(err)
					}
				}
				hold(operator, true) // there is a record
				if test.read {
					if err := p.Engine.Refresh(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if test.byThisProcess {
					operator = p.Engine
				}
				hold(operator, false)
				if test.released {
					hold(operator, true)
				}
				decision, why, err := p.Engine.Alert(t.Context(), "corp")
				if got := fmt.Sprintf("%s: %s %v", decision, why, err); got != test.want {
					t.Errorf("got  %s\nwant %s", got, test.want)
				}
				if started := p.Engine.Lookup("corp").IsOpen(); started != test.released {
					t.Errorf("a rotation is open: %v", started)
				}
			})
		})
	}
}

func stubBinding(name string) model.Binding {
	return model.Binding{
		IdentityStoreID: name, ProvisioningTenantID: name, SCIMEndpoint: "https://scim.example/" + name,
		EntraTenantID: name, ServicePrincipalID: name, JobID: name,
	}
}

// TestCircuitBreakerStopsNoRepair: two blocked connections stop the start of a due
// rotation, but not of a repair, which ends an outage.
func TestCircuitBreakerStopsNoRepair(t *testing.T) {
	for _, test := range []struct {
		spec clouds.ConnectionSpec
		want model.Decision
	}{{harness.DueConnection(), model.DecisionBlocked}, {clouds.Quarantined("corp"), model.DecisionStarted}} {
		synctest.Test(t, func(t *testing.T) {
			h := harness.New(clouds.DefaultQuirks(), test.spec, harness.DefaultPolicy())
			saveBlockedRecord(h, "first")
			saveBlockedRecord(h, "second")
			process := h.Open()
			_ = process.Engine.Refresh(t.Context())
			if decision, why, err := process.Engine.Alert(t.Context(), "corp"); decision != test.want || err != nil {
				t.Errorf("%s (%s) %v, want %s", decision, why, err, test.want)
			}
		})
	}
}

// An engine asks AWS and Entra only what it needs to know for the rotation that it resumes.
func TestResumeResolvesOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		resolved := map[string]int{}
		c := &concurrency{done: map[string]time.Time{}}
		var connections []rotate.Connection
		for i := range 20 {
			name := fmt.Sprint("c", i)
			connections = append(connections, rotate.Connection{
				Name: name, Procedures: []rotate.Procedure{stubProcedure{concurrency: c, neverApproved: true}},
				Resolve: func(context.Context) (model.Binding, error) { resolved[name]++; return stubBinding(name), nil },
			})
		}
		store, polled := &state.Memory{}, false
		run := func(meanwhile func(*rotate.Engine)) {
			engine := rotate.New(rotate.Options{
				Store: store, Holder: "process", Logger: slog.New(slog.DiscardHandler),
				HolderIsDead: func(string) bool { return true },
				Codec: journal.Codec{model.ProcedureToken: {
					NewMemory:   func() journal.Memory { return &stubProgress{} },
					NewProgress: func() journal.Progress { return &stubProgress{} },
				}},
				Snapshot: func(name string) (model.Snapshot, bool) {
					if !polled {
						return model.Snapshot{}, true
					}
					return model.Snapshot{Binding: stubBinding(name)}, true
				},
			}, connections)
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			running.Go(func() { _ = engine.Run(ctx) })
			time.Sleep(time.Minute)
			synctest.Wait()
			meanwhile(engine)
			cancel()
			running.Wait()
		}
		run(func(engine *rotate.Engine) {
			if len(resolved) > 0 {
				t.Errorf("without an open rotation: %v", resolved)
			}
			polled = true
			if decision, why, err := engine.Alert(t.Context(), "c7", model.ProcedureToken); decision != model.DecisionStarted {
				t.Fatalf("%s (%s) %v", decision, why, err)
			}
			time.Sleep(time.Minute)
		})
		polled = false
		run(func(engine *rotate.Engine) {
			if shown := engine.Records(); len(shown) != 1 {
				t.Errorf("%d rotations", len(shown))
			}
		})
		if len(resolved) != 1 || resolved["c7"] == 0 {
			t.Errorf("resolved %v", resolved)
		}
	})
}
