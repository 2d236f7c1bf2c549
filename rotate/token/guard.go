package token

import (
	"context"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// deletionReason is why a token may be deleted.
type deletionReason string

// The reasons for a deletion, each with its own conditions.
const (
	deleteUndo    deletionReason = "undo"    // we created it and never tried to save it to Entra
	deleteExpired deletionReason = "expired" // it has expired and occupies a slot
	deleteOrphan  deletionReason = "orphan"  // we created it, and its value was lost before anybody had it
	deleteRetire  deletionReason = "retire"  // it is the old one, proven or approved to be unused
	deleteNamed   deletionReason = "named"   // an operator named it as unused
)

const (
	// maxListAge is how old the lists may be when a deletion is authorized.
	maxListAge = time.Minute
	// putMargin is how much older the save before a deletion may be than its use takes.
	putMargin = 30 * time.Minute
	// listLag is how long AWS may list a token whose deletion it has confirmed.
	listLag = 15 * time.Minute
	// listInterval is how often the lists are read until they show a deletion.
	listInterval = 15 * time.Second
	// maxDeleteRefusals is how often AWS may refuse for good to delete a token.
	maxDeleteRefusals = 5
)

// deletePermit authorizes the deletion of one token. Only guard.authorize makes one, and
// guard.delete needs one.
type deletePermit struct {
	token  model.Token
	why    deletionReason
	listed time.Time // when the last of its lists was read
}

// stale tells whether a permit is too old to be used, as after a suspension. Both of our
// clocks count: the monotonic one stops while a machine is suspended, and the other one
// may be set.
func (p deletePermit) stale() bool {
	age := max(time.Since(p.listed), time.Now().Round(0).Sub(p.listed.Round(0)))
	return age > maxListAge+rotate.CallTimeout()
}

// guard is the one way to a deletion.
type guard struct{ observer }

// authorize checks the conditions G1 to G7 (see package rotate) against fresh answers of
// AWS and Entra, whatever was known before. G5 and G8, the lease and the durable intent,
// belong to every operation.
func (g guard) authorize(ctx context.Context, id string, why deletionReason) (deletePermit, error) {
	list, err := g.stableTokens(ctx) // G1
	if err != nil {
		return deletePermit{}, err
	}
	listed := time.Now()
	if err := g.checkBinding(ctx); err != nil { // G2
		return deletePermit{}, err
	}
	token, err := g.matchJournal(list, id) // G3
	if err != nil {
		return deletePermit{}, err
	}
	if why != deleteExpired {
		if err := g.requireOtherValidToken(list, token); err != nil { // G4
			return deletePermit{}, err
		}
	}
	if err := g.checkClock(); err != nil { // G6
		return deletePermit{}, err
	}
	if err := g.checkReason(ctx, list, token, why); err != nil { // G7
		return deletePermit{}, err
	}
	if time.Since(listed) > maxListAge {
		return deletePermit{}, errConditionPending
	}
	if list.Origin == model.OriginDeclared { // it may be deleted, but its deletion could not be seen
		return deletePermit{}, rotate.Blocked(model.BlockedDeleteRefused, "the tokens are declared in the config, so token %s must be deleted by hand, and removed from tokens.declared", id)
	}
	return deletePermit{token, why, listed}, nil
}

// checkReason is G7.
func (g guard) checkReason(ctx context.Context, list model.TokenList, token model.Token, why deletionReason) error {
	switch why {
	case deleteUndo:
		return g.checkUndo(token)
	case deleteExpired:
		return g.checkExpired(token)
	case deleteOrphan:
		return g.checkOrphan(ctx, list, token)
	case deleteNamed:
		return g.checkNamed(ctx, token)
	default:
		return g.checkRetire(ctx, list, token)
	}
}

// matchJournal is G3: the token is the one that was written down, not one that took its place.
func (g guard) matchJournal(list model.TokenList, id string) (model.Token, error) {
	listed, ok := policy.FindToken(list.Tokens, id)
	if !ok {
		return listed, errTokenGone
	}
	rot := g.rotation()
	journalled, ok := policy.FindToken(tokensOf(rot.Plan.Tokens), id)
	if rot.NewToken != nil && rot.NewToken.ID == id {
		journalled, ok = *rot.NewToken, true
	}
	if !ok || !sameCreation(journalled, listed) {
		return listed, rotate.Blocked(model.BlockedForeignToken, "token %s is not the one that was written down", listed.ID)
	}
	return listed, nil
}

// sameCreation compares when two tokens of one id were created. The answer to a creation
// may be rounded otherwise than the list, or have no dates; then the id alone counts.
func sameCreation(journalled, listed model.Token) bool {
	return journalled.Created.IsZero() || journalled.Created.Sub(listed.Created).Abs() <= policy.WindowSlack
}

// requireOtherValidToken is G4: the last valid token is never deleted.
func (g guard) requireOtherValidToken(list model.TokenList, leaving model.Token) error {
	for _, token := range list.Tokens {
		if token.ID != leaving.ID && !token.Expires.IsZero() && token.Expires.Sub(g.AWS.Now()) >= policy.MinRemainingValidity {
			return nil
		}
	}
	if g.onlyValid(list, leaving) {
		return rotate.Blocked(model.BlockedEntraHoldsDeadToken, "token %s is the only valid one, so it is kept although it could not be put to use", leaving.ID)
	}
	return &rotate.BlockedError{
		Reason: model.BlockedLifetimeTooShort, Detail: "deleting token " + leaving.ID + " would leave no token that is valid for another week",
		Command: commandByHand,
	}
}

func (g guard) checkUndo(token model.Token) error {
	rot := g.rotation()
	switch {
	case rot.putAttempted() || !rot.created(token.ID):
		return rotate.Blocked(model.BlockedSwitchFailed, "token %s may be in use: saving it to Entra was attempted", token.ID)
	case rot.ShownToOperator:
		return rotate.Blocked(model.BlockedSwitchFailed, "token %s may be in use: an operator was shown it, or named it as the one that Entra holds", token.ID)
	}
	return g.requireNoJournalGap(token)
}

func (g guard) checkExpired(token model.Token) error {
	if !g.expired(token) {
		return rotate.Blocked(model.BlockedTwoTokens, "token %s has not expired", token.ID)
	}
	return nil
}

func (g guard) checkOrphan(ctx context.Context, list model.TokenList, token model.Token) error {
	orphan, ok := g.orphan(list.Tokens)
	if !ok || orphan.ID != token.ID {
		return rotate.Blocked(model.BlockedOrphanToken, "token %s was not created by this exporter", token.ID)
	}
	if err := g.requireNoJournalGap(token); err != nil {
		return err
	}
	if g.Elapsed(token.Created.Add(-g.AWS.Offset)) < orphanGrace {
		return errConditionPending
	}
	return g.requireSavedWorks(ctx)
}

func (g guard) checkNamed(ctx context.Context, token model.Token) error {
	if g.rotation().RetireToken != token.ID {
		return rotate.Blocked(model.BlockedTwoTokens, "no operator named token %s as unused", token.ID)
	}
	return g.requireSavedWorks(ctx)
}

// requireNoJournalGap demands a journal without gaps. A gap could hide, in a restored
// copy, that the token was saved to Entra after all: that takes longer than a gap that is
// accepted.
func (g guard) requireNoJournalGap(token model.Token) error {
	if gap := g.rotation().JournalGap; gap >= journal.MaxGap {
		return rotate.Blocked(model.BlockedStateRestored, "the journal has a gap of %s, so it may be older than token %s: a restored older copy would look the same",
			gap.Round(time.Minute), token.ID)
	}
	return nil
}

func (g guard) requireSavedWorks(ctx context.Context) error {
	result, err := g.testSaved(ctx)
	if err == nil && result != model.TestPassed {
		err = errConditionPending
	}
	return err
}

// checkRetire demands the proof that the old token is unused, or an operator's approval.
func (g guard) checkRetire(ctx context.Context, list model.TokenList, old model.Token) error {
	rot := g.rotation()
	if !rot.Proof.Level.AtLeast(model.ProofUsed) || g.Elapsed(rot.Proof.Used.Local) < g.options.Policy.RetentionTime() {
		return errConditionPending
	}
	if !g.approved(old.ID) {
		return errConditionPending
	}
	for _, unknown := range g.record().unknownTokens(list.Tokens) {
		if unknown.ID != rot.newID() {
			return rotate.Blocked(model.BlockedForeignToken, "token %s appeared during the rotation, and it is unknown who uses it", unknown.ID)
		}
	}
	if _, listed := policy.FindToken(list.Tokens, rot.newID()); !listed {
		return rotate.Blocked(model.BlockedForeignToken, "the new token %s is not listed any more", rot.newID())
	}
	if err := g.requireNewAccepted(ctx); err != nil {
		return err
	}
	job, err := g.job(ctx)
	if err != nil {
		return err
	}
	put, _ := rot.lastPut()
	if put.Why != PutBeforeDelete || !put.Done() || rot.Proof.Put != put.Number || g.putOutdated(put, job) {
		return errConditionPending
	}
	if !prover(g).lastSaveUsed(job) || g.cycleRunning(job) {
		return errConditionPending
	}
	return health(g).checkThirdPartyChange(ctx)
}

// approved tells whether the old token may be deleted: by proof, by trust, by an
// operator's approval of this very token, or because the policy accepts the risk.
func (o observer) approved(id string) bool {
	rot := o.rotation()
	return o.options.Policy.Approved(rot.approved(id), rot.Proof.Level, rot.Plan.Trusted)
}

// requireNewAccepted demands that the new value is stored, and accepted by AWS now.
func (g guard) requireNewAccepted(ctx context.Context) error {
	value, err := g.newValue(ctx)
	if err != nil {
		return err
	}
	result, detail, err := g.probeOrTest(ctx, value)
	if err != nil {
		return err
	}
	if result != accepted {
		return rotate.Blocked(model.BlockedNewTokenRejected, "the new token %s is not accepted now: %s", g.rotation().newID(), detail)
	}
	return nil
}

// delete deletes the token of a permit. What came of it is settled by the lists that
// follow: the phases go by those, not by the answer.
func (g guard) delete(ctx context.Context, p deletePermit) error {
	refused := g.rotation().refusedDeletions(p.token.ID)
	if len(refused) >= maxDeleteRefusals {
		return rotate.Blocked(model.BlockedDeleteRefused, "AWS refused %d times to delete token %s, the last answer was: %s", len(refused), p.token.ID, refused[len(refused)-1].Error)
	}
	written, err := g.execute(ctx, operation{
		kind: OperationDelete, target: p.token.ID, why: string(p.why),
		call: func(ctx context.Context) error {
			if p.stale() {
				return &model.Error{Reason: model.ReasonTimeout, Op: "deleting token " + p.token.ID, Detail: "the permit is stale", Unsent: true}
			}
			return g.options.Tokens.DeleteToken(ctx, p.token.ID)
		},
	})
	if err != nil {
		return err
	}
	if written.Done() {
		g.LogStep("deleted token %s (%s)", formatToken(p.token), p.why)
		return nil
	}
	g.LogStep("token %s: deletion %s", p.token.ID, formatOutcome(written))
	if !written.RefusedForGood() && !written.Unsent { // it passes: the engine retries, and logs what lasts
		return &model.Error{Reason: written.Reason, Op: "deleting token " + p.token.ID, Detail: written.Error}
	}
	return g.Wait(ctx, time.Minute, model.WaitingSettling)
}

// Next commands that do not follow from the reason alone. CONNECTION stands for the
// connection's name.
const (
	commandWithoutToken = "generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), " + //nolint:gosec // words, not a secret
		"enter it in Entra, then rotation adopt CONNECTION --in-use ID"
	commandOtherValue = "rotation abort CONNECTION, then rotation start CONNECTION --force --token-stdin --token-id ID with the right value"
	commandOtherToken = "rotation reset CONNECTION, then rotation start CONNECTION --force --token-stdin --token-id ID with a token that is listed"
	commandByHand     = "replace the token that Entra uses by hand (docs/rotation.md), then rotation adopt CONNECTION --in-use ID"
)

// blockedWithoutToken blocks when Entra holds a dead token and there is none whose value
// could be entered.
func blockedWithoutToken(format string, args ...any) error {
	blocked := asBlocked(rotate.Blocked(model.BlockedEntraHoldsDeadToken, format, args...))
	blocked.Command = commandWithoutToken
	return blocked
}
