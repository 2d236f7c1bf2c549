package token

import (
	"context"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// createScene is one in which a token may be created.
func createScene() *scene {
	s := newScene(deleteNamed)
	s.list.Tokens, s.values = s.list.Tokens[:1], nil
	s.record.Rotation.Phase, s.record.Rotation.RetireToken = model.PhaseCreate, ""
	s.issued = model.IssuedToken{Token: s.created("made", 0), Value: model.NewSecret("made-value")}
	return s
}

// requestedScene is one in which a token was requested this long ago, without an answer.
func requestedScene(ago time.Duration) *scene {
	s := createScene()
	s.record.Rotation.StoreEntry = "r-1"
	at := s.aged(ago)
	s.record.Rotation.Operations = map[journal.OperationKind][]journal.Operation{OperationCreate: {{Number: 1, Intent: at}}}
	s.record.RateLimit.Creations = []policy.CallWindow{{From: at.AWS, To: at.AWS.Add(20 * time.Second)}}
	return s
}

func create(ctx context.Context, r runner) (model.Phase, error) { return createPhase(r).run(ctx) }

// One token is requested, once, and its value stored before anything else.
func TestCreate(t *testing.T) {
	refused := &model.Error{Reason: model.ReasonPermission, Status: 403, Op: "creating"}
	testStep(t, createScene, create, []outcome{
		{"created", func(*scene) {}, `test after 10s; known_tokens.made=made; new_token=made; operations.create.1=done; rate_limit.creations.1.from=1m0s; rate_limit.creations.1.resolved=true; rate_limit.creations.1.to=1m20s; store_entry=r-1; tokens_created=1; "created token made (created 2000-01-01 00:01 UTC, expires 2000-12-31 00:01 UTC)"; create; write r-1`},
		{"it was created", func(s *scene) { s.record.Rotation.NewToken = &s.issued.Token }, "test"},
		{"AWS refuses", func(s *scene) { s.failing["create"] = refused }, `create after 10s; operations.create.1=refused creating: permission; rate_limit.creations.1.from=1m0s; rate_limit.creations.1.resolved=true; rate_limit.creations.1.to=1m20s; store_entry=r-1; "creating a token: refused: creating: permission"; create`},
		{"AWS refused", func(s *scene) {
			s.record.Rotation.Operations = map[journal.OperationKind][]journal.Operation{OperationCreate: {{Number: 1, Outcome: model.CallRefused, Error: "denied"}}}
		}, `idle; attempts=1; ended=aborted  AWS refused to create a token: denied; last_end=now; outcomes.aborted=1; "outcome: aborted: AWS refused to create a token: denied"`},
		{"AWS refused, and Entra's token is dead", func(s *scene) {
			s.record.Rotation.Recoveries = 1
			s.record.Rotation.Operations = map[journal.OperationKind][]journal.Operation{OperationCreate: {{Number: 1, Outcome: model.CallRefused, Error: "denied"}}}
		}, "entra_holds_dead_token: Entra's saved token is refused, and no other could be created: AWS refused to create a token: denied; next: generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), enter it in Entra, then rotation adopt CONNECTION --in-use ID"},
		{"AWS refused, and a token was saved", func(s *scene) {
			s.record.Rotation.Operations = map[journal.OperationKind][]journal.Operation{
				OperationCreate: {{Number: 1, Outcome: model.CallRefused, Error: "denied"}}, OperationPut: {{Number: 1}},
			}
		}, "entra_holds_dead_token: Entra's saved token is refused, and no other could be created: AWS refused to create a token: denied; next: generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), enter it in Entra, then rotation adopt CONNECTION --in-use ID"},
		{"one was created, and is not accepted any more", func(s *scene) {
			s.record.Rotation.Operations = map[journal.OperationKind][]journal.Operation{OperationCreate: {{Number: 1, Outcome: model.CallDone}}}
		}, `test after 10s; known_tokens.made=made; new_token=made; operations.create.2=done; rate_limit.creations.1.from=1m0s; rate_limit.creations.1.resolved=true; rate_limit.creations.1.to=1m20s; store_entry=r-2; tokens_created=1; "created token made (created 2000-01-01 00:01 UTC, expires 2000-12-31 00:01 UTC)"; create; write r-2`},
		{"the call was not made", func(s *scene) {
			s.record.Rotation.Operations = map[journal.OperationKind][]journal.Operation{OperationCreate: {{Number: 1, Outcome: model.CallRefused, Unsent: true}}}
		}, `test after 10s; known_tokens.made=made; new_token=made; operations.create.2=done; rate_limit.creations.1.from=1m0s; rate_limit.creations.1.resolved=true; rate_limit.creations.1.to=1m20s; store_entry=r-2; tokens_created=1; "created token made (created 2000-01-01 00:01 UTC, expires 2000-12-31 00:01 UTC)"; create; write r-2`},
		{"the call is not made", func(s *scene) { s.then["reserve r-1 1"] = func() { s.records.next = time.Minute } }, `create after 1m10s; operations.create.1=refused create: other: skipped: its preconditions are stale; store_entry=r-1; "creating a token: refused: create: other: skipped: its preconditions are stale"`},
		{"no answer", func(s *scene) { s.failing["create"] = errNoAnswer }, `create after 10s; operations.create.1=unknown no answer; rate_limit.creations.1.from=1m0s; rate_limit.creations.1.to=1m20s; store_entry=r-1; "creating a token: unknown: no answer"; create`},
		{"the journal has a gap from before", func(s *scene) { s.record.Rotation.JournalGap = time.Hour }, `test after 10s; known_tokens.made=made; new_token=made; no journal_gap; operations.create.1=done; rate_limit.creations.1.from=1m0s; rate_limit.creations.1.resolved=true; rate_limit.creations.1.to=1m20s; store_entry=r-1; tokens_created=1; "created token made (created 2000-01-01 00:01 UTC, expires 2000-12-31 00:01 UTC)"; create; write r-1`},
		{"the journal has a gap, and an earlier creation got no answer", func(s *scene) {
			s.record.Rotation.JournalGap = time.Hour
			s.record.RateLimit.Creations = []policy.CallWindow{{From: s.ago(time.Hour)}}
		}, `test after 10s; known_tokens.made=made; new_token=made; operations.create.1=done; rate_limit.creations.2.from=1m0s; rate_limit.creations.2.resolved=true; rate_limit.creations.2.to=1m20s; store_entry=r-1; tokens_created=1; "created token made (created 2000-01-01 00:01 UTC, expires 2000-12-31 00:01 UTC)"; create; write r-1`},
		{"the journal has a gap, and an earlier creation got its answer", func(s *scene) {
			s.record.Rotation.JournalGap = time.Hour
			s.record.RateLimit.Creations = []policy.CallWindow{{From: s.ago(time.Hour), Resolved: true}}
		}, `test after 10s; known_tokens.made=made; new_token=made; no journal_gap; operations.create.1=done; rate_limit.creations.2.from=1m0s; rate_limit.creations.2.resolved=true; rate_limit.creations.2.to=1m20s; store_entry=r-1; tokens_created=1; "created token made (created 2000-01-01 00:01 UTC, expires 2000-12-31 00:01 UTC)"; create; write r-1`},
		{"no list", func(s *scene) { s.failing["list"] = errNoAnswer }, "no answer"},
		{"AWS's clock is unknown", func(s *scene) { s.noDate = true }, "reading AWS's clock: invalid_response: AWS's answer had no date after 10s"},
		{"the tokens are declared", func(s *scene) { s.list.Origin = model.OriginDeclared }, "api_changed: the tokens are declared in the config, so none is created: create one at AWS and give it with --token-stdin --token-id after 10s"},
		{"somebody created one", func(s *scene) { s.list.Tokens = append(s.list.Tokens, s.created("third", day)) }, "foreign_token: since the plan somebody else created token third after 10s"},
		{"two were created today", func(s *scene) {
			s.record.RateLimit.Creations = []policy.CallWindow{{From: s.ago(time.Hour)}, {From: s.ago(2 * time.Hour)}}
		}, "budget_exhausted: 2 tokens were requested within a day after 10s"},
		{"the token store is full", func(s *scene) { s.failing["reserve r-1"] = errNoAnswer }, "token_store_unwritable: reserving the token store entry r-1: no answer after 10s"},
		{"the token store is throttled", func(s *scene) { s.failing["reserve r-1"] = model.ErrUnavailable }, "reserving the token store entry r-1: unavailable after 10s"},
		{"the lease is lost", func(s *scene) { s.then["reserve r-1 1"] = s.takeOver }, "the lease is lost to another after 10s"},
		{"the value is stored at the second attempt", func(s *scene) { s.failing["write r-1"] = errNoAnswer }, `test after 11s; known_tokens.made=made; new_token=made; operations.create.1=done; rate_limit.creations.1.from=59s; rate_limit.creations.1.resolved=true; rate_limit.creations.1.to=1m19s; store_entry=r-1; tokens_created=1; "created token made (created 2000-01-01 00:01 UTC, expires 2000-12-31 00:01 UTC)"; create; write r-1; write r-1-1`},
		{"the value is stored at the third attempt, where its room is", func(s *scene) {
			s.failing["write r-1"], s.failing["reserve r-1-1"], s.failing["reserve r-1-2"] = errNoAnswer, errNoAnswer, errNoAnswer
			s.then["write r-1 3"] = func() { delete(s.failing, "write r-1") }
		}, `test after 12s; known_tokens.made=made; new_token=made; operations.create.1=done; rate_limit.creations.1.from=58s; rate_limit.creations.1.resolved=true; rate_limit.creations.1.to=1m18s; store_entry=r-1; tokens_created=1; "created token made (created 2000-01-01 00:01 UTC, expires 2000-12-31 00:01 UTC)"; create; write r-1; write r-1; write r-1`},
		{"the value cannot be stored", func(s *scene) {
			s.failing["write r-1"], s.failing["reserve r-1-1"], s.failing["reserve r-1-2"], s.failing["reserve r-1-3"], s.failing["reserve r-1-4"] = errNoAnswer, errNoAnswer, errNoAnswer, errNoAnswer, errNoAnswer
		}, `undo after 14s; known_tokens.made=made; new_token=made; operations.create.1=done; rate_limit.creations.1.from=56s; rate_limit.creations.1.resolved=true; rate_limit.creations.1.to=1m16s; store_entry=r-1; tokens_created=1; "created token made (created 2000-01-01 00:01 UTC, expires 2000-12-31 00:01 UTC)"; "storing its value failed: writing the token store entry r-1: no answer"; create; write r-1; write r-1; write r-1; write r-1; write r-1`},
	})
}

// What became of a creation without an answer, the token store tells, or AWS's lists.
func TestReconcile(t *testing.T) {
	stored := func(s *scene) {
		entry, _ := encodeEntry(s.record.Binding.Key(), "made", model.NewSecret("made-value"))
		s.entries["r-1"] = entry
	}
	ago := func(ago time.Duration) func(*scene) {
		return func(s *scene) { s.record.Rotation.Operations[OperationCreate][0].Intent = s.aged(ago) }
	}
	listed := func(s *scene) { s.list.Tokens = append(s.list.Tokens, s.issued.Token) }
	testStep(t, func() *scene { return requestedScene(3 * time.Minute) }, create, []outcome{
		{"its value is stored", func(s *scene) { stored(s); listed(s) }, `test; known_tokens.made=made; new_token=made; operations.create.1=done; rate_limit.creations.1.resolved=true; tokens_created=1; "the value of token made (created 2000-01-01 00:01 UTC, expires 2000-12-31 00:01 UTC) is stored: it was created"`},
		{"its value is stored, and the journal has a gap since its request", func(s *scene) {
			stored(s)
			listed(s)
			s.record.Rotation.JournalGap = time.Hour
		}, `test; known_tokens.made=made; new_token=made; operations.create.1=done; rate_limit.creations.1.resolved=true; tokens_created=1; "the value of token made (created 2000-01-01 00:01 UTC, expires 2000-12-31 00:01 UTC) is stored: it was created"`},
		{"its value is stored, and it is listed later", func(s *scene) { stored(s); s.then["list 3"] = func() { listed(s) } }, `test after 1m0s; known_tokens.made=made; new_token=made; operations.create.1=done; rate_limit.creations.1.resolved=true; tokens_created=1; waiting=settling; "the value of token made (created 2000-01-01 00:01 UTC, expires 2000-12-31 00:01 UTC) is stored: it was created"`},
		{"its value is stored, and it is not listed for an hour", func(s *scene) { stored(s); ago(time.Hour + 1)(s) }, "orphan_token: the token store has the value of token made, which AWS does not list"},
		{"its value is stored, and it is not listed for almost an hour", func(s *scene) {
			stored(s)
			ago(time.Hour)(s)
		}, "orphan_token: the token store has the value of token made, which AWS does not list after 30s; waiting=settling"},
		{"the values cannot be listed", func(s *scene) { s.failing["values"] = errNoAnswer }, "listing the token store: no answer"},
		{"no list", func(s *scene) { s.failing["list"] = errNoAnswer }, "no answer"},
		{"no list at first", func(s *scene) {
			s.failing["list"] = errNoAnswer
			s.then["list 2"] = func() { delete(s.failing, "list") }
		}, "no answer"},
		{"nothing is listed after two minutes", func(*scene) {}, `idle after 10s; attempts=1; ended=aborted  nothing was created; last_end=now; outcomes.aborted=1; "outcome: aborted: nothing was created"`},
		{"nothing is listed after almost two minutes", ago(2 * time.Minute), `idle after 40s; attempts=1; ended=aborted  nothing was created; last_end=now; outcomes.aborted=1; "outcome: aborted: nothing was created"`},
		{"the process stops", func(s *scene) { ago(0)(s); s.stopped = 20 * time.Second }, "context canceled after 20s; waiting=settling"},
	})
}

// A creation whose value is lost is of no use: what it created is deleted, if it is certain
// that it is ours and that nobody uses it.
func TestReconcileWithoutValue(t *testing.T) {
	made := func(s *scene) {
		token := s.list.Tokens[0]
		token.ID, token.Created = "made", s.record.RateLimit.Creations[0].From
		token.Expires = token.Created.Add(year)
		s.list.Tokens = append(s.list.Tokens, token)
	}
	expired := func(s *scene) {
		s.list.Tokens[0] = s.created("old", year+2*time.Hour)
		s.plan(s.list.Tokens[0])
	}
	saved := func(s *scene) {
		s.record.Rotation.Operations[OperationPut] = []journal.Operation{{Number: 1, Target: "old"}}
	}
	testStep(t, func() *scene { return requestedScene(2 * time.Hour) }, func(ctx context.Context, r runner) (model.Phase, error) {
		return createPhase(r).reconcileWithoutValue(ctx)
	}, []outcome{
		{"nothing was created", func(*scene) {}, `idle after 10s; attempts=1; ended=aborted  nothing was created; last_end=now; outcomes.aborted=1; "outcome: aborted: nothing was created"`},
		{"no list", func(s *scene) { s.failing["list"] = errNoAnswer }, "no answer"},
		{"the tokens are declared", func(s *scene) { s.list.Origin = model.OriginDeclared }, "orphan_token: a creation got no answer, and the tokens are declared in the config, so look up at AWS whether there is one more; then rotation adopt, not reset after 10s"},
		{"somebody created one", func(s *scene) { s.list.Tokens = append(s.list.Tokens, s.created("third", day)) }, "orphan_token: a creation got no answer, and now there is token third, which it does not explain after 10s"},
		{"one was created", made, `create after 20s; operations.delete.1=made orphan done; plan.tokens.2=made unknown its value was lost; "token made (created 1999-12-31 22:01 UTC, expires 2000-12-30 22:01 UTC) was created but its value is lost: deleting it"; "deleted token made (created 1999-12-31 22:01 UTC, expires 2000-12-30 22:01 UTC) (orphan)"; delete made`},
		{"one was created, and is planned for", func(s *scene) { made(s); s.plan(s.list.Tokens...) }, `create after 20s; operations.delete.1=made orphan done; "token made (created 1999-12-31 22:01 UTC, expires 2000-12-30 22:01 UTC) was created but its value is lost: deleting it"; "deleted token made (created 1999-12-31 22:01 UTC, expires 2000-12-30 22:01 UTC) (orphan)"; delete made`},
		{"one was created lately", func(s *scene) {
			s.record.RateLimit.Creations[0].From = s.aged(10 * time.Minute).AWS
			s.record.RateLimit.Creations[0].To = s.aged(10 * time.Minute).AWS
			made(s)
		}, "create after 5m20s; plan.tokens.2=made unknown its value was lost; waiting=settling"},
		{"it is gone right before", func(s *scene) {
			made(s)
			s.then["list 3"] = func() { s.list.Tokens = s.list.Tokens[:1] }
		}, "create after 20s; plan.tokens.2=made unknown its value was lost"},
		{"it may not be deleted", func(s *scene) { made(s); s.record.Rotation.JournalGap = time.Hour }, "state_restored: the journal has a gap of 1h0m0s, so it may be older than token made: a restored older copy would look the same after 20s; plan.tokens.2=made unknown its value was lost"},
		{"the lease is lost", func(s *scene) { made(s); s.then["list 2"] = s.takeOver }, "the lease is lost to another after 10s"},
		{"it is the only valid one", func(s *scene) { made(s); expired(s) }, `plan after 10s; operations.create.1=done; phase=plan; phases.1.at=now~; phases.1.phase=plan; plan.tokens.2=made unknown its value was lost; rate_limit.creations.1.resolved=true; "token made (created 1999-12-31 22:01 UTC, expires 2000-12-30 22:01 UTC) was created but its value is lost; Entra has no valid token, so this one stays for now, and another one is created"`},
		{"Entra's token is dead", func(s *scene) { made(s); s.record.Rotation.Plan.SavedTestFailed = true }, `plan after 10s; operations.create.1=done; phase=plan; phases.1.at=now~; phases.1.phase=plan; plan.tokens.2=made unknown its value was lost; rate_limit.creations.1.resolved=true; "token made (created 1999-12-31 22:01 UTC, expires 2000-12-30 22:01 UTC) was created but its value is lost; Entra has no valid token, so this one stays for now, and another one is created"`},
		{"Entra's token is dead, and one was saved", func(s *scene) {
			made(s)
			saved(s)
			s.record.Rotation.Plan.SavedTestFailed = true
		}, `create after 20s; operations.delete.1=made orphan done; plan.tokens.2=made unknown its value was lost; "token made (created 1999-12-31 22:01 UTC, expires 2000-12-30 22:01 UTC) was created but its value is lost: deleting it"; "deleted token made (created 1999-12-31 22:01 UTC, expires 2000-12-30 22:01 UTC) (orphan)"; delete made`},
	})
}
