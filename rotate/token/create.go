package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

const (
	// storeAttempts is how often storing the only copy of a value is tried.
	storeAttempts = 5
	// maxListDelay is how long a created token may take to be listed.
	maxListDelay = 2 * time.Minute
	// orphanGrace is how old an orphan must be: an operator who created it in the same
	// seconds has entered it somewhere by then.
	orphanGrace = time.Hour
)

// createPhase requests one token from AWS and stores its value before anything else.
type createPhase struct{ observer }

func (p createPhase) run(ctx context.Context) (model.Phase, error) {
	rot := p.rotation()
	if rot.NewToken != nil {
		return model.PhaseTest, nil
	}
	if rot.creating() {
		return p.reconcile(ctx)
	}
	if last, _ := rot.LastOperation(OperationCreate); last.Refused() && !last.Unsent {
		return p.notCreated(ctx, "AWS refused to create a token: "+last.Error)
	}
	list, err := p.stableTokens(ctx)
	if err != nil {
		return "", err
	}
	if err := p.checkClock(); err != nil {
		return "", err
	}
	if err := checkCreatable(list); err != nil {
		return "", err
	}
	known := p.record()
	if unknown := known.unknownTokens(list.Tokens); len(unknown) > 0 {
		return "", rotate.Blocked(model.BlockedForeignToken, "since the plan somebody else created %s", formatIDs(unknown))
	}
	if exceeded := known.RateLimit.CreationsExceeded(p.AWS.Now()); exceeded != "" {
		return "", rotate.Blocked(model.BlockedBudgetExhausted, "%s", exceeded)
	}
	name := fmt.Sprintf("%s-%d", rot.ID, len(rot.Operations[OperationCreate])+1)
	if err := p.tokens.reserve(ctx, name); err != nil {
		return "", storeUnwritable(err)
	}
	return p.create(ctx, name)
}

// create requests the token. Its value goes into the token store before the outcome goes
// into the journal: found there, it proves the creation.
func (p createPhase) create(ctx context.Context, name string) (model.Phase, error) {
	var issued model.IssuedToken
	var notStored error
	written, err := p.execute(ctx, operation{
		kind: OperationCreate,
		journalIntent: func(r *record) {
			r.Rotation.StoreEntry = name
			r.RateLimit.Prune(p.AWS.Now())
			if !slices.ContainsFunc(r.RateLimit.Creations, unresolved) {
				r.Rotation.JournalGap = 0 // it hides nothing about a token that is created after it
			}
			from := p.AWS.Now()
			r.RateLimit.Creations = append(r.RateLimit.Creations, policy.CallWindow{From: from, To: from.Add(rotate.CallTimeout())})
		},
		call: func(ctx context.Context) error {
			var err error
			if issued, err = p.options.Tokens.CreateToken(ctx); err == nil {
				issued.Token = policy.Sanitize(issued.Token)
				notStored = p.storeValue(context.WithoutCancel(ctx), name, issued)
			}
			return err
		},
		journalOutcome: func(r *record, written journal.Operation) {
			if written.Done() {
				r.setCreated(issued.Token)
			}
			r.lastCreation().Resolved = !written.Pending()
			if written.Unsent { // AWS was never called
				r.RateLimit.Creations = r.RateLimit.Creations[:len(r.RateLimit.Creations)-1]
			}
		},
	})
	if err != nil {
		return "", err
	}
	if !written.Done() {
		p.LogStep("creating a token: %s", formatOutcome(written))
		return model.PhaseCreate, nil
	}
	p.LogStep("created token %s", formatToken(issued.Token))
	if notStored != nil {
		p.LogStep("storing its value failed: %s", notStored)
		return model.PhaseUndo, nil //nolint:nilerr // logged above; what was created must be deleted again
	}
	return model.PhaseTest, nil
}

// unresolved tells whether a token of this request may still turn up.
func unresolved(creation policy.CallWindow) bool { return !creation.Resolved }

// notCreated ends a rotation that has no new token. The next one is soon enough, unless
// Entra is without a valid token.
func (p createPhase) notCreated(ctx context.Context, reason string) (model.Phase, error) {
	if rot := p.rotation(); rot.putAttempted() || rot.Recoveries > 0 {
		return "", blockedWithoutToken("Entra's saved token is refused, and no other could be created: %s", reason)
	}
	return p.finishAborted(ctx, reason, nil)
}

// storeValue stores a value. It tries other entries if one turns out to be bad.
func (p createPhase) storeValue(ctx context.Context, name string, issued model.IssuedToken) error {
	var err error
	for attempt := range storeAttempts {
		candidate := name
		if attempt > 0 {
			candidate = fmt.Sprintf("%s-%d", name, attempt)
			if rotate.Sleep(ctx, p.Shortened(time.Second)) != nil {
				continue
			}
			if p.tokens.reserve(ctx, candidate) != nil {
				candidate = name // on a full disk only the first entry has its room
			}
		}
		if err = p.tokens.save(ctx, candidate, issued.ID, issued.Value); err == nil {
			return nil
		}
	}
	return err
}

// reconcile finds out what became of a creation without an answer: a stored value proves
// it; else AWS's lists must tell.
func (p createPhase) reconcile(ctx context.Context) (model.Phase, error) {
	rot := p.rotation()
	id, err := p.tokens.idUnder(ctx, rot.StoreEntry)
	if err != nil {
		return "", err
	}
	creation, _ := rot.LastOperation(OperationCreate)
	for {
		list, err := p.listTokens(ctx)
		if err != nil {
			return "", err
		}
		if token, listed := policy.FindToken(list.Tokens, id); listed {
			p.LogStep("the value of token %s is stored: it was created", formatToken(token))
			return model.PhaseTest, p.resolveCreation(ctx, func(r *record) { r.setCreated(token) })
		}
		if waited := p.Elapsed(creation.Intent.Local); waited > maxListDelay && id == "" {
			return p.reconcileWithoutValue(ctx)
		} else if waited > orphanGrace {
			return "", rotate.Blocked(model.BlockedOrphanToken, "the token store has the value of token %s, which AWS does not list", id)
		}
		if err := p.Wait(ctx, listGap*3, model.WaitingSettling); err != nil {
			return "", err
		}
	}
}

// reconcileWithoutValue decides about a creation whose value was lost: nothing was created,
// or what was created is of no use and is deleted by the orphan rule.
func (p createPhase) reconcileWithoutValue(ctx context.Context) (model.Phase, error) {
	list, err := p.stableTokens(ctx)
	if err != nil {
		return "", err
	}
	if list.Origin == model.OriginDeclared {
		return "", rotate.Blocked(model.BlockedOrphanToken, "a creation got no answer, and the tokens are declared in the config, so look up at AWS whether there is one more; then rotation adopt, not reset")
	}
	unknown := p.record().unknownTokens(list.Tokens)
	if len(unknown) == 0 {
		return p.notCreated(ctx, "nothing was created")
	}
	orphan, ours := p.orphan(list.Tokens)
	if !ours {
		return "", rotate.Blocked(model.BlockedOrphanToken, "a creation got no answer, and now there is %s, which it does not explain", formatIDs(unknown))
	}
	err = p.write(ctx, func(r *record) {
		if plan := &r.Rotation.Plan; !slices.Contains(idsOf(plan.Tokens), orphan.ID) {
			plan.Tokens = append(plan.Tokens, PlannedToken{Token: orphan, Role: model.RoleUnknown, Evidence: "its value was lost"})
		}
	})
	if err != nil {
		return "", err
	}
	if rot := p.rotation(); !rot.putAttempted() && (rot.Plan.SavedTestFailed || p.onlyValid(list, orphan)) {
		return p.deferOrphan(ctx, orphan)
	}
	return p.deleteOrphan(ctx, orphan)
}

// deferOrphan leaves a created token whose value is lost, and plans again: while Entra
// holds a dead token there is no time to wait for its deletion, and the last valid token
// is never deleted. An expired token makes room for another one, and the orphan is retired
// like any old token.
func (p createPhase) deferOrphan(ctx context.Context, orphan model.Token) (model.Phase, error) {
	p.LogStep("token %s was created but its value is lost; Entra has no valid token, so this one stays for now, and another one is created", formatToken(orphan))
	at := p.Timestamps()
	return model.PhasePlan, p.resolveCreation(ctx, func(r *record) {
		r.lastCreation().Resolved = true
		r.Rotation.SetPhase(model.PhasePlan, at) // in the same write: the plan makes the token known
	})
}

func (p createPhase) deleteOrphan(ctx context.Context, orphan model.Token) (model.Phase, error) {
	g := guard(p)
	permit, err := g.authorize(ctx, orphan.ID, deleteOrphan)
	switch {
	case errors.Is(err, errConditionPending):
		return model.PhaseCreate, p.Wait(ctx, 5*time.Minute, model.WaitingSettling)
	case errors.Is(err, errTokenGone):
		return model.PhaseCreate, nil
	case err != nil:
		return "", err
	}
	p.LogStep("token %s was created but its value is lost: deleting it", formatToken(orphan))
	return model.PhaseCreate, g.delete(ctx, permit)
}
