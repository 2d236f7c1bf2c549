package rotate

import (
	"context"

	"entra-aws-exporter/internal/model"
)

// rescue gives Entra a token that works when its own test of what it has saved fails
// although AWS answers: the new one again, else another listed one whose value we have,
// else one more. It ignores the cooldown, not the budget.
func (r *run) rescue(ctx context.Context) (model.Phase, error) {
	list, err := r.agreedTokens(ctx) // AWS answers
	if err != nil {
		return "", err
	}
	rot, rec := r.rotation(), r.book.last()
	usable, err := r.usableFirst(ctx, list, rot.newID())
	if err != nil {
		return "", err
	}
	switch {
	case rec.Budget.rescuesSpent(r.aws.now()):
		const spent = "Entra's own test of the saved credentials fails although they were mended %d times"
		if usable == nil {
			return "", withoutToken(spent+", and no token is left whose value is known", rot.Rescues)
		}
		return "", blocked(SwitchReverted, spent, rot.Rescues)
	case usable != nil && usable.ID == rot.newID():
		r.say("rescue: saving token %s to Entra once more", usable.ID)
		return model.PhaseSwitch, r.beginRescue(ctx, func(rec *record) { rec.Rotation.Want = putRescue })
	case usable != nil:
		if err := r.put(ctx, usable.ID, putBack); err != nil {
			return "", err
		}
		if last, _ := r.rotation().lastPut(); !last.done() {
			return "", &model.Error{Reason: model.ReasonOther, Op: "putting token " + usable.ID + " back", Detail: last.Error}
		}
		return "", surely(NewTokenRejected, "the new token %s is not accepted any more, so token %s was put back", rot.newID(), usable.ID)
	case mayCreate(list) == nil && len(list.Tokens) < slotsOf(list) && rec.Budget.spent(r.aws.now()) == "" && rot.Issuer == model.IssuerConsoleAPI:
		r.say("rescue: no token that Entra could use is left, creating another")
		at := r.moment()
		return model.PhaseCreate, r.beginRescue(ctx, func(rec *record) {
			// with the same stroke: only these phases know no new token
			rec.Rotation.pass(model.PhaseCreate, at)
			rec.Rotation.Plan.Tokens = append(rec.Rotation.Plan.Tokens, planned{Token: *rec.Rotation.NewToken, Role: model.RolePrevious, Evidence: "not accepted any more"})
			rec.Rotation.NewToken, rec.Rotation.Entry, rec.Rotation.Offered, rec.Rotation.Tests = nil, "", "", tests{}
			rec.Rotation.Want = putRescue
		})
	default:
		return "", withoutToken("Entra's own test of the saved credentials fails, and no token is left whose value is known")
	}
}

func (r *run) beginRescue(ctx context.Context, edit func(*record)) error {
	at := r.aws.now()
	return r.write(ctx, func(rec *record) {
		rec.Budget.Rescues = append(rec.Budget.Rescues, at)
		rec.Rotation.Rescues++
		rec.Rotation.Proof = proof{}
		edit(rec)
	})
}

// usableFirst is usable, with one token looked at before the others.
func (r *run) usableFirst(ctx context.Context, list model.TokenList, first string) (*model.Token, error) {
	if token, listed := find(list.Tokens, first); listed {
		alone := list
		alone.Tokens = []model.Token{token}
		if usable, err := r.usable(ctx, alone); usable != nil || err != nil {
			return usable, err
		}
	}
	return r.usable(ctx, list)
}
