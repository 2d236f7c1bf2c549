package entra

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
)

func credential(key, value string) model.Credential {
	return model.Credential{Key: key, Value: model.NewSecret(value)}
}

func TestCredentials(t *testing.T) {
	m := newMicrosoft(t)
	m.serve["GET "+secretsURL] = always(200, `{"value":[{"key":"BaseAddress","value":"https://scim.test/?aadOptscim062020"},
		{"key":"SecretToken","value":"*"},{"key":"SomethingNew","value":"x"},{"key":"SyncAll","value":null}]}`)
	got, err := m.application().Credentials(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	keys := make([]string, 0, len(got))
	for _, c := range got {
		keys = append(keys, c.Key+"="+c.Value.Reveal())
	}
	want := []string{"BaseAddress=https://scim.test/?aadOptscim062020", "SecretToken=*", "SomethingNew=x", "SyncAll="}
	if !reflect.DeepEqual(keys, want) || !got[1].Masked() || got[0].Masked() {
		t.Errorf("got %v", keys)
	}
}

func TestCredentialsWhenTheUndocumentedAPIChanges(t *testing.T) {
	const op = "reading the provisioning credentials: "
	const advice = " (Microsoft does not document this API and may have changed it; update the exporter)"
	for want, answer := range map[string]http.HandlerFunc{
		op + "api_changed: 404 UnknownError" + advice:                                  always(404, `{"error":{"code":"UnknownError","message":"Resource not found for the segment 'secrets'."}}`),
		op + "api_changed: 400 BadRequest" + advice:                                    always(400, `{"error":{"code":"BadRequest","message":"Resource not found for the segment 'secrets'."}}`),
		op + "api_changed: 405 MethodNotAllowed" + advice:                              always(405, `{"error":{"code":"MethodNotAllowed","message":"m"}}`),
		op + "api_changed: unreadable response, HTTP status 200 with text/html":        html(200),
		op + "api_changed: unreadable response, HTTP status 200 with application/json": always(200, `{"value":{"a":1}}`),
		op + "api_changed: a list without its value":                                   always(200, `{"secrets":[]}`),
		op + "api_changed: a list with an entry without its key":                       always(200, `{"value":[{"key":"SecretToken","value":"*"},{"value":"keyless"}]}`),
		op + "not_found: 404 Request_ResourceNotFound (check service_principal_id)":    always(404, `{"error":{"code":"Request_ResourceNotFound","message":"ann@example.com"}}`),
	} {
		m := newMicrosoft(t)
		m.serve["GET "+secretsURL] = answer
		_, err := m.application().Credentials(t.Context())
		wantError(t, err, want)
	}
}

func TestSaveCredentials(t *testing.T) {
	m := newMicrosoft(t)
	m.serve["PUT "+secretsURL] = always204
	err := m.application().SaveCredentials(t.Context(), []model.Credential{
		credential("BaseAddress", "https://scim.test/x/scim/v2?aadOptscim062020"), credential("SecretToken", `a"<&>b`), credential("NewKey", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"value": []any{
		map[string]any{"key": "BaseAddress", "value": "https://scim.test/x/scim/v2?aadOptscim062020"},
		map[string]any{"key": "SecretToken", "value": `a"<&>b`},
		map[string]any{"key": "NewKey", "value": ""},
	}}
	if got := m.lastBody(); !reflect.DeepEqual(got, want) {
		t.Errorf("sent %v", got)
	}
	if kind := m.seen[0].Header.Get("Content-Type"); kind != "application/json" || m.seen[0].Header.Get("Content-Encoding") != "" {
		t.Errorf("sent as %s, %s", kind, m.seen[0].Header.Get("Content-Encoding"))
	}
}

func TestMaskedValueIsNeverSaved(t *testing.T) {
	m := newMicrosoft(t)
	err := m.application().SaveCredentials(t.Context(), []model.Credential{credential("SecretToken", "*")})
	wantError(t, err, "saving the provisioning credentials: other: the value of SecretToken is masked; saving it would overwrite the real one")
	if !isUnsent(err) || len(m.calls()) != 0 {
		t.Errorf("asked %v", m.calls())
	}
}

// TestWritesAreSentOnce makes every write under every fault: it is sent once, and its outcome
// is what is known of it.
func TestWritesAreSentOnce(t *testing.T) {
	writes := map[string]struct {
		request string
		send    func(*testing.T, *Application) error
	}{
		"save":  {"PUT " + secretsURL, func(t *testing.T, a *Application) error { return a.SaveCredentials(t.Context(), nil) }},
		"start": {"POST " + jobURL + "/start", func(t *testing.T, a *Application) error { return a.StartJob(t.Context()) }},
		"provision": {"POST " + jobURL + "/provisionOnDemand", func(t *testing.T, a *Application) error {
			_, err := a.ProvisionUser(t.Context(), "user")
			return err
		}},
	}
	for what, test := range map[string]struct {
		answer http.HandlerFunc
		want   model.CallOutcome
	}{
		"429": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		}, model.CallRefused},
		"503": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}, model.CallUnknown},
		"504": {always(504, ``), model.CallUnknown},
		"409": {always(409, `{}`), model.CallRefused},
		"401, a challenge": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer claims="e30="`)
			w.WriteHeader(http.StatusUnauthorized)
		}, model.CallRefused},
		"302":           {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }, model.CallUnknown},
		"200 with HTML": {html(200), model.CallUnknown},
		"lost answer":   {failing(errNetwork), model.CallUnknown},
		"hang":          {hanging, model.CallUnknown},
		"no connection": {failing(errDial), model.CallRefused},
	} {
		for name, write := range writes {
			t.Run(name+" "+what, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					m := newMicrosoft(t)
					m.serve["GET "+jobURL+"/schema"] = always(200, userSchema)
					m.serve[write.request] = test.answer
					began := time.Now()
					err := write.send(t, m.application())
					if got := model.CallOutcomeOf(err); got != test.want {
						t.Errorf("outcome %s of %v, want %s", got, err, test.want)
					}
					times := 0
					for _, asked := range m.calls() {
						if asked == write.request {
							times++
						}
					}
					if times != 1 {
						t.Errorf("asked %d times", times)
					}
					if took := time.Since(began); took > testTimeout {
						t.Errorf("took %s", took)
					}
				})
			})
		}
	}
}

func TestWriteIsNotSentWithoutSignIn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMicrosoft(t)
		m.signIn = always(401, `{"error":"invalid_client","error_description":"AADSTS7000222: expired"}`)
		if err := m.application().SaveCredentials(t.Context(), nil); model.CallOutcomeOf(err) != model.CallRefused || len(m.calls()) != 0 {
			t.Errorf("%v, asked %v", err, m.calls())
		}
		m.signIn = hanging
		if err := m.application().StartJob(t.Context()); model.CallOutcomeOf(err) != model.CallRefused || len(m.calls()) != 0 {
			t.Errorf("%v, asked %v", err, m.calls())
		}
	})
}

func TestTestConnection(t *testing.T) {
	const saved = "testing the saved provisioning credentials: "
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		result model.TestResult
		want   string
	}{
		"good": {always204, model.TestPassed, ""},
		"bad": {
			always(400, `{"error":{"code":"SystemForCrossDomainIdentityManagementCredentialValidationUnavailable","message":"We received this unexpected response for ann@example.com: 401"}}`),
			model.TestFailed, saved + "other: 400 SystemForCrossDomainIdentityManagementCredentialValidationUnavailable",
		},
		"bad, wrapped": {
			always(400, `{"error":{"code":"UnknownError","message":"{\"error\":{\"code\":\"CredentialValidationFailure\",\"message\":null}}"}}`),
			model.TestFailed, saved + "other: 400 CredentialValidationFailure",
		},
		"bad, wrapping": {
			always(400, `{"error":{"code":"CredentialValidationFailure","message":"{\"error\":{\"code\":\"Unauthorized\"}}"}}`),
			model.TestFailed, saved + "other: 400 Unauthorized",
		},
		"no answer from AWS": {
			always(400, `{"error":{"code":"SystemForCrossDomainIdentityManagementCredentialValidationUnavailable","message":"We cannot reach the endpoint."}}`),
			model.TestUnavailable, saved + "other: 400 SystemForCrossDomainIdentityManagementCredentialValidationUnavailable",
		},
		"bad, by another code": {always(400, `{"error":{"code":"InvalidCredentials"}}`), model.TestFailed, saved + "other: 400 InvalidCredentials"},
		"bad, by Microsoft's sample": {
			always(400, `{"error":{"code":"SystemForCrossDomainIdentityManagementInvalidCredentials","message":null}}`),
			model.TestFailed, saved + "other: 400 SystemForCrossDomainIdentityManagementInvalidCredentials",
		},
		"another 400":           {always(400, `{"error":{"code":"RequestMissingRequiredParameter"}}`), model.TestUnavailable, saved + "other: 400 RequestMissingRequiredParameter"},
		"the code, another 5xx": {always(500, `{"error":{"code":"CredentialValidationFailure"}}`), model.TestUnavailable, saved + "other: 500 CredentialValidationFailure"},
		"not allowed": {
			always(403, `{}`), model.TestUnavailable, saved + "permission: HTTP status 403 with application/json " +
				"(grant the application permission Application.ReadWrite.OwnedBy as an owner of the application, or Synchronization.ReadWrite.All, with admin consent, see deploy/permissions/entra.md)",
		},
		"a page of a proxy": {html(200), model.TestUnavailable, saved + "invalid_response: unreadable response, HTTP status 200 with text/html"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMicrosoft(t)
			m.serve["POST "+jobURL+"/validateCredentials"] = test.answer
			result, err := m.application().TestConnection(t.Context(), nil)
			if result != test.result {
				t.Errorf("result %s", result)
			}
			if test.want != "" {
				wantError(t, err, test.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestTestConnectionAsks(t *testing.T) {
	m := newMicrosoft(t)
	m.serve["POST "+jobURL+"/validateCredentials"] = always204
	application := m.application()
	if _, err := application.TestConnection(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if got := m.lastBody(); !reflect.DeepEqual(got, map[string]any{"useSavedCredentials": true, "templateId": "aWSSingleSignon"}) {
		t.Errorf("sent %v", got)
	}
	if _, err := application.TestConnection(t.Context(), []model.Credential{credential("SecretToken", "t")}); err != nil {
		t.Fatal(err)
	}
	if got := m.lastBody(); !reflect.DeepEqual(got, map[string]any{
		"useSavedCredentials": false, "templateId": "aWSSingleSignon",
		"credentials": []any{map[string]any{"key": "SecretToken", "value": "t"}},
	}) {
		t.Errorf("sent %v", got)
	}
}

const userSchema = `{"synchronizationRules":[null,{"id":"groups","objectMappings":[{"enabled":true,"sourceObjectName":"Group"}]},
	{"id":"off","objectMappings":[{"enabled":false,"sourceObjectName":"User"}]},{"id":"users","objectMappings":[null,{"enabled":true,"sourceObjectName":"User"}]}]}`

func TestProvisionUser(t *testing.T) {
	// The shape of Microsoft's documentation, shortened.
	const documented = `{"action":"Other","modifiedProperties":[{"displayName":"userPrincipalName","oldValue":null,"newValue":"ann@upn.test"}],
		"provisioningSteps":[{"name":"EntryImport","details":{"userPrincipalName":"ann@upn.test"}},null,{"name":"EntryImport","details":{"userName":"ann@aws.test","active":"True"}}],
		"statusInfo":{"status":"Skipped","errorCode":null}}`
	for name, test := range map[string]struct{ value, want, err string }{
		"as documented": {documented, "ann@aws.test", ""},
		"in a list":     {"[null," + documented + "]", "ann@aws.test", ""},
		"changed":       {`{"modifiedProperties":[null,{"displayName":"userName","newValue":"\"new@aws.test\""}],"statusInfo":{"status":"Success"}}`, "new@aws.test", ""},
		"only the source's name": {
			`{"provisioningSteps":[{"details":{"userPrincipalName":"ann@upn.test"}},{"details":null}],"statusInfo":{"status":"Success"}}`, "ann@upn.test", "",
		},
		"without a name": {`{"statusInfo":null}`, "ann@graph.test", ""},
		"failed": {
			`{"statusInfo":{"status":"Failure","errorCode":"SystemForCrossDomainIdentityManagementBadResponse","reason":"ann@upn.test"}}`, "",
			"provisioning the canary user: other: Entra could not provision the user: SystemForCrossDomainIdentityManagementBadResponse (see the user in the application's provisioning logs)",
		},
		"not JSON": {`ann@upn.test`, "", "provisioning the canary user: invalid_response: an unreadable result"},
	} {
		t.Run(name, func(t *testing.T) {
			var lines logLines
			m := newMicrosoft(t)
			m.serve["GET "+jobURL+"/schema"] = always(200, userSchema)
			m.serve["GET /v1.0/users/user"] = always(200, `{"userPrincipalName":"ann@graph.test"}`)
			m.serve["POST "+jobURL+"/provisionOnDemand"] = func(w http.ResponseWriter, _ *http.Request) {
				answerJSON(w, 200, `{"key":"Microsoft.Identity.Health.CPP.Common.DataContracts.SyncFabric.StatusInfo","value":`+quoted(test.value)+`}`)
			}
			got, err := m.application(logTo(&lines)).ProvisionUser(t.Context(), "user")
			if got != test.want {
				t.Errorf("got %q", got)
			}
			if test.err != "" {
				wantError(t, err, test.err)
			} else if err != nil {
				t.Error(err)
			}
			if lines.count("ann@") > 0 {
				t.Error("a name was logged")
			}
		})
	}
}

func TestProvisionUserAsks(t *testing.T) {
	m := newMicrosoft(t)
	m.serve["GET "+jobURL+"/schema"] = always(200, userSchema)
	m.serve["POST "+jobURL+"/provisionOnDemand"] = always(200, `{"value":"{\"modifiedProperties\":[{\"displayName\":\"userName\",\"newValue\":\"x\"}]}"}`)
	if _, err := m.application().ProvisionUser(t.Context(), "user"); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"parameters": []any{map[string]any{
		"ruleId": "users", "subjects": []any{map[string]any{"objectId": "user", "objectTypeName": "User"}},
	}}}
	if got := m.lastBody(); !reflect.DeepEqual(got, want) {
		t.Errorf("sent %v", got)
	}
	m.serve["GET "+jobURL+"/schema"] = always(200, strings.ReplaceAll(userSchema, `"User"`, `"Group"`))
	_, err := m.application().ProvisionUser(t.Context(), "user")
	wantError(t, err, "reading the job's mapping: not_found: no rule of the job maps users (enable the mapping of users in Entra, or remove rotation.canary_user_object_id)")
}
