package clouds

import (
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
)

// rollover is a harness with the steps of a rollover.
type rollover struct{ *harness }

func newRollover(t *testing.T, spec ConnectionSpec, quirks ...string) rollover {
	return rollover{newHarness(t, spec, quirks...)}
}

func (s rollover) addCertificate() *Certificate {
	s.t.Helper()
	added, err := s.AddTokenSigningCertificate(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID, "CN=rollover 1", time.Time{})
	s.must(err)
	return added.Certificate
}

func (s rollover) importCertificate(actor Actor, certificate *Certificate) (string, error) {
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.DER()})
	return s.ImportIdPCertificate(CallerFor(actor), s.IdPID, s.IdentityStoreID, string(block), CertificateUse)
}

func (s rollover) activate(actor Actor, thumbprint string) {
	s.t.Helper()
	s.must(s.PreferSigningCertificate(CallerFor(actor), s.EntraTenantID, s.ServicePrincipalID, thumbprint))
}

func (s rollover) trusted() []IdPCertificate {
	s.t.Helper()
	list, err := s.IdPCertificates(CallerFor(ActorExporter), s.IdPID, s.IdentityStoreID)
	s.must(err)
	return list
}

func (s rollover) signing() ServicePrincipal {
	s.t.Helper()
	sp, err := s.ServicePrincipal(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID)
	s.must(err)
	return sp
}

// outages words the outages so far.
func (s rollover) outages() string {
	var lines []string
	for _, o := range s.SignInOutages() {
		line := fmt.Sprintf("%s by %s for %s", o.Cause, o.CausedBy, time.Duration(o.Seconds(s.Now()))*time.Second)
		if o.Partial {
			line += ", partial"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "; ")
}

// refusals counts the sign-ins since a time that AWS refused.
func (s rollover) refusals(since time.Time) (refused, all int) {
	s.t.Helper()
	list, err := s.SignIns(s.EntraTenantID, s.ServicePrincipalID)
	s.must(err)
	for _, signIn := range list {
		if signIn.At.After(since) {
			all++
			if !signIn.Accepted {
				refused++
			}
		}
	}
	return refused, all
}

func TestRolloverInTheRightOrder(t *testing.T) {
	s := newRollover(t, Healthy("corp"))
	began, old := s.Now(), s.trusted()[0]
	added := s.addCertificate()
	if sp := s.signing(); sp.Preferred != old.Certificate || len(sp.Certificates) != 2 {
		t.Error("a new certificate is active, or not listed")
	}
	s.advance(time.Minute)
	id, err := s.importCertificate(ActorExporter, added)
	s.must(err)
	s.advance(15 * time.Minute)
	s.activate(ActorExporter, strings.ToLower(added.Thumbprint()))
	s.advance(8 * day)
	if signer, accepted, _ := s.Signer(s.EntraTenantID, s.ServicePrincipalID); signer != added.Thumbprint() || !accepted {
		t.Errorf("signs with %s, accepted: %t", signer, accepted)
	}
	s.must(s.DeleteIdPCertificate(CallerFor(ActorExporter), s.IdPID, s.IdentityStoreID, old.CertificateID))
	s.advance(day)
	if refused, all := s.refusals(began); refused != 0 || all < 9*24*6-10 || s.outages() != "" {
		t.Errorf("%d of %d sign-ins refused, outages: %s", refused, all, s.outages())
	}
	if left := s.trusted(); len(left) != 1 || left[0].CertificateID != id {
		t.Errorf("AWS trusts %v", left)
	}
	var text strings.Builder
	s.must(s.WriteTimeline(&text))
	for _, want := range []string{
		"created certificate " + added.Thumbprint() + " in " + s.ServicePrincipalID,
		"imported certificate " + added.Thumbprint() + " as " + id,
		"activated certificate of " + s.ServicePrincipalID + ": " + old.Thumbprint() + " -> " + added.Thumbprint(),
		"deleted trusted certificate " + old.CertificateID + ", which was " + old.Thumbprint() + "; 1 stay",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the timeline lacks %q", want)
		}
	}
}

// TestSignInOutages: whoever makes AWS refuse what Entra signs is the culprit.
func TestSignInOutages(t *testing.T) {
	expiring := func(left time.Duration) ConnectionSpec {
		spec := Healthy("corp")
		spec.Certificates = []CertificateSpec{{Age: 1000 * day, Left: left, Active: true, Trusted: true}}
		return spec
	}
	for name, test := range map[string]struct {
		spec   ConnectionSpec
		quirks []string
		do     func(rollover)
		want   string
	}{
		"activated before the import": {Healthy("corp"), nil, func(s rollover) {
			added := s.addCertificate()
			s.activate(ActorExporter, added.Thumbprint())
			s.advance(time.Hour)
			_, err := s.importCertificate(ActorOperator, added)
			s.must(err)
		}, "activated by exporter for 1h0m0s"},
		"the active one deleted at AWS": {Healthy("corp"), []string{"last_certificate=deleted"}, func(s rollover) {
			s.must(s.DeleteIdPCertificate(CallerFor(ActorExporter), s.IdPID, s.IdentityStoreID, s.trusted()[0].CertificateID))
		}, "deleted by exporter for 3h0m0s"},
		"activated after its deletion": {Healthy("corp"), nil, func(s rollover) {
			old, added := s.trusted()[0], s.addCertificate()
			_, err := s.importCertificate(ActorExporter, added)
			s.must(err)
			s.activate(ActorExporter, added.Thumbprint())
			s.must(s.DeleteIdPCertificate(CallerFor(ActorExporter), s.IdPID, s.IdentityStoreID, old.CertificateID))
			s.advance(time.Hour)
			s.activate(ActorOperator, old.Thumbprint())
		}, "activated by operator for 2h0m0s"},
		"activated while AWS's regions still learn it": {Healthy("corp"), []string{"trust_lag=10m"}, func(s rollover) {
			added := s.addCertificate()
			_, err := s.importCertificate(ActorExporter, added)
			s.must(err)
			s.activate(ActorExporter, added.Thumbprint())
		}, "propagating by exporter for 10m0s"},
		"a spare beside one that expires": {expiring(time.Hour), nil, func(s rollover) { s.addCertificate() }, "switched by exporter for 2h0m0s"},
		"the same, and Entra does not switch": {
			expiring(time.Hour), []string{"expired_signer=stays"}, func(s rollover) { s.addCertificate() }, "expired by time for 2h0m0s",
		},
		"expired": {expiring(time.Hour), nil, func(rollover) {}, "expired by time for 2h0m0s"},
		"created, and active by itself": {Healthy("corp"), []string{"created_certificate=active"}, func(s rollover) {
			added := s.addCertificate()
			s.advance(time.Minute)
			_, err := s.importCertificate(ActorExporter, added)
			s.must(err)
		}, "activated by entra for 1m0s"},
		"created, and active by itself after the import": {Healthy("corp"), []string{"created_certificate=active_later"}, func(s rollover) {
			_, err := s.importCertificate(ActorExporter, s.addCertificate())
			s.must(err)
		}, ""},
		"created, and active by itself before the import": {Healthy("corp"), []string{"created_certificate=active_later"}, func(s rollover) {
			s.addCertificate()
		}, "activated by entra for 2h50m0s"},
		"the sign-in service learns late": {Healthy("corp"), []string{"signer_uptake=delayed"}, func(s rollover) {
			s.activate(ActorExporter, s.addCertificate().Thumbprint())
		}, "activated by exporter for 2h30m0s"},
		"the old one deleted while caches sign with it": {Healthy("corp"), []string{"signer_uptake=cached"}, func(s rollover) {
			old, added := s.trusted()[0], s.addCertificate()
			_, err := s.importCertificate(ActorExporter, added)
			s.must(err)
			s.activate(ActorExporter, added.Thumbprint())
			s.must(s.DeleteIdPCertificate(CallerFor(ActorExporter), s.IdPID, s.IdentityStoreID, old.CertificateID))
		}, "deleted by exporter for 1h0m0s, partial"},
		"a mode without SAML": {Healthy("corp"), nil, func(s rollover) {
			s.must(s.SetSingleSignOn(ActorOperator, s.EntraTenantID, s.ServicePrincipalID, "oidc"))
		}, "mode by operator for 3h0m0s"},
		"another identity provider": {Healthy("corp"), nil, func(s rollover) { s.must(s.ReplaceIdP(ActorOperator, s.IdentityStoreID)) }, "deleted by operator for 3h0m0s"},
		"replaced by Terraform": {Healthy("corp"), nil, func(s rollover) {
			_, err := s.ReplaceSigningCertificate(ActorTerraform, s.EntraTenantID, s.ServicePrincipalID)
			s.must(err)
		}, "activated by terraform for 3h0m0s"},
		"a thumbprint of nothing: Entra chooses": {Healthy("corp"), nil, func(s rollover) {
			s.activate(ActorExporter, strings.Repeat("AB", 20))
			if sp := s.signing(); sp.Preferred != nil || sp.Absent != strings.Repeat("AB", 20) {
				s.t.Errorf("the application shows %v, %q", sp.Preferred, sp.Absent)
			}
		}, ""},
		"from before": {Quarantined("corp"), nil, func(s rollover) {
			s.advance(time.Hour)
			_, err := s.importCertificate(ActorExporter, s.signing().Certificates[1].Certificate)
			s.must(err)
		}, "switched by setup for 1h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newRollover(t, test.spec, test.quirks...)
			began := s.Now()
			test.do(s)
			s.time = began.Add(3 * time.Hour)
			if got := s.outages(); got != test.want {
				t.Errorf("outages: %q, want %q", got, test.want)
			}
			if refused, all := s.refusals(began); refused > 0 && test.want == "" || all < 17 {
				t.Errorf("%d of %d sign-ins refused", refused, all)
			}
		})
	}
}

func TestImportQuirks(t *testing.T) {
	for _, test := range []struct {
		quirk, want string
		listed      int
	}{
		{"second_import=duplicate", "", 2},
		{"second_import=refused", "ConflictException", 1},
		{"second_import=no_op", "", 1},
		{"certificate_use=refused", "ValidationException", 1},
	} {
		s := newRollover(t, Healthy("corp"), test.quirk)
		_, err := s.importCertificate(ActorExporter, s.trusted()[0].Certificate)
		if code(err) != test.want || len(s.trusted()) != test.listed {
			t.Errorf("%s: %v, %d listed", test.quirk, err, len(s.trusted()))
		}
	}
	for quirk, want := range map[string]int{"trust_slots=2": 2, "trust_slots=3": 3, "trust_slots=unlimited": 6} {
		s := newRollover(t, Healthy("corp"), quirk)
		for range 5 {
			_, _ = s.importCertificate(ActorExporter, s.addCertificate())
		}
		if got := len(s.trusted()); got != want {
			t.Errorf("%s: AWS trusts %d", quirk, got)
		}
	}
	s := newRollover(t, Healthy("corp"))
	for text, use := range map[string]string{"": CertificateUse, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n": CertificateUse, "x": "ENCRYPTION"} {
		if _, err := s.ImportIdPCertificate(CallerFor(ActorExporter), s.IdPID, s.IdentityStoreID, text, use); code(err) != "ValidationException" {
			t.Errorf("%q for %s: %v", text, use, err)
		}
	}
	if err := s.DeleteIdPCertificate(CallerFor(ActorExporter), s.IdPID, s.IdentityStoreID, s.trusted()[0].CertificateID); code(err) != "ConflictException" {
		t.Errorf("the last valid one: %v", err)
	}
	if err := s.DeleteIdPCertificate(CallerFor(ActorExporter), s.IdPID, s.IdentityStoreID, "none"); code(err) != "ResourceNotFoundException" {
		t.Errorf("an unknown one: %v", err)
	}
	if err := s.DeleteIdPCertificate(CallerFor(ActorExporter), "none", s.IdentityStoreID, "none"); code(err) != "ResourceNotFoundException" {
		t.Errorf("an unknown provider: %v", err)
	}
}

func TestCertificateLists(t *testing.T) {
	s := newRollover(t, Healthy("corp"), "trust_list_lag=1m", "directory_lag=5m")
	added := s.addCertificate()
	if first, second := s.signing(), s.signing(); len(first.Certificates) != 2 || len(second.Certificates) != 1 {
		t.Errorf("the replicas show %d and %d certificates", len(first.Certificates), len(second.Certificates))
	}
	_, err := s.importCertificate(ActorExporter, added)
	s.must(err)
	before := len(s.trusted())
	s.advance(time.Minute)
	if after := len(s.trusted()); before != 1 || after != 2 {
		t.Errorf("AWS lists %d, then %d", before, after)
	}
	s.advance(5 * time.Minute)
	if first, second := s.signing(), s.signing(); len(first.Certificates) != 2 || len(second.Certificates) != 2 {
		t.Error("a replica still lags")
	}
	s.must(s.AddIdP(ActorOperator, s.IdentityStoreID))
	configurations, err := s.IdPConfigurations(CallerFor(ActorExporter), s.IdentityStoreID)
	if err != nil || len(configurations) != 2 || len(configurations[0].CertificateIDs) != 2 {
		t.Errorf("%+v, %v", configurations, err)
	}
	if list, err := s.IdPCertificates(CallerFor(ActorExporter), configurations[1].IdPID, s.IdentityStoreID); err != nil || len(list) != 0 {
		t.Errorf("the second provider: %v, %v", list, err)
	}
}

func TestRolloverRefused(t *testing.T) {
	s := newRollover(t, Healthy("corp"), "app_policy=refuses")
	add := func(c Caller, name string, expires time.Time) error {
		_, err := s.AddTokenSigningCertificate(c, s.EntraTenantID, s.ServicePrincipalID, name, expires)
		return err
	}
	exporter := CallerFor(ActorExporter)
	if err := add(exporter, "CN=x", time.Time{}); code(err) != "CredentialTypeNotAllowedAsPerAppPolicy" {
		t.Errorf("the policy: %v", err)
	}
	s.must(s.SetQuirk("app_policy", PolicyAllows))
	for name, expires := range map[string]time.Time{"x": {}, "CN=": {}, "CN=past": noon, "CN=long": noon.AddDate(4, 0, 0)} {
		if err := add(exporter, name, expires); code(err) != "Request_BadRequest" {
			t.Errorf("%s: %v", name, err)
		}
	}
	r, err := s.AddRegistration(s.EntraTenantID, ActorExporter, noon.Add(day), RoleApplicationOwned, RoleApplicationRead)
	s.must(err)
	caller := Caller{Actor: ActorExporter, Tenant: s.EntraTenantID, ClientID: r.ClientID}
	if err := add(caller, "CN=x", time.Time{}); code(err) != "Authorization_RequestDenied" {
		t.Errorf("not an owner: %v", err)
	}
	if _, err := s.SignInLog(caller, s.EntraTenantID, s.AppID, noon); code(err) != "Authorization_RequestDenied" {
		t.Errorf("the sign-in log: %v", err)
	}
	s.must(s.ChangeApplication(s.EntraTenantID, s.ServicePrincipalID, func(sp *ServicePrincipal) { sp.Owners = []string{r.ClientID} }))
	if err := add(caller, "CN=x", time.Time{}); code(err) != "Authorization_RequestDenied" {
		t.Errorf("not an owner of the app registration: %v", err)
	}
	s.must(s.ChangeApplication(s.EntraTenantID, s.ServicePrincipalID, func(sp *ServicePrincipal) { sp.RegistrationOwners = []string{r.ClientID} }))
	if err := add(caller, "CN=x", time.Time{}); err != nil {
		t.Errorf("an owner of both: %v", err)
	}
	for _, action := range []Action{ImportIdPCertificateAction, DeleteIdPCertificateAction, LookupEventsAction} {
		s.Deny(ActorExporter, action, DenyMissing)
	}
	if _, err := s.importCertificate(ActorExporter, s.trusted()[0].Certificate); code(err) != "AccessDeniedException" {
		t.Errorf("import: %v", err)
	}
	if err := s.DeleteIdPCertificate(exporter, s.IdPID, s.IdentityStoreID, "any"); code(err) != "AccessDeniedException" {
		t.Errorf("delete: %v", err)
	}
	if _, err := s.SignInEvents(exporter, EventSignedIn, noon, noon); code(err) != "AccessDeniedException" {
		t.Errorf("CloudTrail: %v", err)
	}
}

// TestSignInLogs: CloudTrail tells what AWS accepted and refused, Entra what it issued.
func TestSignInLogs(t *testing.T) {
	count := func(s rollover, eventName string, since time.Time) int {
		events, err := s.SignInEvents(CallerFor(ActorExporter), eventName, since, time.Time{})
		s.must(err)
		if !slices.IsSortedFunc(events, func(a, b SignInEvent) int { return b.At.Compare(a.At) }) {
			t.Error("not the newest first")
		}
		return len(events)
	}
	s := newRollover(t, Healthy("corp"), "sign_in_noise=noisy")
	began := s.Now()
	if accepted, refused := count(s, EventSignedIn, began.Add(-7*day)), count(s, EventSignInRefused, began.Add(-7*day)); accepted < 850 || refused < 140 {
		t.Errorf("history: %d accepted, %d refused", accepted, refused)
	}
	s.activate(ActorExporter, s.addCertificate().Thumbprint())
	s.advance(11 * time.Minute)
	undelivered := count(s, EventSignInRefused, began.Add(time.Second))
	s.advance(49 * time.Minute)
	issued, err := s.SignInLog(CallerFor(ActorExporter), s.EntraTenantID, s.AppID, began.Add(time.Second))
	s.must(err)
	if refused, accepted := count(s, EventSignInRefused, began.Add(time.Second)), count(s, EventSignedIn, began.Add(time.Second)); undelivered != 0 || refused != 5 || accepted != 0 || len(issued) != 5 {
		t.Errorf("%d at first, then %d refused, %d accepted, %d issued", undelivered, refused, accepted, len(issued))
	}
	s.must(s.SetQuirk("cloudtrail", TrailAbsent))
	if count(s, EventSignedIn, time.Time{}) != 0 {
		t.Error("CloudTrail is absent and tells")
	}
	s.must(s.SetSignInInterval(s.EntraTenantID, s.ServicePrincipalID, 0))
	_, all := s.refusals(began)
	s.advance(day)
	if _, later := s.refusals(began); later != all {
		t.Errorf("nobody signs in, and %d did", later-all)
	}
	s.must(s.SetSingleSignOn(ActorOperator, s.EntraTenantID, s.ServicePrincipalID, model.SingleSignOnSAML))
	s.must(s.SetLicence(s.EntraTenantID, false))
	if _, err := s.SignInLog(CallerFor(ActorExporter), s.EntraTenantID, s.AppID, began); err == nil {
		t.Error("a log without a licence")
	}
}
