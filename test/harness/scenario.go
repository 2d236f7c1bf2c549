package harness

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/policy"
)

// timelineLog writes what the engine logs into the model's timeline, so that a failure
// reads as one log.
type timelineLog struct {
	slog.Handler
	harness *Harness
}

func (l timelineLog) Enabled(context.Context, slog.Level) bool { return true }
func (l timelineLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l timelineLog) WithGroup(string) slog.Handler            { return l }

func (l timelineLog) Handle(_ context.Context, record slog.Record) error {
	text := record.Message
	record.Attrs(func(a slog.Attr) bool {
		if a.Key != "connection" {
			text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		}
		return true
	})
	l.harness.Note("engine: %s", text)
	return nil
}

// Scenario is one test case: what is there, what goes wrong, and when it is over.
type Scenario struct {
	Quirks        clouds.Quirks
	Spec          clouds.ConnectionSpec
	Policy        policy.Token
	Rolls         *policy.Certificate // a rollover of the certificate; nil: a rotation of the token
	Approves      bool                // an operator approves a deletion when asked
	Limit         time.Duration       // the longest virtual time
	Prepare       func(*Harness)
	Begin         func(*Harness, *Process) // default: an alert
	BeginsAgain   bool                     // after a restart, unless it has begun
	Faults        map[int]Fault
	FaultsByName  map[string]Fault
	Actions       map[string]func(*Harness)
	BeforeCall    func(*Harness, string)
	AlertInterval time.Duration                 // how often Alertmanager repeats the alert; 0: only after a 503 or a restart
	Until         func(*Harness, *Process) bool // asked before the operator approves; default: IsOver
	WatchAfter    time.Duration                 // how long the model runs on afterwards; default 3 h
	Quiet         bool                          // the engine's log stays out of the timeline
}

// BaseScenario is the scenario that the others vary: a rotation that an alert starts and
// an operator approves.
func BaseScenario() Scenario {
	return Scenario{Quirks: clouds.DefaultQuirks(), Spec: DueConnection(), Policy: DefaultPolicy(), Approves: true, Limit: 12 * 24 * time.Hour}
}

// Result is what a scenario ended with.
type Result struct {
	Harness  *Harness
	Status   model.RotationStatus
	Rotation *model.RotationRecord // the first rotation; nil: none was started
	Outcome  string                // done | aborted | blocked <reason> | waiting <reason> | none
}

// Check returns which of the invariants a scenario violated.
func Check(r Result) []string {
	if r.Harness.Rolls != nil {
		return CheckRollover(r)
	}
	return CheckInvariants(r)
}

// Run runs a scenario in a synctest bubble until it is over or its time is up. A killed
// process is followed by another.
func Run(t *testing.T, s Scenario, check func(*testing.T, Result)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := New(s.Quirks, s.Spec, s.Policy)
		h.Rolls = s.Rolls
		h.Faults, h.FaultsByName, h.Actions, h.BeforeCall = s.Faults, s.FaultsByName, s.Actions, s.BeforeCall
		if !s.Quiet {
			h.Log = slog.New(timelineLog{harness: h})
		}
		if s.Prepare != nil {
			s.Prepare(h)
		}
		ctx, cancel := context.WithCancel(t.Context())
		result := h.run(ctx, s)
		cancel()
		synctest.Wait() // for other processes on the same store
		check(t, result)
	})
}

// run starts the first process and follows it until the scenario is over.
func (h *Harness) run(ctx context.Context, s Scenario) Result {
	h.Ctx = ctx
	current := h.Serve(ctx)
	if s.Begin != nil {
		s.Begin(h, current)
	} else {
		for h.Alert(ctx, current) == "" && !h.IsDead(current) {
			time.Sleep(5 * time.Minute) // 503: Alertmanager repeats the alert
		}
	}
	if s.Until == nil {
		s.Until = (*Harness).IsOver
	}
	alerted, deadline := time.Now(), time.Now().Add(s.Limit)
	for time.Now().Before(deadline) {
		select {
		case ended := <-h.Ended:
			ended.Stop()
			<-ended.done
			if h.afterStop != nil && !h.IsDead(ended) {
				h.afterStop(ended)
			}
			time.Sleep(20 * time.Second)
			if ended == current {
				current = h.Serve(ctx)
			}
			switch {
			case s.Begin == nil:
				h.Alert(ctx, current) // Alertmanager repeats the alert
			case s.BeginsAgain && len(current.Engine.Records()) == 0:
				s.Begin(h, current)
			}
			continue
		case <-time.After(10 * time.Minute):
		}
		if s.Until(h, current) {
			break
		}
		if s.Approves && current.Engine.Status(h.Connection.Name).Waiting == model.WaitingApproval {
			h.Approve(ctx, current)
		}
		if s.AlertInterval > 0 && time.Since(alerted) >= s.AlertInterval {
			h.Alert(ctx, current)
			alerted = time.Now()
		}
	}
	time.Sleep(cmp.Or(s.WatchAfter, 3*time.Hour))
	result := h.resultOf(current)
	current.Stop()
	<-current.done
	return result
}

// Alert does what Alertmanager does: it sends the alert and closes the connection after
// the response. The decision is empty if there was none.
func (h *Harness) Alert(ctx context.Context, p *Process) model.Decision {
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	decision, reason, err := p.Engine.Alert(ctx, h.Connection.Name)
	h.Note("alert: %s: %s %v", decision, reason, err)
	return decision
}

// approvalNote is followed by the ID of what may be deleted, and by the result of the
// approval, which is approvalBegun until it has one.
const (
	approvalNote  = "operator approves the deletion of "
	approvalBegun = "begun"
	approvalDone  = "<nil>"
)

func (h *Harness) approve(ctx context.Context, p *Process, id, noted string) {
	h.Note(approvalNote+"%s: %s", noted, approvalBegun)
	err := p.Engine.Approve(ctx, h.Connection.Name, id)
	h.Note(approvalNote+"%s: %v", noted, err)
}

// approvals are the results of the operators' approvals, by what may be deleted.
type approvals map[string]string

// read reads a note, if it is about an approval.
func (a approvals) read(note string) {
	rest, ok := strings.CutPrefix(note, approvalNote)
	if id, result, _ := strings.Cut(rest, ": "); ok && (result == approvalDone || a[id] == approvalBegun || !a.given(id)) {
		a[id] = result
	}
}

// given tells whether an approval is in the journal, or may be.
func (a approvals) given(id string) bool {
	result := a[id]
	return result == approvalBegun || result == approvalDone || strings.HasSuffix(result, errKilled.Error()) || strings.Contains(result, "journal.save")
}

// Approve approves the deletion of each old token.
func (h *Harness) Approve(ctx context.Context, p *Process) {
	if h.Rolls != nil {
		h.approveDeletion(ctx, p)
		return
	}
	rec := p.Engine.Record(h.Connection.Name)
	if rec == nil || rec.Rotation == nil {
		return
	}
	for _, old := range rec.Rotation.OldTokens() {
		h.approve(ctx, p, old.ID, old.ID)
	}
}

// IsOver reports whether the rotation has ended or is blocked.
func (h *Harness) IsOver(p *Process) bool {
	entry := p.Engine.Lookup(h.Connection.Name)
	if entry == nil || entry.Record() == nil || h.IsDead(p) {
		return false
	}
	rec := entry.Record()
	return (rec.Rotation == nil && len(rec.History) > 0) || (rec.Rotation != nil && rec.Rotation.Blocked != nil)
}

// IsDead reports whether a process was killed.
func (h *Harness) IsDead(p *Process) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return p.dead
}

func (h *Harness) resultOf(p *Process) Result {
	r := Result{Harness: h, Status: p.Engine.Status(h.Connection.Name), Outcome: "none"}
	records := p.Engine.Records()
	if len(records) > 0 {
		r.Rotation = &records[len(records)-1]
		r.Outcome = string(r.Rotation.Outcome)
	}
	switch {
	case r.Status.Blocked != "":
		r.Outcome = "blocked " + string(r.Status.Blocked)
	case r.Status.Waiting != "":
		r.Outcome = "waiting " + string(r.Status.Waiting)
	case r.Outcome == "":
		r.Outcome = "running " + string(r.Status.Phase)
	}
	return r
}
