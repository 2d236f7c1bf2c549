package rotate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// How often, and for how long, a failure is retried before the rotation is blocked or
// aborted. One bad answer never blocks: a reason to block must be found three times in a
// row; one that may pass by itself (Graph answers 403 and 409 in passing) must last an hour.
const (
	confirmAttempts = 3
	lastingAttempts = 5
	// LastingTime is how long a failure that may pass must last to count.
	LastingTime = time.Hour
	// maxPlanFailure is how long a plan may get no response.
	maxPlanFailure = 2 * time.Hour
	// maxFailureGap ends a streak of failures: a later one begins another streak.
	maxFailureGap = 30 * time.Minute
)

// Persistence says how long a reason to block must be found before it is believed.
type Persistence int

// The values of Persistence.
const (
	Confirmed Persistence = iota // three times in a row
	Lasting                      // for an hour: it may pass by itself
	Immediate                    // at once: looking again could only do harm
)

// BlockedError is the error by which a phase says that an operator is needed.
type BlockedError struct {
	Reason      model.BlockedReason
	Detail      string // names tokens by their ids; the message lists them with their dates
	Command     string // the next command, if it is not the reason's own
	Persistence Persistence
}

func (e *BlockedError) Error() string { return string(e.Reason) + ": " + e.Detail }

// Blocked is the error for a reason to block.
func Blocked(reason model.BlockedReason, format string, args ...any) error {
	return &BlockedError{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// BlockedNow is a reason to block that must not be confirmed by looking again.
func BlockedNow(reason model.BlockedReason, format string, args ...any) error {
	return &BlockedError{Reason: reason, Detail: fmt.Sprintf(format, args...), Persistence: Immediate}
}

// BlockedIfLasting is a reason to block that may pass by itself.
func BlockedIfLasting(reason model.BlockedReason, format string, args ...any) error {
	return &BlockedError{Reason: reason, Detail: fmt.Sprintf(format, args...), Persistence: Lasting}
}

// renewSignIn is the next command when the exporter's own sign-in is refused, which may
// be AWS's or Entra's.
const renewSignIn = "renew the sign-in that this names, at Entra or at AWS (doctor CONNECTION tries both), then rotation reset CONNECTION"

// AsBlocked returns the reason to block that an error amounts to; nil when waiting may
// help, however long.
func AsBlocked(err error) *BlockedError {
	var blocked *BlockedError
	if errors.As(err, &blocked) {
		return blocked
	}
	blocked = &BlockedError{Detail: fmt.Sprint(err), Persistence: Lasting}
	switch model.ReasonOf(err) {
	case model.ReasonPermission, model.ReasonLicence:
		blocked.Reason = model.BlockedPermission
	case model.ReasonAuth:
		blocked.Reason, blocked.Command = model.BlockedOwnCredentialExpiring, renewSignIn
	case model.ReasonAPIChanged, model.ReasonInvalidResponse:
		blocked.Reason = model.BlockedAPIChanged
	case model.ReasonWrongTarget:
		blocked.Reason = model.BlockedWrongTarget
	case model.ReasonNotFound, model.ReasonAmbiguous:
		blocked.Reason = model.BlockedBindingChanged
	default:
		return nil
	}
	return blocked
}

// retryState counts how often the same cause was met in a row.
type retryState struct {
	cause    string
	attempts int
	since    time.Time
	failures journal.Failures
}

// handleError decides what an error means for the rotation: waiting, blocking, aborting,
// or (an error is returned) leaving it to another process.
func (s *Session) handleError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errOnHold):
		return nil
	case errors.Is(err, errAborted):
		return s.abort(ctx, err.Error())
	case isPermanent(err), errors.Is(err, ErrLongWait):
		return err
	}
	blocked := AsBlocked(err)
	s.countFailure(err, blocked)
	switch {
	case blocked != nil && s.mustBlock(blocked):
		return s.repairOrBlock(ctx, blocked)
	case blocked == nil && s.Rotation().Phase == model.PhasePlan && s.Elapsed(s.retry.since) >= maxPlanFailure:
		return s.abort(ctx, fmt.Sprintf("no answer for %s: %s", maxPlanFailure, err))
	}
	s.logPersistentFailure()
	stalled := s.Elapsed(s.retry.failures.Since) >= LastingTime
	if s.options.untilLongWait && stalled && s.Rotation().Phase != model.PhaseConfirm { // there a recovery may be needed at once
		return err
	}
	s.leaveChanges()
	backoff := time.Minute << min(s.retry.attempts-1, 3)
	if blocked != nil && blocked.Persistence != Lasting {
		backoff = time.Minute * time.Duration(s.retry.attempts*s.retry.attempts)
	}
	return s.pause(ctx, backoff, s.Rotation().Waiting)
}

// countFailure counts an error, and logs each kind of error of a streak once.
func (s *Session) countFailure(err error, blocked *BlockedError) {
	now := time.Now().UTC()
	if s.Elapsed(s.retry.failures.Last) > maxFailureGap {
		s.retry.failures = journal.Failures{}
	}
	s.retry.failures.Store = isStoreError(err)
	if first := s.retry.failures.Add(now, errorKind(err), err.Error()); first {
		s.LogStep("%s; retrying", err)
	}
	cause := "transient"
	if blocked != nil {
		cause = string(blocked.Reason)
	}
	if s.retry.cause != cause {
		s.retry = retryState{cause: cause, since: time.Now(), failures: s.retry.failures}
	}
	s.retry.attempts++
}

// mustBlock tells whether a reason to block was found often, or long, enough.
func (s *Session) mustBlock(blocked *BlockedError) bool {
	lasted := s.retry.attempts >= lastingAttempts && s.Elapsed(s.retry.since) >= LastingTime
	switch blocked.Persistence {
	case Immediate:
		return true
	case Lasting:
		return lasted
	default:
		return lasted || s.retry.attempts >= confirmAttempts
	}
}

// logPersistentFailure logs a streak that has lasted an hour, and again every hour. The
// rotation retries, but an operator should know.
func (s *Session) logPersistentFailure() {
	failures, now := &s.retry.failures, time.Now().UTC()
	if s.Elapsed(failures.Since) < LastingTime || s.Elapsed(failures.LastLogged) < LastingTime {
		return
	}
	failures.LastLogged = now
	phase := s.Rotation().Phase
	s.log.Error("rotation stalled", "connection", s.Connection.Name, "phase", phase, "since", failures.Since, "err", failures.Text,
		"message", stalledMessage(*failures, s.Connection.Name, phase))
}

// abort ends a rotation that has saved nothing to Entra.
func (s *Session) abort(ctx context.Context, reason string) error {
	phase, now := s.procedure.AbortPhase(s.Rotation())
	switch {
	case !now:
		return nil
	case phase != model.PhaseIdle:
		return s.enterPhase(ctx, phase)
	default:
		if left := s.procedure.Remainder(s.Rotation()); left != "" {
			reason += "; " + left
		}
		_, err := s.Finish(ctx, model.OutcomeAborted, reason, func(r *journal.Record) { r.Procedures[r.Rotation.Kind].Attempts++ })
		return err
	}
}

// repairOrBlock blocks the rotation, unless the procedure has to repair something first.
func (s *Session) repairOrBlock(ctx context.Context, found *BlockedError) error {
	next, err := s.runner.BeforeBlock(ctx, found)
	var graver *BlockedError
	switch {
	case err == nil && next != "":
		s.retry = retryState{}
		return s.enterPhase(ctx, next)
	case errors.As(err, &graver):
		return s.block(ctx, graver)
	default: // what cannot be read now changes nothing
		return s.block(ctx, found)
	}
}

// block stops the rotation until an operator acts. What it made, it keeps.
func (s *Session) block(ctx context.Context, blocked *BlockedError) error {
	if r, err := s.entry.Load(ctx); err == nil && r != nil && r.Rotation != nil && errors.Is(s.checkHold(r), errAborted) {
		return nil // an operator was faster
	}
	phase := s.Rotation().Phase
	command := policy.Remediation(s.procedure.Kind(), blocked.Reason, s.Connection.Name)
	if blocked.Command != "" {
		command = policy.ForConnection(blocked.Command, s.Connection.Name)
	}
	inventory := cmp.Or(s.runner.Inventory(), s.Record().Inventory())
	text := messageWith(s.Connection.Name, phase, blocked.Reason, blocked.Detail, inventory, command)
	s.LogStep("blocked: %s: %s", blocked.Reason, blocked.Detail)
	s.log.Error("rotation blocked", "connection", s.Connection.Name, "phase", phase, "reason", blocked.Reason, "message", text)
	at := time.Now().UTC()
	s.retry = retryState{}
	return s.Write(ctx, func(r *journal.Record) {
		procedure := r.Procedures[r.Rotation.Kind]
		procedure.Attempts++
		procedure.LastEnd = at
		r.Block(blocked.Reason, text, at)
	})
}

// errorKind tells errors apart that deserve a line each.
func errorKind(err error) string {
	var blocked *BlockedError
	var failed *model.Error
	switch {
	case errors.As(err, &blocked):
		return string(blocked.Reason)
	case errors.As(err, &failed):
		return fmt.Sprint(failed.Op, " ", failed.Reason, " ", failed.Status, " ", failed.Code)
	default:
		return err.Error()
	}
}

// isStoreError tells whether an error is the journal's or the token store's: those of AWS
// and Entra are classified.
func isStoreError(err error) bool {
	var blocked *BlockedError
	var failed *model.Error
	return !errors.As(err, &blocked) && !errors.As(err, &failed)
}
