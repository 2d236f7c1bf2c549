package identitycenter_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/covering"
	"entra-aws-exporter/test/harness/wire"
)

// simulated is the client under test before a simulated AWS with one connection, in
// memory; build it inside a bubble.
type simulated struct {
	*wire.Simulator
	*identitycenter.Instance
}

func simulate(t *testing.T, spec clouds.ConnectionSpec, quirks *clouds.Quirks, change func(*identitycenter.Options)) *simulated {
	t.Helper()
	w := wire.NewModel(clouds.Options{Seed: 1, Quirks: quirks}, spec)
	s := &simulated{Simulator: wire.NewSimulator(t, w, simulator.Options{Seed: 1})}
	keys := s.Credentials.Accounts[0].Keys
	t.Setenv("AWS_ACCESS_KEY_ID", keys.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", keys.SecretAccessKey)
	options := identitycenter.Options{
		Connection: "corp", Region: clouds.DefaultRegion, Options: cloudhttp.Options{Version: "1.2.3", Transport: s.Transport()},
		TokenServiceJSONVersion:    w.Quirks().JSONVersion,
		IdPCertificatesJSONVersion: w.Quirks().IdPVersion,
		Certificates:               model.AWSCertificatesConsoleAPI,
		TokenValue: func(context.Context) (string, model.Secret, error) {
			var id, value string
			s.With(func(w *clouds.Model) {
				id = w.SavedToken(s.Connection.ServicePrincipalID)
				value = w.TokenValue(id)
			})
			return id, model.NewSecret(value), nil
		},
	}
	if change != nil {
		change(&options)
	}
	var err error
	if s.Instance, err = identitycenter.New(options); err != nil {
		t.Fatal(err)
	}
	return s
}

// A list may begin with an empty page, and the certificate service may speak the other version.
func TestEmptyPageFirst(t *testing.T) {
	newCloud(t) // for the environment
	quirks := clouds.DefaultQuirks()
	quirks.IdPVersion = clouds.JSON11
	s := simulate(t, clouds.Healthy("corp"), &quirks, nil)
	if err := s.SetQuirk("list_pages", clouds.PagesEmptyFirst); err != nil {
		t.Fatal(err)
	}
	list, err := s.ListTokens(t.Context())
	if err != nil || len(list.Tokens) != 1 {
		t.Errorf("got %d tokens, %v", len(list.Tokens), err)
	}
	trusted, err := s.TrustedCertificates(t.Context())
	if err != nil || len(trusted) != 1 {
		t.Errorf("got %d certificates, %v", len(trusted), err)
	}
}

func ids(tokens []model.Token) []string {
	list := make([]string, 0, len(tokens))
	for _, token := range tokens {
		list = append(list, token.ID)
	}
	return list
}

// TestReadsUnderEveryQuirk reads everything under every combination of the
// unconfirmed behaviours of AWS. What is read is correct, or absent.
func TestReadsUnderEveryQuirk(t *testing.T) {
	newCloud(t) // for the environment
	twoValid := clouds.Expiring("corp")
	twoValid.Tokens[1] = clouds.TokenSpec{Age: 350 * 24 * time.Hour, Left: 15 * 24 * time.Hour}
	inTrail := covering.Named("source_address", "cloudtrail", "cloudtrail_delay")
	everywhere := append(covering.Named("list_values", "list_order", "token_times", "json_version"), inTrail...)
	for name, test := range map[string]struct {
		spec   clouds.ConnectionSpec
		quirks []clouds.Quirk
		learns bool
	}{
		"one valid token":  {clouds.Expiring("corp"), everywhere, true},
		"two valid tokens": {twoValid, inTrail, false}, // one access key id does not tell them apart
	} {
		combinations, learnt := 0, 0
		for combination := range covering.Product(clouds.DefaultQuirks(), test.quirks) {
			combinations++
			synctest.Test(t, func(t *testing.T) {
				s := simulate(t, test.spec, &combination, nil)
				if checkReads(t, s, combination) {
					learnt++
				}
			})
			if t.Failed() {
				t.Fatalf("with %s, under %s", name, combination)
			}
		}
		t.Logf("%s: %d combinations, in %d of them a last use was learnt", name, combinations, learnt)
		if test.learns != (learnt > 0) {
			t.Errorf("with %s a last use was learnt %d times", name, learnt)
		}
	}
}

// checkReads checks all readings and reports whether a token's last use is known.
func checkReads(t *testing.T, s *simulated, quirks clouds.Quirks) bool {
	t.Helper()
	ctx := t.Context()
	// The spec's tokens are the one in use, and an older one.
	inUse, older := s.Connection.TokenIDs[0], s.Connection.TokenIDs[1]
	list, err := s.ListTokens(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{older, inUse}; !slices.Equal(ids(list.Tokens), want) {
		t.Errorf("tokens %v, want %v", ids(list.Tokens), want)
	}
	if list.Tokens[1].Expired(list.Date.Add(19*24*time.Hour)) || !list.Tokens[1].Expired(list.Date.Add(21*24*time.Hour)) {
		t.Errorf("wrong dates: %+v", list.Tokens)
	}
	certificates, err := s.TrustedCertificates(ctx)
	if err != nil || len(certificates) != 1 {
		t.Errorf("certificates %v, %v", certificates, err)
	}
	allowed := quirks.SourceAddress == clouds.SourceOpen
	for range 3 { // hours, in which Entra's engine works
		probe, err := s.Probe(ctx)
		if err != nil || probe.Accepted() != allowed {
			t.Errorf("probe %+v, %v", probe, err)
		}
		time.Sleep(time.Hour)
	}
	usage, err := s.Usage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for id, at := range usage.LastUsed {
		if id != inUse || time.Since(at) > 2*time.Hour || at.After(time.Now()) {
			t.Errorf("%s is said to be used at %s", id, at)
		}
	}
	if len(usage.LastUsed) > 0 && (!allowed || quirks.CloudTrail == clouds.TrailEphemeral) {
		t.Errorf("a last use is claimed on no evidence: %v", usage.LastUsed)
	}
	return len(usage.LastUsed) > 0
}

// TestEveryFaultHasItsReason makes every call to AWS fail in every way.
func TestEveryFaultHasItsReason(t *testing.T) {
	newCloud(t) // for the environment
	reads := map[string]func(context.Context, *simulated) error{
		"ListInstances":           func(ctx context.Context, s *simulated) error { _, err := s.Binding(ctx); return err },
		"ListProvisioningTenants": func(ctx context.Context, s *simulated) error { _, err := s.Binding(ctx); return err },
		"ListBearerTokens":        func(ctx context.Context, s *simulated) error { _, err := s.ListTokens(ctx); return err },
		"ListExternalIdPConfigurationsForDirectory": func(ctx context.Context, s *simulated) error {
			_, err := s.TrustedCertificates(ctx)
			return err
		},
		"ListExternalIdPCertificates": func(ctx context.Context, s *simulated) error { _, err := s.TrustedCertificates(ctx); return err },
		"LookupEvents": func(ctx context.Context, s *simulated) error {
			_, err := s.CallsSince(ctx, time.Now().Add(-time.Hour))
			return err
		},
	}
	for name, test := range map[string]struct {
		fault        simulator.Fault
		reason       model.Reason
		undocumented model.Reason // "": the same
	}{
		"web page":          {simulator.Fault{Effect: simulator.EffectHTML}, model.ReasonInvalidResponse, model.ReasonAPIChanged},
		"redirect":          {simulator.Fault{Effect: simulator.EffectRedirect, Location: "https://elsewhere.example/"}, model.ReasonInvalidResponse, model.ReasonAPIChanged},
		"hang":              {simulator.Fault{Effect: simulator.EffectHang}, model.ReasonTimeout, ""},
		"trickle":           {simulator.Fault{Effect: simulator.EffectTrickle, Delay: simulator.Duration(5 * time.Second)}, model.ReasonTimeout, ""},
		"flood":             {simulator.Fault{Effect: simulator.EffectHuge}, model.ReasonInvalidResponse, ""},
		"reset":             {simulator.Fault{Effect: simulator.EffectReset}, model.ReasonNetwork, ""},
		"lost":              {simulator.Fault{Effect: simulator.EffectLost}, model.ReasonNetwork, ""},
		"throttled":         {simulator.Fault{Status: 400, Code: "ThrottlingException"}, model.ReasonThrottled, ""},
		"come back later":   {simulator.Fault{Status: 429, Code: "ThrottlingException", RetryAfter: "3600"}, model.ReasonThrottled, ""},
		"internal":          {simulator.Fault{Status: 500, Code: "InternalServerException"}, model.ReasonOther, ""},
		"unknown operation": {simulator.Fault{Status: 404, Code: "UnknownOperationException"}, model.ReasonOther, model.ReasonAPIChanged},
		"nothing in it":     {simulator.Fault{Status: 200, Body: `[]`}, model.ReasonInvalidResponse, model.ReasonAPIChanged},
		"empty error":       {simulator.Fault{Status: 400, Body: `{}`}, model.ReasonOther, ""},
		"expired keys":      {simulator.Fault{Status: 403, Code: "ExpiredTokenException"}, model.ReasonAuth, ""},
	} {
		for operation, reading := range reads {
			t.Run(name+"/"+operation, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := simulate(t, clouds.Healthy("corp"), nil, nil)
					fault := test.fault
					fault.Operation = operation
					if _, err := s.AddFault(fault); err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
					defer cancel()
					err := reading(ctx, s)
					want := test.reason
					if isConsole := operation != "ListInstances" && operation != "LookupEvents"; isConsole && test.undocumented != "" {
						want = test.undocumented
						if want == model.ReasonAPIChanged && !strings.Contains(fmt.Sprint(err), "tokens.read_from: declared") &&
							!strings.Contains(fmt.Sprint(err), "saml.aws_certificates: files") {
							t.Errorf("the documented way is not named: %v", err)
						}
					}
					if got := model.ReasonOf(err); got != want {
						t.Errorf("reason %s, want %s: %v", got, want, err)
					}
					if calls := s.Calls()[operation]; calls > 3 {
						t.Errorf("%d calls are a storm", calls)
					}
					s.ClearFaults() // and it recovers by itself
					if err := reading(ctx, s); err != nil && ctx.Err() == nil {
						t.Errorf("afterwards: %v", err)
					}
				})
			})
		}
	}
}

func TestDenialsNameTheAction(t *testing.T) {
	newCloud(t) // for the environment
	for how, want := range map[clouds.Denial]string{
		clouds.DenyMissing:   "allow %s, see deploy/permissions/aws.md",
		clouds.DenySCP:       "an explicit deny, such as a service control policy, forbids %s: exempt this identity there, see deploy/permissions/aws.md",
		clouds.DenyKMS:       "allow kms:Decrypt on the identity store's KMS key, see deploy/permissions/aws.md",
		clouds.DenyKMSReason: "allow kms:Decrypt on the identity store's KMS key, see deploy/permissions/aws.md",
	} {
		for action, call := range map[clouds.Action]func(context.Context, *simulated) error{
			clouds.ListInstancesAction:           func(ctx context.Context, s *simulated) error { _, err := s.Binding(ctx); return err },
			clouds.ListProvisioningTenantsAction: func(ctx context.Context, s *simulated) error { _, err := s.Binding(ctx); return err },
			clouds.ListBearerTokensAction:        func(ctx context.Context, s *simulated) error { _, err := s.ListTokens(ctx); return err },
			clouds.CreateBearerTokenAction:       func(ctx context.Context, s *simulated) error { _, err := s.CreateToken(ctx); return err },
			clouds.DeleteBearerTokenAction: func(ctx context.Context, s *simulated) error {
				return s.DeleteToken(ctx, s.Connection.TokenIDs[0])
			},
			clouds.ListIdPConfigurationsAction: func(ctx context.Context, s *simulated) error { _, err := s.TrustedCertificates(ctx); return err },
			clouds.ListIdPCertificatesAction:   func(ctx context.Context, s *simulated) error { _, err := s.TrustedCertificates(ctx); return err },
			clouds.ImportIdPCertificateAction: func(ctx context.Context, s *simulated) error {
				_, err := s.ImportCertificate(ctx, []byte("any"), clouds.CertificateUse)
				return err
			},
			clouds.DeleteIdPCertificateAction: func(ctx context.Context, s *simulated) error {
				_, _ = s.Perform(simulator.Action{Do: "import_certificate", Thumbprint: s.State().Connections[0].Certificates[0].Thumbprint}) // twice
				trust, _ := s.TrustConfiguration(ctx)
				return s.DeleteCertificate(ctx, trust.Certificates[0].ID)
			},
			clouds.DescribeIdentityStoreAction: func(ctx context.Context, s *simulated) error { _, err := s.SCIMSources(ctx); return err },
			clouds.LookupEventsAction: func(ctx context.Context, s *simulated) error {
				_, err := s.CallsSince(ctx, time.Now())
				return err
			},
		} {
			if how == clouds.DenyKMSReason && action == clouds.LookupEventsAction {
				continue // the event history has no key
			}
			synctest.Test(t, func(t *testing.T) {
				s := simulate(t, clouds.Healthy("corp"), nil, nil)
				s.With(func(w *clouds.Model) { w.Deny(clouds.ActorExporter, action, how) })
				err := call(t.Context(), s)
				advice := want
				if strings.Contains(want, "%s") {
					advice = fmt.Sprintf(want, action)
				}
				if model.ReasonOf(err) != model.ReasonPermission || !strings.Contains(fmt.Sprint(err), advice) || model.CallOutcomeOf(err) != model.CallRefused {
					t.Errorf("%s %s: %v", action, how, err)
				}
			})
		}
	}
}

// Create and delete change the simulated AWS. A lost response is not taken for a refusal.
func TestWritesInTheSimulator(t *testing.T) {
	newCloud(t) // for the environment
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, clouds.Healthy("corp"), nil, nil)
		old := s.Connection.TokenIDs[0]
		made, err := s.CreateToken(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if life := made.Expires.Sub(made.Created); life < 364*24*time.Hour || life > 367*24*time.Hour {
			t.Errorf("it lives for %s", life)
		}
		if probe, err := s.ProbeToken(t.Context(), made.Value); err != nil || !probe.Accepted() {
			t.Errorf("the new value: %+v, %v", probe, err)
		}
		_, err = s.CreateToken(t.Context())
		if model.CallOutcomeOf(err) != model.CallRefused || model.ReasonOf(err) != model.ReasonOther {
			t.Errorf("a third token: %v", err)
		}
		if _, err := s.AddFault(simulator.Fault{Operation: "DeleteBearerToken", Effect: simulator.EffectLost}); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteToken(t.Context(), old); model.CallOutcomeOf(err) != model.CallUnknown {
			t.Errorf("a lost answer: %v", err)
		}
		s.ClearFaults()
		list, err := s.ListTokens(t.Context())
		if err != nil || !slices.Equal(ids(list.Tokens), []string{made.ID}) {
			t.Errorf("left are %v, %v", ids(list.Tokens), err)
		}
		if err := s.DeleteToken(t.Context(), old); model.ReasonOf(err) != model.ReasonNotFound || model.CallOutcomeOf(err) != model.CallRefused {
			t.Errorf("deleting it again: %v", err)
		}
	})
}

func TestRecreatedProvisioningTenant(t *testing.T) {
	newCloud(t) // for the environment
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, clouds.Healthy("corp"), nil, nil)
		before, err := s.Binding(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s.With(func(w *clouds.Model) {
			if _, err := w.RecreateProvisioningTenant(clouds.ActorSetup, before.IdentityStoreID); err != nil {
				t.Error(err)
			}
		})
		_, _ = s.ListTokens(t.Context()) // the one reading that finds the old tenant gone
		after, err := s.Binding(t.Context())
		if err != nil || after.ProvisioningTenantID == before.ProvisioningTenantID || after.SCIMEndpoint == before.SCIMEndpoint {
			t.Errorf("got %+v, %v", after, err)
		}
	})
}
