package app

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/exporter-toolkit/web"

	"entra-aws-exporter/internal/simulator/clouds"
)

// With basic authentication, the second address answers health and readiness without
// credentials, and nothing else.
func TestHealthWithoutCredentials(t *testing.T) {
	h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
	h.webConfig, h.healthAddress = h.path("web.yml"), freeAddress(t)
	h.edit("webhook: {bearer_token_file: webhook-token}\n", "")
	h.write("web.yml", "basic_auth_users: {ann: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi}\n")
	h.start()
	ask := func(path string) (int, string) {
		response, err := http.Get("http://" + h.healthAddress + path)
		if err != nil {
			return 0, err.Error()
		}
		defer response.Body.Close() //nolint:errcheck // it was read
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(body)
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if status, _ := ask("/-/ready"); status == http.StatusOK {
			break
		}
	}
	for path, want := range map[string]int{"/-/healthy": 200, "/-/ready": 200, "/metrics": 404, "/": 404, "/config": 404, "/debug/pprof/": 404} {
		if status, body := ask(path); status != want {
			t.Errorf("%s on the health address: %d %s, want %d", path, status, body, want)
		}
		if status, body := h.request(http.MethodGet, path, ""); status != http.StatusUnauthorized {
			t.Errorf("%s without credentials: %d %s", path, status, body)
		}
	}
	h.stop()
	if status, body := ask("/-/healthy"); status != 0 {
		t.Errorf("after the stop: %d %s", status, body)
	}
}

// The profiles are on the first address, behind its authentication.
func TestProfiles(t *testing.T) {
	h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
	h.start()
	if status, body := h.request(http.MethodGet, "/debug/pprof/goroutine?debug=1", ""); status != http.StatusOK || !strings.Contains(body, "goroutine profile: total") {
		t.Errorf("%d %s", status, body)
	}
}

// An address that is in use ends the exporter.
func TestHealthAddressInUse(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // only its address was needed
	address := listener.Addr().String()
	e := newExporter(Options{Logger: discardLogger()}, ServeOptions{
		Web: &web.FlagConfig{WebConfigFile: new(string)}, Listeners: []net.Listener{newPipeListener()}, HealthAddress: address,
	})
	if err := e.listen(t.Context(), http.NotFoundHandler()); err == nil || !strings.HasPrefix(err.Error(), "serving health checks: listen tcp "+address) {
		t.Errorf("got %v", err)
	}
}

// The command for a container's health check fails unless the exporter answers 200.
func TestHealthcheck(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, r.URL.Path)
	}))
	defer server.Close()
	var out bytes.Buffer
	options := StatusOptions{URL: server.URL}
	if err := Healthcheck(t.Context(), Options{Stdout: &out}, options); err != nil || out.String() != "/-/healthy" {
		t.Errorf("healthy: %v, %q", err, out.String())
	}
	status = http.StatusServiceUnavailable
	if err := Healthcheck(t.Context(), Options{Stdout: &out}, options); err == nil || !strings.HasSuffix(err.Error(), "answered 503 Service Unavailable") {
		t.Errorf("unhealthy: %v", err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // only its address is needed
	return listener.Addr().String()
}
