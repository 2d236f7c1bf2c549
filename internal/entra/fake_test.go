package entra

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

const (
	tenantID   = "11111111-1111-1111-1111-111111111111"
	clientID   = "22222222-2222-2222-2222-222222222222"
	principal  = "33333333-3333-3333-3333-333333333333"
	jobID      = "aWSSingleSignon.11111111111111111111111111111111.44444444-4444-4444-4444-444444444444"
	jobURL     = "/v1.0/servicePrincipals/" + principal + "/synchronization/jobs/" + jobID
	secretsURL = "/v1.0/servicePrincipals/" + principal + "/synchronization/secrets"
)

// microsoft is Entra and Graph as a round tripper: its sign-in works unless a test
// says otherwise, everything else is what the test serves.
type microsoft struct {
	t      testing.TB
	signIn http.HandlerFunc
	serve  map[string]http.HandlerFunc // by "GET /path"

	mu     sync.Mutex
	asked  []string        // "GET /path", the sign-in left out
	tokens int             // issued
	seen   []*http.Request // with bodies that can be read again
	bodies [][]byte
}

func newMicrosoft(t testing.TB) *microsoft {
	m := &microsoft{t: t, serve: map[string]http.HandlerFunc{}}
	m.signIn = func(w http.ResponseWriter, _ *http.Request) {
		m.tokens++
		answerJSON(w, 200, fmt.Sprintf(`{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"token-%d"}`, m.tokens))
	}
	return m
}

// tenant returns a client of it, after mod had its way with the options.
func (m *microsoft) tenant(mod ...func(*TenantOptions)) *Tenant {
	m.t.Helper()
	options := TenantOptions{
		Name: "corp", TenantID: tenantID, ClientID: clientID,
		LoginEndpoint: "https://login.test", GraphEndpoint: "https://graph.test",
		Credential: Credential{SecretFile: model.SecretFile(m.file("secret", "planted-secret"))},
		Options:    cloudhttp.Options{Transport: m},
	}
	for _, change := range mod {
		change(&options)
	}
	tenant, err := NewTenant(options)
	if err != nil {
		m.t.Fatal(err)
	}
	return tenant
}

// application returns the bound application of a new client.
func (m *microsoft) application(mod ...func(*TenantOptions)) *Application {
	return m.tenant(mod...).Application(ApplicationOptions{Connection: "corp", ServicePrincipalID: principal, JobID: jobID})
}

func (m *microsoft) file(name, content string) string {
	m.t.Helper()
	path := filepath.Join(m.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return path
}

func (m *microsoft) calls() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.asked...)
}

// lastBody is the body of the last request to Graph, as JSON.
func (m *microsoft) lastBody() map[string]any {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	var body map[string]any
	if err := json.Unmarshal(m.bodies[len(m.bodies)-1], &body); err != nil {
		m.t.Fatal(err)
	}
	return body
}

func (m *microsoft) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		_ = r.Body.Close()
		if r.ContentLength != int64(len(body)) {
			return nil, fmt.Errorf("%s %s: length %d announced, %d sent", r.Method, r.URL.Path, r.ContentLength, len(body))
		}
	}
	served := r.Clone(r.Context())
	served.Body = io.NopCloser(bytes.NewReader(body))
	recorder := &answer{ResponseRecorder: httptest.NewRecorder()}
	recorder.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	switch {
	case strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration"):
		base := "https://" + r.URL.Host + "/" + strings.Split(r.URL.Path, "/")[1]
		answerJSON(recorder, 200, fmt.Sprintf(`{"token_endpoint":"%s/oauth2/v2.0/token","issuer":"%s/v2.0","authorization_endpoint":"%s/oauth2/v2.0/authorize"}`, base, base, base))
	case r.URL.Path == "/common/discovery/instance":
		answerJSON(recorder, 200, fmt.Sprintf(`{"tenant_discovery_endpoint":"https://%s/%s/v2.0/.well-known/openid-configuration","metadata":[]}`, r.URL.Host, tenantID))
	case strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token"), r.URL.Host == "169.254.169.254":
		m.signIn(recorder, served)
	default:
		m.mu.Lock()
		m.asked = append(m.asked, r.Method+" "+r.URL.Path)
		m.seen, m.bodies = append(m.seen, served), append(m.bodies, body)
		m.mu.Unlock()
		handler, found := m.serve[r.Method+" "+r.URL.Path]
		if !found {
			answerJSON(recorder, 404, `{"error":{"code":"Request_ResourceNotFound","message":"Resource does not exist."}}`)
			break
		}
		handler(recorder, served)
	}
	if recorder.failure != nil {
		return nil, recorder.failure
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	response := recorder.Result()
	if recorder.body != nil {
		response.Body = io.NopCloser(recorder.body)
	}
	return response, nil
}

// answer is a recorder that can also fail as a network does, or stream.
type answer struct {
	*httptest.ResponseRecorder
	failure error
	body    io.Reader
}

func answerJSON(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json; odata.metadata=minimal")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func always(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { answerJSON(w, status, body) }
}

func always204(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

func failing(err error) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.(*answer).failure = err }
}

func hanging(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// wantError compares the whole error text.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if !classified(err) {
		t.Fatalf("got %v, want a classified error", err)
	}
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

// classified reports whether an error is one that the client decided on.
func classified(err error) bool {
	_, ok := err.(*model.Error) //nolint:errorlint // that it is one itself is the point
	return ok
}

// isUnsent reports whether an error tells that nothing was sent.
func isUnsent(err error) bool {
	var failed *model.Error
	return errors.As(err, &failed) && failed.Unsent
}

func within(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// logLines collects what is logged.
type logLines struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (l *logLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(line)
}

func (l *logLines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.lines.String(), text)
}

func logTo(l *logLines) func(*TenantOptions) {
	return func(o *TenantOptions) {
		o.Logger = slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
}

var (
	errNetwork = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	errDial    = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
)

func quoted(text string) string {
	encoded, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(encoded)
}
