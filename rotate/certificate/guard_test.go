package certificate

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

func (g guard) authorizeNew(ctx context.Context) (operationPermit, error) {
	return g.authorizeActivation(ctx, activateNew)
}

func (g guard) authorizeOld(ctx context.Context) (operationPermit, error) {
	return g.authorizeActivation(ctx, activateOld)
}

// named is a scene in which an operator named the new certificate.
func named() *scene {
	s := withNew()
	s.record.Own, s.record.Pending, s.record.Rotation.Operations = nil, nil, nil
	s.record.Rotation.New.Origin, s.record.Rotation.Named = OriginNamed, s.record.Rotation.New.SHA256
	return s
}

// rolledBack is one in which the new certificate is active, and the old one is wanted back.
func rolledBack() *scene {
	s := active()
	s.record.Rotation.Repair = &Repair{Kind: RepairRollback, Reason: model.BlockedSignInFailing, Detail: "more sign-ins fail"}
	return s
}

// crowded is one in which an operator named an expired certificate of AWS.
func crowded() *scene {
	s := newScene()
	expired := s.certificate("expired", 4*year, -2*time.Hour)
	s.trust.Certificates = append(s.trust.Certificates, listed(expired))
	s.record.Rotation.Unused = Fingerprint(expired.DER)
	return s
}

// Each condition of a permit is violated alone, whatever a phase checks before: the guard
// is the last one to say no.
func TestGuard(t *testing.T) {
	const pending = "a condition is not met yet"
	for _, group := range []struct {
		scenes    func() *scene
		authorize func(guard, context.Context) (operationPermit, error)
		why       operationReason
		target    string
		id        string        // AWS's, of the entry to be deleted
		took      time.Duration // until the last reading
		tests     []outcome
	}{
		{used, guard.authorizeDeletion, deleteOld, "old", "entry-old", readGap, append(bothReadTwice(), []outcome{
			{"another one is active", func(s *scene) { s.activate(s.certificate("other", day, year)) }, "activation_reverted: somebody made certificate other active, instead of certificate new"},
			{"the old one is active", func(s *scene) { s.signing.ActiveThumbprint = s.certificates[0].Thumbprint }, "activation_reverted: somebody made certificate old active, instead of certificate new"},
			{"the active one is unknown", func(s *scene) { s.signing.ActiveKnown = false }, "active_unknown: Entra does not say which certificate is active"},
			{"AWS does not trust the new one", func(s *scene) { s.trust.Certificates = s.trust.Certificates[:1] }, "foreign_certificate: AWS does not list the new certificate new any more"},
			{"AWS trusts other bytes of the same thumbprint", func(s *scene) { s.trust.Certificates[1].DER = []byte("forged") }, "foreign_certificate: AWS does not list the new certificate new any more"},
			{"the new one is valid for another 30 days", func(s *scene) { s.validFor(30 * day) }, ""},
			{"the new one is valid for fewer", func(s *scene) { s.validFor(30*day - 1) }, "delete_refused: the old certificate old is kept at AWS, because the new one is valid for less than 30 days"},
			{"only stored", func(s *scene) { s.record.Rotation.Proof.Level = model.ProofStored }, pending},
			{"used long enough", func(s *scene) { s.record.Rotation.Proof.Used.Local = s.ago(7 * day) }, ""},
			{"used too short", func(s *scene) { s.record.Rotation.Proof.Used.Local = s.ago(7*day - 1) }, pending},
			{"not approved", func(s *scene) { s.record.Rotation.Plan.TrustedBy = false }, pending},
			{"approved", func(s *scene) { s.approve("old", 0) }, ""},
			{"approved before the plan", func(s *scene) { s.approve("old", 30*day) }, ""},
			{"another is approved", func(s *scene) { s.approve("new", 0) }, pending},
			{"every deletion needs an approval", func(s *scene) { s.options.Policy.Approval = model.ApprovalAlways }, pending},
			{"no deletion needs an approval", func(s *scene) {
				s.record.Rotation.Plan.TrustedBy, s.options.Policy.Approval = false, model.ApprovalNever
			}, ""},
			{"AWS did not trust it before", func(s *scene) { s.record.Rotation.Plan.Trusted = nil }, "foreign_certificate: certificate old is not the one that was written down"},
			{"the log has no answer", func(s *scene) { s.failing["log"] = errNoAnswer }, "no answer"},
			{"sign-ins fail", func(s *scene) { s.aws.Failures = 4 }, pending},
			{"AWS does not list the old one", func(s *scene) { s.trust.Certificates = s.trust.Certificates[1:] }, pending},
			{"AWS lists it twice", func(s *scene) { s.trust.Certificates = append(s.trust.Certificates, s.trust.Certificates[0]) }, ""},
		}...)},
		{imported, guard.authorizeNew, activateNew, "new", "", readGap, append(bothReadTwice(), []outcome{
			{"another one is active", func(s *scene) { s.activate(s.certificate("other", day, year)) }, "activation_reverted: somebody made certificate other active, instead of certificate old"},
			{"it is active already", func(s *scene) { s.signing.ActiveThumbprint = s.certificates[1].Thumbprint }, ""},
			{"Entra does not list it", func(s *scene) { s.signing.Certificates = s.signing.Certificates[:1] }, "foreign_certificate: Entra does not list certificate new with its private key any more"},
			{"Entra lists it without its private key", func(s *scene) {
				s.signing.Certificates, s.signing.Keyless = s.signing.Certificates[:1], s.signing.Certificates[1:]
			}, "foreign_certificate: Entra does not list certificate new with its private key any more"},
			{"AWS does not trust it", func(s *scene) { s.trust.Certificates = s.trust.Certificates[:1] }, "foreign_certificate: AWS does not list the new certificate new any more"},
			{"AWS trusts other bytes of the same thumbprint", func(s *scene) { s.trust.Certificates[1].DER = []byte("forged") }, "foreign_certificate: AWS does not list the new certificate new any more"},
			{"AWS does not trust the old one", func(s *scene) { s.trust.Certificates = s.trust.Certificates[1:] }, "active_not_trusted: AWS does not trust the active certificate old any more, so nobody can sign in"},
			{"it is active, and AWS does not trust the old one", func(s *scene) {
				s.signing.ActiveThumbprint, s.trust.Certificates = s.certificates[1].Thumbprint, s.trust.Certificates[1:]
			}, ""},
			{"it has expired", func(s *scene) { s.validFor(0) }, "activation_failed: the new certificate new is valid for less than 30 days"},
			{"valid for ten minutes", func(s *scene) { s.validSince(10 * time.Minute) }, ""},
			{"valid for less", func(s *scene) { s.validSince(10*time.Minute - 1) }, pending},
			{"valid for another 30 days", func(s *scene) { s.validFor(30 * day) }, ""},
			{"valid for fewer", func(s *scene) { s.validFor(30*day - 1) }, "activation_failed: the new certificate new is valid for less than 30 days"},
		}...)},
		{rolledBack, guard.authorizeOld, activateOld, "old", "", readGap, append(bothReadTwice(), []outcome{
			{"another one is active", func(s *scene) { s.activate(s.certificate("other", day, year)) }, ""},
			{"Entra does not list it", func(s *scene) { s.signing.Certificates = s.signing.Certificates[1:] }, "foreign_certificate: Entra does not list certificate old with its private key any more"},
			{"AWS does not trust it", func(s *scene) { s.trust.Certificates = s.trust.Certificates[1:] }, "sign_in_failing: AWS does not trust the old certificate old any more, so it is not made active again"},
			{"valid", func(s *scene) { s.oldValidFor(1) }, ""},
			{"expired", func(s *scene) { s.oldValidFor(0) }, "sign_in_failing: the old certificate old has expired, so it is not made active again"},
			{"valid for less than 30 days", func(s *scene) { s.oldValidFor(day) }, ""},
		}...)},
		{withNew, guard.authorizeImport, importCreated, "new", "", 0, append(bothRead(), []outcome{
			{"our own call did not return it", func(s *scene) { s.record.Own = nil }, "foreign_certificate: certificate new was neither created by this exporter nor named by an operator"},
			{"our own call returned it, and an operator named it", func(s *scene) { s.record.Rotation.Named = s.record.Rotation.New.SHA256 }, ""},
			{"Entra shows other bytes under its subject", func(s *scene) {
				s.signing.Certificates[1] = s.certificate("other", time.Hour, year)
				s.signing.Certificates[1].Subject = "CN=new"
			}, "foreign_certificate: Entra shows certificate other under the subject of certificate new"},
			{"a newer one appears", func(s *scene) {
				s.signing.Certificates = append(s.signing.Certificates, s.certificate("newer", 0, 4*year))
			}, ""},
			{"Entra does not list it yet", func(s *scene) { s.signing.Certificates = s.signing.Certificates[:1] }, pending},
			{"Entra does not list it for a quarter of an hour", func(s *scene) { s.missingSince(15 * time.Minute) }, "foreign_certificate: Entra does not list certificate new with its private key any more"},
			{"Entra does not list it for less", func(s *scene) { s.missingSince(15*time.Minute - 1) }, pending},
			{"Entra does not list it, and both are without a subject", func(s *scene) {
				s.signing.Certificates = s.signing.Certificates[:1]
				s.signing.Certificates[0].Subject, s.record.Rotation.New.Subject = "", ""
			}, pending},
			{"Entra has no answer once", func(s *scene) { s.failOnce("entra", 1); s.signing.Certificates = s.signing.Certificates[:1] }, "no answer"},
			{"expired an hour ago", func(s *scene) { s.validFor(readGap - time.Hour) }, ""},
			{"expired before", func(s *scene) { s.validFor(-readGap - time.Hour - 1) }, "import_refused: certificate new has expired"},
		}...)},
		{named, guard.authorizeImport, importNamed, "new", "", 0, append(bothRead(), []outcome{
			{"an operator named another one", func(s *scene) { s.record.Rotation.Named = s.record.Rotation.Plan.Old.SHA256 }, "foreign_certificate: certificate new was neither created by this exporter nor named by an operator"},
			{"an operator named none", func(s *scene) { s.record.Rotation.Named = "" }, "foreign_certificate: certificate new was neither created by this exporter nor named by an operator"},
		}...)},
		{gone, guard.authorizeKept, importKept, "old", "", 0, append(bothRead(), []outcome{
			{"AWS did not trust it before", func(s *scene) { s.record.Rotation.Plan.Trusted = nil }, "signer_not_trusted: AWS did not trust the old certificate before, so it is not imported"},
			{"it was not deleted", func(s *scene) { delete(s.record.Rotation.Operations, OperationDelete) }, "signer_not_trusted: AWS did not trust the old certificate before, so it is not imported"},
			{"only another one was deleted", func(s *scene) { s.record.Rotation.Operations[OperationDelete][0].Why = string(deleteUnused) }, "signer_not_trusted: AWS did not trust the old certificate before, so it is not imported"},
			{"its deletion was refused", func(s *scene) { s.record.Rotation.Operations[OperationDelete][0].Outcome = model.CallRefused }, "signer_not_trusted: AWS did not trust the old certificate before, so it is not imported"},
			{"its deletion was never sent", func(s *scene) { s.record.Rotation.Operations[OperationDelete][0].Unsent = true }, "signer_not_trusted: AWS did not trust the old certificate before, so it is not imported"},
		}...)},
		{crowded, guard.authorizeUnused, deleteUnused, "expired", "entry-expired", readGap, append(bothReadTwice(), []outcome{
			{"AWS does not list it", func(s *scene) { s.trust.Certificates = s.trust.Certificates[:1] }, "aws_certificates_full: AWS does not list certificate expired, which an operator named as unused"},
			{"an operator named none", func(s *scene) { s.record.Rotation.Unused = "" }, "aws_certificates_full: AWS does not list certificate , which an operator named as unused"},
			{"expired for an hour", func(s *scene) { s.trust.Certificates[1].NotAfter = s.at.Add(s.skew - time.Hour - 1) }, ""},
			{"expired for less", func(s *scene) { s.trust.Certificates[1].NotAfter = s.at.Add(s.skew - time.Hour) }, "aws_certificates_full: certificate expired, which an operator named as unused, has not expired"},
			{"Entra has it", func(s *scene) {
				s.signing.Certificates = append(s.signing.Certificates, s.trust.Certificates[1].Certificate)
			}, "aws_certificates_full: Entra has certificate expired, which an operator named as unused"},
			{"no other is trusted", func(s *scene) { s.trust.Certificates = s.trust.Certificates[1:] }, "aws_certificates_full: AWS trusts no other valid certificate than expired, which an operator named as unused"},
			{"every other one has expired", func(s *scene) { s.trust.Certificates[0].NotAfter = s.ago(day) }, "aws_certificates_full: AWS trusts no other valid certificate than expired, which an operator named as unused"},
		}...)},
	} {
		for _, test := range append([]outcome{{"all holds", unspoiled, ""}}, group.tests...) {
			t.Run(string(group.why)+"/"+test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := group.scenes()
					began := time.Now()
					test.spoil(s)
					var got operationPermit
					var err error
					s.play(t, func(ctx context.Context, r runner) { got, err = group.authorize(guard(r), ctx) })
					switch {
					case test.want == "" && err != nil:
						t.Error(err)
					case test.want == "" && (string(got.certificate.DER) != group.target || got.why != group.why || got.id != group.id || !got.read.Equal(began.Add(group.took))):
						t.Errorf("the permit is %+v", got)
					case test.want != "" && (err == nil || s.named(err.Error()) != test.want):
						t.Errorf("got  %s\nwant %s", s.named(errorText(err)), test.want)
					case test.want != "" && got.certificate.SHA256 != "":
						t.Errorf("refused, with the permit %+v", got)
					}
				})
			})
		}
	}
}

// bothRead spoils what each permit needs of the readings.
func bothRead() []outcome {
	return []outcome{
		{"Entra has no answer", func(s *scene) { s.failing["entra"] = errNoAnswer }, "no answer"},
		{"AWS has no answer", func(s *scene) { s.failing["trust"] = errNoAnswer }, "no answer"},
		{"the binding is unknown", func(s *scene) { s.failing["binding"] = errNoAnswer }, "no answer"},
		{"another application", func(s *scene) { s.binding.ServicePrincipalID = "another" }, "binding_changed: since the rollover began the connection resolves to application another instead of principal"},
		{"another sign-on mode", func(s *scene) { s.signing.SSOMode = "password" }, `wrong_sso_mode: the application's single sign-on mode is "password", not "saml"`},
		{"no identity provider", func(s *scene) { s.trust.IDPConfigurations = 0 }, "wrong_target: AWS has 0 enabled identity providers, a rollover needs exactly one"},
		{"two identity providers", func(s *scene) { s.trust.IDPConfigurations = 2 }, "wrong_target: AWS has 2 enabled identity providers, a rollover needs exactly one"},
		{"another primary region", func(s *scene) { s.trust.PrimaryRegion = "us-east-1" }, "not_primary_region: the instance's primary region is us-east-1, the connection is configured for eu-central-1"},
		{"the primary region is unknown", func(s *scene) { s.trust.PrimaryRegion = "" }, ""},
		{"AWS's clock is unknown", func(s *scene) { s.noDate = true }, "reading AWS's clock: invalid_response: AWS's answer had no date"},
		{"AWS's clock is six minutes away", func(s *scene) { s.skew = -6 * time.Minute }, "clock: this machine's clock is 6m0s away from AWS's"},
	}
}

// bothReadTwice adds what a permit needs whose readings must be equal.
func bothReadTwice() []outcome {
	return append(bothRead(), []outcome{
		{"no two readings are equal", func(s *scene) { s.unstable = true }, "reading the SAML certificates: other: no two readings in a row are equal"},
		{"the readings are a minute old", func(s *scene) { s.slow = time.Minute }, ""},
		{"the readings are older", func(s *scene) { s.slow = time.Minute + 1 }, "a condition is not met yet"},
	}...)
}

// activate makes Entra list another certificate, which is the active one.
func (s *scene) activate(c model.Certificate) {
	s.signing.Certificates = append(s.signing.Certificates, c)
	s.signing.ActiveThumbprint = c.Thumbprint
}

// approve is an operator who approved the deletion of a certificate.
func (s *scene) approve(name string, ago time.Duration) {
	s.record.Rotation.Plan.TrustedBy = false
	s.record.Rotation.Approval = &journal.Approval{Target: Fingerprint([]byte(name)), At: s.ago(ago)}
}

// missingSince is an import that Entra has not shown the new certificate to for this long,
// when the fifth reading has not found it.
func (s *scene) missingSince(ago time.Duration) {
	s.signing.Certificates = s.signing.Certificates[:1]
	s.record.Rotation.Phases[len(s.record.Rotation.Phases)-1].At = s.timestamps(ago + readGap - (activeReads-1)*time.Second)
}

// validSince, validFor and oldValidFor change the dates of a certificate where it is
// journalled, by AWS's clock.
func (s *scene) validSince(ago time.Duration) {
	s.record.Rotation.New.NotBefore = s.at.Add(s.skew - ago)
}

func (s *scene) validFor(left time.Duration) {
	s.record.Rotation.New.NotAfter = s.at.Add(s.skew + left)
}

func (s *scene) oldValidFor(left time.Duration) {
	s.record.Rotation.Plan.Old.NotAfter = s.at.Add(s.skew + left)
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
