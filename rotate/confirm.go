package rotate

import (
	"context"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

const (
	settleFor    = time.Hour + 5*time.Minute // how long AWS's nodes may go on accepting a deleted token
	settleOften  = 15 * time.Second          // between looks right after the deletion
	settleWatch  = 2 * time.Minute           // how long "right after" is
	settleRarely = time.Minute
	deadBy       = 24 * time.Hour // when a deletion must have arrived everywhere
	settleLooks  = 5              // looks in a row at which every node asked refused the old token
)

// confirmPhase watches that Entra goes on working without the old token. That is the
// only proof that leaves no doubt, and the moment in which a mistake shows: then the
// rescue comes at once.
func confirmPhase(ctx context.Context, r *run) (model.Phase, error) {
	if r.rotation().Proof.Settled.Local.IsZero() {
		return r.settle(ctx)
	}
	list, err := r.agreedTokens(ctx)
	if err != nil {
		return "", err
	}
	if len(list.Tokens) != 1 || list.Tokens[0].ID != r.rotation().newID() {
		return r.notAlone(ctx, list)
	}
	for try := range 2 {
		if try > 0 {
			if err := r.wait(ctx, testsApart, Settling); err != nil {
				return "", err
			}
		}
		if verdict, err := r.saved(ctx); err != nil {
			return "", err
		} else if verdict != model.TestPassed {
			return r.rescue(ctx)
		}
	}
	job, err := r.job(ctx)
	if err != nil {
		return "", err
	}
	if standing, err := r.standing(ctx, job); standing || err != nil {
		return model.PhaseConfirm, err
	}
	if r.mayStart(job) {
		return model.PhaseResume, nil
	}
	if detail := r.failing(job); detail != "" {
		return r.renew(ctx, SwitchReverted, detail)
	}
	if !r.used(job, r.rotation().Proof.Settled) {
		return model.PhaseConfirm, r.wait(ctx, lookEvery, Settling)
	}
	return r.done(ctx, list)
}

// settle waits until the old token is refused everywhere, testing often meanwhile.
func (r *run) settle(ctx context.Context) (model.Phase, error) {
	refusals := 0
	for {
		if following, err := r.watchSaved(ctx); following != "" || err != nil {
			return following, err
		}
		old, err := r.oldValues(ctx)
		if err != nil {
			return "", err
		}
		if refusals++; old != rejected {
			refusals = 0
		}
		since := r.passed(r.rotation().goneSince())
		if refusals >= settleLooks || (old != accepted && since >= settleFor) {
			break
		}
		if since >= settleFor {
			if err := r.stillAccepted(ctx, since); err != nil {
				return "", err
			}
		}
		pause := settleRarely
		if since < settleWatch {
			pause = settleOften
		}
		if err := r.wait(ctx, pause, Settling); err != nil {
			return "", err
		}
	}
	if _, err := r.job(ctx); err != nil { // Graph's clock
		return "", err
	}
	if refusals >= settleLooks {
		r.say("the old token is refused by now")
	} else {
		r.say("nobody can tell whether the old token is refused by now; it was deleted more than an hour ago")
	}
	at := r.moment()
	return model.PhaseConfirm, r.write(ctx, func(rec *record) { rec.Rotation.Proof.Settled = at })
}

// watchSaved looks, once an old token was deleted, whether Entra works without it. It
// returns the phase that mends it, or "" when there is nothing to mend.
func (r *run) watchSaved(ctx context.Context) (model.Phase, error) {
	verdict, err := r.saved(ctx)
	if err != nil || verdict == model.TestPassed {
		return "", err
	}
	r.say("without the old token Entra's own test fails: rescue")
	return r.rescue(ctx)
}

// stillAccepted says how long AWS may go on accepting a token that it was told to delete;
// if a person only says that it is deleted, not at all.
func (r *run) stillAccepted(ctx context.Context, since time.Duration) error {
	list, err := r.listTokens(ctx)
	if err != nil {
		return err
	}
	if _, err := r.seenGone(ctx, list); err != nil {
		return err
	}
	if since >= deadBy {
		return blocked(DeleteRefused, "AWS still accepts the old token %s after its deletion", since.Round(time.Hour))
	}
	return nil
}

// goneSince is when the last old token was deleted, or found gone.
func (r *rotation) goneSince() time.Time {
	since := r.Proof.Gone.Local
	for _, deletion := range r.Deletes {
		if deletion.Intent.Local.After(since) {
			since = deletion.Intent.Local
		}
	}
	return since
}

// oldValues asks AWS about every old value that the vault has: rejected if it refuses
// them all, accepted if it takes one of them, else noVerdict.
func (r *run) oldValues(ctx context.Context) (answer, error) {
	all := rejected
	for _, old := range r.rotation().old() {
		value, err := r.safe.of(ctx, old.ID)
		if err != nil {
			return noVerdict, err
		}
		if value.IsZero() {
			all = noVerdict
			continue
		}
		switch r.twice(ctx, value) {
		case accepted:
			return accepted, nil
		case rejected:
		case silent, noVerdict:
			all = noVerdict
		}
	}
	return all, nil
}

// notAlone handles tokens that should not be there, or one that should and is not.
func (r *run) notAlone(ctx context.Context, list model.TokenList) (model.Phase, error) {
	if gone, _, err := r.isGone(ctx, ids(r.rotation().old())...); !gone || err != nil {
		return model.PhaseRetire, err
	}
	if _, listed := find(list.Tokens, r.rotation().newID()); !listed {
		if verdict, err := r.saved(ctx); err != nil || verdict != model.TestPassed {
			if err != nil {
				return "", err
			}
			return r.rescue(ctx)
		}
	}
	return "", blocked(ForeignToken, "token %s should be the only one", r.rotation().newID())
}

// rescued tells whether a rescue was needed, which means that Entra lost a save.
func (r *rotation) rescued() bool {
	return slices.ContainsFunc(r.Puts, func(put act) bool { return put.Why == putRescue })
}

// seenGone tells whether AWS itself shows that the old tokens are gone: by its list, or, if
// the list is the config's, by refusing their values. A value that it accepts belongs to a
// token that was taken out of the config only; of one that the vault does not have, a
// person's word is all there is.
func (r *run) seenGone(ctx context.Context, list model.TokenList) (bool, error) {
	if list.Origin != model.OriginDeclared {
		return true, nil
	}
	old := r.rotation().old()
	seen := len(old) > 0
	for _, token := range old {
		value, err := r.safe.of(ctx, token.ID)
		if err != nil {
			return false, err
		}
		verdict, detail := noVerdict, ""
		if !value.IsZero() {
			verdict, detail = r.probe(ctx, value)
		}
		switch verdict {
		case accepted:
			return false, blocked(DeleteRefused, "token %s is not declared any more, but AWS still accepts it, so it must be deleted by hand", token.ID)
		case silent:
			return false, &model.Error{Reason: model.ReasonOther, Op: "probing the SCIM endpoint with token " + token.ID, Detail: detail}
		case rejected, noVerdict:
			seen = seen && verdict == rejected
		}
	}
	return seen, nil
}

// done ends the rotation with its proof, and only now forgets the old value. Trust in the
// next one wants more than a person's word that the old token is gone.
func (r *run) done(ctx context.Context, list model.TokenList) (model.Phase, error) {
	seen, err := r.seenGone(ctx, list)
	if err != nil {
		return "", err
	}
	if err := r.safe.destroyAllBut(ctx, r.rotation().newID()); err != nil {
		return "", err
	}
	if seen {
		r.say("only token %s is left, and Entra works with it: exclusive", dated(*r.rotation().NewToken))
	} else {
		r.say("only token %s is declared, and Entra works with it: exclusive, if the others are deleted at AWS, which cannot be seen", dated(*r.rotation().NewToken))
	}
	at := r.moment()
	return r.end(ctx, model.OutcomeDone, "", func(rec *record) {
		rot := rec.Rotation
		rot.Proof.Exclusive = at
		rot.Proof.raise(model.ProofExclusive)
		rec.account([]model.Token{*rot.NewToken})
		rec.InUse, rec.Attempts, rec.ForeignChange = rot.NewToken.ID, 0, time.Time{}
		rec.LastSuccess = at.Local
		switch {
		case rot.rescued():
			rec.Trust = nil
		case seen:
			rec.Trust = &trust{At: at.Local, Keys: rot.Plan.Keys}
		}
	})
}
