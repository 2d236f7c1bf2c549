package token

import (
	"context"
	"net/http"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// switchScene is one in which the new token was tested and nothing was saved.
func switchScene() *scene {
	s := newScene(deleteRetire)
	rot := s.record.Rotation
	rot.Phase, rot.Proof, rot.Approval = model.PhaseSwitch, Proof{}, nil
	delete(rot.Operations, OperationPut)
	return s
}

// puts are attempts to save the new token, over this time, the last one now.
func puts(over time.Duration, outcomes ...model.CallOutcome) func(*scene) {
	return func(s *scene) {
		for i, outcome := range outcomes {
			at := s.aged(over)
			if i > 0 {
				at = s.aged(over - over*time.Duration(i)/time.Duration(len(outcomes)-1))
			}
			put := journal.Operation{Number: i + 1, Target: "new", Why: PutInitial, Intent: at, Outcome: outcome, Answered: at}
			if outcome != model.CallDone {
				put.Error = "denied"
			}
			s.record.Rotation.Operations[OperationPut] = append(s.record.Rotation.Operations[OperationPut], put)
		}
	}
}

// The new token is saved unless it was, and found stored.
func TestSwitch(t *testing.T) {
	testStep(t, switchScene, func(ctx context.Context, r runner) (model.Phase, error) { return switchPhase(r).run(ctx) }, []outcome{
		{"for the first time", func(*scene) {}, `resume after 2m0s; in_use=new; operations.put.1=new switch done; own_saves.1=-2m0s; own_saves.2=-2m0s; proof.level=stored; proof.put=1; proof.stored=now; waiting=settling; "saved token new to Entra (switch): done"; "Entra's test of the saved credentials passes: stored"; save SecretToken=new-value`},
		{"it cannot be saved", func(s *scene) { s.values = nil }, "token_value_lost: the token store does not have the value of token new"},
		{"for another reason", func(s *scene) { s.record.Rotation.PendingPut = PutRecovery }, `resume after 2m0s; in_use=new; no pending_put; operations.put.1=new recovery done; own_saves.1=-2m0s; own_saves.2=-2m0s; proof.level=stored; proof.put=1; proof.stored=now; waiting=settling; "saved token new to Entra (recovery): done"; "Entra's test of the saved credentials passes: stored"; save SecretToken=new-value`},
		{"it was stored before a crash", func(s *scene) { puts(0, model.CallDone)(s); s.record.Rotation.Proof.Put = 1 }, "resume"},
		{"it was stored, and is to be saved again", func(s *scene) {
			puts(0, model.CallDone)(s)
			s.record.Rotation.Proof.Put, s.record.Rotation.PendingPut = 1, PutRecovery
		}, `resume after 2m0s; in_use=new; no pending_put; operations.put.2=new recovery done; own_saves.1=-2m0s; own_saves.2=-2m0s; proof.level=stored; proof.put=2; proof.stored=now; waiting=settling; "saved token new to Entra (recovery): done"; "Entra's test of the saved credentials passes: stored"; save SecretToken=new-value`},
		{"it was saved before a crash", puts(0, model.CallDone), `resume after 2m0s; in_use=new; proof.level=stored; proof.put=1; proof.stored=now; waiting=settling; "Entra's test of the saved credentials passes: stored"`},
		{"it was not answered before a crash", puts(0, ""), `resume after 2m0s; in_use=new; operations.put.2=new switch done; own_saves.1=-2m0s; own_saves.2=-2m0s; proof.level=stored; proof.put=2; proof.stored=now; waiting=settling; "saved token new to Entra (switch): done"; "Entra's test of the saved credentials passes: stored"; save SecretToken=new-value`},
		{"it was refused", puts(0, model.CallRefused), `resume after 2m0s; in_use=new; operations.put.2=new switch done; own_saves.1=-2m0s; own_saves.2=-2m0s; proof.level=stored; proof.put=2; proof.stored=now; waiting=settling; "saved token new to Entra (switch): done"; "Entra's test of the saved credentials passes: stored"; save SecretToken=new-value`},
		{"the test of the save failed to the end", func(s *scene) { puts(0, model.CallDone)(s); s.record.Rotation.FailedPut = 1 }, `resume after 2m0s; in_use=new; operations.put.2=new switch done; own_saves.1=-2m0s; own_saves.2=-2m0s; proof.level=stored; proof.put=2; proof.stored=now; waiting=settling; "saved token new to Entra (switch): done"; "Entra's test of the saved credentials passes: stored"; save SecretToken=new-value`},
		{"the test of an earlier save did", func(s *scene) {
			puts(0, model.CallDone, model.CallDone)(s)
			s.record.Rotation.FailedPut = 1
		}, `resume after 2m0s; in_use=new; proof.level=stored; proof.put=2; proof.stored=now; waiting=settling; "Entra's test of the saved credentials passes: stored"`},
		{"the save before the deletion was not found stored", func(s *scene) {
			puts(0, model.CallDone)(s)
			s.put().Why = PutBeforeDelete
		}, `resume after 2m0s; in_use=new; operations.put.2=new switch done; own_saves.1=-2m0s; own_saves.2=-2m0s; proof.level=stored; proof.put=2; proof.stored=now; waiting=settling; "saved token new to Entra (switch): done"; "Entra's test of the saved credentials passes: stored"; save SecretToken=new-value`},
		{"no answer", func(s *scene) { s.failing["save SecretToken=new-value"] = errNoAnswer }, `switch after 1m0s; operations.put.1=new switch unknown no answer; own_saves.1=-1m0s; waiting=settling; "saved token new to Entra (switch): unknown: no answer"; save SecretToken=new-value`},
		{"Graph's clock cannot be read at last", func(s *scene) {
			s.then["job 2"] = func() { s.failing["job"] = errNoAnswer }
		}, `no answer after 2m0s; operations.put.1=new switch done; own_saves.1=-2m0s; own_saves.2=-2m0s; waiting=settling; "saved token new to Entra (switch): done"; save SecretToken=new-value`},
		{"the process stops", func(s *scene) { s.stopped = 50 * time.Second }, `context canceled after 50s; operations.put.1=new switch done; own_saves.1=-50s; own_saves.2=-50s; waiting=settling; "saved token new to Entra (switch): done"; save SecretToken=new-value`},
		{"Entra's test fails", func(s *scene) { s.test = model.TestFailed }, `switch after 15m0s; failed_put=1; operations.put.1=new switch done; own_saves.1=-15m0s; own_saves.2=-15m0s; waiting=settling; "saved token new to Entra (switch): done"; save SecretToken=new-value`},
		{"saving it does not help", puts(time.Hour, model.CallRefused, model.CallRefused, model.CallRefused, model.CallRefused, model.CallRefused, model.CallRefused), "switch_failed: token new could not be saved to Entra, which keeps what it has: denied"},
	})
}

// Saving stops when it does not help: three saves that are not found stored, or six that fail
// over an hour. Then Entra gets an old token again.
func TestCheckAttempts(t *testing.T) {
	refused := func(count int) []model.CallOutcome {
		outcomes := make([]model.CallOutcome, count)
		for i := range outcomes {
			outcomes[i] = model.CallRefused
		}
		return outcomes
	}
	done := puts(time.Hour, model.CallDone, model.CallDone, model.CallDone)
	each := func(edit func(*journal.Operation)) func(*scene) {
		return func(s *scene) {
			for i := range s.record.Rotation.Operations[OperationPut] {
				edit(&s.record.Rotation.Operations[OperationPut][i])
			}
		}
	}
	testStep(t, switchScene, func(ctx context.Context, r runner) (model.Phase, error) {
		return "", switchPhase(r).checkAttempts(ctx)
	}, []outcome{
		{"none", func(*scene) {}, "-"},
		{"five refused over two hours", puts(2*time.Hour, refused(5)...), "-"},
		{"six refused over an hour", puts(time.Hour, refused(6)...), "switch_failed: token new could not be saved to Entra, which keeps what it has: denied"},
		{"six refused over less", puts(time.Hour-1, refused(6)...), "-"},
		{"six, the third was answered", func(s *scene) {
			puts(time.Hour, refused(6)...)(s)
			s.record.Rotation.Operations[OperationPut][2].Outcome = model.CallDone
		}, "-"},
		{"seven, the third was answered", func(s *scene) {
			puts(2*time.Hour, refused(7)...)(s)
			s.record.Rotation.Operations[OperationPut][2].Outcome = model.CallDone
		}, "-"},
		{"seven, the first was answered", func(s *scene) {
			puts(2*time.Hour, refused(7)...)(s)
			s.put().Outcome = model.CallDone
		}, "switch_failed: token new was sent to Entra 6 times and no save was confirmed, the last answer was: denied; the old token's value is unknown"},
		{"six without an answer", puts(time.Hour, "", "", "", "", "", ""), "switch_failed: token new was sent to Entra 6 times and no save was confirmed, the last answer was: denied; the old token's value is unknown"},
		{"two answered and not stored", puts(time.Hour, model.CallDone, model.CallDone), "-"},
		{"three answered and not stored", done, "switch_failed: token new was saved to Entra 3 times and Entra's test of it still fails; the old token's value is unknown"},
		{"three, after a recovery", func(s *scene) { done(s); s.record.Rotation.Recoveries = 1 }, "-"},
		{"three, after the proof began again", func(s *scene) { done(s); s.record.Rotation.ProofRestarts = 1 }, "-"},
		{"three before a reset", func(s *scene) { done(s); s.record.Rotation.ResetCount = 1 }, "-"},
		{"three before deletions", func(s *scene) { done(s); each(func(put *journal.Operation) { put.Why = PutBeforeDelete })(s) }, "-"},
		{"three of the old token", func(s *scene) { done(s); each(func(put *journal.Operation) { put.Why = PutRollback })(s) }, "-"},
		{"the old value is known", func(s *scene) { done(s); s.values["old"] = "old-value" }, `switch_failed: token new was saved to Entra 3 times and Entra's test of it still fails; token old was saved again; operations.put.4=old rollback done; own_saves.1=now; own_saves.2=now; "saved token old to Entra (rollback): done"; save SecretToken=old-value`},
		{"the old value cannot be saved", func(s *scene) {
			done(s)
			s.values["old"], s.failing["save SecretToken=old-value"] = "old-value", errNoAnswer
		}, `saving token old again: other: no answer after 1m0s; operations.put.4=old rollback unknown no answer; own_saves.1=-1m0s; waiting=settling; "saved token old to Entra (rollback): unknown: no answer"; save SecretToken=old-value`},
		{"the values cannot be listed", func(s *scene) { done(s); s.failing["values"] = errNoAnswer }, "listing the token store: no answer"},
		{"AWS refuses the old value", func(s *scene) {
			done(s)
			s.values["old"], s.probes = "old-value", map[string]int{"old-value": http.StatusUnauthorized}
		}, "switch_failed: token new was saved to Entra 3 times and Entra's test of it still fails; the old token's value is unknown"},
		{"the value of the first of two is unknown", func(s *scene) {
			done(s)
			s.plan(s.created("older", 301*day), s.list.Tokens[0])
			s.values["old"] = "old-value"
		}, `switch_failed: token new was saved to Entra 3 times and Entra's test of it still fails; token old was saved again; operations.put.4=old rollback done; own_saves.1=now; own_saves.2=now; "saved token old to Entra (rollback): done"; save SecretToken=old-value`},
		{"saving the old value fails for an hour", func(s *scene) {
			done(s)
			s.values["old"] = "old-value"
			puts(time.Hour, refused(6)...)(s)
			for i := range 6 {
				put := &s.record.Rotation.Operations[OperationPut][3+i]
				put.Number, put.Why, put.Target = 4+i, PutRollback, "old"
			}
		}, "switch_failed: token new was saved to Entra 3 times and Entra's test of it still fails; saving the old token again failed: denied"},
	})
}
