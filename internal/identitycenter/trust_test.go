package identitycenter_test

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// addCertificate makes a certificate in Entra.
func (s *simulated) addCertificate(t *testing.T) (der []byte) {
	t.Helper()
	s.With(func(m *clouds.Model) {
		added, err := m.AddTokenSigningCertificate(clouds.CallerFor(clouds.ActorExporter), s.Connection.EntraTenantID, s.Connection.ServicePrincipalID, "CN=new", time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		der = added.DER()
	})
	return der
}

func (s *simulated) mustTrust(t *testing.T) model.TrustConfiguration {
	t.Helper()
	trust, err := s.TrustConfiguration(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// Import and delete change what the simulated AWS trusts, each with one request. A lost
// response is not taken for a refusal.
func TestTrustChangesInTheSimulator(t *testing.T) {
	newCloud(t) // for the environment
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, clouds.Healthy("corp"), nil, nil)
		before := s.mustTrust(t)
		if before.IDPConfigurations != 1 || before.PrimaryRegion != clouds.DefaultRegion || len(before.Certificates) != 1 || before.Date.IsZero() {
			t.Fatalf("at first: %+v", before)
		}
		old := before.Certificates[0]
		if old.Status != "ACTIVE" || old.Subject != "CN=Microsoft Azure Federated SSO Certificate" || old.Thumbprint != fmt.Sprintf("%X", sha1.Sum(old.DER)) || old.NotAfter.IsZero() {
			t.Errorf("listed: %+v", old)
		}
		der := s.addCertificate(t)
		if _, err := s.AddFault(simulator.Fault{Operation: "ImportExternalIdPCertificate", Effect: simulator.EffectLost, Times: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.ImportCertificate(t.Context(), der, clouds.CertificateUse); model.CallOutcomeOf(err) != model.CallUnknown {
			t.Errorf("a lost answer: %v", err)
		}
		after := s.mustTrust(t)
		if len(after.Certificates) != 2 || !slices.ContainsFunc(after.Certificates, func(c model.TrustedCertificate) bool { return string(c.DER) == string(der) }) {
			t.Fatalf("after the import: %+v", after)
		}
		if _, err := s.ImportCertificate(t.Context(), s.addCertificate(t), clouds.CertificateUse); model.CallOutcomeOf(err) != model.CallRefused || !strings.Contains(err.Error(), "ServiceQuotaExceededException") {
			t.Errorf("a third: %v", err)
		}
		if n := s.Calls()["ImportExternalIdPCertificate"]; n != 2 {
			t.Errorf("%d requests for two imports", n)
		}
		if err := s.DeleteCertificate(t.Context(), old.ID); err != nil {
			t.Fatal(err)
		}
		left := s.mustTrust(t).Certificates
		if len(left) != 1 || string(left[0].DER) != string(der) {
			t.Fatalf("left: %+v", left)
		}
		again, err := s.ImportCertificate(t.Context(), old.DER, clouds.CertificateUse)
		if err != nil || again == old.ID {
			t.Errorf("the old one again: %q, %v", again, err)
		}
	})
}

// What is refused before anything is sent.
func TestTrustChangesThatAreNotSent(t *testing.T) {
	newCloud(t) // for the environment
	const doing = "importing a SAML certificate for corp: "
	for name, test := range map[string]struct {
		prepare func(*simulated)
		change  func(context.Context, *simulated) error
		want    string
	}{
		"the last valid one": {nil, func(ctx context.Context, s *simulated) error {
			trust, _ := s.TrustConfiguration(ctx)
			return s.DeleteCertificate(ctx, trust.Certificates[0].ID)
		}, "deleting a SAML certificate of corp: other: no other valid certificate would stay, and nobody could sign in (import another one first)"},
		"an unknown one": {nil, func(ctx context.Context, s *simulated) error { return s.DeleteCertificate(ctx, "c-7") },
			"deleting a SAML certificate of corp: not_found: AWS lists no certificate c-7"},
		"two providers": {
			func(s *simulated) {
				s.With(func(m *clouds.Model) { _ = m.AddIdP(clouds.ActorOperator, s.Connection.IdentityStoreID) })
			},
			func(ctx context.Context, s *simulated) error {
				_, err := s.ImportCertificate(ctx, []byte("der"), clouds.CertificateUse)
				return err
			}, doing + "ambiguous: identity store %s has 2 enabled SAML identity providers, not one (check the identity source in the console of IAM Identity Center)",
		},
		"no use": {nil, func(ctx context.Context, s *simulated) error {
			_, err := s.ImportCertificate(ctx, []byte("der"), "")
			return err
		},
			doing + "other: without a certificate or its use (set saml.rollover.certificate_use)"},
		"no certificate": {nil, func(ctx context.Context, s *simulated) error {
			_, err := s.ImportCertificate(ctx, nil, clouds.CertificateUse)
			return err
		}, doing + "other: without a certificate or its use (set saml.rollover.certificate_use)"},
		"unreadable providers": {func(s *simulated) {
			_, _ = s.AddFault(simulator.Fault{Operation: "ListExternalIdPConfigurationsForDirectory", Status: 500, Code: "InternalServerException"})
		}, func(ctx context.Context, s *simulated) error {
			_, err := s.ImportCertificate(ctx, []byte("der"), clouds.CertificateUse)
			return err
		}, "reading the SAML certificates that AWS trusts for corp: other: InternalServerException"},
		"an unreadable list": {func(s *simulated) {
			_, _ = s.AddFault(simulator.Fault{Operation: "ListExternalIdPCertificates", Status: 500, Code: "InternalServerException"})
		}, func(ctx context.Context, s *simulated) error { return s.DeleteCertificate(ctx, "any") },
			"reading the SAML certificates that AWS trusts for corp: other: InternalServerException"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := simulate(t, clouds.Healthy("corp"), nil, nil)
				if test.prepare != nil {
					test.prepare(s)
				}
				err := test.change(t.Context(), s)
				want := test.want
				if strings.Contains(want, "%s") {
					want = fmt.Sprintf(want, s.Connection.IdentityStoreID)
				}
				wantError(t, err, want)
				if model.CallOutcomeOf(err) != model.CallRefused {
					t.Errorf("outcome %s", model.CallOutcomeOf(err))
				}
				if failed, ok := errors.AsType[*model.Error](err); !ok || failed.Unread != strings.HasPrefix(want, "reading") {
					t.Errorf("%#v", err)
				}
				if calls := s.Calls(); calls["ImportExternalIdPCertificate"]+calls["DeleteExternalIdPCertificate"] != 0 {
					t.Errorf("sent: %v", calls)
				}
			})
		})
	}
}

// Every write is sent once, whatever comes back.
func TestTrustChangesAreSentOnce(t *testing.T) {
	newCloud(t) // for the environment
	for name, test := range map[string]struct {
		fault simulator.Fault
		want  model.CallOutcome
	}{
		"throttled": {simulator.Fault{Status: 429, Code: "ThrottlingException", RetryAfter: "1"}, model.CallRefused},
		"internal":  {simulator.Fault{Status: 500, Code: "InternalServerException"}, model.CallUnknown},
		"reset":     {simulator.Fault{Effect: simulator.EffectReset}, model.CallUnknown},
		"hang":      {simulator.Fault{Effect: simulator.EffectHang}, model.CallUnknown},
		"web page":  {simulator.Fault{Effect: simulator.EffectHTML}, model.CallUnknown},
		"no id":     {simulator.Fault{Status: 200, Body: `{"certificateId":7}`}, model.CallUnknown},
		"empty":     {simulator.Fault{Status: 200, Body: `{}`}, model.CallUnknown},
		"denied":    {simulator.Fault{Status: 400, Code: "AccessDeniedException"}, model.CallRefused},
		"redirect":  {simulator.Fault{Effect: simulator.EffectRedirect, Location: "https://elsewhere.example/"}, model.CallUnknown},
		"clock":     {simulator.Fault{Status: 403, Code: "RequestTimeTooSkewed"}, model.CallRefused},
	} {
		for operation, change := range map[string]func(*testing.T, *simulated) error{
			"ImportExternalIdPCertificate": func(t *testing.T, s *simulated) error {
				_, err := s.ImportCertificate(t.Context(), s.addCertificate(t), clouds.CertificateUse)
				return err
			},
			"DeleteExternalIdPCertificate": func(t *testing.T, s *simulated) error {
				s.trustAnother(t)
				return s.DeleteCertificate(t.Context(), s.mustTrust(t).Certificates[0].ID)
			},
		} {
			if (name == "no id" || name == "empty") && operation == "DeleteExternalIdPCertificate" {
				continue // its answer is empty
			}
			t.Run(name+"/"+operation, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := simulate(t, clouds.Healthy("corp"), nil, nil)
					fault := test.fault
					fault.Operation = operation
					if _, err := s.AddFault(fault); err != nil {
						t.Fatal(err)
					}
					err := change(t, s)
					if got := model.CallOutcomeOf(err); got != test.want {
						t.Errorf("outcome %s, want %s: %v", got, test.want, err)
					}
					if n := s.Calls()[operation]; n != 1 {
						t.Errorf("%d requests", n)
					}
				})
			})
		}
	}
}

// trustAnother makes AWS trust a second certificate.
func (s *simulated) trustAnother(t *testing.T) {
	t.Helper()
	if _, err := s.ImportCertificate(t.Context(), s.addCertificate(t), clouds.CertificateUse); err != nil {
		t.Fatal(err)
	}
}

// A certificate that Go refuses to parse is trusted by AWS all the same, and its slot is taken.
func TestTrustedCertificateWithNegativeSerial(t *testing.T) {
	newCloud(t) // for the environment
	synctest.Test(t, func(t *testing.T) {
		quirks := clouds.DefaultQuirks()
		quirks.SigningCertificates = clouds.CertificatesNegative
		s := simulate(t, clouds.Healthy("corp"), &quirks, nil)
		trust := s.mustTrust(t)
		trusted, err := s.TrustedCertificates(t.Context())
		if err != nil || len(trusted) != 1 || len(trust.Certificates) != 1 || trusted[0].Thumbprint != trust.Certificates[0].Thumbprint || trusted[0].NotAfter.Before(time.Now()) || trusted[0].NotBefore.IsZero() {
			t.Errorf("%+v, %v, %+v", trusted, err, trust)
		}
	})
	cloud := newCloud(t)
	cloud.json("ListExternalIdPConfigurationsForDirectory", `{"associations":[{"idpId":"flat","isEnabled":true,"idpSAMLConfig":{},"idpCertificateIds":[null,{"certificateId":"c-1","status":"ODD"}]}]}`)
	cloud.json("ListExternalIdPCertificates", idpAnswer("garbage", asPEM(certificate(t, date("2029-05-01T00:00:00Z")))))
	trust, err := cloud.instance(nil).TrustConfiguration(t.Context())
	if err != nil || len(trust.Certificates) != 2 || trust.Certificates[0].ID != "c-0" || !trust.Certificates[0].NotAfter.IsZero() || trust.Certificates[1].Status != "ODD" {
		t.Errorf("%+v, %v", trust, err)
	}
}

func TestSignIns(t *testing.T) {
	newCloud(t) // for the environment
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, clouds.Healthy("corp"), nil, nil)
		week, err := s.SignIns(t.Context(), time.Now().Add(-7*24*time.Hour))
		if err != nil || !week.Available || week.Successes < 900 || week.Users != 3 || week.Failures != 0 || week.Until.Before(week.Since) {
			t.Errorf("a week: %+v, %v", week, err)
		}
		since := time.Now()
		if _, err := s.Perform(simulator.Action{Do: "replace_certificate"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		broken, err := s.SignIns(t.Context(), since)
		if err != nil || broken.Successes > 1 || broken.Failures < 10 {
			t.Errorf("broken: %+v, %v", broken, err)
		}
		s.With(func(m *clouds.Model) { m.Deny(clouds.ActorExporter, clouds.LookupEventsAction, clouds.DenyMissing) })
		if denied, err := s.SignIns(t.Context(), since); err != nil || denied.Available {
			t.Errorf("denied: %+v, %v", denied, err)
		}
		s.With(func(m *clouds.Model) { m.Allow(clouds.ActorExporter, clouds.LookupEventsAction) })
		if _, err := s.AddFault(simulator.Fault{Operation: "LookupEvents", Status: 500, Code: "InternalServerException"}); err != nil {
			t.Fatal(err)
		}
		if failed, err := s.SignIns(t.Context(), since); err == nil {
			t.Errorf("no answer: %+v", failed)
		}
	})
}

// With more sign-ins than can be read, the counts begin later; all of them are complete.
func TestSignInsOfManyUsers(t *testing.T) {
	newCloud(t) // for the environment
	synctest.Test(t, func(t *testing.T) {
		spec := clouds.Healthy("corp")
		spec.SignInEvery = time.Minute // ten thousand in the week before
		s := simulate(t, spec, nil, nil)
		since := time.Now().Add(-7 * 24 * time.Hour)
		counts, err := s.SignIns(t.Context(), since)
		if err != nil || !counts.Since.After(since.Add(24*time.Hour)) || counts.Successes != 2000 {
			t.Errorf("%+v, %v", counts, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		short, err := s.SignIns(ctx, since)
		if err != nil || !short.Since.After(counts.Since) || short.Successes < 100 {
			t.Errorf("in five seconds: %+v, %v", short, err)
		}
	})
}

// Only sign-ins by the external identity provider of this identity store count, and no
// user is named in the log.
func TestWhichSignInsCount(t *testing.T) {
	event := func(name, at, record string) string {
		return fmt.Sprintf(`{"EventId":"e","EventName":%q,"EventTime":%s,"EventSource":"signin.amazonaws.com","Username":"planted-person","CloudTrailEvent":%q}`, name, at, record)
	}
	const (
		external = `"additionalEventData":{"CredentialType":"EXTERNAL_IDP","UserName":"planted-person"},"serviceEventDetails":{"UserAuthentication":"Success"}`
		here     = `"userIdentity":{"type":"IdentityCenterUser","onBehalfOf":{"userId":"%s","identityStoreArn":"arn:aws:identitystore::1:identitystore/` + store + `"}}`
	)
	of := func(user string) string { return fmt.Sprintf(here, user) }
	accepted := []string{
		event("UserAuthentication", "1772323200", `{"eventName":"UserAuthentication",`+of("u-1")+`,`+external+`}`),
		event("UserAuthentication", "1772323200", `{"eventName":"UserAuthentication",`+of("u-2")+`,`+external+`}`),
		event("UserAuthentication", "1772323200", `{"eventName":"UserAuthentication",`+of("u-1")+`,`+external+`}`),
		event("UserAuthentication", "null", `{"eventName":"UserAuthentication","eventTime":"2026-03-01T00:00:01Z","userIdentity":{"type":"Unknown"},`+external+`}`),
		event("UserAuthentication", "1772323200", `{"eventName":"UserAuthentication",`+strings.Replace(of("u-3"), store, "d-0000000000", 1)+`,`+external+`}`),
		event("UserAuthentication", "1772323200", `{"eventName":"UserAuthentication",`+of("u-4")+`,`+strings.Replace(external, "EXTERNAL_IDP", "PASSWORD", 1)+`}`),
		event("UserAuthentication", "1772323200", `{"eventName":"UserAuthentication",`+of("u-5")+`,`+strings.Replace(external, "Success", "Failure", 1)+`}`),
		event("UserAuthentication", "1772323200", `{"eventName":7,`+of("u-6")+`,"additionalEventData":"none"}`),
		event("UserAuthentication", "1772323200", `planted-person`),
	}
	refused := []string{
		event("ExternalIdPDirectoryLogin", "1772323200", `{"eventName":"ExternalIdPDirectoryLogin","userIdentity":{"type":"Unknown"},"responseElements":{"ExternalIdPDirectoryLogin":"Failure"},"errorMessage":"planted-person"}`),
		event("ExternalIdPDirectoryLogin", "1772323200", `{"eventName":"ExternalIdPDirectoryLogin","responseElements":{"ExternalIdPDirectoryLogin":"Success"}}`),
		event("ExternalIdPDirectoryLogin", "1772323200", `{"eventName":"ExternalIdPDirectoryLogin","responseElements":null}`),
	}
	cloud := newCloud(t)
	logger, lines := logged()
	cloud.answers["LookupEvents"] = func(c call) answer {
		list := accepted
		if strings.Contains(c.body, "ExternalIdPDirectoryLogin") {
			list = refused
		}
		return answer{body: `{"Events":[` + strings.Join(list, ",") + `]}`}
	}
	counts, err := cloud.instance(func(o *identitycenter.Options) { o.Logger = logger }).SignIns(t.Context(), date("2026-01-01T00:00:00Z"))
	if err != nil || counts.Successes != 4 || counts.Users != 3 || counts.Failures != 1 || !counts.Since.Equal(date("2026-01-01T00:00:00Z")) {
		t.Errorf("%+v, %v", counts, err)
	}
	if strings.Contains(lines(), "planted-person") || strings.Contains(fmt.Sprintf("%+v", counts), "planted-person") {
		t.Errorf("a user is named: %s", lines())
	}
	if body := cloud.last("LookupEvents").body; !strings.Contains(body, `"AttributeKey":"EventName","AttributeValue":"UserAuthentication"`) {
		t.Errorf("asked %s", body)
	}
}
