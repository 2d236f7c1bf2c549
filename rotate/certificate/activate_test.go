package certificate

import (
	"context"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// activatedBefore journals an attempt to make the new certificate active.
func (s *scene) activatedBefore(ago time.Duration, o journal.Operation) {
	o.Target, o.Why = s.record.Rotation.newName(), string(activateNew)
	s.did(OperationActivate, ago, o)
}

func TestActivate(t *testing.T) {
	testStep(t, imported, func(ctx context.Context, r runner) (model.Phase, error) { return activatePhase(r).run(ctx) }, []outcome{
		{"activated", unspoiled, `activate after 30s; no pending; operations.activate.1=new new done; "making certificate new active in Entra: done"; activate NEW`},
		{"refused", func(s *scene) {
			s.failing["activate NEW"] = &model.Error{Reason: model.ReasonOther, Op: "activating", Status: 400}
		}, `activate after 30s; no pending; operations.activate.1=new new refused activating: other; "making certificate new active in Entra: refused: activating: other"; activate NEW`},
		{"no answer", func(s *scene) { s.failing["activate NEW"] = errNoAnswer }, `activate after 30s; no pending; operations.activate.1=new new unknown no answer; "making certificate new active in Entra: unknown: no answer"; activate NEW`},
		{"no reading", func(s *scene) { s.failing["entra"] = errNoAnswer }, "no answer"},
		{"no reading once", func(s *scene) { s.failOnce("trust", 1) }, "no answer"},
		{"not permitted by the guard", func(s *scene) { s.trust.Certificates = s.trust.Certificates[:1] }, "foreign_certificate: AWS does not list the new certificate new any more after 30s"},
		{"not permitted yet", func(s *scene) { s.validSince(time.Minute) }, "activate after 1m0s; waiting=settling"},

		{"done half an hour before", func(s *scene) { s.activatedBefore(30*time.Minute+readGap, journal.Operation{Outcome: model.CallDone}) }, `activate after 30s; no pending; operations.activate.2=new new done; "making certificate new active in Entra: done"; activate NEW`},
		{"done later", func(s *scene) {
			s.activatedBefore(30*time.Minute+readGap-1, journal.Operation{Outcome: model.CallDone})
		}, "activate after 30s; waiting=settling"},
		{"no answer, half an hour before", func(s *scene) { s.activatedBefore(31*time.Minute, journal.Operation{Outcome: model.CallUnknown}) }, `activate after 30s; no pending; operations.activate.2=new new done; "making certificate new active in Entra: done"; activate NEW`},
		{"no answer later", func(s *scene) { s.activatedBefore(time.Minute, journal.Operation{Outcome: model.CallUnknown}) }, "activate after 30s; waiting=settling"},
		{"done twice", func(s *scene) {
			s.activatedBefore(2*time.Hour, journal.Operation{Outcome: model.CallDone})
			s.activatedBefore(time.Hour, journal.Operation{Outcome: model.CallDone})
		}, "activation_failed: certificate new could not be made active: done; AWS trusts it and the old one at once"},
		{"twice before the reset", func(s *scene) {
			s.activatedBefore(2*time.Hour, journal.Operation{Outcome: model.CallDone})
			s.activatedBefore(time.Hour, journal.Operation{Outcome: model.CallDone})
			s.record.Rotation.ResetCount = 1
		}, `activate after 30s; no pending; operations.activate.3=new new done; "making certificate new active in Entra: done"; activate NEW`},
		{"refused for good before", func(s *scene) { s.activatedBefore(time.Minute, refusedFor(model.ReasonOther, "")) }, "activation_failed: certificate new could not be made active: refused: denied; AWS trusts it and the old one at once"},
		{"forbidden before", func(s *scene) { s.activatedBefore(time.Minute, refusedFor(model.ReasonPermission, "")) }, "permission: certificate new was not made active: refused: denied at once"},
		{"throttled before", func(s *scene) { s.activatedBefore(time.Minute, refusedFor(model.ReasonThrottled, "")) }, `activate after 30s; no pending; operations.activate.2=new new done; "making certificate new active in Entra: done"; activate NEW`},
		{"another one is active half an hour later", func(s *scene) {
			s.activatedBefore(30*time.Minute+readGap, journal.Operation{Outcome: model.CallDone})
			s.activate(s.certificate("other", day, year))
		}, "activation_reverted: somebody made certificate other active, instead of certificate new"},
		{"another one is active before", func(s *scene) {
			s.activatedBefore(30*time.Minute+readGap-1, journal.Operation{Outcome: model.CallDone})
			s.activate(s.certificate("other", day, year))
		}, "activate after 30s; waiting=settling"},
		{"another one is active, and nothing was tried", func(s *scene) { s.activate(s.certificate("other", day, year)) }, "activation_reverted: somebody made certificate other active, instead of certificate old after 30s"},
	})
}

func TestActivated(t *testing.T) {
	scenes := func() *scene {
		s := imported()
		s.signing.ActiveThumbprint = s.certificates[1].Thumbprint
		s.activatedBefore(time.Minute, journal.Operation{Outcome: model.CallDone})
		return s
	}
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) { return activatePhase(r).run(ctx) }, []outcome{
		{"five readings say so after a reset", func(s *scene) { s.approve("old", time.Hour) }, `verify after 1m0s; no approval.at; no approval.target; no pending; proof.level=stored; …`},
		{"five readings say so", unspoiled, `verify after 1m0s; no pending; proof.level=stored; proof.stored=now~; waiting=settling; "Entra signs with certificate new: stored"`},
		{"the fifth does not", func(s *scene) {
			s.then["entra 5"] = func() { s.signing.ActiveThumbprint = s.certificates[0].Thumbprint }
		}, "activate after 1m0s; waiting=settling"},
		{"the sixth would not", func(s *scene) {
			s.then["entra 6"] = func() { s.signing.ActiveThumbprint = s.certificates[0].Thumbprint }
		}, `verify after 1m0s; no pending; proof.level=stored; proof.stored=now~; waiting=settling; "Entra signs with certificate new: stored"`},
		{"the third has no answer", func(s *scene) { s.then["entra 3"] = func() { s.failing["trust"] = errNoAnswer } }, "no answer after 30s; waiting=settling"},
		{"the lease is lost", func(s *scene) { s.loseLease("entra") }, leaseLost},
		{"AWS does not trust it", func(s *scene) { s.trust.Certificates = s.trust.Certificates[:1] }, "foreign_certificate: AWS does not list the new certificate new any more, with which Entra signs"},
	})
}
