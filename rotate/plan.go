package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// notDue is how a rotation ends whose plan found that there is nothing to do.
const notDue = "not_due"

// planPhase reads everything twice, changes nothing but an occupied slot, and decides
// whether there is to be a rotation at all.
func planPhase(ctx context.Context, r *run) (model.Phase, error) {
	if _, err := r.listTokens(ctx); err != nil { // whatever else is found, a person wants to know these
		return "", err
	}
	if err := r.checkPlace(ctx); err != nil {
		return "", err
	}
	job, err := r.job(ctx)
	if err != nil {
		return "", err
	}
	if standing, err := r.standing(ctx, job); standing || err != nil {
		return model.PhasePlan, err
	}
	f, err := r.survey(ctx)
	if err != nil {
		return "", err
	}
	due := f.why(r.aws.now())
	if r.rotation().Forced && due == "" {
		due = "a person forced it"
	}
	if due == "" {
		r.say("it is not due yet; --force starts all the same")
		return r.end(ctx, model.OutcomeAborted, notDue, nil)
	}
	if settled, err := r.readTwice(ctx, f); !settled || err != nil {
		return model.PhasePlan, err
	}
	token, err := r.reusable(ctx, f)
	if err != nil {
		return "", err
	}
	if token == nil {
		if err := r.checkCreate(f); err != nil {
			return "", err
		}
	}
	if err := r.journalPlan(ctx, f, due, token); err != nil {
		return "", err
	}
	following := model.PhaseTest
	if token == nil {
		following = model.PhaseCreate
		if freed, err := r.freeSlot(ctx, f); freed || err != nil {
			return model.PhasePlan, err
		}
	}
	return following, r.write(ctx, func(rec *record) { rec.account(f.list.Tokens) })
}

// checkPlace proves that what is about to be created can be kept.
func (r *run) checkPlace(ctx context.Context) error {
	if err := r.write(ctx, func(*record) {}); err != nil {
		return err
	}
	err := r.safe.roundTrip(ctx, r.rotation().ID+"-check")
	switch {
	case errors.Is(err, model.ErrUnsafe):
		return blocked(StoreUnsafe, "%s", err)
	case err != nil:
		return blocked(TokenStoreUnwritable, "%s", err)
	}
	if older := r.book.last().Restored; older != "" {
		return blocked(StateRestored, "%s", older)
	}
	return nil
}

// readTwice returns true once the same need was read twice, some minutes apart.
func (r *run) readTwice(ctx context.Context, f *findings) (bool, error) {
	if f.saved == model.TestFailed {
		return r.failsTwice(ctx)
	}
	since, forced := r.rotation().Plan.DueSince, r.rotation().Forced
	if since.IsZero() || !r.rotation().Plan.BadSince.IsZero() {
		now := time.Now().UTC()
		if !forced {
			r.say("due: %s; reading again in %s", f.why(r.aws.now()), readingsApart)
		}
		return forced, r.write(ctx, func(rec *record) { rec.Rotation.Plan.DueSince, rec.Rotation.Plan.BadSince = now, time.Time{} })
	}
	if left := readingsApart - r.passed(since); left > 0 && !forced {
		return false, r.wait(ctx, left, notWaiting)
	}
	return true, nil
}

// badApart is how far apart two failures of Entra's test must be to count.
const badApart = 5 * time.Minute

// failsTwice returns true once Entra's own test has failed twice, and AWS's endpoint is
// there to be reached: then, and only then, a new token can help.
func (r *run) failsTwice(ctx context.Context) (bool, error) {
	since := r.rotation().Plan.BadSince
	if since.IsZero() {
		r.say("Entra's own test of the saved credentials fails; looking again in %s", badApart)
		since = time.Now().UTC()
		return false, r.write(ctx, func(rec *record) { rec.Rotation.Plan.BadSince = since })
	}
	if left := badApart - r.passed(since); left > 0 {
		return false, r.wait(ctx, left, notWaiting)
	}
	probe, err := r.knock(ctx)
	if err != nil {
		return false, err
	}
	if probe.StatusCode >= 500 {
		return false, &model.Error{Reason: model.ReasonOther, Op: "probing the SCIM endpoint", Status: probe.StatusCode, Detail: fmt.Sprintf("it answers %d", probe.StatusCode)}
	}
	return true, nil
}

// reusable returns a token that need not be created: the one that an operator made, or,
// when Entra holds a dead one, a listed one whose value the vault has and AWS accepts.
func (r *run) reusable(ctx context.Context, f *findings) (*model.Token, error) {
	rot := r.rotation()
	if rot.Offered != "" {
		token, err := offered(f.list, rot.Offered)
		if err != nil {
			return nil, err
		}
		if others := len(f.list.Tokens) - 1; others > 1 || (f.inUse == "" && f.saved == model.TestPassed && others > 0) {
			return nil, blocked(TwoTokens, "beside the given token there are several")
		}
		return &token, nil
	}
	if f.saved != model.TestFailed {
		return nil, nil
	}
	return r.usable(ctx, f.list)
}

// offered finds the token that an operator gave.
func offered(list model.TokenList, id string) (model.Token, error) {
	token, there := find(list.Tokens, id)
	switch {
	case there:
		return token, nil
	case list.Origin == model.OriginDeclared:
		return token, blocked(NewTokenRejected, "token %s, which an operator gave, is not declared yet: add it to tokens.declared with its dates, then give it again", id)
	default:
		return token, blocked(NewTokenRejected, "token %s, which an operator gave, is not listed at AWS", id)
	}
}

// usable returns a listed, unexpired token whose value the vault has and AWS accepts.
func (r *run) usable(ctx context.Context, list model.TokenList) (*model.Token, error) {
	for _, token := range list.Tokens {
		value, err := r.safe.of(ctx, token.ID)
		if err != nil {
			return nil, err
		}
		if value.IsZero() || r.expired(token) {
			continue
		}
		verdict, detail := r.probe(ctx, value)
		switch verdict {
		case accepted:
			return &token, nil
		case silent: // an endpoint that is ill proves nothing against a token
			return nil, &model.Error{Reason: model.ReasonOther, Op: "probing the SCIM endpoint with token " + token.ID, Detail: detail}
		case noVerdict:
			if verdict, err = r.inlineVerdict(ctx, value); err != nil {
				return nil, err
			}
			if verdict == accepted {
				return &token, nil
			}
		case rejected:
		}
	}
	return nil, nil
}

// mayCreate refuses a creation whose outcome no list would show.
func mayCreate(list model.TokenList) error {
	if list.Origin == model.OriginDeclared {
		return blocked(APIChanged, "the tokens are declared in the config, so none is created: make one at AWS and give it with --token-stdin --token-id")
	}
	return nil
}

// checkCreate refuses a creation that the budget or the tokens' lifetime forbids.
func (r *run) checkCreate(f *findings) error {
	if err := mayCreate(f.list); err != nil {
		return err
	}
	if spent := r.book.last().Budget.spent(r.aws.now()); spent != "" {
		return blocked(BudgetExhausted, "%s", spent)
	}
	needed := r.connection.Policy.shortestRotation()
	if life, known := lifeOf(f.judged); known && life < needed {
		return blocked(LifetimeTooShort, "token %s lives %s, a rotation needs %s", f.judged.ID, life, needed)
	}
	return nil
}

// lifeOf is how long a token is valid in all; false: that is not known.
func lifeOf(token model.Token) (time.Duration, bool) {
	return token.Expires.Sub(token.Created), !token.Expires.IsZero() && !token.Created.IsZero()
}

// journalPlan accounts for every listed token.
func (r *run) journalPlan(ctx context.Context, f *findings, due string, token *model.Token) error {
	var tokens []planned
	for _, listed := range f.list.Tokens {
		p := planned{Token: listed, Role: model.RoleUnknown}
		switch {
		case token != nil && listed.ID == token.ID:
			p.Role = model.RoleNew
		case listed.ID == f.inUse:
			p.Role, p.Evidence = model.RoleInUse, f.evidence
		case r.expired(listed):
			p.Role, p.Evidence = model.RolePrevious, "expired"
		}
		tokens = append(tokens, p)
	}
	rec := r.book.last()
	trusted := rec.Trust != nil && slices.Equal(rec.Trust.Keys, f.keys)
	foreign := rec.foreignChange(f.app)
	if due != rec.Rotation.Plan.Due {
		for _, line := range f.lines() {
			r.say("%s", line)
		}
		r.say("due: %s", due)
	}
	return r.write(ctx, func(rec *record) {
		rec.Rotation.Plan.Tokens, rec.Rotation.Plan.Keys = tokens, f.keys
		rec.Rotation.Plan.Control, rec.Rotation.Plan.Trusted, rec.Rotation.Plan.Due = f.control, trusted, due
		rec.Rotation.Plan.Dead = f.saved == model.TestFailed
		rec.Rotation.NewToken = token
		rec.ForeignChange = foreign
		if f.inUse != "" {
			rec.InUse = f.inUse
		}
	})
}

// freeSlot deletes what occupies a slot that a new token needs. It returns true when it
// deleted something, and an impasse when a person must decide.
func (r *run) freeSlot(ctx context.Context, f *findings) (bool, error) {
	if len(f.list.Tokens) < slotsOf(f.list) {
		return false, nil
	}
	id, reason := r.clearable(f)
	if id == "" {
		if f.inUse != "" {
			return false, blocked(TwoTokens, "both slots are taken: Entra uses token %s, and nothing proves that the other one is unused", f.inUse)
		}
		return false, blocked(TwoTokens, "both slots are taken, and nothing proves which token Entra uses")
	}
	leave, err := r.mayDelete(ctx, id, reason)
	switch {
	case errors.Is(err, errGone):
		return true, nil
	case errors.Is(err, errNotYet):
		return true, r.wait(ctx, 5*time.Minute, Settling)
	case err != nil:
		return false, err
	}
	return true, r.delete(ctx, leave)
}

// clearable names a token that may be in nobody's way, and why.
func (r *run) clearable(f *findings) (string, deletion) {
	if r.connection.Policy.DeleteExpiredToken {
		for _, token := range f.list.Tokens {
			if r.expired(token) {
				return token.ID, deleteExpired
			}
		}
	}
	if named, listed := find(f.list.Tokens, r.rotation().Retire); listed {
		return named.ID, deleteNamed
	}
	if orphan, ok := r.orphan(f.list.Tokens); ok {
		return orphan.ID, deleteOrphan
	}
	return "", ""
}
