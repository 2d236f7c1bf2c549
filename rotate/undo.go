package rotate

import (
	"context"
	"errors"
	"time"

	"entra-aws-exporter/internal/model"
)

// undoPhase takes a new token back that nobody but us has ever had.
func undoPhase(ctx context.Context, r *run) (model.Phase, error) {
	rot := r.rotation()
	why := rot.Abort
	if why == "" {
		why = "the new token did not work: " + rot.Tests.Last
	}
	if rot.created(rot.newID()) {
		gone, list, err := r.isGone(ctx, rot.newID())
		if err != nil {
			return "", err
		}
		if gone && list.Origin == model.OriginDeclared { // the config never had it
			return "", blocked(DeleteRefused, "the tokens are declared in the config, so token %s, which was created before, must be deleted by hand; then rotation adopt, not reset", rot.newID())
		}
		if !gone {
			leave, err := r.mayDelete(ctx, rot.newID(), deleteUndo)
			if err != nil {
				if errors.Is(err, errGone) {
					err = nil
				}
				return model.PhaseUndo, err
			}
			return model.PhaseUndo, r.delete(ctx, leave)
		}
		if deletion, asked := rot.deleted(rot.newID()); asked && r.passed(deletion.Intent.Local) < time.Minute {
			return model.PhaseUndo, r.wait(ctx, time.Minute, Settling)
		}
		if err := r.safe.destroy(ctx, rot.newID()); err != nil {
			return "", err
		}
	}
	return r.end(ctx, model.OutcomeAborted, why, func(rec *record) {
		rec.Attempts++
		delete(rec.Tokens, rec.Rotation.newID())
	})
}
