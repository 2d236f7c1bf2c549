package token

import (
	"context"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// A new token that was never saved is deleted, and only then its value destroyed.
func TestUndo(t *testing.T) {
	requested := func(ago time.Duration) func(*scene) {
		return func(s *scene) {
			s.record.Rotation.Operations[OperationDelete] = []journal.Operation{{Number: 1, Target: "new", Intent: s.timestamps(ago)}}
		}
	}
	gone := func(s *scene) { s.list.Tokens = s.list.Tokens[:1] }
	testStep(t, func() *scene { return newScene(deleteUndo) }, func(ctx context.Context, r runner) (model.Phase, error) {
		return undoPhase(r).run(ctx)
	}, []outcome{
		{"it is deleted", func(*scene) {}, `undo after 20s; operations.delete.1=new undo done; "deleted token new (created 1999-12-31 20:01 UTC, expires 2000-12-30 20:01 UTC) (undo)"; delete new`},
		{"it is gone", gone, `idle after 10s; attempts=1; ended=aborted  the new token did not work:; last_end=now; outcomes.aborted=1; "outcome: aborted: the new token did not work: "; destroy new`},
		{"it is gone, after an operator aborted", func(s *scene) { gone(s); s.record.Rotation.Abort = "an operator aborted it" }, `idle after 10s; attempts=1; ended=aborted  an operator aborted it; last_end=now; outcomes.aborted=1; "outcome: aborted: an operator aborted it"; destroy new`},
		{"it is gone, after a test that failed", func(s *scene) { gone(s); s.record.Rotation.Trial.LastFinding = "AWS answers 401" }, `idle after 10s; attempts=1; ended=aborted  the new token did not work: AWS answers 401; last_end=now; outcomes.aborted=1; "outcome: aborted: the new token did not work: AWS answers 401"; destroy new`},
		{"it is not declared any more", func(s *scene) { gone(s); s.list.Origin = model.OriginDeclared }, "delete_refused: the tokens are declared in the config, so token new, which was created before, must be deleted by hand; then rotation adopt, not reset after 10s"},
		{"its value cannot be destroyed", func(s *scene) { gone(s); s.failing["destroy new"] = errNoAnswer }, "destroying a token store entry: no answer after 10s; destroy new"},
		{"an operator created it", func(s *scene) { s.record.Rotation.OperatorToken = "new" }, `idle; attempts=1; ended=aborted  the new token did not work:; last_end=now; outcomes.aborted=1; "outcome: aborted: the new token did not work: "`},
		{"no list", func(s *scene) { s.failing["list"] = errNoAnswer }, "no answer"},
		{"no list at first", func(s *scene) {
			s.failing["list"] = errNoAnswer
			s.then["list 2"] = func() { delete(s.failing, "list") }
		}, "no answer"},
		{"its deletion was requested", requested(time.Hour), `undo after 20s; operations.delete.2=new undo done; "deleted token new (created 1999-12-31 20:01 UTC, expires 2000-12-30 20:01 UTC) (undo)"; delete new`},
		{"it is gone, a minute after the request", func(s *scene) { requested(time.Minute)(s); gone(s) }, `idle after 10s; attempts=1; ended=aborted  the new token did not work:; last_end=now; outcomes.aborted=1; "outcome: aborted: the new token did not work: "; destroy new`},
		{"it is gone, sooner after the request", func(s *scene) { requested(time.Minute - 1)(s); gone(s) }, "undo after 1m10s; waiting=settling"},
		{"it is declared", func(s *scene) { s.list.Origin = model.OriginDeclared }, "delete_refused: the tokens are declared in the config, so token new must be deleted by hand, and removed from tokens.declared after 20s"},
		{"it is gone right before", func(s *scene) { s.then["list 3"] = func() { gone(s) } }, "undo after 20s"},
		{"it may be in use", func(s *scene) { s.record.Rotation.ShownToOperator = true }, "switch_failed: token new may be in use: an operator was shown it, or named it as the one that Entra holds after 20s"},
		{"its deletion is not answered", func(s *scene) { s.failing["delete new"] = errNoAnswer }, `deleting token new: other: no answer after 20s; operations.delete.1=new undo unknown no answer; "token new: deletion unknown: no answer"; delete new`},
	})
}
