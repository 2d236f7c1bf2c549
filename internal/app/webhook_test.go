package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// newWebhookHarness has a connection in every state in which an alert can find it.
func newWebhookHarness(t *testing.T) *harness {
	t.Helper()
	specs := []clouds.ConnectionSpec{clouds.Expiring("due"), clouds.Healthy("idle"), clouds.Expiring("off"), clouds.Expiring("trial"), clouds.Expiring("held"), clouds.Expiring("rested")}
	for i := range specs {
		specs[i].Account = fmt.Sprintf("%012d", i+1)
	}
	h := newHarness(t, specs)
	h.edit(fastIntervals, slowIntervals)
	for connection, mode := range map[string]string{"off": "disabled", "trial": "dry_run"} {
		part := connectionSection(h.read("exporter.yml"), connection)
		h.edit(part, strings.Replace(part, "rotation: {mode: enabled", "rotation: {mode: "+mode, 1))
	}
	part := connectionSection(h.read("exporter.yml"), "rested")
	h.edit(part, strings.Replace(part, "cooldown: 1h", "cooldown: 30d, before: 1y", 1)) // due again at once
	h.start()
	time.Sleep(15 * time.Minute)
	return h
}

func firingAlerts(connections ...string) string { return alertsPayload("firing", connections...) }

func alertsPayload(status string, connections ...string) string {
	list := make([]string, 0, len(connections))
	for _, connection := range connections {
		list = append(list, fmt.Sprintf(`{"status":%q,"labels":{"alertname":"EntraAwsScimTokenRotationDue","rotate":"scim-token","connection":%q}}`, status, connection))
	}
	return `{"version":"4","status":"firing","receiver":"rotation","alerts":[` + strings.Join(list, ",") + `]}`
}

// post posts a payload as Alertmanager does; header changes the usual header.
func (h *harness) post(body string, header ...string) (int, string) {
	h.t.Helper()
	usual := []string{"Content-Type", "application/json", "Authorization", "Bearer " + strings.TrimSpace(h.read("webhook-token"))}
	return h.request(http.MethodPost, "/webhook/alertmanager", body, append(usual, header...)...)
}

// mutations counts the changes that were made at AWS and Entra through HTTP.
func (h *harness) mutations() (sum int) {
	calls := h.Calls()
	for _, operation := range []string{"CreateBearerToken", "DeleteBearerToken", "PUT secrets", "POST start", "POST provisionOnDemand",
		"ImportExternalIdPCertificate", "DeleteExternalIdPCertificate", "POST addTokenSigningCertificate", "PATCH servicePrincipal"} {
		sum += calls[operation]
	}
	return sum
}

// rotations lists the journal records of a connection.
func (h *harness) rotations(connection string) (list []model.RotationRecord) {
	h.t.Helper()
	var answer struct{ Rotations []model.RotationRecord }
	if err := json.Unmarshal([]byte(h.get("/api/v1/rotations")), &answer); err != nil {
		h.t.Fatal(err)
	}
	for _, record := range answer.Rotations {
		if record.Connection == connection {
			list = append(list, record)
		}
	}
	return list
}

// waitUntil waits up to three days for a condition.
func (h *harness) waitUntil(what string, reached func() bool) {
	h.t.Helper()
	for range 3 * 24 * 6 {
		if reached() {
			return
		}
		time.Sleep(10 * time.Minute)
	}
	h.t.Fatalf("after three days still not: %s\n%s", what, h.get("/api/v1/rotations"))
}

func (h *harness) waitForOutcome(connection string) model.RotationRecord {
	h.t.Helper()
	var last model.RotationRecord
	h.waitUntil("the end of the rotation of "+connection, func() bool {
		list := h.rotations(connection)
		if len(list) > 0 {
			last = list[0]
		}
		return last.Outcome != ""
	})
	return last
}

// Whatever a caller sends: it gets a status, one decision is counted and one line logged.
// Only an alert about a due token starts a rotation.
func TestWebhookRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newWebhookHarness(t)
		if out := h.command(func(ctx context.Context, o Options) error { return RotationHold(ctx, o, "held", false) }); !strings.Contains(out, "on hold: ") {
			t.Fatal(out)
		}
		if status, answer := h.post(firingAlerts("rested")); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, answer)
		}
		if record := h.waitForOutcome("rested"); record.Outcome != model.OutcomeDone {
			t.Fatalf("%+v", record)
		}
		many := make([]string, 9_000)
		for i := range many {
			many[i] = "idle"
		}
		tests := []webhookRequest{
			{"wrong method", "", nil, 405, "", 0, "POST or PUT only"},
			{"no bearer", firingAlerts("due"), []string{"Authorization", ""}, 401, "", 0, "a bearer token is required"},
			{"wrong bearer", firingAlerts("due"), []string{"Authorization", "Bearer wrong"}, 401, "", 0, "a bearer token is required"},
			{"wrong content type", firingAlerts("due"), []string{"Content-Type", "text/plain"}, 415, "", 0, "Content-Type must be application/json"},
			{"no JSON", "due", nil, 400, "", 0, "not Alertmanager's JSON"},
			{"custom payload", `{"text":"due"}`, nil, 400, "", 0, "the payload has no list alerts"},
			{"Grafana's test", `{"version":"1","alerts":[{"status":"firing","labels":{"alertname":"TestAlert","instance":"Grafana"}}]}`, nil, 200, "unmatched", 1, "its label alertname"},
			{"failing query of a due connection", strings.Replace(firingAlerts("due"), "EntraAwsScimTokenRotationDue", "DatasourceError", 1), nil, 200, "unmatched", 1, "its label alertname"},
			{"more than a MiB", firingAlerts("due") + strings.Repeat(" ", 1<<20), nil, 413, "", 0, "larger than 1 MiB"},
			{"resolved", alertsPayload("resolved", "due"), nil, 200, "resolved", 1, ""},
			{"unknown connection", firingAlerts("nobody"), nil, 200, "unknown_connection", 1, "no connection of this name"},
			{"no label", `{"version":"4","alerts":[{"status":"firing","labels":{"connection":"due"}}]}`, nil, 200, "unmatched", 1, ""},
			{"no connection", `{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"EntraAwsScimTokenRotationDue","rotate":"scim-token"}}]}`, nil, 200, "unmatched", 1, ""},
			{"not due", firingAlerts("idle"), nil, 200, "not_due", 1, "not due until 2000"},
			{"nine thousand", firingAlerts(many...), nil, 200, "not_due", 9_000, "not due until 2000"},
			{"disabled", firingAlerts("off"), nil, 200, "disabled", 1, "rotation.mode is disabled"},
			{"dry run", firingAlerts("trial"), nil, 200, "dry_run", 1, "rotation.mode is dry_run"},
			{"held", firingAlerts("held"), nil, 200, "blocked", 1, "rotations on hold since"},
			{"cooling down", firingAlerts("rested"), nil, 200, "cooldown", 1, "the last rotation ended"},
		}
		done := h.mutations()
		for _, test := range tests {
			test.check(t, h)
		}
		time.Sleep(time.Hour)
		if now := h.mutations(); now != done {
			t.Errorf("%d mutations", now-done)
		}
		for _, connection := range []string{"due", "idle", "off", "trial", "held"} {
			if list := h.rotations(connection); len(list) != 0 {
				t.Errorf("%s: %+v", connection, list)
			}
		}

		// The same alert posted 500 times at once starts one rotation.
		codes := map[int]int{}
		var mu sync.Mutex
		var callers sync.WaitGroup
		before := h.series()
		for range 500 {
			callers.Go(func() {
				status, _ := h.post(firingAlerts("due"))
				mu.Lock()
				defer mu.Unlock()
				codes[status]++
			})
		}
		callers.Wait()
		after := h.series()
		if codes[http.StatusAccepted] != 500 {
			t.Errorf("answers: %v", codes)
		}
		h.expectIncrease(t, before, after, `entra_aws_webhook_alerts_total{decision="started"}`, 1)
		h.expectIncrease(t, before, after, `entra_aws_webhook_alerts_total{decision="already_running"}`, 499)
		for _, test := range []webhookRequest{ // a running rotation of another connection changes nothing
			{"not due, while another rotates", firingAlerts("idle"), nil, 200, "not_due", 1, "not due until 2000"},
			{"dry run, while another rotates", firingAlerts("trial"), nil, 200, "dry_run", 1, "rotation.mode is dry_run"},
		} {
			test.check(t, h)
		}
		part := connectionSection(h.read("exporter.yml"), "due")
		h.edit(part, strings.Replace(part, "mode: enabled", "mode: disabled", 1))
		if status, answer := h.reload(); status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		webhookRequest{"switched off while it runs", firingAlerts("due"), nil, 202, "already_running", 1, "is in phase"}.check(t, h)
		if record := h.waitForOutcome("due"); record.Outcome != model.OutcomeDone {
			t.Errorf("%+v", record)
		}
		if list := h.rotations("due"); len(list) != 1 {
			t.Errorf("%d rotations", len(list))
		}
	})
}

// webhookRequest is a request to the webhook and its expected effects.
type webhookRequest struct {
	name, body string // without a body it is a GET
	header     []string
	code       int
	decision   string
	count      int
	wantLog    string // in the one line that is logged
}

func (h *harness) sendRequest(v webhookRequest) (status int, answer string) {
	h.t.Helper()
	if v.body == "" {
		return h.request(http.MethodGet, "/webhook/alertmanager", "")
	}
	return h.post(v.body, v.header...)
}

func (v webhookRequest) check(t *testing.T, h *harness) {
	t.Helper()
	before, written := h.series(), len(h.logs.String())
	status, answer := h.sendRequest(v)
	if status != v.code {
		t.Errorf("%s: answered %d %s, want %d", v.name, status, answer, v.code)
	}
	after := h.series()
	h.expectIncrease(t, before, after, fmt.Sprintf(`entra_aws_webhook_requests_total{code="%d"}`, v.code), 1)
	for _, line := range after.matching("webhook_alerts_total") {
		series, _, _ := strings.Cut(line, " ")
		want := 0
		if v.decision != "" && strings.Contains(series, `"`+v.decision+`"`) {
			want = v.count
		}
		h.expectIncrease(t, before, after, series, want)
	}
	var logged []string
	for line := range strings.Lines(h.logs.String()[written:]) {
		if strings.Contains(line, "alert decided") || strings.Contains(line, "webhook") {
			logged = append(logged, line)
		}
	}
	if len(logged) != 1 || !strings.Contains(logged[0], v.wantLog) || v.decision != "" && !strings.Contains(logged[0], "decision="+v.decision) {
		t.Errorf("%s: want one line with %q and %q, the log says %q", v.name, v.decision, v.wantLog, logged)
	}
}

// expectIncrease checks by how much a counter has grown.
func (h *harness) expectIncrease(t *testing.T, before, after seriesList, series string, by int) {
	t.Helper()
	was := before.values(t)[series]
	now := after.values(t)[series]
	if int(now-was) != by {
		t.Errorf("%s grew by %v, want %d", series, now-was, by)
	}
}

// Without a writable journal no rotation starts; without a writable token store no token
// is created.
func TestUnwritableState(t *testing.T) {
	replaceByFile := func(name string) func(*harness) {
		return func(h *harness) {
			if err := os.RemoveAll(h.path(filepath.Join("state", name))); err != nil {
				h.t.Fatal(err)
			}
			h.write(filepath.Join("state", name), "a file where a directory should be")
		}
	}
	for name, test := range map[string]struct {
		breakState func(*harness)
		code       int
		reason     string // of the blocked rotation; "": none starts
	}{
		"no token store": {replaceByFile("tokens"), http.StatusAccepted, "token_store_unwritable"},
		"no journal":     {replaceByFile("journal"), http.StatusServiceUnavailable, ""},
		"read-only": {func(h *harness) {
			if os.Geteuid() == 0 {
				h.t.Skip("root writes everywhere")
			}
			for _, path := range []string{"state/tokens", "state/journal", "state"} {
				_ = os.Mkdir(h.path(path), 0o700)
				if err := os.Chmod(h.path(path), 0o500); err != nil {
					h.t.Fatal(err)
				}
				h.t.Cleanup(func() { _ = os.Chmod(h.path(path), 0o700) })
			}
		}, http.StatusServiceUnavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
				h.edit(fastIntervals, slowIntervals)
				h.start()
				time.Sleep(15 * time.Minute)
				test.breakState(h)
				if status, answer := h.alert(); status != test.code {
					t.Errorf("answered %d %s, want %d", status, answer, test.code)
				}
				time.Sleep(3 * time.Hour)
				if created := h.Calls()["CreateBearerToken"]; created != 0 {
					t.Errorf("%d tokens were asked for", created)
				}
				if test.reason == "" {
					if list := h.rotations("expiring"); len(list) != 0 {
						t.Errorf("%+v", list)
					}
					return
				}
				h.series().expect(t, fmt.Sprintf(`entra_aws_rotation_blocked_info{connection="expiring",kind="scim_token",reason=%q} 1`, test.reason))
				webhookRequest{"blocked", dueAlert, nil, 200, "blocked", 1, "state/tokens"}.check(t, h)
				if !strings.Contains(h.get("/"), "state/tokens") {
					t.Error("the page does not say why")
				}
			})
		})
	}
}

// Whatever changes in the configuration, a running rotation ends under its binding.
func TestConfigurationChangesDuringRotation(t *testing.T) {
	for name, test := range map[string]struct {
		change      func(*harness)
		restart     bool
		wantOutcome model.Outcome
		reason      string
	}{
		"edited": {func(h *harness) {
			h.edit("approval: never, cooldown: 1h, retire_after: 10m", "approval: always, cooldown: 2h, retire_after: 3h")
		}, false, model.OutcomeDone, ""},
		"switched off":                        {func(h *harness) { h.edit("mode: enabled", "mode: disabled") }, false, model.OutcomeDone, ""},
		"renamed":                             {func(h *harness) { h.edit("- name: expiring", "- name: renamed") }, false, model.OutcomeDone, ""},
		"renamed, and the exporter restarted": {func(h *harness) { h.edit("- name: expiring", "- name: renamed") }, true, model.OutcomeDone, ""},
		"removed":                             {func(h *harness) { h.edit(connectionSection(h.read("exporter.yml"), "expiring"), "") }, false, model.OutcomeDone, ""},
		"removed, and the exporter restarted": {func(h *harness) { h.edit(connectionSection(h.read("exporter.yml"), "expiring"), "") }, true,
			model.OutcomeBlocked, "connection_removed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				other := clouds.Healthy("other")
				other.Account = "444455556666"
				h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring"), other})
				h.edit(fastIntervals, slowIntervals)
				h.start()
				time.Sleep(15 * time.Minute)
				if status, answer := h.alert(); status != http.StatusAccepted {
					t.Fatalf("%d %s", status, answer)
				}
				h.waitUntil("the save", func() bool { return h.Calls()["PUT secrets"] > 0 })
				test.change(h)
				if test.restart {
					h.stop()
					h.start()
				} else if status, answer := h.reload(); status != http.StatusOK {
					t.Fatalf("reload: %d %s", status, answer)
				}
				var last model.RotationRecord
				h.waitUntil("its end", func() bool {
					for _, connection := range []string{"expiring", "renamed"} {
						if list := h.rotations(connection); len(list) == 1 {
							last = list[0]
						}
					}
					return last.Outcome != ""
				})
				if last.Outcome != test.wantOutcome || !strings.Contains(last.Reason, test.reason) {
					t.Errorf("the outcome is %s: %s", last.Outcome, last.Reason)
				}
				h.With(func(now *clouds.Model) {
					for _, outage := range now.Outages() {
						t.Errorf("an outage: %s", outage)
					}
					at := h.Connection
					if saved := now.SavedToken(at.ServicePrincipalID); saved != last.NewTokenID || now.TokenAccepted(saved) != clouds.AcceptedByAll {
						t.Errorf("Entra holds %s, the rotation made %s", saved, last.NewTokenID)
					}
				})
			})
		})
	}
}
