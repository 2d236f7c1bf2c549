package token

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
	// skew is how far AWS's clock is ahead of ours.
	skew = time.Minute
)

// slowRecords is a journal whose next write takes a while.
type slowRecords struct {
	state.Memory
	next time.Duration
}

func (r *slowRecords) Save(ctx context.Context, key string, content []byte, revision string) (string, error) {
	time.Sleep(r.next)
	r.next = 0
	return r.Memory.Save(ctx, key, content, revision)
}

// scene is what a guard finds at AWS, in Entra, in the token store and in the journal. A
// method that it does not have is one that the guard has no reason to call.
type scene struct {
	Tokens
	SCIM
	Provisioning
	Store

	at  time.Time // when the guard judges: when it has read the second list
	id  string    // the token to be deleted
	why deletionReason

	list      model.TokenList
	skew      time.Duration
	lists     int  // how many were read
	unstable  bool // no list is like the one before
	noDate    bool
	binding   model.Binding
	slow      time.Duration // how long the binding takes to be looked up
	probe     int           // the status that AWS answers to a value
	test      model.TestResult
	job       model.Job
	app       model.Application
	noValues  bool
	failing   map[string]error // what cannot be read
	deleteErr error
	inCall    func() // during the deletion

	records slowRecords
	record  *record // what is journalled
	deleted []string
}

func (s *scene) ListTokens(context.Context) (model.TokenList, error) {
	s.lists++
	list := s.list
	list.Tokens = slices.Clone(list.Tokens)
	if s.unstable {
		list.Tokens[0].Expires = list.Tokens[0].Expires.Add(time.Duration(s.lists))
	}
	if !s.noDate {
		list.Date = time.Now().Add(s.skew)
	}
	return list, s.failing["list"]
}

func (s *scene) DeleteToken(_ context.Context, id string) error {
	s.deleted = append(s.deleted, id)
	if s.inCall != nil {
		s.inCall()
	}
	return s.deleteErr
}

func (s *scene) resolve(context.Context) (model.Binding, error) {
	time.Sleep(s.slow)
	return s.binding, s.failing["binding"]
}

func (s *scene) ProbeToken(context.Context, model.Secret) (model.Probe, error) {
	return model.Probe{StatusCode: s.probe, Date: time.Now().Add(s.skew)}, nil
}

func (s *scene) TestConnection(context.Context, []model.Credential) (model.TestResult, error) {
	return s.test, s.failing["test"]
}

func (s *scene) Job(context.Context) (model.Job, error) { return s.job, s.failing["job"] }

func (s *scene) Credentials(context.Context) ([]model.Credential, error) {
	return nil, s.failing["credentials"]
}

func (s *scene) Application(context.Context) (model.Application, error) { return s.app, nil }

func (s *scene) List(_ context.Context, binding string) ([]string, error) {
	if s.noValues {
		return nil, nil
	}
	return []string{binding + "/entry"}, nil
}

func (s *scene) Read(context.Context, string) (model.Secret, error) {
	return encodeEntry(s.record.Binding.Key(), "new", model.NewSecret("value"))
}

func (s *scene) ago(d time.Duration) time.Time { return s.at.Add(-d) }

func (s *scene) timestamps(ago time.Duration) journal.Timestamps {
	return journal.Timestamps{Local: s.ago(ago), AWS: s.ago(ago - s.skew), Graph: s.ago(ago)}
}

// created is a token that AWS created this long ago.
func (s *scene) created(id string, ago time.Duration) model.Token {
	at := s.ago(ago - s.skew)
	return model.Token{ID: id, Created: at, Expires: at.Add(year)}
}

func (s *scene) plan(tokens ...model.Token) {
	s.record.Rotation.Plan.Tokens = nil
	for _, token := range tokens {
		s.record.Rotation.Plan.Tokens = append(s.record.Rotation.Plan.Tokens, PlannedToken{Token: token})
	}
}

// put is the save that came last.
func (s *scene) put() *journal.Operation {
	return &s.record.Rotation.Operations[OperationPut][0]
}

// newScene is one in which a token may be deleted, for this reason.
func newScene(why deletionReason) *scene {
	s := &scene{at: time.Now().Add(listGap), id: "old", why: why, skew: skew, probe: http.StatusOK, test: model.TestPassed, failing: map[string]error{}}
	s.binding = model.Binding{
		IdentityStoreID: "d-1234567890", ProvisioningTenantID: "tenant", SCIMEndpoint: "https://scim.example.com/tenant/scim/v2",
		EntraTenantID: "entra", ServicePrincipalID: "principal", JobID: "job",
	}
	old, other := s.created("old", 300*day), s.created("new", 4*time.Hour)
	s.list = model.TokenList{Tokens: []model.Token{old, other}, Origin: model.OriginConsoleAPI}
	s.job = model.Job{
		Status: model.JobActive, Interval: 40 * time.Minute,
		LastCycle: &model.Cycle{Began: s.ago(10 * time.Minute), Ended: s.ago(9 * time.Minute), State: model.CycleSucceeded},
	}
	s.app.CredentialsReadable = true
	journalled := codec().NewRecord(s.binding, "corp")
	journalled.Rotation = &journal.Rotation{ID: "r", Kind: model.ProcedureToken, Phase: model.PhasePlan, Started: s.timestamps(5 * time.Hour), Progress: &Progress{}}
	s.record = recordOf(journalled)
	s.record.setKnownTokens([]model.Token{old})
	s.plan(old)
	created := []journal.Operation{{Number: 1, Intent: s.timestamps(4 * time.Hour), Outcome: model.CallDone}}
	switch rot := s.record.Rotation; why {
	case deleteExpired:
		s.list.Tokens = []model.Token{s.created("old", year+2*time.Hour)}
		s.plan(s.list.Tokens...)
	case deleteNamed:
		rot.RetireToken = "old"
	case deleteOrphan:
		s.id = "new"
		s.plan(old, other)
		s.record.RateLimit.Creations = []policy.CallWindow{{From: other.Created, To: other.Created}}
	case deleteUndo:
		s.id = "new"
		rot.Phase, rot.NewToken = model.PhaseUndo, &other
		rot.Operations = map[journal.OperationKind][]journal.Operation{OperationCreate: created}
	case deleteRetire:
		rot.Phase, rot.NewToken = model.PhaseRetire, &other
		rot.Operations = map[journal.OperationKind][]journal.Operation{
			OperationCreate: created,
			OperationPut:    {{Number: 1, Target: "new", Why: PutBeforeDelete, Intent: s.timestamps(82 * time.Minute), Outcome: model.CallDone, Answered: s.timestamps(82 * time.Minute)}},
		}
		rot.Proof = Proof{Level: model.ProofUsed, Put: 1, Stored: s.timestamps(80 * time.Minute), Used: s.timestamps(3 * time.Hour)}
		rot.Approval = &journal.Approval{Target: "old"}
	}
	return s
}

// visited is a procedure that does nothing but to use its guard once.
type visited struct {
	*Procedure
	use func(context.Context, guard)
}

func (v visited) Run(s *rotate.Session) rotate.Runner {
	return visitor{runner{observer{v.session(s)}}, v.use}
}

type visitor struct {
	runner
	use func(context.Context, guard)
}

func (v visitor) RunPhase(ctx context.Context, _ model.Phase) (model.Phase, error) {
	v.use(ctx, guard(v.runner))
	return "", rotate.ErrLongWait
}

func (s *scene) entry() *journal.Entry {
	return journal.NewEntry(&s.records, codec(), s.record.Binding.Key())
}

// play journals the record, and lets the engine begin the rotation's phase.
func (s *scene) play(t *testing.T, use func(context.Context, guard)) {
	t.Helper()
	entry := s.entry()
	if _, err := entry.LoadOrCreate(t.Context(), s.record.Binding, "corp"); err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Change(t.Context(), func(r *journal.Record) error { *r = *s.record.Record; return nil }); err != nil {
		t.Fatal(err)
	}
	procedure := New(Options{Connection: "corp", Policy: policy.Token{Policy: policy.Policy{Approval: model.ApprovalFirst}}, Tokens: s, SCIM: s, Provisioning: s, Store: s, Resolve: s.resolve})
	bound := func(context.Context) (model.Binding, error) { return s.record.Binding, nil }
	engine := rotate.New(rotate.Options{Store: &s.records, Codec: codec(), Holder: "test", Logger: slog.New(slog.DiscardHandler)},
		[]rotate.Connection{{Name: "corp", Resolve: bound, Procedures: []rotate.Procedure{visited{procedure, use}}}})
	if _, err := engine.RunToCompletion(t.Context(), "corp", nil); !errors.Is(err, rotate.ErrLongWait) {
		t.Fatal(err)
	}
}

// authorize asks the guard for the scene's deletion.
func (s *scene) authorize(t *testing.T) (permit deletePermit, err error) {
	t.Helper()
	s.play(t, func(ctx context.Context, g guard) { permit, err = g.authorize(ctx, s.id, s.why) })
	return permit, err
}

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
		{"G7: the new value is lost", deleteRetire, func(s *scene) { s.noValues = true }, "the token store holds no readable value"},
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
		{"refused", func(s *scene) { s.deleteErr = refused }, nil, true, "", time.Minute},
		{"throttled", func(s *scene) { s.deleteErr = throttled }, nil, true, "deleting token old: throttled: deleting: throttled", 0},
		{"no answer", func(s *scene) { s.deleteErr = errors.New("cut off") }, nil, true, "deleting token old: other: cut off", 0},
		{"refused four times", earlier(4, func(o *journal.Operation) { o.Target = "new" }), nil, true, "", 0},
		{"unreachable among the refusals", earlier(4, func(o *journal.Operation) { o.Reason = model.ReasonNetwork }), nil, true, "", 0},
		{"throttled among the refusals", earlier(4, func(o *journal.Operation) { o.Reason = model.ReasonThrottled }), nil, true, "", 0},
		{"refused five times", earlier(5, nil), nil, false, "delete_refused: AWS refused 5 times to delete token old, the last answer was: denied", 0},
		{"G1: the permit is almost stale", nil, func(*testing.T, *scene) { time.Sleep(stale) }, true, "", 0},
		{"G1: the permit is stale", nil, func(*testing.T, *scene) { time.Sleep(stale + 1) }, false, "deleting token old: timeout: deleting token old: timeout: the permit is stale", 0},
		{"G5: the lease is lost", nil, takeOver, false, "the lease is lost to another", 0},
		{"G8: the intent is old", nil, func(_ *testing.T, s *scene) { s.records.next = time.Minute }, false, "", 2 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(deleteNamed)
				if test.spoil != nil {
					test.spoil(s)
				}
				s.inCall = func() { // G8
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

// takeOver gives the lease to another process.
func takeOver(t *testing.T, s *scene) {
	t.Helper()
	entry := s.entry()
	if _, err := entry.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := entry.Change(t.Context(), func(r *journal.Record) error {
		r.Lease.Holder = "another"
		r.Lease.Epoch++
		return nil
	})
	if err != nil {
		t.Fatal(err)
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
