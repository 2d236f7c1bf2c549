package simulator_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"entra-aws-exporter/internal/simulator/clouds"
)

// scim calls the connection's SCIM endpoint with the token that Entra has saved.
func (l *harness) scim(path string) reply {
	l.t.Helper()
	return l.scimWith(l.Credentials.Values[l.Connection.Name], path)
}

func (l *harness) scimWith(token, path string) reply {
	l.t.Helper()
	request := l.request(http.MethodGet, l.Connection.SCIMEndpoint+path, "")
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Accept", "application/scim+json")
	return l.do(request)
}

func TestSCIMRefusals(t *testing.T) {
	l := newHarness(t)
	answer := l.scimWith("wrong", "/ServiceProviderConfig")
	if answer.status != http.StatusUnauthorized || answer.at("schema", 0) != "urn:ietf:params:scim:api:messages:2.0:Error" || answer.at("status") != "401" {
		t.Errorf("a wrong token: %d %s", answer.status, answer.body)
	}
	l.quirk("source_address", clouds.SourceRefusesExporter)
	if answer = l.scim("/ServiceProviderConfig"); answer.status != http.StatusForbidden {
		t.Errorf("a refused address: %d %s", answer.status, answer.body)
	}
	l.quirk("source_address", clouds.SourceOpen)
	l.Connection.SCIMEndpoint = "https://scim.eu-central-1.amazonaws.com/nobody/scim/v2"
	if answer = l.scim("/ServiceProviderConfig"); answer.status != http.StatusUnauthorized {
		t.Errorf("a wrong tenant looks like a wrong token: %d %s", answer.status, answer.body)
	}
}

func TestSCIMUsers(t *testing.T) {
	l := newHarness(t)
	const name = "user-1@corp.example.com"
	find := func(filter string) reply { return l.scim("/Users?filter=" + url.QueryEscape(filter)) }
	found := find(`userName eq "` + name + `"`)
	if found.at("totalResults") != 1.0 || found.at("Resources", 0, "userName") != name || found.at("Resources", 0, "active") != true {
		t.Fatalf("users: %d %s", found.status, found.body)
	}
	for filter, want := range map[string]any{`userName eq "` + strings.ToUpper(name) + `"`: 1.0, `userName eq "a and \"b\""`: 0.0} {
		if answer := find(filter); answer.at("totalResults") != want {
			t.Errorf("%s: %s", filter, answer.body)
		}
	}
	for _, filter := range []string{"", `userName sw "a"`, `userName eq "a" or userName eq "b"`, `userName eq`, `userName eq "a" and `, `title eq "x"`} {
		if answer := find(filter); answer.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", filter, answer.status, answer.body)
		}
	}
	if answer := l.scim("/ServiceProviderConfig"); answer.status != http.StatusOK || answer.at("filter", "maxResults") != 50.0 {
		t.Errorf("config: %d %s", answer.status, answer.body)
	}
}
