package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/policy"
)

// dueConfirmGap is how far apart two readings must be that both say: due.
const dueConfirmGap = 10 * time.Minute

// ReasonRetired is why a rotation ends that deleted the token an operator named, and found
// nothing else to do.
const ReasonRetired = "the named token is deleted and no other is due"

// planPhase reads everything twice, changes nothing but an occupied slot, and decides
// whether there is a rotation at all.
type planPhase struct{ observer }

func (p planPhase) run(ctx context.Context) (model.Phase, error) {
	if _, err := p.listTokens(ctx); err != nil { // whatever else is found, the message lists these
		return "", err
	}
	if err := p.checkStorage(ctx); err != nil {
		return "", err
	}
	job, err := p.job(ctx)
	if err != nil {
		return "", err
	}
	if stopped, err := jobWatch(p).waitIfStopped(ctx, job); stopped || err != nil {
		return model.PhasePlan, err
	}
	found, err := p.preflight(ctx)
	if err != nil {
		return "", err
	}
	due := found.dueReason(p.AWS.Now())
	if p.rotation().Forced && due == "" {
		due = "an operator forced it"
	}
	if named := p.rotation().RetireToken; due == "" && p.deletionDone(named, found.list) {
		p.LogStep("token %s is deleted, as the operator asked, and nothing else is due", named)
		return p.Finish(ctx, model.OutcomeAborted, ReasonRetired, nil)
	}
	if due == "" {
		p.LogStep("not due; use --force to rotate anyway")
		return p.Finish(ctx, model.OutcomeAborted, rotate.ReasonNotDue, nil)
	}
	if confirmed, err := p.confirmDue(ctx, found); !confirmed || err != nil {
		return model.PhasePlan, err
	}
	return p.decide(ctx, found, due)
}

// deletionDone tells whether this rotation deleted a token.
func (p planPhase) deletionDone(id string, list model.TokenList) bool {
	_, requested := p.rotation().deletionRequested(id)
	_, listed := policy.FindToken(list.Tokens, id)
	return requested && !listed
}

// decide names the phase that comes next: the test of a token that exists already, or the
// creation of one, for which a slot may have to be freed first.
func (p planPhase) decide(ctx context.Context, found *findings, due string) (model.Phase, error) {
	existing, err := p.reusableToken(ctx, found)
	if err != nil {
		return "", err
	}
	if existing == nil {
		if err := p.checkCreate(found); err != nil {
			return "", err
		}
	}
	if err := p.journalPlan(ctx, found, due, existing); err != nil {
		return "", err
	}
	next := model.PhaseTest
	if existing == nil {
		next = model.PhaseCreate
		if freed, err := p.freeSlot(ctx, found); freed || err != nil {
			return model.PhasePlan, err
		}
	}
	return next, p.write(ctx, func(r *record) { r.setKnownTokens(found.list.Tokens) })
}

// checkStorage proves that what is about to be created can be stored.
func (p planPhase) checkStorage(ctx context.Context) error {
	if err := p.write(ctx, func(*record) {}); err != nil {
		return err
	}
	err := p.tokens.roundTrip(ctx, p.rotation().ID+"-check")
	switch {
	case errors.Is(err, model.ErrUnsafe):
		return rotate.Blocked(model.BlockedStoreUnsafe, "%s", err)
	case err != nil:
		return storeUnwritable(err)
	}
	if older := p.record().Restored; older != "" {
		return rotate.Blocked(model.BlockedStateRestored, "%s", older)
	}
	return nil
}

// storeUnwritable is the error for a token store that could not be written: it needs an
// operator, unless it may be writable later.
func storeUnwritable(err error) error {
	if errors.Is(err, model.ErrUnavailable) {
		return err
	}
	return rotate.Blocked(model.BlockedTokenStoreUnwritable, "%s", err)
}

// confirmDue returns true once the same need was read twice, some minutes apart.
func (p planPhase) confirmDue(ctx context.Context, found *findings) (bool, error) {
	if found.saved == model.TestFailed {
		return p.confirmTestFailure(ctx, found)
	}
	since, forced := p.rotation().Plan.DueSince, p.rotation().Forced
	if since.IsZero() || !p.rotation().Plan.TestFailedSince.IsZero() {
		now := time.Now().UTC()
		if !forced {
			p.LogStep("due: %s; checking again in %d minutes", found.dueReason(p.AWS.Now()), int(dueConfirmGap.Minutes()))
		}
		return forced, p.write(ctx, func(r *record) { r.Rotation.Plan.DueSince, r.Rotation.Plan.TestFailedSince = now, time.Time{} })
	}
	if left := dueConfirmGap - p.Elapsed(since); left > 0 && !forced {
		return false, p.Wait(ctx, left, "")
	}
	return true, nil
}

// confirmTestFailure returns true once Entra's own test has failed twice, and AWS's
// endpoint answers, and not only to us: then, and only then, a new token can help.
func (p planPhase) confirmTestFailure(ctx context.Context, found *findings) (bool, error) {
	since := p.rotation().Plan.TestFailedSince
	if since.IsZero() {
		p.LogStep("Entra's test of the saved credentials fails; testing again in %s", testFailureGap)
		since = time.Now().UTC()
		return false, p.write(ctx, func(r *record) { r.Rotation.Plan.TestFailedSince = since })
	}
	if left := testFailureGap - p.Elapsed(since); left > 0 {
		return false, p.Wait(ctx, left, "")
	}
	probe, err := p.ping(ctx)
	if err != nil {
		return false, err
	}
	if probe.StatusCode >= 500 {
		return false, &model.Error{Reason: model.ReasonOther, Op: "probing the SCIM endpoint", Status: probe.StatusCode, Detail: fmt.Sprintf("it answers %d", probe.StatusCode)}
	}
	if !p.savedIsKnown(found) {
		return true, nil
	}
	return true, p.checkEndpoint(ctx, p.record().InUse, found.controlFailed)
}

// savedIsKnown tells whether the journal knows which value Entra has saved: we saved it, and
// the audit log shows that nobody else has saved one since.
func (p planPhase) savedIsKnown(found *findings) bool {
	known := p.record()
	_, listed := policy.FindToken(found.list.Tokens, known.InUse)
	return listed && found.application.CredentialsReadable && len(known.OwnSaves) > 0 &&
		policy.ThirdPartyChange(found.application, known.OwnSaves).IsZero()
}

// reusableToken returns a token that need not be created: one that an operator created,
// or, when Entra holds a dead one, a listed one whose value is stored and accepted by AWS.
func (p planPhase) reusableToken(ctx context.Context, found *findings) (*model.Token, error) {
	rot := p.rotation()
	if rot.OperatorToken != "" {
		token, err := findOperatorToken(found.list, rot.OperatorToken)
		if err != nil {
			return nil, err
		}
		if others := len(found.list.Tokens) - 1; others > 1 || (found.inUse == "" && found.saved == model.TestPassed && others > 0) {
			return nil, rotate.Blocked(model.BlockedTwoTokens, "there are several tokens besides the given one")
		}
		return &token, nil
	}
	list := found.list
	if found.saved != model.TestFailed {
		if found.inUse == "" || len(list.Tokens) < slotsOf(list) {
			return nil, nil
		}
		list.Tokens = slices.DeleteFunc(slices.Clone(list.Tokens), func(t model.Token) bool {
			return t.ID == found.inUse || t.ID == rot.RetireToken || p.due(t)
		})
		return p.findUsable(ctx, list) // left behind by an earlier rotation
	}
	if len(list.Tokens) < slotsOf(list) && p.checkCreate(found) == nil { // a token that is due itself is no replacement
		list.Tokens = slices.DeleteFunc(slices.Clone(list.Tokens), p.due)
	}
	return p.findUsable(ctx, list)
}

// due tells whether a token's dates say that it must be replaced.
func (p planPhase) due(token model.Token) bool {
	at := p.options.Policy.DueAt(token)
	return !at.IsZero() && !p.AWS.Now().Before(at)
}

// findOperatorToken finds the token that an operator gave.
func findOperatorToken(list model.TokenList, id string) (model.Token, error) {
	token, listed := policy.FindToken(list.Tokens, id)
	switch {
	case listed:
		return token, nil
	case list.Origin == model.OriginDeclared:
		return token, rotate.Blocked(model.BlockedNewTokenRejected, "token %s, which an operator gave, is not declared yet: add it to tokens.declared with its dates, then give it again", id)
	default:
		return token, &rotate.BlockedError{
			Reason: model.BlockedNewTokenRejected, Detail: "token " + id + ", which an operator gave, is not listed at AWS", Command: commandOtherToken,
		}
	}
}

// checkCreate refuses a creation that the rate limit or the tokens' lifetime forbids.
func (p planPhase) checkCreate(found *findings) error {
	if err := checkCreatable(found.list); err != nil {
		return err
	}
	if exceeded := p.record().RateLimit.CreationsExceeded(p.AWS.Now()); exceeded != "" {
		return rotate.Blocked(model.BlockedBudgetExhausted, "%s", exceeded)
	}
	needed := p.options.Policy.MinLifetime()
	if lifetime, known := policy.Lifetime(found.relevant); known && lifetime < needed {
		return rotate.Blocked(model.BlockedLifetimeTooShort, "token %s lives %s, a rotation needs %s", found.relevant.ID, lifetime, needed)
	}
	return nil
}

// journalPlan writes down every listed token and what it is for.
func (p planPhase) journalPlan(ctx context.Context, found *findings, due string, existing *model.Token) error {
	var tokens []PlannedToken
	for _, listed := range found.list.Tokens {
		planned := PlannedToken{Token: listed, Role: model.RoleUnknown}
		switch {
		case existing != nil && listed.ID == existing.ID:
			planned.Role = model.RoleNew
		case listed.ID == found.inUse:
			planned.Role, planned.Evidence = model.RoleInUse, found.evidence
		case p.expired(listed):
			planned.Role, planned.Evidence = model.RolePrevious, "expired"
		}
		tokens = append(tokens, planned)
	}
	known := p.record()
	trusted := known.Trust != nil && slices.Equal(known.Trust.Keys, found.keys)
	changed := policy.ThirdPartyChange(found.application, known.OwnSaves)
	if due != known.Rotation.Plan.DueReason {
		for _, line := range found.summary() {
			p.LogStep("%s", line)
		}
		p.LogStep("due: %s", due)
	}
	return p.write(ctx, func(r *record) {
		plan := &r.Rotation.Plan
		plan.Tokens, plan.Keys, plan.ControlFailed = tokens, found.keys, found.controlFailed
		plan.Trusted, plan.DueReason, plan.Repair = trusted, due, found.isRepair()
		plan.SavedTestFailed = found.saved == model.TestFailed
		r.Rotation.NewToken = existing
		r.ThirdPartyChange = changed
		if found.inUse != "" {
			r.InUse = found.inUse
		}
	})
}

// freeSlot deletes what occupies a slot that a new token needs. It returns true when it
// deleted something, and blocks when an operator must decide.
func (p planPhase) freeSlot(ctx context.Context, found *findings) (bool, error) {
	if len(found.list.Tokens) < slotsOf(found.list) {
		return false, nil
	}
	id, why := p.deletableToken(found)
	if id == "" {
		if found.inUse != "" {
			return false, rotate.Blocked(model.BlockedTwoTokens, "both slots are taken: Entra uses token %s, and nothing proves that the other one is unused", found.inUse)
		}
		return false, rotate.Blocked(model.BlockedTwoTokens, "both slots are taken, and nothing proves which token Entra uses")
	}
	g := guard(p)
	permit, err := g.authorize(ctx, id, why)
	switch {
	case errors.Is(err, errTokenGone):
		return true, nil
	case errors.Is(err, errConditionPending):
		return true, p.Wait(ctx, 5*time.Minute, model.WaitingSettling)
	case err != nil:
		return false, err
	}
	return true, g.delete(ctx, permit)
}

// deletableToken names a token that can make room, and why it may be deleted.
func (p planPhase) deletableToken(found *findings) (string, deletionReason) {
	if p.options.Policy.DeleteExpiredToken {
		for _, token := range found.list.Tokens {
			if p.expired(token) {
				return token.ID, deleteExpired
			}
		}
	}
	if named, listed := policy.FindToken(found.list.Tokens, p.rotation().RetireToken); listed {
		return named.ID, deleteNamed
	}
	if orphan, ok := p.orphan(found.list.Tokens); ok {
		return orphan.ID, deleteOrphan
	}
	return "", ""
}
