package token

import (
	"context"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/policy"
)

const (
	healthInterval = 15 * time.Minute // between two checks of what Entra has saved, and who changed it

	// engineCache is how long Entra's provisioning engine may use what it read before a
	// save; what fails sooner does not speak against the new token.
	engineCache = 65 * time.Minute
)

// health checks whether what was saved still holds.
type health struct{ observer }

// check returns the phase that repairs what was found, or "" when all is well.
func (h health) check(ctx context.Context, job model.Job) (model.Phase, error) {
	if detail := h.credentialFailure(job); detail != "" {
		return h.restartProof(ctx, model.BlockedSwitchReverted, detail)
	}
	if h.Elapsed(h.lastHealthCheck) < healthInterval {
		return "", nil
	}
	if err := h.checkThirdPartyChange(ctx); err != nil {
		return "", err
	}
	if next, err := h.checkSaved(ctx); next != "" || err != nil {
		return next, err
	}
	h.lastHealthCheck = time.Now()
	return "", nil
}

// credentialFailure tells whether AWS refuses Entra's engine with what it must have read
// since the save.
func (h health) credentialFailure(job model.Job) string {
	since := h.rotation().Proof.Stored.Graph.Add(h.Shortened(engineCache))
	switch cycle, q := job.LastCycle, job.Quarantine; {
	case cycle != nil && cycle.State == model.CycleFailed && cycle.Began.After(since) && model.IsCredentialCode(cycle.ErrorCode):
		return "AWS refused the provisioning cycle of " + rotate.FormatTime(cycle.Began)
	case q != nil && q.CurrentBegan.After(since):
		return "the provisioning job went into quarantine for its credentials on " + rotate.FormatTime(q.CurrentBegan)
	default:
		return ""
	}
}

// mayUseOlder tells whether Entra's engine may still use what it read before the last save.
func (o observer) mayUseOlder() bool {
	return o.graphNow().Sub(o.rotation().Proof.Stored.Graph) < o.Shortened(engineCache)
}

// checkThirdPartyChange searches Entra's audit log for a change of the credentials that
// was not ours. Overwriting it would be worse than asking.
func (h health) checkThirdPartyChange(ctx context.Context) error {
	application, err := rotate.Read(ctx, h.options.Provisioning.Application)
	if err != nil {
		if model.ReasonOf(err) == model.ReasonPermission { // the audit log is optional
			return nil
		}
		return err
	}
	changed := policy.ThirdPartyChange(application, h.record().OwnSaves)
	if changed.IsZero() {
		return nil
	}
	if err := h.write(ctx, func(r *record) { r.ThirdPartyChange = changed }); err != nil {
		return err
	}
	return rotate.Blocked(model.BlockedCredentialsOverwritten, "somebody else changed the application's credentials at %s, after token %s was saved", rotate.FormatTime(changed), h.rotation().newID())
}

// checkSaved makes Entra test what it has saved. Two failures some minutes apart call for
// a recovery.
func (h health) checkSaved(ctx context.Context) (model.Phase, error) {
	for attempt := range 2 {
		if attempt > 0 {
			if err := h.WaitGap(ctx, testFailureGap); err != nil {
				return "", err
			}
		}
		result, err := h.testSaved(ctx)
		if result == model.TestPassed || err != nil {
			return "", err
		}
	}
	return recovery(h).run(ctx)
}

// restartProof saves the new token once more and restarts the proof; the second time an
// operator must look.
func (h health) restartProof(ctx context.Context, reason model.BlockedReason, detail string) (model.Phase, error) {
	rot := h.rotation()
	if rot.ProofRestarts > 0 {
		return "", rotate.Blocked(reason, "%s, although token %s was saved again", detail, rot.newID())
	}
	h.LogStep("%s; saving the new token once more", detail)
	return model.PhaseSwitch, h.write(ctx, func(r *record) {
		r.Rotation.ProofRestarts++
		r.Rotation.PendingPut, r.Rotation.Proof = PutInitial, Proof{}
	})
}

// recovery gives Entra a working token again when its test of the saved credentials fails
// although AWS answers: the new one, else another listed one whose value is stored, else
// one more. It ignores the cooldown, not the rate limit.
type recovery struct{ observer }

// verifySaved tests, once an old token was deleted, whether Entra works without it. It
// returns the phase that repairs a failure, or "" when all is well.
func (r recovery) verifySaved(ctx context.Context) (model.Phase, error) {
	result, err := r.testSaved(ctx)
	if err != nil || result == model.TestPassed {
		return "", err
	}
	r.LogStep("without the old token Entra's test of the saved credentials fails: recovery")
	return r.run(ctx)
}

func (r recovery) run(ctx context.Context) (model.Phase, error) {
	list, err := r.stableTokens(ctx) // AWS answers
	if err != nil {
		return "", err
	}
	rot, known := r.rotation(), r.record()
	usable, err := r.findUsableFirst(ctx, list, rot.newID())
	if err != nil {
		return "", err
	}
	mayCreate := checkCreatable(list) == nil && len(list.Tokens) < slotsOf(list) &&
		known.RateLimit.CreationsExceeded(r.AWS.Now()) == "" && rot.Issuer == model.IssuerConsoleAPI
	switch {
	case known.RateLimit.RecoveriesExceeded(r.AWS.Now()):
		const detail = "Entra's test of the saved credentials fails although %d recoveries were made"
		if usable == nil {
			return "", blockedWithoutToken(detail+", and no token is left whose value is known", rot.Recoveries)
		}
		return "", rotate.Blocked(model.BlockedSwitchReverted, detail, rot.Recoveries)
	case usable != nil && usable.ID == rot.newID():
		r.LogStep("recovery: saving token %s to Entra once more", usable.ID)
		return model.PhaseSwitch, r.begin(ctx, func(*record) {})
	case usable != nil:
		if err := saver(r).rollBackTo(ctx, usable.ID); err != nil {
			return "", err
		}
		return "", rotate.BlockedNow(model.BlockedNewTokenRejected, "the new token %s is not accepted any more, so token %s was saved again", rot.newID(), usable.ID)
	case mayCreate:
		r.LogStep("recovery: no token that Entra could use is left, creating another")
		return model.PhaseCreate, r.begin(ctx, r.forgetNewToken)
	default:
		return "", blockedWithoutToken("Entra's test of the saved credentials fails, and no token is left whose value is known")
	}
}

// beforeBlock recovers Entra if it holds a token that AWS refuses. If that is impossible,
// the block is about nothing less.
func (r recovery) beforeBlock(ctx context.Context, found *rotate.BlockedError) (model.Phase, error) {
	dead, err := r.holdsDeadToken(ctx)
	if !dead {
		return "", err
	}
	if r.rotation().NewToken != nil {
		r.LogStep("%s, and AWS refuses the token that Entra holds: recovery", found.Reason)
		next, err := r.run(ctx)
		if err == nil {
			return next, nil
		}
		if err := runner(r).stopAfterRollback(); err != nil {
			return "", err
		}
	}
	return "", blockedWithoutToken("AWS refuses the token that Entra holds, and no recovery is possible (%s): %s", found.Reason, found.Detail)
}

// holdsDeadToken tells whether AWS refuses what Entra holds. Entra's own test is not enough
// for that: either AWS refuses every token that Entra may hold, or the same test passes
// with another one.
func (r recovery) holdsDeadToken(ctx context.Context) (bool, error) {
	if result, err := r.testSaved(ctx); result != model.TestFailed {
		return false, err
	}
	list, err := r.stableTokens(ctx)
	if err != nil {
		return false, err
	}
	refused := true
	for _, id := range r.mayBeHeld(list) {
		if refused, err = r.refuses(ctx, list, id); err != nil {
			return false, err
		}
		if !refused {
			break
		}
	}
	if refused {
		return true, nil
	}
	if err := r.WaitGap(ctx, testFailureGap); err != nil {
		return false, err
	}
	if result, err := r.testSaved(ctx); result != model.TestFailed {
		return false, err
	}
	usable, err := r.findUsable(ctx, list)
	if usable == nil {
		return false, err
	}
	value, err := r.tokens.find(ctx, usable.ID)
	if err != nil {
		return false, err
	}
	result, err := r.testValue(ctx, value)
	return result == accepted, err
}

// mayBeHeld lists the tokens one of which Entra holds, if nobody else saved another: the
// one that was saved last, else any.
func (r recovery) mayBeHeld(list model.TokenList) []string {
	last, tried := r.rotation().lastPut()
	inUse := r.record().InUse
	switch {
	case last.Done():
		return []string{last.Target}
	case tried && inUse != "":
		return []string{last.Target, inUse}
	case inUse != "":
		return []string{inUse}
	}
	ids := make([]string, len(list.Tokens))
	for i, token := range list.Tokens {
		ids[i] = token.ID
	}
	return ids
}

// refuses tells whether AWS certainly refuses a token: it is gone, or expired, or its value
// is answered with 401.
func (r recovery) refuses(ctx context.Context, list model.TokenList, id string) (bool, error) {
	token, listed := policy.FindToken(list.Tokens, id)
	if (!listed && list.Origin != model.OriginDeclared) || r.expired(token) {
		return true, nil
	}
	value, err := r.tokens.find(ctx, id)
	if value.IsZero() {
		return false, err
	}
	return r.probeTwice(ctx, value) == unauthorized, nil
}

// begin journals a recovery, after which a token is saved to Entra.
func (r recovery) begin(ctx context.Context, edit func(*record)) error {
	at := r.AWS.Now()
	return r.write(ctx, func(known *record) {
		known.RateLimit.Recoveries = append(known.RateLimit.Recoveries, at)
		rot := known.Rotation
		rot.Recoveries++
		rot.Proof, rot.PendingPut = Proof{}, PutRecovery
		edit(known)
	})
}

// forgetNewToken makes the new token an old one, and moves on to the creation of another:
// in the same write, since only these phases have no new token.
func (r recovery) forgetNewToken(known *record) {
	rot := known.Rotation
	rot.SetPhase(model.PhaseCreate, r.Timestamps())
	rot.Plan.Tokens = append(rot.Plan.Tokens, PlannedToken{Token: *rot.NewToken, Role: model.RolePrevious, Evidence: "not accepted any more"})
	rot.NewToken, rot.StoreEntry, rot.OperatorToken, rot.Trial = nil, "", "", Trial{}
}

// findUsableFirst is findUsable, with one token looked at before the others.
func (r recovery) findUsableFirst(ctx context.Context, list model.TokenList, first string) (*model.Token, error) {
	if token, listed := policy.FindToken(list.Tokens, first); listed {
		alone := list
		alone.Tokens = []model.Token{token}
		if usable, err := r.findUsable(ctx, alone); usable != nil || err != nil {
			return usable, err
		}
	}
	return r.findUsable(ctx, list)
}
