package token

import (
	"context"
	"errors"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
)

var (
	// errConditionPending: what is missing for a deletion comes with time.
	errConditionPending = errors.New("a condition is not met yet")
	// errTokenGone: the token to be deleted is not listed any more.
	errTokenGone = errors.New("the token is gone already")
)

// session is one rotation that is being run: the engine's session, and what only this
// procedure knows.
type session struct {
	*rotate.Session
	options Options
	tokens  tokenStore

	listed             []model.Token // what AWS listed last
	lastHealthCheck    time.Time
	lastCloudTrailFail model.Reason // why CloudTrail could not be read, as it was logged last
}

// record returns the record as last journalled.
func (s *session) record() *record { return recordOf(s.Record()) }

// rotation returns the rotation as last journalled.
func (s *session) rotation() *rotation { return rotationOf(s.Rotation()) }

// write changes the record under the lease.
func (s *session) write(ctx context.Context, edit func(*record)) error {
	return s.Write(ctx, func(r *journal.Record) { edit(recordOf(r)) })
}

// resolveCreation journals that the last creation took effect.
func (s *session) resolveCreation(ctx context.Context, edit func(*record)) error {
	last, _ := s.rotation().LastOperation(OperationCreate)
	return s.ResolveOperation(ctx, OperationCreate, last.Number, model.CallDone, func(r *journal.Record) { edit(recordOf(r)) })
}

// operation is a rotate.Operation whose edits see this procedure's part of the record.
type operation struct {
	kind           journal.OperationKind
	target, why    string
	journalIntent  func(*record)
	call           func(ctx context.Context) error
	journalOutcome func(*record, journal.Operation)
}

// execute carries an operation out.
func (s *session) execute(ctx context.Context, o operation) (journal.Operation, error) {
	converted := rotate.Operation{Kind: o.kind, Target: o.target, Why: o.why, Call: o.call}
	if o.journalIntent != nil {
		converted.JournalIntent = func(r *journal.Record) { o.journalIntent(recordOf(r)) }
	}
	if o.journalOutcome != nil {
		converted.JournalOutcome = func(r *journal.Record, written journal.Operation) { o.journalOutcome(recordOf(r), written) }
	}
	return s.Execute(ctx, converted)
}

// formatOutcome says what became of an operation.
func formatOutcome(o journal.Operation) string {
	if o.Error == "" {
		return string(o.Outcome)
	}
	return string(o.Outcome) + ": " + o.Error
}

// finishAborted ends a rotation that did not succeed.
func (s *session) finishAborted(ctx context.Context, reason string, edit func(*record)) (model.Phase, error) {
	return s.Finish(ctx, model.OutcomeAborted, reason, func(r *journal.Record) {
		r.Procedures[model.ProcedureToken].Attempts++
		if edit != nil {
			edit(recordOf(r))
		}
	})
}
