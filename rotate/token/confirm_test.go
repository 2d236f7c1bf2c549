package token

import (
	"context"
	"net/http"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// deletedScene is one in which AWS was told this long ago to delete the old token, and
// refuses it.
func deletedScene(ago time.Duration) *scene {
	s := newScene(deleteRetire)
	rot := s.record.Rotation
	rot.Phase = model.PhaseConfirm
	rot.Operations[OperationDelete] = []journal.Operation{{Number: 1, Target: "old", Intent: s.aged(ago), Outcome: model.CallDone, Answered: s.aged(ago)}}
	s.record.Procedures[model.ProcedureToken].Attempts = 1
	s.list.Tokens = s.list.Tokens[1:]
	s.values["old"], s.probes = "old-value", map[string]int{"old-value": http.StatusUnauthorized}
	return s
}

// propagatedScene is one in which all of AWS refuses the old token since half an hour.
func propagatedScene() *scene {
	s := deletedScene(time.Hour)
	s.record.Rotation.Proof.Propagated = s.aged(30 * time.Minute)
	return s
}

func confirm(ctx context.Context, r runner) (model.Phase, error) { return confirmPhase(r).run(ctx) }

// The rotation ends when the new token is the only one, Entra's test passes twice, and a
// cycle has used what is saved.
func TestConfirm(t *testing.T) {
	quarantined := func(s *scene) {
		s.job.Quarantine = &model.Quarantine{Reason: model.QuarantineReasonException, CurrentBegan: s.ago(3 * time.Hour), NextAttempt: s.ago(-time.Minute)}
	}
	testStep(t, propagatedScene, confirm, []outcome{
		{"done", func(*scene) {}, `idle after 1m10s; ended=done exclusive; in_use=new; known_tokens.new=new; last_end=now; last_success=now; no attempts; no known_tokens.old; outcomes.done=1; trust.at=now; trust.keys=<nil>; "only token new (created 1999-12-31 20:01 UTC, expires 2000-12-30 20:01 UTC) is left, and Entra works with it: exclusive"; "outcome: done"; destroy old`},
		{"done, after somebody else's change", func(s *scene) { s.record.ThirdPartyChange = s.ago(year) }, `idle after 1m10s; ended=done exclusive; in_use=new; known_tokens.new=new; last_end=now; last_success=now; no attempts; no known_tokens.old; no third_party_change; outcomes.done=1; trust.at=now; trust.keys=<nil>; "only token new (created 1999-12-31 20:01 UTC, expires 2000-12-30 20:01 UTC) is left, and Entra works with it: exclusive"; "outcome: done"; destroy old`},
		{"no list", func(s *scene) { s.failing["list"] = errNoAnswer }, "no answer"},
		{"somebody created another", func(s *scene) { s.list.Tokens = append(s.list.Tokens, s.created("third", day)) }, "foreign_token: token new should be the only one after 20s"},
		{"the new one was deleted", func(s *scene) { s.list.Tokens[0].ID = "third" }, "foreign_token: token new should be the only one after 20s"},
		{"Entra cannot use what is left", func(s *scene) { s.list.Tokens[0].ID, s.test = "third", model.TestFailed }, "entra_holds_dead_token: Entra's test of the saved credentials fails, and no token is left whose value is known; next: generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), enter it in Entra, then rotation adopt CONNECTION --in-use ID after 30s"},
		{"Entra does not test what is left", func(s *scene) {
			s.list.Tokens[0].ID, s.test, s.failing["test"] = "third", model.TestUnavailable, errNoAnswer
		}, "no answer after 20s"},
		{"the old one is listed again", func(s *scene) { s.list.Tokens = append(s.list.Tokens, s.created("old", 300*day)) }, "retire after 20s"},
		{"the lists fail then", func(s *scene) {
			s.list.Tokens = nil
			s.then["list 3"] = func() { s.failing["list"] = errNoAnswer }
		}, "no answer after 10s"},
		{"Entra's test fails", func(s *scene) { s.test = model.TestFailed }, `switch after 20s; no proof.level; no proof.propagated; no proof.put; no proof.stored; no proof.used; pending_put=recovery; rate_limit.recoveries.1=1m0s; recoveries=1; "recovery: saving token new to Entra once more"`},
		{"it fails the second time", func(s *scene) { s.then["test 2"] = func() { s.test = model.TestFailed } }, `switch after 1m20s; no proof.level; no proof.propagated; no proof.put; no proof.stored; no proof.used; pending_put=recovery; rate_limit.recoveries.1=1m0s; recoveries=1; waiting=settling; "recovery: saving token new to Entra once more"`},
		{"Entra does not test", func(s *scene) { s.test, s.failing["test"] = model.TestUnavailable, errNoAnswer }, "no answer after 10s"},
		{"the process stops between the tests", func(s *scene) { s.stopped = 50 * time.Second }, "context canceled after 50s; waiting=settling"},
		{"the job cannot be read", func(s *scene) { s.failing["job"] = errNoAnswer }, "no answer after 1m10s; waiting=settling"},
		{"the job is stopped", func(s *scene) { s.job.Status = model.JobPaused }, `confirm after 6m10s; job_stopped=-5m0s; waiting=job_stopped_briefly; "the provisioning job is stopped (paused, schedule ); waiting until an operator starts it"`},
		{"for a day", func(s *scene) { s.job.Status, s.record.Rotation.JobStopped = model.JobPaused, s.ago(25*time.Hour) }, "job_stopped: the provisioning job is stopped since 1999-12-30 23:00 UTC (paused, schedule ), so nothing can be proven after 1m10s; waiting=settling"},
		{"a quarantine that a start ends", func(s *scene) {
			quarantined(s)
			s.job.Schedule, s.job.Quarantine.NextAttempt = model.ScheduleActive, s.ago(-day)
		}, "resume after 1m10s; waiting=settling"},
		{"a quarantine that Entra ends soon", func(s *scene) { quarantined(s); s.job.LastCycle = nil }, "confirm after 6m10s; waiting=settling"},
		{"a quarantine that nothing ends", quarantined, "job_stopped: the provisioning job stays in quarantine since 1999-12-31 21:00 UTC, although token new was saved and tested and the job was started 0 times; next: restart provisioning in Entra, then rotation reset CONNECTION after 1m10s; waiting=settling"},
		{"a quarantine since the save", func(s *scene) {
			quarantined(s)
			s.record.Rotation.Proof.Stored = s.timestamps(3 * time.Hour)
			s.job.Quarantine.CurrentBegan = s.ago(time.Hour)
		}, `switch after 1m10s; no proof.level; no proof.propagated; no proof.put; no proof.stored; no proof.used; pending_put=switch; proof_restarts=1; waiting=settling; "the provisioning job went into quarantine for its credentials on 1999-12-31 23:00 UTC; saving the new token once more"`},
		{"the cycle is from before", func(s *scene) { s.job.LastCycle.Began = s.ago(30 * time.Minute) }, "confirm after 6m10s; waiting=settling"},
		{"the process stops in the wait for it", func(s *scene) { s.job.LastCycle, s.stopped = nil, 3*time.Minute }, "context canceled after 3m0s; waiting=settling"},
		{"the values cannot be listed", func(s *scene) { s.failing["values"] = errNoAnswer }, "listing the token store: no answer after 1m10s; waiting=settling"},
		{"the old value cannot be destroyed", func(s *scene) { s.failing["destroy old"] = errNoAnswer }, "destroying a token store entry: no answer after 1m10s; waiting=settling; destroy old"},
		{"after a recovery", func(s *scene) {
			s.record.Trust = &Trust{At: s.ago(year)}
			s.put().Why = PutRecovery
		}, `idle after 1m10s; ended=done exclusive; in_use=new; known_tokens.new=new; last_end=now; last_success=now; no attempts; no known_tokens.old; no trust.at; no trust.keys; outcomes.done=1; "only token new (created 1999-12-31 20:01 UTC, expires 2000-12-30 20:01 UTC) is left, and Entra works with it: exclusive"; "outcome: done"; destroy old`},
		{"declared, and the old value is unknown", func(s *scene) {
			s.list.Origin = model.OriginDeclared
			delete(s.values, "old")
		}, `idle after 1m10s; ended=done exclusive; in_use=new; known_tokens.new=new; last_end=now; last_success=now; no attempts; no known_tokens.old; outcomes.done=1; "only token new (created 1999-12-31 20:01 UTC, expires 2000-12-30 20:01 UTC) is declared, and Entra works with it: exclusive (deletion at AWS cannot be verified with declared tokens)"; "outcome: done"`},
		{"declared, and the old value is accepted", func(s *scene) { s.list.Origin, s.probes = model.OriginDeclared, nil }, "delete_refused: token old is not declared any more, but AWS still accepts it, so it must be deleted by hand after 1m10s; waiting=settling"},
	})
}

// The old token is gone when it is refused five times in a row, or an hour and five minutes
// after its deletion if its value is unknown.
func TestPropagation(t *testing.T) {
	answered := func(deleted time.Duration, status int) func(*scene) {
		return func(s *scene) {
			s.record.Rotation.Operations[OperationDelete][0].Intent = s.aged(deleted)
			s.probes["old-value"] = status
		}
	}
	testStep(t, func() *scene { return deletedScene(0) }, confirm, []outcome{
		{"AWS refuses it", func(*scene) {}, `confirm after 1m0s; proof.propagated=now-; waiting=settling; "AWS refuses the old token"`},
		{"AWS accepts it once more", func(s *scene) {
			s.then["probe old-value 7"] = func() { s.probes["old-value"] = http.StatusOK }
			s.then["probe old-value 9"] = func() { s.probes["old-value"] = http.StatusUnauthorized }
		}, `confirm after 2m0s; proof.propagated=now-; waiting=settling; "AWS refuses the old token"`},
		{"Entra's test fails", func(s *scene) { s.then["test 3"] = func() { s.test = model.TestFailed } }, `switch after 40s; no proof.level; no proof.put; no proof.stored; no proof.used; pending_put=recovery; rate_limit.recoveries.1=1m0s; recoveries=1; waiting=settling; "without the old token Entra's test of the saved credentials fails: recovery"; "recovery: saving token new to Entra once more"`},
		{"Entra does not test", func(s *scene) { s.test, s.failing["test"] = model.TestUnavailable, errNoAnswer }, "no answer"},
		{"the values cannot be listed", func(s *scene) { s.failing["values"] = errNoAnswer }, "listing the token store: no answer"},
		{"Graph's clock cannot be read", func(s *scene) { s.failing["job"] = errNoAnswer }, "no answer after 1m0s; waiting=settling"},
		{"the process stops", func(s *scene) { s.stopped = 20 * time.Second }, "context canceled after 20s; waiting=settling"},
		{"it was seen to be gone later", func(s *scene) {
			answered(0, http.StatusForbidden)(s)
			s.record.Rotation.Proof.Gone = s.aged(-time.Minute)
		}, `confirm after 1h6m0s; proof.propagated=now-; waiting=settling; "cannot verify that AWS refuses the old token (value unknown); deleted more than an hour ago"`},
		{"almost two minutes ago", answered(2*time.Minute-15*time.Second-1, http.StatusUnauthorized), `confirm after 2m30s; proof.propagated=now-; waiting=settling; "AWS refuses the old token"`},
		{"two minutes ago", answered(2*time.Minute-15*time.Second, http.StatusUnauthorized), `confirm after 3m15s; proof.propagated=now-; waiting=settling; "AWS refuses the old token"`},
		{"not long enough ago, and its value says nothing", answered(65*time.Minute-1, http.StatusForbidden), `confirm after 1m0s; proof.propagated=now-; waiting=settling; "cannot verify that AWS refuses the old token (value unknown); deleted more than an hour ago"`},
		{"long enough ago, and its value says nothing", answered(65*time.Minute, http.StatusForbidden), `confirm; proof.propagated=now-; "cannot verify that AWS refuses the old token (value unknown); deleted more than an hour ago"`},
		{"long enough ago, and it is accepted", func(s *scene) {
			answered(65*time.Minute, http.StatusOK)(s)
			s.then["list 2"] = func() { s.probes["old-value"] = http.StatusForbidden }
		}, `confirm after 2m0s; proof.propagated=now; waiting=settling; "cannot verify that AWS refuses the old token (value unknown); deleted more than an hour ago"`},
		{"long enough ago, it is accepted, and no list comes", func(s *scene) {
			answered(65*time.Minute, http.StatusOK)(s)
			s.failing["list"] = errNoAnswer
		}, "no answer"},
		{"not long enough ago, it is accepted, and no list comes", func(s *scene) {
			answered(65*time.Minute-1, http.StatusOK)(s)
			s.failing["list"] = errNoAnswer
		}, "no answer after 1m0s; waiting=settling"},
		{"long enough ago, but only declared", func(s *scene) {
			answered(65*time.Minute, http.StatusOK)(s)
			s.list.Origin = model.OriginDeclared
		}, "delete_refused: token old is not declared any more, but AWS still accepts it, so it must be deleted by hand"},
		{"a day ago, and it is accepted", answered(day-time.Minute, http.StatusOK), "delete_refused: AWS still accepts the old token 24h0m0s after its deletion after 1m0s; waiting=settling"},
	})
}

// AWS refuses the old tokens if it refuses each, and accepts them if it accepts one.
func TestProbeOldTokens(t *testing.T) {
	scenes := func() *scene {
		s := deletedScene(0)
		s.plan(s.created("old", 300*day), s.created("older", 301*day))
		s.values["older"], s.probes["older-value"] = "older-value", http.StatusUnauthorized
		return s
	}
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) {
		result, err := confirmPhase(r).probeOldTokens(ctx)
		return said(result), err
	}, []outcome{
		{"both are refused", func(*scene) {}, "unauthorized"},
		{"one is accepted", func(s *scene) { s.probes["older-value"] = http.StatusOK }, "accepted"},
		{"one is accepted, the other unknown", func(s *scene) { s.probes["older-value"] = http.StatusOK; delete(s.values, "old") }, "accepted"},
		{"the first is unknown", func(s *scene) { delete(s.values, "old") }, "inconclusive"},
		{"the last is unknown", func(s *scene) { delete(s.values, "older") }, "inconclusive"},
		{"one answers nothing clear", func(s *scene) { s.probes["old-value"] = http.StatusForbidden }, "inconclusive"},
		{"the endpoint fails", func(s *scene) { s.probes["old-value"] = http.StatusBadGateway }, "inconclusive"},
		{"the values cannot be listed", func(s *scene) { s.failing["values"] = errNoAnswer }, "listing the token store: no answer"},
	})
}

// Of declared tokens only AWS's refusal shows that they are gone.
func TestSeenGone(t *testing.T) {
	scenes := func() *scene {
		s := deletedScene(0)
		s.list.Origin = model.OriginDeclared
		s.plan(s.created("old", 300*day), s.created("older", 301*day))
		s.values["older"], s.probes["older-value"] = "older-value", http.StatusUnauthorized
		return s
	}
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) {
		seen, err := confirmPhase(r).confirmedDeleted(ctx, r.options.Provisioning.(*scene).list)
		return said(seen), err
	}, []outcome{
		{"both are refused", func(*scene) {}, "true"},
		{"the list is AWS's", func(s *scene) { s.list.Origin, s.values = model.OriginConsoleAPI, nil }, "true"},
		{"there was none", func(s *scene) { s.plan() }, "false"},
		{"the first is unknown", func(s *scene) { delete(s.values, "old") }, "false"},
		{"the last is unknown", func(s *scene) { delete(s.values, "older") }, "false"},
		{"the last is accepted", func(s *scene) { s.probes["older-value"] = http.StatusOK }, "delete_refused: token older is not declared any more, but AWS still accepts it, so it must be deleted by hand"},
		{"the last answers nothing clear", func(s *scene) { s.probes["older-value"] = http.StatusForbidden }, "false"},
		{"the endpoint fails", func(s *scene) { s.probes["old-value"] = http.StatusBadGateway }, "probing the SCIM endpoint with token old: other: AWS answers 502"},
		{"the values cannot be listed", func(s *scene) { s.failing["values"] = errNoAnswer }, "listing the token store: no answer"},
	})
}
