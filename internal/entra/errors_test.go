package entra

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
)

// inBubble runs a test on virtual time.
func inBubble(t *testing.T, test func(*testing.T)) { t.Helper(); synctest.Test(t, test) }

// TestFailures compares the exact error text of each failure.
func TestFailures(t *testing.T) {
	const op = "reading the provisioning job: "
	const permission = " (grant the application permission Synchronization.Read.All with admin consent, see deploy/permissions/entra.md)"
	const page = "a web page, probably of a proxy or gateway (check http_client.proxy_url, and the proxies and firewalls on the way to the cloud)"
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   string
		unsent bool
	}{
		"403": {
			answer: always(403, `{"error":{"code":"Authorization_RequestDenied","message":"Insufficient privileges to complete the operation.","innerError":{"date":"x"}}}`),
			want:   op + "permission: 403 Authorization_RequestDenied: Insufficient privileges to complete the operation." + permission,
		},
		"403 without a body": {answer: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }, want: op + "permission: HTTP status 403 without a content type" + permission},
		"licence": {
			answer: always(403, `{"error":{"code":"Authentication_RequestFromNonPremiumTenantOrB2CTenant","message":"Neither tenant is B2C or tenant doesn't have premium license"}}`),
			want: op + "licence: 403 Authentication_RequestFromNonPremiumTenantOrB2CTenant: Neither tenant is B2C or tenant doesn't have premium license " +
				"(the tenant needs Microsoft Entra ID P1 or P2 for this)",
		},
		"401": {
			answer: always(401, `{"error":{"code":"InvalidAuthenticationToken","message":"Access token has expired or is not yet valid."}}`),
			want: op + "auth: 401 InvalidAuthenticationToken: Access token has expired or is not yet valid. " +
				"(check the tenant's cloud and endpoints, and the clock)",
		},
		"404": {
			answer: always(404, `{"error":{"code":"Request_ResourceNotFound","message":"Resource 'x' does not exist or one of its queried reference-property objects are not present."}}`),
			want: op + "not_found: 404 Request_ResourceNotFound: Resource 'x' does not exist or one of its queried reference-property objects are not present. " +
				"(the application or its job was deleted; check service_principal_id and job_id)",
		},
		"{} as error body":     {answer: always(500, `{}`), want: op + "other: HTTP status 500 with application/json"},
		"{error:{}}":           {answer: always(500, `{"error":{}}`), want: op + "other: HTTP status 500 with application/json"},
		"{error:null}":         {answer: always(500, `{"error":null}`), want: op + "other: HTTP status 500 with application/json"},
		"error of odd types":   {answer: always(500, `{"error":{"code":7,"message":["x"]}}`), want: op + "other: HTTP status 500 with application/json"},
		"null":                 {answer: always(500, `null`), want: op + "other: HTTP status 500 with application/json"},
		"an empty error body":  {answer: always(500, ``), want: op + "other: HTTP status 500 with application/json"},
		"null message":         {answer: always(500, `{"error":{"code":"InternalError","message":null}}`), want: op + "other: 500 InternalError"},
		"error inside message": {answer: always(400, `{"error":{"code":"UnknownError","message":"{\"error\":{\"code\":\"JobNotReady\",\"message\":\"Try later.\"}}"}}`), want: op + "other: 400 JobNotReady: Try later."},
		"error inside message, capital, message null": {
			answer: always(400, `{"error":{"code":"UnknownError","message":"{\"Code\":\"JobNotReady\",\"Message\":null}"}}`), want: op + "other: 400 JobNotReady",
		},
		"mail address and token in the message": {
			answer: always(400, `{"error":{"code":"BadRequest","message":"User ann.lee@example.com\nhas `+strings.Repeat("A1", 40)+`."}}`),
			want:   op + "other: 400 BadRequest: User (address) has (value)",
		},
		"401 with HTML": {answer: html(401), want: op + "invalid_response: HTTP status 401 with " + page},
		"403 with HTML": {answer: html(403), want: op + "invalid_response: HTTP status 403 with " + page},
		"407 with HTML": {answer: html(407), want: op + "invalid_response: HTTP status 407 with " + page},
		"503 with HTML": {answer: html(503), want: op + "other: HTTP status 503 with text/html"},
		"200 with HTML": {answer: html(200), want: op + "invalid_response: unreadable response, HTTP status 200 with text/html: invalid character '<' looking for beginning of value"},
		"200 empty":     {answer: always(200, ``), want: op + "invalid_response: unreadable response, HTTP status 200 with application/json: the response is empty"},
		"200 null":      {answer: always(200, `null`), want: op + "invalid_response: neither an id nor a status of the job"},
		"200 {}":        {answer: always(200, `{}`), want: op + "invalid_response: neither an id nor a status of the job"},
		"200 torn":      {answer: always(200, healthyJob[:200]), want: op + "invalid_response: unreadable response, HTTP status 200 with application/json: unexpected end of JSON input"},
		"a list for a job": {
			answer: always(200, `[]`), want: op + "invalid_response: neither an id nor a status of the job",
		},
		"a word for a time": {
			answer: always(200, `{"status":{"lastExecution":{"timeBegan":"yesterday"}}}`),
			want:   op + "invalid_response: unreadable response, HTTP status 200 with application/json: parsing time \"yesterday\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"yesterday\" as \"2006\"",
		},
		"302": {
			answer: func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, "https://proxy.test/", http.StatusFound)
			},
			want: op + "invalid_response: redirected: HTTP status 302 with text/html (check the tenant's endpoints, and proxies)",
		},
		"504": {answer: always(504, `{}`), want: op + "timeout: HTTP status 504 with application/json"},
		"DNS": {
			answer: failing(&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "graph.test", IsNotFound: true}}),
			want:   op + "network: cannot resolve graph.test (check the region and the endpoints in the config, and the DNS of this host)", unsent: true,
		},
		"connection refused": {
			answer: failing(&net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}, Err: syscall.ECONNREFUSED}),
			want:   op + "network: dial tcp 192.0.2.1:443: connection refused", unsent: true,
		},
		"dial timeout": {
			answer: failing(&net.OpError{Op: "dial", Net: "tcp", Err: timeoutError{}}), want: op + "timeout: dial tcp: i/o timeout", unsent: true,
		},
		"connection reset": {
			answer: failing(&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}), want: op + "network: read tcp: connection reset by peer",
		},
		"TLS": {
			answer: failing(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}),
			want: op + "network: x509: certificate signed by unknown authority " +
				"(if a proxy inspects TLS, set http_client.tls_config.ca_file)", unsent: true,
		},
		"hang":    {answer: hanging, want: op + "timeout: no complete response within 30s"},
		"trickle": {answer: streaming(trickle{}), want: op + "timeout: no complete response within 30s"},
		"100 MB":  {answer: streaming(io.LimitReader(endless{}, 100<<20)), want: op + "invalid_response: the response is larger than 32 MiB"},
		"body cut off": {
			answer: streaming(io.MultiReader(strings.NewReader(`{"status":`), broken{})), want: op + "network: the connection ended before the response did",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				m := newMicrosoft(t)
				m.serve["GET "+jobURL] = test.answer
				_, err := m.application().Job(t.Context())
				wantError(t, err, test.want)
				if isUnsent(err) != test.unsent {
					t.Errorf("unsent %v, want %v", isUnsent(err), test.unsent)
				}
			})
		})
	}
}

func TestEveryStatusAndBodyIsClassified(t *testing.T) {
	for _, body := range []string{``, `{}`, `[]`, `null`, `"x"`, `7`, `{"error":"x"}`, `<html>`} {
		m := newMicrosoft(t)
		application := m.application()
		for status := 200; status < 600; status++ {
			if status == http.StatusTooManyRequests {
				continue // it would pause the rest
			}
			m.serve["GET "+jobURL] = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "3600")
				answerJSON(w, status, body)
			}
			_, err := application.Job(t.Context())
			reason := model.ReasonOf(err)
			isPage := body == `<html>`
			if reason == "" || (reason == model.ReasonPermission) != (status == 403 && !isPage) || (reason == model.ReasonAuth) != (status == 401 && !isPage) {
				t.Fatalf("%d %s: %v", status, body, err)
			}
		}
	}
}

func TestCanceledIsNoTimeout(t *testing.T) {
	m := newMicrosoft(t)
	ctx, cancel := context.WithCancel(t.Context())
	m.serve["GET "+jobURL] = func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() }
	_, err := m.application().Job(ctx)
	wantError(t, err, "reading the provisioning job: other: canceled before the response arrived")
}

func TestMalformedChallengeDoesNotCrash(t *testing.T) {
	m := newMicrosoft(t)
	m.serve["GET "+jobURL] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer claims=unquoted`)
		answerJSON(w, 401, `{}`)
	}
	_, err := m.application().Job(t.Context())
	wantError(t, err, "reading the provisioning job: auth: HTTP status 401 with application/json (check the tenant's cloud and endpoints, and the clock)")
}

// TestRealSockets is the only test over TCP, with the errors of Go's own transport.
func TestRealSockets(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/v1.0") {
			connection, _, _ := http.NewResponseController(w).Hijack()
			_ = connection.(*tls.Conn).NetConn().(*net.TCPConn).SetLinger(0)
			_ = connection.(*tls.Conn).NetConn().Close()
			return
		}
		answerJSON(w, 200, fmt.Sprintf(`{"token_endpoint":"https://%[1]s/t/token","issuer":"https://%[1]s/t/v2.0","authorization_endpoint":"https://%[1]s/t/a",
			"token_type":"Bearer","expires_in":3599,"access_token":"x"}`, r.Host))
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	m := newMicrosoft(t)
	at := func(transport http.RoundTripper) func(*TenantOptions) {
		return func(o *TenantOptions) {
			o.LoginEndpoint, o.GraphEndpoint, o.Transport = server.URL, server.URL, transport
		}
	}
	_, err := m.application(at(&http.Transport{DisableKeepAlives: true})).Job(within(t, 10*time.Second))
	wantError(t, err, "reading the provisioning job: network: sign-in to Entra: x509: certificate signed by unknown authority "+
		"(if a proxy inspects TLS, set http_client.tls_config.ca_file)")
	_, err = m.application(at(server.Client().Transport)).Job(within(t, 10*time.Second))
	if model.ReasonOf(err) != model.ReasonNetwork || model.CallOutcomeOf(err) != model.CallUnknown {
		t.Errorf("a reset: %v", err)
	}
}

func html(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "<html><body>Sign in to the Wi-Fi</body></html>")
	}
}

func streaming(body io.Reader) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if _, slow := body.(trickle); slow {
			body = trickle{r.Context()}
		}
		w.(*answer).body = body
	}
}

// trickle sends a space every second, until the request's context ends.
type trickle struct{ ctx context.Context }

func (b trickle) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	case <-b.ctx.Done():
		return 0, b.ctx.Err()
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// TestPermissionsAreDocumented holds the page that errors point to to the permissions
// that they name.
func TestPermissionsAreDocumented(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(permissionsPage)))
	if err != nil {
		t.Fatal(err)
	}
	bySource, err := os.ReadFile(filepath.Join("..", "..", "docs", "permissions.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, needs := range []string{readApplications, readJobs, readLogs, readAudits, readUsers, writeJobs} {
		for _, permission := range regexp.MustCompile(`[A-Z]\w+\.Read\w*\.\w+`).FindAllString(needs, -1) {
			if !strings.Contains(string(content), "`"+permission+"`") {
				t.Errorf("%s does not explain %s", permissionsPage, permission)
			}
			if !strings.Contains(string(bySource), "`"+permission+"`") {
				t.Errorf("docs/permissions.md does not name %s", permission)
			}
		}
	}
}
