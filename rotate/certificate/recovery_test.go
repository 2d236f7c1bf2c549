package certificate

import (
	"context"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
)

// rolledBackBefore journals an attempt to make the old certificate active again.
func (s *scene) rolledBackBefore(ago time.Duration, o journal.Operation) {
	o.Target, o.Why = s.record.Rotation.Plan.Old.SHA256, string(activateOld)
	s.did(OperationActivate, ago, o)
}

func (s *scene) reimportedBefore(ago time.Duration, o journal.Operation) {
	o.Target, o.Why = s.record.Rotation.Plan.Old.SHA256, string(importKept)
	s.did(OperationImport, ago, o)
}

func TestRollback(t *testing.T) {
	testStep(t, rolledBack, func(ctx context.Context, r runner) (model.Phase, error) { return r.RunPhase(ctx, r.Rotation().Phase) }, []outcome{
		{"made active", unspoiled, `verify after 30s; operations.activate.2=old rollback done; "making certificate old active in Entra: done"; activate OLD`},
		{"refused", func(s *scene) {
			s.failing["activate OLD"] = &model.Error{Reason: model.ReasonOther, Op: "activating", Status: 400}
		}, `verify after 30s; operations.activate.2=old rollback refused activating: other; "making certificate old active in Entra: refused: activating: other"; activate OLD`},
		{"it is active", func(s *scene) { s.signing.ActiveThumbprint = s.certificates[0].Thumbprint }, "sign_in_failing: more sign-ins fail, so certificate old was made active again; AWS trusts both after 1m0s at once; waiting=settling"},
		{"it is active, and AWS does not trust the new one", func(s *scene) {
			s.signing.ActiveThumbprint, s.trust.Certificates = s.certificates[0].Thumbprint, s.trust.Certificates[:1]
		}, "sign_in_failing: more sign-ins fail, so certificate old was made active again; AWS does not trust the new one after 1m0s at once; waiting=settling"},
		{"it is active, and AWS trusts it not any more", func(s *scene) {
			s.signing.ActiveThumbprint, s.trust.Certificates = s.certificates[0].Thumbprint, s.trust.Certificates[1:]
		}, "signer_not_trusted: Entra signs with certificate old, which AWS does not trust, so nobody can sign in; next: rotation start CONNECTION --certificate old after 1m0s; waiting=settling"},
		{"it is active, and Entra does not show its bytes", func(s *scene) {
			s.signing.ActiveThumbprint, s.signing.Certificates[0].DER = s.certificates[0].Thumbprint, nil
		}, "sign_in_failing: more sign-ins fail, so certificate old was made active again; AWS trusts both after 1m0s at once; waiting=settling"},
		{"it is active in four readings", func(s *scene) {
			s.signing.ActiveThumbprint = s.certificates[0].Thumbprint
			s.then["entra 5"] = func() { s.signing.ActiveThumbprint = s.certificates[1].Thumbprint }
		}, "verify after 1m0s; waiting=settling"},
		{"done half an hour before", func(s *scene) { s.rolledBackBefore(30*time.Minute+readGap, journal.Operation{Outcome: model.CallDone}) }, `verify after 30s; operations.activate.3=old rollback done; "making certificate old active in Entra: done"; activate OLD`},
		{"done later", func(s *scene) {
			s.rolledBackBefore(30*time.Minute+readGap-1, journal.Operation{Outcome: model.CallDone})
		}, "verify after 30s; waiting=settling"},
		{"refused before", func(s *scene) { s.rolledBackBefore(time.Minute, refusedFor(model.ReasonOther, "")) }, `verify after 30s; operations.activate.3=old rollback done; "making certificate old active in Entra: done"; activate OLD`},
		{"refused three times", func(s *scene) {
			for range 3 {
				s.rolledBackBefore(time.Minute, refusedFor(model.ReasonOther, ""))
			}
		}, "sign_in_failing: more sign-ins fail, and certificate old could not be made active again: refused: denied at once"},
		{"AWS does not trust it", func(s *scene) { s.trust.Certificates = s.trust.Certificates[1:] }, "sign_in_failing: more sign-ins fail; AWS does not trust the old certificate old any more, so it is not made active again after 30s"},
		{"Entra does not list it", func(s *scene) { s.signing.Certificates = s.signing.Certificates[1:] }, "sign_in_failing: more sign-ins fail; Entra does not list certificate old with its private key any more after 30s"},
		{"throttled three times", func(s *scene) {
			for range 3 {
				s.rolledBackBefore(time.Minute, refusedFor(model.ReasonThrottled, ""))
			}
		}, `verify after 30s; operations.activate.5=old rollback done; "making certificate old active in Entra: done"; activate OLD`},
		{"throttled", func(s *scene) {
			s.failing["activate OLD"] = &model.Error{Reason: model.ReasonThrottled, Op: "activating", Status: 429}
		}, "making certificate old active in Entra: throttled: activating: throttled after 30s; operations.activate.2=old rollback refused activating: throttled; activate OLD"},
		{"no reading", func(s *scene) { s.failing["entra"] = errNoAnswer }, "no answer"},
		{"no reading once", func(s *scene) { s.failOnce("trust", 1) }, "no answer"},
		{"no clock", func(s *scene) { s.noDate = true }, "reading AWS's clock: invalid_response: AWS's answer had no date after 30s"},
		{"the readings are too old", func(s *scene) { s.slow = 2 * time.Minute }, "verify after 3m0s; waiting=settling"},
	})
}

// recovering is a scene in which sign-ins fail since the old certificate is gone at AWS.
func recovering() *scene {
	s := gone()
	s.record.Rotation.Repair = &Repair{Kind: RepairReimport, Reason: model.BlockedSignInFailing, Detail: "more sign-ins fail", Began: s.timestamps(time.Minute)}
	return s
}

func TestReimport(t *testing.T) {
	testStep(t, recovering, func(ctx context.Context, r runner) (model.Phase, error) { return r.RunPhase(ctx, r.Rotation().Phase) }, []outcome{
		{"imported", unspoiled, `confirm; operations.import.1=old kept done; "importing certificate old at AWS: done"; import old for SIGNING`},
		{"refused", func(s *scene) {
			s.failing["import old for SIGNING"] = &model.Error{Reason: model.ReasonOther, Op: "importing", Status: 400}
		}, `confirm; operations.import.1=old kept refused importing: other; "importing certificate old at AWS: refused: importing: other"; import old for SIGNING`},
		{"no answer a quarter of an hour before", func(s *scene) {
			s.reimportedBefore(15*time.Minute+readGap, journal.Operation{Outcome: model.CallUnknown})
		}, `confirm; operations.import.2=old kept done; "importing certificate old at AWS: done"; import old for SIGNING`},
		{"no answer later", func(s *scene) {
			s.reimportedBefore(15*time.Minute+readGap-1, journal.Operation{Outcome: model.CallUnknown})
		}, "confirm after 30s; waiting=settling"},
		{"refused before", func(s *scene) { s.reimportedBefore(time.Minute, refusedFor(model.ReasonOther, "")) }, `confirm; operations.import.2=old kept done; "importing certificate old at AWS: done"; import old for SIGNING`},
		{"refused three times", func(s *scene) {
			for range 3 {
				s.reimportedBefore(time.Minute, refusedFor(model.ReasonOther, ""))
			}
		}, "sign_in_failing: more sign-ins fail, and the old certificate old could not be imported again: refused: denied at once"},
		{"AWS did not trust it before", func(s *scene) { s.record.Rotation.Plan.Trusted = nil }, "sign_in_failing: more sign-ins fail; AWS did not trust the old certificate before, so it is not imported at once"},
		{"no reading", func(s *scene) { s.failing["trust"] = errNoAnswer }, "no answer"},
		{"no reading once", func(s *scene) { s.failOnce("trust", 1) }, "no answer"},

		{"AWS trusts it", func(s *scene) { s.trustOld(time.Minute) }, "confirm after 5m0s; waiting=settling"},
		{"AWS trusts it for half an hour, and nobody fails", func(s *scene) { s.trustOld(30*time.Minute + readGap) }, "sign_in_failing: more sign-ins fail, so the old certificate old was imported again; AWS trusts both at once"},
		{"AWS trusts it for half an hour, and sign-ins fail", func(s *scene) { s.trustOld(30*time.Minute + readGap); s.aws.Failures = 5 }, `confirm; repair.kind=rollback; "sign-ins still fail: making the old certificate active again"`},
		{"AWS trusts it for less, and sign-ins fail", func(s *scene) { s.trustOld(30*time.Minute + readGap - time.Second); s.aws.Failures = 5 }, "confirm after 1s; waiting=settling"},
		{"AWS trusts it, and it is active", func(s *scene) { s.trustOld(time.Minute); s.signing.ActiveThumbprint = s.certificates[0].Thumbprint }, "sign_in_failing: more sign-ins fail, so the old certificate old was imported again; AWS trusts both at once"},
		{"AWS trusts it, it is active, and sign-ins fail", func(s *scene) {
			s.trustOld(time.Hour)
			s.signing.ActiveThumbprint, s.aws.Failures = s.certificates[0].Thumbprint, 5
		}, "sign_in_failing: more sign-ins fail, so the old certificate old was imported again; AWS trusts both at once"},
		{"the log has no answer", func(s *scene) { s.trustOld(time.Hour); s.failing["log"] = errNoAnswer }, "no answer"},
	})
}

// trustOld is a repair that began this long ago, after which AWS trusts the old one again.
func (s *scene) trustOld(ago time.Duration) {
	s.trust.Certificates = append(s.trust.Certificates, listed(s.certificates[0]))
	s.record.Rotation.Repair.Began = s.timestamps(ago)
}

func TestBeforeBlock(t *testing.T) {
	before := func(reason model.BlockedReason) func(context.Context, runner) (model.Phase, error) {
		return func(ctx context.Context, r runner) (model.Phase, error) {
			return r.BeforeBlock(ctx, &rotate.BlockedError{Reason: reason, Detail: "the cause"})
		}
	}
	untrusted := func(s *scene) { s.trust.Certificates = s.trust.Certificates[:1] }
	testStep(t, active, before(model.BlockedPermission), []outcome{
		{"AWS trusts the signer", unspoiled, "- after 30s"},
		{"AWS does not trust it, and the old one is there", untrusted, `verify after 30s; repair.began=now~; repair.detail=the cause; repair.kind=rollback; repair.reason=permission; "the cause: rollback"`},
		{"AWS trusts none", func(s *scene) { s.trust.Certificates = nil }, "signer_not_trusted: Entra signs with certificate new, which AWS does not trust, so nobody can sign in; next: rotation start CONNECTION --certificate new after 30s"},
		{"AWS trusts none, after a deletion", func(s *scene) {
			s.trust.Certificates = nil
			s.deletedBefore(time.Hour, journal.Operation{Outcome: model.CallDone})
		}, `verify after 30s; repair.began=now~; repair.detail=the cause; repair.kind=reimport; repair.reason=permission; "the cause: reimport"`},
		{"another one signs that AWS does not trust", func(s *scene) { s.activate(s.certificate("other", day, year)) }, "signer_not_trusted: Entra signs with certificate other, which AWS does not trust, so nobody can sign in; next: rotation start CONNECTION --certificate other after 30s"},
		{"the old one signs, which AWS does not trust", func(s *scene) {
			s.trust.Certificates, s.signing.ActiveThumbprint = s.trust.Certificates[1:], s.certificates[0].Thumbprint
		}, "signer_not_trusted: Entra signs with certificate old, which AWS does not trust, so nobody can sign in; next: rotation start CONNECTION --certificate old after 30s"},
		{"the old one signs, which we deleted at AWS", func(s *scene) {
			s.trust.Certificates, s.signing.ActiveThumbprint = s.trust.Certificates[1:], s.certificates[0].Thumbprint
			s.deletedBefore(time.Hour, journal.Operation{Outcome: model.CallDone})
		}, `verify after 30s; repair.began=now~; repair.detail=the cause; repair.kind=reimport; repair.reason=permission; "the cause: reimport"`},
		{"the signer is unknown", func(s *scene) { s.signing.ActiveKnown = false; s.trust.Certificates = nil }, "- after 30s"},
		{"a repair was begun", func(s *scene) { untrusted(s); s.record.Rotation.Repair = &Repair{Kind: RepairRollback} }, "-"},
		{"there is no new one", func(s *scene) {
			untrusted(s)
			s.record.Rotation.New, s.record.Rotation.Phase = nil, model.PhasePlan
		}, "-"},
		{"it was never made active", func(s *scene) { untrusted(s); s.record.Rotation.Operations[OperationActivate] = nil }, "-"},
		{"no reading", func(s *scene) { s.failing["entra"] = errNoAnswer }, "no answer"},
	})
	for _, reason := range []model.BlockedReason{model.BlockedStateRestored, model.BlockedJournalUnreadable, model.BlockedBindingChanged, model.BlockedWrongTarget} {
		testStep(t, active, before(reason), []outcome{{"no repair for " + string(reason), untrusted, "-"}})
	}
}
