package simulator_test

import (
	"net/http"
	"net/url"
	"testing"
)

// FuzzFilters sends anything as a filter to Graph and to SCIM: it is understood or
// refused, and nothing else.
func FuzzFilters(f *testing.F) {
	for _, filter := range []string{
		"appId eq 'x'", "activityDateTime gt 2026-01-01T00:00:00Z and jobId eq 'a''b'", "targetResources/any(t:t/id eq 'x')",
		`userName eq "a\"b" and id eq "c"`, "a eq ", "' and '", "((((", "eq eq eq",
	} {
		f.Add(filter)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		l := newHarness(t)
		paths := []string{"/servicePrincipals", "/auditLogs/provisioning", "/auditLogs/directoryAudits"}
		for _, path := range paths {
			if answer := l.graph(http.MethodGet, query(path, "$filter", filter), ""); answer.status != http.StatusOK && answer.status != http.StatusBadRequest {
				t.Errorf("%s: %d %s", path, answer.status, answer.body)
			}
		}
		if answer := l.scim("/Users?filter=" + url.QueryEscape(filter)); answer.status != http.StatusOK && answer.status != http.StatusBadRequest {
			t.Errorf("SCIM: %d %s", answer.status, answer.body)
		}
	})
}

// FuzzAssertion sends anything as a client assertion: it never signs in.
func FuzzAssertion(f *testing.F) {
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4IiwiYXVkIjpbXX0.")
	f.Add("eyJhbGciOiJSUzI1NiIsIng1dCI6IiJ9.e30.AA")
	f.Fuzz(func(t *testing.T, assertion string) {
		l := newHarness(t)
		form := l.signInForm()
		form.Del("client_secret")
		form.Set("client_assertion", assertion)
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		if answer := l.signIn(l.Connection.EntraTenantID, form); answer.status < 400 || answer.status >= 500 {
			t.Errorf("%d %s", answer.status, answer.body)
		}
	})
}

// FuzzBodies sends anything as the body of calls that change something.
func FuzzBodies(f *testing.F) {
	for _, body := range []string{
		`{"value":[{"key":"SecretToken","value":null}]}`, `{"parameters":[{"subjects":[{}]}]}`, `[]`, `null`,
	} {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body string) {
		l := newHarness(t)
		l.graph(http.MethodPut, l.synchronization()+"/secrets", body)
		for _, action := range []string{"/validateCredentials", "/provisionOnDemand"} {
			l.graph(http.MethodPost, l.job()+action, body)
		}
		for _, operation := range []string{"ListBearerTokens", "CreateBearerToken"} {
			l.amz("https://up.sso.eu-central-1.amazonaws.com/identitystore/", "identitystore", "AWSIdentityStoreService."+operation, "1.1", body)
		}
		l.control(http.MethodPost, "faults", body)
		l.control(http.MethodPost, "actions", body)
	})
}
