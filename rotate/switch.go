package rotate

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// Why a PUT is made.
const (
	putSwitch = "switch" // the first time, and after one that did not help
	putAgain  = "again"  // right before the old token goes: whatever happened meanwhile, now it is saved
	putRescue = "rescue" // Entra's token stopped working
	putBack   = "back"   // the old value, because the new one cannot be saved
)

const (
	testsApart  = time.Minute      // between two good tests
	storedAfter = 2 * time.Minute  // after the PUT, for the last of them
	storedFor   = 15 * time.Minute // how long a PUT may take to show
	storedPuts  = 3                // PUTs that were answered 2xx and did not show
	savePuts    = 6                // PUTs in a row that were refused, or got no answer, over errorLasts
)

// switchPhase saves the new token to Entra and waits until Entra's own test of what it
// has saved is good.
func switchPhase(ctx context.Context, r *run) (model.Phase, error) {
	rot := r.rotation()
	last, tried := rot.lastPut()
	if tried && rot.Want == "" && rot.Proof.Put == last.Number {
		return model.PhaseResume, nil
	}
	if !tried || rot.Want != "" || last.Why == putAgain || !last.done() || last.Bad {
		if err := r.maySaveAgain(ctx); err != nil {
			return "", err
		}
		err := r.put(ctx, rot.newID(), cmp.Or(rot.Want, putSwitch))
		if stuck := impasseOf(err); stuck != nil && stuck.reason == NewTokenRejected && tried {
			back, err := r.putOldBack(ctx) // Entra may hold the new one, which is dead
			if err != nil {
				return "", err
			}
			return "", surely(NewTokenRejected, "%s; %s", stuck.detail, back)
		}
		if err != nil {
			return "", err
		}
	}
	stored, err := r.stored(ctx)
	if !stored || err != nil {
		return model.PhaseSwitch, err
	}
	r.say("Entra's own test of the saved credentials is good: stored")
	return model.PhaseResume, nil
}

// maySaveAgain ends the attempts when they do not help: with the old value back in
// place if the vault has it.
func (r *run) maySaveAgain(ctx context.Context) error {
	rot := r.rotation()
	var answered, unanswered int
	var failed []act // since the last 2xx
	for _, put := range rot.Puts {
		switch {
		case put.Why == putAgain || put.Why == putBack || put.Round != rot.Round:
		case put.done():
			answered++
			failed = nil
		default:
			failed = append(failed, put)
			if !put.refused() {
				unanswered++
			}
		}
	}
	bad := answered >= storedPuts+rot.Rescues+rot.Renewed
	if !bad && !r.savingFails(failed) {
		return nil
	}
	token := "token " + rot.newID()
	if !bad && answered+unanswered == 0 {
		last := failed[len(failed)-1]
		return blocked(refusal(last), "%s could not be saved to Entra, which keeps what it has: %s", token, last.Error)
	}
	back, err := r.putOldBack(ctx)
	if err != nil {
		return err
	}
	if bad {
		return surely(r.notSaved(), "%s was saved to Entra %d times and Entra's own test of it stays bad; %s", token, answered, back)
	}
	return surely(r.notSaved(), "%s was sent to Entra %d times and no save was confirmed, the last answer was: %s; %s",
		token, len(failed), failed[len(failed)-1].Error, back)
}

// savingFails tells whether attempts to save have failed often, and for long, enough to
// give in.
func (r *run) savingFails(failed []act) bool {
	if len(failed) < savePuts {
		return false
	}
	first, last := failed[0], failed[len(failed)-1]
	return last.Intent.Local.Sub(first.Intent.Local)*r.pace >= errorLasts
}

// notSaved is what it means that the new token cannot be brought to work in Entra.
func (r *run) notSaved() Blocked {
	if rot := r.rotation(); rot.Rescues > 0 || rot.Plan.Dead || rot.deletedOld() {
		return EntraHoldsDeadToken
	}
	return SwitchFailed
}

// putBackEnds stops a rotation that has put another token back: what Entra uses from
// then on proves nothing about the new one, and a process that died here must not take
// it for that.
func (r *run) putBackEnds() error {
	last, tried := r.rotation().lastPut()
	if !tried || last.Why != putBack || !last.done() || last.Round != r.rotation().Round {
		return nil
	}
	return surely(NewTokenRejected, "token %s did not work in Entra, so token %s was put back", r.rotation().newID(), last.TokenID)
}

// refusal tells why saving was refused every time. The size limit has no documented
// code; what is known of it is in docs/rotation.md.
func refusal(put act) Blocked {
	switch put.Reason {
	case model.ReasonPermission, model.ReasonLicence:
		return Permission
	case model.ReasonAuth:
		return OwnCredentialExpiring
	default:
		if strings.Contains(strings.ToLower(put.Error), "limit") {
			return StorageLimit
		}
		return SwitchFailed
	}
}

// putOldBack saves a planned token whose value the vault has and AWS accepts.
func (r *run) putOldBack(ctx context.Context) (string, error) {
	rot := r.rotation()
	if failed := rot.failedPuts(putBack); r.savingFails(failed) {
		return "the old token could not be put back: " + failed[len(failed)-1].Error, nil
	}
	for _, old := range rot.old() {
		value, err := r.safe.of(ctx, old.ID)
		if err != nil {
			return "", err
		}
		if value.IsZero() {
			continue
		}
		if verdict, _ := r.probe(ctx, value); verdict == accepted {
			if err := r.put(ctx, old.ID, putBack); err != nil {
				return "", err
			}
			if last, _ := r.rotation().lastPut(); !last.done() {
				return "", &model.Error{Reason: model.ReasonOther, Op: "putting token " + old.ID + " back", Detail: last.Error}
			}
			return "token " + old.ID + " was put back", nil
		}
	}
	return "the old token's value is not known", nil
}

// worthSaving makes sure that no dead token is ever saved. AWS's word is enough; if AWS
// does not talk to us, Entra's.
func (r *run) worthSaving(ctx context.Context, tokenID string, value model.Secret) error {
	verdict, detail := r.probe(ctx, value)
	if verdict == noVerdict || verdict == silent {
		var err error
		if verdict, err = r.inlineVerdict(ctx, value); err != nil {
			return err
		}
		if verdict != accepted { // may be a test that lags behind the last PUT
			return doubted(EndpointRefusesEntra, "token %s is not saved to Entra: Entra's test with it fails, and %s", tokenID, detail)
		}
	}
	if verdict == rejected {
		return blocked(NewTokenRejected, "token %s is not saved to Entra: AWS does not accept it", tokenID)
	}
	return nil
}

// put is the act. Right before it: a fresh GET of what is to be preserved, and the
// value from the vault, tried once more.
func (r *run) put(ctx context.Context, tokenID, why string) error {
	value, err := r.safe.of(ctx, tokenID)
	if err != nil {
		return err
	}
	if value.IsZero() {
		return blocked(TokenValueLost, "the value of token %s is not in the vault", tokenID)
	}
	if err := r.checkBinding(ctx); err != nil {
		return err
	}
	if err := r.worthSaving(ctx, tokenID, value); err != nil {
		return err
	}
	current, err := r.credentials(ctx)
	if err != nil {
		return err
	}
	payload := r.payload(current, value)
	a, err := r.carryOut(ctx, deed{
		list: puts,
		act:  act{TokenID: tokenID, Why: why},
		intend: func(rec *record) {
			rec.Rotation.Want = ""
			rec.savedAt(r.graphMoment())
		},
		call: func(ctx context.Context) error { return r.connection.Clouds.Provisioning.SaveCredentials(ctx, payload) },
		settle: func(rec *record, outcome model.CallOutcome) {
			if outcome == model.CallDone {
				rec.savedAt(r.graphMoment())
				rec.ForeignChange = time.Time{}
			}
		},
	})
	if err != nil {
		return err
	}
	r.say("saved token %s to Entra (%s): %s", tokenID, why, outcomeText(a))
	if !a.done() {
		return r.wait(ctx, time.Minute<<min(max(r.rotation().failedLast()-1, 0), 3), Settling)
	}
	return nil
}

// failedLast counts the attempts to save since the last one that was answered 2xx.
func (r *rotation) failedLast() int {
	failed := 0
	for _, put := range r.Puts {
		if failed++; put.done() || put.Round != r.Round {
			failed = 0
		}
	}
	return failed
}

func outcomeText(a act) string {
	if a.Error == "" {
		return string(a.Outcome)
	}
	return fmt.Sprintf("%s: %s", a.Outcome, a.Error)
}

// graphMoment is now on Graph's clock, or on ours as long as Graph's is not known.
func (r *run) graphMoment() time.Time {
	if now := r.graph.now(); !now.IsZero() {
		return now
	}
	return time.Now().UTC()
}

// stored waits for proof level one: a PUT that was answered 2xx, then Entra's own test
// of what it has saved good twice. False: the test is bad when its time is over, or the
// PUT was not answered. A test that does not take place says nothing about the PUT, which
// is not made again for it.
func (r *run) stored(ctx context.Context) (bool, error) {
	put, _ := r.rotation().lastPut()
	if !put.done() {
		return false, nil
	}
	var firstGood time.Time
	for {
		verdict, err := r.saved(ctx)
		if err != nil {
			return false, r.untested(put, err)
		}
		switch late := r.passed(put.Answered.Local) >= storedFor; {
		case verdict != model.TestPassed && late:
			return false, r.write(ctx, func(rec *record) { rec.Rotation.Puts[put.Number-1].Bad = true })
		case verdict != model.TestPassed:
			firstGood = time.Time{}
		case firstGood.IsZero():
			firstGood = time.Now()
		case r.passed(firstGood) >= testsApart && r.passed(put.Answered.Local) >= storedAfter:
			return true, r.journalStored(ctx, put)
		}
		if err := r.wait(ctx, testsApart, Settling); err != nil {
			return false, err
		}
	}
}

// untested is what it means that Entra's own test of a save does not take place: if that
// lasts, a person must test it.
func (r *run) untested(put act, err error) error {
	if impasseOf(err) != nil {
		return err
	}
	return doubted(r.notSaved(), "token %s was saved to Entra and could not be tested: %s", put.TokenID, err)
}

func (r *run) journalStored(ctx context.Context, put act) error {
	if _, err := r.job(ctx); err != nil { // Graph's clock
		return err
	}
	at := r.moment()
	return r.write(ctx, func(rec *record) {
		proof := &rec.Rotation.Proof
		proof.Put, proof.Stored = put.Number, at
		proof.raise(model.ProofStored)
		rec.InUse = put.TokenID
	})
}
