//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/simulator"
)

// TestTrouble lets go wrong whatever can, so that the panels and alerts that are empty
// as long as all is well have data, too.
func TestTrouble(t *testing.T) {
	t.Parallel()
	c := startClouds(t, "demo")
	config := filepath.Join(c.directory, "config.yaml")
	text := with(t, read(t, config), "expiring", "approval: never", "approval: always")
	write(t, config, with(t, text, "healthy", "mode: enabled", "mode: dry_run, max_age: 7d"))
	c.quirk("failing_user", "one")
	c.quirk("extra_keys", "masked")
	e := c.startExporter(freeAddress(t))
	began := time.Now()
	prometheus := startPrometheus(t, c.directory, e.url)

	c.troubleHealthy()

	// One rotation after the other: no other one starts beside two blocked ones.
	shows := func(metric, labels string) {
		t.Helper()
		eventually(t, patience, metric+" "+labels, prometheus.lacks(`entra_aws_rotation_`+metric+`{`+labels+`}`))
	}
	eventually(t, time.Minute, "the first rotation", e.told(c.bearer(), "quarantined"))
	shows("blocked_info", `connection="quarantined",reason="unknown_secret_keys"`)
	c.quirk("extra_keys", "none")
	c.quirk("put_secrets", "keeps_token")
	c.command("rotation", "reset", "quarantined")
	eventually(t, time.Minute, "it begins anew", e.told(c.bearer(), "quarantined"))
	shows("blocked_info", `connection="quarantined",reason="entra_holds_dead_token"`)
	c.quirk("put_secrets", "merges")
	eventually(t, time.Minute, "the second rotation", e.told(c.bearer(), "expiring"))
	shows("waiting_info", `connection="expiring",reason="approval"`)
	mend := c.troubleStore()
	shows("waiting_info", `connection="expiring",reason="store_unavailable"`)
	mend()

	c.troubleTenants()
	write(t, config, read(t, config)+"nonsense: true\n")
	if err := e.command.Process.Signal(hangup); err != nil {
		t.Fatal(err)
	}
	wanted := troubles(t, "EntraAwsExporterAbsent")
	eventually(t, time.Minute, "every panel and alert has had data", func() string {
		empty := withoutData(t, prometheus, began, wanted)
		names := make([]string, len(empty))
		for i, q := range empty {
			names[i] = q.where + "\n" + q.expression
		}
		return strings.Join(names, "\n")
	})
	e.kill()
	eventually(t, time.Minute, "the exporter is missed", prometheus.lacks(`ALERTS{alertname="EntraAwsExporterAbsent",alertstate="firing"}`))
	if empty := withoutData(t, prometheus, began, troubles(t)); len(empty) > 0 {
		t.Errorf("no data: %v", empty)
	}
}

// troubles are the queries that are empty when all is well, but for some.
func troubles(t *testing.T, but ...string) []query {
	var some []query
	for _, q := range shipped(t) {
		if emptyWhenWell[q.where] != "" && !strings.Contains(strings.Join(but, " "), q.where) {
			some = append(some, q)
		}
	}
	return some
}

// with changes one connection in a config.
func with(t *testing.T, config, connection, from, to string) string {
	t.Helper()
	before, after, found := strings.Cut(config, "- name: "+connection+"\n")
	if !found || !strings.Contains(after, from) {
		t.Fatalf("no connection %s in the config, or no %s", connection, from)
	}
	return before + "- name: " + connection + "\n" + strings.Replace(after, from, to, 1)
}

// troubleHealthy gives the healthy connection a stopped job whose last cycle is long ago,
// an active certificate that AWS does not hold, and nobody who is notified.
func (c *clouds) troubleHealthy() {
	c.t.Helper()
	application := c.connection("healthy").Binding.ServicePrincipalID
	var added struct{ Thumbprint string }
	c.hand(simulator.Action{Do: "add_certificate", Connection: "healthy"}, &added)
	c.hand(simulator.Action{Do: "activate_certificate", Connection: "healthy", Thumbprint: added.Thumbprint}, nil)
	c.edit("GET servicePrincipal", application, "/notificationEmailAddresses", []string{})
	c.hand(simulator.Action{Do: "pause", Connection: "healthy"}, nil)
	c.edit("GET job", application, "/status/lastExecution/timeEnded", time.Now().Add(-5*time.Hour).UTC())
}

// troubleStore puts a file where the journal's directory was, until it is mended.
func (c *clouds) troubleStore() (mend func()) {
	c.t.Helper()
	journal := filepath.Join(c.directory, "state", "journal")
	move := func(from, to string) {
		if err := os.Rename(from, to); err != nil {
			c.t.Fatal(err)
		}
	}
	move(journal, journal+".aside")
	write(c.t, journal, "in the way")
	return func() {
		move(journal, journal+".file")
		move(journal+".aside", journal)
	}
}

// troubleTenants gives the exporter a secret that expires soon and takes the provisioning
// log from it; the quarantine is nearly four weeks old.
func (c *clouds) troubleTenants() {
	c.t.Helper()
	c.edit("GET applications", "", "/value/0/passwordCredentials/*/endDateTime", time.Now().AddDate(0, 0, 3).UTC())
	c.edit("GET job", c.connection("quarantined").Binding.ServicePrincipalID, "/status/quarantine/seriesBegan", time.Now().AddDate(0, 0, -23).UTC())
	c.fault(simulator.Fault{Operation: "GET provisioning", Status: 500, Code: "InternalServerError"})
}

// edit puts a value into the answers to an operation whose path contains something.
func (c *clouds) edit(operation, path, pointer string, value any) {
	c.t.Helper()
	content, err := json.Marshal(value)
	if err != nil {
		c.t.Fatal(err)
	}
	c.fault(simulator.Fault{Operation: operation, Path: path, Effect: simulator.EffectEdit, Set: map[string]json.RawMessage{pointer: content}})
}

// command runs the exporter's command line.
func (c *clouds) command(arguments ...string) {
	c.t.Helper()
	p := start(c.t, filepath.Join(c.directory, "command.log"), c.environment, binary(c.t, "entra-aws-exporter"),
		append([]string{"--config.file=" + filepath.Join(c.directory, "config.yaml")}, arguments...)...)
	<-p.gone
	if code := p.command.ProcessState.ExitCode(); code != 0 {
		c.t.Fatal(fmt.Errorf("%v ended with %d: %s", arguments, code, p.output()))
	}
}
