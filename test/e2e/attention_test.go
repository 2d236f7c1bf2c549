//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/web"
)

// TestAttentionAgrees: the alerting rules, the API (and so the status page and the command
// status) and the dashboard name the same problems, just before and just after each
// threshold, and none while all is well.
func TestAttentionAgrees(t *testing.T) {
	t.Parallel()
	c := startSimulator(t, "fleet-1")
	c.editConfig(`mode: enabled`, "mode: disabled")
	e := c.startExporter(freeAddress(t))
	prometheus := startPrometheus(t, c.directory, e.url)
	a := attention{t: t, c: c, e: e, prometheus: prometheus}
	credential := func(left time.Duration) func() {
		return func() {
			c.clearFaults() // the first fault that matches is applied
			c.editResponse("GET applications", "", "/value/0/passwordCredentials/*/endDateTime", time.Now().Add(left).UTC())
		}
	}
	const day = 24 * time.Hour
	// The simulated token has 265 days left, the certificate 895.
	for _, step := range []struct {
		name   string
		change func()
		want   string // alerts that all must name, or with "!" must not name; "none": they name nothing
	}{
		{"all is well", func() {}, "none"},
		{"the token has 61 days", func() { c.age("204d") }, "none"},
		{"the token has 59 days", func() { c.age("2d") }, "EntraAwsScimTokenExpiringSoon"},
		{"the token has 15 days", func() { c.age("44d") }, "EntraAwsScimTokenExpiringSoon"},
		{"the token has 13 days", func() { c.age("2d") }, "EntraAwsScimTokenExpiringCritical"},
		{"the token has expired", func() { c.age("14d") }, "EntraAwsProvisioningQuarantined EntraAwsScimTokenExpiringCritical EntraAwsScimTokenRefused"},
		{"a new token", func() { a.replaceToken() }, "!EntraAwsScimTokenExpiringCritical !EntraAwsProvisioningQuarantined"},
		{"the certificate has 61 days", func() {
			c.age("180d")
			a.replaceToken()
			c.age("200d")
			a.replaceToken()
			c.age("188d")
			a.replaceToken()
		}, "!EntraAwsSamlCertificateExpiringSoon"},
		{"the certificate has 59 days", func() { c.age("2d") }, "EntraAwsSamlCertificateExpiringSoon"},
		{"a spare that AWS does not trust", func() { c.performAction(simulator.Action{Do: "add_certificate", Connection: fleetConnection}, nil) }, "EntraAwsSamlSpareNotTrusted"},
		{"the certificate has 13 days", func() { c.age("46d") }, "EntraAwsSamlCertificateExpiringCritical"},
		{"the exporter's secret has 31 days", credential(31 * day), "!EntraAwsAppCredentialExpiringSoon"},
		{"the exporter's secret has 29 days", credential(29 * day), "EntraAwsAppCredentialExpiringSoon"},
		{"the exporter's secret has 6 days", credential(6 * day), "EntraAwsAppCredentialExpiringCritical"},
		{"the job is paused", func() { c.performAction(simulator.Action{Do: "pause", Connection: fleetConnection}, nil) }, "EntraAwsProvisioningStopped"},
		{"nobody is notified", func() {
			c.editResponse("GET servicePrincipal", "", "/notificationEmailAddresses", []string{})
		}, "EntraAwsSamlNobodyNotified"},
		{"a source fails", func() {
			c.fault(simulator.Fault{Operation: "ListExternalIdPCertificates", Status: http.StatusForbidden, Code: "AccessDeniedException"})
		}, "EntraAwsSourceFailing"},
	} {
		t.Log(step.name)
		step.change()
		a.assertAgreement(step.name, strings.Fields(step.want))
	}
}

// attention compares what names problems.
type attention struct {
	t          *testing.T
	c          *simulatorProcess
	e          *exporter
	prometheus *server
}

// replaceToken gives Entra a new token and deletes the others.
func (a attention) replaceToken() {
	a.t.Helper()
	var created struct {
		TokenID string `json:"token_id"`
	}
	for _, token := range a.c.connection(fleetConnection).Tokens {
		a.c.performAction(simulator.Action{Do: "delete_token", Connection: fleetConnection, TokenID: token.ID}, nil)
	}
	a.c.performAction(simulator.Action{Do: "create_token", Connection: fleetConnection}, &created)
	a.c.performAction(simulator.Action{Do: "save_token", Connection: fleetConnection, TokenID: created.TokenID}, nil)
	a.c.performAction(simulator.Action{Do: "start", Connection: fleetConnection}, nil)
}

// assertAgreement waits until all name the same alerts, with those that are wanted, for
// three seconds.
func (a attention) assertAgreement(step string, want []string) {
	a.t.Helper()
	var firing, advised, shown []string
	since := time.Time{}
	eventually(a.t, 2*time.Minute, step+": all agree", func() bool {
		firing, advised, shown = a.firing(), a.advised(), a.shown()
		agree := slices.Equal(firing, advised) && slices.Equal(firing, shown)
		for _, alert := range want {
			name, absent := strings.CutPrefix(alert, "!")
			fires := slices.ContainsFunc(firing, func(other string) bool { return strings.HasPrefix(other, name+" ") })
			agree = agree && fires != absent
			if alert == "none" {
				agree = len(firing)+len(advised)+len(shown) == 0
			}
		}
		if !agree {
			since = time.Time{}
			return false
		}
		if since.IsZero() {
			since = time.Now()
		}
		return time.Since(since) > 3*time.Second
	}, func() string { return fmt.Sprintf("rules: %v\nadvice: %v\ndashboard: %v", firing, advised, shown) })
	a.t.Logf("%s: %v", step, firing)
}

// firing returns the firing alerts with their connection or tenant. A warning about what is
// critical already, and reports of success and of a due rotation, are left out.
func (a attention) firing() []string {
	return a.alerts(`ALERTS{alertstate="firing", alertname!~"EntraAwsRotationSucceeded|EntraAwsScimTokenRotationDue|EntraAwsSamlCertificateRolloverDue"}`)
}

// shown returns what the dashboard shows, without its limit.
func (a attention) shown() []string {
	expressions := panelQueries(a.t, filepath.Join("../../deploy/grafana/dashboards", "overview.json"))["overview: Needs attention"]
	if len(expressions) != 1 {
		a.t.Fatalf("the panel has the queries %v", expressions)
	}
	const limit = "bottomk(20, " // there can be more faults at once
	if !strings.Contains(expressions[0], limit) {
		a.t.Fatalf("the panel has no %q", limit)
	}
	return a.alerts(strings.Replace(expressions[0], limit, "bottomk(100, ", 1))
}

func (a attention) alerts(expression string) []string {
	result, err := a.prometheus.query(expression)
	if err != nil {
		a.t.Fatal(err)
	}
	var names []string
	for _, s := range result {
		if s.Metric["reason"] == "store_unavailable" {
			continue // the rule looks back for 15 minutes
		}
		names = append(names, s.Metric["alertname"]+" "+s.Metric["connection"]+s.Metric["entra_tenant"])
	}
	return withoutInhibited(names)
}

// advised returns the alerts that the advice of the API names.
func (a attention) advised() []string {
	var response web.Connections
	if err := json.Unmarshal([]byte(a.e.get("/api/v1/connections")), &response); err != nil {
		a.t.Fatal(err)
	}
	var names []string
	for _, advice := range response.Advice {
		names = append(names, advice.Alert+" ")
	}
	for _, connection := range response.Connections {
		for _, advice := range connection.Advice {
			owner := connection.Name
			if strings.HasPrefix(advice.Alert, "EntraAwsAppCredential") {
				owner = connection.EntraTenant
			}
			names = append(names, advice.Alert+" "+owner)
		}
	}
	return withoutInhibited(names)
}

// withoutInhibited sorts the names, and leaves out what Alertmanager inhibits.
func withoutInhibited(names []string) []string {
	slices.Sort(names)
	names = slices.Compact(names)
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		alert, owner, _ := strings.Cut(name, " ")
		if alert == "EntraAwsScimTokenInUseUnknown" {
			return true // nothing shortens the two hours that the advice waits
		}
		inhibitors := map[string][]string{
			"EntraAwsRotationOverdue":             {"EntraAwsRotationBlocked"},
			"EntraAwsSourceStale":                 {"EntraAwsSourceFailing"},
			"EntraAwsScimTokenExpiringSoon":       {"EntraAwsScimTokenExpiringCritical"},
			"EntraAwsSamlCertificateExpiringSoon": {"EntraAwsSamlCertificateExpiringCritical"},
			"EntraAwsAppCredentialExpiringSoon":   {"EntraAwsAppCredentialExpiringCritical"},
		}[alert]
		return slices.ContainsFunc(inhibitors, func(inhibitor string) bool { return slices.Contains(names, inhibitor+" "+owner) })
	})
}
