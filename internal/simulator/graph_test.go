package simulator_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

func query(path string, options ...string) string {
	values := url.Values{}
	for i := 0; i < len(options); i += 2 {
		values.Set(options[i], options[i+1])
	}
	return path + "?" + values.Encode()
}

func TestServicePrincipals(t *testing.T) {
	l := newHarness(t, clouds.Healthy("one"), clouds.Healthy("two"), clouds.Quarantined("three")).checkingContract()
	byTemplate := "applicationTemplateId eq '" + clouds.AWSTemplateID + "'"

	answer := l.graph(http.MethodGet, query("/servicePrincipals", "$filter", byTemplate, "$select", "id,displayName", "$top", "2"), "")
	if answer.at("value", 1, "displayName") != "AWS IAM Identity Center (two)" || answer.at("value", 2) != nil || answer.at("value", 0, "appId") != nil {
		t.Errorf("first page: %s", answer.body)
	}
	next, _ := answer.at("@odata.nextLink").(string)
	_, path, _ := strings.Cut(next, "/v1.0")
	answer = l.graph(http.MethodGet, path, "")
	if answer.at("value", 0, "displayName") != "AWS IAM Identity Center (three)" || answer.at("@odata.nextLink") != nil {
		t.Errorf("second page %s: %s", next, answer.body)
	}
	if answer = l.graph(http.MethodGet, query("/servicePrincipals", "$filter", "appId eq '"+l.Connection.AppID+"'"), ""); answer.at("value", 0, "id") != l.Connection.ServicePrincipalID || answer.at("value", 1) != nil {
		t.Errorf("by appId: %s", answer.body)
	}
	for filter, code := range map[string]string{
		"appId startswith 'x'": "BadRequest", "appId gt 'x'": "Request_UnsupportedQuery", "owner eq 'x'": "Request_UnsupportedQuery", "appId eq 'x' or appId eq 'y'": "BadRequest",
	} {
		if answer = l.graph(http.MethodGet, query("/servicePrincipals", "$filter", filter), ""); answer.status != http.StatusBadRequest || answer.at("error", "code") != code {
			t.Errorf("%s: %d %s", filter, answer.status, answer.body)
		}
	}
}

func TestSigningCertificates(t *testing.T) {
	l := newHarness(t, clouds.Quarantined("corp")).checkingContract()
	one := "/servicePrincipals/" + l.Connection.ServicePrincipalID
	answer := l.graph(http.MethodGet, one, "")
	if answer.at("keyCredentials", 3) == nil || answer.at("keyCredentials", 1, "key") != nil {
		t.Fatalf("two certificates, each twice, without their keys: %s", answer.body)
	}
	active, _ := answer.at("preferredTokenSigningKeyThumbprint").(string)
	answer = l.graph(http.MethodGet, query(one, "$select", "keyCredentials"), "")
	verify := answer.at("keyCredentials", 1)
	key, _ := verify.(map[string]any)["key"].(string)
	der, err := base64.StdEncoding.DecodeString(key)
	if err != nil || model.Thumbprint(der) != active || answer.at("displayName") != nil {
		t.Errorf("the active certificate %s: %s", active, answer.body)
	}
	if answer.at("keyCredentials", 0, "usage") != "Sign" || answer.at("keyCredentials", 0, "key") != nil ||
		answer.at("keyCredentials", 0, "customKeyIdentifier") != answer.at("keyCredentials", 1, "customKeyIdentifier") {
		t.Errorf("its twin: %s", answer.body)
	}

	metadata := "https://login.microsoftonline.com/" + l.Connection.EntraTenantID + "/federationmetadata/2007-06/federationmetadata.xml?appid="
	page := l.do(l.request(http.MethodGet, metadata+l.Connection.AppID, ""))
	var descriptor struct {
		Role struct {
			Keys []struct {
				Use         string `xml:"use,attr"`
				Certificate string `xml:"http://www.w3.org/2000/09/xmldsig# KeyInfo>X509Data>X509Certificate"`
			} `xml:"KeyDescriptor"`
		} `xml:"RoleDescriptor"`
	}
	if err := xml.Unmarshal([]byte(page.body), &descriptor); err != nil {
		t.Fatal(err)
	}
	if len(descriptor.Role.Keys) != 2 || descriptor.Role.Keys[0].Certificate != key || descriptor.Role.Keys[0].Use != "signing" {
		t.Errorf("metadata: %s", page.body)
	}
	if count := strings.Count(page.body, key); count != 2 {
		t.Errorf("the certificate is listed %d times, by Entra twice", count)
	}
	if page = l.do(l.request(http.MethodGet, metadata+"nobody", "")); page.status != http.StatusBadRequest {
		t.Errorf("an unknown application: %d %s", page.status, page.body)
	}

}

func TestOwnCredentials(t *testing.T) {
	l := newHarness(t)
	answer := l.graph(http.MethodGet, query("/applications", "$filter", "appId eq '"+l.clientID()+"'"), "")
	if answer.at("value", 0, "passwordCredentials", 0, "keyId") == nil || answer.at("value", 0, "passwordCredentials", 0, "secretText") != nil {
		t.Errorf("%s", answer.body)
	}
	if answer := l.graph(http.MethodGet, query("/applications", "$filter", "appId eq 'nobody'"), ""); answer.status != http.StatusOK || len(answer.at("value").([]any)) != 0 {
		t.Errorf("nobody: %d %s", answer.status, answer.body)
	}
}

func TestJobs(t *testing.T) {
	l := newHarness(t, clouds.Quarantined("corp")).checkingContract()
	answer := l.graph(http.MethodGet, l.synchronization()+"/jobs", "")
	if answer.at("value", 0, "id") != l.Connection.JobID || answer.at("value", 0, "status", "code") != "Quarantine" ||
		answer.at("value", 0, "status", "quarantine", "error", "code") != model.QuarantineCodeBadCredentials ||
		answer.at("value", 0, "schedule", "interval") != "PT40M" {
		t.Errorf("jobs: %s", answer.body)
	}
	if answer.header.Get("Date") == "" || answer.header.Get("Request-Id") == "" {
		t.Errorf("headers: %v", answer.header)
	}
	if answer = l.graph(http.MethodPost, l.job()+"/start", ""); answer.status != http.StatusNoContent || answer.body != "" {
		t.Errorf("start: %d %s", answer.status, answer.body)
	}
	l.must("POST", "actions", `{"do":"pause"}`)
	if answer = l.graph(http.MethodGet, l.job(), ""); answer.at("status", "code") != "Paused" || answer.at("schedule", "state") != "Paused" {
		t.Errorf("a paused job: %s", answer.body)
	}
	l.With(func(w *clouds.Model) {
		if err := w.StopJob(clouds.CallerFor(clouds.ActorOperator), l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID, model.ScheduleDisabled); err != nil {
			t.Fatal(err)
		}
	})
	if answer = l.graph(http.MethodGet, l.job(), ""); answer.at("schedule", "interval") != "P10675199DT2H48M5.4775807S" || answer.at("schedule", "state") != "Disabled" {
		t.Errorf("a disabled job: %s", answer.body)
	}
	if answer = l.graph(http.MethodGet, l.synchronization()+"/jobs/nothing", ""); answer.status != http.StatusNotFound {
		t.Errorf("no such job: %d %s", answer.status, answer.body)
	}
}

func TestSecrets(t *testing.T) {
	l := newHarness(t).checkingContract()
	answer := l.graph(http.MethodGet, l.synchronization()+"/secrets", "")
	values := map[any]any{}
	for _, pair := range answer.at("value").([]any) {
		values[pair.(map[string]any)["key"]] = pair.(map[string]any)["value"]
	}
	if values["SecretToken"] != "*" || values["BaseAddress"] != l.Connection.SCIMEndpoint || !strings.Contains(fmt.Sprint(values["SyncNotificationSettings"]), `"Enabled":true`) {
		t.Errorf("secrets: %s", answer.body)
	}
	put := func(token string) reply {
		body, _ := json.Marshal(map[string]any{"value": []map[string]string{
			{"key": "BaseAddress", "value": l.Connection.SCIMEndpoint}, {"key": "SecretToken", "value": token},
		}})
		return l.graph(http.MethodPut, l.synchronization()+"/secrets", string(body))
	}
	saved := func() (id string) {
		l.With(func(w *clouds.Model) { id = w.SavedToken(l.Connection.ServicePrincipalID) })
		return id
	}
	var fresh clouds.BearerToken
	l.With(func(w *clouds.Model) {
		var err error
		if fresh, err = w.CreateBearerToken(clouds.CallerFor(clouds.ActorOperator), l.Connection.IdentityStoreID, l.Connection.ProvisioningTenantID); err != nil {
			t.Fatal(err)
		}
		if err := w.SetQuirk("test_lag", "0s"); err != nil {
			t.Fatal(err)
		}
	})
	if answer = put(fresh.Value); answer.status != http.StatusNoContent || saved() != fresh.ID {
		t.Errorf("put: %d %s, saved %s", answer.status, answer.body, saved())
	}
	test := func(body string) reply { return l.graph(http.MethodPost, l.job()+"/validateCredentials", body) }
	if answer = test(`{"useSavedCredentials":true}`); answer.status != http.StatusNoContent {
		t.Errorf("test of the saved credentials: %d %s", answer.status, answer.body)
	}
	garbage := `{"useSavedCredentials":false,"credentials":[{"key":"BaseAddress","value":"` + l.Connection.SCIMEndpoint + `"},{"key":"SecretToken","value":"garbage"}]}`
	if answer = test(garbage); answer.status != http.StatusBadRequest || answer.at("error", "code") != "UnknownError" {
		t.Errorf("test of garbage: %d %s", answer.status, answer.body)
	}
	var nested struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal([]byte(answer.at("error", "message").(string)), &nested); err != nil || !strings.Contains(nested.Error.Code, "CredentialValidation") {
		t.Errorf("the nested error: %v in %s", err, answer.body)
	}
}

func TestUnreadableBody(t *testing.T) {
	l := newHarness(t)
	if answer := l.graph(http.MethodPut, l.synchronization()+"/secrets", "not JSON"); answer.status != http.StatusBadRequest || answer.at("error", "code") != "BadRequest" {
		t.Errorf("%d %s", answer.status, answer.body)
	}
}

func TestErrorBodies(t *testing.T) {
	l := newHarness(t)
	for value, check := range map[string]func(reply) bool{
		clouds.BodiesFull:        func(r reply) bool { return r.at("error", "message") != nil && r.at("error", "innerError") != nil },
		clouds.BodiesEmpty:       func(r reply) bool { return r.body == "{}" },
		clouds.BodiesNullMessage: func(r reply) bool { return r.at("error", "code") == "JobNotFound" && r.at("error", "message") == nil },
	} {
		if err := l.SetQuirk("error_bodies", value); err != nil {
			t.Fatal(err)
		}
		if answer := l.graph(http.MethodGet, l.synchronization()+"/jobs/nothing", ""); answer.status != http.StatusNotFound || !check(answer) {
			t.Errorf("%s: %d %s", value, answer.status, answer.body)
		}
	}
}

func TestSynchronizationSchemaAndOnDemand(t *testing.T) {
	l := newHarness(t).checkingContract()
	answer := l.graph(http.MethodGet, l.job()+"/schema", "")
	rule, _ := answer.at("synchronizationRules", 1, "id").(string)
	if answer.at("synchronizationRules", 1, "objectMappings", 0, "sourceObjectName") != "User" {
		t.Fatalf("schema: %s", answer.body)
	}
	var user string
	l.With(func(w *clouds.Model) {
		var err error
		if user, err = w.AddUser(clouds.ActorOperator, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, "canary@example.com"); err != nil {
			t.Fatal(err)
		}
	})
	body := `{"parameters":[{"ruleId":"` + rule + `","subjects":[{"objectId":"` + user + `","objectTypeName":"User"}]}]}`
	answer = l.graph(http.MethodPost, l.job()+"/provisionOnDemand", body)
	if answer.status != http.StatusOK || answer.at("key") != `{"details":{},"result":"Success"}` || !strings.Contains(answer.at("value").(string), `"userName":"canary@example.com"`) {
		t.Errorf("on demand: %d %s", answer.status, answer.body)
	}
	if answer = l.scim(`/Users?filter=` + url.QueryEscape(`userName eq "canary@example.com"`)); answer.at("totalResults") != 1.0 {
		t.Errorf("the user at AWS: %s", answer.body)
	}
	for range 4 {
		l.graph(http.MethodPost, l.job()+"/provisionOnDemand", body)
	}
	if answer = l.graph(http.MethodPost, l.job()+"/provisionOnDemand", body); answer.status != http.StatusTooManyRequests || answer.header.Get("Retry-After") == "" {
		t.Errorf("the sixth within ten seconds: %d %s", answer.status, answer.body)
	}
}

func TestReportsAreThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newHarness(t)
		for i := range 7 {
			path := []string{"/auditLogs/provisioning", "/auditLogs/directoryAudits"}[i%2]
			answer := l.graph(http.MethodGet, path, "")
			if want := map[bool]int{true: 200, false: 429}[i < 5]; answer.status != want {
				t.Fatalf("call %d: %d %s", i+1, answer.status, answer.body)
			}
			if i == 5 && answer.header.Get("Retry-After") != "10" {
				t.Errorf("Retry-After %q", answer.header.Get("Retry-After"))
			}
		}
		if err := l.SetQuirk("retry_after", clouds.RetryAfterDate); err != nil {
			t.Fatal(err)
		}
		want := time.Now().Add(10 * time.Second).UTC().Format(http.TimeFormat)
		if answer := l.graph(http.MethodGet, "/auditLogs/provisioning", ""); answer.header.Get("Retry-After") != want {
			t.Errorf("Retry-After %q, want %q", answer.header.Get("Retry-After"), want)
		}
		time.Sleep(10 * time.Second)
		if answer := l.graph(http.MethodGet, "/auditLogs/provisioning", ""); answer.status != http.StatusOK {
			t.Errorf("ten seconds later: %d", answer.status)
		}
	})
}

func TestLicence(t *testing.T) {
	l := newHarness(t)
	l.With(func(w *clouds.Model) {
		if err := w.SetLicence(l.Connection.EntraTenantID, false); err != nil {
			t.Fatal(err)
		}
	})
	answer := l.graph(http.MethodGet, "/auditLogs/provisioning", "")
	if answer.status != http.StatusForbidden || answer.at("error", "code") != "Authentication_RequestFromNonPremiumTenantOrB2CTenant" {
		t.Errorf("%d %s", answer.status, answer.body)
	}
}

// TestCompressedBody holds that a body is what its Content-Encoding says: some clients
// send a plain body after a retry and still call it gzip.
func TestCompressedBody(t *testing.T) {
	l := newHarness(t)
	request := l.request(http.MethodPut, "https://graph.microsoft.com/v1.0"+l.synchronization()+"/secrets", `{"value":[]}`)
	request.Header.Set("Authorization", "Bearer "+l.accessToken())
	request.Header.Set("Content-Encoding", "gzip")
	if answer := l.do(request); answer.status != http.StatusBadRequest || !strings.Contains(answer.body, "not gzip") {
		t.Errorf("%d %s", answer.status, answer.body)
	}
}
