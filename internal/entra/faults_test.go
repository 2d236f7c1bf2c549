package entra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// operations are all reads, by the operation that a fault hits.
var operations = map[string]func(context.Context, *simulated) error{
	"GET servicePrincipals": func(ctx context.Context, s *simulated) error { _, err := s.Binding(ctx); return err },
	"GET jobs":              func(ctx context.Context, s *simulated) error { _, err := s.Binding(ctx); return err },
	"GET job":               func(ctx context.Context, s *simulated) error { _, err := s.Job(ctx); return err },
	"GET secrets":           func(ctx context.Context, s *simulated) error { _, err := s.Credentials(ctx); return err },
	"GET servicePrincipal":  func(ctx context.Context, s *simulated) error { _, err := s.SigningCertificates(ctx); return err },
	"GET applications":      func(ctx context.Context, s *simulated) error { _, err := s.tenant.AppCredentials(ctx); return err },
	"GET provisioning": func(ctx context.Context, s *simulated) error {
		return s.tenant.Events(ctx, time.Now().Add(-time.Hour), time.Now(), func(model.Event) error { return nil })
	},
	"GET federationmetadata": func(ctx context.Context, s *simulated) error {
		_, err := s.tenant.Application(ApplicationOptions{Certificates: model.EntraCertificatesMetadata}).SigningCertificates(ctx)
		return err
	},
	"GET signIns": func(ctx context.Context, s *simulated) error {
		counts, err := s.SignIns(ctx, time.Now().Add(-time.Hour))
		if err == nil && !counts.Available { // the reason is hidden on purpose
			return &model.Error{Reason: model.ReasonPermission, Detail: "not available"}
		}
		return err
	},
	"POST token": func(ctx context.Context, s *simulated) error { _, err := s.Job(ctx); return err },
}

// TestEveryFaultHasItsReason makes every read fail in every way, then succeed again.
func TestEveryFaultHasItsReason(t *testing.T) {
	for name, test := range map[string]struct {
		fault  simulator.Fault
		reason model.Reason
		also   []model.Reason // where the sign-in or an undocumented API sees it otherwise
	}{
		"web page":     {simulator.Fault{Effect: simulator.EffectHTML}, model.ReasonInvalidResponse, []model.Reason{model.ReasonAPIChanged}},
		"redirect":     {simulator.Fault{Effect: simulator.EffectRedirect, Location: "https://elsewhere.example/"}, model.ReasonInvalidResponse, []model.Reason{model.ReasonAuth}},
		"hang":         {simulator.Fault{Effect: simulator.EffectHang}, model.ReasonTimeout, nil},
		"trickle":      {simulator.Fault{Effect: simulator.EffectTrickle, Delay: simulator.Duration(5 * time.Second)}, model.ReasonTimeout, nil},
		"flood":        {simulator.Fault{Effect: simulator.EffectHuge}, model.ReasonInvalidResponse, nil},
		"reset":        {simulator.Fault{Effect: simulator.EffectReset}, model.ReasonNetwork, nil},
		"lost":         {simulator.Fault{Effect: simulator.EffectLost}, model.ReasonNetwork, nil},
		"throttled":    {simulator.Fault{Status: 429, Code: "TooManyRequests", RetryAfter: "3600"}, model.ReasonThrottled, nil},
		"by a date":    {simulator.Fault{Status: 429, Code: "TooManyRequests", RetryAfterDate: simulator.Duration(time.Hour)}, model.ReasonThrottled, nil},
		"denied":       {simulator.Fault{Status: 403, Code: "Authorization_RequestDenied"}, model.ReasonPermission, []model.Reason{model.ReasonAuth}},
		"not licensed": {simulator.Fault{Status: 403, Code: "Authentication_RequestFromNonPremiumTenantOrB2CTenant"}, model.ReasonLicence, []model.Reason{model.ReasonAuth, model.ReasonPermission}},
		"internal":     {simulator.Fault{Status: 500, Code: "InternalServerError"}, model.ReasonOther, nil},
		"empty error":  {simulator.Fault{Status: 400, Body: `{}`}, model.ReasonOther, []model.Reason{model.ReasonAuth}},
		"a list":       {simulator.Fault{Status: 200, Body: `[]`}, model.ReasonInvalidResponse, []model.Reason{model.ReasonAPIChanged}},
	} {
		for operation, read := range operations {
			t.Run(name+"/"+operation, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					s := simulate(t, clouds.Healthy("corp"), nil)
					fault := test.fault
					fault.Operation = operation
					if _, err := s.AddFault(fault); err != nil {
						t.Fatal(err)
					}
					err := read(within(t, 2*time.Minute), s)
					if reason := model.ReasonOf(err); reason != test.reason && !slices.Contains(test.also, reason) {
						t.Errorf("reason %q of %v", reason, err)
					}
					if operation == "POST token" == (model.ReasonOf(err) == model.ReasonPermission) && name == "denied" {
						t.Errorf("reason of %v", err)
					}
					s.ClearFaults()
					time.Sleep(2 * time.Hour)
					if err := read(within(t, 2*time.Minute), s); err != nil {
						t.Errorf("does not heal: %v", err)
					}
				})
			})
		}
	}
}

// TestErrorBodies reads every form of Graph's error bodies.
func TestErrorBodies(t *testing.T) {
	for body, want := range map[string]string{
		clouds.BodiesFull:        "403 Authorization_RequestDenied: Insufficient privileges to complete the operation. ",
		clouds.BodiesEmpty:       "HTTP status 403 with application/json ",
		clouds.BodiesNullMessage: "403 Authorization_RequestDenied ",
	} {
		inBubble(t, func(t *testing.T) {
			s := simulate(t, clouds.Healthy("corp"), nil)
			if err := s.SetQuirk("error_bodies", body); err != nil {
				t.Fatal(err)
			}
			s.do(t, func(w *clouds.Model) error {
				return w.ChangeRegistration(s.connection.EntraTenantID, s.tenant.clientID, func(r *clouds.AppRegistration) { r.Roles = nil })
			})
			_, err := s.Binding(t.Context())
			wantError(t, err, "looking for the AWS application: permission: "+want+
				"(grant the application permission Application.Read.All with admin consent, see deploy/permissions/entra.md)")
		})
	}
}

// TestEachPermissionAllowsOneRead removes each permission in turn.
func TestEachPermissionAllowsOneRead(t *testing.T) {
	all := []string{clouds.RoleApplicationRead, clouds.RoleSynchronizationRead, clouds.RoleProvisioningLog}
	for _, taken := range all {
		inBubble(t, func(t *testing.T) {
			s := simulate(t, clouds.Healthy("corp"), nil)
			s.Application = s.tenant.Application(ApplicationOptions{ServicePrincipalID: s.connection.ServicePrincipalID, JobID: s.connection.JobID})
			s.do(t, func(w *clouds.Model) error {
				return w.ChangeRegistration(s.connection.EntraTenantID, s.tenant.clientID, func(r *clouds.AppRegistration) {
					r.Roles = slices.DeleteFunc(slices.Clone(all), func(role string) bool { return role == taken })
				})
			})
			for operation, permission := range map[string]string{
				"GET job": clouds.RoleSynchronizationRead, "GET servicePrincipal": clouds.RoleApplicationRead,
				"GET applications": clouds.RoleApplicationRead, "GET provisioning": clouds.RoleProvisioningLog,
			} {
				err := operations[operation](t.Context(), s)
				if permission != taken && err != nil {
					t.Errorf("%s without %s: %v", operation, taken, err)
				}
				if permission == taken && (model.ReasonOf(err) != model.ReasonPermission || !strings.Contains(fmt.Sprint(err), taken)) {
					t.Errorf("%s without %s: %v", operation, taken, err)
				}
			}
		})
	}
}

func TestWithoutALicence(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := simulate(t, clouds.Healthy("corp"), nil)
		s.do(t, func(w *clouds.Model) error { return w.SetLicence(s.connection.EntraTenantID, false) })
		if err := operations["GET provisioning"](t.Context(), s); model.ReasonOf(err) != model.ReasonLicence {
			t.Errorf("got %v", err)
		}
		if _, err := s.Job(t.Context()); err != nil {
			t.Errorf("the job's reading fails with the log's: %v", err)
		}
	})
}

func TestSignInErrorsOfTheSimulator(t *testing.T) {
	for code, change := range map[string]func(*TenantOptions){
		"AADSTS7000215": func(o *TenantOptions) { o.Credential.SecretFile = "testdata/client.pfx" },
		"AADSTS90002":   func(o *TenantOptions) { o.TenantID = "99999999-9999-9999-9999-999999999999" },
		"AADSTS700016":  func(o *TenantOptions) { o.ClientID = clientID },
	} {
		inBubble(t, func(t *testing.T) {
			_, err := simulate(t, clouds.Healthy("corp"), nil, change).Job(t.Context())
			var classified *model.Error
			if !errors.As(err, &classified) || classified.Reason != model.ReasonAuth || classified.Code != code || classified.Advice == "" {
				t.Errorf("%s: %v", code, err)
			}
		})
	}
	inBubble(t, func(t *testing.T) {
		s := simulate(t, clouds.Healthy("corp"), nil)
		time.Sleep(181 * 24 * time.Hour)
		if _, err := s.Job(t.Context()); !strings.Contains(fmt.Sprint(err), "AADSTS7000222: the client secret has expired") {
			t.Errorf("got %v", err)
		}
	})
}

// TestClockSkewOfTwoDays lets Entra's clock be wrong: reads continue, and return its time.
func TestClockSkewOfTwoDays(t *testing.T) {
	for _, skew := range []time.Duration{-48 * time.Hour, -5 * time.Minute, 5 * time.Minute, 48 * time.Hour} {
		inBubble(t, func(t *testing.T) {
			s := simulate(t, clouds.Healthy("corp"), nil)
			s.With(func(w *clouds.Model) { w.SetSkew(clouds.Skew{Entra: skew}) })
			job, err := s.Job(t.Context())
			if err != nil || (time.Until(job.Date)-skew).Abs() > time.Second {
				t.Errorf("skewed by %s: %s, %v", skew, job.Date, err)
			}
		})
	}
}

func TestBulkEventsInTheLog(t *testing.T) {
	const entries = 25_000
	inBubble(t, func(t *testing.T) {
		s := simulate(t, clouds.Healthy("corp"), nil)
		began := time.Now()
		if err := s.AddBulkEvents(simulator.BulkEvents{
			TenantID: s.connection.EntraTenantID, ServicePrincipalID: s.connection.ServicePrincipalID, JobID: s.connection.JobID,
			Count: entries, From: began, Every: simulator.Duration(100 * time.Millisecond),
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(entries * 100 * time.Millisecond)
		sum := 0
		for _, count := range s.events(t, began.Add(-time.Second)) {
			sum += count
		}
		if sum < entries {
			t.Errorf("%d entries of %d", sum, entries)
		}
		if calls := s.Calls()["GET provisioning"]; calls > entries/logPageSize+2 {
			t.Errorf("%d calls", calls)
		}
	})
}
