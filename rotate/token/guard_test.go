package token

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// Each condition of a deletion is violated alone, whatever a phase checks before: the guard
// is the last one to say no.
func TestGuard(t *testing.T) {
	const pending = "a condition is not met yet"
	failed := errors.New("no answer")
	for _, test := range []struct {
		name  string
		why   deletionReason
		spoil func(*scene)
		want  string // "": the deletion is authorized
	}{
		{"all holds", deleteUndo, func(*scene) {}, ""},
		{"all holds", deleteExpired, func(*scene) {}, ""},
		{"all holds", deleteOrphan, func(*scene) {}, ""},
		{"all holds", deleteNamed, func(*scene) {}, ""},
		{"all holds", deleteRetire, func(*scene) {}, ""},

		{"G1: no list", deleteNamed, func(s *scene) { s.failing["list"] = failed }, "no answer"},
		{"G1: no two equal lists", deleteNamed, func(s *scene) { s.unstable = true }, "listing SCIM tokens: other: no two lists in a row are equal"},
		{"G1: the lists are a minute old", deleteNamed, func(s *scene) { s.slow = time.Minute }, ""},
		{"G1: the lists are older", deleteNamed, func(s *scene) { s.slow = time.Minute + 1 }, pending},
		{"declared", deleteNamed, func(s *scene) { s.list.Origin = model.OriginDeclared }, "delete_refused: the tokens are declared in the config, so token old must be deleted by hand, and removed from tokens.declared"},

		{"G2: not resolved", deleteNamed, func(s *scene) { s.failing["binding"] = failed }, "no answer"},
		{"G2: another job", deleteNamed, func(s *scene) { s.binding.JobID = "job-2" }, "binding_changed: the connection now resolves to job job-2 and provisioning tenant tenant, the rotation began with job job and provisioning tenant tenant"},

		{"G3: not listed", deleteNamed, func(s *scene) { s.list.Tokens = s.list.Tokens[1:] }, "the token is gone already"},
		{"G3: not journalled", deleteNamed, func(s *scene) { s.plan() }, "foreign_token: token old is not the one that was written down"},
		{"G3: dates rounded", deleteNamed, func(s *scene) { s.list.Tokens[0].Created = s.list.Tokens[0].Created.Add(policy.WindowSlack) }, ""},
		{"G3: other dates", deleteNamed, func(s *scene) { s.list.Tokens[0].Created = s.list.Tokens[0].Created.Add(policy.WindowSlack + 1) }, "foreign_token: token old is not the one that was written down"},
		{"G3: journalled without dates", deleteUndo, func(s *scene) { s.record.Rotation.NewToken = &model.Token{ID: "new"} }, ""},

		{"G4: none other", deleteNamed, func(s *scene) { s.list.Tokens = s.list.Tokens[:1] }, "entra_holds_dead_token: token old is the only valid one, so it is kept although it could not be put to use"},
		{"G4: valid for a week", deleteNamed, func(s *scene) { s.list.Tokens[1] = s.created("new", year-policy.MinRemainingValidity) }, ""},
		{"G4: valid for less", deleteNamed, func(s *scene) { s.list.Tokens[1] = s.created("new", year-policy.MinRemainingValidity+1) }, "lifetime_too_short: deleting token old would leave no token that is valid for another week"},
		{"G4: validity unknown", deleteNamed, func(s *scene) { s.list.Tokens[1].Created = time.Time{} }, "lifetime_too_short: deleting token old would leave no token that is valid for another week"},

		{"G6: AWS's clock unknown", deleteExpired, func(s *scene) { s.noDate = true }, "reading AWS's clock: invalid_response: AWS's answer had no date"},
		{"G6: five minutes off", deleteUndo, func(s *scene) { s.skew = 5 * time.Minute }, ""},
		{"G6: more", deleteUndo, func(s *scene) { s.skew = 5*time.Minute + time.Second }, "clock: this machine's clock is 5m1s away from AWS's"},

		{"G7: saved", deleteUndo, func(s *scene) {
			s.record.Rotation.Operations[OperationPut] = []journal.Operation{{Number: 1, Target: "new"}}
		}, "switch_failed: token new may be in use: saving it to Entra was attempted"},
		{"G7: an operator's", deleteUndo, func(s *scene) { s.record.Rotation.OperatorToken = "new" }, "switch_failed: token new may be in use: saving it to Entra was attempted"},
		{"G7: shown", deleteUndo, func(s *scene) { s.record.Rotation.ShownToOperator = true }, "switch_failed: token new may be in use: an operator was shown it, or named it as the one that Entra holds"},
		{"G7: almost a gap", deleteUndo, func(s *scene) { s.record.Rotation.JournalGap = journal.MaxGap - 1 }, ""},
		{"G7: a gap", deleteUndo, func(s *scene) { s.record.Rotation.JournalGap = journal.MaxGap }, "state_restored: the journal has a gap of 5m0s, so it may be older than token new: a restored older copy would look the same"},

		{"G7: not expired", deleteExpired, func(s *scene) { s.list.Tokens[0].Expires = s.ago(time.Hour - s.skew - 1) }, "two_tokens: token old has not expired"},

		{"G7: not ours", deleteOrphan, func(s *scene) { s.record.RateLimit.Creations = nil }, "orphan_token: token new was not created by this exporter"},
		{"G7: another is ours", deleteOrphan, func(s *scene) { s.id = "old" }, "orphan_token: token old was not created by this exporter"},
		{"G7: none is ours, and it has no id", deleteOrphan, func(s *scene) {
			s.id, s.list.Tokens[1].ID, s.record.RateLimit.Creations = "", "", nil
			s.plan(s.list.Tokens...)
		}, "orphan_token: token  was not created by this exporter"},
		{"G7: a gap", deleteOrphan, func(s *scene) { s.record.Rotation.JournalGap = journal.MaxGap }, "state_restored: the journal has a gap of 5m0s, so it may be older than token new: a restored older copy would look the same"},
		{"G7: an hour old", deleteOrphan, func(s *scene) { s.orphanCreated(time.Hour) }, ""},
		{"G7: younger", deleteOrphan, func(s *scene) { s.orphanCreated(time.Hour - 1) }, pending},
		{"G7: Entra's test fails", deleteOrphan, func(s *scene) { s.test = model.TestFailed }, pending},

		{"G7: not named", deleteNamed, func(s *scene) { s.record.Rotation.RetireToken = "new" }, "two_tokens: no operator named token old as unused"},
		{"G7: Entra's test fails", deleteNamed, func(s *scene) { s.test = model.TestFailed }, pending},
		{"G7: Entra does not test", deleteNamed, func(s *scene) { s.test, s.failing["test"] = model.TestUnavailable, failed }, "no answer"},

		{"G7: only stored", deleteRetire, func(s *scene) { s.record.Rotation.Proof.Level = model.ProofStored }, pending},
		{"G7: kept long enough", deleteRetire, func(s *scene) { s.record.Rotation.Proof.Used.Local = s.ago(policy.MinRetireAfter) }, ""},
		{"G7: kept too short", deleteRetire, func(s *scene) { s.record.Rotation.Proof.Used.Local = s.ago(policy.MinRetireAfter - 1) }, pending},
		{"G7: not approved", deleteRetire, func(s *scene) { s.record.Rotation.Approval = nil }, pending},
		{"G7: another is approved", deleteRetire, func(s *scene) { s.record.Rotation.Approval.Target = "new" }, pending},
		{"G7: an unknown token", deleteRetire, func(s *scene) { s.list.Tokens = append(s.list.Tokens, s.created("third", day)) }, "foreign_token: token third appeared during the rotation, and it is unknown who uses it"},
		{"G7: the new one is not listed", deleteRetire, func(s *scene) {
			s.list.Tokens[1] = s.created("third", day)
			s.record.KnownTokens["third"] = s.list.Tokens[1]
		}, "foreign_token: the new token new is not listed any more"},
		{"G7: the new value is lost", deleteRetire, func(s *scene) { s.values = nil }, "the token store holds no readable value"},
		{"G7: the new value is refused", deleteRetire, func(s *scene) { s.probe = http.StatusUnauthorized }, "new_token_rejected: the new token new is not accepted now: AWS answers 401"},
		{"G7: the new value cannot be tested", deleteRetire, func(s *scene) {
			s.probe, s.record.Rotation.Plan.ControlFailed, s.failing["credentials"] = http.StatusForbidden, true, failed
		}, "no answer"},
		{"G7: the job cannot be read", deleteRetire, func(s *scene) { s.failing["job"] = failed }, "no answer"},
		{"G7: saved for another reason", deleteRetire, func(s *scene) { s.put().Why = PutInitial }, pending},
		{"G7: the save was refused", deleteRetire, func(s *scene) { s.put().Outcome = model.CallRefused }, pending},
		{"G7: another save was stored", deleteRetire, func(s *scene) { s.record.Rotation.Proof.Put = 2 }, pending},
		{"G7: the save is old", deleteRetire, func(s *scene) { s.put().Answered = s.timestamps(engineCache + 30*time.Minute + 80*time.Minute) }, ""},
		{"G7: the save is too old", deleteRetire, func(s *scene) { s.put().Answered = s.timestamps(engineCache + 30*time.Minute + 80*time.Minute + 1) }, pending},
		{"G7: the save is not used", deleteRetire, func(s *scene) { s.job.LastCycle.State = model.CycleFailed }, pending},
		{"G7: a cycle runs", deleteRetire, func(s *scene) {
			s.job.LastCycle.Began, s.job.LastCycle.Ended = s.ago(41*time.Minute), s.ago(40*time.Minute)
		}, pending},
		{"G7: somebody else saved", deleteRetire, func(s *scene) {
			s.record.OwnSaves, s.app.CredentialsChanged = []time.Time{s.ago(82 * time.Minute)}, s.ago(30*time.Minute)
		}, "credentials_overwritten: somebody else changed the application's credentials at 1999-12-31 23:30 UTC, after token new was saved"},
	} {
		t.Run(string(test.why)+"/"+test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(test.why)
				test.spoil(s)
				permit, err := s.authorize(t)
				switch {
				case test.want == "" && err != nil:
					t.Error(err)
				case test.want == "" && (permit.token.ID != s.id || permit.why != test.why || !permit.listed.Equal(s.at)):
					t.Errorf("the permit is %+v", permit)
				case test.want != "" && (err == nil || err.Error() != test.want):
					t.Errorf("got  %v\nwant %s", err, test.want)
				case test.want != "" && permit != deletePermit{}:
					t.Errorf("refused, with the permit %+v", permit)
				}
			})
		})
	}
}

// orphanCreated makes the orphan this old.
func (s *scene) orphanCreated(ago time.Duration) {
	s.list.Tokens[1] = s.created("new", ago)
	s.plan(s.list.Tokens...)
	s.record.RateLimit.Creations[0] = policy.CallWindow{From: s.list.Tokens[1].Created, To: s.list.Tokens[1].Created}
}

// G5 and G8, and what becomes of the answer.
func TestGuardedDeletion(t *testing.T) {
	refused := &model.Error{Reason: model.ReasonPermission, Op: "deleting", Status: http.StatusForbidden}
	throttled := &model.Error{Reason: model.ReasonThrottled, Op: "deleting", Status: http.StatusTooManyRequests}
	earlier := func(count int, edit func(*journal.Operation)) func(*scene) {
		return func(s *scene) {
			var deletions []journal.Operation
			for i := range 5 {
				deletions = append(deletions, journal.Operation{Number: i + 1, Target: "old", Outcome: model.CallRefused, Error: "denied"})
				if i >= count {
					edit(&deletions[i])
				}
			}
			s.record.Rotation.Operations = map[journal.OperationKind][]journal.Operation{OperationDelete: deletions}
		}
	}
	const stale = maxListAge + 20*time.Second
	for _, test := range []struct {
		name   string
		spoil  func(*scene)
		before func(*testing.T, *scene) // between the permit and the deletion
		called bool
		want   string        // the error; "": none
		took   time.Duration // with the wait after the deletion
	}{
		{"done", nil, nil, true, "", 0},
		{"refused", func(s *scene) { s.failing["delete old"] = refused }, nil, true, "", time.Minute},
		{"throttled", func(s *scene) { s.failing["delete old"] = throttled }, nil, true, "deleting token old: throttled: deleting: throttled", 0},
		{"no answer", func(s *scene) { s.failing["delete old"] = errors.New("cut off") }, nil, true, "deleting token old: other: cut off", 0},
		{"refused four times", earlier(4, func(o *journal.Operation) { o.Target = "new" }), nil, true, "", 0},
		{"unreachable among the refusals", earlier(4, func(o *journal.Operation) { o.Reason = model.ReasonNetwork }), nil, true, "", 0},
		{"throttled among the refusals", earlier(4, func(o *journal.Operation) { o.Reason = model.ReasonThrottled }), nil, true, "", 0},
		{"refused five times", earlier(5, nil), nil, false, "delete_refused: AWS refused 5 times to delete token old, the last answer was: denied", 0},
		{"G1: the permit is almost stale", nil, func(*testing.T, *scene) { time.Sleep(stale) }, true, "", 0},
		{"G1: the permit is stale", nil, func(*testing.T, *scene) { time.Sleep(stale + 1) }, false, "deleting token old: timeout: deleting token old: timeout: the permit is stale", 0},
		{"G5: the lease is lost", nil, func(_ *testing.T, s *scene) { s.takeOver() }, false, "the lease is lost to another", 0},
		{"G8: the intent is old", nil, func(_ *testing.T, s *scene) { s.records.next = time.Minute }, false, "", 2 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(deleteNamed)
				if test.spoil != nil {
					test.spoil(s)
				}
				s.then["delete old 1"] = func() { // G8
					r, err := s.entry().Load(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					if last, ok := r.Rotation.LastOperation(OperationDelete); !ok || last.Target != "old" || last.Outcome != "" {
						t.Errorf("the call is made with the journal's last deletion %+v", last)
					}
				}
				var took time.Duration
				var err error
				s.play(t, func(ctx context.Context, g guard) {
					permit, refusal := g.authorize(ctx, s.id, s.why)
					if refusal != nil {
						t.Fatal(refusal)
					}
					if test.before != nil {
						test.before(t, s)
					}
					began := time.Now()
					err = g.delete(ctx, permit)
					took = time.Since(began)
				})
				if (len(s.deleted) == 1) != test.called {
					t.Errorf("deleted %v", s.deleted)
				}
				if text := errorText(err); text != test.want {
					t.Errorf("got  %s\nwant %s", text, test.want)
				}
				if took != test.took {
					t.Errorf("it took %s, want %s", took, test.took)
				}
			})
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// AWS may list a token for a quarter of an hour after it has confirmed its deletion: until
// then the lists are read again, and the token is not deleted once more.
func TestDeletedTokenMayBeListed(t *testing.T) {
	failed := errors.New("no answer")
	for _, test := range []struct {
		confirmed time.Duration // before the list
		want      string        // the error of what comes next; "": the list is waited for
		took      time.Duration
	}{
		{15*time.Minute - 1, "", listGap + 15*time.Second},
		{15 * time.Minute, "no answer", listGap},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newScene(deleteRetire)
			s.record.Rotation.Operations[OperationDelete] = []journal.Operation{{Number: 1, Target: "old", Outcome: model.CallDone, Answered: s.timestamps(test.confirmed)}}
			s.failing["job"] = failed
			s.play(t, func(ctx context.Context, g guard) {
				began := time.Now()
				next, err := retirePhase(g).run(ctx)
				if took := time.Since(began); errorText(err) != test.want || took != test.took {
					t.Errorf("confirmed %s before: %q, %v after %s, want %q after %s", test.confirmed, next, err, took, test.want, test.took)
				}
			})
		})
	}
}
