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
	"strconv"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
)

// pace divides the clouds' periods and the rotation's waits: a cycle of forty minutes
// takes eight seconds.
const pace = 300

// clouds are a running simulator and the exporter's configuration for it.
type clouds struct {
	t           *testing.T
	directory   string
	url         string
	environment []string
	client      *http.Client
}

// startClouds runs the simulator with a scene.
func startClouds(t *testing.T, scene string) *clouds {
	t.Helper()
	c := &clouds{t: t, directory: directory(t)}
	address, ca, config := freeAddress(t), filepath.Join(c.directory, "ca.pem"), filepath.Join(c.directory, "config.yaml")
	c.url = "https://" + address
	p := start(t, filepath.Join(c.directory, "simulator.log"), nil, binary(t, "entra-aws-simulator"),
		"--listen-address="+address, "--scene="+scene, "--speed="+strconv.Itoa(pace), "--ca-file="+ca, "--write-config="+config)
	eventually(t, 30*time.Second, "the simulated clouds are up", func() string {
		if strings.Contains(p.output(), "simulating both clouds") {
			return ""
		}
		return "its log: " + p.output()
	})
	for line := range strings.Lines(read(t, filepath.Join(c.directory, "environment"))) {
		c.environment = append(c.environment, strings.Trim(strings.TrimSpace(line), "'"))
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(read(t, ca)))
	c.client = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	t.Cleanup(c.client.CloseIdleConnections)
	// The clouds are faster than in reality: look as much more often.
	intervals := regexp.MustCompile(`intervals: \{.*\}`)
	write(t, config, intervals.ReplaceAllString(read(t, config),
		"intervals: {tokens: 2s, scim: 3s, usage: 3s, job: 2s, events: 3s, certificates: 5s, app_credentials: 10s}"))
	return c
}

// control asks the simulator; see docs/simulator.md.
func (c *clouds) control(method, path string, body, answer any) {
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
func (c *clouds) age(by string) {
	c.t.Helper()
	c.control(http.MethodPost, "age", map[string]string{"by": by}, nil)
}

// quirk changes how the clouds behave.
func (c *clouds) quirk(name, value string) {
	c.t.Helper()
	c.control(http.MethodPut, "quirks", map[string]string{name: value}, nil)
}

// fault lets calls go wrong from now on.
func (c *clouds) fault(f simulator.Fault) {
	c.t.Helper()
	c.control(http.MethodPost, "faults", f, nil)
}

// hand does what a person does.
func (c *clouds) hand(h simulator.Action, answer any) {
	c.t.Helper()
	c.control(http.MethodPost, "hands", h, answer)
}

// connection is a connection as the clouds have it.
func (c *clouds) connection(name string) simulator.ConnectionState {
	c.t.Helper()
	var state simulator.State
	c.control(http.MethodGet, "state", nil, &state)
	for _, connection := range state.Connections {
		if connection.Name == name {
			return connection
		}
	}
	c.t.Fatalf("the clouds have no connection %s", name)
	return simulator.ConnectionState{}
}

// assertRotated asks the clouds, not the exporter: one token, new, saved, and no moment
// in which AWS would have refused Entra.
func (c *clouds) assertRotated(before simulator.ConnectionState) {
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
	if after.GapSeconds != before.GapSeconds {
		c.t.Errorf("%s: a gap of %.2f s", before.Name, after.GapSeconds-before.GapSeconds)
	}
}

// exporter is a running exporter.
type exporter struct {
	*process
	url string
}

// launchExporter runs the exporter.
func (c *clouds) launchExporter(address string) *exporter {
	c.t.Helper()
	e := &exporter{url: "http://" + address}
	e.process = start(c.t, filepath.Join(c.directory, "exporter-"+strings.ReplaceAll(address, ":", "-")+".log"), c.environment,
		binary(c.t, "entra-aws-exporter"), "--config.file="+filepath.Join(c.directory, "config.yaml"),
		"--web.listen-address="+address, "--rotation.pace="+strconv.Itoa(pace))
	return e
}

// startExporter runs the exporter and waits until it is ready.
func (c *clouds) startExporter(address string) *exporter {
	c.t.Helper()
	e := c.launchExporter(address)
	eventually(c.t, time.Minute, "the exporter is ready", func() string {
		select {
		case <-e.gone:
			c.t.Fatalf("the exporter has ended: %s", e.output())
		default:
		}
		response, err := http.Get(e.url + "/-/ready")
		if err != nil {
			return err.Error()
		}
		defer func() { _ = response.Body.Close() }()
		if response.StatusCode != http.StatusOK {
			return response.Status
		}
		return ""
	})
	return e
}

// bearer is the webhook's token.
func (c *clouds) bearer() string {
	c.t.Helper()
	return strings.TrimSpace(read(c.t, filepath.Join(c.directory, "webhook-token")))
}

// rotations are what the exporter knows of the rotations of a connection, newest first.
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

// notDone says what is missing until the newest rotation of a connection is done.
func (e *exporter) notDone(connection string) string {
	own := e.rotations(connection)
	switch {
	case len(own) == 0:
		return connection + ": no rotation"
	case own[0].Outcome != model.OutcomeDone:
		return fmt.Sprintf("%s: phase %s, ending %q, %s", connection, own[0].Phase, own[0].Outcome, own[0].Reason)
	default:
		return ""
	}
}

// told posts the alert for a connection until its rotation has begun, as Alertmanager
// does; it says what is missing.
func (e *exporter) told(bearer, connection string) func() string {
	return func() string {
		if code, err := e.post(bearer, alert(connection)); err != nil || code != http.StatusAccepted {
			return fmt.Sprintf("webhook: %d %v", code, err)
		}
		if len(e.rotations(connection)) == 0 {
			return connection + " has not begun"
		}
		return ""
	}
}

// alert is Alertmanager's payload for connections.
func alert(connections ...string) string {
	var alerts []map[string]any
	for _, name := range connections {
		alerts = append(alerts, map[string]any{"status": "firing", "labels": map[string]string{
			"alertname": "EntraAwsScimTokenRotationDue", "connection": name, "rotate": "scim-token"}})
	}
	content, _ := json.Marshal(map[string]any{"version": "4", "status": "firing", "alerts": alerts})
	return string(content)
}

// post tells the exporter's webhook; it returns the status.
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
