package web_test

import (
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/web"
	"entra-aws-exporter/test/e2e/page/examples"
)

var update = flag.Bool("update", false, "write the golden files")

// options returns the options of a server with the example connections. In a synctest
// bubble its clock is stopped.
func options() web.Options {
	data := examples.New(time.Now())
	return web.Options{
		Snapshots: data.Snapshots,
		Rotation:  data.Rotation,
		Records:   data.Records,
		Ready:     func() error { return nil },
		Reloaded:  func() error { return nil },
		Config:    func() ([]byte, error) { return []byte("tenants: []\n"), nil },
		Build:     web.Build{Version: "1.2.3", Revision: "abcdef"},
		Logger:    slog.New(slog.DiscardHandler),
	}
}

func send(t *testing.T, o web.Options, method, path string) *http.Response {
	t.Helper()
	handler, err := web.New(o)
	if err != nil {
		t.Fatal(err)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(method, path, nil))
	return recorder.Result()
}

func body(t *testing.T, response *http.Response) string {
	t.Helper()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestRoutes(t *testing.T) {
	answer := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	for _, test := range []struct {
		name         string
		method, path string
		change       func(*web.Options)
		code         int
		contentType  string
		want         string // part of the body
	}{
		{"status page", "GET", "/", nil, 200, "text/html; charset=utf-8", "<h1>Status</h1>"},
		{"status page, HEAD", "HEAD", "/", nil, 200, "text/html; charset=utf-8", ""},
		{"status page, POST", "POST", "/", nil, 405, "text/plain; charset=utf-8", "Method Not Allowed"},
		{"unknown path", "GET", "/nothing", nil, 404, "text/plain; charset=utf-8", "404 page not found"},
		{"healthy", "GET", "/-/healthy", nil, 200, "text/plain; charset=utf-8", "healthy\n"},
		{"ready", "GET", "/-/ready", nil, 200, "text/plain; charset=utf-8", "ready\n"},
		{"not ready", "GET", "/-/ready", func(o *web.Options) { o.Ready = func() error { return errors.New("the first poll has not ended") } },
			503, "text/plain; charset=utf-8", "not ready: the first poll has not ended\n"},
		{"reload disabled", "POST", "/-/reload", nil, 403, "text/plain; charset=utf-8",
			"reload over HTTP is disabled; start the exporter with --web.enable-lifecycle, or send SIGHUP\n"},
		{"reload", "POST", "/-/reload", func(o *web.Options) { o.Reload = func() error { return nil } }, 200, "text/plain; charset=utf-8", "reloaded\n"},
		{"reload of a bad file", "POST", "/-/reload", func(o *web.Options) { o.Reload = func() error { return errors.New("c.yaml:3: connections: none") } },
			500, "text/plain; charset=utf-8", "configuration reload failed, the previous configuration stays active: c.yaml:3: connections: none\n"},
		{"reload by GET", "GET", "/-/reload", func(o *web.Options) { o.Reload = func() error { return nil } }, 405, "text/plain; charset=utf-8", "Method Not Allowed"},
		{"config", "GET", "/config", nil, 200, "text/plain; charset=utf-8", "tenants: []\n"},
		{"config fails", "GET", "/config", func(o *web.Options) { o.Config = func() ([]byte, error) { return nil, errors.New("no") } },
			500, "text/plain; charset=utf-8", "encoding the configuration: no\n"},
		{"connection", "GET", "/connections/corp", nil, 200, "text/html; charset=utf-8", `<a href="../">All connections</a>`},
		{"no such connection", "GET", "/connections/nobody", nil, 404, "text/plain; charset=utf-8", "no such connection; see / for the list\n"},
		{"status page, by name", "GET", "/?name=COR", nil, 200, "text/html; charset=utf-8", "1 to 1 of 1, most urgent first"},
		{"status page, by state", "GET", "/?state=attention&limit=2&page=2", nil, 200, "text/html; charset=utf-8", "3 to 4 of 4, most urgent first"},
		{"status page, nothing matches", "GET", "/?name=nobody", nil, 200, "text/html; charset=utf-8", "No connection matches."},
		{"status page, unknown state", "GET", "/?state=bad", nil, 400, "text/plain; charset=utf-8", "state=\"bad\" is unknown: use attention or healthy, or leave it out\n"},
		{"status page, bad page", "GET", "/?page=0", nil, 400, "text/plain; charset=utf-8", "page=\"0\" is not a number of at least 1\n"},
		{"connections, one page", "GET", "/api/v1/connections?name=e&limit=1", nil, 200, "application/json", "\"total\": 4,"},
		{"connections, bad limit", "GET", "/api/v1/connections?limit=all", nil, 400, "text/plain; charset=utf-8", "limit=\"all\" is not a number of at least 1\n"},
		{"connections", "GET", "/api/v1/connections", nil, 200, "application/json", `"name": "corp"`},
		{"connections, POST", "POST", "/api/v1/connections", nil, 405, "text/plain; charset=utf-8", "Method Not Allowed"},
		{"rotations", "GET", "/api/v1/rotations", nil, 200, "application/json", `"id": "r-0004"`},
		{"no rotations", "GET", "/api/v1/rotations", func(o *web.Options) { o.Records = func() []model.RotationRecord { return nil } },
			200, "application/json", "{\n  \"rotations\": []\n}\n"},
		{"runbooks", "GET", "/runbooks/", nil, 200, "text/html; charset=utf-8", `<a href="../runbooks/EntraAwsRotationBlocked">`},
		{"runbook", "GET", "/runbooks/EntraAwsRotationBlocked", nil, 200, "text/html; charset=utf-8", "EntraAwsRotationBlocked</h1>"},
		{"runbook by its file's name", "GET", "/runbooks/EntraAwsRotationBlocked.md", nil, 200, "text/html; charset=utf-8", "EntraAwsRotationBlocked</h1>"},
		{"runbook by the alert's link", "GET", "/docs/runbooks/EntraAwsRotationBlocked.md", nil, 200, "text/html; charset=utf-8", `href="../../style.css"`},
		{"runbooks by the dashboards' link", "GET", "/docs/runbooks", nil, 302, "", ""},
		{"runbooks by the dashboards' link and a slash", "GET", "/docs/runbooks/", nil, 302, "", ""},
		{"manual", "GET", "/rotation", nil, 200, "text/html; charset=utf-8", `<h2 id="gaining-trust">Gaining trust</h2>`},
		{"manual beside the runbooks", "GET", "/docs/rotation", nil, 200, "text/html; charset=utf-8", `href="../style.css"`},
		{"manual by its file's name", "GET", "/docs/rotation.md", nil, 200, "text/html; charset=utf-8", `<h2 id="by-hand">By hand</h2>`},
		{"reasons", "GET", "/rotation-reasons", nil, 200, "text/html; charset=utf-8", `<h3 id="two_tokens">two_tokens</h3>`},
		{"reasons by their file's name", "GET", "/docs/rotation-reasons.md", nil, 200, "text/html; charset=utf-8", `<h2 id="waiting">Waiting</h2>`},
		{"no such runbook", "GET", "/runbooks/EntraAwsNothing", nil, 404, "text/plain; charset=utf-8", "no such runbook; see /runbooks/ for the list\n"},
		{"runbook out of the directory", "GET", "/runbooks/..%2F..%2Fgo", nil, 404, "text/plain; charset=utf-8", "no such runbook"},
		{"stylesheet", "GET", "/style.css", nil, 200, "text/css; charset=utf-8", "prefers-color-scheme: dark"},
		{"icon", "GET", "/icon.svg", nil, 200, "image/svg+xml", "<svg"},
		{"a template is not a page", "GET", "/status.html", nil, 404, "text/plain; charset=utf-8", ""},
		{"metrics", "GET", "/metrics", func(o *web.Options) { o.Metrics = answer("up 1\n") }, 200, "text/plain; charset=utf-8", "up 1\n"},
		{"webhook", "POST", "/webhook/alertmanager", func(o *web.Options) { o.Webhook = answer("posted") }, 200, "text/plain; charset=utf-8", "posted"},
		{"webhook handles other methods itself", "GET", "/webhook/alertmanager", func(o *web.Options) { o.Webhook = answer("got") }, 200, "text/plain; charset=utf-8", "got"},
		{"profiles", "GET", "/debug/pprof/", func(o *web.Options) { o.Profiles = true }, 200, "text/html; charset=utf-8", "goroutine"},
		{"heap profile", "GET", "/debug/pprof/heap", func(o *web.Options) { o.Profiles = true }, 200, "application/octet-stream", "\x1f\x8b"},
		{"no profiles", "GET", "/debug/pprof/", nil, 404, "text/plain; charset=utf-8", "404 page not found"},
		{"no webhook", "POST", "/webhook/alertmanager", nil, 404, "text/plain; charset=utf-8", "404 page not found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := options()
			if test.change != nil {
				test.change(&o)
			}
			response := send(t, o, test.method, test.path)
			got := body(t, response)
			if response.StatusCode != test.code || !strings.Contains(got, test.want) {
				t.Errorf("%s %s = %d %q, want %d with %q", test.method, test.path, response.StatusCode, got, test.code, test.want)
			}
			if contentType := response.Header.Get("Content-Type"); contentType != test.contentType {
				t.Errorf("Content-Type = %q, want %q", contentType, test.contentType)
			}
		})
	}
}

// TestLinksLeadSomewhere follows every link from the status page, the runbooks and the
// dashboards, including its fragment.
func TestLinksLeadSomewhere(t *testing.T) {
	o := options()
	o.Metrics = http.NotFoundHandler() // not served by this package
	link := regexp.MustCompile(`<a href="([^"]*)"`)
	seen := map[string]bool{"/metrics": true}
	var follow func(from *url.URL, address string)
	follow = func(from *url.URL, address string) {
		to, err := from.Parse(address)
		if err != nil {
			t.Errorf("%s links to %q: %v", from, address, err)
			return
		}
		if seen[to.String()] {
			return
		}
		seen[to.String()] = true
		response := send(t, o, "GET", to.RequestURI())
		page := body(t, response)
		switch {
		case response.StatusCode == http.StatusFound:
			follow(to, response.Header.Get("Location"))
		case response.StatusCode != http.StatusOK:
			t.Errorf("%s links to %s, which returns %d", from, to, response.StatusCode)
		case to.Fragment != "" && !strings.Contains(page, `id="`+to.Fragment+`"`):
			t.Errorf("%s links to %s, which has no such heading", from, to)
		case strings.HasPrefix(response.Header.Get("Content-Type"), "text/html"):
			for _, match := range link.FindAllStringSubmatch(page, -1) {
				follow(to, match[1])
			}
		}
	}
	for _, address := range []string{"/", "/docs/runbooks", "/docs/runbooks/", "/docs/runbooks/EntraAwsRotationBlocked.md"} {
		follow(&url.URL{Path: "/"}, address)
	}
	for _, must := range []string{"/rotation-reasons#two_tokens", "/docs/rotation-reasons#blocked", "/docs/runbooks/EntraAwsAppCredentialExpiringSoon", "/runbooks/EntraAwsScimTokenRefused"} {
		if !seen[must] {
			t.Errorf("no link leads to %s", must)
		}
	}
}

// TestReasonsHaveAnchors: the status page links to every reason.
func TestReasonsHaveAnchors(t *testing.T) {
	page := body(t, send(t, options(), "GET", "/rotation-reasons"))
	for _, reason := range append(model.BlockedReasons(), model.BlockedAmbiguous) {
		if !strings.Contains(page, `id="`+string(reason)+`"`) {
			t.Errorf("the page has no heading %s", reason)
		}
	}
}

// TestStoreUnavailableLinksToItsReason: it has the alert of blocked rotations, but waits.
func TestStoreUnavailableLinksToItsReason(t *testing.T) {
	o := options()
	o.Rotation = func(string, model.Procedure) model.RotationStatus {
		return model.RotationStatus{Mode: model.RotationEnabled, Phase: model.PhaseVerify, Waiting: model.WaitingStoreUnavailable, Message: "disk full"}
	}
	if page := body(t, send(t, o, "GET", "/")); !strings.Contains(page, `<a href="./rotation-reasons#waiting">What it waits for</a>`) {
		t.Error("the page does not link to the waiting reasons")
	}
}

// TestConfigPage: a browser gets a page with a way back, everything else YAML.
func TestConfigPage(t *testing.T) {
	handler, err := web.New(options())
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodGet, "/config", nil)
	request.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	page := recorder.Body.String()
	if !strings.Contains(page, `<a href="./">Status</a>`) || !strings.Contains(page, "tenants: []") {
		t.Errorf("the page = %s", page)
	}
}

// TestFailedReloadIsShown: the page and the API say that the configuration is not active.
func TestFailedReloadIsShown(t *testing.T) {
	o := options()
	o.Reloaded = func() error { return errors.New("config.yaml:3: unknown key") }
	for _, path := range []string{"/", "/api/v1/connections"} {
		if page := body(t, send(t, o, "GET", path)); !strings.Contains(page, "config.yaml:3: unknown key") || !strings.Contains(page, "EntraAwsConfigReloadFailed") {
			t.Errorf("%s does not show the error", path)
		}
	}
	o.Snapshots = func() []model.Snapshot { return examples.New(time.Now()).Fleet(2) }
	if page := body(t, send(t, o, "GET", "/")); !strings.Contains(page, "The exporter itself needs attention.") {
		t.Error("the headline says that all is well")
	}
}

// TestPageSize: a thousand connections need no large page.
func TestPageSize(t *testing.T) {
	for _, n := range []int{1, 300, 1000} {
		o := options()
		snapshots := examples.New(time.Now()).Fleet(n)
		o.Snapshots = func() []model.Snapshot { return snapshots }
		page := body(t, send(t, o, "GET", "/"))
		t.Logf("%d connections: %d bytes", n, len(page))
		if len(page) > 100_000 {
			t.Errorf("the page of %d connections has %d bytes", n, len(page))
		}
	}
}

func TestAnotherSiteCannotPost(t *testing.T) {
	o := options()
	o.Reload = func() error { t.Error("reloaded"); return nil }
	handler, err := web.New(o)
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodPost, "/-/reload", nil)
	request.Header.Set("Sec-Fetch-Site", "cross-site")
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	if recorder.Code != http.StatusForbidden {
		t.Errorf("a request from another site = %d, want 403", recorder.Code)
	}
}

// TestGolden compares the example connections with testdata. After an intended change run
// it with -update and review the difference.
func TestGolden(t *testing.T) {
	for path, file := range map[string]string{
		"/":                   "status.html",
		"/connections/labs":   "connection.html",
		"/api/v1/connections": "connections.json",
		"/api/v1/rotations":   "rotations.json",
	} {
		t.Run(file, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				golden(t, file, body(t, send(t, options(), "GET", path)))
			})
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

// TestStaleStatesAreHidden: a stale job and probe are hidden, expiry dates are not.
func TestStaleStatesAreHidden(t *testing.T) {
	o := options()
	snapshot := o.Snapshots()[0]
	for i := range snapshot.Sources {
		snapshot.Sources[i].LastSuccess = time.Now().Add(-46 * time.Minute) // of 15m each
	}
	o.Snapshots = func() []model.Snapshot { return []model.Snapshot{snapshot} }
	var answer web.Connections
	if err := json.Unmarshal([]byte(body(t, send(t, o, "GET", "/api/v1/connections"))), &answer); err != nil {
		t.Fatal(err)
	}
	got := answer.Connections[0]
	if got.Job != nil || got.Probe != nil {
		t.Errorf("a stale job or probe is shown: %+v, %+v", got.Job, got.Probe)
	}
	if got.Tokens == nil || got.Tokens.ActiveExpires.IsZero() || got.Certificates == nil || got.Certificates.ActiveExpires.IsZero() {
		t.Error("an expiry vanished with its source")
	}
	if page := body(t, send(t, o, "GET", "/")); !strings.Contains(page, "Unknown; last read 46 minutes ago.") {
		t.Error("the page does not show when the job was last read")
	}
}

// TestFailedProbeIsHidden: a probe without an answer is hidden, as in the metrics.
func TestFailedProbeIsHidden(t *testing.T) {
	o := options()
	snapshot := o.Snapshots()[0]
	for i := range snapshot.Sources {
		if snapshot.Sources[i].Source == model.SourceSCIM {
			snapshot.Sources[i].Err = &model.Error{Reason: model.ReasonTimeout, Op: "probing the SCIM endpoint"}
		}
	}
	o.Snapshots = func() []model.Snapshot { return []model.Snapshot{snapshot} }
	if answer := body(t, send(t, o, "GET", "/api/v1/connections")); strings.Contains(answer, `"probe"`) {
		t.Errorf("the API shows the previous probe:\n%s", answer)
	}
	if page := body(t, send(t, o, "GET", "/")); strings.Contains(page, "the SCIM access token (HTTP") {
		t.Error("the page shows the previous probe")
	}
}

// TestWaitingSentences: the sentence fits the kind, and mentions the deletion only after it.
func TestWaitingSentences(t *testing.T) {
	for _, test := range []struct {
		kind    model.Procedure
		phase   model.Phase
		waiting model.WaitingReason
		want    string
	}{
		{model.ProcedureToken, model.PhasePlan, "settling", "The last change takes a while to become visible everywhere. The rotation then checks again."},
		{model.ProcedureToken, model.PhaseConfirm, "settling", "The old token is deleted. The rotation checks that provisioning works without it."},
		{model.ProcedureToken, model.PhaseVerify, "proof_pending", "Entra has saved the new token. A provisioning cycle must still prove that Entra uses it."},
		{model.ProcedureCertificate, model.PhaseSettle, "settling", "The last change takes a while to become visible everywhere. The rollover then checks again."},
		{model.ProcedureCertificate, model.PhaseVerify, "proof_pending", "The new certificate is active. Users must still sign in by it."},
		{model.ProcedureCertificate, model.PhaseRetire, "retire_wait", "Users sign in by the new certificate. AWS trusts the old one for a while, in case it is still needed."},
		{model.ProcedureCertificate, model.PhaseConfirm, "proof_pending", "AWS trusts the new certificate alone. Users must still sign in by it."},
	} {
		o := options()
		o.Rotation = func(_ string, kind model.Procedure) model.RotationStatus {
			if kind != test.kind {
				return model.RotationStatus{Mode: model.RotationDisabled, Phase: model.PhaseIdle}
			}
			return model.RotationStatus{Mode: model.RotationEnabled, Phase: test.phase, Started: time.Now(), Waiting: test.waiting}
		}
		sentence := "<strong>Waiting: " + strings.ReplaceAll(string(test.waiting), "_", " ") + ".</strong> " + test.want
		if page := body(t, send(t, o, "GET", "/connections/corp")); !strings.Contains(page, sentence) {
			t.Errorf("%s, %s: the page does not say %q", test.kind, test.phase, sentence)
		}
	}
}

// TestAbortedRotationInHistory: the history shows the outcome and the duration.
func TestAbortedRotationInHistory(t *testing.T) {
	o := options()
	o.Records = func() []model.RotationRecord {
		ended := time.Now()
		return []model.RotationRecord{{Connection: "corp", Started: ended.Add(-time.Hour), Ended: ended, Outcome: model.OutcomeAborted, Reason: "adopted"}}
	}
	if page := body(t, send(t, o, "GET", "/")); !strings.Contains(page, "<strong>corp</strong>: aborted after 60 minutes, on ") {
		t.Error("the history does not say that the rotation was aborted")
	}
}

// TestSourceThatIsOff: a source that is off differs from one that was not polled yet.
func TestSourceThatIsOff(t *testing.T) {
	o := options()
	snapshot := o.Snapshots()[0]
	snapshot.Sources = []model.SourceStatus{{Source: model.SourceSCIM, Off: true}, {Source: model.SourceJob}}
	o.Snapshots = func() []model.Snapshot { return []model.Snapshot{snapshot} }
	page := body(t, send(t, o, "GET", "/"))
	if !strings.Contains(page, "<td>off: nothing to read</td>") || !strings.Contains(page, "<td>not polled yet</td>") {
		t.Error("the page does not distinguish them")
	}
}

// TestEmpty: without connections and records, JSON has no null and the page renders.
func TestEmpty(t *testing.T) {
	o := options()
	o.Snapshots = func() []model.Snapshot { return nil }
	o.Records = func() []model.RotationRecord { return nil }
	if got, want := body(t, send(t, o, "GET", "/api/v1/connections")), "{\n  \"advice\": [],\n  \"total\": 0,\n  \"expires_next\": [],\n  \"connections\": []\n}\n"; got != want {
		t.Errorf("connections = %q, want %q", got, want)
	}
	if page := body(t, send(t, o, "GET", "/")); !strings.Contains(page, "No connection is configured.") {
		t.Error("the page does not say that no connection is configured")
	}
}
