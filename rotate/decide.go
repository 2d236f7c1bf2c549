package rotate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// Decision is what becomes of one alert. The set is closed: it is a metric label.
type Decision = model.Decision

// The decisions.
const (
	DecisionStarted           Decision = "started"
	DecisionDryRun            Decision = "dry_run"
	DecisionAlreadyRunning    Decision = "already_running"
	DecisionCooldown          Decision = "cooldown"
	DecisionNotDue            Decision = "not_due"
	DecisionDisabled          Decision = "disabled"
	DecisionBlocked           Decision = "blocked"
	DecisionResolved          Decision = "resolved"
	DecisionUnmatched         Decision = "unmatched"
	DecisionUnknownConnection Decision = "unknown_connection"
)

// Decisions lists the closed set.
func Decisions() []Decision {
	return []Decision{
		DecisionStarted, DecisionDryRun, DecisionAlreadyRunning, DecisionCooldown, DecisionNotDue, DecisionDisabled,
		DecisionBlocked, DecisionResolved, DecisionUnmatched, DecisionUnknownConnection,
	}
}

// standDown is why no rotation is begun.
type standDown struct {
	decision Decision
	text     string
}

func (e *standDown) Error() string { return e.text }

func stand(decision Decision, format string, args ...any) error {
	return &standDown{decision, fmt.Sprintf(format, args...)}
}

// The triggers of a rotation.
const (
	TriggerAlert    = "alert"
	TriggerOperator = "operator"
)

// beginning is how a rotation is to begin.
type beginning struct {
	trigger string
	forced  bool
	retire  string // a token that a person named as unused
	offered string // a token that an operator made
	due     time.Time
}

// Alert decides about an alert for a connection from the last reading. The only I/O is
// the journal entry that begins a rotation; the error is the journal's.
func (e *Engine) Alert(ctx context.Context, connection string) (Decision, string, error) {
	c, known := e.connection(connection)
	if !known {
		return DecisionUnknownConnection, "no connection of this name is configured", nil
	}
	leave, err := e.turn(ctx, connection)
	if err != nil {
		return "", "", err
	}
	defer leave()
	err = e.decide(ctx, c)
	var down *standDown
	switch {
	case err == nil:
		return DecisionStarted, "a rotation was begun", nil
	case errors.As(err, &down):
		return down.decision, down.text, nil
	default:
		return "", "", err
	}
}

// decide begins a rotation, or says why not.
func (e *Engine) decide(ctx context.Context, c Connection) error {
	if b := e.bookFor(c.Name); b != nil { // whatever the config says by now
		if rec := b.last(); rec != nil && rec.Rotation != nil && rec.Rotation.Blocked == nil {
			return running(rec.Rotation)
		}
	}
	switch {
	case c.Policy.Mode == model.RotationDisabled || c.Policy.Mode == "":
		return stand(DecisionDisabled, "rotation.mode is disabled")
	case c.Policy.Issuer == model.IssuerOperator:
		return stand(DecisionDisabled, "rotation.issuer is operator: create a token at AWS, then rotation start %s --token-stdin --token-id ID", c.Name)
	}
	snapshot, read := e.options.Snapshot(c.Name)
	if !read || snapshot.Tokens == nil || !snapshot.Binding.Complete() {
		return stand(DecisionNotDue, "its tokens were not read yet")
	}
	b := e.book(snapshot.Binding.Key())
	rec := b.last()
	if rec == nil || b.ailment() != nil {
		var err error
		if rec, err = b.open(ctx, snapshot.Binding, c.Name); err != nil {
			return unusable(err)
		}
	}
	now := time.Now()
	since := e.dueSince(c, snapshot, rec, now)
	if err := e.mayBegin(c, rec, snapshot, now); err != nil {
		return err
	}
	if since.IsZero() || since.After(now) {
		return stand(DecisionNotDue, "due %s", day(since))
	}
	if c.Policy.Mode == model.RotationDryRun {
		e.rehearse(c.Name)
		return stand(DecisionDryRun, "rotation.mode is dry_run")
	}
	tokens, _ := snapshot.Status(model.SourceTokens)
	return e.begin(ctx, c, b, snapshot.Binding, beginning{trigger: TriggerAlert, due: tokens.LastSuccess})
}

func running(rot *rotation) error {
	return stand(DecisionAlreadyRunning, "rotation %s is in phase %s", rot.ID, rot.Phase)
}

// unusable turns a journal that nobody can use into a decision; a journal that cannot
// be read or written now stays an error, so that Alertmanager comes again.
func unusable(err error) error {
	if errors.Is(err, errUnreadable) || errors.Is(err, model.ErrUnsafe) || errors.Is(err, errRestored) {
		return stand(DecisionBlocked, "%s", err)
	}
	return err
}

// mayBegin says why no rotation may begin by this record, whoever asks.
func (e *Engine) mayBegin(c Connection, rec *record, snapshot model.Snapshot, now time.Time) error {
	left := e.leftOpen(c.Name, rec.Binding.Key())
	switch {
	case left != nil && left.Blocked != nil:
		return stand(DecisionBlocked, "%s", left.Blocked.Sentence)
	case left != nil:
		return running(left)
	case rec.Rotation != nil && rec.Rotation.Blocked != nil:
		return stand(DecisionBlocked, "%s", rec.Rotation.Blocked.Sentence)
	case rec.Rotation != nil:
		return running(rec.Rotation)
	case rec.Restored != "":
		return stand(DecisionBlocked, "%s", sentence(c.Name, model.PhaseIdle, StateRestored, rec.Restored, listed(snapshot, rec)))
	case !rec.Held.IsZero():
		return stand(DecisionBlocked, "a person holds its rotations since %s", day(rec.Held))
	case snapshot.Ambiguous != "":
		return stand(DecisionBlocked, "ambiguous: %s", snapshot.Ambiguous)
	}
	if reason, detail := e.halted(c, rec); reason != "" {
		return stand(DecisionBlocked, "%s", sentence(c.Name, model.PhaseIdle, reason, detail, listed(snapshot, rec)))
	}
	if left := c.Policy.Cooldown/time.Duration(e.options.Pace) - now.Sub(rec.LastEnd); !rec.LastEnd.IsZero() && left > 0 && !repairs(snapshot, rec) {
		return stand(DecisionCooldown, "the last rotation ended %s", day(rec.LastEnd))
	}
	return nil
}

// halted tells whether starts are halted until a person acts, and why.
func (e *Engine) halted(c Connection, rec *record) (Blocked, string) {
	if rec.Attempts >= max(c.Policy.MaxAttempts, 1) {
		last := ""
		if n := len(rec.History); n > 0 {
			last = "; the last one ended: " + rec.History[n-1].Reason
		}
		return AttemptsExhausted, fmt.Sprintf("%d rotations in a row did not succeed%s", rec.Attempts, last)
	}
	if failed := e.failed(); len(failed) >= fleetLimit {
		return FleetHalt, fmt.Sprintf("the rotations of %s are blocked, so no other one starts", strings.Join(failed, " and "))
	}
	return "", ""
}

// begin writes the rotation into the journal, from where the engine takes it up.
func (e *Engine) begin(ctx context.Context, c Connection, b *book, binding model.Binding, how beginning) error {
	now := time.Now()
	rot := &rotation{
		ID: now.UTC().Format("20060102T150405") + "-" + strings.ToLower(rand.Text()[:6]), Trigger: how.trigger, Forced: how.forced,
		Issuer: c.Policy.Issuer, Retire: how.retire, Offered: how.offered, Phase: model.PhasePlan,
		Started: moment{Local: now.UTC()}, Plan: plan{DueSince: how.due},
	}
	if how.offered != "" {
		rot.Issuer = model.IssuerOperator
	}
	rot.Phases = []passage{{model.PhasePlan, rot.Started}}
	if other := e.claim(b.key, c.Name); other != "" {
		return stand(DecisionAlreadyRunning, "this process rotates %s first", other)
	}
	_, err := b.change(ctx, func(rec *record) error {
		if rec.Rotation != nil {
			return running(rec.Rotation)
		}
		rec.Rotation, rec.Connection, rec.Binding = rot, c.Name, binding
		return nil
	})
	e.mu.Lock()
	if err != nil {
		delete(e.begun, b.key)
	} else {
		e.begun[b.key] = claim{c.Name, true}
		e.keys[c.Name] = binding.Key()
	}
	e.mu.Unlock()
	if err != nil {
		return unusable(err)
	}
	poke(e.kick)
	return nil
}

// dueSince returns when the token in use is, or was, due to be replaced; zero: not known.
func (e *Engine) dueSince(c Connection, snapshot model.Snapshot, rec *record, now time.Time) time.Time {
	var due time.Time
	if snapshot.Tokens != nil {
		current := ""
		for id, role := range roles(snapshot, rec, now) {
			if role == model.RoleInUse {
				current = id
			}
		}
		if token, ok := snapshot.Tokens.Active(current, now); ok {
			due = c.Policy.dueAt(token)
		} else if token, ok := find(snapshot.Tokens.Tokens, current); ok {
			due = c.Policy.dueAt(token)
		}
	}
	if repairs(snapshot, rec) {
		if detected := snapshot.Job.Quarantine.CurrentBegan; due.IsZero() || detected.Before(due) {
			due = detected
		}
	}
	return due
}

// repairs tells whether the last reading shows a job that only a working token can heal.
// A quarantine that began before the last success is that rotation's, and still ending.
func repairs(snapshot model.Snapshot, rec *record) bool {
	if snapshot.Job == nil || snapshot.Job.Quarantine == nil || !snapshot.Job.Quarantine.Credentials() {
		return false
	}
	return rec == nil || snapshot.Job.Quarantine.CurrentBegan.After(rec.LastSuccess)
}

func (e *Engine) connection(name string) (Connection, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, ok := e.connections[name]
	return c, ok
}

// failed names the connections whose rotations are blocked.
func (e *Engine) failed() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var names []string
	for _, b := range e.books {
		if rec := b.last(); rec != nil && rec.Rotation != nil && rec.Rotation.Blocked != nil {
			names = append(names, rec.Connection)
		}
	}
	slices.Sort(names)
	return names
}

// turn lets decisions about one connection pass one after the other.
func (e *Engine) turn(ctx context.Context, connection string) (leave func(), err error) {
	e.mu.Lock()
	door := e.turns[connection]
	if door == nil {
		door = make(chan struct{}, 1)
		e.turns[connection] = door
	}
	e.mu.Unlock()
	select {
	case door <- struct{}{}:
		return func() { <-door }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
