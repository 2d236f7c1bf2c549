package webhook_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/webhook"
)

// decisions is a Starter that decides by the connection, with "certificate of " before it
// for a certificate. "" is an error of the journal.
type decisions map[string]model.Decision

func (d decisions) Alert(_ context.Context, connection string, kind model.Procedure) (model.Decision, string, error) {
	if kind == model.ProcedureCertificate {
		connection = "certificate of " + connection
	}
	decision, ok := d[connection]
	switch {
	case !ok:
		return model.DecisionUnknownConnection, "", nil
	case decision == "":
		return "", "", errors.New("no space left on device")
	default:
		return decision, "", nil
	}
}

// counters are the webhook's metrics.
type counters struct {
	mu        sync.Mutex
	codes     map[int]int
	decisions map[model.Decision]int
}

func newCounters() *counters {
	return &counters{codes: map[int]int{}, decisions: map[model.Decision]int{}}
}

func (c *counters) Request(code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.codes[code]++
}

func (c *counters) Alerts(decision string, count int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decisions[model.Decision(decision)] += count
}

// handler is a webhook and its counters.
type handler struct {
	*webhook.Handler
	counters *counters
}

func newWebhook(s webhook.Starter, change ...func(*webhook.Options)) handler {
	options := webhook.Options{
		Bearer: func() (model.Secret, bool, error) { return model.NewSecret("the-secret"), true, nil },
		Wanted: func() []webhook.Wanted {
			return []webhook.Wanted{
				{Kind: model.ProcedureToken, Labels: map[string]string{"alertname": "EntraAwsScimTokenRotationDue", "rotate": "scim-token"}},
				{Kind: model.ProcedureCertificate, Labels: map[string]string{"alertname": "EntraAwsSamlCertificateRolloverDue", "rotate": "saml-certificate"}},
			}
		},
		Logger: slog.New(slog.DiscardHandler),
	}
	for _, c := range change {
		c(&options)
	}
	h := handler{counters: newCounters()}
	h.Handler = webhook.New(s, h.counters, options)
	return h
}

func post(w http.Handler, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodPost, "/webhook/alertmanager", strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer the-secret")
	for _, c := range change {
		c(request)
	}
	response := httptest.NewRecorder()
	w.ServeHTTP(response, request)
	return response
}

// firing is Alertmanager's payload as v0.34 sends it.
func firing(alerts ...string) string {
	return `{"receiver":"rotate","status":"firing","alerts":[` + strings.Join(alerts, ",") + `],
		"groupLabels":{"alertname":"EntraAwsScimTokenRotationDue"},"commonLabels":{"rotate":"scim-token"},"commonAnnotations":{},
		"externalURL":"http://alertmanager:9093","version":"4","groupKey":"{}:{alertname=\"EntraAwsScimTokenRotationDue\"}",
		"truncatedAlerts":0,"notification_reason":"firing","routeLabels":{}}`
}

func alertFor(connection, status string) string {
	return fmt.Sprintf(`{"status":%q,"labels":{"alertname":"EntraAwsScimTokenRotationDue","connection":%q,"rotate":"scim-token"},
		"annotations":{"summary":"x"},"startsAt":"2026-11-01T00:00:00Z","endsAt":"0001-01-01T00:00:00Z",
		"generatorURL":"http://prometheus/graph","fingerprint":"ac5de5b8e6e4b9c1"}`, status, connection)
}

// TestKindOfAnAlert: an alert's labels say what it asks to rotate; for the certificate of a
// connection and for its token there is a decision each.
func TestKindOfAnAlert(t *testing.T) {
	alert := func(name, rotate string) string {
		return fmt.Sprintf(`{"status":"firing","labels":{"alertname":%q,"connection":"corp","rotate":%q}}`, name, rotate)
	}
	token, certificate := alert("EntraAwsScimTokenRotationDue", "scim-token"), alert("EntraAwsSamlCertificateRolloverDue", "saml-certificate")
	for _, test := range []struct {
		name   string
		alerts []string
		want   string
	}{
		{"a certificate's", []string{certificate}, `{"decisions":{"started":1}}`},
		{"a token's", []string{token}, `{"decisions":{"not_due":1}}`},
		{"both, twice", []string{certificate, token, token, certificate}, `{"decisions":{"already_running":1,"not_due":2,"started":1}}`},
		{"labels of two kinds", []string{alert("EntraAwsSamlCertificateRolloverDue", "scim-token")}, `{"decisions":{"unmatched":1}}`},
	} {
		starter := decisions{"certificate of corp": model.DecisionStarted, "corp": model.DecisionNotDue}
		if got := strings.TrimSpace(post(newWebhook(starter), firing(test.alerts...)).Body.String()); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// TestWebhookReadsAlertmanager: testdata/alertmanager.json is a request body that
// Alertmanager sent. The end-to-end test compares it, and writes it with UPDATE=1.
func TestWebhookReadsAlertmanager(t *testing.T) {
	body, err := os.ReadFile("testdata/alertmanager.json")
	if err != nil {
		t.Fatal(err)
	}
	response := post(newWebhook(decisions{"expiring": model.DecisionStarted}), string(body))
	if got := strings.TrimSpace(response.Body.String()); response.Code != 202 || got != `{"decisions":{"started":1}}` {
		t.Errorf("%d %s", response.Code, got)
	}
}

// TestWebhookReadsGrafana: Grafana-managed alerting sends Alertmanager's fields with its
// own version, by POST or PUT. It waits for no answer other than 2xx.
func TestWebhookReadsGrafana(t *testing.T) {
	content, err := os.ReadFile("testdata/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	due := string(content)
	const name = "EntraAwsScimTokenRotationDue"
	for _, test := range []struct{ name, body, want string }{
		{"due", due, `{"decisions":{"started":1}}`},
		{"test", `{"version":"1","alerts":[{"status":"firing","labels":{"alertname":"TestAlert","instance":"Grafana"}}]}`, `{"decisions":{"unmatched":1}}`},
		{"error of the data source", strings.Replace(due, name, "DatasourceError", 1), `{"decisions":{"unmatched":1}}`},
		{"no data", strings.Replace(due, name, "DatasourceNoData", 1), `{"decisions":{"unmatched":1}}`},
		{"longer name", strings.Replace(due, name, name+"Soon", 1), `{"decisions":{"unmatched":1}}`},
		{"name in lower case", strings.Replace(due, name, strings.ToLower(name), 1), `{"decisions":{"unmatched":1}}`},
	} {
		for _, method := range []string{http.MethodPost, http.MethodPut} {
			response := post(newWebhook(decisions{"corp": model.DecisionStarted}), test.body, func(r *http.Request) { r.Method = method })
			if got := strings.TrimSpace(response.Body.String()); response.Code/100 != 2 || got != test.want {
				t.Errorf("%s, %s: %d %s, want %s", test.name, method, response.Code, got, test.want)
			}
		}
	}
}

func TestWebhookResponses(t *testing.T) {
	starter := decisions{
		"corp": model.DecisionStarted, "busy": model.DecisionAlreadyRunning, "idle": model.DecisionNotDue, "off": model.DecisionDisabled,
		"cool": model.DecisionCooldown, "halted": model.DecisionBlocked, "dry": model.DecisionDryRun, "broken": "",
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	tests := []struct {
		name   string
		body   string
		change func(*http.Request)
		code   int
		want   string
	}{
		{"started", firing(alertFor("corp", "firing")), nil, 202, `{"decisions":{"started":1}}`},
		{"running", firing(alertFor("busy", "firing")), nil, 202, `{"decisions":{"already_running":1}}`},
		{"not due", firing(alertFor("idle", "firing")), nil, 200, `{"decisions":{"not_due":1}}`},
		{"disabled", firing(alertFor("off", "firing")), nil, 200, `{"decisions":{"disabled":1}}`},
		{"cooling down", firing(alertFor("cool", "firing")), nil, 200, `{"decisions":{"cooldown":1}}`},
		{"blocked", firing(alertFor("halted", "firing")), nil, 200, `{"decisions":{"blocked":1}}`},
		{"dry run", firing(alertFor("dry", "firing")), nil, 200, `{"decisions":{"dry_run":1}}`},
		{"resolved", firing(alertFor("corp", "resolved")), nil, 200, `{"decisions":{"resolved":1}}`},
		{"unknown status", firing(alertFor("corp", "suppressed")), nil, 200, `{"decisions":{"unmatched":1}}`},
		{"no status", firing(`{"labels":{"alertname":"EntraAwsScimTokenRotationDue","connection":"corp","rotate":"scim-token"}}`), nil, 200, `{"decisions":{"unmatched":1}}`},
		{"status in upper case", firing(alertFor("corp", "FIRING")), nil, 200, `{"decisions":{"unmatched":1}}`},
		{"one of two has a status", firing(alertFor("corp", "firing"), alertFor("corp", "")), nil, 202, `{"decisions":{"started":1,"unmatched":1}}`},
		{"unknown connection", firing(alertFor("unknown", "firing")), nil, 200, `{"decisions":{"unknown_connection":1}}`},
		{"without the label", firing(`{"status":"firing","labels":{"connection":"corp"}}`), nil, 200, `{"decisions":{"unmatched":1}}`},
		{"without a connection", firing(`{"status":"firing","labels":{"alertname":"EntraAwsScimTokenRotationDue","rotate":"scim-token"}}`), nil, 200, `{"decisions":{"unmatched":1}}`},
		{"no alerts", firing(), nil, 200, `{"decisions":{}}`},
		{"grouped", firing(alertFor("corp", "firing"), alertFor("corp", "firing"), alertFor("idle", "firing"), alertFor("corp", "resolved")), nil, 202,
			`{"decisions":{"already_running":1,"not_due":1,"resolved":1,"started":1}}`},
		{"journal not writable", firing(alertFor("corp", "firing"), alertFor("broken", "firing")), nil, 503, "the journal cannot be read or written; retry later"},
		{"GET", "", func(r *http.Request) { r.Method = http.MethodGet }, 405, "POST or PUT only"},
		{"no token", firing(), func(r *http.Request) { r.Header.Del("Authorization") }, 401, "a bearer token is required"},
		{"wrong token", firing(), header("Authorization", "Bearer wrong"), 401, "a bearer token is required"},
		{"wrong scheme", firing(), header("Authorization", "Basic the-secret"), 401, "a bearer token is required"},
		{"scheme in lower case", firing(), header("Authorization", "bearer the-secret"), 200, `{"decisions":{}}`},
		{"form", "a=b", header("Content-Type", "application/x-www-form-urlencoded"), 415, "Content-Type must be application/json"},
		{"no content type", firing(), func(r *http.Request) { r.Header.Del("Content-Type") }, 415, "Content-Type must be application/json"},
		{"charset", firing(), header("Content-Type", "application/json; charset=utf-8"), 200, `{"decisions":{}}`},
		{"too large", firing(strings.Repeat(" ", 1<<20)), nil, 413, "the payload is larger than 1 MiB; set group_by: [connection] on its route and max_alerts: 0 on its receiver"},
		{"no JSON", "alert!", nil, 400, "not Alertmanager's JSON: syntax error at byte 1"},
		{"two documents", firing() + firing(), nil, 400, "not Alertmanager's JSON: syntax error at byte 366"},
		{"another shape", `{"version":"4","alerts":"none"}`, nil, 400, "not Alertmanager's JSON: wrong type at byte 30"},
		{"another version", strings.Replace(firing(alertFor("corp", "firing")), `"version":"4"`, `"version":"5"`, 1), nil, 202, `{"decisions":{"started":1}}`},
		{"version is a number", `{"version":4,"alerts":[]}`, nil, 200, `{"decisions":{}}`},
		{"custom payload", `{"text":"hello"}`, nil, 400, "the payload has no list alerts; a custom payload is not understood"},
		{"nothing", `null`, nil, 400, "the payload has no list alerts; a custom payload is not understood"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			change := test.change
			if change == nil {
				change = func(*http.Request) {}
			}
			response := post(newWebhook(starter), test.body, change)
			if got := strings.TrimSpace(response.Body.String()); response.Code != test.code || got != test.want {
				t.Errorf("response %d %s, want %d %s", response.Code, got, test.code, test.want)
			}
		})
	}
}

func TestWebhookCountsDecisions(t *testing.T) {
	w := newWebhook(decisions{"corp": model.DecisionStarted, "idle": model.DecisionNotDue})
	post(w, firing(alertFor("corp", "firing"), alertFor("idle", "firing"), alertFor("idle", "firing"), alertFor("idle", "resolved")))
	post(w, "x")
	got := w.counters
	if diff := cmp.Diff(map[int]int{202: 1, 400: 1}, got.codes); diff != "" {
		t.Errorf("requests by code (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[model.Decision]int{model.DecisionStarted: 1, model.DecisionNotDue: 2, model.DecisionResolved: 1}, got.decisions); diff != "" {
		t.Errorf("alerts by decision (-want +got):\n%s", diff)
	}
}

func TestWebhookSecretIsUnreadable(t *testing.T) {
	bearer := errors.New("no such file")
	w := newWebhook(decisions{}, func(o *webhook.Options) {
		o.Bearer = func() (model.Secret, bool, error) { return model.Secret{}, true, bearer }
	})
	if response := post(w, firing()); response.Code != http.StatusInternalServerError {
		t.Errorf("response %d, want 500: Alertmanager retries, and 503 is for the journal", response.Code)
	}
	bearer = nil
	if response := post(w, firing(), func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }); response.Code != http.StatusUnauthorized {
		t.Errorf("an empty secret accepts an empty token: %d", response.Code)
	}
}

// logTo makes the webhook write a log without times.
func logTo(log io.Writer) func(*webhook.Options) {
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	return func(o *webhook.Options) { o.Logger = logger }
}

// The log has the connection and the reason of each decision.
func TestWebhookLogsDecisions(t *testing.T) {
	var log strings.Builder
	w := newWebhook(decisions{"idle": model.DecisionNotDue, "broken": ""}, logTo(&log))
	const labels = `{"status":"firing","labels":{"alertname":"EntraAwsScimTokenRotationDue",%s}}`
	for _, test := range []struct{ alerts, want string }{
		{fmt.Sprintf(labels, `"connection":"corp","rotate":"saml"`),
			`level=INFO msg="alert decided" decision=unmatched connection=corp reason="its label rotate is \"saml\", not \"scim-token\" as webhook.match_labels demands" alerts=1`},
		{fmt.Sprintf(labels, `"connection":"corp"`),
			`level=INFO msg="alert decided" decision=unmatched connection=corp reason="its label rotate is \"\", not \"scim-token\" as webhook.match_labels demands" alerts=1`},
		{fmt.Sprintf(labels, `"rotate":"scim-token"`) + "," + fmt.Sprintf(labels, `"rotate":"scim-token"`),
			`level=INFO msg="alert decided" decision=unmatched connection="" reason="it has no label connection" alerts=2`},
		{alertFor("idle", "resolved"), `level=INFO msg="alert decided" decision=resolved connection=idle reason="alert is resolved" alerts=1`},
		{alertFor("idle", "suppressed"), `level=INFO msg="alert decided" decision=unmatched connection=idle reason="its status is \"suppressed\", not \"firing\"" alerts=1`},
		{alertFor("idle", ""), `level=INFO msg="alert decided" decision=unmatched connection=idle reason="its status is \"\", not \"firing\"" alerts=1`},
		{alertFor("idle", "firing"), `level=INFO msg="alert decided" decision=not_due connection=idle reason="" alerts=1`},
		{alertFor("broken", "firing"), `level=ERROR msg="webhook request failed, Alertmanager should retry" code=503 reason="the journal cannot be read or written; retry later" err="connection broken: no space left on device"`},
	} {
		log.Reset()
		post(w, firing(test.alerts))
		if got := strings.TrimSpace(log.String()); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

// No text of the payload makes the log or the response long.
func TestWebhookShortensForeignTexts(t *testing.T) {
	long := "a" + strings.Repeat("é", 400<<10) // byte 128 is within a rune
	cut := "a" + strings.Repeat("é", 63) + "…"
	const labels = `{"status":"firing","labels":{"alertname":"EntraAwsScimTokenRotationDue",%s}}`
	const decided = `level=INFO msg="alert decided" decision=`
	for _, test := range []struct{ name, body, response, log string }{
		{"label", firing(fmt.Sprintf(labels, `"connection":"corp","rotate":"`+long+`"`)), `{"decisions":{"unmatched":1}}`,
			decided + `unmatched connection=corp reason="its label rotate is \"` + cut + `\", not \"scim-token\" as webhook.match_labels demands" alerts=1`},
		{"status", firing(alertFor("corp", long)), `{"decisions":{"unmatched":1}}`,
			decided + `unmatched connection=corp reason="its status is \"` + cut + `\", not \"firing\"" alerts=1`},
		{"unknown connection", firing(alertFor(long, "firing")), `{"decisions":{"unknown_connection":1}}`,
			decided + `unknown_connection connection=` + cut + ` reason="" alerts=1`},
		{"resolved connection", firing(alertFor(long, "resolved")), `{"decisions":{"resolved":1}}`,
			decided + `resolved connection=` + cut + ` reason="alert is resolved" alerts=1`},
		{"128 bytes", firing(alertFor("corp", strings.Repeat("v", 128))), `{"decisions":{"unmatched":1}}`,
			decided + `unmatched connection=corp reason="its status is \"` + strings.Repeat("v", 128) + `\", not \"firing\"" alerts=1`},
		{"failing connection", firing(alertFor(long+"é", "firing")), "the journal cannot be read or written; retry later",
			`level=ERROR msg="webhook request failed, Alertmanager should retry" code=503 reason="the journal cannot be read or written; retry later" err="connection ` + cut + `: no space left on device"`},
		{"receiver", `{"version":"4","alerts":[],"truncatedAlerts":7,"receiver":"` + long + `"}`, `{"decisions":{}}`,
			`level=WARN msg="Alertmanager truncated its payload; set group_by: [connection] on its route and max_alerts: 0 on its receiver" truncated=7 receiver=` + cut},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log strings.Builder
			response := post(newWebhook(decisions{long + "é": ""}, logTo(&log)), test.body)
			if got := strings.TrimSpace(response.Body.String()); got != test.response {
				t.Errorf("response of %d bytes: %.400s\nwant %s", len(got), got, test.response)
			}
			if got := strings.TrimSpace(log.String()); got != test.log {
				t.Errorf("log of %d bytes: %.400s\nwant %s", len(got), got, test.log)
			}
		})
	}
}

// blockingStarter never decides.
type blockingStarter struct{}

func (blockingStarter) Alert(ctx context.Context, _ string, _ model.Procedure) (model.Decision, string, error) {
	<-ctx.Done()
	return "", "", ctx.Err()
}

func TestDecisionTimeoutIsNoJournalError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		response := post(newWebhook(blockingStarter{}), firing(alertFor("corp", "firing")))
		if got, want := strings.TrimSpace(response.Body.String()), "no decision within 10s; retry later"; response.Code != 503 || got != want {
			t.Errorf("response %d %s, want 503 %s", response.Code, got, want)
		}
	})
}

func TestNineThousandAlertsInOnePayload(t *testing.T) {
	alerts := make([]string, 9_000)
	for i := range alerts {
		alerts[i] = `{"status":"firing","labels":{"alertname":"EntraAwsScimTokenRotationDue","rotate":"scim-token","connection":"corp"}}`
	}
	w := newWebhook(decisions{"corp": model.DecisionStarted})
	start := time.Now()
	response := post(w, firing(alerts...))
	var got struct{ Decisions map[model.Decision]int }
	if err := json.Unmarshal(response.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if response.Code != 202 || got.Decisions[model.DecisionStarted] != 1 || got.Decisions[model.DecisionAlreadyRunning] != 8_999 {
		t.Errorf("response %d %v", response.Code, got)
	}
	t.Logf("9,000 alerts took %s", time.Since(start))
}

// contextStarter records whether its context has ended.
type contextStarter struct{ err error }

func (s *contextStarter) Alert(ctx context.Context, _ string, _ model.Procedure) (model.Decision, string, error) {
	s.err = ctx.Err()
	return model.DecisionStarted, "", nil
}

func TestDecisionOutlivesItsRequest(t *testing.T) {
	starter := &contextStarter{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	post(newWebhook(starter), firing(alertFor("corp", "firing")), func(r *http.Request) { *r = *r.WithContext(ctx) })
	if starter.err != nil {
		t.Errorf("the decision used the request's context: %v", starter.err)
	}
}
