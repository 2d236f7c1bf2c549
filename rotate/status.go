package rotate

import (
	"errors"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// Status is what the metrics and pages show of a connection's rotation. It makes no
// calls: it rests on the journal and the readings as last seen.
func (e *Engine) Status(connection string) model.RotationStatus {
	c, _ := e.connection(connection)
	now := time.Now()
	snapshot, _ := e.options.Snapshot(connection)
	status := model.RotationStatus{Mode: c.Policy.Mode, Issuer: c.Policy.Issuer, Phase: model.PhaseIdle, Outcomes: (&record{}).endings()}
	if status.Mode == "" {
		status.Mode = model.RotationDisabled
	}
	var rec *record
	e.learn(connection, snapshot.Binding)
	b := e.bookFor(connection)
	if b != nil {
		rec = b.last()
	}
	if status.Mode != model.RotationDisabled {
		status.Due = e.dueSince(c, snapshot, rec, now)
	}
	status.Roles = roles(snapshot, rec, now)
	if rec != nil {
		status.LastSuccess, status.Outcomes, status.TokensCreated = rec.LastSuccess, rec.endings(), rec.TokensCreated
		e.showRotation(&status, c, rec, listed(snapshot, rec))
	}
	if b != nil {
		showTrouble(&status, connection, b.ailment(), listed(snapshot, rec))
	}
	if snapshot.Ambiguous != "" && status.Mode != model.RotationDisabled && status.Blocked == "" && status.Started.IsZero() {
		status.Phase, status.Blocked = model.PhaseBlocked, model.BlockedAmbiguous
		status.Message = connection + " is blocked (ambiguous): " + snapshot.Ambiguous + "."
	}
	return status
}

// showRotation fills in where the rotation stands, and what a person should read.
func (e *Engine) showRotation(status *model.RotationStatus, c Connection, rec *record, tokens []model.Token) {
	rot := rec.Rotation
	if rot == nil {
		due := !status.Due.IsZero() && !status.Due.After(time.Now())
		if reason, detail := e.halted(c, rec); reason != "" && (due || reason == AttemptsExhausted) && status.Mode != model.RotationDisabled {
			status.Phase, status.Blocked = model.PhaseBlocked, reason
			status.Message = sentence(c.Name, model.PhaseIdle, reason, detail, tokens)
		}
		if rec.Restored != "" {
			status.Phase, status.Blocked = model.PhaseBlocked, StateRestored
			status.Message = sentence(c.Name, model.PhaseIdle, StateRestored, rec.Restored, tokens)
		}
		if !rec.Held.IsZero() {
			status.Waiting = Held
		}
		return
	}
	status.Phase, status.Started, status.Proof, status.Waiting = rot.Phase, rot.Started.Local, rot.Proof.Level, rot.Waiting
	switch failing := rot.Failing; {
	case !rec.Held.IsZero():
		status.Waiting = Held
	case failing.stands(time.Now()) && (rot.Waiting != ApprovalNeeded || !failing.Alarmed.IsZero()):
		status.Waiting, status.Message = failing.waiting(), failing.sentence(c.Name, rot.Phase)
	case rot.Waiting == ApprovalNeeded:
		for _, old := range rot.old() {
			if old.ID == rot.Asked {
				status.Message = approvalSentence(rec.Connection, rot, old.Token)
			}
		}
	}
	if rot.Blocked != nil {
		status.Phase, status.Waiting = model.PhaseBlocked, ""
		status.Blocked, status.Message = rot.Blocked.Reason, rot.Blocked.Sentence
	}
}

// showTrouble tells of a journal that cannot be used.
func showTrouble(status *model.RotationStatus, connection string, trouble error, tokens []model.Token) {
	reason := JournalUnreadable
	switch {
	case trouble == nil:
		return
	case errors.Is(trouble, model.ErrUnsafe):
		reason = StoreUnsafe
	case errors.Is(trouble, errRestored):
		reason = StateRestored
	case !errors.Is(trouble, errUnreadable):
		status.Waiting, status.Message = StoreUnavailable, connection+": "+trouble.Error()
		return
	}
	status.Message = sentence(connection, status.Phase, reason, trouble.Error(), tokens)
	status.Phase, status.Blocked, status.Waiting = model.PhaseBlocked, reason, ""
}

// roles says what each token of the last reading is for. That provisioning works stands
// here for Entra's own test, which a reading may not make.
func roles(snapshot model.Snapshot, rec *record, now time.Time) map[string]model.TokenRole {
	if snapshot.Tokens == nil {
		return nil
	}
	if rec == nil {
		rec = &record{}
	}
	expired := func(t model.Token) bool { return t.Expired(now.Add(-expiryGrace)) }
	return rec.roles(snapshot.Tokens.Tokens, expired, works(snapshot.Job))
}

// listed are the tokens of the last reading, or those that the journal knows of.
func listed(snapshot model.Snapshot, rec *record) []model.Token {
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
func works(job *model.Job) bool {
	return job != nil && job.Quarantine == nil && job.LastCycle != nil &&
		(job.LastCycle.State == model.CycleSucceeded || job.LastCycle.State == model.CycleEntryLevelErrors)
}

// Records returns the rotations that are remembered, the open ones too, newest first.
func (e *Engine) Records() []model.RotationRecord {
	e.mu.Lock()
	books := make([]*book, 0, len(e.books))
	for _, b := range e.books {
		books = append(books, b)
	}
	e.mu.Unlock()
	var list []model.RotationRecord
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
	slices.SortFunc(list, func(a, b model.RotationRecord) int { return b.Started.Compare(a.Started) })
	return list
}
