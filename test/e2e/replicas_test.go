//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/test/harness/dynalite"
)

// The table of the state in AWS.
const (
	region = "eu-central-1"
	table  = "entra-aws-exporter"
)

// stateInAWS moves the state of the configuration to DynamoDB and Secrets Manager.
func (c *simulatorProcess) stateInAWS() {
	c.t.Helper()
	c.dynamoDB = dynalite.Start(c.t)
	dynalite.CreateTable(c.t, c.dynamoDB, region, table)
	path := filepath.Join(c.directory, "config.yaml")
	config := read(c.t, path)
	_, profile, _ := strings.Cut(config, "profile: ")
	profile, _, _ = strings.Cut(profile, "\n")
	const directory = "state: {directory: state}"
	if !strings.Contains(config, directory) {
		c.t.Fatalf("the config does not contain %q", directory)
	}
	write(c.t, path, strings.Replace(config, directory, fmt.Sprintf("state: {aws: {table: %s, region: %s, profile: %s, endpoints: {dynamodb: %q, secrets_manager: %q}}}",
		table, region, profile, c.dynamoDB, simulator.SecretsManagerEndpoint(c.url)), 1))
}

// holder is the process id of the replica that has the lease on the only rotation, by the
// journal in DynamoDB; 0: nobody has.
func (c *simulatorProcess) holder() int {
	c.t.Helper()
	var found struct {
		Items []struct {
			Content struct{ B []byte } `json:"content"`
		}
	}
	answer := dynalite.Call(c.t, c.dynamoDB, region, "Scan", fmt.Sprintf(`{"TableName":%q,"ConsistentRead":true}`, table))
	if err := json.Unmarshal([]byte(answer), &found); err != nil {
		c.t.Fatal(err)
	}
	for _, item := range found.Items {
		if holder := regexp.MustCompile(`"holder":"\S+ (\d+) `).FindSubmatch(item.Content.B); holder != nil {
			pid, _ := strconv.Atoi(string(holder[1])) // it is a number
			return pid
		}
	}
	return 0
}

// balance forwards each request to one of several servers in turn, or to another one if that
// is down, as a load balancer does.
func balance(t *testing.T, urls ...string) *httptest.Server {
	t.Helper()
	var count atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		first := int(count.Add(1))
		for i := range urls {
			request, err := http.NewRequestWithContext(r.Context(), r.Method, urls[(first+i)%len(urls)]+r.URL.Path, strings.NewReader(string(body)))
			if err != nil {
				break
			}
			request.Header = r.Header.Clone()
			if response, err := http.DefaultClient.Do(request); err == nil {
				w.WriteHeader(response.StatusCode)
				_, _ = io.Copy(w, response.Body)
				_ = response.Body.Close()
				return
			}
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	t.Cleanup(s.Close)
	return s
}

// TestTwoReplicas runs two exporters with one state in AWS behind one Prometheus. Alerts go
// to either. Each is killed in the middle of the rotation. No alert fires twice, or resolves
// and fires again; both show one rotation and the same events.
func TestTwoReplicas(t *testing.T) {
	t.Parallel()
	c := startSimulator(t, "demo")
	c.stateInAWS()
	replicas := c.startReplicas(2)
	addresses := []string{replicas[0].address(), replicas[1].address()}
	before := c.connection("expiring")

	operators := newRecorder(t, "")
	am := startAlertmanager(t, filepath.Join(c.directory, "am"), balance(t, replicas[0].url, replicas[1].url).URL+webhookPath, operators.URL, c.bearer())
	prometheus := startPrometheus(t, c.directory, "http://"+strings.Join(addresses, `", "`), am)
	began := time.Now()
	eventually(t, time.Minute, "RotationDue fires", prometheus.hasSeries(dueAlert))
	for i := range replicas {
		eventually(t, rotationTimeout, "the rotation goes on", func() bool {
			list := replicas[1-i].rotations("expiring")
			return len(list) == 1 && (list[0].NewTokenID != "" || list[0].Outcome != "")
		})
		time.Sleep(time.Second)
		replicas[i].kill()
		time.Sleep(3 * time.Second)
		replicas[i] = c.startExporter(addresses[i])
		time.Sleep(3 * time.Second)
	}
	for _, replica := range replicas {
		replica.waitForRotation("the rotation is done", "expiring")
	}
	eventually(t, time.Minute, "RotationDue is resolved", prometheus.hasNoSeries(dueAlert))
	c.assertRotated(before)
	first, second := replicas[0].rotations("expiring"), replicas[1].rotations("expiring")
	if len(first) != 1 || len(second) != 1 || first[0].ID != second[0].ID {
		t.Errorf("they show %v and %v", first, second)
	}
	eventually(t, time.Minute, "both show the same events", func() bool {
		counts, err := prometheus.query(`sum by (instance) (entra_aws_provisioning_events_total)`)
		return err == nil && len(counts) == 2 && counts[0].Value[1] == counts[1].Value[1]
	})
	if fell, err := prometheus.query(`resets(entra_aws_provisioning_events_total[10m]) > 0`); err != nil || len(fell) > 0 {
		t.Errorf("counters fell: %v %v", fell, err)
	}

	doubled, err := prometheus.history(`count by (alertname, connection, entra_tenant, key_id, source, reason, severity, job) (ALERTS{alertstate="firing"}) > 1`, began)
	if err != nil || len(doubled) > 0 {
		t.Errorf("alerts fired twice at a time: %v %v", doubled, err)
	}
	fired, err := prometheus.history(`ALERTS{alertstate="firing"}`, began)
	if err != nil || len(fired) == 0 {
		t.Fatalf("no alerts: %v", err)
	}
	var names []string
	for _, alert := range fired {
		names = append(names, alert.Metric["alertname"]+" "+alert.Metric["connection"])
		if _, of := alert.Metric["instance"]; of {
			t.Errorf("it is about one replica: %v", alert.Metric)
		}
		if alert.Metric["connection"] == "quarantined" {
			continue // its token is repaired meanwhile: its rollover gives way, and is blocked again
		}
		for i := 1; i < len(alert.Values); i++ {
			last, _ := alert.Values[i-1][0].(float64)
			next, _ := alert.Values[i][0].(float64)
			if next-last > 1.5 {
				t.Errorf("resolved and fired again after %v s: %v", next-last, alert.Metric)
			}
		}
	}
	if !slices.Contains(names, "EntraAwsScimTokenRotationDue expiring") {
		t.Errorf("fired: %v", names)
	}
	t.Logf("fired once each: %s", strings.Join(names, ", "))
}
