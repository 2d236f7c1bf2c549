//go:build e2e

package e2e

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// emptyWithoutFaults are the panels and rules without data as long as nothing fails, and
// why. TestFaultsFillEveryPanel fills them.
var emptyWithoutFaults = map[string]string{
	"connection: Errors by code":                    "no provisioning event has failed",
	"connection: Failed polls by reason":            "no poll has failed",
	"overview: Failed polls":                        "no poll has failed",
	"connection: Rotation: waiting, blocked, proof": "the rotation is not blocked; its other queries have data",

	"EntraAwsAppCredentialExpiringSoon":     "the exporter's own secret is new",
	"EntraAwsAppCredentialExpiringCritical": "the exporter's own secret is new",
	"EntraAwsConfigReloadFailed":            "the configuration is valid",
	"EntraAwsProvisioningDisableImminent":   "the quarantine is young",
	"EntraAwsProvisioningFailing":           "no single user fails; that whole cycles fail has data",
	"EntraAwsProvisioningStale":             "cycles end",
	"EntraAwsProvisioningStopped":           "every job runs",
	"EntraAwsRotationBlocked":               "only a rollover is blocked",
	"EntraAwsRotationNeedsApproval":         "the rotation may delete by itself",
	"EntraAwsScimTokenRotationDue":          "no connection is in dry_run; where an alert rotates, it has data",
	"EntraAwsScimTokenRefused":              "no address is refused; a rejected token has data",
	"EntraAwsSamlActiveCertificateUnknown":  "Entra names the active certificate",
	"EntraAwsSamlCertificateRolloverDue":    "no connection is in dry_run; where an alert starts a rollover, it has data",
	"EntraAwsSamlSpareNotTrusted":           "no certificate waits beside one that expires soon",
	"EntraAwsSamlCertificateNotTrusted":     "AWS holds the active certificate",
	"EntraAwsSamlNobodyNotified":            "notification addresses are set",
	"EntraAwsSourceFailing":                 "every source can be read",
	"EntraAwsSourceStale":                   "every source is read",
	"EntraAwsExporterAbsent":                "the exporter is there",
}

// query is a shipped query and its place: "dashboard: panel", or the name of a rule.
type query struct{ where, expression string }

// shippedQueries returns the queries of every panel, annotation and rule.
func shippedQueries(t *testing.T) []query {
	t.Helper()
	var all []query
	dashboards, _ := filepath.Glob("../../deploy/grafana/dashboards/*.json")
	for _, file := range dashboards {
		for where, expressions := range panelQueries(t, file) {
			for _, expression := range expressions {
				all = append(all, query{where, expression})
			}
		}
	}
	files, _ := filepath.Glob("../../deploy/prometheus/rules/*.yml")
	for _, file := range files {
		var rules struct {
			Groups []struct {
				Rules []struct{ Record, Alert, Expr string }
			}
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &rules); err != nil {
			t.Fatal(err)
		}
		for _, group := range rules.Groups {
			for _, rule := range group.Rules {
				all = append(all, query{rule.Record + rule.Alert, rule.Expr})
			}
		}
	}
	if len(dashboards) < 2 || len(files) < 5 || len(all) < 90 {
		t.Fatalf("only %d queries in %d dashboards and %d files of rules", len(all), len(dashboards), len(files))
	}
	return all
}

// withoutData returns the queries that have had no data since a time.
func withoutData(t *testing.T, prometheus *server, since time.Time, queries []query) []query {
	t.Helper()
	var empty []query
	for _, q := range queries {
		result, err := prometheus.history(q.expression, since)
		if err != nil {
			t.Errorf("%s: %v\n%s", q.where, err, q.expression)
		} else if len(result) == 0 {
			empty = append(empty, q)
		}
	}
	return empty
}

// runEveryQuery runs every shipped query.
func runEveryQuery(t *testing.T, prometheus *server, since time.Time) {
	all := shippedQueries(t)
	empty := withoutData(t, prometheus, since, all)
	known := map[string]bool{}
	for _, q := range all {
		known[q.where] = true
	}
	for where := range emptyWithoutFaults {
		if !known[where] {
			t.Errorf("there is no panel or rule %q", where)
		}
	}
	for _, q := range empty {
		if emptyWithoutFaults[q.where] == "" {
			t.Errorf("%s: no data\n%s", q.where, q.expression)
		}
	}
	t.Logf("%d queries have data, %d are empty as expected", len(all)-len(empty), len(empty))
}

// panelQueries returns the expressions of a dashboard by panel, its variables replaced.
func panelQueries(t *testing.T, file string) map[string][]string {
	t.Helper()
	type target struct {
		Expr string `json:"expr"`
	}
	type panel struct {
		Title   string   `json:"title"`
		Targets []target `json:"targets"`
		Panels  []struct {
			Title   string   `json:"title"`
			Targets []target `json:"targets"`
		} `json:"panels"`
	}
	var dashboard struct {
		Panels      []panel `json:"panels"`
		Annotations struct {
			List []struct{ Name, Expr string } `json:"list"`
		} `json:"annotations"`
	}
	if err := json.Unmarshal([]byte(read(t, file)), &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$job", ".+", "$instance", ".+", "$connection", ".+",
		"$__rate_interval", "30s", "$__range", "5m", "$__interval", "5s")
	found := map[string][]string{}
	add := func(title, expression string) {
		if expression != "" {
			name := strings.TrimSuffix(filepath.Base(file), ".json") + ": " + title
			found[name] = append(found[name], variables.Replace(expression))
		}
	}
	for _, p := range dashboard.Panels {
		for _, one := range p.Targets {
			add(p.Title, one.Expr)
		}
		for _, inner := range p.Panels {
			for _, one := range inner.Targets {
				add(inner.Title, one.Expr)
			}
		}
	}
	for _, annotation := range dashboard.Annotations.List {
		add(annotation.Name, annotation.Expr)
	}
	return found
}
