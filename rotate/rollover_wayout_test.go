package rotate_test

import (
	"context"
	"regexp"
	"slices"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/certificate"
	"entra-aws-exporter/rotate/token"
	"entra-aws-exporter/test/harness"
)

// TestRolloverWaysOut plays the ways out of every reason that blocks a rollover.
func TestRolloverWaysOut(t *testing.T) {
	waysOut{
		kind: model.ProcedureCertificate, ways: rolloverWaysOut(), section: "ways out of a rollover",
		base: harness.RolloverScenario, blocked: blockedRollovers, id: fingerprint, shown: "SHA256",
		accept: func(h *harness.Harness, id string) {
			h.NamedThumbprints = append(h.NamedThumbprints, thumbprintOf(h, id))
		},
		start: func(h *harness.Harness, p *harness.Process, flag func(string) bool, id string) error {
			options := certificate.StartOptions{}
			if flag("--certificate") {
				options.Certificate = id
			}
			if flag("--retire-certificate") {
				options.Unused = id
			}
			return p.Engine.StartRollover(h.Ctx, h.Connection.Name, flag("--force"), options)
		},
		check: func(t *testing.T, h *harness.Harness) {
			if signer, accepted, err := h.Clouds.Signer(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID); !accepted {
				t.Errorf("AWS does not accept what certificate %s signs: %v", signer, err)
			}
		},
	}.run(t)
}

var fingerprint = regexp.MustCompile(`[0-9a-f]{64}`)

// byOperator makes a way of what an operator does to the certificates.
func byOperator(do func(*harness.Harness)) func(*harness.Harness, *harness.Process) string {
	return func(h *harness.Harness, _ *harness.Process) string {
		do(h)
		return ""
	}
}

// fingerprintOf is the fingerprint of a certificate in Entra, by its thumbprint.
func fingerprintOf(h *harness.Harness, thumbprint string) string {
	return certificate.Fingerprint(listedIn(h, thumbprint).DER)
}

func listedIn(h *harness.Harness, thumbprint string) (found model.Certificate) {
	for _, c := range h.Certificates() {
		if c.Thumbprint == thumbprint {
			found = c
		}
	}
	return found
}

// otherThan is the certificate in Entra that is neither the old nor the exporter's.
func otherThan(h *harness.Harness) model.Certificate {
	for _, c := range h.Certificates() {
		if c.Thumbprint != h.OldCertificate() && c.Thumbprint != h.NewestCertificate().Thumbprint {
			return c
		}
	}
	return model.Certificate{}
}

// makeByHand makes a certificate in Entra and returns its fingerprint.
func makeByHand(h *harness.Harness, _ *harness.Process) string {
	return fingerprintOf(h, h.MakeCertificate(clouds.ActorOperator, "CN=by hand"))
}

// rolledOverByHand is an operator who rolls over in the right order.
func rolledOverByHand(h *harness.Harness, p *harness.Process) string {
	makeByHand(h, p)
	made := otherThan(h)
	h.TrustCertificate(clouds.ActorOperator, made)
	h.ActivateCertificate(clouds.ActorOperator, made.Thumbprint)
	return ""
}

// removeFromEntra removes a certificate in Entra.
func removeFromEntra(h *harness.Harness, thumbprint string) {
	harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
		return m.ChangeApplication(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, func(sp *clouds.ServicePrincipal) {
			sp.Certificates = slices.DeleteFunc(sp.Certificates, func(c clouds.SigningCertificate) bool { return c.Thumbprint() == thumbprint })
		})
	})(h)
}

// reconfiguredRollover reloads the connection as it was meant to be.
func reconfiguredRollover(h *harness.Harness, p *harness.Process) string {
	h.ConfigureRollover = nil
	p.Engine.Engine.Configure([]rotate.Connection{h.RolloverConnection(p, h.Connection.Name)})
	return ""
}

// terraformActivates is a tool that makes another certificate active while users sign in.
func terraformActivates(s *harness.Scenario) {
	s.BeforeCall = inPhase(model.PhaseVerify, "", func(h *harness.Harness) {
		h.ActivateCertificate(clouds.ActorTerraform, h.MakeCertificate(clouds.ActorTerraform, "CN=terraform"))
	})
}

// rolloverWaysOut are the ways out of every reason.
func rolloverWaysOut() []wayOut {
	const reset, adopt, adoptInUse, named = "rotation reset corp", "rotation adopt corp", "rotation adopt corp --in-use ID", "rotation start corp --certificate SHA256"
	var journalled []byte
	return []wayOut{
		{model.BlockedActiveUnknown, nil, "makes the certificate active", byOperator(func(h *harness.Harness) {
			h.ActivateCertificate(clouds.ActorOperator, h.Certificates()[0].Thumbprint)
		}), reset, "done"},
		{model.BlockedActiveExpired, nil, "makes the one active that signs", byOperator(func(h *harness.Harness) {
			h.ActivateCertificate(clouds.ActorOperator, otherThan(h).Thumbprint)
		}), reset, "not due"},
		{model.BlockedActiveExpired, certificates(clouds.CertificateSpec{Age: 1100 * day, Left: -5 * day, Active: true, Trusted: true}), "there is none: adds one", makeByHand, named, "done"},
		{model.BlockedActiveExpiring, nil, "watches", nil, reset + ", rotation start corp --kind certificate --force", "done"},
		{model.BlockedActiveNotTrusted, nil, "uploads the certificate", byOperator(func(h *harness.Harness) {
			h.TrustCertificate(clouds.ActorOperator, listedIn(h, h.OldCertificate()))
		}), reset, "done"},
		{model.BlockedSignerNotTrusted, nil, "knows who made the certificate", func(h *harness.Harness, _ *harness.Process) string {
			return certificate.Fingerprint(otherThan(h).DER)
		}, named, "done"},
		{model.BlockedSignerNotTrusted, terraformActivates, "during a rollover: removes a certificate at AWS, knows who made the other one", func(h *harness.Harness, _ *harness.Process) string {
			h.DistrustCertificate(clouds.ActorOperator, h.NewestCertificate().Thumbprint)
			return certificate.Fingerprint(otherThan(h).DER)
		}, named, "done"},
		{model.BlockedCertificatesFull, nil, "names the expired one, which is not in Entra", func(h *harness.Harness, _ *harness.Process) string {
			expired := otherThan(h)
			removeFromEntra(h, expired.Thumbprint)
			return certificate.Fingerprint(expired.DER)
		}, "rotation start corp --kind certificate --retire-certificate SHA256", "done"},
		{model.BlockedCertificatesFull, nil, "removes one at AWS", byOperator(func(h *harness.Harness) {
			h.DistrustCertificate(clouds.ActorOperator, otherThan(h).Thumbprint)
		}), reset, "done"},
		{model.BlockedCertificatesFull, func(s *harness.Scenario) {
			blockedRollovers[model.BlockedCertificatesFull](s)
			s.Begin = func(h *harness.Harness, p *harness.Process) {
				forced(certificate.StartOptions{Certificate: makeByHand(h, p)})(h, p)
			}
		}, "has named a certificate: removes one at AWS", func(h *harness.Harness, _ *harness.Process) string {
			h.DistrustCertificate(clouds.ActorOperator, h.Certificates()[1].Thumbprint)
			return certificate.Fingerprint(h.Certificates()[2].DER)
		}, named, "done"},
		{model.BlockedForeignCertificate, nil, "accepts the certificate", nil, adopt, "done"},
		{model.BlockedForeignCertificate, nil, "wants the certificate", func(h *harness.Harness, _ *harness.Process) string {
			return certificate.Fingerprint(otherThan(h).DER)
		}, named, "done"},
		{model.BlockedForeignCertificate, func(s *harness.Scenario) {
			s.BeforeCall = inPhase(model.PhaseSettle, "", func(h *harness.Harness) { h.MakeCertificate(clouds.ActorOperator, "CN=by hand") })
		}, "during a rollover: removes the new certificate at AWS, wants the other one", func(h *harness.Harness, _ *harness.Process) string {
			h.DistrustCertificate(clouds.ActorOperator, h.NewestCertificate().Thumbprint)
			return certificate.Fingerprint(otherThan(h).DER)
		}, named, "done"},
		{model.BlockedCreateAmbiguous, nil, "removes the one that the exporter did not make", byOperator(func(h *harness.Harness) {
			removeFromEntra(h, otherThan(h).Thumbprint)
		}), reset, "done"},
		{model.BlockedImportRefused, nil, "uploads the new certificate", byOperator(func(h *harness.Harness) {
			must(h.Clouds.SetQuirk("certificate_use", clouds.UseKnown))
			h.TrustCertificate(clouds.ActorOperator, h.NewestCertificate())
		}), reset, "done"},
		{model.BlockedImportRefused, nil, "corrects `certificate_use`", setQuirk("certificate_use", clouds.UseKnown), reset, "done"},
		{model.BlockedActivationFailed, nil, "makes the new certificate active", byOperator(func(h *harness.Harness) {
			h.ActivateCertificate(clouds.ActorOperator, h.NewestCertificate().Thumbprint)
		}), reset, "done"},
		{model.BlockedActivationReverted, nil, "stops what made the other one active", nil, reset, "done"},
		{model.BlockedActivationReverted, nil, "leaves the other one active", nil, adopt, "done"},
		{model.BlockedSignInFailing, nil, "ends what makes sign-ins fail", setQuirk("sign_in_noise", clouds.NoiseNone), reset, "done"},
		{model.BlockedNotPrimaryRegion, nil, "corrects `aws.region`", reconfiguredRollover, reset, "done"},
		{model.BlockedWrongSSOMode, nil, "sets single sign-on to SAML", by(func(h *harness.Harness, m *clouds.Model) error {
			return m.SetSingleSignOn(clouds.ActorOperator, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, model.SingleSignOnSAML)
		}), reset, "done"},
		{model.BlockedPolicyRefused, nil, "changes the policy", setQuirk("app_policy", clouds.PolicyAllows), reset, "done"},
		{model.BlockedPolicyRefused, nil, "makes a certificate by hand", func(h *harness.Harness, p *harness.Process) string {
			must(h.Clouds.SetQuirk("app_policy", clouds.PolicyAllows))
			return makeByHand(h, p)
		}, named, "done"},
		{model.BlockedNationalCloud, nil, "adds a certificate by hand", makeByHand, named, "done"},
		{model.BlockedWrongTarget, nil, "removes the other identity provider", by(func(h *harness.Harness, m *clouds.Model) error {
			return m.RemoveIdP(clouds.ActorOperator, h.Connection.IdentityStoreID)
		}), reset, "done"},
		{model.BlockedBindingChanged, nil, "accepts the change", func(h *harness.Harness, p *harness.Process) string {
			if binding, err := p.Resolve(h.Ctx); err == nil {
				h.WithClouds(func(*clouds.Model) { h.Connection.Binding = binding })
			}
			return ""
		}, adopt, "done"},
		{model.BlockedDeleteRefused, nil, "deletes the old certificate", byOperator(func(h *harness.Harness) {
			h.DistrustCertificate(clouds.ActorOperator, h.OldCertificate())
		}), reset, "done"},
		{model.BlockedPermission, nil, "grants the permission", allow(clouds.ImportIdPCertificateAction), reset, "done"},
		{model.BlockedOwnCredentialExpiring, nil, "renews the sign-in", reconfiguredRollover, reset, "done"},
		{model.BlockedJournalUnreadable, func(s *harness.Scenario) {
			s.BeforeCall = inPhase(model.PhaseVerify, "", func(h *harness.Harness) { journalled = h.Store.Replace(h.Connection.Key(), []byte("{")) })
		}, "restores the file", byOperator(func(h *harness.Harness) { h.Store.Replace(h.Connection.Key(), journalled) }), "rotation show corp", "done"},
		{model.BlockedJournalUnreadable, nil, "moves the file away, restarts", func(h *harness.Harness, p *harness.Process) string {
			h.Store.Replace(h.Connection.Key(), nil)
			restart(h, p)
			return ""
		}, adoptInUse, "not due"},
		{model.BlockedStateRestored, nil, "compares", nil, adoptInUse, "not due"},
		{model.BlockedStoreUnsafe, nil, "moves the directory, restarts", func(h *harness.Harness, p *harness.Process) string {
			restart(h, p)
			return ""
		}, "", "done"},
		{model.BlockedClock, nil, "sets the clock", by(func(_ *harness.Harness, m *clouds.Model) error {
			m.SetSkew(clouds.Skew{})
			return nil
		}), reset, "done"},
		{model.BlockedAPIChanged, nil, "updates the exporter", nil, reset, "done"},
		{model.BlockedAPIChanged, nil, "rolls over by hand", rolledOverByHand, adopt, "not due"},
		{model.BlockedAttemptsExhausted, nil, "removes the cause", nil, reset, "done"},
		{model.BlockedBudgetExhausted, nil, "waits a week", byOperator(func(*harness.Harness) { time.Sleep(7 * day) }), reset, "done"},
		{model.BlockedConnectionRemoved, nil, "puts the connection back", reconfiguredRollover, reset, "done"},
		{model.BlockedConnectionRemoved, nil, "finishes by hand", nil, adopt, "closed"},
		{model.BlockedFleetHalt, nil, "resolves the other connections", func(h *harness.Harness, _ *harness.Process) string {
			others := []string{"first", "second"}
			h.Configure = func(own token.Options) []token.Options {
				return []token.Options{own, {Connection: others[0]}, {Connection: others[1]}}
			}
			h.ConfigureRollover = func(o *certificate.Options) {
				if name := o.Connection; slices.Contains(others, name) {
					o.Resolve = func(context.Context) (model.Binding, error) {
						binding := h.Connection.Binding
						binding.ServicePrincipalID = name
						return binding, nil
					}
				}
			}
			return ""
		}, "rotation reset each of them", "done"},
	}
}

// thumbprintOf is the thumbprint of the certificate in Entra with this fingerprint.
func thumbprintOf(h *harness.Harness, fingerprint string) string {
	for _, c := range h.Certificates() {
		if certificate.Fingerprint(c.DER) == fingerprint {
			return c.Thumbprint
		}
	}
	return ""
}
