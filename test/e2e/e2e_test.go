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

// rotationTimeout bounds a whole rotation, which takes a minute on an idle machine.
const rotationTimeout = 4 * time.Minute

const rolloverAlert = `ALERTS{alertname="EntraAwsSamlCertificateRolloverDue",alertstate="firing",connection="signing"}`

const dueAlert = `ALERTS{alertname="EntraAwsScimTokenRotationDue",alertstate="firing",connection="expiring"}`

// TestAlertToResolved is the whole loop: a token and a certificate age, the alerts fire, the
// token is rotated and the certificate rolled over, the alerts resolve. Then it runs every
// shipped query.
func TestAlertToResolved(t *testing.T) {
	t.Parallel()
	c := startSimulator(t, "demo")
	e := c.startExporter(freeAddress(t))
	before, certificate := c.connection("expiring"), c.connection(certificateConnection)
	began := time.Now()

	proxy, operators := newRecorder(t, e.url), newRecorder(t, "")
	am := startAlertmanager(t, filepath.Join(c.directory, "am"), proxy.URL+webhookPath, operators.URL, c.bearer())
	prometheus := startPrometheus(t, c.directory, e.url, am)

	eventually(t, time.Minute, "RotationDue fires", prometheus.hasSeries(dueAlert))
	eventually(t, time.Minute, "RolloverDue fires", prometheus.hasSeries(rolloverAlert))
	expiry := prometheus.value(`entra_aws_scim_active_token_expiry_timestamp_seconds{connection="expiring"}`)
	eventually(t, time.Minute, "Alertmanager has posted", func() bool { return len(proxy.posted("EntraAwsScimTokenRotationDue")) > 0 })
	e.waitForRotation("the rotation is done", "expiring")
	eventually(t, time.Minute, "RotationDue is resolved", prometheus.hasNoSeries(dueAlert))
	eventually(t, time.Minute, "RotationSucceeded shows",
		prometheus.hasSeries(`ALERTS{alertname="EntraAwsRotationSucceeded",alertstate="firing",connection="expiring"}`))
	eventually(t, time.Minute, "operators are notified of the success", func() bool {
		return len(operators.posted("EntraAwsRotationSucceeded", `"connection":"expiring"`)) > 0
	})
	eventually(t, time.Minute, "Alertmanager has dropped RotationDue", func() bool {
		alerts, err := am.alerts()
		return err == nil && !slices.Contains(alerts, "EntraAwsScimTokenRotationDue expiring")
	})
	eventually(t, time.Minute, "the expiry is a year away", prometheus.hasSeries(
		`(entra_aws_scim_active_token_expiry_timestamp_seconds{connection="expiring"} - time()) / 86400 > 364`))
	// 20 of 365 days were left.
	if moved := prometheus.value(`entra_aws_scim_active_token_expiry_timestamp_seconds{connection="expiring"}`) - expiry; moved < 344*86400 || moved > 366*86400 {
		t.Errorf("the expiry moved by %.1f days, want about 345", moved/86400)
	}
	assertNoOutage(t, prometheus, began)
	if resolved := proxy.posted(`"status":"resolved"`); len(resolved) > 0 {
		t.Errorf("the webhook received a resolved alert: %s", resolved[0])
	}
	c.assertRotated(before)
	if n := len(e.rotations("expiring")); n != 1 {
		t.Errorf("%d rotations", n)
	}
	e.waitForRotation("the rollover is done", certificateConnection)
	eventually(t, time.Minute, "RolloverDue is resolved", prometheus.hasNoSeries(rolloverAlert))
	eventually(t, time.Minute, "RotationSucceeded shows", prometheus.hasSeries(
		`ALERTS{alertname="EntraAwsRotationSucceeded",alertstate="firing",kind="saml_certificate",connection="signing"}`))
	c.assertRolledOver(certificate)
	// Another rotation may run first.
	eventually(t, rotationTimeout, "the third connection waits for the command that ends its outage", prometheus.hasSeries(
		`ALERTS{alertname="EntraAwsRotationBlocked",alertstate="firing",severity="critical",kind="saml_certificate",connection="quarantined"}`))
	comparePayload(t, proxy.posted("EntraAwsScimTokenRotationDue", `"connection":"expiring"`)[0])

	t.Run("queries", func(t *testing.T) { runEveryQuery(t, prometheus, began) })
}

// assertNoOutage checks the rotated connection in Prometheus: its expiry always had a
// value, the endpoint never rejected the token, and no provisioning event failed.
func assertNoOutage(t *testing.T, prometheus *server, began time.Time) {
	t.Helper()
	for what, expression := range map[string]string{
		"the expiry had no value":         `absent(connection:entra_aws_scim_active_token_expiry_timestamp_seconds:max{connection="expiring"})`,
		"the endpoint rejected the token": `entra_aws_scim_probe_success{connection="expiring"} == 0`,
		"a provisioning event failed":     `increase(entra_aws_provisioning_events_total{connection="expiring",status="failure"}[10s]) > 0`,
		"a cycle failed":                  `entra_aws_provisioning_last_cycle_state{connection="expiring",state=~"failed|entry_level_errors"} == 1`,
	} {
		// The exporter needs the first seconds for its first poll.
		result, err := prometheus.history(expression, began.Add(15*time.Second))
		if err != nil || len(result) > 0 {
			t.Errorf("%s: %v %v", what, result, err)
		}
	}
}

// comparePayload compares what Alertmanager posts with the payload of the webhook's unit
// test. UPDATE=1 replaces that one.
func comparePayload(t *testing.T, body string) {
	t.Helper()
	const kept = "../../rotate/webhook/testdata/alertmanager.json"
	if os.Getenv("UPDATE") != "" {
		write(t, kept, strings.TrimSpace(body)+"\n")
	}
	if diff := cmp.Diff(jsonShape(t, read(t, kept)), jsonShape(t, body)); diff != "" {
		t.Errorf("the payload differs from that of the unit test; run with UPDATE=1 (-%s +posted):\n%s", kept, diff)
	}
}

// jsonShape replaces the values of a JSON document by their types.
func jsonShape(t *testing.T, document string) any {
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

// TestExpiryWarningInhibition: a due rotation inhibits the warning about the expiry only
// where the rotation starts automatically.
func TestExpiryWarningInhibition(t *testing.T) {
	t.Parallel()
	webhook, operators := newRecorder(t, ""), newRecorder(t, "")
	am := startAlertmanager(t, t.TempDir(), webhook.URL+webhookPath, operators.URL, "token")
	due := map[string]string{"alertname": "EntraAwsScimTokenRotationDue", "severity": "info", "rotate": "scim-token", "connection": "dry-run"}
	am.postAlert(due)
	due["connection"], due["mode"], due["issuer"] = "rotating", "enabled", "console_api"
	am.postAlert(due)
	eventually(t, time.Minute, "the webhook receives both", func() bool {
		return len(webhook.posted(`"connection":"dry-run"`)) > 0 && len(webhook.posted(`"connection":"rotating"`)) > 0
	})
	for _, connection := range []string{"rotating", "dry-run"} {
		am.postAlert(map[string]string{"alertname": "EntraAwsScimTokenExpiringSoon", "severity": "warning", "connection": connection})
	}
	eventually(t, time.Minute, "one is inhibited", func() bool {
		inhibited, err := am.alerts("active=false", "inhibited=true")
		return err == nil && slices.Equal(inhibited, []string{"EntraAwsScimTokenExpiringSoon rotating"})
	})
	eventually(t, time.Minute, "operators are notified of the other", func() bool { return len(operators.posted("ExpiringSoon", `"connection":"dry-run"`)) > 0 })
	if notified := operators.posted("ExpiringSoon", `"connection":"rotating"`); len(notified) > 0 {
		t.Errorf("operators are notified of what a rotation repairs: %s", notified[0])
	}
}

// TestAlertmanagerPair runs two Alertmanagers that are not clustered, so that both deliver.
func TestAlertmanagerPair(t *testing.T) {
	t.Parallel()
	c := startSimulator(t, "demo")
	e := c.startExporter(freeAddress(t))
	before := c.connection("expiring")
	operators := newRecorder(t, "")
	var proxies []*recorder
	var pair []*server
	for i := range 2 {
		proxies = append(proxies, newRecorder(t, e.url))
		pair = append(pair, startAlertmanager(t, filepath.Join(c.directory, "am-"+strconv.Itoa(i)), proxies[i].URL+webhookPath, operators.URL, c.bearer()))
	}
	prometheus := startPrometheus(t, c.directory, e.url, pair...)
	eventually(t, time.Minute, "both have posted", func() bool {
		return !slices.ContainsFunc(proxies, func(proxy *recorder) bool { return len(proxy.posted("EntraAwsScimTokenRotationDue")) == 0 })
	})
	// Another due connection may rotate first.
	eventually(t, rotationTimeout, "the rotation has started", func() bool { return len(e.rotations("expiring")) > 0 })
	// A running rotation needs no Prometheus.
	prometheus.kill()
	e.waitForRotation("the rotation is done without Prometheus", "expiring")
	c.assertRotated(before)
	prometheus = startPrometheus(t, c.directory, e.url, pair...)
	eventually(t, time.Minute, "RotationSucceeded shows when Prometheus is back",
		prometheus.hasSeries(`ALERTS{alertname="EntraAwsRotationSucceeded",alertstate="firing",connection="expiring"}`))
	eventually(t, time.Minute, "RotationDue is resolved", prometheus.hasNoSeries(dueAlert))
	if n := len(e.rotations("expiring")); n != 1 {
		t.Errorf("%d rotations", n)
	}
}

// TestWrongBearerThenKill gives Alertmanager a wrong bearer token: both metrics show it,
// and nothing is rotated. With the right token the next repetition starts the rotation,
// which survives a kill -9.
func TestWrongBearerThenKill(t *testing.T) {
	t.Parallel()
	c := startSimulator(t, "demo")
	address := freeAddress(t)
	e := c.startExporter(address)
	before := c.connection("expiring")
	operators := newRecorder(t, "")
	am := startAlertmanager(t, filepath.Join(c.directory, "am"), e.url+webhookPath, operators.URL, "wrong")
	prometheus := startPrometheus(t, c.directory, e.url, am)
	write(t, filepath.Join(c.directory, "prometheus.yml"), read(t, filepath.Join(c.directory, "prometheus.yml"))+
		"  - job_name: alertmanager\n    static_configs: [{targets: [\""+strings.TrimPrefix(am.url, "http://")+"\"]}]\n")
	if err := prometheus.command.Process.Signal(os.Signal(hangup)); err != nil {
		t.Fatal(err)
	}
	eventually(t, 90*time.Second, "Alertmanager counts failures", prometheus.hasSeries(
		`sum(alertmanager_notifications_failed_total{integration="webhook"}) > 0`))
	eventually(t, time.Minute, "the exporter counts 401", prometheus.hasSeries(`entra_aws_webhook_requests_total{code="401"} > 0`))
	if n := len(e.rotations("expiring")); n != 0 {
		t.Fatalf("%d rotations without the right token", n)
	}

	write(t, filepath.Join(c.directory, "am", "token"), c.bearer())
	eventually(t, rotationTimeout, "the rotation has started", func() bool {
		list := e.rotations("expiring")
		return len(list) == 1 && list[0].NewTokenID != ""
	})
	e.kill()
	e = c.startExporter(address)
	e.waitForRotation("the rotation is done after kill -9", "expiring")
	eventually(t, time.Minute, "RotationDue is resolved", prometheus.hasNoSeries(dueAlert))
	c.assertRotated(before)
}
