package rotate_test

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

// storyLog writes what the engine logs into the truth, so that a failure reads as one story.
type storyLog struct {
	slog.Handler
	lab *lab
}

func (s storyLog) Enabled(context.Context, slog.Level) bool { return true }
func (s storyLog) WithAttrs([]slog.Attr) slog.Handler       { return s }
func (s storyLog) WithGroup(string) slog.Handler            { return s }

func (s storyLog) Handle(_ context.Context, record slog.Record) error {
	text := record.Message
	record.Attrs(func(a slog.Attr) bool {
		if a.Key != "connection" {
			text += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		}
		return true
	})
	s.lab.note("engine: %s", text)
	return nil
}

// scenario is one play.
type scenario struct {
	quirks   clouds.Quirks
	spec     clouds.ConnectionSpec
	policy   policy.Token
	approves bool          // a person approves when asked
	limit    time.Duration // how long at most
	prepare  func(*lab)
	begin    func(*lab, *session) // default: an alert
	faults   map[int]fault
	named    map[string]fault
	hands    map[string]func(*lab)
	every    func(*lab, string)
	alerts   time.Duration             // how often Alertmanager comes again; 0: only when it must
	until    func(*lab, *session) bool // default: the rotation has ended or is blocked
	after    time.Duration             // how long the world is watched afterwards; default 3 h
	quiet    bool                      // no story
}

// usual is the scenario that the others vary.
func usual() scenario {
	return scenario{quirks: clouds.DefaultQuirks(), spec: dueSpec(), policy: defaultPolicy(), approves: true, limit: 12 * 24 * time.Hour}
}

// outcome is how a play ended.
type outcome struct {
	lab    *lab
	status model.RotationStatus
	last   *model.RotationRecord // the first rotation; nil: none was begun
	ending string                // done | aborted | blocked <reason> | waiting <reason> | none
}

// play carries a scenario to its end: the rotation has ended, is blocked, or the time
// is up; a killed process is followed by another.
func play(t *testing.T, s scenario, check func(*testing.T, outcome)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := newLab(s.quirks, s.spec, s.policy)
		l.faults, l.named, l.hands, l.every = s.faults, s.named, s.hands, s.every
		if !s.quiet {
			l.log = slog.New(storyLog{lab: l})
		}
		if s.prepare != nil {
			s.prepare(l)
		}
		ctx, cancel := context.WithCancel(t.Context())
		o := l.run(ctx, s)
		cancel()
		synctest.Wait() // for other processes on the same store
		check(t, o)
	})
}

// run plays until there is an ending.
func (l *lab) run(ctx context.Context, s scenario) outcome {
	l.ctx = ctx
	current := l.serve(ctx)
	if s.begin != nil {
		s.begin(l, current)
	} else {
		for l.alert(ctx, current) == "" && !l.isDead(current) {
			time.Sleep(5 * time.Minute) // 503: Alertmanager comes again
		}
	}
	if s.until == nil {
		s.until = (*lab).isOver
	}
	alerted, deadline := time.Now(), time.Now().Add(s.limit)
	for time.Now().Before(deadline) {
		select {
		case dead := <-l.dead:
			dead.stop()
			<-dead.over
			if l.left != nil && !l.isDead(dead) {
				l.left(dead)
			}
			time.Sleep(20 * time.Second)
			if dead == current {
				current = l.serve(ctx)
			}
			if s.begin == nil {
				l.alert(ctx, current) // Alertmanager comes again
			}
			continue
		case <-time.After(10 * time.Minute):
		}
		status := current.engine.Status(l.at.Name)
		if s.approves && status.Waiting == model.WaitingApproval {
			l.approve(ctx, current)
		}
		if s.until(l, current) {
			break
		}
		if s.alerts > 0 && time.Since(alerted) >= s.alerts {
			l.alert(ctx, current)
			alerted = time.Now()
		}
	}
	time.Sleep(cmp.Or(s.after, 3*time.Hour))
	o := l.outcome(current)
	current.stop()
	<-current.over
	return o
}

// alert does what Alertmanager does: it hangs up as soon as it is answered. A dead process
// is tried again later.
func (l *lab) alert(ctx context.Context, s *session) model.Decision {
	ctx, hangUp := context.WithCancel(ctx)
	defer hangUp()
	decision, why, err := s.engine.Alert(ctx, l.at.Name)
	l.note("alert: %s: %s %v", decision, why, err)
	return decision
}

// approve does what the waiting sentence asks for.
func (l *lab) approve(ctx context.Context, s *session) {
	rec := s.engine.record(l.at.Name)
	if rec == nil || rec.Rotation == nil {
		return
	}
	for _, old := range rec.Rotation.old() {
		err := s.engine.Approve(ctx, l.at.Name, old.ID)
		l.note("a person approves the deletion of %s: %v", old.ID, err)
	}
}

// isOver tells whether the rotation has ended or is blocked.
func (l *lab) isOver(s *session) bool {
	rec := s.engine.record(l.at.Name)
	if rec == nil || l.isDead(s) {
		return false
	}
	return (rec.Rotation == nil && len(rec.History) > 0) || (rec.Rotation != nil && rec.Rotation.Blocked != nil)
}

func (l *lab) isDead(s *session) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return s.dead
}

func (l *lab) outcome(s *session) outcome {
	o := outcome{lab: l, status: s.engine.Status(l.at.Name), ending: "none"}
	records := s.engine.Records()
	if len(records) > 0 {
		o.last = &records[len(records)-1]
		o.ending = string(o.last.Outcome)
	}
	switch {
	case o.status.Blocked != "":
		o.ending = "blocked " + string(o.status.Blocked)
	case o.status.Waiting != "":
		o.ending = "waiting " + string(o.status.Waiting)
	case o.ending == "":
		o.ending = "running " + string(o.status.Phase)
	}
	return o
}
