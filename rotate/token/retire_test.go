package token

import (
	"context"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

func retire(ctx context.Context, r runner) (model.Phase, error) { return retirePhase(r).run(ctx) }

// deletions are the deletions of the old token so far.
func deletions(outcomes ...model.CallOutcome) func(*scene) {
	return func(s *scene) {
		for i, outcome := range outcomes {
			deletion := journal.Operation{Number: i + 1, Target: "old", Intent: s.aged(time.Hour), Outcome: outcome, Answered: s.aged(time.Hour)}
			s.record.Rotation.Operations[OperationDelete] = append(s.record.Rotation.Operations[OperationDelete], deletion)
		}
	}
}

// The old token is deleted when all that speaks against it is looked at.
func TestRetire(t *testing.T) {
	testStep(t, func() *scene { return newScene(deleteRetire) }, retire, []outcome{
		{"it is deleted", func(*scene) {}, `retire after 20s; operations.delete.1=old retire done; "deleted token old (created 1999-03-07 00:01 UTC, expires 2000-03-06 00:01 UTC) (retire)"; delete old`},
		{"no list", func(s *scene) { s.failing["list"] = errNoAnswer }, "no answer"},
		{"it is gone already", func(s *scene) {
			s.list.Tokens = s.list.Tokens[1:]
			s.record.Rotation.Proof.Propagated = s.aged(time.Hour)
		}, "confirm after 10s; no proof.propagated; proof.gone=now~"},
		{"it was to be deleted, and Entra's test fails", func(s *scene) { deletions("")(s); s.test = model.TestFailed }, `switch after 10s; no proof.level; no proof.put; no proof.stored; no proof.used; pending_put=recovery; rate_limit.recoveries.1=1m0s; recoveries=1; "without the old token Entra's test of the saved credentials fails: recovery"; "recovery: saving token new to Entra once more"`},
		{"it was to be deleted, and Entra does not test", func(s *scene) {
			deletions("")(s)
			s.test, s.failing["test"] = model.TestUnavailable, errNoAnswer
		}, "no answer"},
		{"its deletion was refused, and Entra's test fails", func(s *scene) { deletions(model.CallRefused)(s); s.test = model.TestFailed }, `switch after 5m20s; no proof.level; no proof.put; no proof.stored; no proof.used; pending_put=recovery; rate_limit.recoveries.1=1m0s; recoveries=1; "recovery: saving token new to Entra once more"`},
		{"AWS's clock is unknown", func(s *scene) { s.noDate = true }, "reading AWS's clock: invalid_response: AWS's answer had no date after 10s"},
		{"the job cannot be read", func(s *scene) { s.failing["job"] = errNoAnswer }, "no answer after 10s"},
		{"the job is stopped", func(s *scene) { s.job.Status = model.JobPaused }, `retire after 5m10s; job_stopped=-5m0s; waiting=job_stopped_briefly; "the provisioning job is stopped (paused, schedule ); waiting until an operator starts it"`},
		{"the job is stopped for a day", func(s *scene) { s.job.Status, s.record.Rotation.JobStopped = model.JobPaused, s.ago(25*time.Hour) }, "job_stopped: the provisioning job is stopped since 1999-12-30 23:00 UTC (paused, schedule ), so nothing can be proven after 10s"},
		{"the audit log does not answer", func(s *scene) { s.failing["application"] = errNoAnswer }, "no answer after 10s"},
		{"AWS refuses what is saved", func(s *scene) {
			s.record.Rotation.Proof.Stored = s.aged(3 * time.Hour)
			s.job.Quarantine = &model.Quarantine{CurrentBegan: s.ago(time.Hour)}
		}, `switch after 10s; no proof.level; no proof.put; no proof.stored; no proof.used; pending_put=switch; proof_restarts=1; "the provisioning job went into quarantine for its credentials on 1999-12-31 23:00 UTC; saving the new token once more"`},
		{"the values cannot be listed", func(s *scene) { s.failing["values"] = errNoAnswer }, "listing the token store: no answer after 10s"},
		{"the first of two is gone", func(s *scene) {
			s.plan(s.created("older", 301*day), s.list.Tokens[0])
		}, `retire after 20s; operations.delete.1=old retire done; "deleted token old (created 1999-03-07 00:01 UTC, expires 2000-03-06 00:01 UTC) (retire)"; delete old`},
	})
}

// A deletion waits for the retention time, for CloudTrail and for an operator.
func TestRetireWaits(t *testing.T) {
	used := func(ago time.Duration) func(*scene) {
		return func(s *scene) { s.record.Rotation.Proof.Used = s.aged(ago) }
	}
	undecided := func(s *scene) {
		s.options.CloudTrail = s
		s.record.Rotation.Proof.Stored = s.aged(2 * time.Hour)
		s.record.Rotation.Proof.Probes = []journal.Timestamps{s.aged(110 * time.Minute), s.aged(100 * time.Minute)}
	}
	unapproved := func(s *scene) { s.record.Rotation.Approval = nil }
	expired := func(s *scene) {
		s.list.Tokens[0] = s.created("old", year+2*time.Hour)
		s.plan(s.list.Tokens[0])
		unapproved(s)
	}
	testStep(t, func() *scene { return newScene(deleteRetire) }, func(ctx context.Context, r runner) (model.Phase, error) {
		r.AWS.Set(time.Now().Add(skew))
		s := r.options.Provisioning.(*scene)
		return retirePhase(r).waitOrRetire(ctx, s.job, r.rotation().oldTokens()[0])
	}, []outcome{
		{"it was used almost long enough ago", used(75*time.Minute - 1), "retire after 1ns; waiting=retire_wait"},
		{"it was used long enough ago", used(75 * time.Minute), `retire after 10s; operations.delete.1=old retire done; "deleted token old (created 1999-03-07 00:01 UTC, expires 2000-03-06 00:01 UTC) (retire)"; delete old`},
		{"it is used for an hour", used(time.Hour), "retire after 15m0s; waiting=retire_wait"},
		{"it is kept longer", func(s *scene) { used(76 * time.Minute)(s); s.options.Policy.RetireAfter = 90 * time.Minute }, "retire after 14m0s; waiting=retire_wait"},
		{"the process stops", func(s *scene) { used(time.Hour)(s); s.stopped = 50 * time.Second }, "context canceled after 50s; waiting=retire_wait"},
		{"CloudTrail shows another token", func(s *scene) {
			undecided(s)
			s.record.Rotation.Proof.Stored = s.aged(3 * time.Hour)
			s.calls = []model.SCIMCall{
				s.calledAgo(26*time.Hour, "old", "entra"),
				s.calledAgo(110*time.Minute, "new", "entra-aws-exporter/1"),
				s.calledAgo(100*time.Minute, "new", "entra-aws-exporter/1"),
				s.calledAgo(20*time.Minute, "old", "entra"),
			}
		}, `switch; no proof.level; no proof.probes.1; no proof.probes.2; no proof.put; no proof.stored; no proof.used; pending_put=switch; proof_restarts=1; "CloudTrail shows Entra using another token; saving the new token once more"`},
		{"CloudTrail may still show another", func(s *scene) { undecided(s); s.put().Why = PutInitial }, "retire after 15m0s; waiting=retire_wait"},
		{"CloudTrail is not read", func(s *scene) { s.put().Why = PutInitial }, `retire after 17m0s; in_use=new; operations.put.2=new before_delete done; own_saves.1=-17m0s; own_saves.2=-17m0s; proof.put=2; proof.stored=-15m0s; waiting=settling; "saved token new to Entra (before_delete): done"; save SecretToken=new-value`},
		{"it was saved again since", undecided, `retire after 10s; operations.delete.1=old retire done; "deleted token old (created 1999-03-07 00:01 UTC, expires 2000-03-06 00:01 UTC) (retire)"; delete old`},
		{"an operator is asked", unapproved, `retire after 15m0s; asked=old; waiting=approval; "corp is waiting for approval to delete token old (created 1999-03-07 00:01 UTC, expires 2000-03-06 00:01 UTC); the new token is new (created 1999-12-31 20:01 UTC, expires 2000-12-30 20:01 UTC), and a provisioning cycle passed, though nothing was provisioned in it; next: rotation approve corp old."`},
		{"an operator was asked", func(s *scene) {
			unapproved(s)
			s.record.Rotation.Asked, s.record.Rotation.Waiting = "old", model.WaitingApproval
		}, "retire after 15m0s"},
		{"another was asked for", func(s *scene) {
			unapproved(s)
			s.record.Rotation.Asked, s.record.Rotation.Waiting = "older", model.WaitingApproval
		}, `retire after 15m0s; asked=old; "corp is waiting for approval to delete token old (created 1999-03-07 00:01 UTC, expires 2000-03-06 00:01 UTC); the new token is new (created 1999-12-31 20:01 UTC, expires 2000-12-30 20:01 UTC), and a provisioning cycle passed, though nothing was provisioned in it; next: rotation approve corp old."`},
		{"another was asked for, and the lease is lost", func(s *scene) {
			unapproved(s)
			s.record.Rotation.Asked, s.record.Rotation.Waiting = "older", model.WaitingApproval
			s.then["list 1"] = s.takeOver
		}, `the lease is lost to another; "corp is waiting for approval to delete token old (created 1999-03-07 00:01 UTC, expires 2000-03-06 00:01 UTC); the new token is new (created 1999-12-31 20:01 UTC, expires 2000-12-30 20:01 UTC), and a provisioning cycle passed, though nothing was provisioned in it; next: rotation approve corp old."`},
		{"it was asked for, and is not any more", func(s *scene) {
			unapproved(s)
			s.record.Rotation.Asked, s.record.Rotation.Waiting = "old", model.WaitingSettling
		}, `retire after 15m0s; waiting=approval; "corp is waiting for approval to delete token old (created 1999-03-07 00:01 UTC, expires 2000-03-06 00:01 UTC); the new token is new (created 1999-12-31 20:01 UTC, expires 2000-12-30 20:01 UTC), and a provisioning cycle passed, though nothing was provisioned in it; next: rotation approve corp old."`},
		{"users were provisioned", func(s *scene) { unapproved(s); s.record.Rotation.Proof.Strong = true }, `retire after 15m0s; asked=old; waiting=approval; "corp is waiting for approval to delete token old (created 1999-03-07 00:01 UTC, expires 2000-03-06 00:01 UTC); the new token is new (created 1999-12-31 20:01 UTC, expires 2000-12-30 20:01 UTC), and users were provisioned with what is saved now; next: rotation approve corp old."`},
		{"the lease is lost", func(s *scene) { unapproved(s); s.then["list 1"] = s.takeOver }, `the lease is lost to another; "corp is waiting for approval to delete token old (created 1999-03-07 00:01 UTC, expires 2000-03-06 00:01 UTC); the new token is new (created 1999-12-31 20:01 UTC, expires 2000-12-30 20:01 UTC), and a provisioning cycle passed, though nothing was provisioned in it; next: rotation approve corp old."`},
		{"it has expired", expired, `retire after 10s; operations.delete.1=old expired done; proof.attributed=-10s~; proof.attributed_by=circumstance; proof.level=attributed; "Entra uses the new token (circumstance): attributed"; "deleted token old (created 1998-12-31 22:01 UTC, expires 1999-12-31 22:01 UTC) (expired)"; delete old`},
		{"it has expired, and a third is listed", func(s *scene) { expired(s); s.list.Tokens = append(s.list.Tokens, s.created("third", day)) }, `retire after 10s; operations.delete.1=old expired done; "deleted token old (created 1998-12-31 22:01 UTC, expires 1999-12-31 22:01 UTC) (expired)"; delete old`},
		{"it has expired, and each deletion is asked for", func(s *scene) { expired(s); s.options.Policy.Approval = model.ApprovalAlways }, `retire after 15m0s; asked=old; proof.attributed=-15m0s~; proof.attributed_by=circumstance; proof.level=attributed; waiting=approval; "Entra uses the new token (circumstance): attributed"; "corp is waiting for approval to delete token old (created 1998-12-31 22:01 UTC, expires 1999-12-31 22:01 UTC); the new token is new (created 1999-12-31 20:01 UTC, expires 2000-12-30 20:01 UTC), and a provisioning cycle passed, though nothing was provisioned in it; next: rotation approve corp old."`},
	})
}

// Before the deletion the new token is saved once more, found stored, and used.
func TestRetireSavesAgain(t *testing.T) {
	saved := func(ago time.Duration) func(*scene) {
		return func(s *scene) {
			s.put().Answered = s.aged(ago)
			s.record.Rotation.Proof.Stored = s.aged(ago - 2*time.Minute) // after the save
		}
	}
	failing := func(count int, over time.Duration) func(*scene) {
		return func(s *scene) {
			puts := &s.record.Rotation.Operations
			(*puts)[OperationPut] = nil
			for i := range count {
				at := s.aged(over * time.Duration(count-1-i) / time.Duration(count-1))
				(*puts)[OperationPut] = append((*puts)[OperationPut], journal.Operation{Number: i + 1, Target: "new", Why: PutBeforeDelete, Intent: at, Outcome: model.CallRefused, Error: "denied"})
			}
			s.failing["save SecretToken=new-value"] = errNoAnswer
		}
	}
	scenes := func() *scene {
		s := newScene(deleteRetire)
		s.options.Policy.VerifyTimeout = day
		return s
	}
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) {
		r.AWS.Set(time.Now().Add(skew))
		s := r.options.Provisioning.(*scene)
		return retirePhase(r).retire(ctx, s.job, r.rotation().oldTokens()[0])
	}, []outcome{
		{"it was saved lately", func(*scene) {}, `retire after 10s; operations.delete.1=old retire done; "deleted token old (created 1999-03-07 00:01 UTC, expires 2000-03-06 00:01 UTC) (retire)"; delete old`},
		{"it was saved for another reason", func(s *scene) { s.put().Why = PutInitial }, `retire after 17m0s; in_use=new; operations.put.2=new before_delete done; own_saves.1=-17m0s; own_saves.2=-17m0s; proof.put=2; proof.stored=-15m0s; waiting=settling; "saved token new to Entra (before_delete): done"; save SecretToken=new-value`},
		{"the save was refused", func(s *scene) { s.put().Outcome = model.CallRefused }, `retire after 17m0s; in_use=new; operations.put.2=new before_delete done; own_saves.1=-17m0s; own_saves.2=-17m0s; proof.put=2; proof.stored=-15m0s; waiting=settling; "saved token new to Entra (before_delete): done"; save SecretToken=new-value`},
		{"it was saved long ago", saved(175*time.Minute + 1), `retire after 17m0s; in_use=new; operations.put.2=new before_delete done; own_saves.1=-17m0s; own_saves.2=-17m0s; proof.put=2; proof.stored=-15m0s; waiting=settling; "saved token new to Entra (before_delete): done"; save SecretToken=new-value`},
		{"it was saved almost too long ago", saved(175 * time.Minute), "retire after 1m10s; waiting=settling"},
		{"no cycle since the save", func(s *scene) { s.job.LastCycle = nil }, "retire after 5m0s; proof.waited=5m0s; waiting=proof_pending"},
		{"a cycle took long, and it was saved almost too long ago", func(s *scene) {
			saved(215 * time.Minute)(s)
			s.job.LastCycle.Began = s.job.LastCycle.Ended.Add(-time.Hour)
		}, "retire after 1m0s; waiting=settling"},
		{"a cycle took long, and it was saved too long ago", func(s *scene) {
			saved(215*time.Minute + 1)(s)
			s.job.LastCycle.Began = s.job.LastCycle.Ended.Add(-time.Hour)
		}, `retire after 17m0s; in_use=new; operations.put.2=new before_delete done; own_saves.1=-17m0s; own_saves.2=-17m0s; proof.put=2; proof.stored=-15m0s; waiting=settling; "saved token new to Entra (before_delete): done"; save SecretToken=new-value`},
		{"saving fails", func(s *scene) { s.put().Why, s.failing["save SecretToken=new-value"] = PutInitial, errNoAnswer }, `retire after 1m0s; operations.put.2=new before_delete unknown no answer; own_saves.1=-1m0s; waiting=settling; "saved token new to Entra (before_delete): unknown: no answer"; save SecretToken=new-value`},
		{"saving fails for an hour", failing(6, time.Hour), "switch_failed: token new could not be saved once more before the old one is deleted: denied"},
		{"saving fails for almost an hour", failing(6, time.Hour-5), `retire after 8m0s; operations.put.7=new before_delete unknown no answer; own_saves.1=-8m0s; waiting=settling; "saved token new to Entra (before_delete): unknown: no answer"; save SecretToken=new-value`},
		{"saving failed for an hour, was done, and fails once", func(s *scene) {
			failing(8, 4*time.Hour)(s)
			s.record.Rotation.Operations[OperationPut][6].Outcome = model.CallDone
		}, `retire after 2m0s; operations.put.9=new before_delete unknown no answer; own_saves.1=-2m0s; waiting=settling; "saved token new to Entra (before_delete): unknown: no answer"; save SecretToken=new-value`},
		{"saving failed for an hour before a reset", func(s *scene) {
			failing(6, time.Hour)(s)
			s.record.Rotation.ResetCount = 1
		}, `retire after 1m0s; operations.put.7=new before_delete unknown no answer; own_saves.1=-1m0s; waiting=settling; "saved token new to Entra (before_delete): unknown: no answer"; save SecretToken=new-value`},
		{"the value is lost", func(s *scene) { s.put().Why, s.values = PutInitial, nil }, "token_value_lost: the token store does not have the value of token new"},
		{"it is saved, and Entra's test fails", func(s *scene) { s.put().Why, s.test = PutInitial, model.TestFailed }, `switch after 15m0s; failed_put=2; operations.put.2=new before_delete done; own_saves.1=-15m0s; own_saves.2=-15m0s; waiting=settling; "saved token new to Entra (before_delete): done"; save SecretToken=new-value`},
		{"it is saved, and the process stops", func(s *scene) { s.put().Why, s.stopped = PutInitial, 50*time.Second }, `context canceled after 50s; operations.put.2=new before_delete done; own_saves.1=-50s; own_saves.2=-50s; waiting=settling; "saved token new to Entra (before_delete): done"; save SecretToken=new-value`},
		{"Entra may use what it read before", saved(67*time.Minute - 1), "retire after 15m0s; waiting=settling"},
		{"it may not", saved(67 * time.Minute), `retire after 10s; operations.delete.1=old retire done; "deleted token old (created 1999-03-07 00:01 UTC, expires 2000-03-06 00:01 UTC) (retire)"; delete old`},
		{"the last cycle began before", func(s *scene) { s.job.LastCycle.Began = s.ago(80 * time.Minute) }, "retire after 5m0s; proof.waited=5m0s; waiting=proof_pending"},
		{"a cycle may be running", func(s *scene) { s.job.LastCycle.Began = s.ago(50 * time.Minute) }, "retire after 1m0s; waiting=settling"},
		{"the old token has expired", func(s *scene) {
			s.list.Tokens[0] = s.created("old", year+2*time.Hour)
			s.plan(s.list.Tokens[0])
			saved(time.Hour)(s)
		}, `retire after 10s; operations.delete.1=old expired done; "deleted token old (created 1998-12-31 22:01 UTC, expires 1999-12-31 22:01 UTC) (expired)"; delete old`},
		{"it is gone", func(s *scene) { s.list.Tokens = s.list.Tokens[1:] }, "retire after 10s"},
		{"something is missing yet", func(s *scene) { s.record.Rotation.Proof.Level = model.ProofStored }, "retire after 1m10s; waiting=settling"},
		{"something is wrong", func(s *scene) { s.list.Tokens[0].Created = s.ago(200 * day) }, "foreign_token: token old is not the one that was written down after 10s"},
		{"its deletion is refused", func(s *scene) {
			s.failing["delete old"] = &model.Error{Reason: model.ReasonPermission, Status: 403, Op: "deleting"}
		}, `retire after 1m10s; operations.delete.1=old retire refused deleting: permission; waiting=settling; "token old: deletion refused: deleting: permission"; delete old`},
	})
}
