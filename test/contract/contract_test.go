package contract_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"entra-aws-exporter/test/contract"
)

func load(t *testing.T) *contract.Contract {
	t.Helper()
	dir := os.Getenv("CONTRACTS_DIR")
	if dir == "" {
		t.Skip("CONTRACTS_DIR is not set: the published shapes are not part of this repository")
	}
	loaded, err := contract.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func graph(method, path string) *http.Request {
	return httptest.NewRequest(method, "https://graph.example/v1.0"+path, nil)
}

func aws(target, service string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "https://up.sso.example/identitystore/", nil)
	r.Header.Set("X-Amz-Target", target)
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-central-1/"+service+"/aws4_request, SignedHeaders=host, Signature=00")
	return r
}

func TestCheck(t *testing.T) {
	shapes := load(t)
	const (
		jobs    = "/servicePrincipals/1/synchronization/jobs"
		secrets = "/servicePrincipals/1/synchronization/secrets"
		tokens  = "AWSIdentityStoreService.ListBearerTokens"
		input   = `{"IdentityStoreId":"d-1","TenantId":"abc"}`
	)
	for _, test := range []struct {
		name         string
		request      *http.Request
		body, answer string
		status       int
		want         []string // fragments of the findings, none: it fits
	}{
		{name: "an empty list of jobs", request: graph("GET", jobs), answer: `{"@odata.context":"x","value":[]}`},
		{
			name: "a job", request: graph("GET", jobs+"/j"),
			answer: `{"id":"j","templateId":null,"schedule":{"expiration":null,"interval":"PT40M","state":"Active"},
				"status":{"code":"Active","quarantine":null,"lastExecution":null,"progress":[]}}`,
		},
		{
			name: "a job with everything wrong", request: graph("GET", jobs+"/j"),
			answer: `{"id":1,"schedule":null,"colour":"red","status":{"code":"Fine","quarantine":{"currentBegan":"yesterday","reason":null,"seriesCount":1.5}}}`,
			want: []string{
				`GET /servicePrincipals/{servicePrincipal-id}/synchronization/jobs/{synchronizationJob-id}: response: $.colour: no such property`,
				`$.id: 1 where string is described`, `$.status.code: "Fine" is not one of NotConfigured|NotRun|Active|Paused|Quarantine`,
				`$.status.quarantine.currentBegan: "yesterday" does not match`, `$.status.quarantine.reason: null where it may not be`,
				`$.status.quarantine.seriesCount: 1.5 where integer is described`,
			},
		},
		{name: "an unknown query parameter", request: graph("GET", jobs+"?$filer=x"), answer: `{"value":[]}`, want: []string{`request: ?$filer: no such parameter`}},
		{name: "a next page", request: graph("GET", "/auditLogs/provisioning?$top=5&$skiptoken=x"), answer: `{"value":[],"@odata.nextLink":"x"}`},
		{name: "saving credentials", request: graph("PUT", secrets), body: `{"value":[{"key":"SecretToken","value":"t"}]}`, status: 204},
		{
			name: "saving a misspelt key", request: graph("PUT", secrets), body: `{"value":[{"key":"secretToken","value":"t"}]}`, status: 204,
			want: []string{`request: $.value[0].key: "secretToken" is not one of`},
		},
		{name: "saving nothing", request: graph("PUT", secrets), status: 204, want: []string{"request: $: no body where one is described"}},
		{name: "an answer after 204", request: graph("PUT", secrets), body: `{"value":[]}`, status: 204, answer: "{}", want: []string{"a body with status 204"}},
		{name: "reading credentials, undocumented", request: graph("GET", secrets), answer: `{"value":[{"key":"BaseAddress","value":"*"}]}`},
		{name: "an action with its namespace", request: graph("POST", jobs+"/j/microsoft.graph.start"), status: 204},
		{name: "an action with a body too many", request: graph("POST", jobs+"/j/start"), body: "{}", status: 204, want: []string{"request: $: a body where none is described"}},
		{name: "restart's flags", request: graph("POST", jobs+"/j/restart"), body: `{"criteria":{"resetScope":"Watermark, QuarantineState"}}`, status: 204},
		{name: "an error", request: graph("GET", jobs), status: 403, answer: `{"error":{"code":"Authorization_RequestDenied","message":"Insufficient privileges"}}`},
		{name: "an empty error", request: graph("GET", jobs), status: 500, answer: `{}`, want: []string{"response: $: error is missing"}},
		{name: "a page of HTML", request: graph("GET", jobs), answer: "<html>", want: []string{"response: $: not JSON"}},
		{name: "open details", request: graph("GET", "/auditLogs/provisioning"), answer: `{"value":[{"id":"e","provisioningAction":"create","sourceIdentity":{"id":"u","upn":"x","details":{"a":1}}}]}`},
		{name: "an unknown action of the log", request: graph("GET", "/auditLogs/provisioning"), answer: `{"value":[{"provisioningAction":"Create"}]}`, want: []string{`"Create" is not one of`}},

		{name: "tokens", request: aws(tokens, "identitystore"), body: input, answer: `{"BearerTokens":[{"TokenId":"t","CreationTime":1713363979.436,"ExpirationTime":"2027-01-01T00:00:00Z"}]}`},
		{
			name: "tokens, everything wrong", request: aws(tokens, "sso"), body: `{"IdentityStoreId":"d-1","MaxResults":"9"}`,
			answer: `{"BearerTokens":[{"TokenId":1,"CreationTime":"soon","LastUsed":1}]}`,
			want: []string{
				`AWSIdentityStoreService.ListBearerTokens: request: Authorization: not signed for the service "identitystore"`,
				"request: $: TenantId is missing", `request: $.MaxResults: "9" where integer is described`,
				`response: $.BearerTokens[0].CreationTime: "soon" where timestamp is described`,
				"$.BearerTokens[0].LastUsed: no such property", "$.BearerTokens[0].TokenId: 1 where string is described",
			},
		},
		{name: "an error of AWS", request: aws(tokens, "identitystore"), body: input, status: 400, answer: `{"__type":"ValidationException","message":"m"}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.status == 0 {
				test.status = http.StatusOK
			}
			err := shapes.Check(test.request, []byte(test.body), test.status, []byte(test.answer))
			if len(test.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil {
				t.Fatal("nothing was found")
			}
			if count := strings.Count(err.Error(), "\n") + 1; count != len(test.want) {
				t.Errorf("%d findings, want %d:\n%v", count, len(test.want), err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("missing %q in:\n%v", want, err)
				}
			}
		})
	}
}

func TestNotCovered(t *testing.T) {
	shapes := load(t)
	for _, request := range []*http.Request{
		graph("GET", "/groups"),
		graph("DELETE", "/servicePrincipals/1"),
		httptest.NewRequest(http.MethodGet, "https://login.example/tenant", nil),
		aws("AWSIdentityStore.ListUsers", "identitystore"),
	} {
		if err := shapes.Check(request, nil, 200, nil); !errors.Is(err, contract.ErrNotCovered) {
			t.Errorf("%s %s: %v", request.Method, request.URL, err)
		}
	}
}

func TestRecorder(t *testing.T) {
	answer := `{"value":[]}`
	recorder := contract.NewRecorder(load(t), roundTripper(func(*http.Request) *http.Response {
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.WriteString(answer)
		return w.Result()
	}))
	for range 2 {
		request := graph("GET", "/servicePrincipals")
		request.Body = nil
		if _, err := recorder.RoundTrip(request); err != nil {
			t.Fatal(err)
		}
		answer = `{"values":[]}`
	}
	checked, err := recorder.Result()
	if checked != 2 || err == nil || !strings.Contains(err.Error(), "$.values: no such property") {
		t.Errorf("checked %d: %v", checked, err)
	}
}

func TestLoadWithoutShapes(t *testing.T) {
	if _, err := contract.Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no file matches") {
		t.Errorf("got %v", err)
	}
}

type roundTripper func(*http.Request) *http.Response

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }
