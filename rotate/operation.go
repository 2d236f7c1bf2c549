package rotate

import (
	"context"
	"errors"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// maxIntentAge is how old an intent may be when its call is made. A process that was
// suspended, or waited for its disk, has to look again first.
const maxIntentAge = 30 * time.Second

// Operation is one call that changes AWS or Entra.
type Operation struct {
	Kind           journal.OperationKind
	Target, Why    string
	JournalIntent  func(*journal.Record)                    // what else is journalled with the intent; may be nil
	Call           func(ctx context.Context) error          // one call, no retry
	JournalOutcome func(*journal.Record, journal.Operation) // what else is journalled with the outcome; may be nil
}

// Execute carries an operation out: intent, lease, one call, outcome. The call has a
// context of its own, so that neither a request that ended nor a stop cuts it off. The
// error is the journal's; what AWS or Entra answered is in the entry that is returned.
func (s *Session) Execute(ctx context.Context, o Operation) (journal.Operation, error) {
	written := journal.Operation{Target: o.Target, Why: o.Why}
	select { // one operation in flight per process
	case s.operations <- struct{}{}:
		defer func() { <-s.operations }()
	case <-ctx.Done():
		return written, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return written, err
	}
	rotation := s.Rotation()
	written.Number, written.ResetCount, written.Intent = len(rotation.Operations[o.Kind])+1, rotation.ResetCount, s.Timestamps()
	err := s.writeIf(ctx, func(r *journal.Record) error {
		if err := s.checkHold(r); err != nil {
			return err
		}
		r.Rotation.SetOperation(o.Kind, written)
		if o.JournalIntent != nil {
			o.JournalIntent(r)
		}
		return nil
	})
	if err != nil {
		return written, err
	}
	if err := s.ensureLease(ctx); err != nil {
		return written, err
	}
	if written.Unsent = time.Since(written.Intent.Local) > maxIntentAge; written.Unsent {
		err = &model.Error{Reason: model.ReasonOther, Op: string(o.Kind), Unsent: true, Detail: "skipped: its preconditions are stale"}
	} else {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		err = o.Call(bounded)
		cancel()
	}
	written.Outcome, written.Answered = model.CallOutcomeOf(err), s.Timestamps()
	if err != nil {
		written.Error, written.Reason = err.Error(), model.ReasonOf(err)
		failed, classified := errors.AsType[*model.Error](err)
		written.Unread = classified && failed.Unread
	}
	return written, s.writeOutcome(ctx, func(r *journal.Record) {
		r.Rotation.SetOperation(o.Kind, written)
		if o.JournalOutcome != nil {
			o.JournalOutcome(r, written)
		}
	})
}

// ResolveOperation journals what became of an operation whose outcome was unknown.
func (s *Session) ResolveOperation(ctx context.Context, kind journal.OperationKind, number int, outcome model.CallOutcome, edit func(*journal.Record)) error {
	return s.Write(ctx, func(r *journal.Record) {
		r.Rotation.Operations[kind][number-1].Outcome = outcome
		edit(r)
	})
}

// Read makes one reading call with the usual time limit.
func Read[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	bounded, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return call(bounded)
}

// CallTimeout is the time limit of every call to AWS or Entra.
func CallTimeout() time.Duration { return callTimeout }
