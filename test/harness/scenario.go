package harness

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/policy"
)

// timelineLog writes what the engine logs into the truth, so that a failure reads as one story.
type timelineLog struct {
	slog.Handler
	harness *Harness
}

func (s timelineLog) Enabled(context.Context, slog.Level) bool { return true }
func (s timelineLog) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s timelineLog) WithGroup(string) slog.Handler            { return s }

func (s timelineLog) Handle(_ context.Context, record slog.Record) error {
	text := record.Message
	record.Attrs(func(a slog.Attr) bool {
		if a.Key != "connection" {
			text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		}
		return true
	})
	s.harness.Note("engine: %s", text)
	return nil
}

// Scenario is one play.
type Scenario struct {
	Quirks        clouds.Quirks
	Spec          clouds.ConnectionSpec
	Policy        policy.Token
	Approves      bool          // a person approves when asked
	Limit         time.Duration // how long at most
	Prepare       func(*Harness)
	Begin         func(*Harness, *Process) // default: an alert
	Faults        map[int]Fault
	FaultsByName  map[string]Fault
	Actions       map[string]func(*Harness)
	BeforeCall    func(*Harness, string)
	AlertInterval time.Duration                 // how often Alertmanager comes again; 0: only when it must
	Until         func(*Harness, *Process) bool // default: the rotation has ended or is blocked
	WatchAfter    time.Duration                 // how long the world is watched afterwards; default 3 h
	Quiet         bool                          // no story
}

// BaseScenario is the scenario that the others vary.
func BaseScenario() Scenario {
	return Scenario{Quirks: clouds.DefaultQuirks(), Spec: DueConnection(), Policy: DefaultPolicy(), Approves: true, Limit: 12 * 24 * time.Hour}
}

// Result is how a play ended.
type Result struct {
	Harness  *Harness
	Status   model.RotationStatus
	Rotation *model.RotationRecord // the first rotation; nil: none was begun
	Outcome  string                // done | aborted | blocked <reason> | waiting <reason> | none
}

// Run carries a scenario to its end: the rotation has ended, is blocked, or the time
// is up; a killed process is followed by another.
func Run(t *testing.T, s Scenario, check func(*testing.T, Result)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := New(s.Quirks, s.Spec, s.Policy)
		l.Faults, l.FaultsByName, l.Actions, l.BeforeCall = s.Faults, s.FaultsByName, s.Actions, s.BeforeCall
		if !s.Quiet {
			l.Log = slog.New(timelineLog{harness: l})
		}
		if s.Prepare != nil {
			s.Prepare(l)
		}
		ctx, cancel := context.WithCancel(t.Context())
		o := l.run(ctx, s)
		cancel()
		synctest.Wait() // for other processes on the same store
		check(t, o)
	})
}

// run plays until there is an ending.
func (l *Harness) run(ctx context.Context, s Scenario) Result {
	l.Ctx = ctx
	current := l.Serve(ctx)
	if s.Begin != nil {
		s.Begin(l, current)
	} else {
		for l.Alert(ctx, current) == "" && !l.IsDead(current) {
			time.Sleep(5 * time.Minute) // 503: Alertmanager comes again
		}
	}
	if s.Until == nil {
		s.Until = (*Harness).IsOver
	}
	alerted, deadline := time.Now(), time.Now().Add(s.Limit)
	for time.Now().Before(deadline) {
		select {
		case dead := <-l.Ended:
			dead.Stop()
			<-dead.done
			if l.afterStop != nil && !l.IsDead(dead) {
				l.afterStop(dead)
			}
			time.Sleep(20 * time.Second)
			if dead == current {
				current = l.Serve(ctx)
			}
			if s.Begin == nil {
				l.Alert(ctx, current) // Alertmanager comes again
			}
			continue
		case <-time.After(10 * time.Minute):
		}
		status := current.Engine.Status(l.Connection.Name)
		if s.Approves && status.Waiting == model.WaitingApproval {
			l.Approve(ctx, current)
		}
		if s.Until(l, current) {
			break
		}
		if s.AlertInterval > 0 && time.Since(alerted) >= s.AlertInterval {
			l.Alert(ctx, current)
			alerted = time.Now()
		}
	}
	time.Sleep(cmp.Or(s.WatchAfter, 3*time.Hour))
	o := l.outcomeOf(current)
	current.Stop()
	<-current.done
	return o
}

// Alert does what Alertmanager does: it hangs up as soon as it is answered. A dead process
// is tried again later.
func (l *Harness) Alert(ctx context.Context, s *Process) model.Decision {
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	decision, why, err := s.Engine.Alert(ctx, l.Connection.Name)
	l.Note("alert: %s: %s %v", decision, why, err)
	return decision
}

// Approve does what the waiting sentence asks for.
func (l *Harness) Approve(ctx context.Context, s *Process) {
	rec := s.Engine.Record(l.Connection.Name)
	if rec == nil || rec.Rotation == nil {
		return
	}
	for _, old := range rec.Rotation.OldTokens() {
		err := s.Engine.Approve(ctx, l.Connection.Name, old.ID)
		l.Note("a person approves the deletion of %s: %v", old.ID, err)
	}
}

// IsOver tells whether the rotation has ended or is blocked.
func (l *Harness) IsOver(s *Process) bool {
	rec := s.Engine.Record(l.Connection.Name)
	if rec == nil || l.IsDead(s) {
		return false
	}
	return (rec.Rotation == nil && len(rec.History) > 0) || (rec.Rotation != nil && rec.Rotation.Blocked != nil)
}

func (l *Harness) IsDead(s *Process) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return s.dead
}

func (l *Harness) outcomeOf(s *Process) Result {
	o := Result{Harness: l, Status: s.Engine.Status(l.Connection.Name), Outcome: "none"}
	records := s.Engine.Records()
	if len(records) > 0 {
		o.Rotation = &records[len(records)-1]
		o.Outcome = string(o.Rotation.Outcome)
	}
	switch {
	case o.Status.Blocked != "":
		o.Outcome = "blocked " + string(o.Status.Blocked)
	case o.Status.Waiting != "":
		o.Outcome = "waiting " + string(o.Status.Waiting)
	case o.Outcome == "":
		o.Outcome = "running " + string(o.Status.Phase)
	}
	return o
}
