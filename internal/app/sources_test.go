package app

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// The credential of the rotation's own identity expires, too.
func TestCredentialsOfTheRotationsTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		text := h.read("exporter.yml")
		tenant := text[strings.Index(text, "  - name: tenant-1"):strings.Index(text, "connections:")]
		h.edit("connections:", strings.Replace(tenant, "name: tenant-1", "name: rotator", 1)+"connections:")
		h.edit("rotation: {", "rotation: {tenant: rotator, ")
		h.start()
		time.Sleep(firstPoll)
		for _, name := range []string{"tenant-1", "rotator"} {
			if line := h.series().matching("entra_aws_app_credential_expiry_timestamp_seconds", `entra_tenant="`+name+`"`); len(line) != 1 {
				t.Errorf("credentials of %s: %v", name, line)
			}
		}
	})
}

// A disabled source is neither up nor down.
func TestSourcesSwitchedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		h.edit("{tokens: 15s, scim: 30s, usage: 30s, job: 10s, events: 15s, certificates: 30s, app_credentials: 1m}",
			"{scim: 0, events: 0, app_credentials: 0}")
		h.start()
		time.Sleep(firstPoll)
		for source, on := range map[string]bool{"tokens": true, "job": true, "events": false, "app_credentials": false, "scim": false} {
			if line := h.series().matching("entra_aws_source_", `source="`+source+`"`); (len(line) > 0) != on {
				t.Errorf("source %s: %v", source, line)
			}
		}
		for operation := range h.Calls() {
			if operation == "GET provisioning" || operation == "GET applications" {
				t.Errorf("called %s", operation)
			}
		}
	})
}

// A source of a tenant can be off for some of its connections.
func TestSourcesOfATenantSwitchedOffForOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp"), clouds.Healthy("lab")})
		before, after, _ := strings.Cut(h.read("exporter.yml"), "events: 15s, certificates: 30s, app_credentials: 1m")
		h.write("exporter.yml", before+"events: 0, certificates: 30s, app_credentials: 0"+after)
		h.start()
		time.Sleep(firstPoll)
		h.series().expect(t, `entra_aws_source_up{connection="lab",source="events"} 1`, `entra_aws_source_up{connection="lab",source="app_credentials"} 1`)
		for _, source := range []string{"events", "app_credentials"} {
			if lines := h.series().matching("entra_aws_source_", `connection="corp"`, `source="`+source+`"`); len(lines) > 0 {
				t.Errorf("switched off: %v", lines)
			}
		}
		if lines := h.series().matching("entra_aws_provisioning_event", `connection="corp"`); len(lines) > 0 {
			t.Errorf("counted although the log is not read: %v", lines)
		}
	})
}

// Two connections that resolve to the same binding are polled, but neither rotates.
func TestConnectionsWithTheSameBinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
		text := h.read("exporter.yml")
		connection := text[strings.Index(text, "  - name: expiring"):strings.Index(text, "state:")]
		twin := strings.Replace(connection, "name: expiring", "name: twin\n    service_principal_id: "+h.Connection.ServicePrincipalID, 1)
		twin = strings.Replace(twin, "region: eu-central-1", "region: eu-central-1\n      identity_store_id: "+h.Connection.IdentityStoreID, 1)
		h.edit("state:", twin+"state:")
		h.start()
		time.Sleep(15 * time.Minute)
		for _, name := range []string{"expiring", "twin"} {
			h.series().expect(t, `entra_aws_source_up{connection="`+name+`",source="tokens"} 1`,
				`entra_aws_rotation_blocked_info{connection="`+name+`",kind="scim_token",reason="ambiguous"} 1`, `entra_aws_rotation_phase{connection="`+name+`",kind="scim_token",phase="blocked"} 1`)
		}
		if status, answer := h.alert(); status != http.StatusOK || !strings.Contains(answer, `"blocked":1`) {
			t.Errorf("an alert is answered with %d %s", status, answer)
		}
	})
}

// Declared tokens need no AWS credentials and no AWS API. Only the probe calls AWS, with
// the token's value.
func TestDeclaredTokensNeedNoAWSCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		c := h.Connection
		h.edit("      profile: account-"+c.Account+"\n", "      provisioning_tenant_id: "+c.ProvisioningTenantID+"\n")
		h.edit("      usage: cloudtrail\n", "      read_from: declared\n      declared: [{token_id: "+c.TokenIDs[0]+", created: 1999-10-01, expires: 2000-09-30}]\n")
		h.edit("saml: {aws_certificates: console_api}", "saml: {aws_certificates: none}")
		h.edit("rotation: {mode: enabled, ", "rotation: {mode: disabled, ")
		t.Setenv("AWS_SHARED_CREDENTIALS_FILE", h.path("none"))
		h.start()
		time.Sleep(firstPoll)
		h.series().expect(t, `entra_aws_source_up{connection="corp",source="tokens"} 1`, `entra_aws_scim_tokens{connection="corp"} 1`,
			`entra_aws_source_up{connection="corp",source="scim"} 1`, `entra_aws_scim_probe_success{connection="corp"} 1`)
		for operation := range h.Calls() {
			if strings.HasPrefix(operation, "List") {
				t.Errorf("called %s", operation)
			}
		}
		expectLines(t, h.doctor("corp"), "ok      AWS instance and tenant        not needed: the tokens are declared")
	})
}
