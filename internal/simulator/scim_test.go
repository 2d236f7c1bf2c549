package simulator_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"entra-aws-exporter/internal/simulator/clouds"
)

// scim calls the connection's SCIM endpoint with the token that Entra has saved.
func (l *lab) scim(method, path, body string) reply {
	l.t.Helper()
	return l.scimWith(l.access.Values[l.connection.Name], method, path, body)
}

func (l *lab) scimWith(token, method, path, body string) reply {
	l.t.Helper()
	request := l.request(method, l.connection.SCIMEndpoint+path, body)
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Accept", "application/scim+json")
	if body != "" {
		request.Header.Set("Content-Type", "application/scim+json")
	}
	return l.do(request)
}

func TestSCIMRefusals(t *testing.T) {
	l := newLab(t)
	answer := l.scimWith("wrong", http.MethodGet, "/ServiceProviderConfig", "")
	if answer.status != http.StatusUnauthorized || answer.at("schema", 0) != "urn:ietf:params:scim:api:messages:2.0:Error" || answer.at("status") != "401" {
		t.Errorf("a wrong token: %d %s", answer.status, answer.body)
	}
	l.quirk("source_address", clouds.SourceRefusesExporter)
	if answer = l.scim(http.MethodGet, "/ServiceProviderConfig", ""); answer.status != http.StatusForbidden {
		t.Errorf("a refused address: %d %s", answer.status, answer.body)
	}
	l.quirk("source_address", clouds.SourceOpen)
	l.connection.SCIMEndpoint = "https://scim.eu-central-1.amazonaws.com/nobody/scim/v2"
	if answer = l.scim(http.MethodGet, "/ServiceProviderConfig", ""); answer.status != http.StatusUnauthorized {
		t.Errorf("a wrong tenant looks like a wrong token: %d %s", answer.status, answer.body)
	}
}

func TestSCIMUsers(t *testing.T) {
	l := newLab(t)
	answer := l.scim(http.MethodPost, "/Users", `{"userName":"ada@example.com","displayName":"Ada","name":{"givenName":"Ada","familyName":"Lovelace"},"emails":[{"value":"ada@example.com","type":"work"}],"active":true}`)
	id, _ := answer.at("id").(string)
	if answer.status != http.StatusCreated || id == "" {
		t.Fatalf("create: %d %s", answer.status, answer.body)
	}
	if answer = l.scim(http.MethodPost, "/Users", `{"userName":"nameless@example.com"}`); answer.status != http.StatusBadRequest {
		t.Errorf("without names: %d %s", answer.status, answer.body)
	}
	find := func(filter string) reply { return l.scim(http.MethodGet, "/Users?filter="+url.QueryEscape(filter), "") }
	for filter, want := range map[string]any{
		`userName eq "ada@example.com"`: 1.0, `userName EQ "ADA@example.com" and id eq "` + id + `"`: 1.0, `userName eq "ada@example.com" and id eq "x"`: 0.0,
	} {
		if answer = find(filter); answer.at("totalResults") != want {
			t.Errorf("%s: %s", filter, answer.body)
		}
	}
	for _, filter := range []string{`userName sw "a"`, `userName eq "a" or userName eq "b"`, `userName eq`, `userName eq "a" and `, `title eq "x"`} {
		if answer = find(filter); answer.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", filter, answer.status, answer.body)
		}
	}
	answer = l.scim(http.MethodPatch, "/Users/"+id, `{"schemas":["urn:ietf:params:scim:api:messages:2.0:PatchOp"],"Operations":[{"op":"Replace","path":"displayName","value":"Countess"},{"op":"replace","value":{"active":false}}]}`)
	if answer.at("displayName") != "Countess" || answer.at("active") != false {
		t.Errorf("patch: %d %s", answer.status, answer.body)
	}
	answer = l.scim(http.MethodPut, "/Users/"+id, `{"userName":"ada@example.com","displayName":"Ada","name":{"givenName":"Ada","familyName":"King"},"active":true}`)
	if answer.at("name", "familyName") != "King" || answer.at("active") != true || answer.at("emails") != nil {
		t.Errorf("put: %d %s", answer.status, answer.body)
	}
	if answer = l.scim(http.MethodDelete, "/Users/"+id, ""); answer.status != http.StatusNoContent {
		t.Errorf("delete: %d %s", answer.status, answer.body)
	}
	if answer = l.scim(http.MethodGet, "/Users/"+id, ""); answer.status != http.StatusNotFound {
		t.Errorf("get: %d %s", answer.status, answer.body)
	}
}

func TestSCIMPages(t *testing.T) {
	spec := clouds.Healthy("corp")
	spec.Users = 120
	l := newLab(t, spec)
	seen := map[any]bool{}
	for start := 1; start <= 120; start += 50 {
		answer := l.scim(http.MethodGet, fmt.Sprintf("/Users?startIndex=%d&count=100", start), "")
		if answer.at("totalResults") != 120.0 {
			t.Fatalf("%d %s", answer.status, answer.body)
		}
		resources := answer.at("Resources").([]any)
		if len(resources) > 50 {
			t.Errorf("%d on a page", len(resources))
		}
		for _, resource := range resources {
			seen[resource.(map[string]any)["id"]] = true
		}
	}
	if len(seen) != 120 {
		t.Errorf("%d users", len(seen))
	}
}

func TestSCIMGroups(t *testing.T) {
	l := newLab(t)
	users := l.scim(http.MethodGet, "/Users", "")
	one, two := users.at("Resources", 0, "id").(string), users.at("Resources", 1, "id").(string)
	answer := l.scim(http.MethodPost, "/Groups", `{"displayName":"Engineers","members":[{"value":"`+one+`"}]}`)
	id, _ := answer.at("id").(string)
	if answer.status != http.StatusCreated {
		t.Fatalf("create: %d %s", answer.status, answer.body)
	}
	patch := func(operation string) {
		t.Helper()
		if answer := l.scim(http.MethodPatch, "/Groups/"+id, `{"Operations":[`+operation+`]}`); answer.status != http.StatusNoContent {
			t.Errorf("%s: %d %s", operation, answer.status, answer.body)
		}
	}
	patch(`{"op":"add","path":"members","value":[{"value":"` + two + `"}]}`)
	patch(`{"op":"remove","path":"members[value eq \"` + one + `\"]"}`)
	patch(`{"op":"replace","path":"displayName","value":"Makers"}`)
	answer = l.scim(http.MethodGet, "/Groups/"+id, "")
	if answer.at("displayName") != "Makers" || answer.at("members", 0, "value") != two || answer.at("members", 1) != nil {
		t.Errorf("get: %s", answer.body)
	}
	answer = l.scim(http.MethodGet, "/Groups?filter="+url.QueryEscape(`displayName eq "Makers"`), "")
	if answer.at("totalResults") != 1.0 || len(answer.at("Resources", 0, "members").([]any)) != 0 {
		t.Errorf("a list leaves members out: %s", answer.body)
	}
	if answer = l.scim(http.MethodDelete, "/Groups/"+id, ""); answer.status != http.StatusNoContent {
		t.Errorf("delete: %d", answer.status)
	}
	for _, path := range []string{"/ServiceProviderConfig", "/ResourceTypes"} {
		if answer = l.scim(http.MethodGet, path, ""); answer.status != http.StatusOK {
			t.Errorf("%s: %d", path, answer.status)
		}
	}
}
