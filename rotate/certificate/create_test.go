package certificate

import (
	"context"
	"net/http"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// subject is that of the first creation.
const subject = "CN=exporter r-1"

// issuing is a scene in which Entra makes a certificate when it is asked.
func issuing() *scene {
	s := planned()
	s.created.Certificate = s.certificate("issued", 0, 3*year)
	s.created.Subject = subject
	return s
}

// refusedFor is an operation on a target that was refused for this reason.
func refusedFor(reason model.Reason, target string) journal.Operation {
	return journal.Operation{Target: target, Outcome: model.CallRefused, Reason: reason, Error: "denied"}
}

// unanswered is a creation without an answer, this long ago.
func unanswered(ago time.Duration) func(*scene) {
	return func(s *scene) {
		s.did(OperationCreate, ago, journal.Operation{Target: subject, Outcome: model.CallUnknown})
		s.record.Rotation.Subject = subject
		s.record.Created = []time.Time{s.ago(ago)}
	}
}

func TestCreate(t *testing.T) {
	refused := &model.Error{Reason: model.ReasonOther, Op: "creating", Status: http.StatusBadRequest}
	testStep(t, issuing, func(ctx context.Context, r runner) (model.Phase, error) { return createPhase(r).run(ctx) }, []outcome{
		{"created", unspoiled, `import after 30s; created.1=1m0s; known.issued=issued; new=issued created; operations.create_certificate.1=CN=exporter r-1 done; own.1=issued; pending=issued; subject=CN=exporter r-1; "created certificate issued in Entra, inactive"; create CN=exporter r-1 until 26280h0m0s`},
		{"created before", func(s *scene) {
			s.did(OperationCreate, time.Hour, journal.Operation{Target: subject, Outcome: model.CallDone})
			s.record.setCreated(known(s.created.Certificate))
		}, "import"},
		{"the answer has no bytes", func(s *scene) { s.created.DER = nil }, "create after 30s; created.1=1m0s; operations.create_certificate.1=CN=exporter r-1 unknown creating a certificate: invalid_response: the answer is about another certificate; …"},
		{"the answer has other bytes", func(s *scene) { s.created.DER = []byte("other") }, "create after 30s; created.1=1m0s; operations.create_certificate.1=CN=exporter r-1 unknown creating a certificate: invalid_response: the answer is about another certificate; …"},
		{"the answer has another subject", func(s *scene) { s.created.Subject = "CN=other" }, "create after 30s; created.1=1m0s; operations.create_certificate.1=CN=exporter r-1 unknown creating a certificate: invalid_response: the answer is about another certificate; …"},
		{"the answer has no subject", func(s *scene) { s.created.Subject = "" }, `import after 30s; created.1=1m0s; known.issued=issued; new=issued created; operations.create_certificate.1=CN=exporter r-1 done; own.1=issued; pending=issued; subject=CN=exporter r-1; "created certificate issued in Entra, inactive"; create CN=exporter r-1 until 26280h0m0s`},
		{"no answer", func(s *scene) { s.createFails(errNoAnswer) }, `create after 30s; created.1=1m0s; operations.create_certificate.1=CN=exporter r-1 unknown no answer; subject=CN=exporter r-1; "creating a certificate: unknown: no answer"; create CN=exporter r-1 until 26280h0m0s`},
		{"refused", func(s *scene) { s.createFails(refused) }, `create after 30s; operations.create_certificate.1=CN=exporter r-1 refused creating: other; subject=CN=exporter r-1; "creating a certificate: refused: creating: other"; create CN=exporter r-1 until 26280h0m0s`},
		{"throttled", func(s *scene) {
			s.createFails(&model.Error{Reason: model.ReasonThrottled, Op: "creating", Status: http.StatusTooManyRequests})
		}, "creating: throttled after 30s; operations.create_certificate.1=CN=exporter r-1 refused creating: throttled; subject=CN=exporter r-1; create CN=exporter r-1 until 26280h0m0s"},
		{"throttled before", func(s *scene) { s.did(OperationCreate, time.Hour, refusedFor(model.ReasonThrottled, subject)) }, "create after 30s; created.1=1m0s; operations.create_certificate.2=CN=exporter r-2 …"},
		{"forbidden", func(s *scene) {
			s.createFails(&model.Error{Reason: model.ReasonPermission, Op: "creating", Status: http.StatusForbidden})
		}, `create after 30s; operations.create_certificate.1=CN=exporter r-1 refused creating: permission; refused.detail=creating: permission; refused.reason=permission; subject=CN=exporter r-1; "creating a certificate: refused: creating: permission"; create CN=exporter r-1 until 26280h0m0s`},
		{"a national cloud", func(s *scene) {
			s.createFails(&model.Error{Reason: model.ReasonOther, Op: "creating", Unsent: true, Err: model.ErrNationalCloud})
		}, `create after 30s; operations.create_certificate.1=CN=exporter r-1 refused creating: other: only the global cloud's Microsoft Graph makes SAML certificates; refused.detail=creating: other: only the global cloud's Microsoft Graph makes SAML certificates; refused.reason=national_cloud; subject=CN=exporter r-1; "creating a certificate: refused: creating: other: only the global cloud's Microsoft Graph makes SAML certificates"; create CN=exporter r-1 until 26280h0m0s`},
		{"the policy forbids it", func(s *scene) {
			s.createFails(&model.Error{Reason: model.ReasonPermission, Op: "creating", Status: http.StatusForbidden, Err: model.ErrAppPolicy})
		}, `create after 30s; operations.create_certificate.1=CN=exporter r-1 refused creating: permission: the tenant's app management policy forbids it; refused.detail=creating: permission: the tenant's app management policy forbids it; refused.reason=policy_refused; subject=CN=exporter r-1; "creating a certificate: refused: creating: permission: the tenant's app management policy forbids it"; create CN=exporter r-1 until 26280h0m0s`},
		{"refused before", func(s *scene) { s.did(OperationCreate, time.Hour, refusedFor(model.ReasonOther, subject)) }, `idle; attempts=1; ended=aborted  Entra refused to create a certificate: denied; last_end=now; outcomes.aborted=1; "outcome: aborted: Entra refused to create a certificate: denied"`},
		{"refused for good before", func(s *scene) {
			s.did(OperationCreate, time.Hour, refusedFor(model.ReasonOther, subject))
			s.record.Rotation.Refused = Refusal{model.BlockedPolicyRefused, "the policy forbids it"}
		}, "policy_refused: the policy forbids it at once"},
		{"refused before the reset", func(s *scene) {
			s.did(OperationCreate, time.Hour, refusedFor(model.ReasonOther, subject))
			s.record.Rotation.ResetCount = 1
		}, `create after 30s; created.1=1m0s; operations.create_certificate.2=CN=exporter r-2 unknown creating a certificate: invalid_response: the answer is about another certificate; subject=CN=exporter r-2; "creating a certificate: unknown: creating a certificate: invalid_response: the answer is about another certificate"; create CN=exporter r-2 until 26280h0m0s`},
		{"not sent before", func(s *scene) {
			o := refusedFor(model.ReasonOther, subject)
			o.Unsent = true
			s.did(OperationCreate, time.Hour, o)
		}, `create after 30s; created.1=1m0s; operations.create_certificate.2=CN=exporter r-2 unknown creating a certificate: invalid_response: the answer is about another certificate; subject=CN=exporter r-2; "creating a certificate: unknown: creating a certificate: invalid_response: the answer is about another certificate"; create CN=exporter r-2 until 26280h0m0s`},
		{"no reading", func(s *scene) { s.failing["trust"] = errNoAnswer }, "no answer"},
		{"the lease is lost", func(s *scene) { s.loseLease("binding") }, leaseLost + " after 30s"},
		{"no clock", func(s *scene) { s.noDate = true }, "reading AWS's clock: invalid_response: AWS's answer had no date after 30s"},
		{"another application", func(s *scene) { s.binding.ServicePrincipalID = "another" }, "binding_changed: since the rollover began the connection resolves to application another instead of principal after 30s"},
		{"another one is active", func(s *scene) { s.activate(s.certificate("other", day, year)) }, "activation_reverted: somebody made certificate other active, instead of certificate old after 30s"},
		{"AWS does not trust the active one", func(s *scene) { s.trust.Certificates = nil }, "signer_not_trusted: Entra signs with certificate old, which AWS does not trust, so nobody can sign in; next: rotation start CONNECTION --certificate old after 30s"},
		{"14 days left", func(s *scene) { s.oldValidFor(14 * day) }, `import after 30s; created.1=1m0s; known.issued=issued; new=issued created; operations.create_certificate.1=CN=exporter r-1 done; own.1=issued; pending=issued; subject=CN=exporter r-1; "created certificate issued in Entra, inactive"; create CN=exporter r-1 until 26280h0m0s`},
		{"less", func(s *scene) { s.oldValidFor(14*day - 1) }, "active_expiring: the active certificate old expires within 14 days; when it does, Entra signs with any other valid certificate that it has, trusted by AWS or not after 30s"},
		{"a day left, and forced", func(s *scene) { s.oldValidFor(day); s.record.Rotation.Forced = true }, "import after 30s; …"},
		{"less, and forced", func(s *scene) { s.oldValidFor(day - 1); s.record.Rotation.Forced = true }, "active_expiring: the active certificate old expires within a day; when it does, Entra signs with any other valid certificate that it has, trusted by AWS or not after 30s"},
		{"one created within the week", func(s *scene) { s.record.Created = []time.Time{s.ago(6 * day)} }, "budget_exhausted: a certificate was requested within the last week after 30s"},
	})
}

func TestCreationWithoutAnswer(t *testing.T) {
	scenes := func() *scene {
		s := issuing()
		unanswered(time.Minute)(s)
		return s
	}
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) { return createPhase(r).run(ctx) }, []outcome{
		{"listed", func(s *scene) { s.add(s.created.Certificate) }, `import; known.issued=issued; new=issued created; operations.create_certificate.1=CN=exporter r-1 done; own.1=issued; pending=issued; "certificate issued is listed: it was created"`},
		{"listed nowhere for less than ten minutes", func(s *scene) { unanswered(10*time.Minute + readGap - 1)(s) }, "create after 30s; waiting=settling"},
		{"listed nowhere", func(s *scene) { unanswered(10*time.Minute + readGap)(s) }, `idle; attempts=1; ended=aborted  a creation got no answer, and Entra lists nothing with its subject CN=exporter r-1; last_end=now; outcomes.aborted=1; "outcome: aborted: a creation got no answer, and Entra lists nothing with its subject CN=exporter r-1"`},
		{"listed twice", func(s *scene) {
			s.add(s.created.Certificate)
			other := s.certificate("other", 0, year)
			other.Subject = subject
			s.add(other)
		}, "create_ambiguous: a creation got no answer, and Entra has 2 certificates with its subject CN=exporter r-1"},
		{"once without a private key", func(s *scene) {
			s.add(s.created.Certificate)
			other := s.certificate("other", 0, year)
			other.Subject = subject
			s.signing.Keyless = append(s.signing.Keyless, other)
		}, "create_ambiguous: a creation got no answer, and Entra has 2 certificates with its subject CN=exporter r-1"},
		{"listed without a private key", func(s *scene) { s.signing.Keyless = append(s.signing.Keyless, s.created.Certificate) }, "create_ambiguous: a creation got no answer, and Entra has certificate issued with its subject, but not its private key"},
		{"listed without its bytes", func(s *scene) { s.created.DER = nil; s.add(s.created.Certificate) }, "create_ambiguous: a creation got no answer, and Entra does not show the bytes of certificate ISSUED, which has its subject"},
		{"valid since a quarter of an hour before", func(s *scene) { s.listedSince(-15 * time.Minute) }, `import; known.issued=issued; new=issued created; operations.create_certificate.1=CN=exporter r-1 done; own.1=issued; pending=issued; "certificate issued is listed: it was created"`},
		{"valid since longer", func(s *scene) { s.listedSince(-15*time.Minute - 1) }, "create_ambiguous: a creation got no answer, and certificate issued has its subject, but its validity does not begin with the creation"},
		{"valid since five minutes later", func(s *scene) { s.listedSince(readGap + 5*time.Minute) }, `import; known.issued=issued; new=issued created; operations.create_certificate.1=CN=exporter r-1 done; own.1=issued; pending=issued; "certificate issued is listed: it was created"`},
		{"valid since later", func(s *scene) { s.listedSince(readGap + 5*time.Minute + 1) }, "create_ambiguous: a creation got no answer, and certificate issued has its subject, but its validity does not begin with the creation"},
		{"no reading", func(s *scene) { s.failing["entra"] = errNoAnswer }, "no answer"},
	})
}

// listedSince makes Entra list the certificate with the subject of the creation, valid
// since this long after the call.
func (s *scene) listedSince(after time.Duration) {
	s.created.NotBefore = s.ago(time.Minute).Add(s.skew + after)
	s.add(s.created.Certificate)
}

func (s *scene) createFails(err error) {
	s.failing["create "+subject+" until "+(3*year).String()] = err
}
