package app

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// The quirks that affect polls, in groups of those that could interact. The clients' own
// tests run the full product of each side against every method. Here every combination of
// each group passes through the whole program once.
func quirkGroups() [][]string {
	return [][]string{
		{"settings_keys", "secrets_get", "extra_keys", "base_address", "graph_errors", "failing_user"}, // the job
		{"list_values", "list_order", "token_times", "json_version", "list_lag"},                       // the tokens
		{"source_address", "cloudtrail", "cloudtrail_delay", "empty_cycles", "log_delay"},              // probe, usage, events
		{"retry_after", "error_bodies", "signing_certificates", "job_status"},                          // how AWS and Entra reject, what Entra shows
		{"list_pages", "template_filter", "idp_json_version"},                                          // how Graph and AWS list
		{"refused_code", "unreachable_code"},                                                           // the wording of a quarantine
	}
}

// mutationQuirks affect only rotations; package rotate tests them.
func mutationQuirks() []string {
	return []string{
		"put_secrets", "test_lag", "inline_test", "engine_reads", "quarantine_after", "recovery", "third_create", "new_lag", "deleted_lag", "nodes",
		"directory_lag", "signer_uptake", "created_certificate", "expired_signer", "app_policy", "trust_slots", "second_import", "certificate_use",
		"trust_list_lag", "trust_lag", "last_certificate", "sign_in_noise", "secret_lag",
	}
}

// combinations lists every combination of the values of some quirks.
func combinations(all []clouds.Quirk, names []string) []map[string]string {
	list := []map[string]string{{}}
	for _, quirk := range all {
		if !slices.Contains(names, quirk.Name) {
			continue
		}
		var longer []map[string]string
		for _, chosen := range list {
			for _, value := range quirk.Values {
				more := map[string]string{quirk.Name: value}
				for name, value := range chosen {
					more[name] = value
				}
				longer = append(longer, more)
			}
		}
		list = longer
	}
	return list
}

func TestPollUnderEveryQuirk(t *testing.T) {
	all := clouds.AllQuirks()
	known := mutationQuirks()
	runs := 0
	var groups [][]map[string]string
	for _, names := range quirkGroups() {
		known = append(known, names...)
		group := combinations(all, names)
		groups = append(groups, group)
		runs = max(runs, len(group))
	}
	for _, quirk := range all {
		if !slices.Contains(known, quirk.Name) {
			t.Errorf("the quirk %s is new: does it affect polls?", quirk.Name)
		}
	}
	newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")}) // sets the environment, which is the same for all
	for run := range runs {
		if testing.Short() && run%20 != 0 {
			continue
		}
		quirks := map[string]string{}
		for _, group := range groups {
			for name, value := range group[run%len(group)] {
				quirks[name] = value
			}
		}
		t.Run(strconv.Itoa(run), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { checkPollUnderQuirks(t, quirks) })
			if t.Failed() {
				t.Logf("under %v", quirks)
			}
		})
	}
	for i, names := range quirkGroups() {
		t.Logf("%d combinations of %s", len(groups[i]), strings.Join(names, ", "))
	}
}

// checkPollUnderQuirks runs an exporter for some hours under these quirks, while
// operators work: what it shows is right, or missing.
func checkPollUnderQuirks(t *testing.T, quirks map[string]string) {
	w := newModel(clouds.Healthy("corp"))
	h := buildHarness(t, w)
	for name, value := range quirks {
		if err := h.SetQuirk(name, value); err != nil {
			t.Fatal(err)
		}
	}
	h.edit(fastIntervals, "intervals: {tokens: 30m, scim: 30m, usage: 30m, job: 30m, events: 15m, certificates: 1h, app_credentials: 1h}")
	if quirks["json_version"] == clouds.JSON10 {
		h.edit("      endpoints:\n", "      endpoints:\n        token_service_json_version: \"1.0\"\n")
	}
	if quirks["idp_json_version"] == clouds.JSON11 {
		h.edit("      endpoints:\n", "      endpoints:\n        idp_certificates_json_version: \"1.1\"\n")
	}
	at := h.Connection
	for _, operation := range []string{"GET job", "ListBearerTokens"} { // rejected once, with a Retry-After
		refusal := simulator.Fault{Operation: operation, Status: 429, Code: "TooManyRequestsException", RetryAfter: "9", Times: 1}
		if quirks["retry_after"] == clouds.RetryAfterDate {
			refusal.RetryAfter, refusal.RetryAfterDate = "", simulator.Duration(9*time.Second)
		}
		h.InjectFault(refusal)
	}
	h.start()
	time.Sleep(30 * time.Minute)
	for _, action := range []simulator.Action{{Do: "add_user", UserName: "ann@example.com"}, {Do: "create_token"}} {
		if _, err := h.Perform(action); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(3 * time.Hour)
	page := h.series()

	status := "active"
	if quirks["job_status"] == clouds.StatusNull {
		status = "unknown"
	} else {
		page.expect(t, `entra_aws_provisioning_synchronized_entries{connection="corp",kind="User to User"} 4`)
	}
	page.expect(t, `entra_aws_scim_tokens{connection="corp"} 2`, `entra_aws_scim_token_slots{connection="corp"} 2`,
		fmt.Sprintf(`entra_aws_provisioning_job_status{connection="corp",status=%q} 1`, status),
		`entra_aws_provisioning_schedule_state{connection="corp",state="active"} 1`,
		`entra_aws_provisioning_interval_seconds{connection="corp"} 2400`,
		`entra_aws_provisioning_events_total{action="create",connection="corp",status="success"} 1`,
		`entra_aws_saml_unexpected_signer{connection="corp"} 0`)
	if first := page.values(t)[fmt.Sprintf(`entra_aws_scim_token_expiry_timestamp_seconds{connection="corp",token_id=%q}`, at.TokenIDs[0])]; int64(first) != epochOf(265) {
		t.Errorf("the token expires at %d, want %d", int64(first), epochOf(265))
	}
	if trusted := page.matching("saml_certificate_trusted", "} 1"); len(trusted) != 1 {
		t.Errorf("trusted: %v", trusted)
	}
	if up, failed := page.matching("source_up", "} 1"), page.matching("source_errors_total"); len(up) != 7 || len(failed) != 0 {
		t.Errorf("up are only %v, failed: %v", up, failed)
	}
	h.checkQuirkEffects(t, page, quirks)
	if status == "active" {
		h.checkQuarantines(t, quirks)
	}
}

// checkQuarantines has AWS refuse Entra's token, and then Entra find no endpoint: the
// quarantine shows each as Entra words it.
func (h *harness) checkQuarantines(t *testing.T, quirks map[string]string) {
	t.Helper()
	at, operator := h.Connection, clouds.CallerFor(clouds.ActorOperator)
	for _, mistyped := range []struct{ key, value, code string }{
		{model.CredentialKeySecretToken, "mistyped", quirks["refused_code"]},
		{model.CredentialKeyBaseAddress, "https://mistyped.example.com/scim/v2", quirks["unreachable_code"]},
	} {
		var err error
		h.With(func(m *clouds.Model) {
			_, added := m.AddUser(clouds.ActorOperator, at.EntraTenantID, at.ServicePrincipalID, mistyped.key+"@example.com")
			saved := m.PutSecrets(operator, at.EntraTenantID, at.ServicePrincipalID, []clouds.Secret{{Key: mistyped.key, Value: mistyped.value}})
			err = errors.Join(added, saved, m.StartJob(operator, at.EntraTenantID, at.ServicePrincipalID, at.JobID))
		})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		h.series().expect(t, `entra_aws_provisioning_job_status{connection="corp",status="quarantine"} 1`,
			fmt.Sprintf(`entra_aws_provisioning_quarantine_info{connection="corp",error_code=%q,reason="EncounteredQuarantineException"} 1`, mistyped.code))
	}
}

// checkQuirkEffects checks the series that depend on a quirk.
func (h *harness) checkQuirkEffects(t *testing.T, page seriesList, quirks map[string]string) {
	t.Helper()
	one := func(when bool, series string) {
		t.Helper()
		if found := page.matching(series); len(found) > 0 != when {
			t.Errorf("%s: %v, want it %v", series, found, when)
		}
	}
	served := quirks["secrets_get"] == clouds.Served
	one(served && quirks["settings_keys"] == clouds.KeysPresent, `entra_aws_provisioning_notification_enabled{connection="corp"} 1`)
	one(served && quirks["settings_keys"] == clouds.KeysAbsent, `entra_aws_provisioning_notification_enabled{connection="corp"} 0`)
	open := quirks["source_address"] == clouds.SourceOpen
	one(open, `entra_aws_scim_probe_success{connection="corp"} 1`)
	one(!open, `entra_aws_scim_probe_success{connection="corp"} 0`)
	fails := quirks["failing_user"] == clouds.OneUserFails
	shown := quirks["job_status"] == clouds.StatusShown
	one(shown && fails, `entra_aws_provisioning_last_cycle_state{connection="corp",state="entry_level_errors"} 1`)
	one(shown && !fails, `entra_aws_provisioning_last_cycle_state{connection="corp",state="succeeded"} 1`)
	one(!fails, `entra_aws_provisioning_events_total{action="create",connection="corp",status="failure"} 0`)
	for _, line := range page.matching("scim_token_last_used") {
		used := page.values(t)[line[:strings.LastIndexByte(line, ' ')]]
		at := time.Unix(int64(used), 0)
		if !strings.Contains(line, h.Connection.TokenIDs[0]) || at.After(time.Now()) || time.Since(at) > 4*time.Hour {
			t.Errorf("that token was not used then: %s", line)
		}
	}
}

// epochOf is a time in days after the start of a bubble's clock.
func epochOf(days int) int64 {
	return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, days).Unix()
}
