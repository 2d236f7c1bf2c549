package rotate

import (
	"errors"
	"slices"
	"time"

	"entra-aws-exporter/internal/bridge"
)

// Status is what the metrics and pages show of a connection's rotation. It makes no
// calls: it rests on the journal and the readings as last seen.
func (e *Engine) Status(connection string) bridge.RotationStatus {
	c, _ := e.connection(connection)
	now := time.Now()
	snapshot, _ := e.options.Snapshot(connection)
	status := bridge.RotationStatus{Mode: c.Policy.Mode, Issuer: c.Policy.Issuer, Phase: bridge.PhaseIdle, Endings: (&record{}).endings()}
	if status.Mode == "" {
		status.Mode = bridge.RotationDisabled
	}
	var rec *record
	e.learn(connection, snapshot.Binding)
	b := e.bookFor(connection)
	if b != nil {
		rec = b.last()
	}
	if status.Mode != bridge.RotationDisabled {
		status.Due = e.dueSince(c, snapshot, rec, now)
	}
	status.Roles = roles(snapshot, rec, now)
	if rec != nil {
		status.LastSuccess, status.Endings, status.TokensCreated = rec.LastSuccess, rec.endings(), rec.TokensCreated
		e.showRotation(&status, c, rec, listed(snapshot, rec))
	}
	if b != nil {
		showTrouble(&status, connection, b.ailment(), listed(snapshot, rec))
	}
	if snapshot.Ambiguous != "" && status.Mode != bridge.RotationDisabled && status.Blocked == "" && status.Started.IsZero() {
		status.Phase, status.Blocked = bridge.PhaseBlocked, string(bridge.ReasonAmbiguous)
		status.Sentence = connection + " is blocked (ambiguous): " + snapshot.Ambiguous + "."
	}
	return status
}

// showRotation fills in where the rotation stands, and what a person should read.
func (e *Engine) showRotation(status *bridge.RotationStatus, c Connection, rec *record, tokens []bridge.Token) {
	rot := rec.Rotation
	if rot == nil {
		due := !status.Due.IsZero() && !status.Due.After(time.Now())
		if reason, detail := e.halted(c, rec); reason != "" && (due || reason == AttemptsExhausted) && status.Mode != bridge.RotationDisabled {
			status.Phase, status.Blocked = bridge.PhaseBlocked, string(reason)
			status.Sentence = sentence(c.Name, bridge.PhaseIdle, reason, detail, tokens)
		}
		if rec.Restored != "" {
			status.Phase, status.Blocked = bridge.PhaseBlocked, string(StateRestored)
			status.Sentence = sentence(c.Name, bridge.PhaseIdle, StateRestored, rec.Restored, tokens)
		}
		if !rec.Held.IsZero() {
			status.Waiting = string(Held)
		}
		return
	}
	status.Phase, status.Started, status.Proof, status.Waiting = rot.Phase, rot.Started.Local, rot.Proof.Level, string(rot.Waiting)
	switch failing := rot.Failing; {
	case !rec.Held.IsZero():
		status.Waiting = string(Held)
	case failing.stands(time.Now()) && (rot.Waiting != ApprovalNeeded || !failing.Alarmed.IsZero()):
		status.Waiting, status.Sentence = string(failing.waiting()), failing.sentence(c.Name, rot.Phase)
	case rot.Waiting == ApprovalNeeded:
		for _, old := range rot.old() {
			if old.ID == rot.Asked {
				status.Sentence = approvalSentence(rec.Connection, rot, old.Token)
			}
		}
	}
	if rot.Blocked != nil {
		status.Phase, status.Waiting = bridge.PhaseBlocked, ""
		status.Blocked, status.Sentence = string(rot.Blocked.Reason), rot.Blocked.Sentence
	}
}

// showTrouble tells of a journal that cannot be used.
func showTrouble(status *bridge.RotationStatus, connection string, trouble error, tokens []bridge.Token) {
	reason := JournalUnreadable
	switch {
	case trouble == nil:
		return
	case errors.Is(trouble, bridge.ErrUnsafe):
		reason = StoreUnsafe
	case errors.Is(trouble, errRestored):
		reason = StateRestored
	case !errors.Is(trouble, errUnreadable):
		status.Waiting, status.Sentence = string(StoreUnavailable), connection+": "+trouble.Error()
		return
	}
	status.Sentence = sentence(connection, status.Phase, reason, trouble.Error(), tokens)
	status.Phase, status.Blocked, status.Waiting = bridge.PhaseBlocked, string(reason), ""
}

// roles says what each token of the last reading is for. That provisioning works stands
// here for Entra's own test, which a reading may not make.
func roles(snapshot bridge.Snapshot, rec *record, now time.Time) map[string]bridge.TokenRole {
	if snapshot.Tokens == nil {
		return nil
	}
	if rec == nil {
		rec = &record{}
	}
	expired := func(t bridge.Token) bool { return t.Expired(now.Add(-expiryGrace)) }
	return rec.roles(snapshot.Tokens.Tokens, expired, works(snapshot.Job))
}

// listed are the tokens of the last reading, or those that the journal knows of.
func listed(snapshot bridge.Snapshot, rec *record) []bridge.Token {
	switch {
	case snapshot.Tokens != nil:
		return snapshot.Tokens.Tokens
	case rec != nil:
		return known(rec)
	default:
		return nil
	}
}

// works tells whether the last cycle got through to AWS.
func works(job *bridge.Job) bool {
	return job != nil && job.Quarantine == nil && job.LastCycle != nil &&
		(job.LastCycle.State == bridge.CycleSucceeded || job.LastCycle.State == bridge.CycleEntryLevelErrors)
}

// Records returns the rotations that are remembered, the open ones too, newest first.
func (e *Engine) Records() []bridge.RotationRecord {
	e.mu.Lock()
	books := make([]*book, 0, len(e.books))
	for _, b := range e.books {
		books = append(books, b)
	}
	e.mu.Unlock()
	var list []bridge.RotationRecord
	for _, b := range books {
		rec := b.last()
		if rec == nil {
			continue
		}
		list = append(list, rec.History...)
		if rec.Rotation != nil {
			list = append(list, rec.history(time.Time{}))
		}
	}
	slices.SortFunc(list, func(a, b bridge.RotationRecord) int { return b.Started.Compare(a.Started) })
	return list
}
