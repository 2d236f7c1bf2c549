package simulator_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/contract"
	"entra-aws-exporter/test/harness/wire"
)

// harness is a simulator over one connection, with a client in memory whose every exchange
// is checked against the published shapes, if they are there.
type harness struct {
	t *testing.T
	*wire.Simulator
	transport http.RoundTripper
	client    *http.Client
}

func newHarness(t *testing.T, specs ...clouds.ConnectionSpec) *harness {
	t.Helper()
	return newHarnessAt(t, "", specs...)
}

// newHarnessAt is a harness whose simulator has a URL of its own.
func newHarnessAt(t *testing.T, url string, specs ...clouds.ConnectionSpec) *harness {
	t.Helper()
	return newSeededHarness(t, 1, url, specs...)
}

func newSeededHarness(t *testing.T, seed uint64, url string, specs ...clouds.ConnectionSpec) *harness {
	t.Helper()
	if len(specs) == 0 {
		specs = []clouds.ConnectionSpec{clouds.Healthy("corp")}
	}
	w := wire.NewModel(clouds.Options{Seed: seed}, specs...)
	l := &harness{t: t, Simulator: wire.NewSimulator(t, w, simulator.Options{URL: url, Seed: seed})}
	l.transport = l.Transport()
	l.client = &http.Client{Transport: l.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return l
}

// checkingContract lets the contract watch every exchange until the test ends.
func (l *harness) checkingContract() *harness {
	l.t.Helper()
	dir := os.Getenv("CONTRACTS_DIR")
	if dir == "" {
		l.t.Log("CONTRACTS_DIR is not set: the exchanges are not held to the published shapes")
		return l
	}
	shapes, err := contract.Load(dir)
	if err != nil {
		l.t.Fatal(err)
	}
	recorder := contract.NewRecorder(shapes, l.transport)
	l.client.Transport, l.transport = recorder, recorder
	l.t.Cleanup(func() {
		if _, err := recorder.Result(); err != nil {
			l.t.Errorf("not as published:\n%v", err)
		}
	})
	return l
}

// reply is an answer that was read to its end.
type reply struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

// at digs into the JSON: at("value", 0, "id").
func (r reply) at(steps ...any) any {
	var node any = r.json
	for _, step := range steps {
		switch step := step.(type) {
		case string:
			object, _ := node.(map[string]any)
			node = object[step]
		case int:
			list, _ := node.([]any)
			if step >= len(list) {
				return nil
			}
			node = list[step]
		}
	}
	return node
}

func (l *harness) do(request *http.Request) reply {
	l.t.Helper()
	response, err := l.client.Do(request)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	answer := reply{status: response.StatusCode, header: response.Header, body: string(body)}
	if strings.Contains(response.Header.Get("Content-Type"), "json") && bytes.HasPrefix(body, []byte("{")) {
		if err := json.Unmarshal(body, &answer.json); err != nil {
			l.t.Fatalf("%s: %v", body, err)
		}
	}
	return answer
}

func (l *harness) request(method, target, body string) *http.Request {
	l.t.Helper()
	request, err := http.NewRequestWithContext(l.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	return request
}

// signInForm is a good sign-in of the exporter.
func (l *harness) signInForm() url.Values {
	registration := l.Credentials.Tenants[0].Registration
	return url.Values{
		"grant_type": {"client_credentials"}, "client_id": {registration.ClientID}, "client_secret": {registration.Secrets[0].Value},
		"scope": {"https://graph.microsoft.com/.default"},
	}
}

func (l *harness) signIn(tenant string, form url.Values) reply {
	l.t.Helper()
	request := l.request(http.MethodPost, "https://login.microsoftonline.com/"+tenant+"/oauth2/v2.0/token", form.Encode())
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return l.do(request)
}

func (l *harness) accessToken() string {
	l.t.Helper()
	answer := l.signIn(l.Connection.EntraTenantID, l.signInForm())
	token, _ := answer.at("access_token").(string)
	if token == "" {
		l.t.Fatalf("no access token: %s", answer.body)
	}
	return token
}

// graph asks Microsoft Graph as the exporter.
func (l *harness) graph(method, path, body string) reply {
	l.t.Helper()
	request := l.request(method, "https://graph.microsoft.com/v1.0"+path, body)
	request.Header.Set("Authorization", "Bearer "+l.accessToken())
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	return l.do(request)
}

// jobs is the path of the connection's synchronization.
func (l *harness) synchronization() string {
	return "/servicePrincipals/" + l.Connection.ServicePrincipalID + "/synchronization"
}

func (l *harness) job() string { return l.synchronization() + "/jobs/" + l.Connection.JobID }
