package rotate_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/certificate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/test/harness"
)

// forced starts a rollover as an operator who does not wait until it is due.
func forced(options certificate.StartOptions) func(*harness.Harness, *harness.Process) {
	return func(h *harness.Harness, p *harness.Process) {
		err := p.Engine.StartRollover(h.Ctx, h.Connection.Name, true, options)
		h.Note("operator starts a rollover: %v", err)
	}
}

// inPhase runs an action once, before a call with this name in this phase. Any call: "".
func inPhase(phase model.Phase, call string, do func(*harness.Harness)) func(*harness.Harness, string) {
	var done atomic.Bool
	return func(h *harness.Harness, name string) {
		rot, _ := h.Current.Load().Engine.Rollover(h.Connection.Name)
		if rot != nil && rot.Phase == phase && (call == "" || call == name) && done.CompareAndSwap(false, true) {
			do(h)
		}
	}
}

// deny takes permissions from the exporter.
func deny(actions ...clouds.Action) func(*harness.Harness) {
	return func(h *harness.Harness) {
		for _, action := range actions {
			h.Deny(action)
		}
	}
}

// configured changes the rollover's options.
func configured(change func(*certificate.Options)) func(*harness.Harness) {
	return func(h *harness.Harness) { h.ConfigureRollover = change }
}

// elsewhere is an instance whose primary region is another one.
type elsewhere struct{ certificate.Instance }

func (i elsewhere) TrustConfiguration(ctx context.Context) (model.TrustConfiguration, error) {
	trust, err := i.Instance.TrustConfiguration(ctx)
	trust.PrimaryRegion = "us-east-1"
	return trust, err
}

// signedOutInstance is an instance whose sign-in AWS refuses.
type signedOutInstance struct{ certificate.Instance }

func (signedOutInstance) TrustConfiguration(context.Context) (model.TrustConfiguration, error) {
	_, err := signedOut{}.ListTokens(context.Background())
	return model.TrustConfiguration{}, err
}

// nationalCloud is an application in a cloud whose Graph makes no certificate.
type nationalCloud struct{ certificate.Application }

func (nationalCloud) CreateCertificate(context.Context, string, time.Time) (model.IssuedCertificate, error) {
	return model.IssuedCertificate{}, &model.Error{Reason: model.ReasonOther, Op: "creating a signing certificate", Unsent: true, Err: model.ErrNationalCloud}
}

func certificates(list ...clouds.CertificateSpec) func(*harness.Scenario) {
	return func(s *harness.Scenario) { s.Spec.Certificates = list }
}

// expiring is the certificate of clouds.ExpiringCertificate.
func expiring() clouds.CertificateSpec { return clouds.ExpiringCertificate("corp").Certificates[0] }

// blockedRollovers are the scenarios that end blocked, by their reasons. Their messages are
// in testdata/blocked-rollovers.txt.
var blockedRollovers = map[model.BlockedReason]func(*harness.Scenario){
	model.BlockedActiveUnknown: func(s *harness.Scenario) {
		s.Prepare = func(h *harness.Harness) { h.ActivateCertificate(clouds.ActorOperator, strings.Repeat("0", 40)) }
		s.Begin = forced(certificate.StartOptions{})
	},
	model.BlockedActiveExpired: certificates(
		clouds.CertificateSpec{Age: 1100 * day, Left: -5 * day, Active: true, Trusted: true},
		clouds.CertificateSpec{Age: 40 * day, Left: 1055 * day, Trusted: true},
	),
	model.BlockedActiveExpiring: certificates(clouds.CertificateSpec{Age: 1090 * day, Left: 5 * day, Active: true, Trusted: true}),
	model.BlockedActiveNotTrusted: func(s *harness.Scenario) {
		s.BeforeCall = inPhase(model.PhaseSettle, "", func(h *harness.Harness) { h.DistrustCertificate(clouds.ActorOperator, h.OldCertificate()) })
	},
	model.BlockedSignerNotTrusted: certificates(clouds.Quarantined("corp").Certificates...),
	model.BlockedCertificatesFull: certificates(expiring(), clouds.CertificateSpec{Age: 1200 * day, Left: -100 * day, Trusted: true}),
	model.BlockedForeignCertificate: func(s *harness.Scenario) {
		s.Prepare = func(h *harness.Harness) { h.MakeCertificate(clouds.ActorOperator, "CN=by hand") }
	},
	model.BlockedCreateAmbiguous: func(s *harness.Scenario) {
		s.FaultsByName = map[string]harness.Fault{"graph.create_certificate#1": harness.ResponseLost}
		s.BeforeCall = inPhase(model.PhaseCreate, "graph.create_certificate", func(h *harness.Harness) {
			_, progress := h.Current.Load().Engine.Rollover(h.Connection.Name)
			h.MakeCertificate(clouds.ActorOperator, progress.Subject)
		})
	},
	model.BlockedImportRefused: func(s *harness.Scenario) { s.Quirks = quirk("certificate_use", clouds.UseRefused) },
	model.BlockedActivationFailed: func(s *harness.Scenario) {
		s.FaultsByName = map[string]harness.Fault{"graph.activate_certificate": harness.Refused}
	},
	model.BlockedActivationReverted: func(s *harness.Scenario) {
		s.BeforeCall = inPhase(model.PhaseVerify, "", func(h *harness.Harness) {
			time.Sleep(time.Hour)
			h.ActivateCertificate(clouds.ActorTerraform, h.OldCertificate())
		})
	},
	model.BlockedSignInFailing: func(s *harness.Scenario) {
		s.Spec.SignInEvery = time.Minute
		s.BeforeCall = inPhase(model.PhaseVerify, "", signInsFail)
	},
	model.BlockedNotPrimaryRegion: func(s *harness.Scenario) {
		s.Prepare = configured(func(o *certificate.Options) { o.Instance = elsewhere{o.Instance} })
	},
	model.BlockedWrongSSOMode: func(s *harness.Scenario) {
		s.Prepare = harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
			return m.SetSingleSignOn(clouds.ActorOperator, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, "password")
		})
	},
	model.BlockedPolicyRefused: func(s *harness.Scenario) { s.Quirks = quirk("app_policy", clouds.PolicyRefuses) },
	model.BlockedNationalCloud: func(s *harness.Scenario) {
		s.Prepare = configured(func(o *certificate.Options) { o.Application = nationalCloud{o.Application} })
	},
	model.BlockedWrongTarget: func(s *harness.Scenario) {
		s.Prepare = harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
			return m.AddIdP(clouds.ActorOperator, h.Connection.IdentityStoreID)
		})
	},
	model.BlockedBindingChanged: func(s *harness.Scenario) {
		s.BeforeCall = inPhase(model.PhaseSettle, "", harness.ActionOn(harness.ReplaceJob))
	},
	model.BlockedDeleteRefused: func(s *harness.Scenario) {
		s.FaultsByName = map[string]harness.Fault{"aws.delete_certificate": harness.Refused}
	},
	model.BlockedPermission: func(s *harness.Scenario) { s.Prepare = deny(clouds.ImportIdPCertificateAction) },
	model.BlockedOwnCredentialExpiring: func(s *harness.Scenario) {
		s.Prepare = configured(func(o *certificate.Options) { o.Instance = signedOutInstance{o.Instance} })
	},
	model.BlockedJournalUnreadable: func(s *harness.Scenario) {
		s.BeforeCall = inPhase(model.PhaseVerify, "", func(h *harness.Harness) {
			h.Store.Replace(h.Connection.Key(), []byte(`{"kind":"entra-aws-exporter/rotation","sch`))
		})
	},
	model.BlockedStateRestored: func(s *harness.Scenario) {
		s.Prepare = func(h *harness.Harness) { h.Store.KeepHistory = true }
		s.BeforeCall = inPhase(model.PhaseVerify, "", func(h *harness.Harness) { h.Store.Restore(3) })
	},
	model.BlockedStoreUnsafe: func(s *harness.Scenario) {
		s.BeforeCall = inPhase(model.PhaseSettle, "", func(h *harness.Harness) {
			h.WithClouds(func(*clouds.Model) { h.FaultsByName = map[string]harness.Fault{"journal.save": harness.UnsafeStore} })
		})
		s.Until, s.WatchAfter = isBlocked, time.Second // before the journal is read again
	},
	model.BlockedClock: func(s *harness.Scenario) {
		s.Prepare = func(h *harness.Harness) { h.Clouds.SetSkew(clouds.Skew{AWS: 2 * day}) }
	},
	model.BlockedAPIChanged: func(s *harness.Scenario) {
		s.FaultsByName = map[string]harness.Fault{"aws.trust": harness.Unparsable}
	},
	model.BlockedAttemptsExhausted: func(s *harness.Scenario) {
		s.FaultsByName, s.AlertInterval = map[string]harness.Fault{"graph.create_certificate": harness.Refused}, time.Hour
		s.Until = isBlocked
	},
	model.BlockedBudgetExhausted: func(s *harness.Scenario) {
		s.FaultsByName, s.AlertInterval = map[string]harness.Fault{"graph.create_certificate": harness.Unavailable}, time.Hour
		s.Until = isBlocked
	},
	model.BlockedConnectionRemoved: func(s *harness.Scenario) {
		s.FaultsByName = map[string]harness.Fault{"graph.activate_certificate#1": harness.KilledAfter}
		s.Actions = map[string]func(*harness.Harness){"graph.activate_certificate#1": configured(func(o *certificate.Options) {
			resolve := o.Resolve
			o.Connection, o.Resolve = "elsewhere", func(ctx context.Context) (model.Binding, error) {
				binding, err := resolve(ctx)
				binding.ServicePrincipalID = "elsewhere"
				return binding, err
			}
		})}
	},
	model.BlockedFleetHalt: func(s *harness.Scenario) {
		s.Prepare = func(h *harness.Harness) { saveBlockedRollover(h, "first"); saveBlockedRollover(h, "second") }
		s.Begin = func(h *harness.Harness, p *harness.Process) {
			time.Sleep(time.Minute)
			h.Alert(context.Background(), p)
		}
		s.Until = isBlocked
	},
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// saveBlockedRollover writes the record of another connection whose rollover is blocked.
func saveBlockedRollover(h *harness.Harness, name string) {
	binding := h.Connection.Binding
	binding.ServicePrincipalID = name
	record := harness.RolloverCodec.NewRecord(binding, name)
	record.Rotation = &journal.Rotation{
		ID: "earlier", Kind: model.ProcedureCertificate, Phase: model.PhasePlan, Progress: &certificate.Progress{},
		Blocked: &journal.Block{Reason: model.BlockedClock, Message: "…"},
	}
	content, err := harness.RolloverCodec.Encode(record)
	if err == nil {
		_, err = h.Store.Save(binding.Key(), content, "")
	}
	must(err)
}

// TestBlockedRollovers: a scenario reaches every reason, and its message says what to do.
func TestBlockedRollovers(t *testing.T) {
	var messages strings.Builder
	for _, reason := range model.BlockedReasonsOf(model.ProcedureCertificate) {
		scenario, reached := blockedRollovers[reason]
		if !reached {
			t.Errorf("not reached: %s", reason)
			continue
		}
		t.Run(string(reason), func(t *testing.T) {
			s := harness.RolloverScenario()
			scenario(&s)
			harness.Run(t, s, func(t *testing.T, r harness.Result) {
				if r.Outcome != "blocked "+string(reason) {
					t.Errorf("outcome %s\n%s", r.Outcome, r.Harness.Timeline())
				}
				for _, violation := range harness.CheckRollover(r) {
					t.Errorf("%s\n%s", violation, r.Harness.Timeline())
				}
				messages.WriteString(readableRollover(r.Harness, r.Status.Message) + "\n")
			})
		})
	}
	compareGolden(t, "testdata/blocked-rollovers.txt", messages.String())
}

// readableRollover replaces fingerprints and ids by what they stand for.
func readableRollover(h *harness.Harness, text string) string {
	names := map[string]string{}
	created, others := 0, 0
	newest := map[string]bool{}
	h.WithClouds(func(m *clouds.Model) {
		for c := range clouds.EntriesOf[clouds.CertificateCreation](m) {
			newest[c.Thumbprint] = c.Actor == clouds.ActorExporter
		}
	})
	for _, c := range h.Certificates() {
		byExporter, made := newest[c.Thumbprint]
		name := "OLD"
		switch {
		case made && byExporter:
			created++
			name = fmt.Sprintf("NEW%d", created)
		case c.Thumbprint != h.OldCertificate():
			others++
			name = fmt.Sprintf("OTHER%d", others)
		}
		names[certificate.Fingerprint(c.DER)], names[c.Thumbprint] = name, name
	}
	for _, id := range slices.SortedFunc(maps.Keys(names), func(a, b string) int { return cmp.Compare(len(b), len(a)) }) {
		text = strings.ReplaceAll(text, id, names[id])
	}
	h.Lock()
	defer h.Unlock()
	text = strings.ReplaceAll(text, h.Connection.JobID, "JOB")
	return subjectOfCreation.ReplaceAllString(text, "ROTATION-1")
}

// subjectOfCreation is the end of the subject of a rotation's first creation.
var subjectOfCreation = regexp.MustCompile(rotationID.String() + `-1-[a-z0-9]{6}`)
