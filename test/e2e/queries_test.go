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

// emptyWhenWell are the panels without data as long as nothing goes wrong. An alerting
// rule has no data unless it fires.
var emptyWhenWell = map[string]string{
	"connection: Failed readings by reason":    "no reading has failed",
	"connection: Waits for, blocked by, proof": "the rotation is not blocked; its other queries have data",
	"connection: Errors by code":               "no provisioning event has failed",
}

// askEverything asks every query of every panel and rule for the whole time since a moment.
func askEverything(t *testing.T, prometheus *server, since time.Time) {
	full, empty := 0, 0
	ask := func(where, expression string, mayBeEmpty bool) {
		result, err := prometheus.history(expression, since)
		switch {
		case err != nil:
			t.Errorf("%s: %v\n%s", where, err, expression)
		case len(result) == 0 && !mayBeEmpty && emptyWhenWell[where] == "":
			t.Errorf("%s: no data\n%s", where, expression)
		case len(result) == 0:
			empty++
		default:
			full++
		}
	}
	dashboards, _ := filepath.Glob("../../deploy/grafana/dashboards/*.json")
	for _, file := range dashboards {
		for where, expressions := range panels(t, file) {
			for _, expression := range expressions {
				ask(where, expression, false)
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
				ask(rule.Record+rule.Alert, rule.Expr, rule.Alert != "")
			}
		}
	}
	if len(dashboards) == 0 || full < 50 {
		t.Errorf("only %d queries with data", full)
	}
	t.Logf("%d queries have data, %d are rightly empty", full, empty)
}

// panels are the expressions of a dashboard by panel, its variables replaced.
func panels(t *testing.T, file string) map[string][]string {
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
