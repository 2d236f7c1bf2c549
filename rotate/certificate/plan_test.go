package certificate

import (
	"context"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
)

func TestPlan(t *testing.T) {
	testStep(t, newScene, func(ctx context.Context, r runner) (model.Phase, error) { return planPhase(r).run(ctx) }, []outcome{
		{"due", unspoiled, `create after 30s; known.old=old; plan.accepted.available=true; plan.accepted.failures=7; plan.accepted.successes=700; plan.accepted.users=50; plan.due_reason=certificate old, due since 1999-12-12 00:01 UTC; plan.issued.available=true; plan.old=old; plan.signing.1=OLD; plan.trusted.1=old; "certificates: old, active in Entra, trusted by AWS"; "sign-ins in 7 days: 700 by 50 users, 7 failures (CloudTrail)"; "due: certificate old, due since 1999-12-12 00:01 UTC"`},
		{"not due", func(s *scene) { s.expiresIn(60*day + 1) }, `idle after 30s; ended=aborted  not_due; last_end=now; outcomes.aborted=1; "not due; use --force to roll over anyway"; "outcome: aborted: not_due"`},
		{"not due, and somebody else's waits", func(s *scene) { s.expiresIn(year); s.add(s.certificate("other", day, 3*year)) }, "idle after 30s; ended=aborted  not_due; …"},
		{"due now", func(s *scene) { s.expiresIn(60 * day) }, "create after 30s; …"},
		{"not due, and forced", func(s *scene) { s.expiresIn(year); s.record.Rotation.Forced = true }, "create after 30s; …"},
		{"no reading", func(s *scene) { s.failing["entra"] = errNoAnswer }, "no answer"},
		{"no clock", func(s *scene) { s.noDate = true }, "reading AWS's clock: invalid_response: AWS's answer had no date after 30s"},
		{"another application", func(s *scene) { s.binding.ServicePrincipalID = "another" }, "binding_changed: since the rollover began the connection resolves to application another instead of principal after 30s"},

		{"the active one is unknown", func(s *scene) { s.signing.ActiveKnown = false }, "active_unknown: Entra does not say which certificate is active after 30s"},
		{"the active one is not listed", func(s *scene) { s.signing.ActiveThumbprint = "0123" }, "active_unknown: Entra says that the certificate with the thumbprint 0123 is active, and does not show it after 30s"},
		{"the bytes of the active one are unknown", func(s *scene) { s.signing.Certificates[0].DER = nil }, "active_unknown: Entra does not show the bytes of its active certificate OLD, so it cannot be compared with AWS's after 30s"},
		{"the bytes of the active one are another's", func(s *scene) { s.signing.Certificates[0].DER = []byte("other") }, "active_unknown: Entra does not show the bytes of its active certificate OLD, so it cannot be compared with AWS's after 30s"},
		{"AWS does not trust it", func(s *scene) { s.trust.Certificates = nil }, "signer_not_trusted: Entra signs with certificate old, which AWS does not trust, so nobody can sign in; next: rotation start CONNECTION --certificate old after 30s"},
		{"AWS trusts other bytes", func(s *scene) { s.trust.Certificates[0].DER = []byte("other") }, "signer_not_trusted: Entra signs with certificate old, which AWS does not trust, so nobody can sign in; next: rotation start CONNECTION --certificate old after 30s"},
		{"expired, and nothing else signs", func(s *scene) { s.expiresIn(0) }, "active_expired: the active certificate old has expired, so Entra signs with any other valid one that it has after 30s"},
		{"expired, and another one signs that AWS trusts", func(s *scene) {
			s.expiresIn(0)
			s.add(s.certificate("spare", year, year))
			s.trust.Certificates = append(s.trust.Certificates, listed(s.certificates[1]))
		}, "active_expired: the active certificate old has expired, so Entra signs with any other valid one that it has after 30s"},
		{"expired, and another one signs that AWS does not trust", func(s *scene) { s.expiresIn(0); s.add(s.certificate("spare", year, year)) }, "signer_not_trusted: Entra signs with certificate spare, which AWS does not trust, so nobody can sign in; next: rotation start CONNECTION --certificate spare after 30s"},
		{"14 days left", func(s *scene) { s.expiresIn(14 * day) }, "create after 30s; …"},
		{"fewer", func(s *scene) { s.expiresIn(14*day - 1) }, "active_expiring: the active certificate old expires within 14 days; when it does, Entra signs with any other valid certificate that it has, trusted by AWS or not after 30s"},
		{"a day left, and forced", func(s *scene) { s.expiresIn(day); s.record.Rotation.Forced = true }, "create after 30s; …"},
		{"less, and forced", func(s *scene) { s.expiresIn(day - 1); s.record.Rotation.Forced = true }, "active_expiring: the active certificate old expires within a day; when it does, Entra signs with any other valid certificate that it has, trusted by AWS or not after 30s"},

		{"a pending one of an earlier rollover", func(s *scene) { s.pending() }, `import after 30s; known.old=old; new=pending created; plan.accepted.available=true; plan.accepted.failures=7; plan.accepted.successes=700; plan.accepted.users=50; plan.due_reason=certificate old, due since 1999-12-12 00:01 UTC; plan.issued.available=true; plan.old=old; plan.signing.1=OLD; plan.signing.2=PENDING; plan.trusted.1=old; "certificate pending was created by an earlier rollover and never made active"; "certificates: old, active in Entra, trusted by AWS; pending, inactive in Entra"; "sign-ins in 7 days: 700 by 50 users, 7 failures (CloudTrail)"; "due: certificate old, due since 1999-12-12 00:01 UTC"`},
		{"a pending one, and 14 days left", func(s *scene) { s.expiresIn(14 * day); s.pending() }, "import after 30s; …"},
		{"a pending one, and fewer", func(s *scene) { s.expiresIn(14*day - 1); s.pending() }, `active_expiring: the active certificate old expires within 14 days; …`},
		{"a pending one, and fewer, and forced", func(s *scene) { s.expiresIn(time.Hour); s.pending(); s.record.Rotation.Forced = true }, "import after 30s; …"},
		{"a pending one that AWS trusts already", func(s *scene) { s.trust.Certificates = append(s.trust.Certificates, listed(s.pending())) }, "import after 30s; …"},
		{"a pending one that Entra does not list", func(s *scene) { s.pending(); s.signing.Certificates = s.signing.Certificates[:1] }, "create after 30s; …"},
		{"a pending one that expires before the active one", func(s *scene) {
			s.pending()
			s.signing.Certificates[1].NotAfter = s.signing.Certificates[0].NotAfter
		}, "create after 30s; …"},
		{"a pending one, and somebody else's", func(s *scene) { s.pending(); s.add(s.certificate("other", day, 3*year)) }, "foreign_certificate: somebody else made certificate other, which waits in Entra to be made active after 30s"},
		{"somebody else's", func(s *scene) { s.add(s.certificate("other", day, 3*year)) }, "foreign_certificate: somebody else made certificate other, which waits in Entra to be made active after 30s"},
		{"somebody else's whose bytes are unknown", func(s *scene) { s.add(s.certificate("other", day, 3*year)); s.signing.Certificates[1].DER = nil }, "foreign_certificate: somebody else made certificate OTHER, which waits in Entra to be made active after 30s"},
		{"somebody else's that expires first", func(s *scene) { s.add(s.certificate("other", day, 40*day)) }, "create after 30s; …"},
		{"a known one", func(s *scene) {
			s.add(s.certificate("other", day, 3*year))
			s.record.know(known(s.certificates[1]))
		}, "create after 30s; …"},
		{"refused before", func(s *scene) {
			s.record.Rotation.Refused = Refusal{model.BlockedPolicyRefused, "the policy forbids it"}
		}, "policy_refused: the policy forbids it after 30s"},
		{"one created within the week", func(s *scene) { s.record.Created = []time.Time{s.ago(6 * day)} }, "budget_exhausted: a certificate was requested within the last week after 30s"},
		{"a pending one, and one created within the week", func(s *scene) { s.pending(); s.record.Created = []time.Time{s.ago(6 * day)} }, "import after 30s; …"},

		{"AWS is full", func(s *scene) { s.options.Policy.Slots = 1 }, "aws_certificates_full: AWS trusts 1 certificates and takes no more than 1 (saml.rollover.aws_slots) after 30s"},
		{"AWS is full, and an expired one is named", makeRoom, `plan after 1m30s; operations.delete.1=entry-expired unused done; waiting=settling; "deleting certificate expired at AWS: done"; delete entry-expired`},
		{"AWS is full, an expired one is named, and the readings are too old", func(s *scene) { makeRoom(s); s.slow = 2 * time.Minute }, "plan after 5m30s; waiting=settling"},
		{"AWS is full, an expired one is named, and AWS throttles", func(s *scene) {
			makeRoom(s)
			s.failing["delete entry-expired"] = &model.Error{Reason: model.ReasonThrottled, Op: "deleting", Status: 429}
		}, "deleting certificate expired at AWS: throttled: deleting: throttled after 1m0s; operations.delete.1=entry-expired unused refused deleting: throttled; delete entry-expired"},
		{"AWS is full, and a valid one is named", func(s *scene) { makeRoom(s); s.record.Rotation.Unused = Fingerprint([]byte("old")) }, "aws_certificates_full: certificate old, which an operator named as unused, has not expired after 1m0s"},
		{"AWS is full, and refuses to make room", func(s *scene) {
			makeRoom(s)
			for range maxRepairAttempts {
				s.did(OperationDelete, time.Hour, refusedFor(model.ReasonOther, "entry-expired"))
			}
		}, "delete_refused: AWS did not delete certificate expired: refused: denied after 1m0s"},
		{"AWS is full, and refused twice to make room", func(s *scene) {
			makeRoom(s)
			for range maxRepairAttempts - 1 {
				s.did(OperationDelete, time.Hour, refusedFor(model.ReasonOther, "entry-expired"))
			}
		}, `plan after 1m30s; operations.delete.3=entry-expired unused done; waiting=settling; "deleting certificate expired at AWS: done"; delete entry-expired`},
		{"AWS's log has no answer", func(s *scene) { s.failing["log"] = errNoAnswer }, "no answer after 30s"},
		{"Entra's log has no answer", func(s *scene) { s.failing["entra's log"] = errNoAnswer }, "no answer after 30s"},
		{"only Entra has a log", func(s *scene) {
			s.before, s.entra = model.SignIns{}, model.SignIns{Successes: 70, Users: 9, Failures: 1, Available: true}
		}, `create after 30s; known.old=old; plan.due_reason=certificate old, due since 1999-12-12 00:01 UTC; plan.issued.available=true; plan.issued.failures=1; plan.issued.successes=70; plan.issued.users=9; plan.old=old; plan.signing.1=OLD; plan.trusted.1=old; "certificates: old, active in Entra, trusted by AWS"; "sign-ins in 7 days: 70 by 9 users, 1 failures (Entra's sign-in log; CloudTrail, which is stronger, cannot be read: allow cloudtrail:LookupEvents)"; "due: certificate old, due since 1999-12-12 00:01 UTC"`},
		{"no log", func(s *scene) { s.before, s.entra = model.SignIns{}, model.SignIns{} }, "create after 30s; …"},
		{"trusted", func(s *scene) { s.record.Trust = s.ago(year) }, `create after 30s; known.old=old; plan.accepted.available=true; plan.accepted.failures=7; plan.accepted.successes=700; plan.accepted.users=50; plan.due_reason=certificate old, due since 1999-12-12 00:01 UTC; plan.issued.available=true; plan.old=old; plan.signing.1=OLD; plan.trusted.1=old; plan.trusted_binding=true; "certificates: old, active in Entra, trusted by AWS"; "sign-ins in 7 days: 700 by 50 users, 7 failures (CloudTrail)"; "due: certificate old, due since 1999-12-12 00:01 UTC"`},
	})
}

func TestPlanWithNamedCertificate(t *testing.T) {
	scenes := func() *scene {
		s := newScene()
		s.add(s.certificate("named", day, 3*year))
		s.record.Rotation.Named, s.record.Rotation.Forced = Fingerprint([]byte("named")), true
		return s
	}
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) { return planPhase(r).run(ctx) }, []outcome{
		{"inactive", unspoiled, `import after 30s; known.named=named; known.old=old; new=named named; plan.accepted.available=true; plan.accepted.failures=7; plan.accepted.successes=700; plan.accepted.users=50; plan.due_reason=certificate old, due since 1999-12-12 00:01 UTC; plan.issued.available=true; plan.old=old; plan.signing.1=NAMED; plan.signing.2=OLD; plan.trusted.1=old; "an operator named certificate named, which Entra has and does not sign with"; "certificates: old, active in Entra, trusted by AWS; named, inactive in Entra"; "sign-ins in 7 days: 700 by 50 users, 7 failures (CloudTrail)"; "due: certificate old, due since 1999-12-12 00:01 UTC"`},
		{"inactive and trusted", func(s *scene) { s.trust.Certificates = append(s.trust.Certificates, listed(s.certificates[1])) }, "import after 30s; …"},
		{"it signs, and AWS does not trust it", func(s *scene) { s.signing.ActiveThumbprint = s.certificates[1].Thumbprint }, `import after 30s; known.named=named; new=named named; plan.accepted.available=true; plan.accepted.failures=7; plan.accepted.successes=700; plan.accepted.users=50; plan.due_reason=an operator named the certificate that Entra signs with; plan.import_only=true; plan.issued.available=true; plan.old=named; plan.signing.1=NAMED; plan.signing.2=OLD; plan.trusted.1=old; "Entra signs with certificate named; AWS does not trust it"; "certificates: old, inactive in Entra, trusted by AWS; named, active in Entra"; "sign-ins in 7 days: 700 by 50 users, 7 failures (CloudTrail)"; "due: an operator named the certificate that Entra signs with"`},
		{"it signs, and AWS is full", func(s *scene) {
			s.signing.ActiveThumbprint = s.certificates[1].Thumbprint
			s.options.Policy.Slots = 1
		}, `aws_certificates_full: AWS trusts 1 certificates and takes no more than 1 (saml.rollover.aws_slots); next: remove a certificate at AWS that Entra does not sign with, then rotation start CONNECTION --certificate named after 30s; "Entra signs with certificate named; AWS does not trust it"`},
		{"it signs since the active one has expired", func(s *scene) { s.expiresIn(0) }, "import after 30s; …"},
		{"it signs, and AWS trusts it", func(s *scene) {
			s.signing.ActiveThumbprint = s.certificates[1].Thumbprint
			s.trust.Certificates = append(s.trust.Certificates, listed(s.certificates[1]))
		}, `idle after 30s; ended=aborted  AWS trusts certificate named already, with which Entra signs, so there is nothing to do; last_end=now; outcomes.aborted=1; "outcome: aborted: AWS trusts certificate named already, with which Entra signs, so there is nothing to do"`},
		{"the active one is unknown", func(s *scene) { s.signing.ActiveKnown = false }, `active_unknown: Entra does not say which certificate is active after 30s; "an operator named certificate named, which Entra has and does not sign with"`},
		{"nobody shows it", func(s *scene) { s.signing.Certificates = s.signing.Certificates[:1] }, `idle after 30s; ended=aborted  neither Entra nor AWS shows a certificate with the fingerprint named; last_end=now; outcomes.aborted=1; "outcome: aborted: neither Entra nor AWS shows a certificate with the fingerprint named"`},
		{"Entra has no private key", func(s *scene) {
			s.signing.Keyless, s.signing.Certificates = s.signing.Certificates[1:], s.signing.Certificates[:1]
		}, `idle after 30s; ended=aborted  Entra has certificate named without its private key, so it cannot sign with it; last_end=now; outcomes.aborted=1; "outcome: aborted: Entra has certificate named without its private key, so it cannot sign with it"`},
		{"only AWS has it", func(s *scene) {
			s.trust.Certificates = append(s.trust.Certificates, listed(s.certificates[1]))
			s.signing.Certificates = s.signing.Certificates[:1]
		}, `idle after 30s; ended=aborted  AWS trusts certificate named already, and Entra does not have it; last_end=now; outcomes.aborted=1; "outcome: aborted: AWS trusts certificate named already, and Entra does not have it"`},
		{"expired", func(s *scene) { s.signing.Certificates[1].NotAfter = s.at.Add(s.skew) }, `idle after 30s; ended=aborted  certificate named has expired; last_end=now; outcomes.aborted=1; "outcome: aborted: certificate named has expired"`},
		{"not valid yet", func(s *scene) { s.signing.Certificates[1].NotBefore = s.at.Add(s.skew + 1) }, `idle after 30s; ended=aborted  certificate named is not valid yet; last_end=now; outcomes.aborted=1; "outcome: aborted: certificate named is not valid yet"`},
		{"valid since now", func(s *scene) { s.signing.Certificates[1].NotBefore = s.at.Add(s.skew) }, "import after 30s; …"},
		{"the active one expires soon", func(s *scene) { s.expiresIn(time.Hour) }, "import after 30s; …"},
	})
}

// A dry run says what a rollover would do.
func TestDryRun(t *testing.T) {
	testStep(t, newScene, func(ctx context.Context, r runner) (model.Phase, error) {
		return "", New(r.options).DryRun(ctx, r.Session, nil)
	}, []outcome{
		{"due", unspoiled, `- after 30s; "dry run: certificates: old, active in Entra, trusted by AWS"; "dry run: a rollover would start: certificate old, due since 1999-12-12 00:01 UTC"; "dry run: it would create a certificate in Entra (CN=exporter …), valid for 1095 days, and import it at AWS"; "dry run: then make it active in Entra, watch the sign-ins, keep the old certificate at AWS for 168h0m0s, and delete it there (approval: first)"`},
		{"not due", func(s *scene) { s.expiresIn(year) }, `- after 30s; "dry run: certificates: old, active in Entra, trusted by AWS"; "dry run: nothing to do: due 2000-11-01 00:01 UTC"`},
		{"a pending one", func(s *scene) { s.pending() }, `- after 30s; "certificate pending was created by an earlier rollover and never made active"; "dry run: certificates: old, active in Entra, trusted by AWS; pending, inactive in Entra"; "dry run: a rollover would start: certificate old, due since 1999-12-12 00:01 UTC"; "dry run: it would import certificate pending at AWS"; "dry run: then make it active in Entra, watch the sign-ins, keep the old certificate at AWS for 168h0m0s, and delete it there (approval: first)"`},
		{"AWS is full, and an expired one is named", makeRoom, `- after 30s; "dry run: certificates: old, active in Entra, trusted by AWS; expired, trusted by AWS only"; "dry run: it would first delete certificate expired at AWS"; "dry run: a rollover would start: certificate old, due since 1999-12-12 00:01 UTC"; "dry run: it would create a certificate in Entra (CN=exporter …), valid for 1095 days, and import it at AWS"; "dry run: then make it active in Entra, watch the sign-ins, keep the old certificate at AWS for 168h0m0s, and delete it there (approval: first)"`},
		{"it signs, and AWS does not trust it", func(s *scene) {
			s.trust.Certificates = nil
			s.record.Rotation.Named, s.record.Rotation.Forced = Fingerprint([]byte("old")), true
		}, `- after 30s; "Entra signs with certificate old; AWS does not trust it"; "dry run: certificates: old, active in Entra"; "dry run: it would import certificate old at AWS, and nothing else"`},
		{"the active one is unknown", func(s *scene) { s.signing.ActiveKnown = false }, `connection corp: a rollover would not start: active_unknown: Entra does not say which certificate is active after 30s`},
	})
}

// expiresIn makes the active certificate expire then, by AWS's clock.
func (s *scene) expiresIn(left time.Duration) {
	s.signing.Certificates[0].NotAfter = s.at.Add(s.skew + left)
}

// add makes Entra list a certificate.
func (s *scene) add(c model.Certificate) {
	s.signing.Certificates = append(s.signing.Certificates, c)
}

// pending is a certificate that an earlier rollover created and never made active.
func (s *scene) pending() model.Certificate {
	c := s.certificate("pending", 30*day, 3*year)
	s.add(c)
	described := known(c)
	s.record.Pending, s.record.Own = &described, []string{described.SHA256}
	s.record.know(described)
	return c
}

// makeRoom names an expired certificate at AWS, which has no room.
func makeRoom(s *scene) {
	expired := s.certificate("expired", 4*year, -2*time.Hour)
	s.trust.Certificates = append(s.trust.Certificates, listed(expired))
	s.record.Rotation.Unused = Fingerprint(expired.DER)
}
