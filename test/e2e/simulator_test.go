//go:build e2e

package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
)

// pace divides the simulator's periods and the waits of a rotation: a cycle of forty
// minutes takes eight seconds.
const pace = 300

// simulatorProcess is a running simulator, with a configuration of the exporter for it.
type simulatorProcess struct {
	t           *testing.T
	directory   string
	url         string
	environment []string
	client      *http.Client
	dynamoDB    string // its URL, if the state is in AWS
}

// startSimulator runs the simulator with a scenario.
func startSimulator(t *testing.T, scenario string) *simulatorProcess {
	t.Helper()
	// The simulated time runs faster, so poll more often.
	return startSimulatorAt(t, scenario, pace, "intervals: {tokens: 2s, scim: 3s, usage: 20s, job: 2s, events: 3s, certificates: 5s, app_credentials: 10s}")
}

// startSimulatorAt runs the simulator at a speed, with these intervals in the
// configuration of the exporter.
func startSimulatorAt(t *testing.T, scenario string, speed int, intervals string) *simulatorProcess {
	t.Helper()
	c := &simulatorProcess{t: t, directory: directory(t)}
	address, ca, config := freeAddress(t), filepath.Join(c.directory, "ca.pem"), filepath.Join(c.directory, "config.yaml")
	c.url = "https://" + address
	p := start(t, filepath.Join(c.directory, "simulator.log"), nil, binary(t, "entra-aws-simulator"),
		"--listen-address="+address, "--scenario="+scenario, "--speed="+strconv.Itoa(speed), "--ca-file="+ca, "--write-config="+config)
	eventually(t, 30*time.Second, "the simulator listens", func() bool { return strings.Contains(p.output(), "simulator started") }, p.output)
	for line := range strings.Lines(read(t, filepath.Join(c.directory, "environment"))) {
		c.environment = append(c.environment, strings.Trim(strings.TrimSpace(line), "'"))
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(read(t, ca)))
	c.client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	t.Cleanup(c.client.CloseIdleConnections)
	write(t, config, regexp.MustCompile(`intervals: \{.*\}`).ReplaceAllString(read(t, config), intervals))
	return c
}

// control calls the simulator's control API; see docs/simulator.md.
func (c *simulatorProcess) control(method, path string, body, answer any) {
	c.t.Helper()
	var content []byte
	if body != nil {
		content, _ = json.Marshal(body)
	}
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.url+"/control/"+path, bytes.NewReader(content))
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := c.client.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= 300 {
		refusal, _ := io.ReadAll(response.Body)
		c.t.Fatalf("control %s: %s: %s", path, response.Status, refusal)
	}
	if answer != nil {
		if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
			c.t.Fatalf("control %s: %v", path, err)
		}
	}
}

// age makes every token and certificate older.
func (c *simulatorProcess) age(by string) {
	c.t.Helper()
	c.control(http.MethodPost, "age", map[string]string{"by": by}, nil)
}

// quirk sets a quirk of the simulator.
func (c *simulatorProcess) quirk(name, value string) {
	c.t.Helper()
	c.control(http.MethodPut, "quirks", map[string]string{name: value}, nil)
}

// fault adds a fault.
func (c *simulatorProcess) fault(f simulator.Fault) {
	c.t.Helper()
	c.control(http.MethodPost, "faults", f, nil)
}

// clearFaults removes every fault.
func (c *simulatorProcess) clearFaults() {
	c.t.Helper()
	c.control(http.MethodDelete, "faults", nil, nil)
}

// performAction performs an action of an operator.
func (c *simulatorProcess) performAction(h simulator.Action, answer any) {
	c.t.Helper()
	c.control(http.MethodPost, "actions", h, answer)
}

// connection returns the state of a connection in the simulator.
func (c *simulatorProcess) connection(name string) simulator.ConnectionState {
	c.t.Helper()
	var state simulator.State
	c.control(http.MethodGet, "state", nil, &state)
	for _, connection := range state.Connections {
		if connection.Name == name {
			return connection
		}
	}
	c.t.Fatalf("the simulator has no connection %s", name)
	return simulator.ConnectionState{}
}

// assertRotated checks the simulator's state, not the exporter's: there is one token, it
// is new, Entra has saved it, and there was no outage.
func (c *simulatorProcess) assertRotated(before simulator.ConnectionState) {
	c.t.Helper()
	after := c.connection(before.Name)
	switch {
	case len(after.Tokens) != 1:
		c.t.Errorf("%s has %d tokens: %+v", before.Name, len(after.Tokens), after.Tokens)
	case after.Tokens[0].ID == before.SavedTokenID:
		c.t.Errorf("%s still has the old token", before.Name)
	case after.SavedTokenID != after.Tokens[0].ID:
		c.t.Errorf("%s: Entra holds %s, AWS has %s", before.Name, after.SavedTokenID, after.Tokens[0].ID)
	}
	if after.OutageSeconds != before.OutageSeconds {
		c.t.Errorf("%s: an outage of %.2f s", before.Name, after.OutageSeconds-before.OutageSeconds)
	}
}

// assertRolledOver checks the simulator's state: Entra signs with one new certificate, which
// AWS trusts alone, the old one is left in Entra, and no sign-in failed.
func (c *simulatorProcess) assertRolledOver(before simulator.ConnectionState) {
	c.t.Helper()
	after := c.connection(before.Name)
	if made := len(after.Certificates) - len(before.Certificates); made != 1 {
		c.t.Errorf("%s: %d certificates were made: %+v", before.Name, made, after.Certificates)
	}
	for _, certificate := range after.Certificates {
		isNew := !slices.ContainsFunc(before.Certificates, func(old simulator.CertificateState) bool { return old.SHA256 == certificate.SHA256 })
		if !certificate.Listed || certificate.Active != isNew || certificate.Signs != isNew || (len(certificate.TrustedAs) == 1) != isNew {
			c.t.Errorf("%s: new %t: %+v", before.Name, isNew, certificate)
		}
	}
	if refused := after.SignIns.Refused - before.SignIns.Refused; refused > 0 || after.SignIns.Accepted == before.SignIns.Accepted {
		c.t.Errorf("%s: %d sign-ins failed, %d succeeded", before.Name, refused, after.SignIns.Accepted-before.SignIns.Accepted)
	}
	if after.SignInOutageSeconds != before.SignInOutageSeconds {
		c.t.Errorf("%s: nobody could sign in for %.2f s", before.Name, after.SignInOutageSeconds-before.SignInOutageSeconds)
	}
}

// exporter is a running exporter.
type exporter struct {
	*process
	url string
}

func (e *exporter) address() string { return strings.TrimPrefix(e.url, "http://") }

// launchExporter runs the exporter.
func (c *simulatorProcess) launchExporter(address string) *exporter {
	c.t.Helper()
	e := &exporter{url: "http://" + address}
	e.process = start(c.t, filepath.Join(c.directory, "exporter-"+strings.ReplaceAll(address, ":", "-")+".log"), c.environment,
		exporterBinary(c.t), "--config.file="+filepath.Join(c.directory, "config.yaml"),
		"--web.listen-address="+address, "--rotation.pace="+strconv.Itoa(pace))
	return e
}

// startExporter runs the exporter and waits until it is ready.
func (c *simulatorProcess) startExporter(address string) *exporter {
	c.t.Helper()
	e := c.launchExporter(address)
	ready := answersOK(e.url + "/-/ready")
	eventually(c.t, time.Minute, "the exporter is ready", func() bool {
		select {
		case <-e.exited:
			c.t.Fatalf("the exporter has exited: %s", e.output())
		default:
		}
		return ready()
	}, e.output)
	return e
}

// startReplicas runs so many exporters with one configuration.
func (c *simulatorProcess) startReplicas(number int) []*exporter {
	c.t.Helper()
	replicas := make([]*exporter, number)
	for i := range replicas {
		replicas[i] = c.startExporter(freeAddress(c.t))
	}
	return replicas
}

// bearer returns the bearer token of the webhook.
func (c *simulatorProcess) bearer() string {
	c.t.Helper()
	return strings.TrimSpace(read(c.t, filepath.Join(c.directory, "webhook-token")))
}

// rotations returns the records of a connection's rotations, newest first.
func (e *exporter) rotations(connection string) []model.RotationRecord {
	var all struct {
		Rotations []model.RotationRecord `json:"rotations"`
	}
	response, err := http.Get(e.url + "/api/v1/rotations")
	if err != nil {
		return nil
	}
	defer func() { _ = response.Body.Close() }()
	if json.NewDecoder(response.Body).Decode(&all) != nil {
		return nil
	}
	var own []model.RotationRecord
	for _, r := range all.Rotations {
		if r.Connection == connection {
			own = append(own, r)
		}
	}
	return own
}

// waitForRotation waits until the newest rotation of a connection is done.
func (e *exporter) waitForRotation(what, connection string) {
	e.t.Helper()
	eventually(e.t, rotationTimeout, what, func() bool {
		list := e.rotations(connection)
		return len(list) > 0 && list[0].Outcome == model.OutcomeDone
	}, func() string {
		list := e.rotations(connection)
		if len(list) == 0 {
			return connection + ": no rotation"
		}
		return fmt.Sprintf("%s: phase %s, outcome %q, %s", connection, list[0].Phase, list[0].Outcome, list[0].Reason)
	})
}

// startedByAlert returns a condition: the rotation of a connection has started. It posts
// the alert again each time, as Alertmanager does.
func (e *exporter) startedByAlert(bearer, connection string) func() bool {
	return e.startedByPayload(bearer, connection, alertPayload(connection))
}

// rolloverStarted is the same for the rollover of the certificate.
func (e *exporter) rolloverStarted(bearer, connection string) func() bool {
	return e.startedByPayload(bearer, connection, strings.NewReplacer("EntraAwsScimTokenRotationDue", "EntraAwsSamlCertificateRolloverDue",
		"scim-token", "saml-certificate").Replace(alertPayload(connection)))
}

func (e *exporter) startedByPayload(bearer, connection, payload string) func() bool {
	return func() bool {
		code, err := e.post(bearer, payload)
		return err == nil && code == http.StatusAccepted && len(e.rotations(connection)) > 0
	}
}

// alertPayload is the webhook payload of Alertmanager for these connections.
func alertPayload(connections ...string) string {
	var alerts []map[string]any
	for _, name := range connections {
		alerts = append(alerts, map[string]any{"status": "firing", "labels": map[string]string{
			"alertname": "EntraAwsScimTokenRotationDue", "connection": name, "rotate": "scim-token"}})
	}
	content, _ := json.Marshal(map[string]any{"version": "4", "status": "firing", "alerts": alerts})
	return string(content)
}

// post calls the exporter's webhook and returns the status code.
func (e *exporter) post(bearer, body string) (int, error) {
	request, err := http.NewRequest(http.MethodPost, e.url+"/webhook/alertmanager", strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Authorization", "Bearer "+bearer)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode, nil
}
