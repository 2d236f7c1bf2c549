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
)

// offer begins a rotation with a token that a person made; value "" is the right one.
func offer(value string) func(*lab, *session) {
	return func(l *lab, s *session) {
		id := l.createByHand()
		if value == "" {
			l.locked(func(w *clouds.Model) { value = w.TokenValue(id) })
		}
		err := s.engine.Start(context.Background(), l.at.Name, startOptions{TokenID: id, Value: model.NewSecret(value)})
		l.note("a person starts a rotation with token %s: %v", id, err)
	}
}

// blockedOther writes the record of another connection whose rotation is blocked.
func (l *lab) blockedOther(name string) {
	binding := l.at.Binding
	binding.ServicePrincipalID = name
	rec := newRecord(binding, name)
	rec.Record.Rotation = &journal.Rotation{
		ID: "earlier", Kind: model.ProcedureToken, Phase: model.PhasePlan, Progress: &token.Progress{},
		Blocked: &journal.Block{Reason: model.BlockedTwoTokens, Message: "…"},
	}
	l.saveRecord(rec)
}

// saveRecord stores a record that was not written by an engine.
func (l *lab) saveRecord(rec *record) {
	content, err := codec.Encode(rec.Record)
	if err == nil {
		_, err = l.memory.save(rec.Binding.Key(), content, "")
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

// stuck are the scenarios that end blocked, by their reasons. What a person then reads
// is in testdata/blocked.txt.
var stuck = map[model.BlockedReason]func(*scenario){
	model.BlockedTwoTokens: func(s *scenario) {
		s.spec.Tokens = append(s.spec.Tokens, clouds.TokenSpec{Age: 10 * day1, Left: 355 * day1})
	},
	model.BlockedOrphanToken: func(s *scenario) { s.named = map[string]fault{"aws.create#1": effectLater} },
	model.BlockedForeignToken: func(s *scenario) {
		s.hands = map[string]func(*lab){"aws.list#7": func(l *lab) { l.createByHand() }}
	},
	model.BlockedNewTokenRejected: func(s *scenario) { s.begin = offer("not-the-value") },
	model.BlockedEndpointRefusesEntra: func(s *scenario) {
		s.begin = offer("")
		s.hands = map[string]func(*lab){"scim.probe#1": func(l *lab) { l.onlyFrom(clouds.ExporterAddress) }}
	},
	model.BlockedSwitchFailed: func(s *scenario) {
		s.every = func(l *lab, name string) { // somebody spoils what is saved before it is tested
			if name == "graph.test" && l.counts["graph.put"] > 0 {
				l.saveGarbage()
			}
		}
	},
	model.BlockedSwitchReverted: func(s *scenario) {
		s.prepare = func(l *lab) { l.deny(clouds.ReadDirectoryAudits) }
		s.every = func(l *lab, name string) { // somebody spoils it whenever it was stored
			if name == "graph.job" && l.counts["graph.put"] > 0 {
				l.saveGarbage()
			}
		}
	},
	model.BlockedStorageLimit:      func(s *scenario) { s.quirks = quirk("put_secrets", clouds.PutLimited) },
	model.BlockedUnknownSecretKeys: func(s *scenario) { s.quirks = quirk("extra_keys", clouds.ExtraMasked) },
	model.BlockedWrongTarget: func(s *scenario) {
		s.prepare = func(l *lab) {
			l.person(func(w *clouds.Model) error {
				return w.ChangeApplication(l.at.EntraTenantID, l.at.ServicePrincipalID, func(sp *clouds.ServicePrincipal) {
					sp.EntityIDs = []string{"https://eu-central-1.signin.aws.amazon.com/platform/saml/d-9999999999"}
				})
			})
		}
	},
	model.BlockedBindingChanged: func(s *scenario) {
		s.hands = map[string]func(*lab){"scim.probe#1": func(l *lab) {
			l.person(func(w *clouds.Model) error {
				_, err := w.RecreateProvisioningTenant(clouds.ActorOperator, l.at.IdentityStoreID)
				return err
			})
		}}
	},
	model.BlockedJobStopped: func(s *scenario) {
		s.hands = map[string]func(*lab){"graph.put#1": byHand(pauseJob)}
	},
	model.BlockedQuarantineOther: func(s *scenario) {
		s.hands = map[string]func(*lab){"graph.put#1": func(l *lab) {
			l.person(func(w *clouds.Model) error {
				return w.QuarantineForDeletes(l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
			})
		}}
	},
	model.BlockedProofTimeout:      func(s *scenario) { s.policy.VerifyTimeout = 10 * time.Minute },
	model.BlockedProofContradicted: func(s *scenario) { s.quirks = quirk("put_secrets", clouds.PutKeepsToken) },
	model.BlockedEntraHoldsDeadToken: func(s *scenario) {
		s.quirks = quirk("put_secrets", clouds.PutKeepsToken)
		s.quirks.CloudTrail = clouds.TrailAbsent
		s.prepare = func(l *lab) { l.dropped = true }
	},
	model.BlockedCredentialsOverwritten: func(s *scenario) {
		s.hands = map[string]func(*lab){"graph.log#1": func(l *lab) { l.saveByHand(clouds.ActorTerraform, l.at.TokenIDs[0]) }}
	},
	model.BlockedDeleteRefused: func(s *scenario) {
		s.prepare = func(l *lab) { l.deny(clouds.DeleteBearerTokenAction) }
	},
	model.BlockedPermission: func(s *scenario) { s.prepare = func(l *lab) { l.deny(clouds.WriteSynchronization) } },
	model.BlockedOwnCredentialExpiring: func(s *scenario) {
		s.prepare = func(l *lab) { l.ownCredential = time.Now().Add(36 * time.Hour) }
	},
	model.BlockedTokenStoreUnwritable: func(s *scenario) { s.named = map[string]fault{"vault.reserve": refused} },
	model.BlockedTokenValueLost: func(s *scenario) {
		s.hands = map[string]func(*lab){"graph.log#1": func(l *lab) {
			l.valueLost = true
			for _, key := range l.memory.list(l.at.Key()) {
				l.memory.destroy(key)
			}
		}}
	},
	model.BlockedJournalUnreadable: func(s *scenario) {
		s.hands = map[string]func(*lab){"graph.log#1": func(l *lab) {
			key := l.at.Key()
			l.memory.records[key] = stored{[]byte(`{"kind":"entra-aws-exporter/rotation","sch`), "edited"}
		}}
	},
	model.BlockedStateRestored: func(s *scenario) {
		s.prepare = func(l *lab) { l.memory.keepPast = true }
		s.hands = map[string]func(*lab){"graph.log#1": func(l *lab) { l.memory.putBack(3) }}
	},
	model.BlockedStoreUnsafe: func(s *scenario) { s.named = map[string]fault{"vault.reserve": unsafePlace} },
	model.BlockedClock: func(s *scenario) {
		s.prepare = func(l *lab) { l.world.SetSkew(clouds.Skew{AWS: 2 * day1}) }
	},
	model.BlockedAPIChanged: func(s *scenario) { s.quirks = quirk("secrets_get", clouds.Gone) },
	model.BlockedLifetimeTooShort: func(s *scenario) {
		s.spec.Tokens = []clouds.TokenSpec{{Age: 4 * day1, Left: 2 * day1, Saved: true}}
	},
	model.BlockedAttemptsExhausted: func(s *scenario) {
		s.named, s.alerts = map[string]fault{"aws.create": refused}, time.Hour
		s.until = func(l *lab, ses *session) bool {
			return ses.engine.Status(l.at.Name).Blocked != ""
		}
	},
	model.BlockedBudgetExhausted: func(s *scenario) {
		s.named, s.alerts = map[string]fault{"aws.create": refused}, time.Hour
		s.policy.Cooldown = time.Hour
		s.until = func(l *lab, ses *session) bool {
			return ses.engine.Status(l.at.Name).Blocked != ""
		}
	},
	model.BlockedConnectionRemoved: func(s *scenario) {
		s.named = map[string]fault{"graph.put#1": killedAfter}
		s.hands = map[string]func(*lab){"graph.put#1": func(l *lab) {
			l.connections = func(c token.Options) []token.Options {
				c.Connection, c.Resolve = "elsewhere", func(context.Context) (model.Binding, error) {
					binding := l.at.Binding
					binding.ServicePrincipalID = "elsewhere"
					return binding, nil
				}
				return []token.Options{c}
			}
		}}
	},
	model.BlockedFleetHalt: func(s *scenario) {
		s.prepare = func(l *lab) { l.blockedOther("first"); l.blockedOther("second") }
		s.begin = func(l *lab, ses *session) {
			time.Sleep(time.Minute)
			l.alert(context.Background(), ses)
		}
		s.until = func(l *lab, ses *session) bool {
			return ses.engine.Status(l.at.Name).Blocked != ""
		}
	},
}

func TestEveryBlockedReasonIsReachedAndSaysWhatToDo(t *testing.T) {
	if missing := slices.DeleteFunc(model.BlockedReasons(), func(r model.BlockedReason) bool { _, ok := stuck[r]; return ok }); len(missing) > 0 {
		t.Errorf("not reached: %v", missing)
	}
	var read strings.Builder
	for _, reason := range model.BlockedReasons() {
		t.Run(string(reason), func(t *testing.T) {
			s := usual()
			stuck[reason](&s)
			play(t, s, func(t *testing.T, o outcome) {
				if o.ending != "blocked "+string(reason) {
					t.Errorf("ended %s\n%s", o.ending, o.lab.story())
				}
				for _, wrong := range judge(o) {
					t.Errorf("%s\n%s", wrong, o.lab.story())
				}
				read.WriteString(o.lab.readable(o.status.Message) + "\n")
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
func (l *lab) readable(text string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, id := range l.at.TokenIDs {
		text = strings.ReplaceAll(text, id, []string{"OLD", "OTHER"}[i])
	}
	created := 0
	for c := range clouds.EntriesOf[clouds.Creation](l.world) {
		created++
		text = strings.ReplaceAll(text, c.TokenID, fmt.Sprintf("NEW%d", created))
	}
	text = strings.ReplaceAll(text, l.at.ProvisioningTenantID, "TENANT")
	text = strings.ReplaceAll(text, l.at.JobID, "JOB")
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
		change func(*scenario)
		ending string
		want   []string // in the sentence
	}{
		{
			"the sign-in to AWS is refused", func(s *scenario) {
				s.prepare = func(l *lab) {
					l.connections = func(c token.Options) []token.Options {
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
			"Entra holds a dead token, and there is no other", func(s *scenario) {
				s.hands = map[string]func(*lab){"graph.log#1": func(l *lab) { deleteByHand(l, newest(l)) }}
				s.named = map[string]fault{"aws.create#2": refused}
			}, "blocked entra_holds_dead_token",
			[]string{
				"(entra_holds_dead_token): Entra's saved token is refused, and no other could be created: ",
				"next: generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), " +
					"enter it in Entra, then rotation adopt corp --in-use ID.",
			},
		},
		{
			"the new token cannot be tested for lack of a permission", func(s *scenario) {
				s.hands = map[string]func(*lab){"scim.probe#1": func(l *lab) { l.deny(clouds.WriteSynchronization) }}
			}, "blocked permission",
			[]string{"in phase test (permission): testing the connection: permission: Authorization_RequestDenied; ", "next: doctor corp, grant what it names"},
		},
		{
			"the application was led elsewhere before the test", func(s *scenario) {
				s.hands = map[string]func(*lab){"scim.probe#1": func(l *lab) {
					l.person(func(w *clouds.Model) error {
						return w.PutSecrets(clouds.CallerFor(clouds.ActorOperator), l.at.EntraTenantID, l.at.ServicePrincipalID, []clouds.Secret{
							{Key: model.CredentialKeyBaseAddress, Value: "https://scim.us-east-1.amazonaws.com/another/scim/v2"},
							{Key: model.CredentialKeySecretToken, Value: w.TokenValue(l.at.TokenIDs[0])},
						})
					})
				}}
			}, "blocked wrong_target",
			[]string{"in phase test (wrong_target): the application provisions to another Tenant URL", "next: correct service_principal_id"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := usual()
			test.change(&s)
			must(t, s, test.ending, func(t *testing.T, o outcome) {
				for _, want := range test.want {
					if got := o.lab.readable(o.status.Message); !strings.Contains(got, want) {
						t.Errorf("%s\nwant in it\n%s", got, want)
					}
				}
			})
		})
	}
}
