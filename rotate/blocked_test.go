package rotate_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/test/harness"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/token"
)

// startWithOperatorToken begins a rotation with a token that a person made; value "" is the right one.
func startWithOperatorToken(value string) func(*harness.Harness, *harness.Process) {
	return func(l *harness.Harness, s *harness.Process) {
		id := l.CreateToken()
		if value == "" {
			l.WithClouds(func(w *clouds.Model) { value = w.TokenValue(id) })
		}
		err := s.Engine.Start(context.Background(), l.Connection.Name, harness.StartOptions{TokenID: id, Value: model.NewSecret(value)})
		l.Note("a person starts a rotation with token %s: %v", id, err)
	}
}

// blockedOther writes the record of another connection whose rotation is blocked.
func blockedOther(l *harness.Harness, name string) {
	binding := l.Connection.Binding
	binding.ServicePrincipalID = name
	rec := harness.NewRecord(binding, name)
	rec.Record.Rotation = &journal.Rotation{
		ID: "earlier", Kind: model.ProcedureToken, Phase: model.PhasePlan, Progress: &token.Progress{},
		Blocked: &journal.Block{Reason: model.BlockedTwoTokens, Message: "…"},
	}
	saveRecord(l, rec)
}

// SaveRecord stores a record that was not written by an engine.
func saveRecord(l *harness.Harness, rec *harness.Record) {
	content, err := harness.Codec.Encode(rec.Record)
	if err == nil {
		_, err = l.Store.Save(rec.Binding.Key(), content, "")
	}
	if err != nil {
		panic(err)
	}
}

func quirk(name, value string) clouds.Quirks {
	quirks := clouds.DefaultQuirks()
	if err := quirks.Set(name, value); err != nil {
		panic(err)
	}
	return quirks
}

const day1 = 24 * time.Hour

// blockedScenarios are the scenarios that end blocked, by their reasons. What a person then reads
// is in testdata/blocked.txt.
var blockedScenarios = map[model.BlockedReason]func(*harness.Scenario){
	model.BlockedTwoTokens: func(s *harness.Scenario) {
		s.Spec.Tokens = append(s.Spec.Tokens, clouds.TokenSpec{Age: 10 * day1, Left: 355 * day1})
	},
	model.BlockedOrphanToken: func(s *harness.Scenario) {
		s.FaultsByName = map[string]harness.Fault{"aws.create#1": harness.EffectDelayed}
	},
	model.BlockedForeignToken: func(s *harness.Scenario) {
		s.Actions = map[string]func(*harness.Harness){"aws.list#7": func(l *harness.Harness) { l.CreateToken() }}
	},
	model.BlockedNewTokenRejected: func(s *harness.Scenario) { s.Begin = startWithOperatorToken("not-the-value") },
	model.BlockedEndpointRefusesEntra: func(s *harness.Scenario) {
		s.Begin = startWithOperatorToken("")
		s.Actions = map[string]func(*harness.Harness){"scim.probe#1": func(l *harness.Harness) { l.AllowOnlyFrom(clouds.ExporterAddress) }}
	},
	model.BlockedSwitchFailed: func(s *harness.Scenario) {
		s.BeforeCall = func(l *harness.Harness, name string) { // somebody spoils what is saved before it is tested
			if name == "graph.test" && l.CallCounts["graph.put"] > 0 {
				l.SaveGarbage()
			}
		}
	},
	model.BlockedSwitchReverted: func(s *harness.Scenario) {
		s.Prepare = func(l *harness.Harness) { l.Deny(clouds.ReadDirectoryAudits) }
		s.BeforeCall = func(l *harness.Harness, name string) { // somebody spoils it whenever it was stored
			if name == "graph.job" && l.CallCounts["graph.put"] > 0 {
				l.SaveGarbage()
			}
		}
	},
	model.BlockedStorageLimit:      func(s *harness.Scenario) { s.Quirks = quirk("put_secrets", clouds.PutLimited) },
	model.BlockedUnknownSecretKeys: func(s *harness.Scenario) { s.Quirks = quirk("extra_keys", clouds.ExtraMasked) },
	model.BlockedWrongTarget: func(s *harness.Scenario) {
		s.Prepare = func(l *harness.Harness) {
			l.ByOperator(func(w *clouds.Model) error {
				return w.ChangeApplication(l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, func(sp *clouds.ServicePrincipal) {
					sp.EntityIDs = []string{"https://eu-central-1.signin.aws.amazon.com/platform/saml/d-9999999999"}
				})
			})
		}
	},
	model.BlockedBindingChanged: func(s *harness.Scenario) {
		s.Actions = map[string]func(*harness.Harness){"scim.probe#1": func(l *harness.Harness) {
			l.ByOperator(func(w *clouds.Model) error {
				_, err := w.RecreateProvisioningTenant(clouds.ActorOperator, l.Connection.IdentityStoreID)
				return err
			})
		}}
	},
	model.BlockedJobStopped: func(s *harness.Scenario) {
		s.Actions = map[string]func(*harness.Harness){"graph.put#1": harness.ActionOn(harness.PauseJob)}
	},
	model.BlockedQuarantineOther: func(s *harness.Scenario) {
		s.Actions = map[string]func(*harness.Harness){"graph.put#1": func(l *harness.Harness) {
			l.ByOperator(func(w *clouds.Model) error {
				return w.QuarantineForDeletes(l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID)
			})
		}}
	},
	model.BlockedProofTimeout:      func(s *harness.Scenario) { s.Policy.VerifyTimeout = 10 * time.Minute },
	model.BlockedProofContradicted: func(s *harness.Scenario) { s.Quirks = quirk("put_secrets", clouds.PutKeepsToken) },
	model.BlockedEntraHoldsDeadToken: func(s *harness.Scenario) {
		s.Quirks = quirk("put_secrets", clouds.PutKeepsToken)
		s.Quirks.CloudTrail = clouds.TrailAbsent
		s.Prepare = func(l *harness.Harness) { l.SaveMayBeDropped = true }
	},
	model.BlockedCredentialsOverwritten: func(s *harness.Scenario) {
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(l *harness.Harness) { l.SaveToken(clouds.ActorTerraform, l.Connection.TokenIDs[0]) }}
	},
	model.BlockedDeleteRefused: func(s *harness.Scenario) {
		s.Prepare = func(l *harness.Harness) { l.Deny(clouds.DeleteBearerTokenAction) }
	},
	model.BlockedPermission: func(s *harness.Scenario) {
		s.Prepare = func(l *harness.Harness) { l.Deny(clouds.WriteSynchronization) }
	},
	model.BlockedOwnCredentialExpiring: func(s *harness.Scenario) {
		s.Prepare = func(l *harness.Harness) { l.OwnCredentialExpires = time.Now().Add(36 * time.Hour) }
	},
	model.BlockedTokenStoreUnwritable: func(s *harness.Scenario) { s.FaultsByName = map[string]harness.Fault{"vault.reserve": harness.Refused} },
	model.BlockedTokenValueLost: func(s *harness.Scenario) {
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(l *harness.Harness) {
			l.ValueLost = true
			for _, key := range l.Store.List(l.Connection.Key()) {
				l.Store.Destroy(key)
			}
		}}
	},
	model.BlockedJournalUnreadable: func(s *harness.Scenario) {
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(l *harness.Harness) {
			key := l.Connection.Key()
			l.Store.Records[key] = harness.StoredRecord{Content: []byte(`{"kind":"entra-aws-exporter/rotation","sch`), Revision: "edited"}
		}}
	},
	model.BlockedStateRestored: func(s *harness.Scenario) {
		s.Prepare = func(l *harness.Harness) { l.Store.KeepHistory = true }
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(l *harness.Harness) { l.Store.Restore(3) }}
	},
	model.BlockedStoreUnsafe: func(s *harness.Scenario) {
		s.FaultsByName = map[string]harness.Fault{"vault.reserve": harness.UnsafeStore}
	},
	model.BlockedClock: func(s *harness.Scenario) {
		s.Prepare = func(l *harness.Harness) { l.Clouds.SetSkew(clouds.Skew{AWS: 2 * day1}) }
	},
	model.BlockedAPIChanged: func(s *harness.Scenario) { s.Quirks = quirk("secrets_get", clouds.Gone) },
	model.BlockedLifetimeTooShort: func(s *harness.Scenario) {
		s.Spec.Tokens = []clouds.TokenSpec{{Age: 4 * day1, Left: 2 * day1, Saved: true}}
	},
	model.BlockedAttemptsExhausted: func(s *harness.Scenario) {
		s.FaultsByName, s.AlertInterval = map[string]harness.Fault{"aws.create": harness.Refused}, time.Hour
		s.Until = func(l *harness.Harness, ses *harness.Process) bool {
			return ses.Engine.Status(l.Connection.Name).Blocked != ""
		}
	},
	model.BlockedBudgetExhausted: func(s *harness.Scenario) {
		s.FaultsByName, s.AlertInterval = map[string]harness.Fault{"aws.create": harness.Refused}, time.Hour
		s.Policy.Cooldown = time.Hour
		s.Until = func(l *harness.Harness, ses *harness.Process) bool {
			return ses.Engine.Status(l.Connection.Name).Blocked != ""
		}
	},
	model.BlockedConnectionRemoved: func(s *harness.Scenario) {
		s.FaultsByName = map[string]harness.Fault{"graph.put#1": harness.KilledAfter}
		s.Actions = map[string]func(*harness.Harness){"graph.put#1": func(l *harness.Harness) {
			l.Configure = func(c token.Options) []token.Options {
				c.Connection, c.Resolve = "elsewhere", func(context.Context) (model.Binding, error) {
					binding := l.Connection.Binding
					binding.ServicePrincipalID = "elsewhere"
					return binding, nil
				}
				return []token.Options{c}
			}
		}}
	},
	model.BlockedFleetHalt: func(s *harness.Scenario) {
		s.Prepare = func(l *harness.Harness) { blockedOther(l, "first"); blockedOther(l, "second") }
		s.Begin = func(l *harness.Harness, ses *harness.Process) {
			time.Sleep(time.Minute)
			l.Alert(context.Background(), ses)
		}
		s.Until = func(l *harness.Harness, ses *harness.Process) bool {
			return ses.Engine.Status(l.Connection.Name).Blocked != ""
		}
	},
}

func TestEveryBlockedReasonIsReachedAndSaysWhatToDo(t *testing.T) {
	if missing := slices.DeleteFunc(model.BlockedReasons(), func(r model.BlockedReason) bool { _, ok := blockedScenarios[r]; return ok }); len(missing) > 0 {
		t.Errorf("not reached: %v", missing)
	}
	var read strings.Builder
	for _, reason := range model.BlockedReasons() {
		t.Run(string(reason), func(t *testing.T) {
			s := harness.BaseScenario()
			blockedScenarios[reason](&s)
			harness.Run(t, s, func(t *testing.T, o harness.Result) {
				if o.Outcome != "blocked "+string(reason) {
					t.Errorf("ended %s\n%s", o.Outcome, o.Harness.Timeline())
				}
				for _, wrong := range harness.CheckInvariants(o) {
					t.Errorf("%s\n%s", wrong, o.Harness.Timeline())
				}
				read.WriteString(readable(o.Harness, o.Status.Message) + "\n")
			})
		})
	}
	golden(t, "testdata/blocked.txt", read.String())
}

var update = flag.Bool("update", false, "write testdata anew")

// golden compares with a file that people have read.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

var rotationID = regexp.MustCompile(`20\d{6}T\d{6}-[a-z0-9]{6}`)

// readable replaces ids by what they stand for.
func readable(l *harness.Harness, text string) string {
	l.Lock()
	defer l.Unlock()
	for i, id := range l.Connection.TokenIDs {
		text = strings.ReplaceAll(text, id, []string{"OLD", "OTHER"}[i])
	}
	created := 0
	for c := range clouds.EntriesOf[clouds.Creation](l.Clouds) {
		created++
		text = strings.ReplaceAll(text, c.TokenID, fmt.Sprintf("NEW%d", created))
	}
	text = strings.ReplaceAll(text, l.Connection.ProvisioningTenantID, "TENANT")
	text = strings.ReplaceAll(text, l.Connection.JobID, "JOB")
	return rotationID.ReplaceAllString(text, "ROTATION")
}

// signedOut is a token service whose sign-in AWS refuses.
type signedOut struct{ token.Tokens }

func (signedOut) ListTokens(context.Context) (model.TokenList, error) {
	return model.TokenList{}, &model.Error{
		Reason: model.ReasonAuth, Op: "listing the SCIM tokens of corp", Unsent: true,
		Detail: "cannot assume arn:aws:iam::1:role/exporter: AccessDenied: no", Advice: "check aws.role_arn",
	}
}

// TestWhatToDoNextFitsTheCase: where one reason has several causes, the sentence does not
// send anybody after the wrong one.
func TestWhatToDoNextFitsTheCase(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*harness.Scenario)
		ending string
		want   []string // in the sentence
	}{
		{
			"the sign-in to AWS is refused", func(s *harness.Scenario) {
				s.Prepare = func(l *harness.Harness) {
					l.Configure = func(c token.Options) []token.Options {
						c.Tokens = signedOut{c.Tokens}
						return []token.Options{c}
					}
				}
			}, "blocked own_credential_expiring",
			[]string{
				"(own_credential_expiring): listing the SCIM tokens of corp: auth: cannot assume arn:aws:iam::1:role/exporter: AccessDenied: no (check aws.role_arn); ",
				"next: renew the sign-in that this names, at Entra or at AWS (doctor corp tries both), then rotation reset corp.",
			},
		},
		{
			"Entra holds a dead token, and there is no other", func(s *harness.Scenario) {
				s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(l *harness.Harness) { harness.DeleteToken(l, harness.NewestToken(l)) }}
				s.FaultsByName = map[string]harness.Fault{"aws.create#2": harness.Refused}
			}, "blocked entra_holds_dead_token",
			[]string{
				"(entra_holds_dead_token): Entra's saved token is refused, and no other could be created: ",
				"next: generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), " +
					"enter it in Entra, then rotation adopt corp --in-use ID.",
			},
		},
		{
			"the new token cannot be tested for lack of a permission", func(s *harness.Scenario) {
				s.Actions = map[string]func(*harness.Harness){"scim.probe#1": func(l *harness.Harness) { l.Deny(clouds.WriteSynchronization) }}
			}, "blocked permission",
			[]string{"in phase test (permission): testing the connection: permission: Authorization_RequestDenied; ", "next: doctor corp, grant what it names"},
		},
		{
			"the application was led elsewhere before the test", func(s *harness.Scenario) {
				s.Actions = map[string]func(*harness.Harness){"scim.probe#1": func(l *harness.Harness) {
					l.ByOperator(func(w *clouds.Model) error {
						return w.PutSecrets(clouds.CallerFor(clouds.ActorOperator), l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, []clouds.Secret{
							{Key: model.CredentialKeyBaseAddress, Value: "https://scim.us-east-1.amazonaws.com/another/scim/v2"},
							{Key: model.CredentialKeySecretToken, Value: w.TokenValue(l.Connection.TokenIDs[0])},
						})
					})
				}}
			}, "blocked wrong_target",
			[]string{"in phase test (wrong_target): the application provisions to another Tenant URL", "next: correct service_principal_id"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := harness.BaseScenario()
			test.change(&s)
			mustEnd(t, s, test.ending, func(t *testing.T, o harness.Result) {
				for _, want := range test.want {
					if got := readable(o.Harness, o.Status.Message); !strings.Contains(got, want) {
						t.Errorf("%s\nwant in it\n%s", got, want)
					}
				}
			})
		})
	}
}
