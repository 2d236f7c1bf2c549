package rotate_test

import (
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/harness"
)

// trusting is an edit of the guard of an activation that takes AWS's trust for granted.
var trusting = edit{"certificate/guard.authorizeActivation", "_, listed := s.signs(target.SHA256)", `$
	s.trust.Certificates = append(s.trust.Certificates, model.TrustedCertificate{Certificate: model.Certificate{DER: target.DER}})`}

// quickRolloverMutants are tested with every test run, the others by make mutants.
const quickRolloverMutants = 4

// rolloverMutants are the bugs of a rollover that its cases must catch.
var rolloverMutants = []rotationMutant{
	{"activate before import", "^rollover whole", []edit{
		{"certificate/importPhase.run", "s.trusts(rot.New.Certificate)", "true || $"},
		{"certificate/importPhase.imported", "!s.trusts(p.rotation().New.Certificate)", "$ && false"},
		{"certificate/settlePhase.compare", "!s.trusts(fresh)", "false"},
		{"certificate/activatePhase.verify", "!s.trusts(fresh)", "false"},
		trusting,
	}},
	{"import of what Entra shows instead of what create returned", "^trick", []edit{
		{"certificate/guard.authorizeImport", `return operationPermit{fresh, why, "", s.read}, nil`, `newest, _ := certificateOf(s.signing.Certificates[len(s.signing.Certificates)-1])
		return operationPermit{newest, why, "", s.read}, nil`},
	}},
	{"import of what our own call did not return", "^trick", []edit{
		{"certificate/guard.authorizeImport", "g.record().created(fresh)", "true"},
	}},
	{"delete before use", "^rollover:nobody", []edit{
		{"certificate/verifyPhase.run", `by != ""`, "true"},
	}},
	{"an import is not read back", "^rollover .*import_certificate:", []edit{
		{"certificate/importPhase.run", "s.trusts(rot.New.Certificate)", "$ || len(rot.Operations[OperationImport]) > 0"},
		{"certificate/importPhase.imported", "!s.trusts(p.rotation().New.Certificate)", "$ && false"},
		{"certificate/settlePhase.compare", "!s.trusts(fresh)", "false"},
		trusting,
	}},
	{"an import is read back by its subject, not by its bytes", "^rollover:AWS trusts another", []edit{
		{"certificate/sides.trusted", "!sameBytes(t.DER, c.DER)", "t.Subject != c.Subject"},
		{"certificate/settlePhase.compare", "!slices.Contains(rot.Plan.Trusted, fingerprint)", "false"},
	}},
	{"delete without approval", "^rollover:every deletion", []edit{
		{"certificate/guard.approved", "", "return true"},
	}},
	{"delete although Entra has lost the new one", "^rollover situation:the new certificate is removed in Entra$", []edit{
		{"certificate/lost", "!listed", "false && $"},
	}},
	{"delete the active one", "^rollover whole", []edit{
		{"certificate/guard.authorizeDeletion", "entries := s.trusted(old)", "entries := s.trusted(fresh)"},
	}},
	{"rollback to an expired one", "^rollover:the old one has expired", []edit{
		{"certificate/repairer.begin", "!r.expired(old.NotAfter)", "true"},
		{"certificate/guard.authorizeActivation", "why == activateOld && !g.now().Before(target.NotAfter)", "false"},
	}},
	{"no rollback", "^rollover blocked:sign_in_failing$", []edit{
		{"certificate/health.check", "!failing", "true || $"},
	}},
	{"null PATCH", "^rollover whole", []edit{
		{"certificate/guard.activate", "g.options.Application.ActivateCertificate(ctx, p.certificate.Thumbprint)", `g.options.Application.ActivateCertificate(ctx, "")`},
	}},
	{"create after expiry", "^rollover blocked:active_expired$", []edit{
		{"certificate/checkSigner", "!now.Before(active.NotAfter)", "false"},
		{"certificate/planPhase.checkLife", "", "return nil"},
	}},
	{"create shortly before expiry", "^rollover blocked:active_expiring$", []edit{
		{"certificate/planPhase.checkLife", "", "return nil"},
	}},
	{"old PEM not kept", "^rollover:the old one is made active", []edit{
		{"certificate/repairer.begin", "r.rotation().deletionTried()", "false"},
	}},
	{"create sent again after an unknown answer", "^rollover .*create_certificate:", []edit{
		{"certificate/createPhase.run", "rot.creating()", "false"},
	}},
	{"a hundred certificates a week", "^rollover blocked:budget_exhausted$", []edit{
		{"policy/CertificatesExceeded", "week >= maxCertificatesPerWeek", "week >= 100"},
		{"policy/CertificatesExceeded", "month >= maxCertificatesPerMonth", "month >= 100"},
	}},
	{"activated at once after the import", "^rollover:AWS trusts late", []edit{
		{"certificate/settlePhase.run", "left > 0", "false"},
	}},
	{"confirmed without a sign-in", "^rollover whole", []edit{
		{"certificate/confirmPhase.run", `by != ""`, "true"},
	}},
	{"import of the signer without an operator", "^rollover blocked:signer_not_trusted$", []edit{
		{"certificate/checkSigner", "!s.trusts(signer)", "false"},
	}},
	{"whatever somebody else made waits for nobody", "^rollover blocked:foreign_certificate$", []edit{
		{"certificate/planPhase.findExisting", "!seen", "$ && false"},
	}},
}

// inRollover is a case of its own.
func inRollover(name string, allowed []string, change func(*harness.Scenario)) matrixCase {
	s := rolloverScenario()
	change(&s)
	return matrixCase{Scenario: s, name: "rollover:" + name, allowed: allowed}
}

// rolloverCases are the cases that only the mutants of a rollover need.
func rolloverCases() []matrixCase {
	return []matrixCase{
		inRollover("nobody signs in", []string{"waiting proof_pending"}, func(s *harness.Scenario) {
			s.Spec.SignInEvery, s.Approves, s.Rolls.Approval, s.Limit = 0, false, model.ApprovalAlways, 2*day
		}),
		inRollover("every deletion needs an approval, and there is none", []string{"waiting approval"}, func(s *harness.Scenario) {
			s.Approves, s.Rolls.Approval, s.Limit = false, model.ApprovalAlways, 2*day
		}),
		inRollover("AWS trusts late", []string{"done"}, func(s *harness.Scenario) { s.Quirks = quirk("trust_lag", "10m0s") }),
		inRollover("AWS trusts another certificate of its subject", []string{"blocked foreign_certificate"}, func(s *harness.Scenario) {
			s.Quirks, s.Rolls.Slots = quirk("trust_slots", clouds.SlotsThree), 3
			s.BeforeCall = inPhase(model.PhaseImport, "", func(h *harness.Harness) {
				h.TrustCertificate(clouds.ActorOperator, h.ForeignCertificate(h.NewestCertificate().Subject[len("CN="):]))
			})
		}),
		inRollover("the old one is made active after its deletion", []string{"blocked activation_reverted"}, func(s *harness.Scenario) {
			s.BeforeCall = inPhase(model.PhaseConfirm, "", func(h *harness.Harness) { h.ActivateCertificate(clouds.ActorTerraform, h.OldCertificate()) })
		}),
		inRollover("the old one has expired, and sign-ins fail", []string{"blocked sign_in_failing"}, func(s *harness.Scenario) {
			s.Spec.Certificates[0].Left, s.Spec.SignInEvery = 15*day, time.Minute
			s.Rolls.RetireAfter, s.Limit = 20*day, 19*day
			began := time.Time{}
			s.BeforeCall = func(h *harness.Harness, _ string) {
				if began.IsZero() {
					began = time.Now()
				}
				if time.Since(began) > 16*day {
					h.WithClouds(func(m *clouds.Model) { must(m.SetQuirk("sign_in_noise", clouds.NoiseSome)) })
				}
			}
		}),
	}
}
