package rotate

import (
	"context"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// listLag is how long AWS may go on listing a token whose deletion it has confirmed.
const listLag = 15 * time.Minute

// deleteTries is how often AWS may refuse, or fail, to delete a token.
const deleteTries = 5

// delete is the act. What its answer was is settled by the lists that follow: the
// phases go by those, not by the answer.
func (r *run) delete(ctx context.Context, leave permit) error {
	if failed := r.rotation().failedDeletes(leave.token.ID); len(failed) >= deleteTries {
		return blocked(DeleteRefused, "AWS did not delete token %s in %d attempts, the last answer was: %s", leave.token.ID, len(failed), failed[len(failed)-1].Error)
	}
	a, err := r.carryOut(ctx, deed{
		list: deletes,
		act:  act{TokenID: leave.token.ID, Why: string(leave.why)},
		call: func(ctx context.Context) error {
			if leave.stale() {
				return &model.Error{Reason: model.ReasonOther, Op: "deleting token " + leave.token.ID, Detail: "what allowed it is too old by now", Unsent: true}
			}
			return r.connection.Clouds.Tokens.DeleteToken(ctx, leave.token.ID)
		},
	})
	if err != nil {
		return err
	}
	if a.done() {
		r.say("deleted token %s (%s)", dated(leave.token), leave.why)
		return nil
	}
	r.say("token %s: deletion %s: %s", leave.token.ID, a.Outcome, a.Error)
	return r.wait(ctx, time.Minute, Settling)
}

func (r *rotation) failedDeletes(id string) []act {
	return slices.DeleteFunc(slices.Clone(r.Deletes), func(a act) bool { return a.TokenID != id || a.done() || a.Round != r.Round })
}

// deleted returns when the deletion of a token was first asked for; false if it never was.
func (r *rotation) deleted(id string) (act, bool) {
	for _, a := range r.Deletes {
		if a.TokenID == id && !a.refused() {
			return a, true
		}
	}
	return act{}, false
}

// deletedLast returns the deletion of a token that AWS has confirmed last; false: none.
func (r *rotation) deletedLast(id string) (act, bool) {
	for _, a := range slices.Backward(r.Deletes) {
		if a.TokenID == id && a.done() {
			return a, true
		}
	}
	return act{}, false
}

// deletedOld tells whether the deletion of a token from before was ever asked for: then
// what Entra holds, if it is not the new token, may be dead.
func (r *rotation) deletedOld() bool {
	return slices.ContainsFunc(r.old(), func(p planned) bool {
		_, asked := r.deleted(p.ID)
		return asked
	})
}

// isGone returns true when these tokens are missing in two lists.
func (r *run) isGone(ctx context.Context, ids ...string) (bool, model.TokenList, error) {
	list, err := r.agreedTokens(ctx)
	if err != nil {
		return false, list, err
	}
	for _, id := range ids {
		if _, listed := find(list.Tokens, id); listed {
			return false, list, nil
		}
	}
	return true, list, nil
}
