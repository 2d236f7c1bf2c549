package entra

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"entra-aws-exporter/internal/model"
)

func TestTenantOptions(t *testing.T) {
	secret := Credential{SecretFile: "secret"}
	for want, options := range map[string]TenantOptions{
		"tenant corp: tenant_id is missing":                                                {Name: "corp", ClientID: clientID, Credential: secret},
		"tenant " + tenantID + ": client_id is missing":                                    {TenantID: tenantID, Credential: secret},
		`tenant corp: unknown cloud "mars"`:                                                {Name: "corp", TenantID: tenantID, ClientID: clientID, Cloud: "mars", Credential: secret},
		`tenant corp: endpoints.login: "http://login.test" is not a URL like https://host`: {Name: "corp", TenantID: tenantID, ClientID: clientID, LoginEndpoint: "http://login.test", Credential: secret},
		`tenant corp: endpoints.login: "https://x.test/a" is not a URL like https://host`:  {Name: "corp", TenantID: tenantID, ClientID: clientID, LoginEndpoint: "https://x.test/a", Credential: secret},
		`tenant corp: endpoints.graph: "graph.test" is not a URL like https://host`:        {Name: "corp", TenantID: tenantID, ClientID: clientID, GraphEndpoint: "graph.test", Credential: secret},
		"tenant corp: 0 ways to sign in are set; set exactly one of client_secret_file, client_certificate_file, workload_identity, managed_identity, aws_web_identity": {
			Name: "corp", TenantID: tenantID, ClientID: clientID},
		"tenant corp: 2 ways to sign in are set; set exactly one of client_secret_file, client_certificate_file, workload_identity, managed_identity, aws_web_identity": {
			Name: "corp", TenantID: tenantID, ClientID: clientID, Credential: Credential{SecretFile: "secret", ManagedIdentity: true}},
	} {
		if _, err := NewTenant(options); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// TestClouds checks each cloud's hosts and token scope.
func TestClouds(t *testing.T) {
	for cloud, want := range map[string]struct{ login, graph, scope string }{
		"public":    {"login.microsoftonline.com", "graph.microsoft.com", "https://graph.microsoft.com/.default"},
		"usgov":     {"login.microsoftonline.us", "graph.microsoft.us", "https://graph.microsoft.us/.default"},
		"usgov_dod": {"login.microsoftonline.us", "dod-graph.microsoft.us", "https://dod-graph.microsoft.us/.default"},
		"china":     {"login.chinacloudapi.cn", "microsoftgraph.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn/.default"},
		"private":   {"login.test", "graph.test:8443", "https://graph.test:8443/graph/.default"},
	} {
		t.Run(cloud, func(t *testing.T) {
			m := newMicrosoft(t)
			var login, scope string
			signIn := m.signIn
			m.signIn = func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				login, scope = r.URL.Host, r.PostForm.Get("scope")
				signIn(w, r)
			}
			path := jobURL
			if cloud == "private" {
				path = "/graph" + jobURL
			}
			m.serve["GET "+path] = always(200, healthyJob)
			application := m.application(func(o *TenantOptions) {
				o.Cloud, o.LoginEndpoint, o.GraphEndpoint = model.Cloud(cloud), "", ""
				if cloud == "private" {
					o.Cloud, o.LoginEndpoint, o.GraphEndpoint = "", "https://login.test/", "https://graph.test:8443/graph/"
				}
			})
			if _, err := application.Job(t.Context()); err != nil {
				t.Fatal(err)
			}
			if graph := m.seen[0].URL.Host; login != want.login || graph != want.graph {
				t.Errorf("signed in at %s, asked %s", login, graph)
			}
			if asked, _, _ := strings.Cut(scope, " "); asked != want.scope {
				t.Errorf("asked for scope %s", scope)
			}
			if token := m.seen[0].Header.Get("Authorization"); token != "Bearer token-1" {
				t.Errorf("sent %q", token)
			}
		})
	}
}

func TestObserve(t *testing.T) {
	m := newMicrosoft(t)
	seen := map[string]int{}
	m.serve["GET "+jobURL] = always(403, `{}`)
	_, _ = m.application(func(o *TenantOptions) {
		o.Observe = func(service, code string) { seen[service+" "+code]++ }
	}).Job(t.Context())
	m.serve["GET "+jobURL] = failing(&url.Error{Op: "Get", Err: context.DeadlineExceeded})
	_, _ = m.application(func(o *TenantOptions) {
		o.Observe = func(service, code string) { seen[service+" "+code]++ }
	}).Job(t.Context())
	if seen["graph 403"] != 1 || seen["graph error"] != 1 || seen["login 200"] < 2 {
		t.Errorf("observed %v", seen)
	}
}

func TestUserAgent(t *testing.T) {
	m := newMicrosoft(t)
	m.serve["GET "+jobURL] = always(200, healthyJob)
	if _, err := m.application(func(o *TenantOptions) { o.Version = "1.2.3" }).Job(t.Context()); err != nil {
		t.Fatal(err)
	}
	if agent := m.seen[0].Header.Get("User-Agent"); agent != "entra-aws-exporter/1.2.3" {
		t.Errorf("User-Agent %q", agent)
	}
}

func TestBinding(t *testing.T) {
	m := newMicrosoft(t)
	got, err := m.application().Binding(t.Context())
	want := model.Binding{EntraTenantID: tenantID, ServicePrincipalID: principal, JobID: jobID}
	if err != nil || got != want || len(m.calls()) != 0 {
		t.Errorf("%+v, %v, asked %v", got, err, m.calls())
	}
}
