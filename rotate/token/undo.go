package token

import (
	"context"
	"errors"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
)

// undoPhase deletes a new token that nobody but the exporter has ever had.
type undoPhase struct{ observer }

func (p undoPhase) run(ctx context.Context) (model.Phase, error) {
	rot := p.rotation()
	if rot.created(rot.newID()) {
		deleted, err := p.deleted(ctx)
		if !deleted {
			return model.PhaseUndo, err
		}
		if err := p.tokens.destroy(ctx, rot.newID()); err != nil {
			return "", err
		}
	}
	reason := rot.Abort
	if reason == "" {
		reason = "the new token did not work: " + rot.Trial.LastFinding
	}
	return p.finishAborted(ctx, reason, func(r *record) { delete(r.KnownTokens, r.Rotation.newID()) })
}

// deleted returns true once the new token is gone; until then it deletes it, or waits.
func (p undoPhase) deleted(ctx context.Context) (bool, error) {
	rot := p.rotation()
	gone, list, err := p.areGone(ctx, rot.newID())
	if err != nil {
		return false, err
	}
	if gone && list.Origin == model.OriginDeclared { // the configuration never had it
		return false, rotate.Blocked(model.BlockedDeleteRefused, "the tokens are declared in the config, so token %s, which was created before, must be deleted by hand; then rotation adopt, not reset", rot.newID())
	}
	if gone {
		if deletion, _ := rot.deletionRequested(rot.newID()); p.Elapsed(deletion.Intent.Local) < time.Minute {
			return false, p.Wait(ctx, time.Minute, model.WaitingSettling)
		}
		return true, nil
	}
	g := guard(p)
	permit, err := g.authorize(ctx, rot.newID(), deleteUndo)
	switch {
	case errors.Is(err, errTokenGone):
		return false, nil
	case err != nil:
		return false, err
	}
	return false, g.delete(ctx, permit)
}
