package rotate

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"entra-aws-exporter/internal/bridge"
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
	savePuts    = 6                // PUTs that were refused, or got no answer
)

// switchPhase saves the new token to Entra and waits until Entra's own test of what it
// has saved is good.
func switchPhase(ctx context.Context, r *run) (bridge.Phase, error) {
	rot := r.rotation()
	last, tried := rot.lastPut()
	if tried && rot.Want == "" && rot.Proof.Put == last.Number {
		return bridge.PhaseResume, nil
	}
	if !tried || rot.Want != "" || last.Why == putAgain || !last.done() || r.passed(last.Answered.Local) >= storedFor {
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
		return bridge.PhaseSwitch, err
	}
	r.say("Entra's own test of the saved credentials is good: stored")
	return bridge.PhaseResume, nil
}

// maySaveAgain ends the attempts when they do not help: with the old value back in
// place if the vault has it.
func (r *run) maySaveAgain(ctx context.Context) error {
	rot := r.rotation()
	var answered, refused, unanswered int
	var last act
	for _, put := range rot.Puts {
		switch {
		case put.Why == putAgain || put.Why == putBack || put.Round != rot.Round:
		case put.done():
			answered++
		case put.refused():
			refused++
			last = put
		default:
			unanswered++
			last = put
		}
	}
	more := rot.Rescues + rot.Renewed
	if answered < storedPuts+more && refused+unanswered < savePuts+more {
		return nil
	}
	if answered+unanswered == 0 {
		return blocked(refusal(last), "token %s could not be saved to Entra, which keeps what it has: %s", rot.newID(), last.Error)
	}
	back, err := r.putOldBack(ctx)
	if err != nil {
		return err
	}
	reason := SwitchFailed
	if rot.Rescues > 0 || rot.Plan.Dead || rot.deletedOld() {
		reason = EntraHoldsDeadToken
	}
	return surely(reason, "token %s was saved to Entra %d times and Entra's own test of it stays bad; %s",
		rot.newID(), answered+unanswered, back)
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
	case bridge.ReasonPermission, bridge.ReasonLicence:
		return Permission
	case bridge.ReasonAuth:
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
	if failed := rot.failedPuts(putBack); len(failed) >= savePuts {
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
				return "", &bridge.Error{Reason: bridge.ReasonOther, Op: "putting token " + old.ID + " back", Detail: last.Error}
			}
			return "token " + old.ID + " was put back", nil
		}
	}
	return "the old token's value is not known", nil
}

// worthSaving makes sure that no dead token is ever saved. AWS's word is enough; if AWS
// does not talk to us, Entra's.
func (r *run) worthSaving(ctx context.Context, tokenID string, value bridge.Secret) error {
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
		return blocked(VaultValueLost, "the value of token %s is not in the vault", tokenID)
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
		settle: func(rec *record, outcome bridge.Outcome) {
			if outcome == bridge.OutcomeDone {
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
		return r.wait(ctx, time.Minute, Settling)
	}
	return nil
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
// of what it has saved good twice. False: not within its time.
func (r *run) stored(ctx context.Context) (bool, error) {
	put, _ := r.rotation().lastPut()
	if !put.done() {
		return false, nil
	}
	var firstGood time.Time
	for r.passed(put.Answered.Local) < storedFor {
		verdict, err := r.saved(ctx)
		if err != nil {
			return false, err
		}
		switch {
		case verdict != bridge.VerdictGood:
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
	return false, nil
}

func (r *run) journalStored(ctx context.Context, put act) error {
	if _, err := r.job(ctx); err != nil { // Graph's clock
		return err
	}
	at := r.moment()
	return r.write(ctx, func(rec *record) {
		proof := &rec.Rotation.Proof
		proof.Put, proof.Stored = put.Number, at
		proof.raise(bridge.ProofStored)
		rec.InUse = put.TokenID
	})
}
