package app

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/web"
)

func TestStatusTable(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	up, down := true, false
	var out bytes.Buffer
	connections := []web.Connection{
		{
			Name: "corp", Tokens: &web.Tokens{ActiveExpires: now.AddDate(0, 0, 20)}, Job: &web.Job{Status: model.JobActive},
			Certificates: &web.Certificates{ActiveExpires: now.AddDate(0, 0, -3)},
			Rotation:     web.Rotation{Mode: model.RotationEnabled, Phase: model.PhaseVerify},
			Sources:      []web.Source{{Source: model.SourceTokens, Up: &up, Fresh: true}, {Source: model.SourceSCIM, Off: true}},
			Advice: []web.Advice{
				{Cause: "token", Message: "Do this.", Command: "entra-aws-exporter rotation show corp"},
				{Cause: "certificate", Message: "And that."},
				{Cause: "token", Message: "The same is harmed here."},
			},
		},
		{
			Name: "new", Rotation: web.Rotation{Mode: model.RotationDisabled, Phase: model.PhaseIdle},
			Sources: []web.Source{{Source: model.SourceJob, Up: &down, Reason: model.ReasonAuth}, {Source: model.SourceTokens, Up: &down, Fresh: true, Reason: model.ReasonTimeout}},
		},
		{
			Name: "starting", Rotation: web.Rotation{Mode: model.RotationDisabled, Phase: model.PhaseIdle},
			Sources: []web.Source{{Source: model.SourceJob}, {Source: model.SourceTokens, Up: &up, Fresh: true}, {Source: model.SourceUsage}},
		},
		{
			Name: "stuck", Rotation: web.Rotation{Mode: model.RotationDisabled, Phase: model.PhaseIdle},
			Sources: []web.Source{{Source: model.SourceJob, Up: &up}, {Source: model.SourceTokens, Up: &up, Fresh: true}},
		},
	}
	expiries := []web.Expiry{
		{Kind: web.ExpiryCertificate, Connection: "corp", Expires: now.AddDate(0, 0, -3)},
		{Kind: web.ExpiryCredential, EntraTenant: "contoso", Expires: now.AddDate(0, 0, 90)},
	}
	err := printStatus(&out, web.Connections{Connections: connections, ExpiresNext: expiries}, false, now)
	want := `corp: Do this.
    entra-aws-exporter rotation show corp
corp: also: The same is harmed here.

corp: And that.

EXPIRES NEXT                            WHAT                           OF
expired 2026-02-26 12:00 UTC (3 d ago)  SAML signing certificate       corp
2026-05-30 12:00 UTC (90 d)             the exporter's own credential  contoso

CONNECTION  TOKEN EXPIRES                JOB     SAML CERTIFICATE EXPIRES                ROTATION         SOURCES
corp        2026-03-21 12:00 UTC (20 d)  active  expired 2026-02-26 12:00 UTC (3 d ago)  enabled, verify  ok
new         -                            -       -                                       disabled         job: auth, tokens: timeout
starting    -                            -       -                                       disabled         2 not polled yet
stuck       -                            -       -                                       disabled         job: stale
`
	if diff := cmp.Diff(want, out.String()); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// TestStatusOfMany: more than thirty connections, healthy or not, are a number, unless all
// are asked for. What is wrong with many for one reason is printed once.
func TestStatusOfMany(t *testing.T) {
	var connections []web.Connection
	for i := range 40 {
		advice := []web.Advice{{Cause: "token", Message: fmt.Sprintf("Do %d.", i)}, {Cause: "credential", Message: "Renew it."}}
		connections = append(connections, web.Connection{Name: fmt.Sprintf("bad-%02d", i), Advice: advice})
	}
	for i := range 40 {
		connections = append(connections, web.Connection{Name: fmt.Sprintf("good-%02d", i)})
	}
	for all, want := range map[bool][]string{
		false: {"bad-00: Do 0.\n", "bad-00 and 39 more: Renew it.\n", "bad-28: Do 28.\n", "11 more causes; --all shows them\n", "bad-29 ", "good-29 ",
			"10 more need attention, 10 more need nothing; --all shows them\n"},
		true: {"bad-00 and 39 more: Renew it.\n", "bad-39: Do 39.\n", "bad-39 ", "good-39 "},
	} {
		var out bytes.Buffer
		if err := printStatus(&out, web.Connections{Connections: connections}, all, time.Now()); err != nil {
			t.Fatal(err)
		}
		got := out.String()
		for _, part := range want {
			if !strings.Contains(got, part) {
				t.Errorf("all=%v: no %q in\n%s", all, part, got)
			}
		}
		for _, part := range []string{"Do 29.", "bad-30 ", "good-30 "} {
			if strings.Contains(got, part) != all {
				t.Errorf("all=%v: %q in\n%s", all, part, got)
			}
		}
		if strings.Count(got, "Renew it.") != 1 {
			t.Errorf("all=%v: the common cause is repeated:\n%s", all, got)
		}
	}
}

// An error of the request names the flag that helps.
func TestStatusRequest(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "ann" || password != "a:b" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte(`{"connections":[]}` + "\n"))
	}))
	defer server.Close()
	file := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca, user := file("ca.pem", string(certificatePEM(server))), file("user", "ann:a:b\n")
	for want, asked := range map[string]StatusOptions{
		`{"connections":[]}` + "\n":                                {URL: server.URL + "/", CAFile: ca, BasicAuthFile: user},
		"answered 401 Unauthorized (set --url.basic-auth-file":     {URL: server.URL, CAFile: ca},
		"(set --url.ca-file to the CA of its certificate)":         {URL: server.URL, BasicAuthFile: user},
		"--url.ca-file: ":                                          {URL: server.URL, CAFile: "absent.pem"},
		"--url.basic-auth-file: reading secret file: open absent:": {URL: server.URL, CAFile: ca, BasicAuthFile: "absent"},
		"(check that it runs and that --url is right)":             {URL: "http://127.0.0.1:1"},
		`--url: "localhost:1" is not a URL`:                        {URL: "localhost:1"},
	} {
		var out bytes.Buffer
		asked.JSON = true
		err := Status(t.Context(), Options{Stdout: &out}, asked)
		got := out.String()
		if err != nil {
			got += err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("%+v: got %q, want %q", asked, got, want)
		}
	}
	server.CloseClientConnections()
}
