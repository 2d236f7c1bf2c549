package app

import (
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// TestDoctorOfTheRollover breaks what a rollover needs, one after the other. doctor says
// each once, with what to do.
func TestDoctorOfTheRollover(t *testing.T) {
	day := 24 * time.Hour
	expiring, untrusted := clouds.Healthy("corp"), clouds.Healthy("corp")
	expiring.Certificates = []clouds.CertificateSpec{{Age: 1085 * day, Left: 10 * day, Active: true, Trusted: true}}
	untrusted.Certificates = []clouds.CertificateSpec{{Age: 40 * day, Left: 1055 * day, Active: true}, {Age: 1000 * day, Left: 90 * day, Trusted: true}}
	change := func(h *harness, edit func(*clouds.ServicePrincipal)) func(*clouds.Model) error {
		return func(m *clouds.Model) error {
			return m.ChangeApplication(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, edit)
		}
	}
	for name, test := range map[string]struct {
		spec   clouds.ConnectionSpec
		change func(h *harness) func(*clouds.Model) error
		want   []string
	}{
		"nothing": {clouds.Healthy("corp"), nil, []string{
			"rollover of corp\n", "ok      single sign-on                 SAML, 1 certificate\n",
			"ok      identity provider at AWS       in eu-central-1; import and delete permissions cannot be tested without using them\n",
			"ok      room at AWS                    1 of 2 places taken (saml.rollover.aws_slots)\n", "trusted by AWS\n",
			"ok      write permission               Application.ReadWrite.OwnedBy\n", "ok      owner of the application       yes\n",
			"ok      owner of the app registration  yes\n", "ok      sign-ins                       CloudTrail: 14", " sign-ins by 3 users in the last day, 0 failures\n",
		}},
		"the mode": {clouds.Healthy("corp"), func(h *harness) func(*clouds.Model) error {
			return change(h, func(sp *clouds.ServicePrincipal) { sp.SSOMode = "password" })
		}, []string{`the application's mode is "password", not "saml", so no certificate signs (set saml.service_principal_id to the application that signs users in to AWS)`, "1 check failed"}},
		"two providers": {clouds.Healthy("corp"), func(h *harness) func(*clouds.Model) error {
			return func(m *clouds.Model) error { return m.AddIdP(clouds.ActorOperator, h.Connection.IdentityStoreID) }
		}, []string{"FAILED  identity provider at AWS       ambiguous\n", "AWS has 2 enabled SAML identity providers, and a rollover needs exactly one", "1 check failed"}},
		"no room": {clouds.Healthy("corp"), func(h *harness) func(*clouds.Model) error {
			return func(m *clouds.Model) error {
				another := m.NewCertificate("another", m.Now(), m.Now().AddDate(1, 0, 0))
				_, err := m.ImportIdPCertificate(clouds.CallerFor(clouds.ActorOperator), h.Connection.IdPID, h.Connection.IdentityStoreID,
					string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: another.DER()})), clouds.CertificateUse)
				return err
			}
		}, []string{"AWS trusts 2 certificates, and takes no more than 2 (saml.rollover.aws_slots) (remove one that Entra does not sign with, or let a rollover delete an expired one: rotation start corp --kind certificate --retire-certificate SHA256)", "1 check failed"}},
		"soon":      {expiring, nil, []string{"FAILED  active certificate             other\n", "expires within 14 days, so a rollover starts only for an operator (docs/rotation-reasons.md#active_expiring says what is safe)"}},
		"untrusted": {untrusted, nil, []string{"which AWS does not trust, so nobody can sign in (if you know it: rotation start corp --certificate "}},
		"no role": {clouds.Healthy("corp"), func(h *harness) func(*clouds.Model) error {
			return func(m *clouds.Model) error {
				return m.ChangeRegistration(h.Connection.EntraTenantID, h.Credentials.Tenants[0].Registration.ClientID, func(r *clouds.AppRegistration) {
					r.Roles = without(r.Roles, []string{clouds.RoleApplicationOwned})
				})
			}
		}, []string{"FAILED  write permission               permission\n", "the exporter may not write applications (grant the application permission Application.ReadWrite.OwnedBy with admin consent)"}},
		"no owner": {clouds.Healthy("corp"), func(h *harness) func(*clouds.Model) error {
			return change(h, func(sp *clouds.ServicePrincipal) { sp.Owners = nil })
		}, []string{"FAILED  owner of the application       permission\n", "owner of the AWS application\n", `servicePrincipals/$application/owners/\$ref`}},
		"no owner of the registration": {clouds.Healthy("corp"), func(h *harness) func(*clouds.Model) error {
			return change(h, func(sp *clouds.ServicePrincipal) { sp.RegistrationOwners = nil })
		}, []string{"FAILED  owner of the app registration  permission\n", "so it cannot make a certificate (make it an owner)", "  tenant tenant-1: owner of the app registration of the AWS application\n",
			`applications/$registration/owners/\$ref`, "1 check failed"}},
		"no CloudTrail": {clouds.Healthy("corp"), func(*harness) func(*clouds.Model) error {
			return func(m *clouds.Model) error { return m.SetQuirk("cloudtrail", clouds.TrailAbsent) }
		}, []string{"ok      sign-ins                       CloudTrail: 0 sign-ins by 0 users in the last day, 0 failures; Entra's sign-in log: 1", "by 3 users in the last day, 0 failures\n"}},
		"no log": {clouds.Healthy("corp"), func(*harness) func(*clouds.Model) error {
			return func(m *clouds.Model) error {
				m.Deny(clouds.ActorExporter, clouds.LookupEventsAction, clouds.DenyMissing)
				m.Deny(clouds.ActorExporter, clouds.ReadSignInLog, clouds.DenyMissing)
				return nil
			}
		}, []string{"FAILED  sign-ins                       permission\n", "neither CloudTrail nor Entra's sign-in log can be read, so an operator must tell that users sign in (allow cloudtrail:LookupEvents, or grant AuditLog.Read.All)",
			"  AWS of corp: cloudtrail:LookupEvents\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, []clouds.ConnectionSpec{test.spec})
				h.edit("saml: {aws_certificates: console_api}", rolloverEnabled)
				if test.change != nil {
					h.With(func(m *clouds.Model) {
						if err := test.change(h)(m); err != nil {
							t.Fatal(err)
						}
					})
				}
				_, printed, _ := strings.Cut(h.doctor("corp"), "rotation of corp\n")
				expectLines(t, printed, test.want...)
				if n := h.mutations(); n != 0 {
					t.Errorf("doctor made %d changes", n)
				}
			})
		})
	}
}

// TestDoctorRolloverOff: what a rollover does not need is not tried.
func TestDoctorRolloverOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		if printed := h.doctor("corp"); strings.Contains(printed, "rollover of corp") {
			t.Errorf("with saml.rollover.mode: disabled:\n%s", printed)
		}
	})
	r := &rolloverChecker{cloud: model.CloudUSGov}
	if shown, err := r.ownsRegistration(t.Context()); !errors.Is(err, model.ErrSourceOff) || shown != "Graph makes no certificates in cloud usgov: name one with rotation start --certificate" {
		t.Errorf("in a national cloud: %q, %v", shown, err)
	}
}
