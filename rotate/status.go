package rotate

import (
	"cmp"
	"errors"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// Status is what the metrics and pages show of a connection's rotation. It makes no
// calls: it rests on the journal and the last poll.
func (e *Engine) Status(connection string, kind model.Procedure) model.RotationStatus {
	now := time.Now()
	snapshot, _ := e.options.Snapshot(connection)
	status := model.RotationStatus{Mode: model.RotationDisabled, Phase: model.PhaseIdle, Outcomes: (*journal.Procedure)(nil).AllOutcomes()}
	e.cacheBinding(connection, snapshot.Binding)
	entry := e.Lookup(connection)
	var record *journal.Record
	var unreadable error // read once: the rotation that runs may clear it
	if entry != nil {
		record, unreadable = entry.Record(), entry.Err()
	}
	_, procedure, err := e.configured(connection, kind)
	if err == nil {
		if mode := procedure.Policy().Mode; mode != "" {
			status.Mode = mode
		}
		if status.Mode != model.RotationDisabled {
			status.Due = procedure.Due(snapshot, record, now)
		}
		procedure.Describe(&status, snapshot, record, now)
	}
	if record != nil {
		remembered := record.Procedures[kind]
		status.LastSuccess, status.Outcomes = remembered.LastSuccess, remembered.AllOutcomes()
		if err == nil {
			e.describeIdle(&status, connection, procedure, record, snapshot)
		}
		describeRotation(&status, connection, kind, record)
	}
	if unreadable != nil {
		inventory := "nothing is known of it"
		switch {
		case record != nil:
			inventory = e.inventory(snapshot, record)
		case err == nil:
			inventory = procedure.Inventory(snapshot, nil)
		}
		describeJournalError(&status, kind, connection, unreadable, inventory)
	} else if unlisted := e.listingError(); unlisted != nil && status.Mode == model.RotationEnabled && status.Blocked == "" {
		status.Waiting, status.Message = model.WaitingStoreUnavailable, connection+": "+unlisted.Error()
	}
	if snapshot.Ambiguous != "" && status.Mode != model.RotationDisabled && status.Blocked == "" && status.Started.IsZero() {
		status.Phase, status.Blocked = model.PhaseBlocked, model.BlockedAmbiguous
		status.Message = connection + " is blocked (ambiguous): " + snapshot.Ambiguous + "."
	}
	return status
}

// describeIdle shows why no rotation would start.
func (e *Engine) describeIdle(status *model.RotationStatus, connection string, procedure Procedure, record *journal.Record, snapshot model.Snapshot) {
	if record.Rotation != nil {
		return
	}
	block := func(reason model.BlockedReason, detail string) {
		status.Phase, status.Blocked = model.PhaseBlocked, reason
		status.Message = message(procedure.Kind(), connection, model.PhaseIdle, reason, detail, procedure.Inventory(snapshot, record))
	}
	due := !status.Due.IsZero() && !status.Due.After(time.Now())
	if reason, detail := e.halted(procedure, record, snapshot); reason != "" && (due || reason == model.BlockedAttemptsExhausted) && status.Mode != model.RotationDisabled {
		block(reason, detail)
	}
	if record.Restored != "" {
		block(model.BlockedStateRestored, record.Restored)
	}
}

// describeRotation shows where the rotation is, and what an operator should read.
func describeRotation(status *model.RotationStatus, connection string, kind model.Procedure, record *journal.Record) {
	rotation := record.Rotation
	if rotation == nil || rotation.Kind != kind {
		if !record.OnHold.IsZero() {
			status.Waiting = model.WaitingOnHold
		}
		return
	}
	status.Phase, status.Started, status.Waiting = rotation.Phase, rotation.Started.Local, rotation.Waiting
	approval := rotation.Waiting == model.WaitingApproval
	switch failures := rotation.Failures; {
	case !record.OnHold.IsZero():
		status.Waiting, status.Message = model.WaitingOnHold, ""
	case failures.Active(time.Now(), maxFailureGap) && (!approval || !failures.LastLogged.IsZero()):
		status.Waiting, status.Message = stalledWaiting(failures), stalledMessage(failures, connection, rotation.Phase)
	}
	if rotation.Blocked != nil {
		status.Phase, status.Waiting = model.PhaseBlocked, ""
		status.Blocked, status.Message = rotation.Blocked.Reason, rotation.Blocked.Message
	}
}

// describeJournalError shows a journal that cannot be used.
func describeJournalError(status *model.RotationStatus, kind model.Procedure, connection string, err error, inventory string) {
	reason, command := model.BlockedJournalUnreadable, ""
	switch {
	case errors.Is(err, model.ErrUnsafe): // the rotation is not blocked in the journal, so no reset is needed
		reason, command = model.BlockedStoreUnsafe, "put state.directory on a local file system and restart"
	case errors.Is(err, journal.ErrRestored):
		reason = model.BlockedStateRestored
	case !errors.Is(err, journal.ErrUnreadable):
		status.Waiting, status.Message = model.WaitingStoreUnavailable, connection+": "+err.Error()
		return
	}
	status.Message = messageWith(connection, status.Phase, reason, err.Error(), inventory, cmp.Or(command, policy.Remediation(kind, reason, connection)))
	status.Phase, status.Blocked, status.Waiting = model.PhaseBlocked, reason, ""
}
