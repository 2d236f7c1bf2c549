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

// office is a lab whose connections stand in every way in which an alert can find them.
func office(t *testing.T) *lab {
	t.Helper()
	specs := []clouds.ConnectionSpec{clouds.Expiring("due"), clouds.Healthy("idle"), clouds.Expiring("off"), clouds.Expiring("trial"), clouds.Expiring("held"), clouds.Expiring("rested")}
	for i := range specs {
		specs[i].Account = fmt.Sprintf("%012d", i+1)
	}
	l := furnish(t, specs)
	l.edit(hasty, unhurried)
	for connection, mode := range map[string]string{"off": "disabled", "trial": "dry_run"} {
		part := section(l.read("exporter.yml"), connection)
		l.edit(part, strings.Replace(part, "rotation: {mode: enabled", "rotation: {mode: "+mode, 1))
	}
	part := section(l.read("exporter.yml"), "rested")
	l.edit(part, strings.Replace(part, "cooldown: 1h", "cooldown: 30d, before: 1y", 1)) // so that it is due again at once
	l.start()
	time.Sleep(15 * time.Minute)
	return l
}

func firing(connections ...string) string { return alerts("firing", connections...) }

func alerts(status string, connections ...string) string {
	list := make([]string, 0, len(connections))
	for _, connection := range connections {
		list = append(list, fmt.Sprintf(`{"status":%q,"labels":{"rotate":"scim-token","connection":%q}}`, status, connection))
	}
	return `{"version":"4","status":"firing","receiver":"rotation","alerts":[` + strings.Join(list, ",") + `]}`
}

// post posts a payload as Alertmanager does, but for what header says.
func (l *lab) post(body string, header ...string) (int, string) {
	l.t.Helper()
	usual := []string{"Content-Type", "application/json", "Authorization", "Bearer " + strings.TrimSpace(l.read("webhook-token"))}
	return l.ask(http.MethodPost, "/webhook/alertmanager", body, append(usual, header...)...)
}

// acts counts what has been changed in the clouds by anybody who speaks HTTP.
func (l *lab) acts() (sum int) {
	calls := l.Calls()
	for _, act := range []string{"CreateBearerToken", "DeleteBearerToken", "PUT secrets", "POST start", "POST provisionOnDemand"} {
		sum += calls[act]
	}
	return sum
}

// rotations lists what the journal holds of a connection.
func (l *lab) rotations(connection string) (list []model.RotationRecord) {
	l.t.Helper()
	var answer struct{ Rotations []model.RotationRecord }
	if err := json.Unmarshal([]byte(l.get("/api/v1/rotations")), &answer); err != nil {
		l.t.Fatal(err)
	}
	for _, record := range answer.Rotations {
		if record.Connection == connection {
			list = append(list, record)
		}
	}
	return list
}

// until waits for what a rotation needs hours for.
func (l *lab) until(what string, reached func() bool) {
	l.t.Helper()
	for range 3 * 24 * 6 {
		if reached() {
			return
		}
		time.Sleep(10 * time.Minute)
	}
	l.t.Fatalf("after three days still not: %s\n%s", what, l.get("/api/v1/rotations"))
}

func (l *lab) ends(connection string) model.RotationRecord {
	l.t.Helper()
	var last model.RotationRecord
	l.until("the end of the rotation of "+connection, func() bool {
		list := l.rotations(connection)
		if len(list) > 0 {
			last = list[0]
		}
		return last.Outcome != ""
	})
	return last
}

// What Alertmanager, or whoever else, may send: a status, one decision counted, one line
// in the log, and nothing done but by the one alert that means a token that is due.
func TestWhatTheWebhookGets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := office(t)
		if out := l.command(func(ctx context.Context, o Options) error { return RotationHold(ctx, o, "held", false) }); !strings.Contains(out, "on hold: ") {
			t.Fatal(out)
		}
		if status, answer := l.post(firing("rested")); status != http.StatusAccepted {
			t.Fatalf("%d %s", status, answer)
		}
		if record := l.ends("rested"); record.Outcome != model.OutcomeDone {
			t.Fatalf("%+v", record)
		}
		many := make([]string, 10_000)
		for i := range many {
			many[i] = "idle"
		}
		tests := []visit{
			{"wrong method", "", nil, 405, "", 0, "POST only"},
			{"no bearer", firing("due"), []string{"Authorization", ""}, 401, "", 0, "a bearer token is required"},
			{"wrong bearer", firing("due"), []string{"Authorization", "Bearer wrong"}, 401, "", 0, "a bearer token is required"},
			{"wrong content type", firing("due"), []string{"Content-Type", "text/plain"}, 415, "", 0, "Content-Type must be application/json"},
			{"no JSON", "due", nil, 400, "", 0, "not Alertmanager's JSON"},
			{"another version", strings.Replace(firing("due"), `"4"`, `"5"`, 1), nil, 400, "", 0, `payload version \"5\"`},
			{"more than a MiB", firing("due") + strings.Repeat(" ", 1<<20), nil, 413, "", 0, "larger than 1 MiB"},
			{"resolved", alerts("resolved", "due"), nil, 200, "resolved", 1, ""},
			{"unknown connection", firing("nobody"), nil, 200, "unknown_connection", 1, "no connection of this name"},
			{"no label", `{"version":"4","alerts":[{"status":"firing","labels":{"connection":"due"}}]}`, nil, 200, "unmatched", 1, ""},
			{"no connection", `{"version":"4","alerts":[{"status":"firing","labels":{"rotate":"scim-token"}}]}`, nil, 200, "unmatched", 1, ""},
			{"not due", firing("idle"), nil, 200, "not_due", 1, "due 2000"},
			{"ten thousand", firing(many...), nil, 200, "not_due", 10_000, "due 2000"},
			{"disabled", firing("off"), nil, 200, "disabled", 1, "rotation.mode is disabled"},
			{"dry run", firing("trial"), nil, 200, "dry_run", 1, "rotation.mode is dry_run"},
			{"held", firing("held"), nil, 200, "blocked", 1, "a person holds its rotations"},
			{"cooling down", firing("rested"), nil, 200, "cooldown", 1, "the last rotation ended"},
		}
		done := l.acts()
		for _, test := range tests {
			test.pay(t, l)
		}
		time.Sleep(time.Hour)
		if now := l.acts(); now != done {
			t.Errorf("%d acts came of it", now-done)
		}
		for _, connection := range []string{"due", "idle", "off", "trial", "held"} {
			if list := l.rotations(connection); len(list) != 0 {
				t.Errorf("%s: %+v", connection, list)
			}
		}

		// The same alert five hundred times at once is one rotation.
		codes := map[int]int{}
		var mu sync.Mutex
		var callers sync.WaitGroup
		before := l.series()
		for range 500 {
			callers.Go(func() {
				status, _ := l.post(firing("due"))
				mu.Lock()
				defer mu.Unlock()
				codes[status]++
			})
		}
		callers.Wait()
		after := l.series()
		if codes[http.StatusAccepted] != 500 {
			t.Errorf("answers: %v", codes)
		}
		l.grew(t, before, after, `entra_aws_webhook_alerts_total{decision="started"}`, 1)
		l.grew(t, before, after, `entra_aws_webhook_alerts_total{decision="already_running"}`, 499)
		for _, test := range []visit{ // what the one rotation at a time has nothing to do with
			{"not due, while another rotates", firing("idle"), nil, 200, "not_due", 1, "due 2000"},
			{"dry run, while another rotates", firing("trial"), nil, 200, "dry_run", 1, "rotation.mode is dry_run"},
		} {
			test.pay(t, l)
		}
		part := section(l.read("exporter.yml"), "due")
		l.edit(part, strings.Replace(part, "mode: enabled", "mode: disabled", 1))
		if status, answer := l.reload(); status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		visit{"switched off while it runs", firing("due"), nil, 202, "already_running", 1, "is in phase"}.pay(t, l)
		if record := l.ends("due"); record.Outcome != model.OutcomeDone {
			t.Errorf("%+v", record)
		}
		if list := l.rotations("due"); len(list) != 1 {
			t.Errorf("%d rotations", len(list))
		}
	})
}

// visit is a request to the webhook, and what comes of it.
type visit struct {
	name, body string // without a body it is a GET
	header     []string
	code       int
	decision   string
	count      int
	says       string // in the one line that the log gets
}

func (l *lab) visited(v visit) (status int, answer string) {
	l.t.Helper()
	if v.body == "" {
		return l.ask(http.MethodGet, "/webhook/alertmanager", "")
	}
	return l.post(v.body, v.header...)
}

func (v visit) pay(t *testing.T, l *lab) {
	t.Helper()
	before, written := l.series(), len(l.logs.String())
	status, answer := l.visited(v)
	if status != v.code {
		t.Errorf("%s: answered %d %s, want %d", v.name, status, answer, v.code)
	}
	after := l.series()
	l.grew(t, before, after, fmt.Sprintf(`entra_aws_webhook_requests_total{code="%d"}`, v.code), 1)
	for _, line := range after.with("webhook_alerts_total") {
		series, _, _ := strings.Cut(line, " ")
		want := 0
		if v.decision != "" && strings.Contains(series, `"`+v.decision+`"`) {
			want = v.count
		}
		l.grew(t, before, after, series, want)
	}
	var said []string
	for line := range strings.Lines(l.logs.String()[written:]) {
		if strings.Contains(line, "alert decided") || strings.Contains(line, "webhook") {
			said = append(said, line)
		}
	}
	if len(said) != 1 || !strings.Contains(said[0], v.says) || v.decision != "" && !strings.Contains(said[0], "decision="+v.decision) {
		t.Errorf("%s: want one line with %q and %q, the log says %q", v.name, v.decision, v.says, said)
	}
}

// grew wants a counter to have grown by so much.
func (l *lab) grew(t *testing.T, before, after page, series string, by int) {
	t.Helper()
	was, _ := before.value(t, series)
	now, _ := after.value(t, series)
	if int(now-was) != by {
		t.Errorf("%s grew by %v, want %d", series, now-was, by)
	}
}

// What cannot be kept must not be created: without a journal nothing begins, without a
// vault nothing is made.
func TestStateThatCannotBeWritten(t *testing.T) {
	inTheWay := func(name string) func(*lab) {
		return func(l *lab) {
			if err := os.RemoveAll(l.path(filepath.Join("state", name))); err != nil {
				l.t.Fatal(err)
			}
			l.write(filepath.Join("state", name), "a file where a directory should be")
		}
	}
	for name, test := range map[string]struct {
		spoil  func(*lab)
		code   int
		reason string // of the block; "": nothing began
	}{
		"no vault":   {inTheWay("tokens"), http.StatusAccepted, "token_store_unwritable"},
		"no journal": {inTheWay("journal"), http.StatusServiceUnavailable, ""},
		"read-only": {func(l *lab) {
			if os.Geteuid() == 0 {
				l.t.Skip("root writes everywhere")
			}
			for _, path := range []string{"state/tokens", "state/journal", "state"} {
				_ = os.Mkdir(l.path(path), 0o700)
				if err := os.Chmod(l.path(path), 0o500); err != nil {
					l.t.Fatal(err)
				}
				l.t.Cleanup(func() { _ = os.Chmod(l.path(path), 0o700) })
			}
		}, http.StatusServiceUnavailable, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := furnish(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
				l.edit(hasty, unhurried)
				l.start()
				time.Sleep(15 * time.Minute)
				test.spoil(l)
				if status, answer := l.alert(); status != test.code {
					t.Errorf("answered %d %s, want %d", status, answer, test.code)
				}
				time.Sleep(3 * time.Hour)
				if created := l.Calls()["CreateBearerToken"]; created != 0 {
					t.Errorf("%d tokens were asked for", created)
				}
				if test.reason == "" {
					if list := l.rotations("expiring"); len(list) != 0 {
						t.Errorf("%+v", list)
					}
					return
				}
				l.series().holds(t, fmt.Sprintf(`entra_aws_rotation_blocked_info{connection="expiring",reason=%q} 1`, test.reason))
				visit{"blocked", alarm, nil, 200, "blocked", 1, "state/tokens"}.pay(t, l)
				if !strings.Contains(l.get("/"), "state/tokens") {
					t.Error("the page does not say why")
				}
			})
		})
	}
}

// Whatever becomes of its configuration, a rotation that runs ends under its binding.
func TestConfigurationChangesInTheMiddle(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(*lab)
		restart bool
		ending  model.Outcome
		reason  string
	}{
		"edited": {func(l *lab) {
			l.edit("approval: never, cooldown: 1h, retire_after: 10m", "approval: always, cooldown: 2h, retire_after: 3h")
		}, false, model.OutcomeDone, ""},
		"switched off":                        {func(l *lab) { l.edit("mode: enabled", "mode: disabled") }, false, model.OutcomeDone, ""},
		"renamed":                             {func(l *lab) { l.edit("- name: expiring", "- name: renamed") }, false, model.OutcomeDone, ""},
		"renamed, and the exporter restarted": {func(l *lab) { l.edit("- name: expiring", "- name: renamed") }, true, model.OutcomeDone, ""},
		"removed":                             {func(l *lab) { l.edit(section(l.read("exporter.yml"), "expiring"), "") }, false, model.OutcomeDone, ""},
		"removed, and the exporter restarted": {func(l *lab) { l.edit(section(l.read("exporter.yml"), "expiring"), "") }, true,
			model.OutcomeBlocked, "connection_removed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				other := clouds.Healthy("other")
				other.Account = "444455556666"
				l := furnish(t, []clouds.ConnectionSpec{clouds.Expiring("expiring"), other})
				l.edit(hasty, unhurried)
				l.start()
				time.Sleep(15 * time.Minute)
				if status, answer := l.alert(); status != http.StatusAccepted {
					t.Fatalf("%d %s", status, answer)
				}
				l.until("the save", func() bool { return l.Calls()["PUT secrets"] > 0 })
				test.change(l)
				if test.restart {
					l.stop()
					l.start()
				} else if status, answer := l.reload(); status != http.StatusOK {
					t.Fatalf("reload: %d %s", status, answer)
				}
				var last model.RotationRecord
				l.until("its end", func() bool {
					for _, connection := range []string{"expiring", "renamed"} {
						if list := l.rotations(connection); len(list) == 1 {
							last = list[0]
						}
					}
					return last.Outcome != ""
				})
				if last.Outcome != test.ending || !strings.Contains(last.Reason, test.reason) {
					t.Errorf("it ended %s: %s", last.Outcome, last.Reason)
				}
				l.With(func(now *clouds.Model) {
					for _, gap := range now.Outages() {
						t.Errorf("a gap: %s", gap)
					}
					at := l.access.Connections[0]
					if saved := now.SavedToken(at.ServicePrincipalID); saved != last.NewTokenID || now.TokenAccepted(saved) != clouds.AcceptedByAll {
						t.Errorf("Entra holds %s, the rotation made %s", saved, last.NewTokenID)
					}
				})
			})
		})
	}
}
