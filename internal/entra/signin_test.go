package entra

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

func TestSignInRefused(t *testing.T) {
	const op = "reading the provisioning job: "
	const page = "a web page, probably of a proxy or gateway (check http_client.proxy_url, and the proxies and firewalls on the way to the cloud)"
	answering := func(status int, code string) http.HandlerFunc {
		return always(status, `{"error":"invalid_client","error_description":"`+code+`: Some text for ann@example.com. Trace ID: 1 Correlation ID: 2 Timestamp: 3","error_codes":[1]}`)
	}
	described := func(code string) http.HandlerFunc { return answering(401, code) }
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"wrong secret":        {described("AADSTS7000215"), op + "auth: AADSTS7000215: the client secret is wrong (put the secret's value, not its id, into client_secret_file)"},
		"expired secret":      {described("AADSTS7000222"), op + "auth: AADSTS7000222: the client secret has expired (create a new one for the app registration and write it to client_secret_file)"},
		"wrong tenant":        {described("AADSTS90002"), op + "auth: AADSTS90002: there is no such tenant (check tenant_id, and cloud for a national cloud)"},
		"wrong client":        {described("AADSTS700016"), op + "auth: AADSTS700016: there is no such application in the tenant (check client_id and tenant_id)"},
		"consent missing":     {described("AADSTS65001"), op + "auth: AADSTS65001: consent is missing (let an administrator grant consent to the application's permissions)"},
		"not in the tenant":   {described("AADSTS7000229"), op + "auth: AADSTS7000229: the application has no service principal in the tenant: consent is missing (let an administrator of the tenant consent to it)"},
		"wrong certificate":   {described("AADSTS700027"), op + "auth: AADSTS700027: the client certificate is not registered, or its signature is wrong (upload the certificate of client_certificate_file to the app registration)"},
		"wrong subject":       {described("AADSTS700213"), op + "auth: AADSTS700213: no federated credential matches the token's subject (check the subject of the federated credential)"},
		"wrong audience":      {described("AADSTS700212"), op + "auth: AADSTS700212: no federated credential matches the token's audience (both must have the one of the tenant's cloud, see deploy/permissions/entra.md)"},
		"an unlisted code":    {described("AADSTS70008999"), op + "auth: AADSTS70008999: Some text for (address) (look the code up at https://login.microsoftonline.com/error)"},
		"a page of a proxy":   {html(407), op + "invalid_response: sign-in to Entra: HTTP status 407 with " + page},
		"a refusal's page":    {html(403), op + "invalid_response: sign-in to Entra: HTTP status 403 with " + page},
		"refused without one": {always(403, `{}`), op + "auth: sign-in to Entra: HTTP status 403 with application/json (check endpoints.login, and proxies)"},
		"a page instead":      {html(200), op + "invalid_response: sign-in to Entra: unreadable response, HTTP status 200 with text/html"},
		"throttled":           {always(429, `{}`), op + "throttled: sign-in to Entra: HTTP status 429"},
		"out of order":        {always(500, `{}`), op + "other: sign-in to Entra: HTTP status 500 with application/json"},
		"transient":           {answering(503, "AADSTS90033"), op + "other: sign-in to Entra: HTTP status 503 with application/json: AADSTS90033: Some text for (address)"},
		"a listed code":       {answering(500, "AADSTS7000215"), op + "other: sign-in to Entra: HTTP status 500 with application/json: AADSTS7000215: Some text for (address)"},
		"unavailable":         {html(503), op + "other: sign-in to Entra: HTTP status 503 with text/html"},
		"gateway timeout":     {html(504), op + "timeout: sign-in to Entra: HTTP status 504 with text/html"},
		"no connection":       {failing(errDial), op + "network: sign-in to Entra: dial tcp: connection refused"},
		"hanging":             {hanging, op + "timeout: the sign-in to Entra did not finish in time"},
		"a flood":             {streaming(io.LimitReader(endless{}, 100<<20)), op + "invalid_response: sign-in to Entra: the response is larger than 1 MiB"},
		"a token that is not": {always(200, `{"token_type":"Bearer","expires_in":3599}`), op + "invalid_response: sign-in to Entra: unreadable response, HTTP status 200 with application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				m := newMicrosoft(t)
				m.signIn = test.answer
				m.serve["GET "+jobURL] = always(200, healthyJob)
				_, err := m.application().Job(t.Context())
				wantError(t, err, test.want)
				if !isUnsent(err) {
					t.Error("nothing was sent, but that is not said")
				}
				if strings.Contains(fmt.Sprintf("%+v", err), "planted-secret") {
					t.Error("the secret shows")
				}
			})
		})
	}
}

// TestRefusedByTheTenant covers the first request for an unknown tenant, which fails.
func TestRefusedByTheTenant(t *testing.T) {
	m := newMicrosoft(t)
	unknown := roundTrip(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "openid-configuration") {
			return &http.Response{StatusCode: http.StatusBadRequest, Header: http.Header{"Content-Type": {"application/json"}}, Request: r, Body: io.NopCloser(strings.NewReader(
				`{"error":"invalid_tenant","error_description":"AADSTS90002: Tenant '` + tenantID + `' not found."}`))}, nil
		}
		return m.RoundTrip(r)
	})
	_, err := m.application(func(o *TenantOptions) { o.Transport = unknown }).Job(t.Context())
	wantError(t, err, "reading the provisioning job: auth: AADSTS90002: there is no such tenant (check tenant_id, and cloud for a national cloud)")
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// signInForm serves sign-ins and keeps the last form.
func (m *microsoft) signInForm() *http.Request {
	last := &http.Request{}
	signIn := m.signIn
	m.signIn = func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		*last = *r
		signIn(w, r)
	}
	m.serve["GET "+jobURL] = always(200, healthyJob)
	return last
}

// TestRevokedToken signs in again once when Graph does not accept the token, and not at
// every call when it accepts none.
func TestRevokedToken(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMicrosoft(t)
		accepted := "token-2"
		m.serve["GET "+jobURL] = func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer "+accepted {
				answerJSON(w, 401, `{"error":{"code":"InvalidAuthenticationToken"}}`)
				return
			}
			answerJSON(w, 200, healthyJob)
		}
		application := m.application()
		if _, err := application.Job(t.Context()); model.ReasonOf(err) != model.ReasonAuth {
			t.Errorf("with the revoked token: %v", err)
		}
		if _, err := application.Job(t.Context()); err != nil {
			t.Errorf("after a new sign-in: %v", err)
		}
		accepted = "none"
		for range 10 {
			_, _ = application.Job(t.Context())
		}
		if m.tokens != 2 {
			t.Errorf("signed in %d times, want 2: the replacement is younger than %s", m.tokens, minTokenAge)
		}
	})
}

func TestSecretIsReadAtEverySignIn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMicrosoft(t)
		form := m.signInForm()
		path := m.file("rotated", "first\n")
		a := m.application(func(o *TenantOptions) { o.Credential = Credential{SecretFile: model.SecretFile(path)} })
		for _, want := range []string{"first", "second"} {
			if err := os.WriteFile(path, []byte(want+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := a.Job(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := form.PostForm.Get("client_secret"); got != want {
				t.Errorf("signed in with %q, want %q", got, want)
			}
			time.Sleep(time.Hour)
		}
	})
}

func TestTokenIsCachedAndRenewed(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMicrosoft(t)
		m.serve["GET "+jobURL] = always(200, healthyJob)
		a := m.application()
		read := func() {
			t.Helper()
			if _, err := a.Job(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		read()
		time.Sleep(54 * time.Minute)
		read()
		if m.tokens != 1 {
			t.Errorf("%d tokens within its life", m.tokens)
		}
		// A renewal that fails is no failure while the old token lasts.
		works := m.signIn
		m.signIn = always(500, ``)
		time.Sleep(3 * time.Minute)
		read()
		m.signIn = works
		time.Sleep(time.Minute)
		read()
		if m.tokens != 2 {
			t.Errorf("%d tokens, want a second one before the first has ended", m.tokens)
		}
		// A refused token is doubted: a permission granted meanwhile is in a new one.
		m.serve["GET "+jobURL] = always(403, `{}`)
		for range 3 {
			_, _ = a.Job(t.Context())
			time.Sleep(time.Minute)
		}
		if m.tokens != 2 {
			t.Errorf("%d tokens, a young one was thrown away", m.tokens)
		}
		time.Sleep(3 * time.Minute)
		_, _ = a.Job(t.Context())
		m.serve["GET "+jobURL] = always(200, healthyJob)
		read()
		if m.tokens != 3 {
			t.Errorf("%d tokens, the doubted one was kept", m.tokens)
		}
	})
}

// TestRefusedSignInIsNotRepeated makes a hundred reads fail at once.
func TestRefusedSignInIsNotRepeated(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMicrosoft(t)
		attempts := 0
		m.signIn = func(w http.ResponseWriter, _ *http.Request) {
			attempts++
			time.Sleep(time.Second)
			answerJSON(w, 401, `{"error":"invalid_client","error_description":"AADSTS7000215: no"}`)
		}
		a := m.application()
		var readings sync.WaitGroup
		for range 100 {
			readings.Go(func() {
				if _, err := a.Job(t.Context()); model.ReasonOf(err) != model.ReasonAuth {
					t.Errorf("got %v", err)
				}
			})
		}
		readings.Wait()
		if attempts != 1 {
			t.Errorf("%d sign-ins for one refusal", attempts)
		}
		time.Sleep(errorTTL + time.Second)
		_, _ = a.Job(t.Context())
		if attempts != 2 {
			t.Errorf("%d sign-ins, a refusal is not for ever", attempts)
		}
	})
}

// TestWaitForSignInEndsAtDeadline: the mutex of the sign-in library does not allow that.
func TestWaitForSignInEndsAtDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMicrosoft(t)
		m.signIn = hanging
		a := m.application()
		go func() { _, _ = a.Job(t.Context()) }()
		synctest.Wait()
		began := time.Now()
		_, err := a.Job(within(t, 2*time.Second))
		wantError(t, err, "reading the provisioning job: timeout: the sign-in to Entra did not finish in time")
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("took %s", took)
		}
		time.Sleep(time.Minute)
	})
}

func TestCanceledSignInAffectsNoOtherCaller(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMicrosoft(t)
		m.serve["GET "+jobURL] = always(200, healthyJob)
		a, works := m.application(), m.signIn
		m.signIn = hanging
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		if _, err := a.Job(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		m.signIn = works
		if _, err := a.Job(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestCertificateCredential(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	bundle := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: selfSigned(t, "exporter", time.Now().Add(time.Hour), key)})) +
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
	m := newMicrosoft(t)
	form := m.signInForm()
	for name, credential := range map[string]Credential{
		"PEM":      {CertificateFile: m.file("client.pem", "\xEF\xBB\xBF"+bundle)},
		"PKCS #12": {CertificateFile: "testdata/client.pfx", CertificatePasswordFile: model.SecretFile(m.file("password", "simulated\n"))},
	} {
		if _, err := m.application(func(o *TenantOptions) { o.Credential = credential }).Job(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if form.PostForm.Get("client_assertion") == "" || form.PostForm.Get("client_secret") != "" {
			t.Errorf("%s: signed in with %v", name, form.PostForm)
		}
		form.PostForm = nil
	}
	wrong := Credential{CertificateFile: "testdata/client.pfx", CertificatePasswordFile: model.SecretFile(m.file("password", "wrong"))}
	_, err = m.application(func(o *TenantOptions) { o.Credential = wrong }).Job(t.Context())
	wantError(t, err, "reading the provisioning job: auth: the exporter's credential is unusable: testdata/client.pfx holds no certificate with its private key "+
		"in PEM or PKCS #12 (a PKCS #12 file must use the older algorithms, openssl's -legacy): pkcs12: decryption password incorrect")
	wide := m.file("client.pem", "\xFF\xFE-\x00")
	_, err = m.application(func(o *TenantOptions) { o.Credential = Credential{CertificateFile: wide} }).Job(t.Context())
	wantError(t, err, "reading the provisioning job: auth: the exporter's credential is unusable: reading the client certificate: "+wide+
		" is encoded in UTF-16; save it as UTF-8")
}

func TestWorkloadIdentity(t *testing.T) {
	m := newMicrosoft(t)
	form := m.signInForm()
	path := m.file("token", "projected\n")
	a := m.application(func(o *TenantOptions) { o.Credential = Credential{WorkloadIdentityTokenFile: model.SecretFile(path)} })
	if _, err := a.Job(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := form.PostForm.Get("client_assertion"); got != "projected" {
		t.Errorf("signed in with %q", got)
	}
	a = m.application(func(o *TenantOptions) { o.Credential = Credential{WorkloadIdentityTokenFile: "testdata/none"} })
	_, err := a.Job(t.Context())
	wantError(t, err, "reading the provisioning job: auth: no federated token to sign in with: reading secret file: open testdata/none: no such file or directory "+
		"(check the tenant's federated identity)")
}

func TestAssertion(t *testing.T) {
	m := newMicrosoft(t)
	form := m.signInForm()
	with := func(assertion func(context.Context) (string, error)) *Application {
		return m.application(func(o *TenantOptions) { o.Credential = Credential{Assertion: assertion} })
	}
	if _, err := with(func(context.Context) (string, error) { return "from-sts", nil }).Job(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := form.PostForm.Get("client_assertion"); got != "from-sts" {
		t.Errorf("signed in with %q", got)
	}
	_, err := with(func(context.Context) (string, error) {
		return "", &model.Error{Reason: model.ReasonPermission, Op: "asking STS", Detail: "AccessDenied", Advice: "allow sts:GetWebIdentityToken"}
	}).Job(t.Context())
	wantError(t, err, "reading the provisioning job: permission: no federated token to sign in with: permission: AccessDenied (allow sts:GetWebIdentityToken)")
	_, err = with(func(context.Context) (string, error) { return "", errors.New("no role") }).Job(t.Context())
	wantError(t, err, "reading the provisioning job: auth: no federated token to sign in with: no role (check the tenant's federated identity)")
}

func TestManagedIdentity(t *testing.T) {
	m := newMicrosoft(t)
	var asked string
	m.signIn = func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Query().Get("resource") + " " + r.URL.Query().Get("client_id") + " " + r.Header.Get("Metadata")
		answerJSON(w, 200, `{"access_token":"from-imds","expires_in":"3599","expires_on":"4102444800","resource":"https://graph.test","token_type":"Bearer"}`)
	}
	m.serve["GET "+jobURL] = always(200, healthyJob)
	a := m.application(func(o *TenantOptions) {
		o.ClientID, o.Credential = "", Credential{ManagedIdentity: true, ManagedIdentityClientID: clientID}
	})
	a.tenant.signIn.metadataClient = newHTTPClient(cloudhttp.Options{Transport: m}, "managed_identity", maxSignIn, nil)
	if _, err := a.Job(t.Context()); err != nil {
		t.Fatal(err)
	}
	if asked != "https://graph.test "+clientID+" true" || m.seen[0].Header.Get("Authorization") != "Bearer from-imds" {
		t.Errorf("asked for %s, got %s", asked, m.seen[0].Header.Get("Authorization"))
	}
	credentials, err := a.tenant.AppCredentials(t.Context())
	if credentials != nil || err != nil {
		t.Errorf("a managed identity has credentials: %v, %v", credentials, err)
	}
}

// selfSigned returns a certificate that began a year before its end, the same for the
// same name.
func selfSigned(t testing.TB, name string, expires time.Time, key crypto.Signer) []byte {
	t.Helper()
	seed := sha256.Sum256([]byte(name))
	if key == nil {
		key = ed25519.NewKeyFromSeed(seed[:])
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(seed[:8]), Subject: pkix.Name{CommonName: name},
		NotBefore: expires.AddDate(-1, 0, 0), NotAfter: expires,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}
