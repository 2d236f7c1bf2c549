package certificate

import (
	"context"
	"errors"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
)

// errConditionPending: what is missing for an operation comes with time.
var errConditionPending = errors.New("a condition is not met yet")

// session is one rollover that is being run: the engine's session, and what only this
// procedure knows.
type session struct {
	*rotate.Session
	options Options
	last    *sides // what was read last, for messages
	changed bool   // an operation may have changed a side since then
}

// record returns the record as last journalled.
func (s *session) record() *record { return recordOf(s.Record()) }

// rotation returns the rotation as last journalled.
func (s *session) rotation() *rotation { return rotationOf(s.Rotation()) }

// write changes the record under the lease.
func (s *session) write(ctx context.Context, edit func(*record)) error {
	return s.Write(ctx, func(r *journal.Record) { edit(recordOf(r)) })
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
	written, err := s.Execute(ctx, converted)
	s.changed = s.changed || !written.Refused()
	return written, err
}

// formatOutcome says what became of an operation.
func formatOutcome(o journal.Operation) string {
	if o.Error == "" {
		return string(o.Outcome)
	}
	return string(o.Outcome) + ": " + o.Error
}

// finishAborted ends a rollover that did not succeed.
func (s *session) finishAborted(ctx context.Context, reason string) (model.Phase, error) {
	return s.Finish(ctx, model.OutcomeAborted, reason, func(r *journal.Record) {
		r.Procedures[model.ProcedureCertificate].Attempts++
	})
}
