package app

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// The smallest useful configuration: everything else is discovered.
func TestMinimalConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		tenant := h.Credentials.Tenants[0]
		h.write("exporter.yml", fmt.Sprintf(`tenants:
  - tenant_id: %s
    client_id: %s
    client_secret_file: client-secret-tenant-1
connections:
  - name: corp
    aws: {region: eu-central-1}
`, tenant.TenantID, tenant.Registration.ClientID))
		h.start()
		time.Sleep(firstPoll)
		c := h.Connection
		page := h.series()
		page.expect(t,
			fmt.Sprintf(`entra_aws_connection_info{connection="corp",entra_tenant_id=%q,identity_store_id=%q,job_id=%q,provisioning_tenant_id=%q,region="eu-central-1",service_principal_id=%q} 1`,
				c.EntraTenantID, c.IdentityStoreID, c.JobID, c.ProvisioningTenantID, c.ServicePrincipalID),
			`entra_aws_scim_tokens{connection="corp"} 1`,
			`entra_aws_source_up{connection="corp",source="tokens"} 1`,
			`entra_aws_source_up{connection="corp",source="job"} 1`,
			`entra_aws_source_up{connection="corp",source="certificates"} 1`,
			`entra_aws_source_up{connection="corp",source="events"} 1`,
			`entra_aws_source_up{connection="corp",source="app_credentials"} 1`,
			`entra_aws_config_last_reload_successful 1`)
		if failed := page.matching("source_errors_total"); len(failed) > 0 {
			t.Errorf("nothing went wrong, but %v", failed)
		}
		if status, body := h.request(http.MethodPost, "/webhook/alertmanager", "{}"); status != http.StatusNotFound {
			t.Errorf("without a section there is a webhook: %d %s", status, body)
		}
	})
}

// The connections of the demo, in two Entra tenants.
func TestDemoConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newModel()
		if err := simulator.Seed(w, "demo"); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		h := newHarnessFor(t, w)
		h.start()
		time.Sleep(firstPoll)
		page := h.series()
		page.expect(t,
			`entra_aws_scim_tokens{connection="healthy"} 1`,
			`entra_aws_scim_tokens{connection="expiring"} 2`,
			`entra_aws_scim_token_slots{connection="expiring"} 2`,
			`entra_aws_provisioning_job_status{connection="healthy",status="active"} 1`,
			`entra_aws_provisioning_job_status{connection="quarantined",status="quarantine"} 1`,
			`entra_aws_saml_unexpected_signer{connection="healthy"} 0`,
			`entra_aws_saml_unexpected_signer{connection="expiring"} 0`,
			`entra_aws_saml_unexpected_signer{connection="quarantined"} 1`,
			`entra_aws_scim_probe_success{connection="healthy"} 1`,
			`entra_aws_scim_probe_success{connection="quarantined"} 0`,
			`entra_aws_scim_probe_http_status_code{connection="quarantined"} 401`,
		)
		for connection, days := range map[string]int{"healthy": 265, "expiring": 20, "quarantined": -3} {
			line := page.matching("entra_aws_scim_active_token_expiry_timestamp_seconds", `"`+connection+`"`)
			if len(line) != 1 || !strings.HasSuffix(line[0], " "+unixText(begin, days)) {
				t.Errorf("%s: %v, want %s", connection, line, unixText(begin, days))
			}
		}
		trusted := page.matching("entra_aws_saml_certificate_trusted", `"quarantined"`)
		if len(trusted) != 2 || len(trusted.matching("} 1")) != 1 || len(trusted.matching("} 0")) != 1 {
			t.Errorf("of the two certificates one is trusted: %v", trusted)
		}
		if credentials := page.matching("entra_aws_app_credential_expiry"); len(credentials) != 2 {
			t.Errorf("one credential for each tenant: %v", credentials)
		}
		for _, source := range page.matching("entra_aws_source_up") {
			if !strings.HasSuffix(source, " 1") {
				t.Error(source)
			}
		}
		t.Logf("series: %d healthy, %d expiring, %d quarantined",
			len(page.matching(`connection="healthy"`)), len(page.matching(`connection="expiring"`)), len(page.matching(`connection="quarantined"`)))
		if count := len(page.matching(`connection="healthy"`)); count > 100 {
			t.Errorf("%d series for the healthy connection", count)
		}
		// Scrapes make no call.
		before := totalCalls(h.Calls())
		for range 20 {
			h.get("/metrics")
			h.get("/")
			h.get("/api/v1/connections")
		}
		if after := totalCalls(h.Calls()); after != before {
			t.Errorf("scrapes made %d calls", after-before)
		}
	})
}

func totalCalls(calls map[string]int) (sum int) {
	for _, count := range calls {
		sum += count
	}
	return sum
}

// unixText formats a time as /metrics does.
func unixText(begin time.Time, days int) string {
	return fmt.Sprint(float64(begin.Add(time.Duration(days) * 24 * time.Hour).Unix()))
}

// AWS and Entra go down and come back: expiry dates stay, values that mislead when stale
// are hidden, no error becomes a value, and nothing needs a restart.
func TestOutageOfAllServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("corp")})
		h.start()
		time.Sleep(firstPoll)
		healthy := h.series()
		h.InjectFault(simulator.Fault{Operation: "*", Effect: simulator.EffectReset})
		time.Sleep(30 * time.Minute)
		dead := h.series()
		for _, line := range healthy.matching("_expiry_timestamp_seconds") {
			dead.expect(t, line)
		}
		for _, source := range []string{"tokens", "scim", "usage", "job", "events", "certificates", "app_credentials"} {
			dead.expect(t, fmt.Sprintf(`entra_aws_source_up{connection="corp",source=%q} 0`, source))
			if len(dead.matching("source_errors_total", `source="`+source+`"`, `reason="network"`)) != 1 {
				t.Errorf("%s: %v", source, dead.matching("source_errors_total", source))
			}
		}
		for _, gone := range []string{"entra_aws_scim_probe_success", "entra_aws_provisioning_job_status", "entra_aws_provisioning_last_cycle"} {
			if left := dead.matching(gone); len(left) > 0 {
				t.Errorf("misleading when old: %v", left)
			}
		}
		h.ClearFaults()
		time.Sleep(30 * time.Minute)
		healed := h.series()
		for _, source := range healed.matching("entra_aws_source_up") {
			if !strings.HasSuffix(source, " 1") {
				t.Error(source)
			}
		}
		healed.expect(t, `entra_aws_scim_probe_success{connection="corp"} 1`, `entra_aws_provisioning_job_status{connection="corp",status="active"} 1`)
		// Now only the undocumented API fails.
		h.InjectFault(simulator.Fault{Operation: "ListBearerTokens", Effect: simulator.EffectHTML})
		time.Sleep(5 * time.Minute)
		partly := h.series()
		for _, line := range healthy.matching("entra_aws_scim_token_expiry_timestamp_seconds") {
			partly.expect(t, line)
		}
		partly.expect(t, `entra_aws_source_up{connection="corp",source="tokens"} 0`, `entra_aws_source_up{connection="corp",source="job"} 1`)
		if len(partly.matching("source_errors_total", `reason="api_changed"`, `source="tokens"`)) != 1 {
			t.Errorf("the reason: %v", partly.matching("source_errors_total"))
		}
	})
}
