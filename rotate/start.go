package rotate

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// ErrOpen says that a rotation of the connection is open already; RunToCompletion resumes it.
var ErrOpen = errors.New("a rotation is open already")

// StartOptions are how an operator starts a rotation.
type StartOptions struct {
	Force     bool // even if it is not due, or in cooldown
	Procedure any  // the procedure's own options
}

// NotStartedError says why no rotation starts.
type NotStartedError struct {
	Decision model.Decision
	text     string
}

func (e *NotStartedError) Error() string { return e.text }

// NotStarted is the error for a decision against a start.
func NotStarted(decision model.Decision, format string, args ...any) error {
	return &NotStartedError{decision, fmt.Sprintf(format, args...)}
}

// Alert decides about an alert for a connection from the last poll. The only I/O is the
// journal entry that starts a rotation; the error is the journal's.
func (e *Engine) Alert(ctx context.Context, connection string, kind model.Procedure) (model.Decision, string, error) {
	return e.decide(ctx, connection, kind, model.TriggerAlert)
}

// StartIfDue is Alert without an alert: for a schedule.
func (e *Engine) StartIfDue(ctx context.Context, connection string, kind model.Procedure) (model.Decision, string, error) {
	return e.decide(ctx, connection, kind, model.TriggerDue)
}

func (e *Engine) decide(ctx context.Context, connection string, kind model.Procedure, trigger model.Trigger) (model.Decision, string, error) {
	c, procedure, err := e.configured(connection, kind)
	if err != nil {
		return model.DecisionUnknownConnection, "no connection of this name is configured", nil //nolint:nilerr // it is the decision
	}
	release, err := e.limits.lockConnection(ctx, connection)
	if err != nil {
		return "", "", err
	}
	defer release()
	err = e.startIfDue(ctx, c, procedure, trigger)
	var notStarted *NotStartedError
	switch {
	case err == nil:
		return model.DecisionStarted, "rotation started", nil
	case errors.As(err, &notStarted):
		return notStarted.Decision, notStarted.text, nil
	default:
		return "", "", err
	}
}

// startIfDue starts a rotation that is due, or says why not.
func (e *Engine) startIfDue(ctx context.Context, c Connection, procedure Procedure, trigger model.Trigger) error {
	if entry := e.Lookup(c.Name); entry != nil && entry.Record().Active() { // whatever the config says now
		return alreadyRunning(entry.Record().Rotation)
	}
	mode := procedure.Policy().Mode
	if mode == model.RotationDisabled || mode == "" {
		return NotStarted(model.DecisionDisabled, "%s.mode is disabled", procedure.Policy().Section)
	}
	snapshot, polled := e.options.Snapshot(c.Name)
	if !polled {
		snapshot = model.Snapshot{}
	}
	if err := procedure.Ready(snapshot); err != nil {
		return err
	}
	entry := e.entry(snapshot.Binding.Key())
	record := entry.Record()
	if record == nil || entry.Err() != nil {
		var err error
		if record, err = entry.LoadOrCreate(ctx, snapshot.Binding, c.Name); err != nil {
			return asNotStarted(err)
		}
	}
	now := time.Now()
	due := procedure.Due(snapshot, record, now)
	givesWay := record.IsBlocked() && procedure.Repairs(snapshot, record) && blockedByOther(procedure, record) && !hasGivenWay(procedure, record)
	checked := record
	if givesWay {
		others := *record
		others.Rotation, checked = nil, &others
	}
	if err := e.checkStart(c, procedure, checked, snapshot, now); err != nil {
		return err
	}
	switch {
	case due.IsZero():
		return NotStarted(model.DecisionNotDue, "due date unknown")
	case due.After(now):
		return NotStarted(model.DecisionNotDue, "not due until %s", FormatTime(due))
	case mode == model.RotationDryRun:
		if e.dryRuns.request(c.Name, procedure.Kind()) {
			notify(e.wakeup)
		}
		return NotStarted(model.DecisionDryRun, "%s.mode is dry_run", procedure.Policy().Section)
	}
	if givesWay {
		if _, err := archiveBlocked(ctx, entry); err != nil {
			return asNotStarted(err)
		}
	}
	progress, forced := procedure.NewProgress(snapshot, nil)
	return e.startRotation(ctx, c, entry, snapshot.Binding, &journal.Rotation{
		Kind: procedure.Kind(), Trigger: trigger, Forced: forced, Progress: progress,
	})
}

// Start writes a rotation into the journal, as an operator asks. RunToCompletion runs it;
// a server on the same journal does, too.
func (e *Engine) Start(ctx context.Context, connection string, kind model.Procedure, options StartOptions) error {
	c, procedure, err := e.configured(connection, kind)
	if err != nil {
		return err
	}
	binding, err := e.bindingOf(ctx, c)
	if err != nil {
		return err
	}
	entry := e.entry(binding.Key())
	record, err := entry.LoadOrCreate(ctx, binding, c.Name)
	if err != nil {
		return err
	}
	if record.Active() {
		return fmt.Errorf("connection %s: %w: %s is in phase %s", connection, ErrOpen, record.Rotation.ID, record.Rotation.Phase)
	}
	if set := procedure.Policy(); set.Mode != model.RotationEnabled {
		return fmt.Errorf("connection %s: %s.mode is %s: set it to enabled, or use --dry-run", connection, set.Section, cmp.Or(set.Mode, model.RotationDisabled))
	}
	if err := procedure.CheckStart(model.Snapshot{}, options.Procedure); err != nil {
		return fmt.Errorf("connection %s: %w", connection, err)
	}
	resolves := record.IsBlocked() && (procedure.Resolves(record.Rotation, options.Procedure) || blockedByOther(procedure, record))
	if resolves {
		if record, err = archiveBlocked(ctx, entry); err != nil {
			return fmt.Errorf("connection %s: %w", connection, err)
		}
	}
	if err := e.checkOperatorStart(ctx, c, procedure, record, options, resolves); err != nil {
		return fmt.Errorf("connection %s: %w", connection, err)
	}
	if err := procedure.PrepareStart(ctx, entry.Key(), options.Procedure); err != nil {
		return fmt.Errorf("connection %s: %w", connection, err)
	}
	progress, forced := procedure.NewProgress(model.Snapshot{}, options.Procedure)
	return e.startRotation(ctx, c, entry, binding, &journal.Rotation{
		Kind: kind, Trigger: model.TriggerOperator, Forced: options.Force || forced, Progress: progress,
	})
}

// blockedByOther tells whether the blocked rotation is of the other kind and has changed
// nothing: an outage of one kind must not wait until the other one is resolved.
func blockedByOther(procedure Procedure, record *journal.Record) bool {
	return record.Rotation.Kind != procedure.Kind() && record.Rotation.Phase == model.PhasePlan
}

// hasGivenWay tells whether the last rotation of this kind was blocked and made room for the
// one that is blocked now. By itself it does not take that one's place in turn.
func hasGivenWay(procedure Procedure, record *journal.Record) bool {
	if len(record.History) == 0 {
		return false
	}
	last := record.History[len(record.History)-1]
	return cmp.Or(last.Kind, model.ProcedureToken) == procedure.Kind() && last.Outcome == model.OutcomeBlocked
}

// archiveBlocked ends a blocked rotation that a start resolves: another one follows.
func archiveBlocked(ctx context.Context, entry *journal.Entry) (*journal.Record, error) {
	return entry.Change(ctx, func(r *journal.Record) error {
		switch {
		case r.Restored != "":
			return errAdoptFirst(r.Connection)
		case !r.IsBlocked():
			return errors.New("its rotation is not blocked any more")
		}
		for _, procedure := range r.Procedures {
			procedure.Attempts = 0
		}
		r.Archive(model.OutcomeBlocked, string(r.Rotation.Blocked.Reason), time.Now().UTC())
		return nil
	})
}

// checkOperatorStart says what in the journal, or in the last poll, forbids a start. One
// that resolves a blocked rotation need not wait for the cooldown.
func (e *Engine) checkOperatorStart(ctx context.Context, c Connection, procedure Procedure, record *journal.Record, options StartOptions, resolves bool) error {
	snapshot, _ := e.options.Snapshot(c.Name)
	_ = e.Refresh(ctx) // for the circuit breaker; what cannot be read counts as it was read last
	err := e.checkStart(c, procedure, record, snapshot, time.Now())
	var notStarted *NotStartedError
	cooldown := errors.As(err, &notStarted) && notStarted.Decision == model.DecisionCooldown
	switch {
	case cooldown && !options.Force && !resolves:
		return fmt.Errorf("in cooldown: %w; use --force to override", err)
	case err != nil && !cooldown:
		return err
	}
	return procedure.CheckStart(snapshot, options.Procedure)
}

// checkStart says why no rotation may start by this record, whoever asks.
func (e *Engine) checkStart(c Connection, procedure Procedure, record *journal.Record, snapshot model.Snapshot, now time.Time) error {
	former := e.openUnderFormerBinding(c.Name, record.Binding.Key())
	switch {
	case former != nil && former.Blocked != nil:
		return NotStarted(model.DecisionBlocked, "%s", former.Blocked.Message)
	case former != nil:
		return alreadyRunning(former)
	case record.IsBlocked():
		return NotStarted(model.DecisionBlocked, "%s", record.Rotation.Blocked.Message)
	case record.Rotation != nil:
		return alreadyRunning(record.Rotation)
	case record.Restored != "":
		text := message(procedure.Kind(), c.Name, model.PhaseIdle, model.BlockedStateRestored, record.Restored, procedure.Inventory(snapshot, record))
		return NotStarted(model.DecisionBlocked, "%s", text)
	case !record.OnHold.IsZero():
		return onHold(record)
	case snapshot.Ambiguous != "":
		return NotStarted(model.DecisionBlocked, "ambiguous: %s", snapshot.Ambiguous)
	}
	if reason, detail := e.halted(procedure, record, snapshot); reason != "" {
		return NotStarted(model.DecisionBlocked, "%s", message(procedure.Kind(), c.Name, model.PhaseIdle, reason, detail, procedure.Inventory(snapshot, record)))
	}
	lastEnd := record.Procedures[procedure.Kind()].LastEnd
	if procedure.Policy().InCooldown(lastEnd, now, time.Duration(e.options.Speedup)) && !procedure.Repairs(snapshot, record) {
		return NotStarted(model.DecisionCooldown, "the last rotation ended %s", FormatTime(lastEnd))
	}
	return nil
}

func alreadyRunning(rotation *journal.Rotation) error {
	return NotStarted(model.DecisionAlreadyRunning, "rotation %s is in phase %s", rotation.ID, rotation.Phase)
}

func onHold(record *journal.Record) error {
	return NotStarted(model.DecisionBlocked, "rotations on hold since %s", FormatTime(record.OnHold))
}

// asNotStarted turns a journal that cannot be used into a decision. A journal that cannot
// be read or written now stays an error, so that Alertmanager retries.
func asNotStarted(err error) error {
	if errors.Is(err, journal.ErrUnreadable) || errors.Is(err, model.ErrUnsafe) || errors.Is(err, journal.ErrRestored) {
		return NotStarted(model.DecisionBlocked, "%s", err)
	}
	return err
}

// halted says why starts are halted until an operator acts; "" if they are not. The
// blocked rotations of other connections never halt a repair.
func (e *Engine) halted(procedure Procedure, record *journal.Record, snapshot model.Snapshot) (model.BlockedReason, string) {
	last := ""
	if n := len(record.History); n > 0 {
		last = record.History[n-1].Reason
	}
	var blocked []string
	if !procedure.Repairs(snapshot, record) {
		blocked = e.blockedConnections()
	}
	return procedure.Policy().Halted(record.Procedures[procedure.Kind()].Attempts, last, blocked)
}

// startRotation writes the rotation into the journal, from where Run resumes it.
func (e *Engine) startRotation(ctx context.Context, c Connection, entry *journal.Entry, binding model.Binding, rotation *journal.Rotation) error {
	now := time.Now().UTC()
	rotation.ID = now.Format("20060102T150405") + "-" + strings.ToLower(rand.Text()[:6])
	rotation.Started = journal.Timestamps{Local: now}
	rotation.Phase = model.PhasePlan
	rotation.Phases = []journal.PhaseEntry{{Phase: model.PhasePlan, At: rotation.Started}}
	_, err := entry.Change(ctx, func(r *journal.Record) error {
		switch { // by another process, since the record was read
		case r.Rotation != nil:
			return alreadyRunning(r.Rotation)
		case !r.OnHold.IsZero():
			return onHold(r)
		}
		r.Rotation, r.Connection, r.Binding = rotation, c.Name, binding
		return nil
	})
	if err != nil {
		return asNotStarted(err)
	}
	e.cacheBinding(c.Name, binding)
	notify(e.wakeup)
	return nil
}
