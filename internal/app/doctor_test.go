package app

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"entra-aws-exporter/internal/simulator/clouds"
)

// doctor returns what doctor prints for one connection; "": for all.
func (h *harness) doctor(only string) string {
	h.t.Helper()
	return h.command(func(ctx context.Context, options Options) error { return Doctor(ctx, options, only) })
}

func expectLines(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, line) {
			t.Errorf("missing %q in:\n%s", line, text)
		}
	}
}

func TestDoctor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp"), clouds.Quarantined("quarantined")})
		corp := h.doctor("corp")
		expectLines(t, corp, "host\n", "ok      state directory", "tenant tenant-1\n", "ok      provisioning log",
			"ok      SCIM endpoint                  accepts the token (200)", "rotation of corp\n", "ok      test connection                passed")
		if strings.Contains(corp, "FAILED") || strings.Contains(corp, "connection quarantined") {
			t.Errorf("of the healthy connection alone:\n%s", corp)
		}
		expectLines(t, h.doctor(""), "connection corp\n", "connection quarantined\n",
			"FAILED  SCIM endpoint                  auth\n          probing the SCIM endpoint: auth: AWS answered 401 (the token has expired, was deleted",
			"FAILED  test connection                auth\n", "AWS rejects the token that Entra holds: rotate it",
			"2 checks failed")
		expectLines(t, h.doctor("typo"), `unknown connection "typo"; configured: corp, quarantined`)
	})
}

// Doctor makes no call for a disabled source, so missing permissions do not matter.
func TestDoctorSkipsDisabledSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp"), clouds.Healthy("lab")})
		h.edit("rotation: {mode: enabled, ", "rotation: {mode: disabled, ")
		before, after, _ := strings.Cut(h.read("exporter.yml"), fastIntervals)
		h.write("exporter.yml", before+"intervals: {tokens: 0, scim: 0, usage: 0, job: 0, events: 0, certificates: 0, app_credentials: 0}"+after)
		h.With(func(w *clouds.Model) {
			w.Deny(clouds.ActorExporter, clouds.ReadProvisioningLog, clouds.DenyMissing)
			w.Deny(clouds.ActorExporter, clouds.ListBearerTokensAction, clouds.DenySCP)
		})
		if corp, want := h.doctor("corp"), `tenant tenant-1
  off     sign-in, own credentials       intervals.app_credentials: 0
  off     provisioning log               intervals.events: 0
connection corp
  off     AWS credentials                intervals.tokens, scim, usage: 0
  off     AWS instance and tenant        intervals.tokens, scim, usage: 0
  off     SCIM tokens                    intervals.tokens: 0
  off     SCIM endpoint                  intervals.scim: 0
  off     Entra application and job      intervals.job: 0
  off     provisioning job               intervals.job: 0
  off     SAML certificates at Entra     intervals.certificates: 0
  off     CloudTrail                     intervals.usage: 0
  off     SAML certificates at AWS       intervals.certificates: 0
`; !strings.HasSuffix(corp, want) {
			t.Errorf("printed:\n%s\nwant at the end:\n%s", corp, want)
		}
		expectLines(t, h.doctor("lab"), "FAILED  provisioning log ", "FAILED  SCIM tokens ", "2 checks failed")
	})
}

// Doctor names the missing permission, and the addresses that may call SCIM.
func TestDoctorNamesMissingPermissions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		h.With(func(w *clouds.Model) {
			w.Deny(clouds.ActorExporter, clouds.ReadProvisioningLog, clouds.DenyMissing)
			w.Deny(clouds.ActorExporter, clouds.ListBearerTokensAction, clouds.DenySCP)
			if err := w.AllowSources(clouds.ActorOperator, h.Connection.IdentityStoreID, netip.MustParsePrefix("203.0.113.0/24")); err != nil {
				t.Fatal(err)
			}
		})
		expectLines(t, h.doctor("corp"),
			"FAILED  provisioning log               permission\n",
			"(grant the application permission ProvisioningLog.Read.All (AuditLog.Read.All in older tenants) with admin consent)",
			"an explicit deny, such as a service control policy, forbids sso-directory:ListBearerTokens",
			"FAILED  SCIM endpoint                  permission\n",
			"AWS answered 403 (the identity store allows SCIM calls from 203.0.113.0/24: check that this host is one of them)")
		h.With(func(w *clouds.Model) {
			w.Deny(clouds.ActorExporter, clouds.DescribeIdentityStoreAction, clouds.DenyMissing)
		})
		expectLines(t, h.doctor("corp"), "cannot read which addresses may call the SCIM endpoint", "allow identitystore:DescribeIdentityStore")
	})
}

// TestDoctorNamesEveryMissingPermission takes all permissions away: one run prints each, with
// a command, although the first refusal hides the others.
func TestDoctorNamesEveryMissingPermission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		h.With(func(w *clouds.Model) {
			for _, action := range []clouds.Action{
				clouds.ReadApplications, clouds.ReadSynchronization, clouds.WriteSynchronization, clouds.ReadProvisioningLog,
				clouds.ListInstancesAction, clouds.ListProvisioningTenantsAction, clouds.ListBearerTokensAction, clouds.LookupEventsAction,
				clouds.ListIdPConfigurationsAction, clouds.ListIdPCertificatesAction,
			} {
				w.Deny(clouds.ActorExporter, action, clouds.DenyMissing)
			}
		})
		printed := h.doctor("corp")
		expectLines(t, printed, "permissions that are missing, or that another missing one hides\n",
			"  tenant tenant-1: Application.Read.All, Application.ReadWrite.OwnedBy, ProvisioningLog.Read.All, Synchronization.Read.All, owner of the AWS application\n",
			"for role in Application.Read.All Application.ReadWrite.OwnedBy ProvisioningLog.Read.All Synchronization.Read.All; do",
			"  AWS of corp: cloudtrail:LookupEvents, sso-directory:CreateBearerToken, sso-directory:DeleteBearerToken, sso-directory:ListBearerTokens, sso-directory:ListExternalIdPCertificates, "+
				"sso-directory:ListExternalIdPConfigurationsForDirectory, sso-directory:ListProvisioningTenants, sso:ListInstances\n",
			`aws iam put-role-policy --role-name ROLE --policy-name entra-aws-exporter-corp --policy-document '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["cloudtrail:LookupEvents",`)
		if strings.Contains(printed, "deploy/permissions") {
			t.Errorf("a binary does not carry the pages that this names:\n%s", printed)
		}
	})
}

// TestDoctorNamesEachCauseOnce breaks the sign-in: what it stops is blocked, not another failure.
func TestDoctorNamesEachCauseOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		h.write("client-secret-tenant-1", "wrong")
		printed := h.doctor("corp")
		expectLines(t, printed, "FAILED  sign-in, own credentials       auth\n", "AADSTS7000215: the client secret is wrong",
			"blocked provisioning log               by sign-in, own credentials\n",
			"blocked Entra application and job      by sign-in, own credentials\n",
			"blocked test connection                by sign-in, own credentials\n",
			"ok      SCIM tokens", "1 check failed")
		if failed := strings.Count(printed, "FAILED"); failed != 1 {
			t.Errorf("%d failures of one cause:\n%s", failed, printed)
		}
	})
}

// TestDoctorNamesTheAccount gives a connection the credentials of another account.
func TestDoctorNamesTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		corp, lab := clouds.Healthy("corp"), clouds.Healthy("lab")
		corp.Account, lab.Account = "111111111111", "222222222222"
		h := newHarness(t, []clouds.ConnectionSpec{corp, lab})
		expectLines(t, h.doctor("corp"), "ok      AWS credentials                account 111111111111, arn:aws:")
		h.write("exporter.yml", strings.NewReplacer("account-111111111111", "account-222222222222", "account-222222222222", "account-111111111111").Replace(h.read("exporter.yml")))
		expectLines(t, h.doctor("corp"), "ok      AWS credentials                account 222222222222, arn:aws:",
			"FAILED  AWS instance and tenant        wrong_target\n          comparing the application with the identity store: wrong_target: the application's SAML entity id ends in ",
			"blocked SCIM tokens                    by AWS instance and tenant\n", "1 check failed")
	})
}

// TestDoctorNamesEachMissingOwnership leaves the exporter an owner of one application of two.
func TestDoctorNamesEachMissingOwnership(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp"), clouds.Healthy("lab")})
		tenant, lab := h.Credentials.Tenants[0], h.Credentials.Connections[1]
		h.With(func(m *clouds.Model) {
			err := errors.Join(m.ChangeRegistration(tenant.TenantID, tenant.Registration.ClientID, func(r *clouds.AppRegistration) {
				r.Roles = []string{clouds.RoleApplicationRead, clouds.RoleSynchronizationRead, clouds.RoleProvisioningLog, clouds.RoleApplicationOwned}
			}), m.ChangeApplication(tenant.TenantID, lab.ServicePrincipalID, func(sp *clouds.ServicePrincipal) { sp.Owners = nil }))
			if err != nil {
				t.Fatal(err)
			}
		})
		printed := h.doctor("")
		expectLines(t, printed, "  tenant tenant-1: owner of "+lab.ServicePrincipalID+"\n", "    application="+lab.ServicePrincipalID+"\n", "1 check failed")
		if strings.Contains(printed, "for role in") {
			t.Errorf("grants roles that are held:\n%s", printed)
		}
	})
}

// TestDoctorNamesTheKey lacks the key of the identity store alone. Other permissions would not
// help.
func TestDoctorNamesTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		h.With(func(m *clouds.Model) {
			m.EncryptWithCustomerKey(h.Connection.IdentityStoreID)
			m.Deny(clouds.ActorExporter, clouds.DecryptAction, clouds.DenyKMS)
		})
		printed := h.doctor("")
		expectLines(t, printed, "FAILED  AWS instance and tenant ", "(allow kms:Decrypt on the identity store's KMS key)", "blocked SCIM tokens ", "1 check failed")
		if strings.Contains(printed, "permissions that are missing") {
			t.Errorf("advises more than the key:\n%s", printed)
		}
	})
}
