//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const webhookPath = "/webhook/alertmanager"

// patience is how long a whole rotation may take here; on an idle machine it is
// a minute.
const patience = 4 * time.Minute

const due = `ALERTS{alertname="EntraAwsScimTokenRotationDue",alertstate="firing",connection="expiring"}`

// TestAlertToResolved is the whole loop: the token gets old, the alert comes in, the
// token is rotated, the alert resolves. Then every query that is shipped is asked.
func TestAlertToResolved(t *testing.T) {
	t.Parallel()
	c := startClouds(t, "demo")
	e := c.startExporter(freeAddress(t))
	before := c.connection("expiring")
	began := time.Now()

	proxy, people := record(t, e.url), record(t, "")
	am := startAlertmanager(t, filepath.Join(c.directory, "am"), proxy.URL+webhookPath, people.URL, c.bearer())
	prometheus := startPrometheus(t, c.directory, e.url, am)

	eventually(t, time.Minute, "RotationDue fires", prometheus.lacks(due))
	expiry := prometheus.value(`entra_aws_scim_active_token_expiry_timestamp_seconds{connection="expiring"}`)
	eventually(t, time.Minute, "Alertmanager has posted", func() string {
		if len(proxy.posted("EntraAwsScimTokenRotationDue")) == 0 {
			return "nothing posted"
		}
		return ""
	})
	eventually(t, patience, "the rotation is done", func() string { return e.notDone("expiring") })
	eventually(t, time.Minute, "RotationDue is resolved", prometheus.has(due))
	eventually(t, time.Minute, "RotationSucceeded shows",
		prometheus.lacks(`ALERTS{alertname="EntraAwsRotationSucceeded",alertstate="firing",connection="expiring"}`))
	eventually(t, time.Minute, "people are told that it succeeded", func() string {
		if len(people.posted("EntraAwsRotationSucceeded", `"connection":"expiring"`)) == 0 {
			return "nobody is told"
		}
		return ""
	})
	eventually(t, time.Minute, "Alertmanager has no RotationDue any more", func() string {
		alerts, err := am.alerts()
		if err != nil {
			return err.Error()
		}
		if slices.Contains(alerts, "EntraAwsScimTokenRotationDue expiring") {
			return fmt.Sprint(alerts)
		}
		return ""
	})
	eventually(t, time.Minute, "the expiry is a year away", prometheus.lacks(
		`(entra_aws_scim_active_token_expiry_timestamp_seconds{connection="expiring"} - time()) / 86400 > 364`))
	// 20 of 365 days were left.
	if moved := prometheus.value(`entra_aws_scim_active_token_expiry_timestamp_seconds{connection="expiring"}`) - expiry; moved < 344*86400 || moved > 366*86400 {
		t.Errorf("the expiry moved by %.1f days, want about 345", moved/86400)
	}
	assertNoGap(t, prometheus, began)
	if resolved := proxy.posted(`"status":"resolved"`); len(resolved) > 0 {
		t.Errorf("the webhook is told what is resolved: %s", resolved[0])
	}
	c.assertRotated(before)
	if n := len(e.rotations("expiring")); n != 1 {
		t.Errorf("%d rotations", n)
	}
	comparePayload(t, proxy.posted("EntraAwsScimTokenRotationDue", `"connection":"expiring"`)[0])

	t.Run("queries", func(t *testing.T) { askEverything(t, prometheus, began) })
}

// assertNoGap asks Prometheus about the connection that was rotated: its expiry was never
// without a value, the endpoint never refused the token, and no provisioning event failed.
func assertNoGap(t *testing.T, prometheus *server, began time.Time) {
	t.Helper()
	for what, expression := range map[string]string{
		"the expiry had no value":        `absent(connection:entra_aws_scim_active_token_expiry_timestamp_seconds:max{connection="expiring"})`,
		"the endpoint refused the token": `entra_aws_scim_probe_success{connection="expiring"} == 0`,
		"a provisioning event failed":    `increase(entra_aws_provisioning_events_total{connection="expiring",status="failure"}[10s]) > 0`,
		"a cycle failed":                 `entra_aws_provisioning_last_cycle_state{connection="expiring",state=~"failed|entry_level_errors"} == 1`,
	} {
		// The first seconds are the exporter's first round of readings.
		result, err := prometheus.history(expression, began.Add(15*time.Second))
		if err != nil || len(result) > 0 {
			t.Errorf("%s: %v %v", what, result, err)
		}
	}
}

// comparePayload holds what Alertmanager posts to what the webhook's unit test reads;
// UPDATE=1 keeps this one instead.
func comparePayload(t *testing.T, body string) {
	t.Helper()
	const kept = "../../rotate/webhook/testdata/alertmanager.json"
	if os.Getenv("UPDATE") != "" {
		write(t, kept, strings.TrimSpace(body)+"\n")
	}
	if diff := cmp.Diff(shape(t, read(t, kept)), shape(t, body)); diff != "" {
		t.Errorf("Alertmanager posts something else than the webhook is tested with; run with UPDATE=1 (-%s +posted):\n%s", kept, diff)
	}
}

// shape is a JSON document with the kinds of its values instead of the values.
func shape(t *testing.T, document string) any {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(document), &value); err != nil {
		t.Fatal(err)
	}
	var of func(any) any
	of = func(value any) any {
		switch v := value.(type) {
		case map[string]any:
			for key := range v {
				v[key] = of(v[key])
			}
			return v
		case []any:
			for i := range v {
				v[i] = of(v[i])
			}
			return v
		default:
			return fmt.Sprintf("%T", v)
		}
	}
	return of(value)
}

// TestWarnedWhereNothingRotates: a rotation that is due stands for the warning about the
// expiry only where it begins by itself.
func TestWarnedWhereNothingRotates(t *testing.T) {
	t.Parallel()
	webhook, people := record(t, ""), record(t, "")
	am := startAlertmanager(t, t.TempDir(), webhook.URL+webhookPath, people.URL, "token")
	due := map[string]string{"alertname": "EntraAwsScimTokenRotationDue", "severity": "info", "rotate": "scim-token", "connection": "rehearsing"}
	am.receive(due)
	due["connection"], due["mode"], due["issuer"] = "rotating", "enabled", "console_api"
	am.receive(due)
	eventually(t, time.Minute, "the webhook hears of both", func() string {
		if len(webhook.posted(`"connection":"rehearsing"`)) == 0 || len(webhook.posted(`"connection":"rotating"`)) == 0 {
			return "not yet"
		}
		return ""
	})
	for _, connection := range []string{"rotating", "rehearsing"} {
		am.receive(map[string]string{"alertname": "EntraAwsScimTokenExpiringSoon", "severity": "warning", "connection": connection})
	}
	eventually(t, time.Minute, "the one is held back", func() string {
		held, err := am.alerts("active=false", "inhibited=true")
		if err != nil || !slices.Equal(held, []string{"EntraAwsScimTokenExpiringSoon rotating"}) {
			return fmt.Sprint(held, err)
		}
		return ""
	})
	eventually(t, time.Minute, "people are told of the other", func() string {
		if len(people.posted("ExpiringSoon", `"connection":"rehearsing"`)) == 0 {
			return "not yet"
		}
		return ""
	})
	if told := people.posted("ExpiringSoon", `"connection":"rotating"`); len(told) > 0 {
		t.Errorf("people are told of what a rotation mends: %s", told[0])
	}
}

// TestPair has two Alertmanagers that know nothing of each other, so that both deliver.
func TestPair(t *testing.T) {
	t.Parallel()
	c := startClouds(t, "demo")
	e := c.startExporter(freeAddress(t))
	before := c.connection("expiring")
	people := record(t, "")
	var proxies []*recorder
	var pair []*server
	for i := range 2 {
		proxies = append(proxies, record(t, e.url))
		pair = append(pair, startAlertmanager(t, filepath.Join(c.directory, "am-"+strconv.Itoa(i)), proxies[i].URL+webhookPath, people.URL, c.bearer()))
	}
	prometheus := startPrometheus(t, c.directory, e.url, pair...)
	eventually(t, time.Minute, "both have posted", func() string {
		for _, proxy := range proxies {
			if len(proxy.posted("EntraAwsScimTokenRotationDue")) == 0 {
				return "one has not"
			}
		}
		return ""
	})
	// The other connection that is due may come first.
	eventually(t, patience, "the rotation has begun", func() string {
		if len(e.rotations("expiring")) == 0 {
			return "not yet"
		}
		return ""
	})
	// What goes on needs no Prometheus.
	prometheus.kill()
	eventually(t, patience, "the rotation is done without Prometheus", func() string { return e.notDone("expiring") })
	c.assertRotated(before)
	prometheus = startPrometheus(t, c.directory, e.url, pair...)
	eventually(t, time.Minute, "RotationSucceeded shows when Prometheus is back",
		prometheus.lacks(`ALERTS{alertname="EntraAwsRotationSucceeded",alertstate="firing",connection="expiring"}`))
	eventually(t, time.Minute, "RotationDue is resolved", prometheus.has(due))
	if n := len(e.rotations("expiring")); n != 1 {
		t.Errorf("%d rotations", n)
	}
}

// TestWrongBearerThenKilled lets Alertmanager show a wrong token: its metric and ours say so,
// nothing is rotated. With the right one the rotation comes about by the next repetition,
// and a kill -9 in its middle changes nothing.
func TestWrongBearerThenKilled(t *testing.T) {
	t.Parallel()
	c := startClouds(t, "demo")
	address := freeAddress(t)
	e := c.startExporter(address)
	before := c.connection("expiring")
	people := record(t, "")
	am := startAlertmanager(t, filepath.Join(c.directory, "am"), e.url+webhookPath, people.URL, "wrong")
	prometheus := startPrometheus(t, c.directory, e.url, am)
	write(t, filepath.Join(c.directory, "prometheus.yml"), read(t, filepath.Join(c.directory, "prometheus.yml"))+
		"  - job_name: alertmanager\n    static_configs: [{targets: [\""+strings.TrimPrefix(am.url, "http://")+"\"]}]\n")
	if err := prometheus.command.Process.Signal(os.Signal(hangup)); err != nil {
		t.Fatal(err)
	}
	eventually(t, 90*time.Second, "Alertmanager counts failures", prometheus.lacks(
		`sum(alertmanager_notifications_failed_total{integration="webhook"}) > 0`))
	eventually(t, time.Minute, "the exporter counts 401", prometheus.lacks(`entra_aws_webhook_requests_total{code="401"} > 0`))
	if n := len(e.rotations("expiring")); n != 0 {
		t.Fatalf("%d rotations without the right token", n)
	}

	write(t, filepath.Join(c.directory, "am", "token"), c.bearer())
	eventually(t, patience, "the rotation has begun", func() string {
		if own := e.rotations("expiring"); len(own) == 1 && own[0].NewTokenID != "" {
			return ""
		}
		return "no new token yet"
	})
	e.kill()
	e = c.startExporter(address)
	eventually(t, patience, "the rotation is done after kill -9", func() string { return e.notDone("expiring") })
	eventually(t, time.Minute, "RotationDue is resolved", prometheus.has(due))
	c.assertRotated(before)
}
