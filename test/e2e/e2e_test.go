//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const webhookPath = "/webhook/alertmanager"

// patience is how long a whole rotation may take here; on an idle machine it is
// a minute.
const patience = 4 * time.Minute

const due = `ALERTS{alertname="EntraAwsScimTokenRotationDue",alertstate="firing",connection="expiring"}`

// TestAlertToResolved is the whole loop: the token gets old, the alert comes in, the
// token is rotated, the alert resolves. Then every query that is shipped is asked.
func TestAlertToResolved(t *testing.T) {
	c := startClouds(t, "demo")
	e := c.startExporter(freeAddress(t))
	before := c.connection("expiring")
	began := time.Now()

	proxy, people := record(t, e.url), record(t, "")
	am := startAlertmanager(t, filepath.Join(c.directory, "am"), proxy.URL+webhookPath, people.URL, c.bearer())
	prometheus := startPrometheus(t, c.directory, e.url, am)

	eventually(t, time.Minute, "RotationDue fires", prometheus.lacks(due))
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
	eventually(t, time.Minute, "people are told that it is resolved or succeeded", func() string {
		if len(people.posted("EntraAwsRotationSucceeded")) == 0 {
			return "nobody is told"
		}
		return ""
	})
	eventually(t, time.Minute, "the expiry is a year away", prometheus.lacks(
		`(entra_aws_scim_active_token_expiry_timestamp_seconds{connection="expiring"} - time()) / 86400 > 364`))
	c.assertRotated(before)
	if n := len(e.rotations("expiring")); n != 1 {
		t.Errorf("%d rotations", n)
	}
	keepPayload(t, proxy.posted("EntraAwsScimTokenRotationDue")[0])

	t.Run("queries", func(t *testing.T) { askEverything(t, prometheus, began) })
}

// keepPayload writes what Alertmanager sends to testdata; the webhook's unit test reads it.
func keepPayload(t *testing.T, body string) {
	t.Helper()
	if os.Getenv("UPDATE") == "" {
		return
	}
	write(t, "testdata/alertmanager-payload.json", strings.TrimSpace(body)+"\n")
}

// TestPair has two Alertmanagers that know nothing of each other, so that both deliver.
func TestPair(t *testing.T) {
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
	// What goes on needs no Prometheus.
	prometheus.kill()
	eventually(t, patience, "the rotation is done without Prometheus", func() string { return e.notDone("expiring") })
	c.assertRotated(before)
	if n := len(e.rotations("expiring")); n != 1 {
		t.Errorf("%d rotations", n)
	}
}

// TestWrongBearer lets Alertmanager show a wrong token: its metric and ours say so,
// nothing is rotated. With the right one the rotation comes about by the next repetition,
// and a kill -9 in its middle changes nothing.
func TestWrongBearerThenKilled(t *testing.T) {
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
	eventually(t, time.Minute, "the rotation has begun", func() string {
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
