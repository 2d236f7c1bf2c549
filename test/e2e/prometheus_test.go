//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// server is a running Prometheus or Alertmanager.
type server struct {
	*process
	url string
}

func (s *server) ready(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, s.url+" is ready", answersOK(s.url+"/-/ready"), s.output)
}

// writeFastConfig writes the shipped configuration into a directory, with other addresses
// and shorter waits, but the same expressions.
func writeFastConfig(t *testing.T, what, in string, arguments ...string) {
	t.Helper()
	script := exec.Command("../../deploy/demo/fast-config.sh", append([]string{what, in}, arguments...)...)
	if output, err := script.CombinedOutput(); err != nil {
		t.Fatalf("fast-config.sh %s: %v: %s", what, err, output)
	}
}

// startPrometheus scrapes every second, with the rules of deploy/prometheus.
func startPrometheus(t *testing.T, in, exporterURL string, alertmanagers ...*server) *server {
	t.Helper()
	targets := []string{strings.TrimPrefix(exporterURL, "http://")}
	for _, a := range alertmanagers {
		targets = append(targets, strings.TrimPrefix(a.url, "http://"))
	}
	writeFastConfig(t, "prometheus", in, targets...)
	config := filepath.Join(in, "prometheus.yml")
	address := freeAddress(t)
	s := &server{url: "http://" + address}
	s.process = start(t, filepath.Join(in, "prometheus.log"), nil, binary(t, "prometheus"), "--config.file="+config,
		"--storage.tsdb.path="+filepath.Join(in, "tsdb"), "--web.listen-address="+address, "--web.external-url=http://prometheus:9090/", "--rules.alert.resend-delay=2s")
	s.ready(t)
	return s
}

// startAlertmanager runs the configuration of deploy/alertmanager with other addresses,
// shorter waits and an always open time window. It notifies operators at operatorsURL.
func startAlertmanager(t *testing.T, in, webhook, operatorsURL, bearer string) *server {
	t.Helper()
	address, token, config := freeAddress(t), filepath.Join(in, "token"), filepath.Join(in, "alertmanager.yml")
	writeFastConfig(t, "alertmanager", in, webhook, token, operatorsURL)
	write(t, token, bearer)
	s := &server{url: "http://" + address}
	s.process = start(t, filepath.Join(in, "alertmanager.log"), nil, binary(t, "alertmanager"), "--config.file="+config,
		"--storage.path="+filepath.Join(in, "data"), "--web.listen-address="+address, "--web.external-url=http://alertmanager:9093/", "--cluster.listen-address=")
	s.ready(t)
	return s
}

// series is one result of Prometheus: labels and values.
type series struct {
	Metric map[string]string `json:"metric"`
	Value  []any             `json:"value"`
	Values [][]any           `json:"values"`
}

func (s *server) get(path string, parameters url.Values) ([]series, error) {
	response, err := http.Get(s.url + path + "?" + parameters.Encode())
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		Status string `json:"status"`
		Error  string `json:"error"`
		Data   struct {
			Result []series `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s", answer.Error)
	}
	return answer.Data.Result, nil
}

// query evaluates an expression now.
func (s *server) query(expression string) ([]series, error) {
	return s.get("/api/v1/query", url.Values{"query": {expression}})
}

// history evaluates an expression for every second since a time.
func (s *server) history(expression string, since time.Time) ([]series, error) {
	return s.get("/api/v1/query_range", url.Values{"query": {expression}, "step": {"1"},
		"start": {since.UTC().Format(time.RFC3339)}, "end": {time.Now().UTC().Format(time.RFC3339)}})
}

// hasSeries returns a condition: the expression has a result.
func (s *server) hasSeries(expression string) func() bool {
	return func() bool {
		result, err := s.query(expression)
		return err == nil && len(result) > 0
	}
}

// hasNoSeries returns a condition: the expression has no result.
func (s *server) hasNoSeries(expression string) func() bool {
	return func() bool {
		result, err := s.query(expression)
		return err == nil && len(result) == 0
	}
}

// value returns the value of an expression that has exactly one result.
func (s *server) value(expression string) float64 {
	s.t.Helper()
	result, err := s.query(expression)
	if err != nil || len(result) != 1 || len(result[0].Value) != 2 {
		s.t.Fatalf("%s: want one result, got %v, %v", expression, result, err)
	}
	text, _ := result[0].Value[1].(string)
	number, err := strconv.ParseFloat(text, 64)
	if err != nil {
		s.t.Fatalf("%s: %v", expression, err)
	}
	return number
}

// alerts lists the alerts of Alertmanager in a state by name and connection.
func (s *server) alerts(state ...string) ([]string, error) {
	response, err := http.Get(s.url + "/api/v2/alerts?" + strings.Join(state, "&"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	var all []struct{ Labels map[string]string }
	if err := json.NewDecoder(response.Body).Decode(&all); err != nil {
		return nil, err
	}
	var names []string
	for _, alert := range all {
		names = append(names, alert.Labels["alertname"]+" "+alert.Labels["connection"])
	}
	return names, nil
}

// postAlert posts an alert to Alertmanager, as Prometheus does.
func (s *server) postAlert(labels map[string]string) {
	s.t.Helper()
	body, err := json.Marshal([]any{map[string]any{"labels": labels}})
	if err != nil {
		s.t.Fatal(err)
	}
	response, err := http.Post(s.url+"/api/v2/alerts", "application/json", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		s.t.Fatalf("Alertmanager answers %s to %s", response.Status, body)
	}
}

// recorder records the bodies that are posted to it. It can forward them.
type recorder struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
}

// newRecorder starts a recorder that forwards to a URL; "": it does not.
func newRecorder(t *testing.T, forwardTo string) *recorder {
	t.Helper()
	r := &recorder{}
	next := http.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	if forwardTo != "" {
		target, err := url.Parse(forwardTo)
		if err != nil {
			t.Fatal(err)
		}
		next = httputil.NewSingleHostReverseProxy(target)
	}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body) // a truncated body is forwarded as it is
		r.mu.Lock()
		r.bodies = append(r.bodies, string(body))
		r.mu.Unlock()
		request.Body = io.NopCloser(strings.NewReader(string(body)))
		next.ServeHTTP(w, request)
	}))
	t.Cleanup(r.Close)
	return r
}

// posted returns the bodies that contain all words.
func (r *recorder) posted(words ...string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []string
next:
	for _, body := range r.bodies {
		for _, word := range words {
			if !strings.Contains(body, word) {
				continue next
			}
		}
		found = append(found, body)
	}
	return found
}
