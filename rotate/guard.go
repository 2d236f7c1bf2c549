package rotate

import (
	"context"
	"errors"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// deletion is why a token may be deleted.
type deletion string

// The reasons for a deletion, each with its own conditions.
const (
	deleteUndo    deletion = "undo"    // we made it and never tried to save it to Entra
	deleteExpired deletion = "expired" // it has expired and occupies a slot
	deleteOrphan  deletion = "orphan"  // we made it, and its value was lost before anybody had it
	deleteRetire  deletion = "retire"  // it is the old one, proven or allowed to be unused
	deleteNamed   deletion = "named"   // a person named it as unused
)

// permit is the leave to delete one token. Only mayDelete gives one, and the act that
// deletes wants one.
type permit struct {
	token  model.Token
	why    deletion
	listed time.Time // when the last of its lists was read
}

// stale tells whether a permit is too old to be used, as after a sleep.
//
// Both of our clocks are asked: the monotonic one stands still while a machine is
// suspended, and the other one may be set.
func (p permit) stale() bool {
	age := max(time.Since(p.listed), time.Now().Round(0).Sub(p.listed.Round(0)))
	return age > listFresh+callTimeout
}

// listFresh is how old the lists may be when the permit is given.
const listFresh = time.Minute

// orphanGrace is how old an orphan must be: whoever made it by hand in the same
// seconds has entered it somewhere by then.
const orphanGrace = time.Hour

// windowSlack is how far outside of our create call an orphan may seem to have been made.
const windowSlack = 5 * time.Second

// mayDelete is the one door for every deletion (ROTATION: G1 to G8). It asks the clouds
// anew, whatever was known before. G5 and G8, the lease and the durable intent, are
// part of every act.
func (r *run) mayDelete(ctx context.Context, id string, why deletion) (permit, error) {
	list, err := r.agreedTokens(ctx) // G1
	if err != nil {
		return permit{}, err
	}
	listed := time.Now()
	if err := r.checkBinding(ctx); err != nil { // G2
		return permit{}, err
	}
	token, err := r.asJournalled(list, id) // G3
	if err != nil {
		return permit{}, err
	}
	if why != deleteExpired {
		if err := r.anotherStays(list, token); err != nil { // G4
			return permit{}, err
		}
	}
	if err := r.checkClock(); err != nil { // G6
		return permit{}, err
	}
	switch why { // G7
	case deleteUndo:
		err = r.mayUndo(token)
	case deleteExpired:
		err = r.mayExpire(token)
	case deleteOrphan:
		err = r.mayDropOrphan(ctx, list, token)
	case deleteNamed:
		err = r.mayDropNamed(ctx, token)
	case deleteRetire:
		err = r.mayRetire(ctx, list, token)
	}
	if err == nil && time.Since(listed) > listFresh {
		err = errNotYet
	}
	if err != nil {
		return permit{}, err
	}
	if list.Origin == model.OriginDeclared { // it may go, but nobody could see at AWS whether it went
		return permit{}, blocked(DeleteRefused, "the tokens are declared in the config, so token %s must be deleted by hand, and taken out of tokens.declared", id)
	}
	return permit{token, why, listed}, nil
}

// asJournalled is G3: the token is the one that was written down, not one that took its place.
func (r *run) asJournalled(list model.TokenList, id string) (model.Token, error) {
	listed, ok := find(list.Tokens, id)
	if !ok {
		return listed, errGone
	}
	rot := r.rotation()
	journalled, ok := model.Token{}, false
	for _, p := range rot.Plan.Tokens {
		if p.ID == id {
			journalled, ok = p.Token, true
		}
	}
	if rot.NewToken != nil && rot.NewToken.ID == id {
		journalled, ok = *rot.NewToken, true
	}
	if !ok || !sameCreation(journalled, listed) {
		return listed, blocked(ForeignToken, "token %s is not the one that was written down", listed.ID)
	}
	return listed, nil
}

// sameCreation compares when two tokens of one id were made. The answer to a creation may
// be rounded otherwise than the list, or have no dates at all; then the id speaks alone.
func sameCreation(journalled, listed model.Token) bool {
	return journalled.Created.IsZero() || journalled.Created.Sub(listed.Created).Abs() <= windowSlack
}

// errGone: the token that was to be deleted is not listed any more.
var errGone = errors.New("the token is gone already")

// anotherStays is G4: never take the last valid token away.
func (r *run) anotherStays(list model.TokenList, leaving model.Token) error {
	for _, token := range list.Tokens {
		if token.ID != leaving.ID && !token.Expires.IsZero() && token.Expires.Sub(r.aws.now()) >= staysValid {
			return nil
		}
	}
	if !slices.ContainsFunc(list.Tokens, func(t model.Token) bool { return t.ID != leaving.ID && !r.expired(t) }) {
		return blocked(EntraHoldsDeadToken, "token %s is the only valid one, so it is kept although it could not be put to use", leaving.ID)
	}
	return &impasse{
		reason: LifetimeTooShort, detail: "deleting token " + leaving.ID + " would leave none that is valid for another week",
		next: nextByHand,
	}
}

func (r *run) mayUndo(token model.Token) error {
	rot := r.rotation()
	switch {
	case rot.putAttempted() || !rot.created(token.ID):
		return blocked(SwitchFailed, "token %s may be in use: saving it to Entra was tried", token.ID)
	case rot.Exposed:
		return blocked(SwitchFailed, "token %s may be in use: a person was shown it, or named it as the one that Entra holds", token.ID)
	}
	return r.unbroken(token)
}

func (r *run) mayExpire(token model.Token) error {
	if !r.expired(token) {
		return blocked(TwoTokens, "token %s has not expired", token.ID)
	}
	return nil
}

// orphan finds the one unaccounted token that can only come from a create call of ours
// whose answer was lost.
func (r *run) orphan(tokens []model.Token) (model.Token, bool) {
	rec := r.book.last()
	strangers := rec.unaccounted(tokens)
	if len(strangers) != 1 || strangers[0].Created.IsZero() {
		return model.Token{}, false
	}
	for _, asked := range rec.Budget.Creates {
		if !asked.Known && !strangers[0].Created.Before(asked.From.Add(-windowSlack)) && !strangers[0].Created.After(asked.To.Add(windowSlack)) {
			return strangers[0], true
		}
	}
	return model.Token{}, false
}

func (r *run) mayDropOrphan(ctx context.Context, list model.TokenList, token model.Token) error {
	orphan, ok := r.orphan(list.Tokens)
	if !ok || orphan.ID != token.ID {
		return blocked(OrphanToken, "token %s was made by nobody we know", token.ID)
	}
	if err := r.unbroken(token); err != nil {
		return err
	}
	if r.passed(token.Created.Add(-r.aws.offset)) < orphanGrace {
		return errNotYet
	}
	return r.savedIsGood(ctx)
}

func (r *run) mayDropNamed(ctx context.Context, token model.Token) error {
	if r.rotation().Retire != token.ID {
		return blocked(TwoTokens, "nobody named token %s as unused", token.ID)
	}
	return r.savedIsGood(ctx)
}

// unbroken demands a journal without gaps. What a gap could hide, in a copy that was
// put back, is that the token was saved to Entra after all: that takes longer than a
// silence that is passed over.
func (r *run) unbroken(token model.Token) error {
	if silence := r.rotation().Silence; silence >= silenceLimit {
		return blocked(StateRestored, "the journal was silent for %s, so it may be older than token %s: an older copy put back would look the same",
			silence.Round(time.Minute), token.ID)
	}
	return nil
}

// errNotYet: what is missing comes with time.
var errNotYet = errors.New("not yet")

func (r *run) savedIsGood(ctx context.Context) error {
	verdict, err := r.saved(ctx)
	if err == nil && verdict != model.TestPassed {
		err = errNotYet
	}
	return err
}

// mayRetire is the proof that the old token is unused, or a person's word for it.
func (r *run) mayRetire(ctx context.Context, list model.TokenList, old model.Token) error {
	rot, rec := r.rotation(), r.book.last()
	if !rot.Proof.atLeast(model.ProofUsed) || r.passed(rot.Proof.Used.Local) < r.retireAfter() {
		return errNotYet
	}
	if !r.approved(old.ID) {
		return errNotYet
	}
	for _, token := range list.Tokens {
		if _, known := rec.Tokens[token.ID]; !known && token.ID != rot.newID() {
			return blocked(ForeignToken, "token %s appeared during the rotation, and nobody knows who uses it", token.ID)
		}
	}
	if _, listed := find(list.Tokens, rot.newID()); !listed {
		return blocked(ForeignToken, "the new token %s is not listed any more", rot.newID())
	}
	put, _ := rot.lastPut()
	if put.Why != putAgain || !put.done() || rot.Proof.Put != put.Number || r.passed(put.Answered.Local) > storedFresh {
		return errNotYet
	}
	if err := r.newIsAccepted(ctx); err != nil {
		return err
	}
	job, err := r.job(ctx)
	if err != nil {
		return err
	}
	if r.cycleRunning(job) {
		return errNotYet
	}
	return nil
}

// storedFresh is how old the save before a deletion may be, however long it took to be
// found stored.
const storedFresh = 30 * time.Minute

// newIsAccepted demands that the new value is in the vault, and taken by AWS now.
func (r *run) newIsAccepted(ctx context.Context) error {
	value, err := r.newValue(ctx)
	if err != nil {
		return err
	}
	verdict, detail := r.probe(ctx, value)
	if verdict == noVerdict || verdict == silent {
		if verdict, err = r.inlineVerdict(ctx, value); err != nil {
			return err
		}
	}
	if verdict != accepted {
		return blocked(NewTokenRejected, "the new token %s is not accepted now: %s", r.rotation().newID(), detail)
	}
	return nil
}
