package simulator_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// control asks the control API.
func (l *harness) control(method, path, body string) reply {
	l.t.Helper()
	return l.do(l.request(method, "https://127.0.0.1:10198/control/"+path, body))
}

// must asks the control API for something that it has to do.
func (l *harness) must(method, path, body string) reply {
	l.t.Helper()
	answer := l.control(method, path, body)
	if answer.status >= http.StatusBadRequest {
		l.t.Fatalf("%s %s %s: %d %s", method, path, body, answer.status, answer.body)
	}
	return answer
}

func TestControl(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newHarness(t)
		expires := func() time.Time {
			at, err := time.Parse(time.RFC3339Nano, l.must("GET", "state", "").at("connections", 0, "tokens", 0, "expires").(string))
			if err != nil {
				t.Fatal(err)
			}
			return at
		}
		before := expires()
		l.must("POST", "age", `{"by":"300d"}`)
		if moved := before.Sub(expires()); moved != 300*24*time.Hour {
			t.Errorf("aged by %v", moved)
		}
		if state := l.must("GET", "state", ""); state.at("connections", 0, "tokens", 0, "accepted") != "none" || state.at("connections", 0, "refused") != "expired by time" {
			t.Errorf("an expired token: %s", state.body)
		}
		l.must("POST", "speed", `{"speed":40}`)
		time.Sleep(2 * time.Minute)
		if state := l.must("GET", "state", ""); state.at("connections", 0, "status") != "quarantine" || state.at("speed") != 40.0 {
			t.Errorf("after a cycle: %s", state.body)
		}

		token := l.must("POST", "actions", `{"do":"create_token"}`)
		id, value := token.at("token_id").(string), token.at("value").(string)
		l.must("POST", "actions", `{"do":"save_token","connection":"corp","actor":"terraform","token_id":"`+id+`"}`)
		if state := l.must("GET", "state", ""); state.at("connections", 0, "saved_token_id") != id || strings.Contains(state.body, value) {
			t.Errorf("saved: %s", state.body)
		}
		l.must("POST", "actions", `{"do":"start"}`)
		l.must("POST", "actions", `{"do":"add_user","user_name":"new@example.com"}`)
		time.Sleep(3 * time.Minute)
		timeline := l.must("GET", "timeline", "")
		kinds := map[any]bool{}
		for _, record := range timeline.at("entries").([]any) {
			kinds[record.(map[string]any)["kind"]] = true
		}
		for _, kind := range []string{"Creation", "Save", "Start", "CycleEnded", "EntraState", "Annotation"} {
			if !kinds[kind] {
				t.Errorf("no %s among %v", kind, kinds)
			}
		}
		if timeline.at("outages", 0, "Cause") != "expired" || strings.Contains(timeline.body, value) {
			t.Errorf("timeline: %s", timeline.body)
		}
		if text := l.must("GET", "timeline.txt", "").body; !strings.Contains(text, "terraform") || strings.Contains(text, value) {
			t.Errorf("timeline: %s", text)
		}

		l.must("POST", "skew", `{"aws":"2d","entra":"-5m"}`)
		date, err := http.ParseTime(l.graph(http.MethodGet, l.job(), "").header.Get("Date"))
		if ahead := time.Until(date).Round(time.Minute); err != nil || ahead != -5*time.Minute {
			t.Errorf("Entra's clock is %v ahead, %v", ahead, err)
		}
		l.must("POST", "skew", `{}`)

		l.must("PUT", "quirks", `{"token_times":"strings","retry_after":"date"}`)
		quirks := l.control("GET", "quirks", "").body
		if !strings.Contains(quirks, `"value": "strings"`) || !strings.Contains(quirks, `"value": "date"`) {
			t.Errorf("quirks: %s", quirks)
		}
		fault := l.must("POST", "faults", `{"operation":"GET job","status":500,"code":"InternalError","delay":"1s"}`)
		if answer := l.graph(http.MethodGet, l.job(), ""); answer.status != http.StatusInternalServerError {
			t.Errorf("fault: %d", answer.status)
		}
		l.must("DELETE", "faults?id="+fmt.Sprint(fault.at("id")), "")
		if len(l.Faults()) != 0 {
			t.Errorf("left: %v", l.Faults())
		}
		if calls := l.must("GET", "calls", ""); calls.at("GET job") != 2.0 {
			t.Errorf("calls: %s", calls.body)
		}
	})
}

func TestParseAge(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"300d": 300 * day, "2w": 14 * day, "1y": 365 * day, "1d12h": 36 * time.Hour, "36h": 36 * time.Hour, "0": 0,
		"-2d": -2 * day, "-1w": -7 * day,
	} {
		if got, err := simulator.ParseAge(text); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "2", "--1d", "two weeks", "300y", "1.5d"} {
		if got, err := simulator.ParseAge(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestActions(t *testing.T) {
	l := newHarness(t)
	job := func() reply { return l.graph(http.MethodGet, l.job(), "") }
	l.must("POST", "actions", `{"do":"pause"}`)
	if job().at("status", "code") != "Paused" {
		t.Error("not paused")
	}
	l.must("POST", "actions", `{"do":"start"}`)
	l.must("POST", "actions", `{"do":"quarantine","value":"TooManyDeletes"}`)
	if job().at("status", "quarantine", "reason") != "TooManyDeletes" {
		t.Error("no quarantine")
	}
	l.must("POST", "actions", `{"do":"disable"}`)
	l.must("POST", "actions", `{"do":"take_licence"}`)
	if l.graph(http.MethodGet, "/auditLogs/provisioning", "").status != http.StatusForbidden {
		t.Error("the log is there without a licence")
	}
	l.must("POST", "actions", `{"do":"second_application"}`)
	l.must("POST", "actions", `{"do":"deny","action":"sso-directory:ListBearerTokens","how":"scp"}`)
	if answer := l.tokens("ListBearerTokens"); !strings.Contains(answer.body, "explicit deny") {
		t.Errorf("denied: %s", answer.body)
	}
	l.must("POST", "actions", `{"do":"allow","action":"sso-directory:ListBearerTokens"}`)
	l.must("POST", "actions", `{"do":"allow_sources","sources":["203.0.113.0/24"]}`)
	if l.scim("/ServiceProviderConfig").status != http.StatusForbidden {
		t.Error("the exporter's address is allowed")
	}
	thumbprint := l.must("POST", "actions", `{"do":"add_certificate"}`).at("thumbprint").(string)
	l.must("POST", "actions", `{"do":"activate_certificate","thumbprint":"`+thumbprint+`"}`)
	if answer := l.graph(http.MethodGet, "/servicePrincipals/"+l.Connection.ServicePrincipalID, ""); answer.at("preferredTokenSigningKeyThumbprint") != thumbprint {
		t.Errorf("active: %s", answer.body)
	}
	old := l.Connection.ProvisioningTenantID
	l.must("POST", "actions", `{"do":"recreate_tenant"}`)
	state := l.must("GET", "state", "")
	if now := state.at("connections", 0, "binding", "provisioning_tenant_id"); now == old || state.at("connections", 0, "tokens") != nil {
		t.Errorf("recreated: %s", state.body)
	}
	id := l.must("POST", "actions", `{"do":"create_token"}`).at("token_id").(string)
	l.must("POST", "actions", `{"do":"save_value","value":"mistyped"}`)
	l.must("POST", "actions", `{"do":"expire_token","token_id":"`+id+`"}`)
	l.must("POST", "actions", `{"do":"delete_token","token_id":"`+id+`"}`)
	l.With(func(w *clouds.Model) {
		for deletion := range clouds.EntriesOf[clouds.Deletion](w) {
			if deletion.Actor != clouds.ActorOperator {
				t.Errorf("deleted by %s", deletion.Actor)
			}
		}
	})
}

func TestControlRefusals(t *testing.T) {
	l := newHarness(t, clouds.Healthy("one"), clouds.Healthy("two"))
	for _, test := range []struct{ request, body, want string }{
		{"POST age", `{"by":"soon"}`, `"soon" is not a duration such as 300d, 2w or 36h`},
		{"POST age", `{"days":1}`, `unknown field "days"`},
		{"POST age", `nonsense`, "reading the request: "},
		{"POST speed", `{"speed":0.5}`, "speed 0.5: want a number of at least 1"},
		{"POST skew", `{"aws":"x"}`, `"x" is not a duration`},
		{"PUT quirks", `{"colour":"red"}`, `unknown quirk "colour": known are put_secrets`},
		{"PUT quirks", `{"error_bodies":"none"}`, "quirk error_bodies=none: want one of full, empty, null_message"},
		{"POST faults", `{"operation":"ListTokens","status":500}`, `fault: unknown operation "ListTokens": known are AssumeRole, `},
		{"POST faults", `{"operation":"*","effect":"delay","delay":"soon"}`, `not a valid duration string: "soon"`},
		{"DELETE faults?id=x", "", `id "x" is no number`},
		{"POST actions", `{"do":"pause"}`, `pause: no connection "": known are one, two`},
		{"POST actions", `{"do":"delete_token","connection":"one","token_id":"x"}`, "delete_token: identitystore: 400 ResourceNotFoundException: "},
		{"POST actions", `{"do":"?"}`, `unknown action "?": known are activate_certificate, `},
		{"POST skew", `{"graph":"5m"}`, `unknown clock "graph": known are aws, entra`},
	} {
		method, path, _ := strings.Cut(test.request, " ")
		answer := l.control(method, path, test.body)
		if text, _ := answer.at("error").(string); answer.status != http.StatusBadRequest || !strings.Contains(text, test.want) {
			t.Errorf("%s %s: %d %s", test.request, test.body, answer.status, answer.body)
		}
	}
}
