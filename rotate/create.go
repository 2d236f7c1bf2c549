package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// createPhase asks AWS for one token and keeps its value before anything else happens.
func createPhase(ctx context.Context, r *run) (model.Phase, error) {
	rot := r.rotation()
	if rot.NewToken != nil {
		return model.PhaseTest, nil
	}
	if rot.creating() {
		return r.whatWasCreated(ctx)
	}
	if n := len(rot.Creates); n > 0 && rot.Creates[n-1].refused() && !rot.Creates[n-1].Unsent {
		return r.notCreated(ctx, "AWS refused to create a token: "+rot.Creates[n-1].Error)
	}
	list, err := r.agreedTokens(ctx)
	if err != nil {
		return "", err
	}
	if err := r.checkClock(); err != nil {
		return "", err
	}
	if err := mayCreate(list); err != nil {
		return "", err
	}
	if strangers := r.book.last().unaccounted(list.Tokens); len(strangers) > 0 {
		return "", blocked(ForeignToken, "since the plan somebody created %s", idsOf(strangers))
	}
	if spent := r.book.last().Budget.spent(r.aws.now()); spent != "" {
		return "", blocked(BudgetExhausted, "%s", spent)
	}
	name := fmt.Sprintf("%s-%d", rot.ID, len(rot.Creates)+1)
	if err := r.safe.reserve(ctx, name); err != nil {
		return "", blocked(TokenStoreUnwritable, "%s", err)
	}
	return r.create(ctx, name)
}

// create is the act. The value goes into the vault before the outcome goes into the
// journal: found there, it is proof of the creation.
func (r *run) create(ctx context.Context, name string) (model.Phase, error) {
	var issued model.IssuedToken
	var kept error
	a, err := r.carryOut(ctx, deed{
		list: creates,
		intend: func(rec *record) {
			rec.Rotation.Entry = name
			rec.Budget.forget(r.aws.now())
			from := r.aws.now()
			rec.Budget.Creates = append(rec.Budget.Creates, window{From: from, To: from.Add(callTimeout)})
		},
		call: func(ctx context.Context) error {
			var err error
			if issued, err = r.connection.Clouds.Tokens.CreateToken(ctx); err == nil {
				issued.Token = plausible(issued.Token)
				kept = r.keep(context.WithoutCancel(ctx), name, issued)
			}
			return err
		},
		settle: func(rec *record, outcome model.CallOutcome) {
			if outcome == model.CallDone {
				rec.created(issued.Token)
			}
			last := len(rec.Budget.Creates) - 1
			rec.Budget.Creates[last].Known = outcome != model.CallUnknown
			if rec.Rotation.Creates[len(rec.Rotation.Creates)-1].Unsent { // AWS was never asked
				rec.Budget.Creates = rec.Budget.Creates[:last]
			}
		},
	})
	if err != nil {
		return "", err
	}
	if !a.done() {
		r.say("creating a token: %s: %s", a.Outcome, a.Error)
		return model.PhaseCreate, nil
	}
	r.say("created token %s", dated(issued.Token))
	if kept != nil {
		r.say("its value could not be kept: %s", kept)
		return model.PhaseUndo, nil //nolint:nilerr // told above; what was created must go again
	}
	return model.PhaseTest, nil
}

// notCreated ends a rotation that has no new token. Next time is soon enough, unless
// Entra is without a valid one.
func (r *run) notCreated(ctx context.Context, why string) (model.Phase, error) {
	if r.rotation().putAttempted() {
		return "", withoutToken("Entra's saved token is refused, and no other could be made: %s", why)
	}
	return r.end(ctx, model.OutcomeAborted, why, func(rec *record) { rec.Attempts++ })
}

// keepTries is how often the only copy of a value is tried to be kept.
const keepTries = 5

// keep puts a value into the vault. It tries other entries if one turns out to be bad.
func (r *run) keep(ctx context.Context, name string, issued model.IssuedToken) error {
	var err error
	for try := range keepTries {
		entry := name
		if try > 0 {
			entry = fmt.Sprintf("%s-%d", name, try)
			if sleep(ctx, time.Second/r.pace) != nil {
				continue
			}
			if r.safe.reserve(ctx, entry) != nil {
				entry = name // on a full disk only the first one has its room
			}
		}
		if err = r.safe.put(ctx, entry, issued.ID, issued.Value); err == nil {
			return nil
		}
	}
	return err
}

// created makes a token the rotation's new one.
func (r *record) created(token model.Token) {
	r.Rotation.NewToken = &token
	r.Rotation.Silence = 0
	r.Tokens[token.ID] = token
	r.TokensCreated++
	r.Budget.Creates[len(r.Budget.Creates)-1].Known = true
}

// created tells whether this rotation made the token.
func (r *rotation) created(id string) bool {
	return r.NewToken != nil && r.NewToken.ID == id && r.Offered != id && len(r.Creates) > 0
}

// listFor is how long a created token may take to show up in a list.
const listFor = 2 * time.Minute

// whatWasCreated finds out what became of a creation without an answer: a value in the
// vault proves it; else AWS's lists must tell.
func (r *run) whatWasCreated(ctx context.Context) (model.Phase, error) {
	rot := r.rotation()
	id, err := r.keptBy(ctx, rot.Entry)
	if err != nil {
		return "", err
	}
	first, err := r.listTokens(ctx)
	if err != nil {
		return "", err
	}
	for {
		if token, listed := find(first.Tokens, id); listed {
			r.say("the vault holds the value of token %s: it was created", dated(token))
			err := r.resolve(ctx, creates, len(rot.Creates), model.CallDone, func(rec *record) { rec.created(token) })
			return model.PhaseTest, err
		}
		if waited := r.passed(rot.Creates[len(rot.Creates)-1].Intent.Local); waited > listFor && id == "" {
			break
		} else if id != "" && waited > orphanGrace {
			return "", blocked(OrphanToken, "the vault holds the value of token %s, which AWS does not list", id)
		}
		if err := r.wait(ctx, listApart*3, Settling); err != nil {
			return "", err
		}
		if first, err = r.listTokens(ctx); err != nil {
			return "", err
		}
	}
	return r.nothingKept(ctx)
}

// keptBy returns the id of the token whose value an entry of this creation holds.
func (r *run) keptBy(ctx context.Context, name string) (string, error) {
	keys, err := r.safe.vault.List(ctx, r.safe.binding)
	if err != nil {
		return "", fmt.Errorf("listing the vault: %w", err)
	}
	slices.Sort(keys)
	for _, key := range keys {
		entry := strings.TrimPrefix(key, r.safe.binding+"/")
		if entry != name && !strings.HasPrefix(entry, name+"-") {
			continue
		}
		id, _, err := r.safe.get(ctx, entry)
		if err == nil {
			return id, nil
		}
		if !errors.Is(err, errValueLost) {
			return "", err
		}
	}
	return "", nil
}

// nothingKept decides about a creation of which no value remains: nothing was created,
// or what was is of no use to anybody and goes again by the orphan rule.
func (r *run) nothingKept(ctx context.Context) (model.Phase, error) {
	list, err := r.agreedTokens(ctx)
	if err != nil {
		return "", err
	}
	if list.Origin == model.OriginDeclared {
		return "", blocked(OrphanToken, "a creation got no answer, and the tokens are declared in the config, so whether there is one more must be looked up at AWS; then rotation adopt, not reset")
	}
	strangers := r.book.last().unaccounted(list.Tokens)
	if len(strangers) == 0 {
		return r.notCreated(ctx, "nothing was created")
	}
	orphan, ours := r.orphan(list.Tokens)
	if !ours {
		return "", blocked(OrphanToken, "a creation got no answer, and now there is %s, which it does not explain", idsOf(strangers))
	}
	err = r.write(ctx, func(rec *record) {
		if !slices.ContainsFunc(rec.Rotation.Plan.Tokens, func(p planned) bool { return p.ID == orphan.ID }) {
			rec.Rotation.Plan.Tokens = append(rec.Rotation.Plan.Tokens, planned{Token: orphan, Role: model.RoleUnknown, Evidence: "its value was lost"})
		}
	})
	if err != nil {
		return "", err
	}
	if rot := r.rotation(); !rot.putAttempted() && (rot.Plan.Dead || r.onlyValid(list, orphan)) {
		return r.passOver(ctx, orphan)
	}
	leave, err := r.mayDelete(ctx, orphan.ID, deleteOrphan)
	switch {
	case errors.Is(err, errNotYet):
		return model.PhaseCreate, r.wait(ctx, 5*time.Minute, Settling)
	case errors.Is(err, errGone):
		return model.PhaseCreate, nil
	case err != nil:
		return "", err
	}
	r.say("token %s was created but its value is lost: deleting it", dated(orphan))
	return model.PhaseCreate, r.delete(ctx, leave)
}

// onlyValid tells whether every other listed token has expired.
func (r *run) onlyValid(list model.TokenList, token model.Token) bool {
	return !slices.ContainsFunc(list.Tokens, func(t model.Token) bool { return t.ID != token.ID && !r.expired(t) })
}

// passOver leaves a created token whose value is lost where it is and plans anew: while
// Entra holds a dead token there is no waiting for the moment to delete this one, and the
// last valid one is never deleted. An expired token makes room for another one, and this
// one is retired like any old token.
func (r *run) passOver(ctx context.Context, orphan model.Token) (model.Phase, error) {
	r.say("token %s was created but its value is lost; Entra has no valid one, so this one stays for now, and another one is created", dated(orphan))
	at := r.moment()
	return model.PhasePlan, r.resolve(ctx, creates, len(r.rotation().Creates), model.CallDone, func(rec *record) {
		rec.Budget.Creates[len(rec.Budget.Creates)-1].Known = true
		rec.Rotation.pass(model.PhasePlan, at) // with the same stroke: the plan accounts for the token
	})
}
