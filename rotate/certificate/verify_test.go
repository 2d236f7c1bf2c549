package certificate

import (
	"context"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// justActive is a scene in which the new certificate has been active for three hours.
func justActive() *scene {
	s := active()
	s.activatedSince(3 * time.Hour)
	return s
}

// activatedSince is how long the new certificate has been active and stored.
func (s *scene) activatedSince(ago time.Duration) {
	s.record.Rotation.Operations[OperationActivate][0].Intent = s.timestamps(ago)
	s.record.Rotation.Proof.Stored = s.timestamps(ago)
}

// withoutLogs is a scene that has no log of sign-ins.
func (s *scene) withoutLogs() {
	s.record.Rotation.Plan.Accepted.Available, s.aws, s.entra = false, model.SignIns{}, model.SignIns{}
}

func signIns(successes, users, failures int) model.SignIns {
	return model.SignIns{Successes: successes, Users: users, Failures: failures, Available: true}
}

func TestVerify(t *testing.T) {
	testStep(t, justActive, func(ctx context.Context, r runner) (model.Phase, error) { return verifyPhase(r).run(ctx) }, []outcome{
		{"used", func(s *scene) { s.aws = signIns(3, 2, 0) }, `retire; proof.level=used; proof.used=now~; proof.used_by=CloudTrail; "users sign in with what Entra issues now (CloudTrail): used"`},
		{"three sign-ins of one user", func(s *scene) { s.aws = signIns(3, 1, 0) }, "verify after 15m0s; waiting=proof_pending"},
		{"three sign-ins of the only user", func(s *scene) {
			s.record.Rotation.Plan.Accepted.Users = 1
			s.aws = signIns(3, 1, 0)
		}, `retire; proof.level=used; proof.used=now~; proof.used_by=CloudTrail; "users sign in with what Entra issues now (CloudTrail): used"`},
		{"two sign-ins", func(s *scene) { s.aws = signIns(2, 2, 0) }, "verify after 15m0s; waiting=proof_pending"},
		{"nobody for an hour", func(s *scene) { s.activatedSince(time.Hour + readGap) }, "verify after 5m0s; waiting=proof_pending"},
		{"used for an hour", func(s *scene) { s.activatedSince(time.Hour + readGap); s.aws = signIns(3, 2, 0) }, `retire; proof.level=used; proof.used=now~; proof.used_by=CloudTrail; "users sign in with what Entra issues now (CloudTrail): used"`},
		{"used for less", func(s *scene) { s.activatedSince(time.Hour + readGap - 1); s.aws = signIns(3, 2, 0) }, "verify after 5m0s; waiting=proof_pending"},
		{"nobody for two hours", func(s *scene) { s.activatedSince(2*time.Hour + readGap) }, "verify after 15m0s; waiting=proof_pending"},
		{"nobody for almost two hours", func(s *scene) { s.activatedSince(2*time.Hour + readGap - 1) }, "verify after 5m0s; waiting=proof_pending"},
		{"no log", (*scene).withoutLogs, `verify after 15m0s; asked=old; waiting=approval; "corp is waiting for approval to delete certificate old at AWS; the new one is new, and no log can be read that shows whether users sign in (allow cloudtrail:LookupEvents, or grant AuditLog.Read.All with Entra ID P1); next: rotation approve corp old."`},
		{"CloudTrail cannot be read any more", func(s *scene) { s.aws = model.SignIns{} }, `verify after 15m0s; asked=old; waiting=approval; "corp is waiting for approval to delete certificate old at AWS; the new one is new, and CloudTrail, which shows whether users sign in, cannot be read any more (allow cloudtrail:LookupEvents); next: rotation approve corp old."`},
		{"no log, and less than two hours", func(s *scene) {
			s.activatedSince(time.Hour)
			s.withoutLogs()
		}, "verify after 5m0s; waiting=proof_pending"},
		{"asked before", func(s *scene) {
			s.withoutLogs()
			s.record.Rotation.Waiting, s.record.Rotation.Asked = model.WaitingApproval, s.record.Rotation.Plan.Old.SHA256
		}, "verify after 15m0s"},
		{"only Entra's log", func(s *scene) {
			s.record.Rotation.Plan.Accepted.Available, s.aws, s.entra = false, model.SignIns{}, signIns(3, 2, 0)
		}, `retire; proof.level=used; proof.used=now~; proof.used_by=Entra's sign-in log; "users sign in with what Entra issues now (Entra's sign-in log): used"`},
		{"approved since", func(s *scene) { s.approve("old", time.Hour) }, `retire; proof.level=used; proof.used=now~; proof.used_by=an operator; "users sign in with what Entra issues now (an operator): used"`},
		{"another approved", func(s *scene) { s.approve("new", time.Hour) }, "verify after 15m0s; waiting=proof_pending"},
		{"more fail", func(s *scene) { s.aws = signIns(3, 2, 4) }, `verify; repair.began=now~; repair.detail=more sign-ins fail since 1999-12-31 21:01 UTC than before; repair.kind=rollback; repair.reason=sign_in_failing; "more sign-ins fail since 1999-12-31 21:01 UTC than before: rollback"`},
		{"approved, and more fail", func(s *scene) { s.approve("old", time.Hour); s.aws = signIns(3, 2, 4) }, `verify; repair.began=now~; repair.detail=more sign-ins fail since 1999-12-31 21:01 UTC than before; repair.kind=rollback; repair.reason=sign_in_failing; "more sign-ins fail since 1999-12-31 21:01 UTC than before: rollback"`},
		{"the log has no answer", func(s *scene) { s.failing["log"] = errNoAnswer }, "no answer"},
		{"the log has no answer at first", func(s *scene) { s.failOnce("log", 1); s.aws = signIns(3, 2, 0) }, "no answer"},
		{"the log has no answer later", func(s *scene) { s.failOnce("log", 3); s.aws = signIns(3, 2, 0) }, "no answer"},
		{"no reading", func(s *scene) { s.failing["entra"] = errNoAnswer }, "no answer"},
		{"no clock", func(s *scene) { s.noDate = true }, "reading AWS's clock: invalid_response: AWS's answer had no date"},
	})
}

func TestHealth(t *testing.T) {
	check := func(ctx context.Context, r runner) (model.Phase, error) {
		h := health(r)
		s, err := h.readSides(ctx)
		if err != nil {
			return "", err
		}
		if repairing, err := h.check(ctx, s); repairing || err != nil {
			return "repairing", err
		}
		return "healthy", nil
	}
	testStep(t, active, check, []outcome{
		{"healthy", unspoiled, "healthy"},
		{"AWS does not trust it", func(s *scene) { s.trust.Certificates = s.trust.Certificates[:1] }, `repairing after 30s; repair.began=now~; repair.detail=AWS does not list the new certificate new any more; repair.kind=rollback; repair.reason=foreign_certificate; "AWS does not list the new certificate new any more: rollback"`},
		{"AWS did not list it once", func(s *scene) {
			trust := s.trust.Certificates
			s.trust.Certificates = trust[:1]
			s.then["trust 2"] = func() { s.trust.Certificates = trust }
		}, "healthy after 30s"},
		{"AWS trusts none", func(s *scene) { s.trust.Certificates = nil }, "foreign_certificate: AWS does not list the new certificate new any more, and there is no other certificate that AWS trusts and Entra could sign with after 30s"},
		{"AWS trusts none, after a deletion", func(s *scene) {
			s.trust.Certificates = nil
			s.did(OperationDelete, time.Hour, journal.Operation{Target: "entry-old", Why: string(deleteOld), Outcome: model.CallUnknown})
		}, `repairing after 30s; repair.began=now~; repair.detail=AWS does not list the new certificate new any more; repair.kind=reimport; repair.reason=foreign_certificate; "AWS does not list the new certificate new any more: reimport"`},
		{"Entra does not list it", func(s *scene) { s.signing.Certificates = s.signing.Certificates[:1] }, `repairing after 30s; repair.began=now~; repair.detail=Entra does not list the new certificate new with its private key any more; repair.kind=rollback; repair.reason=foreign_certificate; "Entra does not list the new certificate new with its private key any more: rollback"`},
		{"Entra does not list it after the deletion", func(s *scene) {
			s.signing.Certificates, s.trust.Certificates = s.signing.Certificates[:1], s.trust.Certificates[1:]
			s.did(OperationDelete, time.Hour, journal.Operation{Target: "entry-old", Why: string(deleteOld), Outcome: model.CallDone})
		}, `repairing after 30s; repair.began=now~; repair.detail=Entra does not list the new certificate new with its private key any more; repair.kind=reimport; repair.reason=foreign_certificate; "Entra does not list the new certificate new with its private key any more: reimport"`},
		{"Entra did not list it in one reading", func(s *scene) {
			both := s.signing.Certificates
			s.signing.Certificates = both[:1]
			s.then["entra 2"] = func() { s.signing.Certificates = both }
		}, "healthy after 30s"},
		{"AWS trusts the old one, which has expired", func(s *scene) { s.trust.Certificates = s.trust.Certificates[:1]; s.oldValidFor(-2 * time.Hour) }, "foreign_certificate: AWS does not list the new certificate new any more, and there is no other certificate that AWS trusts and Entra could sign with after 30s"},
		{"the old one is active for 45 minutes", func(s *scene) {
			s.activatedSince(45*time.Minute + readGap)
			s.signing.ActiveThumbprint = s.certificates[0].Thumbprint
		}, "activation_reverted: somebody made certificate old active, instead of certificate new after 30s"},
		{"the old one is active for less", func(s *scene) {
			s.activatedSince(45*time.Minute + readGap - 1)
			s.signing.ActiveThumbprint = s.certificates[0].Thumbprint
		}, "healthy"},
		{"the old one was active in one reading", func(s *scene) {
			s.signing.ActiveThumbprint = s.certificates[0].Thumbprint
			s.then["entra 2"] = func() { s.signing.ActiveThumbprint = s.certificates[1].Thumbprint }
		}, "healthy after 30s"},
		{"another one is active", func(s *scene) { s.activatedSince(time.Minute); s.activate(s.certificate("other", day, year)) }, "activation_reverted: somebody made certificate other active, instead of certificate new after 30s"},
		{"another one is active, and no answer later", func(s *scene) { s.activate(s.certificate("other", day, year)); s.failOnce("trust", 3) }, "no answer after 30s"},
		{"AWS does not trust it, and has no answer later", func(s *scene) { s.trust.Certificates = s.trust.Certificates[:1]; s.failOnce("trust", 3) }, "no answer after 30s"},
		{"AWS does not trust it, and the old one is active later", func(s *scene) {
			s.trust.Certificates = s.trust.Certificates[:1]
			s.then["entra 2"] = func() { s.signing.ActiveThumbprint = s.certificates[0].Thumbprint }
		}, "healthy after 30s"},
		{"another sign-on mode", func(s *scene) { s.signing.SSOMode = "password" }, `wrong_sso_mode: the application's single sign-on mode is "password", not "saml" after 30s`},
		{"another sign-on mode, and no answer later", func(s *scene) { s.signing.SSOMode = "password"; s.failOnce("trust", 3) }, "no answer after 30s"},
		{"another sign-on mode once", func(s *scene) {
			s.signing.SSOMode = "password"
			s.then["entra 2"] = func() { s.signing.SSOMode = model.SingleSignOnSAML }
		}, "healthy after 30s"},
		{"two fail", func(s *scene) { s.aws = signIns(0, 0, 2) }, "healthy"},
		{"three fail", func(s *scene) { s.aws = signIns(0, 0, 3) }, `repairing; repair.began=now~; repair.detail=more sign-ins fail since 1999-12-23 00:01 UTC than before; repair.kind=rollback; repair.reason=sign_in_failing; "more sign-ins fail since 1999-12-23 00:01 UTC than before: rollback"`},
		{"three fail, after a deletion", func(s *scene) {
			s.aws = signIns(0, 0, 3)
			s.trust.Certificates = s.trust.Certificates[1:]
			s.did(OperationDelete, time.Hour, journal.Operation{Target: "entry-old", Why: string(deleteOld), Outcome: model.CallDone})
			s.record.Rotation.Proof.Gone = s.timestamps(30 * time.Minute)
		}, `repairing; repair.began=now~; repair.detail=more sign-ins fail since 1999-12-31 23:31 UTC than before; repair.kind=reimport; repair.reason=sign_in_failing; "more sign-ins fail since 1999-12-31 23:31 UTC than before: reimport"`},
		{"three fail, and somebody else removed the old one", func(s *scene) { s.aws = signIns(0, 0, 3); s.trust.Certificates = s.trust.Certificates[1:] }, "sign_in_failing: more sign-ins fail since 1999-12-23 00:01 UTC than before, and there is no other certificate that AWS trusts and Entra could sign with"},
		{"the log has no answer", func(s *scene) { s.failing["log"] = errNoAnswer }, "no answer"},
	})
}
