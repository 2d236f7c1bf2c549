package entra

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// A certificate is made inactive, found by its subject, and activated; its private key is
// never shown.
func TestCertificateIsMadeAndActivated(t *testing.T) {
	for _, odd := range []string{clouds.CertificatesPlain, clouds.CertificatesNegative, clouds.CertificatesHexOnly} {
		inBubble(t, func(t *testing.T) {
			quirks := clouds.DefaultQuirks()
			quirks.SigningCertificates = odd
			s := simulate(t, clouds.Healthy("corp"), &quirks)
			before, err := s.SigningCertificates(t.Context())
			if err != nil || before.SSOMode != model.SingleSignOnSAML || len(before.Certificates) != 1 || before.Certificates[0].Subject != "CN=Microsoft Azure Federated SSO Certificate" {
				t.Fatalf("%s: before: %+v, %v", odd, before, err)
			}
			ends := time.Now().AddDate(3, 0, 0)
			issued, err := s.CreateCertificate(t.Context(), "CN=AWS rollover r-1", ends)
			if err != nil || issued.KeyID == "" || issued.NotAfter.Sub(ends).Abs() > time.Second || issued.NotBefore.IsZero() || issued.Subject != "CN=AWS rollover r-1" {
				t.Fatalf("%s: %+v, %v", odd, issued, err)
			}
			after, err := s.SigningCertificates(t.Context())
			at := slices.IndexFunc(after.Certificates, func(c model.Certificate) bool { return c.Subject == issued.Subject })
			if err != nil || after.ActiveThumbprint != before.ActiveThumbprint || at < 0 || after.Certificates[at].Thumbprint != issued.Thumbprint {
				t.Errorf("%s: after: %+v, %v", odd, after, err)
			}
			if err := s.ActivateCertificate(t.Context(), strings.ToLower(issued.Thumbprint)); err != nil {
				t.Fatal(err)
			}
			if active, err := s.SigningCertificates(t.Context()); err != nil || active.ActiveThumbprint != issued.Thumbprint {
				t.Errorf("%s: active: %+v, %v", odd, active, err)
			}
		})
	}
}

// The writes send what is meant and nothing else, once, whatever comes back.
func TestCertificateWrites(t *testing.T) {
	const thumbprint = "0123456789ABCDEF0123456789ABCDEF01234567"
	addURL := principalURL + "/addTokenSigningCertificate"
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   model.CallOutcome
	}{
		"done":      {always204, model.CallDone},
		"throttled": {always(429, `{"error":{"code":"TooManyRequests"}}`), model.CallRefused},
		"busy":      {always(503, `{"error":{"code":"ServiceUnavailable"}}`), model.CallUnknown},
		"timeout":   {always(504, `{"error":{"code":"GatewayTimeout"}}`), model.CallUnknown},
		"denied":    {always(403, `{"error":{"code":"Authorization_RequestDenied"}}`), model.CallRefused},
		"reset":     {failing(errNetwork), model.CallUnknown},
		"dial":      {failing(errDial), model.CallRefused},
		"web page":  {html(200), model.CallUnknown},
		"challenge": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_claims", claims="eyJ4Ijp7fX0="`)
			answerJSON(w, 401, `{"error":{"code":"InvalidAuthenticationToken"}}`)
		}, model.CallRefused},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				m := newMicrosoft(t)
				m.serve["PATCH "+principalURL], m.serve["POST "+addURL] = test.answer, test.answer
				application := m.application()
				if err := application.ActivateCertificate(t.Context(), strings.ToLower(thumbprint)); model.CallOutcomeOf(err) != test.want {
					t.Errorf("activation: outcome %s of %v", model.CallOutcomeOf(err), err)
				}
				if body := string(m.bodies[0]); body != `{"preferredTokenSigningKeyThumbprint":"`+thumbprint+`"}` {
					t.Errorf("sent %s", body)
				}
				want := test.want
				if want == model.CallDone {
					want = model.CallUnknown // an empty answer has no certificate
				}
				_, err := application.CreateCertificate(t.Context(), "CN=new r-1", at("2030-01-02T03:04:05Z"))
				if model.CallOutcomeOf(err) != want {
					t.Errorf("creation: outcome %s of %v", model.CallOutcomeOf(err), err)
				}
				if body := string(m.bodies[1]); body != `{"displayName":"CN=new r-1","endDateTime":"2030-01-02T03:04:05.000Z"}` {
					t.Errorf("sent %s", body)
				}
				if calls := m.calls(); !slices.Equal(calls, []string{"PATCH " + principalURL, "POST " + addURL}) {
					t.Errorf("asked %v", calls)
				}
			})
		})
	}
}

// What must not be sent is not sent.
func TestCertificateWritesThatAreNotSent(t *testing.T) {
	m := newMicrosoft(t)
	application := m.application()
	for _, thumbprint := range []string{"", "null", "0123", strings.Repeat("0", 39) + "G", strings.Repeat("0", 41), strings.Repeat("0", 64)} {
		if err := application.ActivateCertificate(t.Context(), thumbprint); !isUnsent(err) || !strings.HasSuffix(err.Error(), "is not a thumbprint of 40 hex digits") {
			t.Errorf("%q: %v", thumbprint, err)
		}
	}
	for _, subject := range []string{"", "CN=", "new", "CN=a, b", "CN=a+b", "CN=x\n", "CN= x", "CN=" + strings.Repeat("x", 65)} {
		if _, err := application.CreateCertificate(t.Context(), subject, time.Now()); !isUnsent(err) || !strings.Contains(err.Error(), "(check saml.rollover.subject)") {
			t.Errorf("%q: %v", subject, err)
		}
	}
	for _, cloud := range []model.Cloud{model.CloudUSGov, model.CloudUSGovDoD, model.CloudChina} {
		_, err := m.application(func(o *TenantOptions) { o.Cloud = cloud }).CreateCertificate(t.Context(), "CN=new", time.Now())
		if !errors.Is(err, model.ErrNationalCloud) || !isUnsent(err) {
			t.Errorf("%s: %v", cloud, err)
		}
		wantError(t, err, "making a signing certificate: other: only the global cloud's Microsoft Graph makes SAML certificates "+
			"(make the certificate in Entra by hand, then name it: rotation start CONNECTION --certificate SHA256)")
	}
	if calls := m.calls(); len(calls) > 0 {
		t.Errorf("asked %v", calls)
	}
}

// A change that is not sent because the application cannot be looked up may be made later.
func TestCertificateWritesOfAnUnknownApplication(t *testing.T) {
	m := newMicrosoft(t)
	application := m.tenant().Application(ApplicationOptions{Connection: "corp"})
	_, created := application.CreateCertificate(t.Context(), "CN=new", time.Now())
	activated := application.ActivateCertificate(t.Context(), strings.Repeat("0", 40))
	for _, err := range []error{created, activated} {
		if failed, ok := errors.AsType[*model.Error](err); !ok || !failed.Unread || !failed.Unsent {
			t.Errorf("%#v", err)
		}
	}
}

// An answer whose parts do not belong together is no answer: whatever it shows must not be
// imported at AWS.
func TestEditedCertificateIsNotTaken(t *testing.T) {
	ours, theirs := selfSigned(t, "new", at("2029-01-01T00:00:00Z"), nil), selfSigned(t, "theirs", at("2029-01-01T00:00:00Z"), nil)
	answer := func(name string, der []byte, thumbprint, keyID string) string {
		return fmt.Sprintf(`{"displayName":%q,"key":%q,"thumbprint":%q,"keyId":%q,"startDateTime":"2028-01-01T00:00:00Z","endDateTime":"2029-01-01T00:00:00Z","usage":"Verify"}`,
			name, base64.StdEncoding.EncodeToString(der), thumbprint, keyID)
	}
	for name, test := range map[string]struct {
		body string
		good bool
	}{
		"ours":               {answer("CN=new", ours, strings.ToLower(model.Thumbprint(ours)), "k"), true},
		"another's key":      {answer("CN=new", theirs, model.Thumbprint(ours), "k"), false},
		"another's":          {answer("CN=new", theirs, model.Thumbprint(theirs), "k"), false},
		"another thumbprint": {answer("CN=new", ours, model.Thumbprint(theirs), "k"), false},
		"no key":             {answer("CN=new", nil, model.Thumbprint(ours), "k"), false},
		"no key id":          {answer("CN=new", ours, model.Thumbprint(ours), ""), false},
		"not parsable":       {answer("CN=other", []byte("der"), model.Thumbprint([]byte("der")), "k"), false},
		"null":               {`null`, false},
	} {
		m := newMicrosoft(t)
		m.serve["POST "+principalURL+"/addTokenSigningCertificate"] = always(200, test.body)
		issued, err := m.application().CreateCertificate(t.Context(), "CN=new", time.Now())
		if (err == nil) != test.good || test.good && string(issued.DER) != string(ours) {
			t.Errorf("%s: %+v, %v", name, issued, err)
		}
		if err != nil && (model.CallOutcomeOf(err) != model.CallUnknown || len(issued.DER) > 0) {
			t.Errorf("%s: outcome %s of %v", name, model.CallOutcomeOf(err), err)
		}
	}
}

func TestAppPolicyRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		quirks := clouds.DefaultQuirks()
		quirks.AppPolicy = clouds.PolicyRefuses
		s := simulate(t, clouds.Healthy("corp"), &quirks)
		_, err := s.CreateCertificate(t.Context(), "CN=new", time.Now().AddDate(1, 0, 0))
		if !errors.Is(err, model.ErrAppPolicy) || model.CallOutcomeOf(err) != model.CallRefused {
			t.Errorf("%v", err)
		}
		wantError(t, err, "making a signing certificate: permission: 403 CredentialTypeNotAllowedAsPerAppPolicy: Credential type not allowed as per assigned policy. "+
			"(exempt the application from the tenant's app management policy)")
	})
}

func TestSignIns(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := simulate(t, clouds.Healthy("corp"), nil)
		week, err := s.SignIns(t.Context(), time.Now().Add(-7*24*time.Hour))
		if err != nil || !week.Available || week.Successes < 900 || week.Users != 3 || week.Failures != 0 {
			t.Errorf("a week: %+v, %v", week, err)
		}
		since := time.Now()
		if _, err := s.Perform(simulator.Action{Do: "replace_certificate"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if issued, err := s.SignIns(t.Context(), since); err != nil || issued.Successes < 5 || issued.Failures != 0 { // AWS refuses them, and Entra does not know
			t.Errorf("issued: %+v, %v", issued, err)
		}
		since = time.Now()
		if _, err := s.Perform(simulator.Action{Do: "change_sign_on", Value: "oidc"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if failed, err := s.SignIns(t.Context(), since); err != nil || failed.Failures < 5 || failed.Successes > 1 {
			t.Errorf("without a key: %+v, %v", failed, err)
		}
		s.do(t, func(m *clouds.Model) error { return m.SetLicence(s.connection.EntraTenantID, false) })
		if unlicensed, err := s.SignIns(t.Context(), since); err != nil || unlicensed.Available {
			t.Errorf("without a licence: %+v, %v", unlicensed, err)
		}
	})
}

// With more sign-ins than are read, the counts begin later.
func TestSignInsOfManyUsers(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		spec := clouds.Healthy("corp")
		spec.SignInEvery = 30 * time.Second // twenty thousand in the week before
		s := simulate(t, spec, nil)
		since := time.Now().Add(-7 * 24 * time.Hour)
		counts, err := s.SignIns(t.Context(), since)
		if err != nil || counts.Successes != 10000 || !counts.Since.After(since.Add(3*24*time.Hour)) {
			t.Errorf("%+v, %v", counts, err)
		}
	})
}
