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

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/token"
	"entra-aws-exporter/test/harness"
)

// startWithOperatorToken starts a rotation with a token that an operator created; value ""
// is the right one.
func startWithOperatorToken(value string) func(*harness.Harness, *harness.Process) {
	return func(h *harness.Harness, p *harness.Process) {
		id := h.CreateToken()
		if value == "" {
			h.WithClouds(func(m *clouds.Model) { value = m.TokenValue(id) })
		}
		err := p.Engine.Start(context.Background(), h.Connection.Name, harness.StartOptions{TokenID: id, Value: model.NewSecret(value)})
		h.Note("operator starts a rotation with token %s: %v", id, err)
	}
}

// saveBlockedRecord writes the record of another connection whose rotation is blocked.
func saveBlockedRecord(h *harness.Harness, name string) {
	binding := h.Connection.Binding
	binding.ServicePrincipalID = name
	rec := harness.NewRecord(binding, name)
	rec.Record.Rotation = &journal.Rotation{
		ID: "earlier", Kind: model.ProcedureToken, Phase: model.PhasePlan, Progress: &token.Progress{},
		Blocked: &journal.Block{Reason: model.BlockedTwoTokens, Message: "…"},
	}
	saveRecord(h, rec)
}

// saveRecord stores a record that was not written by an engine.
func saveRecord(h *harness.Harness, rec *harness.Record) {
	content, err := harness.Codec.Encode(rec.Record)
	if err == nil {
		_, err = h.Store.Save(rec.Binding.Key(), content, "")
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

const day = 24 * time.Hour

// blockedScenarios are the scenarios that end blocked, by their reasons. Their messages are
// in testdata/blocked.txt.
var blockedScenarios = map[model.BlockedReason]func(*harness.Scenario){
	model.BlockedTwoTokens: func(s *harness.Scenario) {
		s.Spec.Tokens = append(s.Spec.Tokens, clouds.TokenSpec{Age: 10 * day, Left: 355 * day})
	},
	model.BlockedOrphanToken: func(s *harness.Scenario) {
		s.FaultsByName = map[string]harness.Fault{"aws.create#1": harness.EffectDelayed}
	},
	model.BlockedForeignToken: func(s *harness.Scenario) {
		s.Actions = map[string]func(*harness.Harness){"aws.list#7": func(h *harness.Harness) { h.CreateToken() }}
	},
	model.BlockedNewTokenRejected: func(s *harness.Scenario) { s.Begin = startWithOperatorToken("not-the-value") },
	model.BlockedEndpointRefusesEntra: func(s *harness.Scenario) {
		s.Begin = startWithOperatorToken("")
		s.Actions = map[string]func(*harness.Harness){"scim.probe#1": func(h *harness.Harness) { h.AllowOnlyFrom(clouds.ExporterAddress) }}
	},
	model.BlockedSwitchFailed: func(s *harness.Scenario) {
		s.BeforeCall = func(h *harness.Harness, name string) { // the saved value is overwritten before it is tested
			if name == "graph.test" && h.CallCounts["graph.put"] > 0 {
				h.SaveGarbage()
			}
		}
	},
	model.BlockedSwitchReverted: func(s *harness.Scenario) {
		s.Prepare = func(h *harness.Harness) { h.Deny(clouds.ReadDirectoryAudits) }
		s.BeforeCall = func(h *harness.Harness, name string) { // the saved value is overwritten whenever it was stored
			if name == "graph.job" && h.CallCounts["graph.put"] > 0 {
				h.SaveGarbage()
			}
		}
	},
	model.BlockedStorageLimit:      func(s *harness.Scenario) { s.Quirks = quirk("put_secrets", clouds.PutLimited) },
	model.BlockedUnknownSecretKeys: func(s *harness.Scenario) { s.Quirks = quirk("extra_keys", clouds.ExtraMasked) },
	model.BlockedWrongTarget: func(s *harness.Scenario) {
		s.Prepare = func(h *harness.Harness) {
			h.ByOperator(func(m *clouds.Model) error {
				return m.ChangeApplication(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, func(sp *clouds.ServicePrincipal) {
					sp.EntityIDs = []string{"https://eu-central-1.signin.aws.amazon.com/platform/saml/d-9999999999"}
				})
			})
		}
	},
	model.BlockedBindingChanged: func(s *harness.Scenario) {
		s.Actions = map[string]func(*harness.Harness){"scim.probe#1": func(h *harness.Harness) {
			h.ByOperator(func(m *clouds.Model) error {
				_, err := m.RecreateProvisioningTenant(clouds.ActorOperator, h.Connection.IdentityStoreID)
				return err
			})
		}}
	},
	model.BlockedJobStopped: func(s *harness.Scenario) {
		s.Actions = map[string]func(*harness.Harness){"graph.put#1": harness.ActionOn(harness.PauseJob)}
	},
	model.BlockedQuarantineOther: func(s *harness.Scenario) {
		s.Actions = map[string]func(*harness.Harness){"graph.put#1": func(h *harness.Harness) {
			h.ByOperator(func(m *clouds.Model) error {
				return m.Quarantine(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID, "TooManyDeletes")
			})
		}}
	},
	model.BlockedProofTimeout:      func(s *harness.Scenario) { s.Policy.VerifyTimeout = 10 * time.Minute },
	model.BlockedProofContradicted: func(s *harness.Scenario) { s.Quirks = quirk("put_secrets", clouds.PutKeepsToken) },
	model.BlockedEntraHoldsDeadToken: func(s *harness.Scenario) {
		s.Quirks = quirk("put_secrets", clouds.PutKeepsToken)
		s.Quirks.CloudTrail = clouds.TrailAbsent
		s.Prepare = func(h *harness.Harness) { h.SaveMayBeDropped = true }
	},
	model.BlockedCredentialsOverwritten: func(s *harness.Scenario) {
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(h *harness.Harness) { h.SaveToken(clouds.ActorTerraform, h.Connection.TokenIDs[0]) }}
	},
	model.BlockedDeleteRefused: func(s *harness.Scenario) {
		s.Prepare = func(h *harness.Harness) { h.Deny(clouds.DeleteBearerTokenAction) }
	},
	model.BlockedPermission: func(s *harness.Scenario) {
		s.Prepare = func(h *harness.Harness) { h.Deny(clouds.WriteSynchronization) }
	},
	model.BlockedOwnCredentialExpiring: func(s *harness.Scenario) {
		s.Prepare = func(h *harness.Harness) { h.OwnCredentialExpires = time.Now().Add(36 * time.Hour) }
	},
	model.BlockedTokenStoreUnwritable: func(s *harness.Scenario) {
		s.FaultsByName = map[string]harness.Fault{"tokens.reserve": harness.Refused}
	},
	model.BlockedTokenValueLost: func(s *harness.Scenario) {
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(h *harness.Harness) {
			h.ValueLost = true
			for _, key := range h.Store.List(h.Connection.Key()) {
				h.Store.Destroy(key)
			}
		}}
	},
	model.BlockedJournalUnreadable: func(s *harness.Scenario) {
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(h *harness.Harness) {
			h.Store.Replace(h.Connection.Key(), []byte(`{"kind":"entra-aws-exporter/rotation","sch`))
		}}
	},
	model.BlockedStateRestored: func(s *harness.Scenario) {
		s.Prepare = func(h *harness.Harness) { h.Store.KeepHistory = true }
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(h *harness.Harness) { h.Store.Restore(3) }}
	},
	model.BlockedStoreUnsafe: func(s *harness.Scenario) {
		s.FaultsByName = map[string]harness.Fault{"tokens.reserve": harness.UnsafeStore}
	},
	model.BlockedClock: func(s *harness.Scenario) {
		s.Prepare = func(h *harness.Harness) { h.Clouds.SetSkew(clouds.Skew{AWS: 2 * day}) }
	},
	model.BlockedAPIChanged: func(s *harness.Scenario) { s.Quirks = quirk("secrets_get", clouds.Gone) },
	model.BlockedLifetimeTooShort: func(s *harness.Scenario) {
		s.Spec.Tokens = []clouds.TokenSpec{{Age: 6 * day, Left: 2 * day, Saved: true}}
	},
	model.BlockedAttemptsExhausted: func(s *harness.Scenario) {
		s.FaultsByName, s.AlertInterval = map[string]harness.Fault{"aws.create": harness.Refused}, time.Hour
		s.Until = func(h *harness.Harness, p *harness.Process) bool {
			return p.Engine.Status(h.Connection.Name).Blocked != ""
		}
	},
	model.BlockedBudgetExhausted: func(s *harness.Scenario) {
		s.FaultsByName, s.AlertInterval = map[string]harness.Fault{"aws.create": harness.Refused}, time.Hour
		s.Policy.Cooldown = time.Hour
		s.Until = func(h *harness.Harness, p *harness.Process) bool {
			return p.Engine.Status(h.Connection.Name).Blocked != ""
		}
	},
	model.BlockedConnectionRemoved: func(s *harness.Scenario) {
		s.FaultsByName = map[string]harness.Fault{"graph.put#1": harness.KilledAfter}
		s.Actions = map[string]func(*harness.Harness){"graph.put#1": func(h *harness.Harness) {
			h.Configure = func(c token.Options) []token.Options {
				c.Connection, c.Resolve = "elsewhere", func(context.Context) (model.Binding, error) {
					binding := h.Connection.Binding
					binding.ServicePrincipalID = "elsewhere"
					return binding, nil
				}
				return []token.Options{c}
			}
		}}
	},
	model.BlockedFleetHalt: func(s *harness.Scenario) {
		s.Prepare = func(h *harness.Harness) { saveBlockedRecord(h, "first"); saveBlockedRecord(h, "second") }
		s.Begin = func(h *harness.Harness, p *harness.Process) {
			time.Sleep(time.Minute)
			h.Alert(context.Background(), p)
		}
		s.Until = func(h *harness.Harness, p *harness.Process) bool {
			return p.Engine.Status(h.Connection.Name).Blocked != ""
		}
	},
}

// TestBlockedMessages: a scenario reaches every reason, and its message says what to do.
func TestBlockedMessages(t *testing.T) {
	if missing := slices.DeleteFunc(model.BlockedReasonsOf(model.ProcedureToken), func(r model.BlockedReason) bool { _, ok := blockedScenarios[r]; return ok }); len(missing) > 0 {
		t.Errorf("not reached: %v", missing)
	}
	var messages strings.Builder
	for _, reason := range model.BlockedReasonsOf(model.ProcedureToken) {
		t.Run(string(reason), func(t *testing.T) {
			s := harness.BaseScenario()
			blockedScenarios[reason](&s)
			harness.Run(t, s, func(t *testing.T, r harness.Result) {
				if r.Outcome != "blocked "+string(reason) {
					t.Errorf("outcome %s\n%s", r.Outcome, r.Harness.Timeline())
				}
				for _, violation := range harness.CheckInvariants(r) {
					t.Errorf("%s\n%s", violation, r.Harness.Timeline())
				}
				messages.WriteString(readable(r.Harness, r.Status.Message) + "\n")
			})
		})
	}
	compareGolden(t, "testdata/blocked.txt", messages.String())
}

var update = flag.Bool("update", false, "write the files in testdata")

// compareGolden compares with a file that was reviewed.
func compareGolden(t *testing.T, file, got string) {
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

// readable replaces IDs by what they stand for.
func readable(h *harness.Harness, text string) string {
	h.Lock()
	defer h.Unlock()
	for i, id := range h.Connection.TokenIDs {
		text = strings.ReplaceAll(text, id, []string{"OLD", "OTHER"}[i])
	}
	created := 0
	for c := range clouds.EntriesOf[clouds.Creation](h.Clouds) {
		created++
		text = strings.ReplaceAll(text, c.TokenID, fmt.Sprintf("NEW%d", created))
	}
	text = strings.ReplaceAll(text, h.Connection.ProvisioningTenantID, "TENANT")
	text = strings.ReplaceAll(text, h.Connection.JobID, "JOB")
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

// TestRemediationFitsTheCause: where one reason has several causes, the message names the
// remediation for the right one.
func TestRemediationFitsTheCause(t *testing.T) {
	for _, test := range []struct {
		name    string
		change  func(*harness.Scenario)
		outcome string
		want    []string // parts of the message
	}{
		{
			"the sign-in to AWS is refused", func(s *harness.Scenario) {
				s.Prepare = func(h *harness.Harness) {
					h.Configure = func(c token.Options) []token.Options {
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
			"Entra holds an invalid token, and there is no other", func(s *harness.Scenario) {
				s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(h *harness.Harness) { harness.DeleteToken(h, harness.NewestToken(h)) }}
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
				s.Actions = map[string]func(*harness.Harness){"scim.probe#1": func(h *harness.Harness) { h.Deny(clouds.WriteSynchronization) }}
			}, "blocked permission",
			[]string{"in phase test (permission): testing the connection: permission: Authorization_RequestDenied; ", "next: grant what this names (doctor corp tries the other permissions), then rotation reset corp."},
		},
		{
			"the application's Tenant URL was changed before the test", func(s *harness.Scenario) {
				s.Actions = map[string]func(*harness.Harness){"scim.probe#1": func(h *harness.Harness) {
					h.ByOperator(func(m *clouds.Model) error {
						return m.PutSecrets(clouds.CallerFor(clouds.ActorOperator), h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, []clouds.Secret{
							{Key: model.CredentialKeyBaseAddress, Value: "https://scim.us-east-1.amazonaws.com/another/scim/v2"},
							{Key: model.CredentialKeySecretToken, Value: m.TokenValue(h.Connection.TokenIDs[0])},
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
			expectOutcome(t, s, test.outcome, func(t *testing.T, r harness.Result) {
				for _, want := range test.want {
					if got := readable(r.Harness, r.Status.Message); !strings.Contains(got, want) {
						t.Errorf("%s\ndoes not contain\n%s", got, want)
					}
				}
			})
		})
	}
}
