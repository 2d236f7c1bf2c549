package app

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// reload posts a reload and returns the status and the response.
func (h *harness) reload() (int, string) {
	h.t.Helper()
	return h.request(http.MethodPost, "/-/reload", "")
}

// connectionSection returns a connection's part of the config file.
func connectionSection(text, connection string) string {
	begin := strings.Index(text, "  - name: "+connection+"\n    tenant: ")
	rest := text[begin+1:]
	end := len(rest)
	for _, next := range []string{"\n  - name: ", "\nhttp_client:", "\nstate:", "\nwebhook:"} {
		if at := strings.Index(rest, next); at >= 0 {
			end = min(end, at)
		}
	}
	return text[begin : begin+1+end+1]
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newModel()
		if err := simulator.Seed(w, "demo"); err != nil {
			t.Fatal(err)
		}
		h := newHarnessFor(t, w)
		whole := h.read("exporter.yml")
		part := connectionSection(whole, "quarantined")
		h.edit(part, "")
		h.start()
		time.Sleep(firstPoll)
		if late := h.series().matching(`connection="quarantined"`); len(late) != 0 {
			t.Fatalf("not configured yet, but there is %v", late)
		}

		t.Log("a connection is added; what was read of the others stays")
		expiry := h.series().matching("scim_active_token_expiry", `"healthy"`)
		h.write("exporter.yml", whole)
		if status, answer := h.reload(); status != http.StatusOK {
			t.Fatalf("reload: %d %s", status, answer)
		}
		h.series().expect(t, expiry...)
		time.Sleep(firstPoll)
		if added := h.series().matching("scim_active_token_expiry", `"quarantined"`); len(added) != 1 {
			t.Errorf("the added connection shows %v", added)
		}

		t.Log("a broken file changes nothing but the gauges")
		at := h.series().matching("config_last_reload_success_timestamp_seconds")
		h.write("exporter.yml", whole+"nonsense: true\n")
		time.Sleep(time.Minute)
		if status, answer := h.reload(); status == http.StatusOK || !strings.Contains(answer, "nonsense") {
			t.Errorf("a broken file: %d %s", status, answer)
		}
		page := h.series()
		page.expect(t, append(at, expiry[0], "entra_aws_config_last_reload_successful 0")...)
		if all := page.matching("entra_aws_connection_info"); len(all) != 4 {
			t.Errorf("the connections are %v", all)
		}

		t.Log("state cannot move under a running exporter")
		h.write("exporter.yml", strings.Replace(whole, "state: {directory: state}", "state: {directory: elsewhere}", 1))
		if status, answer := h.reload(); status == http.StatusOK || !strings.Contains(answer, "a reload cannot change state") {
			t.Errorf("another state directory: %d %s", status, answer)
		}

		t.Log("a connection and the webhook are taken away")
		h.write("exporter.yml", strings.Replace(strings.Replace(whole, part, "", 1), "webhook: {bearer_token_file: webhook-token}\n", "", 1))
		if status, answer := h.reload(); status != http.StatusOK {
			t.Fatalf("reload: %d %s", status, answer)
		}
		page = h.series()
		page.expect(t, expiry[0], "entra_aws_config_last_reload_successful 1")
		if left := page.matching(`connection="quarantined"`); len(left) != 0 {
			t.Errorf("the removed connection has left %v", left)
		}
		if status, _ := h.request(http.MethodPost, "/webhook/alertmanager", "{}"); status != http.StatusNotFound {
			t.Errorf("the removed webhook answers %d", status)
		}
	})
}

// A reload removes the webhook section during a request: then no caller is authorized.
func TestWebhookRemovedDuringRequest(t *testing.T) {
	h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
	h.edit("webhook: {bearer_token_file: webhook-token}\n", "")
	r := Options{Logger: discardLogger()}.newRotationService(nil, 1, nil, nil)
	e := &Exporter{options: Options{ConfigFile: h.path("exporter.yml"), Logger: discardLogger()}, rotation: r, requests: newRequestCounter()}
	generation, err := e.buildRuntime()
	if err != nil {
		t.Fatal(err)
	}
	r.configure(generation.config, generation.clients)
	if _, required, err := r.webhookBearer(); !required || err == nil {
		t.Errorf("bearer() = required %v, error %v", required, err)
	}
}

// The server reads the web config again at every request. Once it authenticates nobody,
// the webhook that relied on it rejects every caller.
func TestWebhookFollowsWebConfig(t *testing.T) {
	h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
	h.edit("webhook: {bearer_token_file: webhook-token}\n", "webhook: {}\n")
	h.write("web.yml", "basic_auth_users: {alertmanager: $2y$10$x}\n")
	r := Options{Logger: discardLogger()}.newRotationService(nil, 1, nil, nil)
	e := &Exporter{options: Options{ConfigFile: h.path("exporter.yml"), Logger: discardLogger()}, webConfig: h.path("web.yml"), rotation: r, requests: newRequestCounter()}
	r.authenticated = e.authenticated
	generation, err := e.buildRuntime()
	if err != nil {
		t.Fatal(err)
	}
	r.configure(generation.config, generation.clients)
	ask := func() int {
		request := httptest.NewRequest(http.MethodPost, "/webhook/alertmanager", strings.NewReader(dueAlert))
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("Authorization", "Bearer ")
		answer := httptest.NewRecorder()
		r.webhookHandler().ServeHTTP(answer, request)
		return answer.Code
	}
	if code := ask(); code != http.StatusOK {
		t.Errorf("behind basic authentication: %d", code)
	}
	h.write("web.yml", "{}\n")
	if code := ask(); code != http.StatusUnauthorized {
		t.Errorf("behind nothing: %d", code)
	}
	if _, err := e.buildRuntime(); err == nil || !strings.Contains(err.Error(), "webhook.bearer_token_file: is missing") {
		t.Errorf("a reload: %v", err)
	}
}

// With --config.enable-auto-reload a change of the configuration, or of a file that it
// names, is noticed without a signal. A failed reload is tried again.
func TestAutoReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp"), clouds.Healthy("added")})
		h.autoReload = 30 * time.Second
		whole := h.read("exporter.yml")
		h.edit(connectionSection(whole, "added"), "")
		h.start()
		reloads := func(says string) int { return strings.Count(h.logs.String(), says) }
		time.Sleep(10 * time.Minute)
		if n := reloads("configuration reloaded"); n != 0 {
			t.Errorf("%d reloads without a change", n)
		}

		h.write("exporter.yml", whole)
		time.Sleep(firstPoll)
		if added := h.series().matching("scim_active_token_expiry", `"added"`); len(added) != 1 {
			t.Errorf("the added connection shows %v", added)
		}

		h.write("exporter.yml", whole+"nonsense: true\n")
		time.Sleep(100 * time.Second)
		if n := reloads("configuration reload failed"); n < 2 {
			t.Errorf("the reload failed %d times", n)
		}
		h.series().expect(t, "entra_aws_config_last_reload_successful 0")
		h.write("exporter.yml", whole)
		time.Sleep(31 * time.Second)
		h.series().expect(t, "entra_aws_config_last_reload_successful 1")

		before := reloads("configuration reloaded")
		h.write("webhook-token", "another\n")
		time.Sleep(10 * time.Minute)
		if n := reloads("configuration reloaded") - before; n != 1 {
			t.Errorf("%d reloads after a change of a secret", n)
		}
	})
}
