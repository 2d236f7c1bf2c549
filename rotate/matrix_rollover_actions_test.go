package rotate_test

import (
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/certificate"
	"entra-aws-exporter/test/harness"
)

// The matrix of the certificate's rollover: see docs/rotation-proof.md.

// rolloverActions are what operators, other tools and AWS do during a rollover, with the
// outcomes that each allows.
func rolloverActions() []externalAction {
	newest := func(h *harness.Harness) string { return h.NewestCertificate().Thumbprint }
	mode := func(mode string) func(h *harness.Harness, m *clouds.Model) error {
		return func(h *harness.Harness, m *clouds.Model) error {
			return m.SetSingleSignOn(clouds.ActorOperator, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, mode)
		}
	}
	return []externalAction{
		{
			name:    "operator uploads another certificate at AWS",
			do:      func(h *harness.Harness) { h.TrustCertificate(clouds.ActorOperator, h.ForeignCertificate("theirs")) },
			allowed: []string{"done", "blocked aws_certificates_full", "blocked foreign_certificate", "blocked import_refused"},
		},
		{
			name:    "operator makes a certificate",
			do:      func(h *harness.Harness) { h.MakeCertificate(clouds.ActorOperator, "CN=theirs") },
			allowed: []string{"done", "blocked foreign_certificate"},
		},
		{
			name: "operator makes a certificate active that AWS does not trust",
			do: func(h *harness.Harness) {
				h.ActivateCertificate(clouds.ActorOperator, h.MakeCertificate(clouds.ActorOperator, "CN=theirs"))
			},
			allowed: []string{"done", "blocked activation_reverted", "blocked signer_not_trusted"},
		},
		{
			name:    "operator makes the old certificate active",
			do:      func(h *harness.Harness) { h.ActivateCertificate(clouds.ActorOperator, h.OldCertificate()) },
			allowed: []string{"done", "blocked activation_reverted"},
		},
		{
			name: "operator makes the new certificate active",
			do: func(h *harness.Harness) {
				if made := newest(h); made != "" {
					h.ActivateCertificate(clouds.ActorOperator, made)
				}
			},
			allowed: []string{"done"},
		},
		{
			name:    "operator deletes the old certificate at AWS",
			do:      func(h *harness.Harness) { h.DistrustCertificate(clouds.ActorOperator, h.OldCertificate()) },
			allowed: []string{"done", "blocked active_not_trusted", "blocked signer_not_trusted"},
		},
		{
			name:    "operator deletes the new certificate at AWS",
			do:      func(h *harness.Harness) { h.DistrustCertificate(clouds.ActorOperator, newest(h)) },
			allowed: []string{"done", "blocked foreign_certificate"},
		},
		{
			name:    "operator removes the new certificate in Entra",
			do:      removeNewInEntra(),
			allowed: []string{"done", "blocked foreign_certificate"},
		},
		{
			name: "terraform replaces the certificate",
			do: harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
				_, err := m.ReplaceSigningCertificate(clouds.ActorTerraform, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID)
				return err
			}),
			allowed: []string{"done", "blocked activation_reverted", "blocked signer_not_trusted"},
		},
		{
			name:    "operator changes the sign-on mode",
			do:      harness.ActionOn(mode("password")),
			allowed: []string{"done", "blocked wrong_sso_mode"},
		},
		{
			name: "operator changes the sign-on mode for an hour",
			do: func(h *harness.Harness) {
				harness.ActionOn(mode("password"))(h)
				harness.After(time.Hour, mode(model.SingleSignOnSAML))(h)
			},
			allowed: []string{"done", "blocked wrong_sso_mode"},
		},
		{
			name: "the IdP configuration is replaced",
			do: harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
				return m.ReplaceIdP(clouds.ActorOperator, h.Connection.IdentityStoreID)
			}),
			allowed: []string{"done", "blocked *"},
		},
		{
			name: "a second IdP configuration is added",
			do: harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
				return m.AddIdP(clouds.ActorOperator, h.Connection.IdentityStoreID)
			}),
			allowed: []string{"done", "blocked wrong_target", "blocked import_refused"}, // there is no one provider to import it for
		},
		{
			name:    "sign-ins begin to fail",
			do:      signInsFail,
			allowed: []string{"done", "blocked sign_in_failing"},
		},
		{
			name: "nobody signs in any more",
			do: harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
				return m.SetSignInInterval(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, 0)
			}),
			allowed: []string{"done", "waiting proof_pending"},
		},
		{
			name:    "CloudTrail cannot be read any more",
			do:      deny(clouds.LookupEventsAction),
			allowed: []string{"done"},
		},
		{
			name:    "operator approves it",
			do:      func(h *harness.Harness) { h.ApprovedBlindly = true; approveNow(h) },
			allowed: []string{"done"},
		},
		{
			name:    "operator holds it for a day",
			do:      holdForADay,
			allowed: []string{"done", "waiting held"},
		},
		{
			name:    "operator aborts it",
			do:      abortNow,
			allowed: []string{"done", "aborted"},
		},
		{
			name: "rollovers are disabled",
			do: func(h *harness.Harness) {
				configured(func(o *certificate.Options) { o.Policy.Mode = model.RotationDisabled })(h)
				h.ReloadRollover()
			},
			allowed: []string{"done"},
		},
		{
			name: "a second replica starts",
			do: func(h *harness.Harness) {
				h.ExtraProcesses = append(h.ExtraProcesses, serveBeside(h.Ctx, h))
			},
			allowed: []string{"done"},
		},
		{
			name:    "AWS's clock jumps two days ahead for an hour",
			do:      harness.SkewClocks(48*time.Hour, time.Hour),
			allowed: []string{"done", "blocked clock"},
		},
		{
			name:    "AWS's clock jumps two days back for good",
			do:      harness.SkewClocks(-48*time.Hour, 0),
			allowed: []string{"done", "blocked clock"},
		},
		{
			name: "an earlier state is restored",
			do: func(h *harness.Harness) {
				h.Note("an earlier state is restored")
				h.Store.Restore(len(h.Store.History) * 2 / 3)
			},
			prepare: func(h *harness.Harness) { h.Store.KeepHistory = true },
			allowed: []string{"done", "blocked state_restored"},
		},
	}
}

// signInsFail lets every seventh sign-in fail from now on, for a reason that no certificate is.
func signInsFail(h *harness.Harness) {
	h.WithClouds(func(m *clouds.Model) { must(m.SetQuirk("sign_in_noise", clouds.NoiseSome)) })
}

// removeNewInEntra removes every certificate but the one that was active first.
func removeNewInEntra() func(*harness.Harness) {
	return harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
		return m.ChangeApplication(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, func(sp *clouds.ServicePrincipal) {
			sp.Certificates = slices.DeleteFunc(slices.Clone(sp.Certificates), func(c clouds.SigningCertificate) bool {
				return c.Subject() != "CN=Microsoft Azure Federated SSO Certificate"
			})
		})
	})
}
