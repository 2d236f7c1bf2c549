package clouds

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestGraphPermissions(t *testing.T) {
	acts := map[string]func(*harness, Caller) error{
		"application": func(s *harness, c Caller) error {
			_, err := s.ServicePrincipal(c, s.EntraTenantID, s.ServicePrincipalID)
			return err
		},
		"job": func(s *harness, c Caller) error {
			_, err := s.Job(c, s.EntraTenantID, s.ServicePrincipalID, s.JobID)
			return err
		},
		"secrets": func(s *harness, c Caller) error {
			_, err := s.Secrets(c, s.EntraTenantID, s.ServicePrincipalID)
			return err
		},
		"put":   func(s *harness, c Caller) error { return s.PutSecrets(c, s.EntraTenantID, s.ServicePrincipalID, nil) },
		"start": func(s *harness, c Caller) error { return s.StartJob(c, s.EntraTenantID, s.ServicePrincipalID, s.JobID) },
		"log": func(s *harness, c Caller) error {
			_, err := s.ProvisioningLog(c, s.EntraTenantID, LogFilter{})
			return err
		},
		"audits": func(s *harness, c Caller) error {
			_, err := s.DirectoryAudits(c, s.EntraTenantID, "", time.Time{})
			return err
		},
	}
	reading := []string{"application", "job", "log", "secrets"}
	for name, test := range map[string]struct {
		roles   []string
		allowed []string
		owner   bool
	}{
		"nothing":         {},
		"the exporter":    {[]string{RoleApplicationRead, RoleSynchronizationRead, RoleProvisioningLog}, reading, false},
		"an older tenant": {[]string{RoleApplicationRead, RoleSynchronizationRead, RoleAuditLog}, append([]string{"audits"}, reading...), false},
		"the rotator":     {[]string{RoleSynchronization}, []string{"job", "put", "secrets", "start"}, false},
		"an owner":        {[]string{RoleApplicationOwned}, []string{"put", "start"}, true},
		"no owner":        {[]string{RoleApplicationOwned}, nil, false},
		"only an owner":   {nil, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHarness(t, Healthy("corp"))
			app, err := s.AddRegistration(s.EntraTenantID, ActorExporter, noon.Add(day), test.roles...)
			s.must(err)
			if test.owner {
				s.must(s.ChangeApplication(s.EntraTenantID, s.ServicePrincipalID, func(sp *ServicePrincipal) { sp.Owners = []string{app.ClientID} }))
			}
			allowed := map[string]bool{}
			for _, act := range test.allowed {
				allowed[act] = true
			}
			for act, do := range acts {
				err := do(s, Caller{Actor: ActorExporter, Tenant: s.EntraTenantID, ClientID: app.ClientID})
				if (err == nil) != allowed[act] || err != nil && status(err) != 403 {
					t.Errorf("%s: %v, allowed: %v", act, err, allowed[act])
				}
			}
		})
	}
	s := newHarness(t, Healthy("corp"))
	s.Deny(ActorExporter, ReadProvisioningLog, DenyMissing)
	wantText(t, acts["log"](s, CallerFor(ActorExporter)), "graph: 403 Authorization_RequestDenied: Insufficient privileges to complete the operation.")
	s.must(acts["job"](s, CallerFor(ActorExporter)))
	if err := acts["job"](s, Caller{Tenant: "another"}); status(err) != 404 {
		t.Errorf("another tenant's access token: %v", err)
	}
}

func TestSignIn(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	app, err := s.AddRegistration(s.EntraTenantID, ActorExporter, noon.Add(time.Hour), RoleSynchronization)
	s.must(err)
	secret := app.Secrets[0].Value
	got, err := s.SignIn(s.EntraTenantID, app.ClientID, secret)
	if err != nil || got.Actor != ActorExporter || got.Roles[0] != RoleSynchronization {
		t.Errorf("signed in as %+v, error %v", got, err)
	}
	for name, test := range map[string]struct{ tenant, client, secret, code string }{
		"tenant": {"x", app.ClientID, secret, "AADSTS90002"},
		"client": {s.EntraTenantID, "x", secret, "AADSTS700016"},
		"secret": {s.EntraTenantID, app.ClientID, "x", "AADSTS7000215"},
	} {
		if _, err := s.SignIn(test.tenant, test.client, test.secret); code(err) != test.code {
			t.Errorf("wrong %s: %v, want %s", name, err, test.code)
		}
	}
	own, err := s.OwnCredentials(CallerFor(ActorExporter), s.EntraTenantID, app.ClientID)
	if err != nil || own.Secrets[0].Value != "" || !own.Secrets[0].Expires.Equal(noon.Add(time.Hour)) {
		t.Errorf("own credentials %+v, error %v", own.Secrets, err)
	}
	s.advance(time.Hour)
	_, err = s.SignIn(s.EntraTenantID, app.ClientID, secret)
	wantText(t, err, "login: 401 AADSTS7000222: The provided client secret keys for app '"+app.ClientID+"' are expired.")
	s.must(s.ChangeRegistration(s.EntraTenantID, app.ClientID, func(r *AppRegistration) { r.Secrets[0].Expires = noon.Add(day) }))
	_, err = s.SignIn(s.EntraTenantID, app.ClientID, secret)
	s.must(err)
}

func TestProvisioningLogIsLate(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "log_delay=10m")
	for range 3 {
		s.must(s.AddLogEntry(s.EntraTenantID, s.ServicePrincipalID, s.JobID, LogEntry{Action: "create", Status: "success"}))
	}
	s.must(s.AddLogEntry(s.EntraTenantID, s.ServicePrincipalID, s.JobID, LogEntry{Action: "delete", Status: "failure"}))
	count := func(filter LogFilter) int {
		t.Helper()
		entries, err := s.ProvisioningLog(CallerFor(ActorExporter), s.EntraTenantID, filter)
		s.must(err)
		return len(entries)
	}
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {5*time.Minute - time.Second, 1}, {time.Second, 2}, {5 * time.Minute, 4}} {
		s.advance(step.after)
		if got := count(LogFilter{}); got != step.want {
			t.Errorf("after %s: %d entries, want %d", s.time.Sub(noon), got, step.want)
		}
	}
	for name, test := range map[string]struct {
		filter LogFilter
		want   int
	}{
		"after is exclusive":  {LogFilter{After: noon}, 0},
		"after":               {LogFilter{After: noon.Add(-1)}, 4},
		"before is exclusive": {LogFilter{Before: noon}, 0},
		"before":              {LogFilter{Before: noon.Add(1)}, 4},
		"status":              {LogFilter{Status: "failure"}, 1},
		"job":                 {LogFilter{JobID: s.JobID, ServicePrincipalID: s.ServicePrincipalID}, 4},
		"another job":         {LogFilter{JobID: "x"}, 0},
	} {
		if got := count(test.filter); got != test.want {
			t.Errorf("%s: %d entries, want %d", name, got, test.want)
		}
	}
	s.must(s.SetLicence(s.EntraTenantID, false))
	_, err := s.ProvisioningLog(CallerFor(ActorExporter), s.EntraTenantID, LogFilter{})
	wantText(t, err, "graph: 403 Authentication_RequestFromNonPremiumTenantOrB2CTenant: Neither tenant is B2C or tenant doesn't have premium license")
	s.must(s.SetLicence(s.EntraTenantID, true))
	s.advance(31 * day)
	if got := count(LogFilter{Before: noon.Add(1)}); got != 0 {
		t.Errorf("%d entries after their month", got)
	}
}

func TestAuditsShowForeignChanges(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "log_delay=0s")
	s.must(s.put(ActorExporter, "x"))
	s.advance(time.Minute)
	s.saveNewToken()
	audits, err := s.DirectoryAudits(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID, noon.Add(-1))
	s.must(err)
	got := make([]Actor, 0, len(audits))
	for _, audit := range audits {
		if audit.Activity != "Update provisioning setting or credentials" || audit.TargetID != s.ServicePrincipalID {
			t.Errorf("audit %+v", audit)
		}
		got = append(got, audit.Initiator)
	}
	if diff := cmp.Diff([]Actor{ActorExporter, ActorOperator}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if later, _ := s.DirectoryAudits(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID, noon); len(later) != 1 {
		t.Errorf("%d audits after noon, want 1", len(later))
	}
}

func TestCertificatesOnBothSides(t *testing.T) {
	s := newHarness(t, Quarantined("corp"))
	view, err := s.ServicePrincipal(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID)
	s.must(err)
	active, waiting := view.Certificates[0], view.Certificates[1]
	parsed, err := x509.ParseCertificate(active.DER())
	s.must(err)
	if !parsed.NotAfter.Equal(active.NotAfter) || !parsed.NotBefore.Equal(active.NotBefore) || view.Preferred != active.Certificate || parsed.SerialNumber.BitLen() < 65 {
		t.Errorf("the active certificate: %s to %s", parsed.NotBefore, parsed.NotAfter)
	}
	trusted := func() []IdPCertificate {
		t.Helper()
		list, err := s.IdPCertificates(CallerFor(ActorExporter), s.IdPID, s.IdentityStoreID)
		s.must(err)
		return list
	}
	if list := trusted(); len(list) != 1 || list[0].Thumbprint() != active.Thumbprint() {
		t.Errorf("AWS trusts %d certificates", len(list))
	}
	s.must(s.ChangeApplication(s.EntraTenantID, s.ServicePrincipalID, func(sp *ServicePrincipal) { sp.Preferred = waiting.Certificate }))
	if view, _ = s.ServicePrincipal(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID); view.Preferred != waiting.Certificate {
		t.Error("not activated")
	}
	configurations, err := s.IdPConfigurations(CallerFor(ActorExporter), s.IdentityStoreID)
	if err != nil || len(configurations) != 1 || !configurations[0].Enabled {
		t.Errorf("configurations %+v, error %v", configurations, err)
	}
}

func TestAgeMovesBothSidesTogether(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	before := s.list()[0]
	view, _ := s.ServicePrincipal(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID)
	thumbprint, expiry := view.Preferred.Thumbprint(), view.Preferred.NotAfter
	s.Age(30 * day)
	after := s.list()[0]
	if before.Created.Sub(after.Created) != 30*day || before.Expires.Sub(after.Expires) != 30*day || before.ID != after.ID {
		t.Errorf("token %+v, was %+v", after, before)
	}
	view, _ = s.ServicePrincipal(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID)
	trusted, err := s.IdPCertificates(CallerFor(ActorExporter), s.IdPID, s.IdentityStoreID)
	s.must(err)
	parsed, err := x509.ParseCertificate(view.Preferred.DER())
	s.must(err)
	if view.Preferred.Thumbprint() == thumbprint || expiry.Sub(parsed.NotAfter) != 30*day || trusted[0].Thumbprint() != view.Preferred.Thumbprint() {
		t.Error("the certificate must be issued again, the same on both sides")
	}
	if s.probe(s.TokenValue(s.TokenIDs[0])) != 200 {
		t.Error("the aged token is refused")
	}
}

func TestBrokenCertificate(t *testing.T) {
	if broken := BrokenCertificate([]byte("garbage"), noon, noon.Add(day)); string(broken.DER()) != "garbage" {
		t.Error("a broken certificate must keep its bytes")
	}
}

func TestScenarios(t *testing.T) {
	for name, test := range map[string]struct {
		spec     ConnectionSpec
		status   string
		left     time.Duration // of the saved token
		tokens   int
		testCode string
	}{
		"healthy":        {Healthy("corp"), "active", 265 * day, 1, ""},
		"expiring":       {Expiring("corp"), "active", 20 * day, 2, ""},
		"quarantined":    {Quarantined("corp"), "quarantine", -3 * day, 1, CodeFailure},
		"not configured": {ConnectionSpec{Name: "corp", NotConfigured: true}, "not_configured", 0, 0, CodeUnavailable},
	} {
		s := newHarness(t, test.spec)
		job := s.job()
		if string(job.Status) != test.status || len(s.list()) != test.tokens || code(s.testSaved()) != test.testCode {
			t.Errorf("%s: job %s, %d tokens, test %v", name, job.Status, len(s.list()), s.testSaved())
		}
		if token := s.tokenByID(s.SavedToken(s.ServicePrincipalID)); token != nil && token.Expires.Sub(noon) != test.left {
			t.Errorf("%s: the saved token expires in %s, want %s", name, token.Expires.Sub(noon), test.left)
		}
		if job.LastCycle != nil && (job.LastCycle.Ended.After(noon) || job.LastCycle.Began.Before(noon.Add(-48*time.Hour))) {
			t.Errorf("%s: the last cycle was from %s to %s", name, job.LastCycle.Began, job.LastCycle.Ended)
		}
		if q := job.Quarantine; q != nil && (!q.SeriesBegan.Before(noon.Add(-2*day)) || !q.NextAttempt.After(noon) || q.NextAttempt.After(noon.Add(day))) {
			t.Errorf("%s: quarantine %+v", name, q)
		}
		for _, outage := range s.Outages() {
			if name != "quarantined" || outage.Cause != CauseExpired {
				t.Errorf("%s: outage %s", name, outage)
			}
		}
		if !s.Complete() {
			t.Errorf("%s: binding %+v", name, s.Binding)
		}
	}
	s := newHarness(t, ConnectionSpec{Name: "corp", NoJob: true})
	jobs, err := s.Jobs(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID)
	if err != nil || len(jobs) != 0 || s.JobID != "" {
		t.Errorf("no job: %+v, error %v", jobs, err)
	}
	if list, _ := s.ServicePrincipals(CallerFor(ActorExporter), s.EntraTenantID); len(list) != 1 || list[0].TemplateID != AWSTemplateID {
		t.Errorf("%d applications of the template, want 1", len(list))
	}
}

func TestRecreatedTenant(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "test_lag=0s")
	fresh, err := s.RecreateProvisioningTenant(ActorOperator, s.IdentityStoreID)
	s.must(err)
	if fresh.TenantID == s.ProvisioningTenantID || s.probe(s.TokenValue(s.TokenIDs[0])) != 401 || code(s.testSaved()) != CodeFailure {
		t.Error("the old tenant still serves")
	}
	if _, err := s.ListBearerTokens(CallerFor(ActorExporter), s.IdentityStoreID, s.ProvisioningTenantID); code(err) != "ResourceNotFoundException" {
		t.Errorf("listing the old tenant's tokens: %v", err)
	}
	token, err := s.CreateBearerToken(CallerFor(ActorOperator), s.IdentityStoreID, fresh.TenantID)
	s.must(err)
	s.must(s.SaveToken(ActorOperator, s.EntraTenantID, s.ServicePrincipalID, token.ID))
	s.must(s.testSaved())
	if outages := s.Outages(); len(outages) != 1 || outages[0].Ended.IsZero() {
		t.Errorf("outages %v", outages)
	}
}
