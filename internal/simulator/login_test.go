package simulator_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

func TestSignInRefusals(t *testing.T) {
	l := newHarness(t)
	tenant := l.Connection.EntraTenantID
	var expired string
	l.With(func(w *clouds.Model) {
		registration, err := w.AddRegistration(tenant, "late", w.Now().Add(-time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		expired = registration.ClientID + " " + registration.Secrets[0].Value
	})
	for _, test := range []struct {
		name, tenant string
		change       func(url.Values)
		status       int
		oauth        string
		description  string
	}{
		{
			name: "a wrong secret", change: func(f url.Values) { f.Set("client_secret", "guess") },
			status: 401, oauth: "invalid_client", description: "AADSTS7000215: Invalid client secret provided.",
		},
		{
			name: "an expired secret", change: func(f url.Values) {
				id, secret, _ := strings.Cut(expired, " ")
				f.Set("client_id", id)
				f.Set("client_secret", secret)
			},
			status: 401, oauth: "invalid_client", description: "AADSTS7000222: The provided client secret keys for app",
		},
		{
			name: "another tenant", tenant: "99999999-9999-4999-8999-999999999999",
			status: 400, oauth: "invalid_request", description: "AADSTS90002: Tenant '99999999-9999-4999-8999-999999999999' not found.",
		},
		{
			name: "an unknown application", change: func(f url.Values) { f.Set("client_id", "nobody") },
			status: 400, oauth: "unauthorized_client", description: "AADSTS700016: Application with identifier 'nobody' was not found in the directory",
		},
		{
			name: "no credential", change: func(f url.Values) { f.Del("client_secret") },
			status: 401, oauth: "invalid_client", description: "AADSTS7000218: The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
		},
		{
			name: "a scope without .default", change: func(f url.Values) { f.Set("scope", "https://graph.microsoft.com/User.Read") },
			status: 400, oauth: "invalid_scope", description: "AADSTS1002012: The provided value for scope",
		},
		{
			name: "another resource", change: func(f url.Values) { f.Set("scope", "https://vault.azure.net/.default") },
			status: 400, oauth: "invalid_resource", description: "AADSTS500011: The resource principal named https://vault.azure.net was not found",
		},
		{
			name: "another grant", change: func(f url.Values) { f.Set("grant_type", "password") },
			status: 400, oauth: "unsupported_grant_type", description: "AADSTS70003: The app requested an unsupported grant type 'password'.",
		},
		{
			name: "no scope", change: func(f url.Values) { f.Del("scope") },
			status: 400, oauth: "invalid_request", description: "AADSTS900144: The request body must contain the following parameter: 'scope'.",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			form := l.signInForm()
			if test.change != nil {
				test.change(form)
			}
			if test.tenant == "" {
				test.tenant = tenant
			}
			answer := l.signIn(test.tenant, form)
			description, _ := answer.at("error_description").(string)
			if answer.status != test.status || answer.at("error") != test.oauth || !strings.HasPrefix(description, test.description) {
				t.Errorf("%d %s", answer.status, answer.body)
			}
			if !strings.Contains(description, "Trace ID: ") || !strings.Contains(description, "Timestamp: ") || answer.at("error_codes", 0) == nil {
				t.Errorf("not worded as by Entra: %s", answer.body)
			}
		})
	}
}

func TestGraphChecksTheToken(t *testing.T) {
	l := newHarness(t)
	ask := func(token string) reply {
		request := l.request(http.MethodGet, "https://graph.microsoft.com/v1.0/servicePrincipals", "")
		request.Header.Set("Authorization", "Bearer "+token)
		return l.do(request)
	}
	good := l.accessToken()
	if answer := ask(good); answer.status != http.StatusOK {
		t.Fatalf("a good token: %d %s", answer.status, answer.body)
	}
	for name, token := range map[string]string{
		"none": "", "garbage": "a.b.c", "truncated": good[:len(good)-2], "altered": strings.Replace(good, ".", ".A", 1),
	} {
		answer := ask(token)
		if answer.status != http.StatusUnauthorized || answer.at("error", "code") != "InvalidAuthenticationToken" {
			t.Errorf("%s: %d %s", name, answer.status, answer.body)
		}
	}
	l.With(func(w *clouds.Model) { w.SetSkew(clouds.Skew{Entra: 61 * time.Minute}) })
	if answer := ask(good); answer.at("error", "message") != "Lifetime validation failed, the token is expired." {
		t.Errorf("an hour later: %s", answer.body)
	}
}

func TestGraphChecksPermissions(t *testing.T) {
	l := newHarness(t)
	change := func(roles ...string) {
		l.With(func(w *clouds.Model) {
			err := w.ChangeRegistration(l.Connection.EntraTenantID, l.Credentials.Tenants[0].Registration.ClientID, func(r *clouds.AppRegistration) { r.Roles = roles })
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	paths := map[string]string{
		"GET /servicePrincipals/" + l.Connection.ServicePrincipalID: clouds.RoleApplicationRead,
		"GET " + l.job():                 clouds.RoleSynchronizationRead,
		"POST " + l.job() + "/start":     clouds.RoleSynchronization,
		"GET /auditLogs/provisioning":    clouds.RoleProvisioningLog,
		"GET /auditLogs/directoryAudits": clouds.RoleAuditLog,
	}
	for path, needed := range paths {
		method, target, _ := strings.Cut(path, " ")
		change()
		if answer := l.graph(method, target, ""); answer.status != http.StatusForbidden || answer.at("error", "code") != "Authorization_RequestDenied" {
			t.Errorf("%s without consent: %d %s", path, answer.status, answer.body)
		}
		change(needed)
		if answer := l.graph(method, target, ""); answer.status >= 300 {
			t.Errorf("%s with %s: %d %s", path, needed, answer.status, answer.body)
		}
	}
}

func TestOpenIDConfiguration(t *testing.T) {
	l := newHarness(t)
	tenant := l.Connection.EntraTenantID
	for host, root := range map[string]string{
		"https://login.microsoftonline.com": "https://login.microsoftonline.com",
		"https://127.0.0.1:10198":           "https://127.0.0.1:10198",
		"https://127.0.0.1:10198/login":     "https://127.0.0.1:10198/login",
	} {
		answer := l.do(l.request(http.MethodGet, host+"/"+tenant+"/v2.0/.well-known/openid-configuration", ""))
		if answer.at("token_endpoint") != root+"/"+tenant+"/oauth2/v2.0/token" || answer.at("issuer") != root+"/"+tenant+"/v2.0" {
			t.Errorf("%s: %s", host, answer.body)
		}
	}
	answer := l.do(l.request(http.MethodGet, "https://login.microsoftonline.com/nobody/v2.0/.well-known/openid-configuration", ""))
	if answer.status != http.StatusBadRequest || !slices.Equal(answer.at("error_codes").([]any), []any{90002.0}) {
		t.Errorf("an unknown tenant: %d %s", answer.status, answer.body)
	}
}

// TestRestart holds that a simulator started again with the same seed is the same one
// to its clients: ids, secrets and access tokens stay good.
func TestRestart(t *testing.T) {
	token := newHarness(t).accessToken()
	again := newHarness(t)
	request := again.request(http.MethodGet, "https://graph.microsoft.com/v1.0"+again.job(), "")
	request.Header.Set("Authorization", "Bearer "+token)
	if answer := again.do(request); answer.status != http.StatusOK {
		t.Errorf("%d %s", answer.status, answer.body)
	}
	other := newSeededHarness(t, 2, "", clouds.Healthy("corp"))
	request = other.request(http.MethodGet, "https://graph.microsoft.com/v1.0"+other.job(), "")
	request.Header.Set("Authorization", "Bearer "+token)
	if answer := other.do(request); answer.status != http.StatusUnauthorized {
		t.Errorf("with another seed: %d", answer.status)
	}
}
