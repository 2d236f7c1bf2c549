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

// TestFaultsFillEveryPanel injects faults, so that the panels and alerts that are empty
// without them have data, too.
func TestFaultsFillEveryPanel(t *testing.T) {
	t.Parallel()
	c := startSimulator(t, "demo")
	config := filepath.Join(c.directory, "config.yaml")
	text := editConnection(t, read(t, config), "expiring", "approval: never, cooldown", "approval: always, cooldown")
	text = editConnection(t, text, certificateConnection, "rollover: {mode: enabled", "rollover: {mode: dry_run")
	write(t, config, editConnection(t, text, "healthy", "rotation: {mode: enabled", "rotation: {mode: dry_run, max_age: 7d"))
	c.quirk("failing_user", "one")
	c.quirk("extra_keys", "masked")
	e := c.startExporter(freeAddress(t))
	began := time.Now()
	prometheus := startPrometheus(t, c.directory, e.url)

	c.breakConnections()

	// One rotation after the other, since two blocked ones keep others from starting.
	shows := func(metric, labels string) {
		t.Helper()
		eventually(t, rotationTimeout, metric+" "+labels, prometheus.hasSeries(`entra_aws_rotation_`+metric+`{`+labels+`}`))
	}
	eventually(t, time.Minute, "a rollover", e.rolloverStarted(c.bearer(), "quarantined"))
	shows("blocked_info", `kind="saml_certificate",connection="quarantined",reason="signer_not_trusted"`)
	eventually(t, time.Minute, "it is an alert", prometheus.hasSeries(`ALERTS{alertname="EntraAwsRotationBlocked",reason="signer_not_trusted"}`))
	c.command("rotation", "reset", "quarantined")
	eventually(t, time.Minute, "the first rotation", e.startedByAlert(c.bearer(), "expiring"))
	shows("blocked_info", `connection="expiring",reason="unknown_secret_keys"`)
	c.quirk("extra_keys", "none")
	c.quirk("put_secrets", "keeps_token")
	c.command("rotation", "reset", "expiring")
	eventually(t, time.Minute, "the second rotation", e.startedByAlert(c.bearer(), "quarantined"))
	shows("blocked_info", `connection="quarantined",reason="entra_holds_dead_token"`)
	c.quirk("put_secrets", "merges")
	eventually(t, time.Minute, "the first one starts again", e.startedByAlert(c.bearer(), "expiring"))
	shows("waiting_info", `connection="expiring",reason="approval"`)
	repair := c.breakJournal()
	shows("waiting_info", `connection="expiring",reason="store_unavailable"`)
	repair()

	c.breakTenants()
	write(t, config, read(t, config)+"nonsense: true\n")
	if err := e.command.Process.Signal(hangup); err != nil {
		t.Fatal(err)
	}
	wanted := faultQueries(t, "EntraAwsExporterAbsent")
	missing := func() []query { return withoutData(t, prometheus, began, wanted) }
	eventually(t, time.Minute, "every panel and alert has had data", func() bool { return len(missing()) == 0 },
		func() string { return fmt.Sprintf("without data: %+v", missing()) })
	attention{t, c, e, prometheus}.assertAgreement("the faults", []string{"EntraAwsSamlCertificateNotTrusted", "EntraAwsSamlUnexpectedSigner", "EntraAwsSamlSpareNotTrusted", "EntraAwsRotationBlocked", "EntraAwsProvisioningDisableImminent"})
	e.kill()
	eventually(t, time.Minute, "EntraAwsExporterAbsent fires", prometheus.hasSeries(`ALERTS{alertname="EntraAwsExporterAbsent",alertstate="firing"}`))
	if empty := withoutData(t, prometheus, began, faultQueries(t)); len(empty) > 0 {
		t.Errorf("no data: %v", empty)
	}
}

// faultQueries are the queries that are empty without faults, except some.
func faultQueries(t *testing.T, except ...string) []query {
	var some []query
	for _, q := range shippedQueries(t) {
		if emptyWithoutFaults[q.where] != "" && !strings.Contains(strings.Join(except, " "), q.where) {
			some = append(some, q)
		}
	}
	return some
}

// editConnection replaces a text in one connection of a configuration.
func editConnection(t *testing.T, config, connection, from, to string) string {
	t.Helper()
	before, after, found := strings.Cut(config, "- name: "+connection+"\n")
	if !found || !strings.Contains(after, from) {
		t.Fatalf("no connection %s in the config, or no %s", connection, from)
	}
	return before + "- name: " + connection + "\n" + strings.Replace(after, from, to, 1)
}

// breakConnections gives the healthy connection a stopped job whose last cycle is long ago,
// an active certificate that AWS does not trust, and no notification addresses. The
// expiring connection gets no active certificate, and AWS refuses the exporter's address for
// the healthy one. The one whose certificate expires soon gets another that AWS does not trust.
func (c *simulatorProcess) breakConnections() {
	c.t.Helper()
	c.performAction(simulator.Action{Do: "add_certificate", Connection: certificateConnection}, nil)
	application := c.connection("healthy").Binding.ServicePrincipalID
	var added struct{ Thumbprint string }
	c.performAction(simulator.Action{Do: "add_certificate", Connection: "healthy"}, &added)
	c.performAction(simulator.Action{Do: "activate_certificate", Connection: "healthy", Thumbprint: added.Thumbprint}, nil)
	c.editResponse("GET servicePrincipal", application, "/notificationEmailAddresses", []string{})
	c.editResponse("GET servicePrincipal", c.connection("expiring").Binding.ServicePrincipalID, "/preferredTokenSigningKeyThumbprint", nil)
	c.performAction(simulator.Action{Do: "pause", Connection: "healthy"}, nil)
	c.fault(simulator.Fault{
		Operation: "SCIM GET ServiceProviderConfig", Path: c.connection("healthy").Binding.ProvisioningTenantID, Status: 403, Code: "AccessDeniedException",
	})
	c.editResponse("GET job", application, "/status/lastExecution/timeEnded", time.Now().Add(-5*time.Hour).UTC())
}

// breakJournal puts a file where the journal's directory was, until repair is called.
func (c *simulatorProcess) breakJournal() (repair func()) {
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

// breakTenants gives the exporter a secret that expires soon and makes the provisioning
// log unreadable. The quarantine is nearly four weeks old.
func (c *simulatorProcess) breakTenants() {
	c.t.Helper()
	c.editResponse("GET applications", "", "/value/0/passwordCredentials/*/endDateTime", time.Now().AddDate(0, 0, 3).UTC())
	c.editResponse("GET job", c.connection("quarantined").Binding.ServicePrincipalID, "/status/quarantine/seriesBegan", time.Now().AddDate(0, 0, -23).UTC())
	c.fault(simulator.Fault{Operation: "GET provisioning", Status: 500, Code: "InternalServerError"})
}

// editResponse sets a value in the responses of an operation whose path contains a text.
func (c *simulatorProcess) editResponse(operation, path, pointer string, value any) {
	c.t.Helper()
	content, err := json.Marshal(value)
	if err != nil {
		c.t.Fatal(err)
	}
	c.fault(simulator.Fault{Operation: operation, Path: path, Effect: simulator.EffectEdit, Set: map[string]json.RawMessage{pointer: content}})
}

// command runs a command of the exporter.
func (c *simulatorProcess) command(arguments ...string) {
	c.t.Helper()
	p := start(c.t, filepath.Join(c.directory, "command.log"), c.environment, binary(c.t, "entra-aws-exporter"),
		append([]string{"--config.file=" + filepath.Join(c.directory, "config.yaml")}, arguments...)...)
	<-p.exited
	if code := p.command.ProcessState.ExitCode(); code != 0 {
		c.t.Fatal(fmt.Errorf("%v exited with %d: %s", arguments, code, p.output()))
	}
}
