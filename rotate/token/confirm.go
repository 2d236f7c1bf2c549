package token

import (
	"context"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

const (
	propagationTime          = time.Hour + 5*time.Minute // how long AWS's nodes may accept a deleted token
	propagationEarly         = 2 * time.Minute           // after a deletion, the tests are frequent for this long
	propagationIntervalEarly = 15 * time.Second
	propagationInterval      = time.Minute
	deleteDeadline           = 24 * time.Hour // when a deletion must have arrived everywhere
	confirmRefusals          = 5              // probes in a row at which every node asked refused the old token
)

// confirmPhase watches that Entra works without the old token. That is the only proof that
// leaves no doubt, and the moment in which a mistake shows: then the recovery starts at once.
type confirmPhase struct{ observer }

func (p confirmPhase) run(ctx context.Context) (model.Phase, error) {
	if p.rotation().Proof.Propagated.Local.IsZero() {
		return p.waitForPropagation(ctx)
	}
	list, err := p.stableTokens(ctx)
	if err != nil {
		return "", err
	}
	if len(list.Tokens) != 1 || list.Tokens[0].ID != p.rotation().newID() {
		return p.handleOtherTokens(ctx, list)
	}
	if next, err := p.testTwice(ctx); next != "" || err != nil {
		return next, err
	}
	watch, proof := jobWatch(p), prover(p)
	job, err := p.job(ctx)
	if err != nil {
		return "", err
	}
	if stopped, err := watch.waitIfStopped(ctx, job); stopped || err != nil {
		return model.PhaseConfirm, err
	}
	if watch.mayStart(job) {
		return model.PhaseResume, nil
	}
	if detail := health(p).credentialFailure(job); detail != "" {
		return health(p).restartProof(ctx, model.BlockedSwitchReverted, detail)
	}
	if job.Quarantine != nil {
		if err := watch.checkQuarantine(job); err != nil {
			return "", err
		}
	}
	if !proof.used(job, p.rotation().Proof.Propagated) {
		return model.PhaseConfirm, p.Wait(ctx, jobInterval, model.WaitingSettling)
	}
	return p.finish(ctx, list)
}

// testTwice makes Entra test what it has saved, twice. It returns the phase that repairs a
// failure.
func (p confirmPhase) testTwice(ctx context.Context) (model.Phase, error) {
	for attempt := range 2 {
		if attempt > 0 {
			if err := p.Wait(ctx, testGap, model.WaitingSettling); err != nil {
				return "", err
			}
		}
		if result, err := p.testSaved(ctx); err != nil {
			return "", err
		} else if result != model.TestPassed {
			return recovery(p).run(ctx)
		}
	}
	return "", nil
}

// waitForPropagation waits until AWS refuses the old token everywhere, testing often
// meanwhile.
func (p confirmPhase) waitForPropagation(ctx context.Context) (model.Phase, error) {
	refusals := 0
	for {
		if next, err := recovery(p).verifySaved(ctx); next != "" || err != nil {
			return next, err
		}
		result, err := p.probeOldTokens(ctx)
		if err != nil {
			return "", err
		}
		if refusals++; result != unauthorized {
			refusals = 0
		}
		since := p.Elapsed(p.rotation().deletedSince())
		if refusals >= confirmRefusals || (result != accepted && since >= propagationTime) {
			break
		}
		if since >= propagationTime {
			if err := p.checkStillAccepted(ctx, since); err != nil {
				return "", err
			}
		}
		interval := propagationInterval
		if since < propagationEarly {
			interval = propagationIntervalEarly
		}
		if err := p.Wait(ctx, interval, model.WaitingSettling); err != nil {
			return "", err
		}
	}
	if _, err := p.job(ctx); err != nil { // for Graph's clock
		return "", err
	}
	if refusals >= confirmRefusals {
		p.LogStep("AWS refuses the old token")
	} else {
		p.LogStep("cannot verify that AWS refuses the old token (value unknown); deleted more than an hour ago")
	}
	at := p.Timestamps()
	return model.PhaseConfirm, p.write(ctx, func(r *record) { r.Rotation.Proof.Propagated = at })
}

// checkStillAccepted says how long AWS may accept a token that it was told to delete; if
// an operator only says that it is deleted, not at all.
func (p confirmPhase) checkStillAccepted(ctx context.Context, since time.Duration) error {
	list, err := p.listTokens(ctx)
	if err != nil {
		return err
	}
	if _, err := p.confirmedDeleted(ctx, list); err != nil {
		return err
	}
	if since >= deleteDeadline {
		return rotate.Blocked(model.BlockedDeleteRefused, "AWS still accepts the old token %s after its deletion", since.Round(time.Hour))
	}
	return nil
}

// probeOldTokens probes every old value that is stored: unauthorized if AWS refuses them
// all, accepted if it accepts one, else inconclusive.
func (p confirmPhase) probeOldTokens(ctx context.Context) (probeResult, error) {
	all := unauthorized
	for _, old := range p.rotation().oldTokens() {
		value, err := p.tokens.find(ctx, old.ID)
		if err != nil {
			return inconclusive, err
		}
		if value.IsZero() {
			all = inconclusive
			continue
		}
		switch p.probeTwice(ctx, value) {
		case accepted:
			return accepted, nil
		case unauthorized:
		case unreachable, inconclusive:
			all = inconclusive
		}
	}
	return all, nil
}

// handleOtherTokens handles tokens that should not exist, or a new token that is missing.
func (p confirmPhase) handleOtherTokens(ctx context.Context, list model.TokenList) (model.Phase, error) {
	if gone, _, err := p.areGone(ctx, idsOf(p.rotation().oldTokens())...); !gone {
		return model.PhaseRetire, err
	}
	if _, listed := policy.FindToken(list.Tokens, p.rotation().newID()); !listed {
		result, err := p.testSaved(ctx)
		if err != nil {
			return "", err
		}
		if result != model.TestPassed {
			return recovery(p).run(ctx)
		}
	}
	return "", rotate.Blocked(model.BlockedForeignToken, "token %s should be the only one", p.rotation().newID())
}

// confirmedDeleted tells whether AWS itself shows that the old tokens are gone: by its list or, if
// the list comes from the configuration, by refusing their values. A value that it accepts
// belongs to a token that was only removed from the configuration. Of a value that is not
// stored, the operator's word is all there is.
func (p confirmPhase) confirmedDeleted(ctx context.Context, list model.TokenList) (bool, error) {
	if list.Origin != model.OriginDeclared {
		return true, nil
	}
	old := p.rotation().oldTokens()
	seen := len(old) > 0
	for _, token := range old {
		value, err := p.tokens.find(ctx, token.ID)
		if err != nil {
			return false, err
		}
		result, detail := inconclusive, ""
		if !value.IsZero() {
			result, detail = p.probe(ctx, value)
		}
		switch result {
		case accepted:
			return false, rotate.Blocked(model.BlockedDeleteRefused, "token %s is not declared any more, but AWS still accepts it, so it must be deleted by hand", token.ID)
		case unreachable:
			return false, &model.Error{Reason: model.ReasonOther, Op: "probing the SCIM endpoint with token " + token.ID, Detail: detail}
		case unauthorized, inconclusive:
			seen = seen && result == unauthorized
		}
	}
	return seen, nil
}

// finish ends the rotation with its proof, and only now destroys the old value. Trust in
// the next rotation needs more than an operator's word that the old token is gone.
func (p confirmPhase) finish(ctx context.Context, list model.TokenList) (model.Phase, error) {
	seen, err := p.confirmedDeleted(ctx, list)
	if err != nil {
		return "", err
	}
	if err := p.tokens.destroyAllExcept(ctx, p.rotation().newID()); err != nil {
		return "", err
	}
	if seen {
		p.LogStep("only token %s is left, and Entra works with it: exclusive", formatToken(*p.rotation().NewToken))
	} else {
		p.LogStep("only token %s is declared, and Entra works with it: exclusive (deletion at AWS cannot be verified with declared tokens)", formatToken(*p.rotation().NewToken))
	}
	at := p.Timestamps()
	return p.Finish(ctx, model.OutcomeDone, "", func(journalled *journal.Record) {
		r := recordOf(journalled)
		rot := r.Rotation
		rot.Proof.Exclusive = at
		rot.Proof.raise(model.ProofExclusive)
		r.setKnownTokens([]model.Token{*rot.NewToken})
		r.InUse, r.ThirdPartyChange = rot.NewToken.ID, time.Time{}
		procedure := r.Procedures[model.ProcedureToken]
		procedure.Attempts, procedure.LastSuccess = 0, at.Local
		switch {
		case rot.recovered():
			r.Trust = nil
		case seen:
			r.Trust = &Trust{At: at.Local, Keys: rot.Plan.Keys}
		}
	})
}
