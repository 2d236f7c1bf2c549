package rotate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

var (
	// errAborted: an operator aborted a rotation that had saved nothing to Entra yet.
	errAborted = errors.New("aborted")
	// errOnHold: an operator paused the connection's rotations.
	errOnHold = errors.New("on hold")
	// ErrLongWait says that a rotation was left while it waits. A later run, or a server,
	// resumes it. While it waits, every listed token works.
	ErrLongWait = errors.New("the rotation waits")
)

const (
	// ReasonNotDue is why a rotation ends whose plan found nothing to do.
	ReasonNotDue = "not_due"

	// recordTimeout is how long a stop waits for the outcome of an operation to be journalled.
	recordTimeout = 10 * time.Second

	// operatorPollInterval is how often a rotation that waits for an operator reads the record.
	operatorPollInterval = 15 * time.Second
)

// StepObserver is told of every step as it is taken.
type StepObserver interface {
	Step(connection string, step model.RotationStep)
}

// Session runs one rotation from wherever its record is to its outcome. It is the same
// whether the rotation has just started or was left by a process that died.
type Session struct {
	Connection Connection
	AWS, Graph Clock

	procedure Procedure
	runner    Runner
	entry     *journal.Entry
	lease     *journal.Holding
	speedup   time.Duration // divides every wait
	log       *slog.Logger
	options   runOptions
	wakeup    <-chan struct{} // somebody changed the record

	operations chan struct{} // of the process: held during an operation
	changes    chan struct{} // of the process: held while the rotation is Changing
	changing   bool          // this session holds a place in changes

	pendingSteps []model.RotationStep
	retry        retryState
}

// run runs phases until the rotation has ended or is blocked. An error means that it has
// not, and that another process, or this one later, resumes it from the journal.
func (s *Session) run(ctx context.Context) error {
	for {
		rotation := s.Rotation()
		if rotation == nil || rotation.Blocked != nil {
			return nil
		}
		err := s.waitWhileOnHold(ctx)
		if err == nil {
			err = s.enterChanges(ctx)
		}
		if err == nil {
			var next model.Phase
			if next, err = s.runner.RunPhase(ctx, rotation.Phase); err == nil {
				err = s.enterPhase(ctx, next)
			}
		}
		if err == nil {
			s.retry = retryState{}
			continue
		}
		if err := s.handleError(ctx, err); err != nil {
			return err
		}
	}
}

// Record returns the record as last journalled.
func (s *Session) Record() *journal.Record { return s.entry.Record() }

// Rotation returns the open rotation as last journalled; nil if there is none.
func (s *Session) Rotation() *journal.Rotation {
	if r := s.entry.Record(); r != nil {
		return r.Rotation
	}
	return nil
}

// BindingKey is the key of the rotation's binding.
func (s *Session) BindingKey() string { return s.entry.Key() }

// Timestamps is now, on all clocks that are known.
func (s *Session) Timestamps() journal.Timestamps {
	return journal.Timestamps{Local: time.Now().UTC(), AWS: s.AWS.Now(), Graph: s.Graph.Now()}
}

// Elapsed is how much of a wait is over since then, multiplied by the speedup, so that
// shortened waits need no other rule. Zero: for ever.
func (s *Session) Elapsed(since time.Time) time.Duration {
	if since.IsZero() {
		return math.MaxInt64
	}
	return time.Since(since) * s.speedup
}

// Shortened divides a duration by the speedup.
func (s *Session) Shortened(d time.Duration) time.Duration { return d / s.speedup }

// LogStep tells the operator what was done. It is journalled with the next write.
func (s *Session) LogStep(format string, args ...any) {
	step := model.RotationStep{At: time.Now().UTC(), Text: fmt.Sprintf(format, args...)}
	if rotation := s.Rotation(); rotation != nil {
		step.Phase = rotation.Phase
	}
	s.pendingSteps = append(s.pendingSteps, step)
	s.log.Info("rotation step", "connection", s.Connection.Name, "phase", step.Phase, "step", step.Text)
	if s.options.observer != nil {
		s.options.observer.Step(s.Connection.Name, step)
	}
}

// Write changes the record under the lease. While the store cannot be written it waits:
// without a journal nothing is done.
func (s *Session) Write(ctx context.Context, edit func(*journal.Record)) error {
	return s.writeIf(ctx, func(r *journal.Record) error { edit(r); return nil })
}

// Finish ends the rotation with an outcome. edit may be nil.
func (s *Session) Finish(ctx context.Context, outcome model.Outcome, reason string, edit func(*journal.Record)) (model.Phase, error) {
	if reason == "" {
		s.LogStep("outcome: %s", outcome)
	} else {
		s.LogStep("outcome: %s: %s", outcome, reason)
	}
	at := time.Now().UTC()
	err := s.Write(ctx, func(r *journal.Record) {
		if edit != nil {
			edit(r)
		}
		procedure := r.Procedures[r.Rotation.Kind]
		nothing := reason == ReasonNotDue || (outcome == model.OutcomeAborted && len(r.Rotation.Operations) == 0)
		if !nothing || r.Rotation.Trigger != model.TriggerOperator { // a start a day too early, or with a mistyped name, begins no cooldown
			procedure.LastEnd = at
		}
		r.Finish(outcome, reason, at)
	})
	return model.PhaseIdle, err
}

// Wait is how a rotation waits. The wait is divided by the speedup; meanwhile the lease
// is renewed and the record is read.
func (s *Session) Wait(ctx context.Context, d time.Duration, reason model.WaitingReason) error {
	if err := s.pause(ctx, d, reason); err != nil {
		return err
	}
	return s.waitWhileOnHold(ctx)
}

// WaitLong is Wait for hours or for an operator. A session that must not stay that long
// ends with ErrLongWait.
func (s *Session) WaitLong(ctx context.Context, d time.Duration, reason model.WaitingReason) error {
	if err := s.pauseLong(ctx, d, reason); err != nil {
		return err
	}
	return s.waitWhileOnHold(ctx)
}

// WaitGap waits between two readings that have to be apart. Unlike Wait, nothing that an
// operator does shortens it; it shows what the rotation waits for already.
func (s *Session) WaitGap(ctx context.Context, gap time.Duration) error {
	reason := s.Rotation().Waiting
	if waitsForOperator(reason) && s.operatorResponded(reason) {
		reason = model.WaitingSettling
	}
	if err := s.pauseUntil(ctx, gap, reason, func() bool { return false }); err != nil {
		return err
	}
	return s.waitWhileOnHold(ctx)
}

// enterPhase moves on to the next phase. PhaseIdle: the phase has ended the rotation.
func (s *Session) enterPhase(ctx context.Context, next model.Phase) error {
	if next == model.PhaseIdle || next == s.Rotation().Phase {
		return nil
	}
	at := s.Timestamps()
	return s.Write(ctx, func(r *journal.Record) { r.Rotation.SetPhase(next, at) })
}

// writeIf is Write with an edit that may refuse; its error is returned.
func (s *Session) writeIf(ctx context.Context, edit func(*journal.Record) error) error {
	for backoff := time.Second; ; backoff = min(2*backoff, time.Minute) {
		var refused error
		_, err := s.lease.Write(ctx, func(r *journal.Record) error {
			if r.Rotation == nil {
				return fmt.Errorf("%w: the rotation was ended elsewhere", journal.ErrLeaseLost)
			}
			s.appendSteps(r.Rotation)
			refused = edit(r)
			return refused
		})
		if err == nil {
			s.pendingSteps = nil
			return nil
		}
		if refused != nil || isPermanent(err) || ctx.Err() != nil {
			return err
		}
		s.log.Warn("journal write failed, retrying", "connection", s.Connection.Name, "err", err)
		if Sleep(ctx, backoff/s.speedup) != nil {
			return err
		}
	}
}

// writeOutcome is Write for what has already happened: a stop must not lose it.
func (s *Session) writeOutcome(ctx context.Context, edit func(*journal.Record)) error {
	err := s.Write(ctx, edit)
	if err == nil || ctx.Err() == nil || isPermanent(err) {
		return err
	}
	final, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	return s.Write(final, edit)
}

func (s *Session) appendSteps(rotation *journal.Rotation) {
	rotation.AppendSteps(s.pendingSteps)
	rotation.Failures = s.retry.failures
}

// isPermanent tells whether an error of the journal will not pass by waiting.
func isPermanent(err error) bool {
	return errors.Is(err, journal.ErrLeaseLost) || errors.Is(err, journal.ErrUnreadable) ||
		errors.Is(err, journal.ErrRestored) || errors.Is(err, model.ErrUnsafe)
}

// ensureLease returns once the lease will outlast an operation.
func (s *Session) ensureLease(ctx context.Context) error {
	if s.lease.Remaining() >= journal.LeaseMargin {
		return nil
	}
	if err := s.Write(ctx, func(*journal.Record) {}); err != nil {
		return err
	}
	if s.lease.Remaining() < journal.LeaseMargin {
		return journal.ErrLeaseLost
	}
	return nil
}

// checkHold tells whether an operator has forbidden the rotation to continue.
func (s *Session) checkHold(r *journal.Record) error {
	switch rotation := r.Rotation; {
	case !r.OnHold.IsZero():
		return errOnHold
	case r.Restored != "":
		return BlockedNow(model.BlockedStateRestored, "%s", r.Restored)
	case rotation.Abort == "" || rotation.Phase == model.PhaseUndo:
		return nil
	default:
		if _, now := s.procedure.AbortPhase(rotation); !now {
			return nil
		}
		return fmt.Errorf("%w: %s", errAborted, rotation.Abort)
	}
}

// enterChanges waits until the rotation may change something, if it is about to: only a
// few rotations of a process may do so at a time.
func (s *Session) enterChanges(ctx context.Context) error {
	for waited := false; ; waited = true {
		rotation := s.Rotation()
		if rotation == nil || !s.procedure.Changing(rotation) {
			s.leaveChanges()
			return nil
		}
		if s.changing {
			return nil
		}
		select {
		case s.changes <- struct{}{}:
			s.changing = true
			return nil
		default:
		}
		if !waited {
			s.LogStep("waiting for %d other rotations that are changing their connections", cap(s.changes))
		}
		if err := s.Wait(ctx, operatorPollInterval, ""); err != nil {
			return err
		}
	}
}

// leaveChanges gives the place in changes up, if the session has one.
func (s *Session) leaveChanges() {
	if s.changing {
		<-s.changes
		s.changing = false
	}
}

// waitWhileOnHold returns once no operator holds the rotation; errAborted if it must be aborted.
func (s *Session) waitWhileOnHold(ctx context.Context) error {
	for {
		r := s.entry.Record()
		if r == nil || r.Rotation == nil {
			return journal.ErrLeaseLost
		}
		err := s.checkHold(r)
		if !errors.Is(err, errOnHold) {
			return err
		}
		s.leaveChanges()
		if err := s.pauseLong(ctx, journal.Heartbeat, model.WaitingOnHold); err != nil {
			return err
		}
	}
}

func (s *Session) pauseLong(ctx context.Context, d time.Duration, reason model.WaitingReason) error {
	if !s.options.untilLongWait {
		return s.pause(ctx, d, reason)
	}
	if err := s.setWaiting(ctx, reason); err != nil {
		return err
	}
	return ErrLongWait
}

func (s *Session) pause(ctx context.Context, d time.Duration, reason model.WaitingReason) error {
	return s.pauseUntil(ctx, d, reason, func() bool { return s.operatorResponded(reason) })
}

// pauseUntil sleeps, and returns early when the wait has become needless.
func (s *Session) pauseUntil(ctx context.Context, d time.Duration, reason model.WaitingReason, needless func() bool) error {
	if err := s.setWaiting(ctx, reason); err != nil {
		return err
	}
	chunk := journal.Heartbeat
	if waitsForOperator(reason) {
		chunk = max(s.Shortened(operatorPollInterval), time.Second)
	}
	end := time.Now().Add(d / s.speedup)
	for left := time.Until(end); left > 0; left = time.Until(end) {
		notified, err := s.sleepOrWakeup(ctx, min(left, chunk))
		if err != nil {
			return err
		}
		if notified || waitsForOperator(reason) {
			if _, err := s.entry.Load(ctx); err != nil && isPermanent(err) {
				return err
			}
		}
		if s.lease.Remaining() <= journal.LeaseLength-journal.Heartbeat { // also if it is lost
			if err := s.Write(ctx, func(*journal.Record) {}); err != nil {
				return err
			}
		}
		if needless() {
			return nil
		}
	}
	return nil
}

func (s *Session) setWaiting(ctx context.Context, reason model.WaitingReason) error {
	if s.Rotation().Waiting == reason {
		return nil
	}
	if reason != "" {
		s.LogStep("waiting: %s", reason)
	}
	return s.Write(ctx, func(r *journal.Record) { r.Rotation.Waiting = reason })
}

// sleepOrWakeup sleeps, or returns early with true because somebody changed the record.
func (s *Session) sleepOrWakeup(ctx context.Context, d time.Duration) (bool, error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false, ctx.Err()
	case <-s.wakeup:
		return true, nil
	case <-timer.C:
		return false, nil
	}
}

func waitsForOperator(reason model.WaitingReason) bool {
	return reason == model.WaitingOnHold || reason == model.WaitingApproval
}

// operatorResponded tells whether an operator has done what was waited for, or aborts.
func (s *Session) operatorResponded(reason model.WaitingReason) bool {
	r := s.entry.Record()
	if r == nil || r.Rotation == nil {
		return true
	}
	responded := r.Rotation.Abort != ""
	switch reason {
	case model.WaitingOnHold:
		responded = responded || r.OnHold.IsZero()
	case model.WaitingApproval:
		approval := r.Rotation.Approval
		responded = responded || (approval != nil && approval.Target == r.Rotation.Asked)
	default:
	}
	return responded
}
