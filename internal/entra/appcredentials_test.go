package entra

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
)

func TestAppCredentials(t *testing.T) {
	const applications = "GET /v1.0/applications"
	m := newMicrosoft(t)
	m.serve[applications] = always(200, `{"value":[{"passwordCredentials":[{"keyId":"s1","endDateTime":"2027-01-01T00:00:00.1234567Z","hint":"abc","secretText":null},null,{"keyId":"s2","endDateTime":null}],
		"keyCredentials":[{"keyId":"c1","endDateTime":"2026-06-01T00:00:00Z","key":null},{"keyId":"c2","endDateTime":"0001-01-01T00:00:00Z"}]}]}`)
	got, err := m.tenant().AppCredentials(t.Context())
	want := []model.AppCredential{
		{Tenant: "corp", Kind: "secret", KeyID: "s1", Expires: at("2027-01-01T00:00:00.1234567Z")},
		{Tenant: "corp", Kind: "certificate", KeyID: "c1", Expires: at("2026-06-01T00:00:00Z")},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if query := m.seen[0].URL.Query(); query.Get("$filter") != "appId eq '"+clientID+"'" || query.Get("$select") != "passwordCredentials,keyCredentials" {
		t.Errorf("asked %s", m.seen[0].URL.RawQuery)
	}
	const op = "reading the exporter's own credentials: "
	for want, answer := range map[string]http.HandlerFunc{
		op + "not_found: tenant corp has no app registration with client id " + clientID + " (if it is registered in another tenant, set intervals.app_credentials: 0)": always(200, `{"value":[]}`),
		op + "invalid_response: a list without its value":                                                                                         always(200, `{}`),
		op + "invalid_response: unreadable response, HTTP status 200 with application/json: unexpected end of JSON input":                         always(200, `{"value":[{"pass`),
		op + "permission: 403 Denied (grant the application permission Application.Read.All with admin consent, see deploy/permissions/entra.md)": always(403, `{"error":{"code":"Denied"}}`),
	} {
		m.serve[applications] = answer
		_, err := m.tenant().AppCredentials(t.Context())
		wantError(t, err, want)
	}
}

// The reader also reads when the rotator's credentials end: the rotator's own rights
// need not allow that.
func TestCredentialsOfSeveralIdentities(t *testing.T) {
	const rotatorID = "55555555-5555-5555-5555-555555555555"
	m := newMicrosoft(t)
	m.serve["GET /v1.0/applications"] = func(w http.ResponseWriter, r *http.Request) {
		keyID := map[string]string{"appId eq '" + clientID + "'": "s1", "appId eq '" + rotatorID + "'": "r1"}[r.URL.Query().Get("$filter")]
		answerJSON(w, 200, `{"value":[{"passwordCredentials":[{"keyId":"`+keyID+`","endDateTime":"2027-01-01T00:00:00Z"}],"keyCredentials":[]}]}`)
	}
	rotator := m.tenant(func(o *TenantOptions) { o.Name, o.ClientID = "rotator", rotatorID })
	managed := m.tenant(func(o *TenantOptions) {
		o.Name, o.ClientID, o.Credential = "managed", "", Credential{ManagedIdentity: true}
	})
	got, err := m.tenant().AppCredentials(t.Context(), rotator, managed)
	want := []model.AppCredential{
		{Tenant: "corp", Kind: "secret", KeyID: "s1", Expires: at("2027-01-01T00:00:00Z")},
		{Tenant: "rotator", Kind: "secret", KeyID: "r1", Expires: at("2027-01-01T00:00:00Z")},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if m.tokens != 1 {
		t.Errorf("%d identities signed in, the reader alone should have", m.tokens)
	}
}

func TestApplicationForARotation(t *testing.T) { inBubble(t, testApplicationForARotation) }

func testApplicationForARotation(t *testing.T) {
	const entity = "https://eu-central-1.signin.aws.amazon.com/platform/saml/d-1234567890"
	soon := time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second)
	m := newMicrosoft(t)
	m.serve["GET "+principalURL] = selecting(map[string]string{principalProperties: `{"appId":"` + samlAppID + `","servicePrincipalNames":["` + strings.ToUpper(samlAppID) + `","` + entity + `"]}`})
	m.serve["GET /v1.0/applications"] = always(200, `{"value":[{"passwordCredentials":[{"keyId":"gone","endDateTime":"1999-01-01T00:00:00Z"},
		{"keyId":"later","endDateTime":"2099-01-01T00:00:00Z"},{"keyId":"soon","endDateTime":"`+soon.Format(time.RFC3339)+`"}],
		"keyCredentials":[{"keyId":"unused","endDateTime":"`+soon.Add(-time.Hour).Format(time.RFC3339)+`"}]}]}`)
	audit := func(when, activity, target string) string {
		return `{"activityDateTime":"` + when + `","activityDisplayName":"` + activity + `","targetResources":[null,{"id":"` + target + `"}],"initiatedBy":{"user":{"userPrincipalName":"ann@example.com"}}}`
	}
	m.serve["GET /v1.0/auditLogs/directoryAudits"] = always(200, `{"value":[null,`+audit("2026-02-01T00:00:00Z", credentialActivity, strings.ToUpper(principal))+
		`,`+audit("2026-02-02T00:00:00Z", "Update application", principal)+`,`+audit("2026-02-03T00:00:00Z", credentialActivity, "another")+`,`+audit("2026-01-01T00:00:00Z", credentialActivity, principal)+`]}`)
	application := m.application()
	got, err := application.Application(t.Context())
	want := model.Application{EntityIDs: []string{entity}, CredentialExpires: soon, CredentialsChanged: at("2026-02-01T00:00:00Z"), CredentialsReadable: true}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	delete(m.serve, "GET /v1.0/auditLogs/directoryAudits")
	delete(m.serve, "GET /v1.0/applications")
	got, err = application.Application(t.Context())
	if diff := cmp.Diff(model.Application{EntityIDs: []string{entity}}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	delete(m.serve, "GET "+principalURL)
	if _, err = application.Application(t.Context()); model.ReasonOf(err) != model.ReasonNotFound {
		t.Errorf("got %v", err)
	}
}

// TestExpiredSecretIsNamedWhileTokensRun: Graph lists another secret that is valid, and the
// access token works for another hour.
func TestExpiredSecretIsNamedWhileTokensRun(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMicrosoft(t)
		m.serve["GET /v1.0/applications"] = always(200, `{"value":[{"passwordCredentials":[{"keyId":"other","endDateTime":"2027-01-01T00:00:00Z"}],"keyCredentials":[]}]}`)
		m.serve["GET "+jobsURL] = always(200, `{"value":[{"id":"`+jobID+`","templateId":"aWSSingleSignon"}]}`)
		tenant := m.tenant()
		if _, err := tenant.AppCredentials(t.Context()); err != nil || m.tokens != 1 {
			t.Fatalf("%d sign-ins, %v", m.tokens, err)
		}
		m.signIn = always(401, `{"error":"invalid_client","error_description":"AADSTS7000222: The provided client secret keys are expired. Trace ID: x","error_codes":[7000222]}`)
		time.Sleep(10 * time.Minute)
		_, err := tenant.AppCredentials(t.Context())
		wantError(t, err, "testing the sign-in of tenant corp: auth: AADSTS7000222: the client secret has expired (create a new one for the app registration and write it to client_secret_file)")
		application := tenant.Application(ApplicationOptions{ServicePrincipalID: principal})
		if _, err := application.Binding(t.Context()); err != nil {
			t.Errorf("the access token is left, but: %v", err)
		}
		m.signIn = always(503, `{}`)
		if _, err := tenant.AppCredentials(t.Context()); err != nil {
			t.Errorf("the sign-in cannot be tested: %v", err)
		}
	})
}
