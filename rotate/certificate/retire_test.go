package certificate

import (
	"context"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// deletedBefore journals an attempt to delete the old certificate at AWS.
func (s *scene) deletedBefore(ago time.Duration, o journal.Operation) {
	o.Target, o.Why = "entry-old", string(deleteOld)
	s.did(OperationDelete, ago, o)
}

func TestRetire(t *testing.T) {
	testStep(t, used, func(ctx context.Context, r runner) (model.Phase, error) { return retirePhase(r).run(ctx) }, []outcome{
		{"deleted", unspoiled, `retire after 30s; operations.delete.1=entry-old retire done; "deleting certificate old at AWS: done"; delete entry-old`},
		{"refused", func(s *scene) {
			s.failing["delete entry-old"] = &model.Error{Reason: model.ReasonOther, Op: "deleting", Status: 400}
		}, `retire after 30s; operations.delete.1=entry-old retire refused deleting: other; "deleting certificate old at AWS: refused: deleting: other"; delete entry-old`},
		{"no answer", func(s *scene) { s.failing["delete entry-old"] = errNoAnswer }, `retire after 30s; operations.delete.1=entry-old retire unknown no answer; "deleting certificate old at AWS: unknown: no answer"; delete entry-old`},
		{"kept for a week", func(s *scene) { s.record.Rotation.Proof.Used = s.timestamps(7*day + readGap) }, `retire after 30s; operations.delete.1=entry-old retire done; "deleting certificate old at AWS: done"; delete entry-old`},
		{"kept for less", func(s *scene) { s.record.Rotation.Proof.Used = s.timestamps(7*day + readGap - time.Minute) }, "retire after 1m0s; waiting=retire_wait"},
		{"kept for much less", func(s *scene) { s.record.Rotation.Proof.Used = s.timestamps(day) }, "retire after 1h0m0s; waiting=retire_wait"},
		{"approved after it was asked for", func(s *scene) {
			s.approve("old", time.Minute)
			s.record.Rotation.Waiting, s.record.Rotation.Asked = model.WaitingApproval, s.record.Rotation.Plan.Old.SHA256
		}, `retire after 30s; operations.delete.1=entry-old retire done; waiting=settling; "deleting certificate old at AWS: done"; delete entry-old`},
		{"the lease is lost when it is asked for", func(s *scene) {
			s.record.Rotation.Plan.TrustedBy, s.record.Rotation.Waiting = false, model.WaitingApproval
			s.loseLease("log")
		}, leaseLost + `; "corp is waiting for approval to delete certificate old at AWS; the new one is new, and users sign in since the new one is active; next: rotation approve corp old."`},
		{"not approved", func(s *scene) { s.record.Rotation.Plan.TrustedBy = false }, `retire after 15m0s; asked=old; waiting=approval; "corp is waiting for approval to delete certificate old at AWS; the new one is new, and users sign in since the new one is active; next: rotation approve corp old."`},
		{"asked before", func(s *scene) {
			s.record.Rotation.Plan.TrustedBy = false
			s.record.Rotation.Waiting, s.record.Rotation.Asked = model.WaitingApproval, s.record.Rotation.Plan.Old.SHA256
		}, "retire after 15m0s"},
		{"asked for another one before", func(s *scene) {
			s.record.Rotation.Plan.TrustedBy = false
			s.record.Rotation.Waiting, s.record.Rotation.Asked = model.WaitingApproval, "another"
		}, `retire after 15m0s; asked=old; "corp is waiting for approval to delete certificate old at AWS; the new one is new, and users sign in since the new one is active; next: rotation approve corp old."`},
		{"AWS lists it not any more", func(s *scene) { s.trust.Certificates = s.trust.Certificates[1:] }, "confirm after 30s; proof.gone=now~"},
		{"AWS lists it not any more, and has no answer later", func(s *scene) { s.trust.Certificates = s.trust.Certificates[1:]; s.failOnce("trust", 3) }, "no answer after 30s"},
		{"AWS lists it not any more, and it was approved", func(s *scene) {
			s.trust.Certificates = s.trust.Certificates[1:]
			s.approve("old", time.Hour)
		}, "confirm after 30s; no approval.at; no approval.target; proof.gone=now~"},
		{"AWS did not list it once", func(s *scene) {
			trust := s.trust.Certificates
			s.trust.Certificates = trust[1:]
			s.then["trust 2"] = func() { s.trust.Certificates = trust }
		}, "retire after 30s"},
		{"another one is active", func(s *scene) { s.activate(s.certificate("other", day, year)) }, "activation_reverted: somebody made certificate other active, instead of certificate new after 30s"},
		{"more fail", func(s *scene) { s.aws.Failures = 4 }, `retire; repair.began=now~; repair.detail=more sign-ins fail since 1999-12-23 00:01 UTC than before; repair.kind=rollback; repair.reason=sign_in_failing; "more sign-ins fail since 1999-12-23 00:01 UTC than before: rollback"`},
		{"the guard's condition is not met", func(s *scene) { s.slow = 2 * time.Minute }, "retire after 3m30s; waiting=settling"},
		{"the guard refuses", func(s *scene) { s.record.Rotation.Plan.Trusted = nil }, "foreign_certificate: certificate old is not the one that was written down after 30s"},
		{"done a quarter of an hour before", func(s *scene) { s.deletedBefore(15*time.Minute, journal.Operation{Outcome: model.CallDone}) }, `retire after 30s; operations.delete.2=entry-old retire done; "deleting certificate old at AWS: done"; delete entry-old`},
		{"done later", func(s *scene) { s.deletedBefore(15*time.Minute-1, journal.Operation{Outcome: model.CallDone}) }, "retire after 1m0s; waiting=settling"},
		{"refused twice", func(s *scene) {
			for range 2 {
				s.deletedBefore(time.Minute, refusedFor(model.ReasonOther, ""))
			}
		}, `retire after 30s; operations.delete.3=entry-old retire done; "deleting certificate old at AWS: done"; delete entry-old`},
		{"refused three times", func(s *scene) {
			for range 3 {
				s.deletedBefore(time.Minute, refusedFor(model.ReasonOther, ""))
			}
		}, "delete_refused: the old certificate old was not deleted at AWS: refused: denied after 30s"},
		{"forbidden three times", func(s *scene) {
			for range 3 {
				s.deletedBefore(time.Minute, refusedFor(model.ReasonPermission, ""))
			}
		}, "permission: the old certificate old was not deleted at AWS: refused: denied after 30s"},
		{"no reading", func(s *scene) { s.failing["entra"] = errNoAnswer }, "no answer"},
		{"no clock", func(s *scene) { s.noDate = true }, "reading AWS's clock: invalid_response: AWS's answer had no date"},
	})
}

func TestConfirm(t *testing.T) {
	testStep(t, gone, func(ctx context.Context, r runner) (model.Phase, error) { return confirmPhase(r).run(ctx) }, []outcome{
		{"exclusive", unspoiled, `idle; ended=done exclusive; last_end=now; last_success=now; outcomes.done=1; trust=now; "users sign in without the old certificate (CloudTrail): exclusive"; "outcome: done"`},
		{"exclusive by Entra's log", func(s *scene) {
			s.record.Rotation.Plan.Accepted.Available, s.aws, s.entra = false, model.SignIns{}, signIns(3, 2, 0)
		}, `idle; ended=done exclusive; last_end=now; last_success=now; outcomes.done=1; "users sign in without the old certificate (Entra's sign-in log): exclusive"; "outcome: done"`},
		{"after two failed rollovers", func(s *scene) { s.record.Procedures[model.ProcedureCertificate].Attempts = 2 }, `idle; ended=done exclusive; last_end=now; last_success=now; no attempts; outcomes.done=1; trust=now; "users sign in without the old certificate (CloudTrail): exclusive"; "outcome: done"`},
		{"approved since", func(s *scene) { s.aws = signIns(0, 0, 0); s.approve("old", time.Minute) }, `idle; ended=done exclusive; last_end=now; last_success=now; outcomes.done=1; "users sign in without the old certificate (an operator): exclusive"; "outcome: done"`},
		{"nobody", func(s *scene) { s.aws = signIns(0, 0, 0) }, "confirm after 5m0s; waiting=proof_pending"},
		{"no log for two hours", func(s *scene) {
			s.withoutLogs()
			s.record.Rotation.Proof.Gone = s.timestamps(2*time.Hour + readGap)
		}, `confirm after 15m0s; asked=old; waiting=approval; "corp is waiting for approval to end: AWS trusts certificate new alone, and no log can be read that shows whether users sign in (allow cloudtrail:LookupEvents, or grant AuditLog.Read.All with Entra ID P1); next: rotation approve corp old."`},
		{"no log for two hours, and asked for the deletion before", func(s *scene) {
			s.withoutLogs()
			s.record.Rotation.Proof.Gone, s.record.Rotation.Asked = s.timestamps(2*time.Hour+readGap), s.record.Rotation.Plan.Old.SHA256
		}, `confirm after 15m0s; waiting=approval; "corp is waiting for approval to end: AWS trusts certificate new alone, and no log can be read that shows whether users sign in (allow cloudtrail:LookupEvents, or grant AuditLog.Read.All with Entra ID P1); next: rotation approve corp old."`},
		{"no log for less", func(s *scene) {
			s.withoutLogs()
			s.record.Rotation.Proof.Gone = s.timestamps(2*time.Hour + readGap - 1)
		}, "confirm after 5m0s; waiting=proof_pending"},
		{"nobody for two hours", func(s *scene) {
			s.aws = signIns(0, 0, 0)
			s.record.Rotation.Proof.Gone = s.timestamps(2*time.Hour + readGap)
		}, "confirm after 15m0s; waiting=proof_pending"},
		{"AWS trusts the old one again", func(s *scene) { s.trust.Certificates = append(s.trust.Certificates, listed(s.certificates[0])) }, "foreign_certificate: somebody made AWS trust the old certificate old again after 30s"},
		{"AWS trusts the old one again, and has no answer later", func(s *scene) {
			s.trust.Certificates = append(s.trust.Certificates, listed(s.certificates[0]))
			s.failOnce("trust", 3)
		}, "no answer after 30s"},
		{"AWS trusts the old one again, and the lease is lost", func(s *scene) {
			s.trust.Certificates = append(s.trust.Certificates, listed(s.certificates[0]))
			s.record.Rotation.Waiting = model.WaitingOnHold
			s.loseLease("entra")
		}, leaseLost},
		{"AWS listed it once", func(s *scene) {
			trust := s.trust.Certificates
			s.trust.Certificates = append(trust[:1:1], listed(s.certificates[0]))
			s.then["trust 2"] = func() { s.trust.Certificates = trust }
		}, `idle after 30s; ended=done exclusive; last_end=now; last_success=now; outcomes.done=1; trust=now; "users sign in without the old certificate (CloudTrail): exclusive"; "outcome: done"`},
		{"more fail", func(s *scene) { s.aws.Failures = 4 }, `confirm; repair.began=now~; repair.detail=more sign-ins fail since 1999-12-31 23:11 UTC than before; repair.kind=reimport; repair.reason=sign_in_failing; "more sign-ins fail since 1999-12-31 23:11 UTC than before: reimport"`},
		{"another one is active", func(s *scene) { s.activate(s.certificate("other", day, year)) }, "activation_reverted: somebody made certificate other active, instead of certificate new after 30s"},
		{"the log has no answer", func(s *scene) { s.failing["log"] = errNoAnswer }, "no answer"},
		{"the log has no answer later", func(s *scene) { s.failOnce("log", 2) }, "no answer"},
		{"no reading", func(s *scene) { s.failing["entra"] = errNoAnswer }, "no answer"},
		{"no clock", func(s *scene) { s.noDate = true }, "reading AWS's clock: invalid_response: AWS's answer had no date"},
	})
}
