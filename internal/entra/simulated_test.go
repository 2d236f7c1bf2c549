package entra

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/covering"
	"entra-aws-exporter/test/harness/wire"
)

// simulated is the client under test before a simulated Entra with one connection, in
// memory; build it inside a bubble.
type simulated struct {
	*simulator.Simulator
	*Application
	connection clouds.Connection
}

func simulate(t *testing.T, spec clouds.ConnectionSpec, quirks *clouds.Quirks, mod ...func(*TenantOptions)) *simulated {
	t.Helper()
	w := wire.NewModel(clouds.Options{Seed: 1, Quirks: quirks}, spec)
	sim := wire.NewSimulator(t, w, simulator.Options{Seed: 1})
	s := &simulated{Simulator: sim.Simulator, connection: sim.Connection}
	access := sim.Credentials.Tenants[0]
	options := TenantOptions{
		Name: "corp", TenantID: access.TenantID, ClientID: access.Registration.ClientID, Options: cloudhttp.Options{Transport: sim.Transport()},
		Credential: Credential{SecretFile: model.SecretFile(newMicrosoft(t).file("secret", access.Registration.Secrets[0].Value))},
	}
	for _, change := range mod {
		change(&options)
	}
	tenant, err := NewTenant(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Application = tenant.Application(ApplicationOptions{Connection: spec.Name})
	return s
}

// do changes the simulated clouds.
func (s *simulated) do(t *testing.T, write func(*clouds.Model) error) {
	t.Helper()
	var err error
	s.With(func(w *clouds.Model) { err = write(w) })
	if err != nil {
		t.Fatal(err)
	}
}

// events counts the log's entries by action and status.
func (s *simulated) events(t *testing.T, after time.Time) map[model.EventKey]int {
	t.Helper()
	counted := map[model.EventKey]int{}
	err := s.tenant.Events(t.Context(), after, time.Now(), func(e model.Event) error {
		if e.ServicePrincipalID != s.connection.ServicePrincipalID || !strings.EqualFold(e.JobID, s.connection.JobID) {
			t.Errorf("an entry of something else: %+v", e)
		}
		counted[model.EventKey{Action: e.Action, Status: e.Status}]++
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return counted
}

// TestReadsUnderEveryQuirk reads everything under every combination of the
// unconfirmed behaviours of Entra. What is read is correct, or absent.
func TestReadsUnderEveryQuirk(t *testing.T) {
	quirks := covering.Named("settings_keys", "extra_keys", "base_address", "secrets_get", "graph_errors", "failing_user", "log_delay")
	combinations := 0
	for combination := range covering.Product(clouds.DefaultQuirks(), quirks) {
		combinations++
		inBubble(t, func(t *testing.T) { checkReads(t, simulate(t, clouds.Healthy("corp"), &combination), combination) })
		if t.Failed() {
			t.Fatalf("under %s", combination)
		}
	}
	t.Logf("%d combinations", combinations)
}

func checkReads(t *testing.T, s *simulated, quirks clouds.Quirks) {
	ctx, began := t.Context(), time.Now()
	want := s.connection.Binding
	binding, err := s.Binding(ctx)
	if err != nil || binding != (model.Binding{EntraTenantID: want.EntraTenantID, ServicePrincipalID: want.ServicePrincipalID, JobID: want.JobID}) {
		t.Errorf("binding %+v, %v", binding, err)
	}
	s.do(t, func(w *clouds.Model) error {
		_, err := w.AddUser(clouds.ActorOperator, want.EntraTenantID, want.ServicePrincipalID, "ann@example.com")
		return err
	})
	time.Sleep(2 * time.Hour)

	job, err := s.Job(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ended := model.CycleSucceeded
	if quirks.FailingUser == clouds.OneUserFails {
		ended = model.CycleEntryLevelErrors
	}
	if job.Status != model.JobActive || job.Schedule != model.ScheduleActive || job.Interval != clouds.CyclePeriod || job.Quarantine != nil ||
		job.LastCycle.State != ended || !job.LastExport.Began.After(began) || job.Synchronized["User to User"] != 4 || time.Until(job.Date).Abs() > time.Second {
		t.Errorf("job %+v, last cycle %+v, last export %+v", job, job.LastCycle, job.LastExport)
	}
	notified := ptr(quirks.SettingsKeys == clouds.KeysPresent)
	if quirks.SecretsGet == clouds.Gone {
		notified = nil
	}
	if (notified == nil) != (job.NotificationEnabled == nil) || notified != nil && *notified != *job.NotificationEnabled {
		t.Errorf("notification %v, want %v", job.NotificationEnabled, notified)
	}
	credentials, err := s.Credentials(ctx)
	if gone := quirks.SecretsGet == clouds.Gone; gone != (model.ReasonOf(err) == model.ReasonAPIChanged) || gone != (err != nil) {
		t.Errorf("credentials %v, %v", credentials, err)
	}
	signing, err := s.SigningCertificates(ctx)
	if active, known := signing.Active(); err != nil || len(signing.Certificates) != 1 || !known || signing.NotificationAddresses != 1 ||
		active.NotAfter.Sub(began).Round(time.Hour) != 895*24*time.Hour {
		t.Errorf("signing %+v, %v", signing, err)
	}
	own, err := s.tenant.AppCredentials(ctx)
	if err != nil || len(own) != 1 || own[0].Kind != model.CredentialSecret || own[0].Expires.Sub(began).Round(time.Hour) != 180*24*time.Hour {
		t.Errorf("own credentials %+v, %v", own, err)
	}
	counted := s.events(t, began)
	if failures := counted[model.EventKey{Action: "create", Status: "failure"}]; counted[model.EventKey{Action: "create", Status: "success"}] != 1 ||
		(failures > 0) != (quirks.FailingUser == clouds.OneUserFails) {
		t.Errorf("events %v", counted)
	}
	failures, err := s.Failures(ctx, 1)
	if err != nil || (len(failures) == 1) != (quirks.FailingUser == clouds.OneUserFails) {
		t.Errorf("failures %+v, %v", failures, err)
	}
	for _, failure := range failures {
		if failure.At.Before(began) || failure.Object == "" || failure.Code == "" || failure.Reason == "" || failure.Action != "create" {
			t.Errorf("failure %+v", failure)
		}
	}
	if exports, err := s.Exports(ctx, began); exports != 1 || err != nil {
		t.Errorf("%d exports, %v", exports, err)
	}
}

func TestQuarantinedJob(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := simulate(t, clouds.Quarantined("corp"), nil)
		job, err := s.Job(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if job.Status != model.JobQuarantine || !job.Quarantine.Credentials() || job.Quarantine.ErrorCode == "" ||
			time.Since(job.Quarantine.SeriesBegan).Round(time.Hour) != 71*time.Hour || !job.Quarantine.NextAttempt.After(time.Now()) ||
			*job.ConsecutiveFailures == 0 || job.LastCycle.State != model.CycleFailed {
			t.Errorf("job %+v, quarantine %+v", job, job.Quarantine)
		}
		signing, err := s.SigningCertificates(t.Context())
		active, known := signing.Active()
		if err != nil || !known || len(signing.Certificates) != 2 || !active.NotAfter.Before(time.Now()) {
			t.Errorf("signing %+v, %v", signing, err)
		}
	})
}

// At a start, the poller reads the application's identifiers and its certificates, in any
// order, with one request less. A rotation always reads all, and so does a poll after it.
func TestPolledPrincipalIsReadOnce(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := simulate(t, clouds.Healthy("corp"), nil)
		var spare string
		s.do(t, func(w *clouds.Model) error {
			certificate := w.NewSigningCertificate(w.Now(), w.Now().AddDate(3, 0, 0))
			spare = certificate.Thumbprint()
			return w.ChangeApplication(s.connection.EntraTenantID, s.connection.ServicePrincipalID, func(sp *clouds.ServicePrincipal) {
				sp.Certificates = append(sp.Certificates, certificate)
			})
		})
		certificates := func(read func(context.Context) (model.SigningCertificates, error)) func() string {
			return func() string {
				signing, err := read(t.Context())
				if err != nil || len(signing.Certificates) != 2 || signing.SSOMode == "" {
					t.Fatalf("%+v, %v", signing, err)
				}
				return signing.ActiveThumbprint
			}
		}
		polled := certificates(s.PolledCertificates)
		identifiers := func() string {
			ids, err := s.PolledEntityIDs(t.Context())
			if err != nil || len(ids) != 1 {
				t.Fatalf("%v, %v", ids, err)
			}
			return ids[0]
		}
		plan := func() string {
			application, err := s.Application.Application(t.Context())
			if err != nil || len(application.EntityIDs) != 1 {
				t.Fatalf("%+v, %v", application, err)
			}
			return application.EntityIDs[0]
		}
		nothing := func() {}
		for _, step := range []struct {
			name  string
			first func() string
			do    func()
			then  func() string
			want  int // requests for the service principal
		}{
			{"identifiers, then certificates", identifiers, nothing, polled, 1 + 1},
			{"certificates, then identifiers", polled, nothing, identifiers, 2 + 0},
			{"the next poll", polled, nothing, polled, 2 + 1},
			{"a poll later", identifiers, func() { time.Sleep(2 * time.Minute) }, polled, 1 + 2},
			{"a rotation of the certificate", identifiers, nothing, certificates(s.SigningCertificates), 1 + 2},
			{"a rotation of the token", polled, nothing, plan, 2 + 1},
			{"a poll after an activation", identifiers, func() {
				if err := s.ActivateCertificate(t.Context(), spare); err != nil {
					t.Fatal(err)
				}
			}, polled, 1 + 2},
		} {
			before := s.Calls()["GET servicePrincipal"]
			step.first()
			step.do()
			step.then()
			if got := s.Calls()["GET servicePrincipal"] - before; got != step.want {
				t.Errorf("%s: %d requests, want %d", step.name, got, step.want)
			}
			time.Sleep(time.Hour)
		}
		if active := polled(); active != spare {
			t.Errorf("active is %s", active)
		}
	})
}

func TestIntervalOfSpedUpClouds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := simulate(t, clouds.Healthy("corp"), nil)
		s.With(func(w *clouds.Model) {
			if err := w.SetSpeed(60); err != nil {
				t.Fatal(err)
			}
		})
		if job, err := s.Job(t.Context()); err != nil || job.Interval != clouds.CyclePeriod/60 {
			t.Errorf("%s, %v", job.Interval, err)
		}
	})
}

func TestFederationMetadataOfTheSimulator(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := simulate(t, clouds.Quarantined("corp"), nil)
		public := s.tenant.Application(ApplicationOptions{Certificates: model.EntraCertificatesMetadata})
		got, err := public.SigningCertificates(t.Context())
		want, graphErr := s.SigningCertificates(t.Context())
		if err != nil || graphErr != nil || got.ActiveKnown || len(got.Certificates) != 2 ||
			got.Certificates[0].Thumbprint != want.Certificates[0].Thumbprint || got.Certificates[1].Thumbprint != want.Certificates[1].Thumbprint {
			t.Errorf("%+v, %v, %v", got, err, graphErr)
		}
	})
}

// TestWordings reads a quarantine and tests the connection under every wording of a token
// that AWS refuses and of an endpoint that does not answer.
func TestWordings(t *testing.T) {
	for quirks := range covering.Product(clouds.DefaultQuirks(), covering.Named("refused_code", "unreachable_code", "graph_errors")) {
		inBubble(t, func(t *testing.T) {
			s, ctx := simulate(t, clouds.Quarantined("corp"), &quirks), t.Context()
			cause := model.QuarantineCredentials
			if quirks.RefusedCode == clouds.CodeUnavailable {
				cause = model.QuarantineUnreachable
			}
			if job, err := s.Job(ctx); err != nil || job.Quarantine == nil || job.Quarantine.Cause() != cause {
				t.Errorf("job %+v, %v, want the cause %s", job.Quarantine, err, cause)
			}
			if result, err := s.TestConnection(ctx, nil); result != model.TestFailed {
				t.Errorf("a refused token: %s, %v", result, err)
			}
			s.do(t, func(w *clouds.Model) error {
				return w.SaveToken(clouds.ActorOperator, s.connection.EntraTenantID, s.connection.ServicePrincipalID, s.connection.TokenIDs[0])
			})
			want, status := model.TestUnavailable, 400
			switch {
			case quirks.UnreachableCode == clouds.CodeFailure: // Entra words both alike: our own probe decides
				want = model.TestFailed
			case quirks.GraphErrors == clouds.ErrorsPlain:
				status = map[string]int{clouds.CodeGateway: 502, clouds.CodeTimeout: 504}[quirks.UnreachableCode]
			}
			var failed *model.Error
			if result, err := s.TestConnection(ctx, nil); result != want || !errors.As(err, &failed) || failed.Status != max(status, 400) { // test_lag
				t.Errorf("no answer: %s, %v, want %s with status %d", result, err, want, status)
			}
		})
		if t.Failed() {
			t.Fatalf("under %s", quirks)
		}
	}
}

// TestWrites makes a rotation's calls under every behaviour of the credentials' store,
// and checks in the simulated clouds what they did.
func TestWrites(t *testing.T) {
	combinations := 0
	for combination := range covering.Product(clouds.DefaultQuirks(), covering.Named("put_secrets", "settings_keys", "extra_keys", "graph_errors", "inline_test")) {
		combinations++
		inBubble(t, func(t *testing.T) { checkWrites(t, combination) })
		if t.Failed() {
			t.Fatalf("under %s", combination)
		}
	}
	t.Logf("%d combinations", combinations)
}

func checkWrites(t *testing.T, quirks clouds.Quirks) {
	spec := clouds.Healthy("corp")
	spec.Certificates = append(spec.Certificates, clouds.CertificateSpec{Left: 1000 * 24 * time.Hour}) // the storage is shared with them
	s, ctx := simulate(t, spec, &quirks), t.Context()
	var issued clouds.BearerToken
	s.do(t, func(w *clouds.Model) (err error) {
		issued, err = w.CreateBearerToken(clouds.CallerFor(clouds.ActorOperator), s.connection.IdentityStoreID, s.connection.ProvisioningTenantID)
		return err
	})
	with := func(value string) []model.Credential {
		credentials, err := s.Credentials(ctx)
		if err != nil {
			t.Fatal(err)
		}
		credentials = slices.DeleteFunc(credentials, func(c model.Credential) bool { return c.Masked() && c.Key != model.CredentialKeySecretToken })
		for i := range credentials {
			if credentials[i].Key == model.CredentialKeySecretToken {
				credentials[i].Value = model.NewSecret(value)
			}
		}
		return credentials
	}
	if result, err := s.TestConnection(ctx, with(issued.Value)); result != model.TestPassed || err != nil {
		t.Errorf("inline: %s, %v", result, err)
	}
	wrong := model.TestFailed
	if quirks.InlineTest == clouds.InlineIgnored {
		wrong = model.TestPassed
	}
	if result, err := s.TestConnection(ctx, with("wrong")); result != wrong {
		t.Errorf("the control: %s, %v", result, err)
	}
	err := s.SaveCredentials(ctx, with(issued.Value))
	if outcome, limited := model.CallOutcomeOf(err), quirks.PutSecrets == clouds.PutLimited; limited != (outcome == model.CallRefused) || limited != (err != nil) {
		t.Errorf("saved: %s, %v", outcome, err)
	}
	if err != nil && strings.Contains(err.Error(), issued.Value) {
		t.Error("the error shows the token")
	}
	saved := issued.ID
	switch {
	case quirks.PutSecrets == clouds.PutLimited, quirks.PutSecrets == clouds.PutKeepsToken,
		quirks.PutSecrets == clouds.PutNeedsAll && quirks.SettingsKeys == clouds.KeysAbsent:
		saved = s.connection.TokenIDs[0]
	}
	s.With(func(w *clouds.Model) {
		if got := w.SavedToken(s.connection.ServicePrincipalID); got != saved {
			t.Errorf("saved is %s, want %s", got, saved)
		}
	})
	time.Sleep(2 * time.Minute)
	if result, err := s.TestConnection(ctx, nil); result != model.TestPassed || err != nil {
		t.Errorf("saved: %s, %v", result, err)
	}
	if err := s.StartJob(ctx); err != nil {
		t.Errorf("start: %v", err)
	}
	var user string
	s.do(t, func(w *clouds.Model) (err error) {
		user, err = w.AddUser(clouds.ActorOperator, s.connection.EntraTenantID, s.connection.ServicePrincipalID, "ann@example.com")
		return err
	})
	if name, err := s.ProvisionUser(ctx, user); name != "ann@example.com" || err != nil {
		t.Errorf("canary: %q, %v", name, err)
	}
	time.Sleep(10 * time.Minute) // the audit's delay
	application, err := s.Application.Application(ctx)
	if err != nil || !application.CredentialsReadable || application.CredentialsChanged.IsZero() != (quirks.PutSecrets == clouds.PutLimited) ||
		len(application.EntityIDs) != 1 || !strings.HasSuffix(application.EntityIDs[0], "/"+s.connection.IdentityStoreID) || application.CredentialExpires.IsZero() {
		t.Errorf("application %+v, %v", application, err)
	}
}
