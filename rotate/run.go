package rotate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"entra-aws-exporter/internal/model"
)

var (
	// errGivenUp: a person ended a rotation that had saved nothing to Entra yet.
	errGivenUp = errors.New("given up")
	// errHeld: a person said: stop acting.
	errHeld = errors.New("held")
)

// Progress hears of every step as it is taken.
type Progress interface {
	Step(connection string, step model.RotationStep)
}

// run carries one rotation from wherever its record stands to its end. It is the same
// whether the rotation has just been set off or was left by a process that died.
type run struct {
	connection Connection
	book       *book
	grip       *grip
	safe       safe
	pace       time.Duration // what every wait is divided by
	log        *slog.Logger
	progress   Progress
	wake       <-chan struct{} // somebody changed the record: look

	aws, graph clock
	unwritten  []model.RotationStep
	cared      time.Time     // when takeCare last looked
	listed     []model.Token // what AWS listed last
	unheard    model.Reason  // why AWS's log could not be read last, as it was told
	doubt      doubt
}

// phases is the story. A phase reads where things stand, does what is still to be
// done, and names the next one; it may be entered any number of times. An error that
// is no impasse is waited out, and the phase entered again.
//
//nolint:gochecknoglobals // a table, never written
var phases = map[model.Phase]func(context.Context, *run) (model.Phase, error){
	model.PhasePlan:    planPhase,
	model.PhaseCreate:  createPhase,
	model.PhaseTest:    testPhase,
	model.PhaseSwitch:  switchPhase,
	model.PhaseResume:  resumePhase,
	model.PhaseVerify:  verifyPhase,
	model.PhaseRetire:  retirePhase,
	model.PhaseConfirm: confirmPhase,
	model.PhaseUndo:    undoPhase,
}

// toItsEnd runs until the rotation has ended or is blocked. An error means that it has
// not, and that somebody else, or this process later, goes on from the journal.
func (r *run) toItsEnd(ctx context.Context) error {
	for {
		rot := r.rotation()
		if rot == nil || rot.Blocked != nil {
			return nil
		}
		err := r.mayGoOn(ctx)
		if err == nil {
			err = r.putBackEnds()
		}
		if err == nil {
			var following model.Phase
			if following, err = phases[rot.Phase](ctx, r); err == nil {
				err = r.enter(ctx, following)
			}
		}
		if err == nil {
			r.doubt = doubt{}
			continue
		}
		if err := r.cope(ctx, err); err != nil {
			return err
		}
	}
}

// rotation returns the open rotation as last journalled; nil if there is none.
func (r *run) rotation() *rotation {
	if rec := r.book.last(); rec != nil {
		return rec.Rotation
	}
	return nil
}

// enter moves on to the next phase; idle means that the phase has ended the rotation.
func (r *run) enter(ctx context.Context, following model.Phase) error {
	if following == model.PhaseIdle || following == r.rotation().Phase {
		return nil
	}
	at := r.moment()
	return r.write(ctx, func(rec *record) { rec.Rotation.pass(following, at) })
}

// end closes the rotation.
func (r *run) end(ctx context.Context, ending model.Outcome, reason string, edit func(*record)) (model.Phase, error) {
	if reason == "" {
		r.say("ended: %s", ending)
	} else {
		r.say("ended: %s: %s", ending, reason)
	}
	at := time.Now().UTC()
	err := r.write(ctx, func(rec *record) {
		if edit != nil {
			edit(rec)
		}
		rec.close(ending, reason, at)
	})
	return model.PhaseIdle, err
}

// say tells the person who follows; it is journalled with the next entry.
func (r *run) say(format string, args ...any) {
	step := model.RotationStep{At: time.Now().UTC(), Text: fmt.Sprintf(format, args...)}
	if rot := r.rotation(); rot != nil {
		step.Phase = rot.Phase
	}
	r.unwritten = append(r.unwritten, step)
	r.log.Info("rotation step", "connection", r.connection.Name, "phase", step.Phase, "step", step.Text)
	if r.progress != nil {
		r.progress.Step(r.connection.Name, step)
	}
}

// stepsKept bounds the story of one rotation in its record.
const stepsKept = 200

func (r *run) flush(rec *record) {
	if rec.Rotation != nil {
		steps := append(rec.Rotation.Steps, r.unwritten...)
		rec.Rotation.Steps = steps[max(0, len(steps)-stepsKept):]
		rec.Rotation.Failing = r.doubt.streak
	}
}

// write changes the record under the lease. As long as the store cannot be written it
// waits: without a journal nothing is done.
func (r *run) write(ctx context.Context, edit func(*record)) error {
	return r.writeIf(ctx, func(rec *record) error { edit(rec); return nil })
}

// writeIf is write with an edit that may refuse, by an error that is then returned.
func (r *run) writeIf(ctx context.Context, edit func(*record) error) error {
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		var refused error
		_, err := r.grip.write(ctx, func(rec *record) error {
			if rec.Rotation == nil {
				return fmt.Errorf("%w: the rotation was ended elsewhere", errLeaseLost)
			}
			r.flush(rec)
			refused = edit(rec)
			return refused
		})
		if err == nil {
			r.unwritten = nil
			return nil
		}
		if refused != nil || lasting(err) || ctx.Err() != nil {
			return err
		}
		r.log.Warn("the journal cannot be written, waiting", "connection", r.connection.Name, "err", err)
		if sleep(ctx, pause/r.pace) != nil {
			return err
		}
	}
}

// lasting tells whether an error of the journal will not pass by waiting.
func lasting(err error) bool {
	return errors.Is(err, errLeaseLost) || errors.Is(err, errUnreadable) || errors.Is(err, errRestored) || errors.Is(err, model.ErrUnsafe)
}

// recordTimeout is how long a stop waits for the outcome of an act to be journalled.
const recordTimeout = 10 * time.Second

// writeOutcome is write for what has already happened: a stop must not lose it.
func (r *run) writeOutcome(ctx context.Context, edit func(*record)) error {
	err := r.write(ctx, edit)
	if err == nil || ctx.Err() == nil || lasting(err) {
		return err
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	return r.write(last, edit)
}

// ensureLease returns once the lease will outlast an act.
func (r *run) ensureLease(ctx context.Context) error {
	if r.grip.left() >= leaseMargin {
		return nil
	}
	if err := r.write(ctx, func(*record) {}); err != nil {
		return err
	}
	if r.grip.left() < leaseMargin {
		return errLeaseLost
	}
	return nil
}

// mayAct tells whether a person has forbidden the rotation to go on.
func (r *record) mayAct() error {
	switch rot := r.Rotation; {
	case !r.Held.IsZero():
		return errHeld
	case r.Restored != "":
		return surely(StateRestored, "%s", r.Restored)
	case rot.Abort != "" && !rot.outOfHand() && !rot.creating() && rot.Phase != model.PhaseUndo:
		return fmt.Errorf("%w: %s", errGivenUp, rot.Abort)
	default:
		return nil
	}
}

// mayGoOn returns once nobody holds the rotation, and errGivenUp if it is to be given up.
func (r *run) mayGoOn(ctx context.Context) error {
	for {
		rec := r.book.last()
		if rec == nil || rec.Rotation == nil {
			return errLeaseLost
		}
		err := rec.mayAct()
		if !errors.Is(err, errHeld) {
			return err
		}
		if err := r.pause(ctx, heartbeat, Held); err != nil {
			return err
		}
	}
}

// passed is how much of a wait is over since then, so divided waits need no other rule.
func (r *run) passed(since time.Time) time.Duration {
	if since.IsZero() {
		return math.MaxInt64
	}
	return time.Since(since) * r.pace
}

// wait is the one place where a rotation waits for its world. The wait is divided by
// the pace; the lease is renewed and the record looked at meanwhile.
func (r *run) wait(ctx context.Context, d time.Duration, why Waiting) error {
	if err := r.pause(ctx, d, why); err != nil {
		return err
	}
	return r.mayGoOn(ctx)
}

func (r *run) pause(ctx context.Context, d time.Duration, why Waiting) error {
	if r.rotation().Waiting != why {
		if why != notWaiting {
			r.say("waiting: %s", why)
		}
		if err := r.write(ctx, func(rec *record) { rec.Rotation.Waiting = why }); err != nil {
			return err
		}
	}
	nap := heartbeat
	if why == Held || why == ApprovalNeeded {
		nap = glance
	}
	end := time.Now().Add(d / r.pace)
	for left := time.Until(end); left > 0; left = time.Until(end) {
		timer := time.NewTimer(min(left, nap))
		heard := nap == glance
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-r.wake:
			timer.Stop()
			heard = true
		case <-timer.C:
		}
		if heard {
			if _, err := r.book.load(ctx); err != nil && lasting(err) {
				return err
			}
		}
		if r.grip.left() <= leaseLength-heartbeat { // also if it is no longer ours
			if err := r.write(ctx, func(*record) {}); err != nil {
				return err
			}
		}
		if r.spokenTo(why) {
			return nil
		}
	}
	return nil
}

// glance is how often a rotation that waits for a person looks whether there is word.
const glance = 15 * time.Second

// spokenTo tells whether a person has said what was waited for, or to give up.
func (r *run) spokenTo(why Waiting) bool {
	rec := r.book.last()
	if rec == nil || rec.Rotation == nil {
		return true
	}
	given := rec.Rotation.Abort != ""
	switch why {
	case Held:
		given = given || rec.Held.IsZero()
	case ApprovalNeeded:
		given = given || rec.Rotation.approved(rec.Rotation.Asked)
	default:
	}
	return given
}

// sleep waits without a record.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
