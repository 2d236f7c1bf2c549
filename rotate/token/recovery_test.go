package token

import (
	"context"
	"net/http"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/policy"
)

// What AWS refused since Entra must have read the save speaks against it; that is looked at
// in each check, the audit log and Entra's own test every quarter of an hour.
func TestHealth(t *testing.T) {
	failed := func(ago time.Duration) func(*scene) {
		return func(s *scene) {
			s.job.LastCycle = &model.Cycle{Began: s.aged(ago).Graph, State: model.CycleFailed, ErrorCode: model.QuarantineCodeBadCredentials}
		}
	}
	quarantined := func(ago time.Duration) func(*scene) {
		return func(s *scene) {
			s.job.Quarantine = &model.Quarantine{Reason: model.QuarantineReasonException, CurrentBegan: s.aged(ago).Graph}
		}
	}
	scenes := func() *scene {
		s := newScene(deleteRetire)
		s.record.Rotation.Proof.Stored = s.aged(2 * time.Hour)
		return s
	}
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) {
		return health(r).check(ctx, r.options.Provisioning.(*scene).job)
	}, []outcome{
		{"all is well", func(*scene) {}, "-"},
		{"a cycle failed 65 minutes after the save", failed(55 * time.Minute), "-"},
		{"a cycle failed later", failed(55*time.Minute - 1), `switch; no proof.level; no proof.put; no proof.stored; no proof.used; pending_put=switch; proof_restarts=1; "AWS refused the provisioning cycle of 1999-12-31 23:05 UTC; saving the new token once more"`},
		{"it failed for another reason", func(s *scene) { failed(time.Minute)(s); s.job.LastCycle.ErrorCode = "other" }, "-"},
		{"it did not fail", func(s *scene) { failed(time.Minute)(s); s.job.LastCycle.State = model.CycleSucceeded }, "-"},
		{"no cycle", func(s *scene) { s.job.LastCycle = nil }, "-"},
		{"quarantine 65 minutes after the save", quarantined(55 * time.Minute), "-"},
		{"quarantine later", quarantined(55*time.Minute - 1), `switch; no proof.level; no proof.put; no proof.stored; no proof.used; pending_put=switch; proof_restarts=1; "the provisioning job went into quarantine for its credentials on 1999-12-31 23:05 UTC; saving the new token once more"`},
		{"it was saved again before", func(s *scene) {
			failed(time.Minute)(s)
			s.record.Rotation.ProofRestarts = 1
		}, "switch_reverted: AWS refused the provisioning cycle of 1999-12-31 23:59 UTC, although token new was saved again"},
		{"the audit log shows somebody's change", func(s *scene) {
			s.record.OwnSaves, s.app.CredentialsChanged = []time.Time{s.ago(2 * time.Hour)}, s.ago(time.Hour)
		}, "credentials_overwritten: somebody else changed the application's credentials at 1999-12-31 23:00 UTC, after token new was saved; third_party_change=-59m50s"},
		{"the lease is lost then", func(s *scene) {
			s.record.OwnSaves, s.app.CredentialsChanged = []time.Time{s.ago(2 * time.Hour)}, s.ago(time.Hour)
			s.then["application 1"] = s.takeOver
		}, "the lease is lost to another"},
		{"the audit log may not be read", func(s *scene) {
			s.failing["application"] = &model.Error{Reason: model.ReasonPermission, Op: "reading"}
			s.record.OwnSaves, s.app.CredentialsChanged = []time.Time{s.ago(2 * time.Hour)}, s.ago(time.Hour)
		}, "-"},
		{"the audit log does not answer", func(s *scene) { s.failing["application"] = errNoAnswer }, "no answer"},
		{"Entra's test fails once", func(s *scene) {
			s.test = model.TestFailed
			s.then["test 2"] = func() { s.test = model.TestPassed }
		}, "- after 5m0s"},
		{"Entra's test fails twice", func(s *scene) { s.test = model.TestFailed }, `switch after 5m10s; no proof.level; no proof.put; no proof.stored; no proof.used; pending_put=recovery; rate_limit.recoveries.1=1m0s; recoveries=1; "recovery: saving token new to Entra once more"`},
		{"Entra does not test", func(s *scene) { s.test, s.failing["test"] = model.TestUnavailable, errNoAnswer }, "no answer"},
		{"the process stops after a failure", func(s *scene) { s.test, s.stopped = model.TestFailed, 50*time.Second }, "context canceled after 50s"},
	})
}

func TestHealthIsCheckedEveryQuarterOfAnHour(t *testing.T) {
	testStep(t, func() *scene { return newScene(deleteRetire) }, func(ctx context.Context, r runner) (model.Phase, error) {
		s := r.options.Provisioning.(*scene)
		for range 3 {
			if next, err := health(r).check(ctx, s.job); next != "" || err != nil {
				t.Errorf("%s, %v", next, err)
			}
			time.Sleep(15*time.Minute - 1)
		}
		time.Sleep(time.Nanosecond)
		_, err := health(r).check(ctx, s.job)
		return said(s.made), err
	}, []outcome{
		{"not before, but then", func(*scene) {}, "[application test application test application test] after 44m59.999999998s"},
	})
}

// refusedScene is one in which AWS refuses the new token, and Entra's test fails.
func refusedScene() *scene {
	s := newScene(deleteRetire)
	s.test, s.probe = model.TestFailed, http.StatusUnauthorized
	s.record.Rotation.Issuer = model.IssuerConsoleAPI
	s.record.Rotation.StoreEntry, s.record.Rotation.OperatorToken, s.record.Rotation.Trial.LastFinding = "entry", "new", "finding"
	return s
}

// Entra gets the new token again, else another one, else one more.
func TestRecovery(t *testing.T) {
	oldAccepted := func(s *scene) {
		s.values["old"], s.probes = "old-value", map[string]int{"old-value": http.StatusOK}
	}
	bothAccepted := func(s *scene) { oldAccepted(s); s.probe = http.StatusOK }
	listedFirst := func(s *scene) {
		s.list.Tokens[0].ID = "another"
		s.values["another"], s.probes = "old-value", map[string]int{"old-value": http.StatusOK}
	}
	alone := func(s *scene) { s.list.Tokens = s.list.Tokens[1:] }
	exceeded := func(s *scene) { s.record.RateLimit.Recoveries = []time.Time{s.ago(time.Hour), s.ago(2 * time.Hour)} }
	testStep(t, refusedScene, func(ctx context.Context, r runner) (model.Phase, error) { return recovery(r).run(ctx) }, []outcome{
		{"the new one, whichever is listed first", func(s *scene) { listedFirst(s); s.probe = http.StatusOK }, `switch after 10s; no proof.level; no proof.put; no proof.stored; no proof.used; pending_put=recovery; rate_limit.recoveries.1=1m0s; recoveries=1; "recovery: saving token new to Entra once more"`},
		{"the endpoint fails for it", func(s *scene) { listedFirst(s); s.probe = http.StatusBadGateway }, "probing the SCIM endpoint with token new: other: AWS answers 502 after 10s"},
		{"the new one", bothAccepted, `switch after 10s; no proof.level; no proof.put; no proof.stored; no proof.used; pending_put=recovery; rate_limit.recoveries.1=1m0s; recoveries=1; "recovery: saving token new to Entra once more"`},
		{"the old one", oldAccepted, `new_token_rejected: the new token new is not accepted any more, so token old was saved again after 10s; operations.put.2=old rollback done; own_saves.1=now; own_saves.2=now; "saved token old to Entra (rollback): done"; save SecretToken=old-value`},
		{"the old one cannot be saved", func(s *scene) { oldAccepted(s); s.failing["save SecretToken=old-value"] = errNoAnswer }, `saving token old again: other: no answer after 1m10s; operations.put.2=old rollback unknown no answer; own_saves.1=-1m0s; waiting=settling; "saved token old to Entra (rollback): unknown: no answer"; save SecretToken=old-value`},
		{"the new one is not listed", func(s *scene) { bothAccepted(s); s.list.Tokens = s.list.Tokens[:1] }, `new_token_rejected: the new token new is not accepted any more, so token old was saved again after 10s; operations.put.2=old rollback done; own_saves.1=now; own_saves.2=now; "saved token old to Entra (rollback): done"; save SecretToken=old-value`},
		{"one more", alone, `create after 10s; no new_token; no operator_token; no proof.level; no proof.put; no proof.stored; no proof.used; no store_entry; no trial.last_finding; pending_put=recovery; phase=create; phases.1.at=now~; phases.1.phase=create; plan.tokens.2=new previous not accepted any more; rate_limit.recoveries.1=1m0s; recoveries=1; "recovery: no token that Entra could use is left, creating another"`},
		{"no slot is left", func(*scene) {}, "entra_holds_dead_token: Entra's test of the saved credentials fails, and no token is left whose value is known; next: generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), enter it in Entra, then rotation adopt CONNECTION --in-use ID after 10s"},
		{"AWS has three slots", func(s *scene) { s.list.Slots = 3 }, `create after 10s; no new_token; no operator_token; no proof.level; no proof.put; no proof.stored; no proof.used; no store_entry; no trial.last_finding; pending_put=recovery; phase=create; phases.1.at=now~; phases.1.phase=create; plan.tokens.2=new previous not accepted any more; rate_limit.recoveries.1=1m0s; recoveries=1; "recovery: no token that Entra could use is left, creating another"`},
		{"AWS has one slot", func(s *scene) { alone(s); s.list.Slots = 1 }, "entra_holds_dead_token: Entra's test of the saved credentials fails, and no token is left whose value is known; next: generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), enter it in Entra, then rotation adopt CONNECTION --in-use ID after 10s"},
		{"the tokens are declared", func(s *scene) { alone(s); s.list.Origin = model.OriginDeclared }, "entra_holds_dead_token: Entra's test of the saved credentials fails, and no token is left whose value is known; next: generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), enter it in Entra, then rotation adopt CONNECTION --in-use ID after 10s"},
		{"an operator creates the tokens", func(s *scene) { alone(s); s.record.Rotation.Issuer = model.IssuerOperator }, "entra_holds_dead_token: Entra's test of the saved credentials fails, and no token is left whose value is known; next: generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), enter it in Entra, then rotation adopt CONNECTION --in-use ID after 10s"},
		{"two were created today", func(s *scene) {
			alone(s)
			s.record.RateLimit.Creations = []policy.CallWindow{{From: s.ago(time.Hour)}, {From: s.ago(2 * time.Hour)}}
		}, "entra_holds_dead_token: Entra's test of the saved credentials fails, and no token is left whose value is known; next: generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), enter it in Entra, then rotation adopt CONNECTION --in-use ID after 10s"},
		{"two recoveries today", func(s *scene) { bothAccepted(s); exceeded(s); s.record.Rotation.Recoveries = 2 }, "switch_reverted: Entra's test of the saved credentials fails although 2 recoveries were made after 10s"},
		{"two recoveries today, and no token is left", func(s *scene) { alone(s); exceeded(s); s.record.Rotation.Recoveries = 2 }, "entra_holds_dead_token: Entra's test of the saved credentials fails although 2 recoveries were made, and no token is left whose value is known; next: generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), enter it in Entra, then rotation adopt CONNECTION --in-use ID after 10s"},
		{"AWS does not list", func(s *scene) { s.failing["list"] = errNoAnswer }, "no answer"},
		{"the endpoint fails", func(s *scene) { s.probe = http.StatusBadGateway }, "probing the SCIM endpoint with token new: other: AWS answers 502 after 10s"},
		{"the endpoint fails for the old one", func(s *scene) { oldAccepted(s); s.probes["old-value"] = http.StatusBadGateway }, "probing the SCIM endpoint with token old: other: AWS answers 502 after 10s"},
	})
}

func TestVerifySaved(t *testing.T) {
	testStep(t, func() *scene { return newScene(deleteRetire) }, func(ctx context.Context, r runner) (model.Phase, error) {
		return recovery(r).verifySaved(ctx)
	}, []outcome{
		{"Entra's test passes", func(*scene) {}, "-"},
		{"it fails", func(s *scene) { s.test = model.TestFailed }, `switch after 10s; no proof.level; no proof.put; no proof.stored; no proof.used; pending_put=recovery; rate_limit.recoveries.1=1m0s; recoveries=1; "without the old token Entra's test of the saved credentials fails: recovery"; "recovery: saving token new to Entra once more"`},
		{"Entra does not test", func(s *scene) { s.test, s.failing["test"] = model.TestUnavailable, errNoAnswer }, "no answer"},
	})
}

// A rotation that is about to be blocked does not leave Entra with a dead token: it gets
// another one, or the reason says so.
func TestBeforeBlock(t *testing.T) {
	testStep(t, refusedScene, func(ctx context.Context, r runner) (model.Phase, error) {
		return recovery(r).beforeBlock(ctx, &rotate.BlockedError{Reason: model.BlockedPermission, Detail: "denied"})
	}, []outcome{
		{"nothing is left", func(*scene) {}, `entra_holds_dead_token: AWS refuses the token that Entra holds, and no recovery is possible (permission): denied; next: generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), enter it in Entra, then rotation adopt CONNECTION --in-use ID after 20s; "permission, and AWS refuses the token that Entra holds: recovery"`},
		{"Entra's test passes", func(s *scene) { s.test = model.TestPassed }, "-"},
		{"AWS does not list", func(s *scene) { s.failing["list"] = errNoAnswer }, "no answer"},
		{"AWS does not list any more", func(s *scene) { s.then["list 3"] = func() { s.failing["list"] = errNoAnswer } }, `entra_holds_dead_token: AWS refuses the token that Entra holds, and no recovery is possible (permission): denied; next: generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), enter it in Entra, then rotation adopt CONNECTION --in-use ID after 10s; "permission, and AWS refuses the token that Entra holds: recovery"`},
		{"one more token can be created", func(s *scene) { s.list.Tokens = s.list.Tokens[1:] }, `create after 20s; no new_token; no operator_token; no proof.level; no proof.put; no proof.stored; no proof.used; no store_entry; no trial.last_finding; pending_put=recovery; phase=create; phases.1.at=now~; phases.1.phase=create; plan.tokens.2=new previous not accepted any more; rate_limit.recoveries.1=1m0s; recoveries=1; "permission, and AWS refuses the token that Entra holds: recovery"; "recovery: no token that Entra could use is left, creating another"`},
		{"the old token is saved again", func(s *scene) {
			s.values["old"], s.probes = "old-value", map[string]int{"old-value": http.StatusOK}
		}, `new_token_rejected: token new did not work in Entra, so token old was saved again after 20s; operations.put.2=old rollback done; own_saves.1=now; own_saves.2=now; "permission, and AWS refuses the token that Entra holds: recovery"; "saved token old to Entra (rollback): done"; save SecretToken=old-value`},
		{"there is no new token yet", func(s *scene) {
			s.record.Rotation.Phase, s.record.Rotation.NewToken, s.record.Rotation.Operations = model.PhasePlan, nil, nil
			s.record.InUse, s.values["old"] = "old", "old-value"
		}, "entra_holds_dead_token: AWS refuses the token that Entra holds, and no recovery is possible (permission): denied; next: generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), enter it in Entra, then rotation adopt CONNECTION --in-use ID after 10s"},
	})
}

// Entra holds a dead token if AWS refuses each that it may hold, or if the same test passes
// with another one.
func TestHoldsDeadToken(t *testing.T) {
	unsure := func(s *scene) { // which one Entra holds
		s.record.Rotation.Operations[OperationPut][0].Outcome = model.CallUnknown
		s.record.InUse, s.values["old"] = "old", "old-value"
	}
	another := func(s *scene) { // AWS accepts the new one, which Entra says it tests
		s.probe = http.StatusOK
		s.record.Rotation.Plan.ControlFailed = true
		s.tests = map[string]model.TestResult{"new-value": model.TestPassed}
	}
	testStep(t, refusedScene, func(ctx context.Context, r runner) (model.Phase, error) {
		dead, err := recovery(r).holdsDeadToken(ctx)
		return said(dead), err
	}, []outcome{
		{"AWS refuses the one that was saved", func(*scene) {}, "true after 10s"},
		{"Entra's test passes", func(s *scene) { s.test = model.TestPassed }, "false"},
		{"Entra does not test", func(s *scene) { s.test, s.failing["test"] = model.TestUnavailable, errNoAnswer }, "no answer"},
		{"Entra's test fails, and says why", func(s *scene) { s.failing["test"] = errNoAnswer }, "true after 10s"},
		{"AWS does not list", func(s *scene) { s.failing["list"] = errNoAnswer }, "no answer"},
		{"AWS refuses both that it may hold", unsure, "true after 10s"},
		{"AWS accepts the one", func(s *scene) { unsure(s); s.probes = map[string]int{"new-value": http.StatusOK} }, "false after 5m10s"},
		{"AWS accepts the other", func(s *scene) { unsure(s); s.probes = map[string]int{"old-value": http.StatusOK} }, "false after 5m10s"},
		{"the values cannot be listed", func(s *scene) { s.failing["values"] = errNoAnswer }, "listing the token store: no answer after 10s"},
		{"Entra's test passes with the new one", another, "true after 5m10s"},
		{"it fails with the new one", func(s *scene) { another(s); s.tests["new-value"] = model.TestFailed }, "false after 5m10s"},
		{"inline tests say nothing", func(s *scene) { another(s); s.record.Rotation.Plan.ControlFailed = false }, "false after 5m10s"},
		{"Entra does not test the new one", func(s *scene) { another(s); s.failing["test new-value"] = errNoAnswer; s.tests = nil }, "no answer after 5m10s"},
		{"Entra's test passes five minutes later", func(s *scene) { another(s); s.then["test 2"] = func() { s.test = model.TestPassed } }, "false after 5m10s"},
		{"Entra does not test five minutes later", func(s *scene) {
			another(s)
			s.then["test 2"] = func() { s.test, s.failing["test"] = model.TestUnavailable, errNoAnswer }
		}, "no answer after 5m10s"},
		{"the process stops before", func(s *scene) { another(s); s.stopped = 50 * time.Second }, "context canceled after 50s"},
		{"the values cannot be listed then", func(s *scene) {
			another(s)
			s.then["test 2"] = func() { s.failing["values"] = errNoAnswer }
		}, "listing the token store: no answer after 5m10s"},
		{"the values cannot be listed at last", func(s *scene) {
			another(s)
			s.then["values 3"] = func() { s.failing["values"] = errNoAnswer }
		}, "listing the token store: no answer after 5m10s"},
		{"none is usable", func(s *scene) { s.values = nil }, "false after 5m10s"},
	})
}

// Entra holds what was saved last, if that was answered; else that or what it held before.
func TestMayBeHeld(t *testing.T) {
	testStep(t, refusedScene, func(_ context.Context, r runner) (model.Phase, error) {
		return said(recovery(r).mayBeHeld(r.options.Provisioning.(*scene).list)), nil
	}, []outcome{
		{"the save was answered", func(s *scene) { s.record.InUse = "old" }, "[new]"},
		{"it was not", func(s *scene) { s.record.InUse, s.put().Outcome = "old", "" }, "[new old]"},
		{"it was not, and what it held is unknown", func(s *scene) { s.put().Outcome = "" }, "[old new]"},
		{"nothing was saved", func(s *scene) { s.record.InUse, s.record.Rotation.Operations = "old", nil }, "[old]"},
		{"nothing was saved, and what it holds is unknown", func(s *scene) { s.record.Rotation.Operations = nil }, "[old new]"},
	})
}

// AWS certainly refuses a token that is gone, expired, or answered 401 twice.
func TestRefuses(t *testing.T) {
	testStep(t, func() *scene { return newScene(deleteRetire) }, func(ctx context.Context, r runner) (model.Phase, error) {
		r.AWS.Set(time.Now().Add(skew))
		refused, err := recovery(r).refuses(ctx, r.options.Provisioning.(*scene).list, "new")
		return said(refused), err
	}, []outcome{
		{"accepted", func(*scene) {}, "false"},
		{"401", func(s *scene) { s.probe = http.StatusUnauthorized }, "true"},
		{"gone", func(s *scene) { s.list.Tokens = nil }, "true"},
		{"not declared", func(s *scene) { s.list.Tokens, s.list.Origin = nil, model.OriginDeclared }, "false"},
		{"not declared, 401", func(s *scene) {
			s.list.Tokens, s.list.Origin, s.probe = nil, model.OriginDeclared, http.StatusUnauthorized
		}, "true"},
		{"its expiry is unknown", func(s *scene) { s.list.Tokens[1].Expires = time.Time{} }, "false"},
		{"expired", func(s *scene) { s.list.Tokens[1] = s.created("new", year+2*time.Hour) }, "true"},
		{"its value is unknown", func(s *scene) { s.values = nil }, "false"},
		{"the values cannot be listed", func(s *scene) { s.failing["values"] = errNoAnswer }, "listing the token store: no answer"},
	})
}
