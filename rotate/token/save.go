package token

import (
	"context"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
)

// Why a token is saved to Entra.
const (
	PutInitial      = "switch"        // the first time, and after one that did not help
	PutBeforeDelete = "before_delete" // right before the old token is deleted: whatever happened meanwhile, now it is saved
	PutRecovery     = "recovery"      // Entra's token stopped working
	PutRollback     = "rollback"      // the old token again, because the new one cannot be saved
)

const (
	minStoredDelay = 2 * time.Minute  // after a save, for the last of its two tests
	maxStoredDelay = 15 * time.Minute // how long a save may take to be found stored
	maxFailedPuts  = 6                // saves in a row that failed, over rotate.LastingTime
)

// saver saves tokens to Entra.
type saver struct{ observer }

// put saves a token. Right before it, the credentials to be preserved are read again, and
// the stored value is probed once more.
func (s saver) put(ctx context.Context, tokenID, why string) error {
	value, err := s.tokens.find(ctx, tokenID)
	if err != nil {
		return err
	}
	if value.IsZero() {
		return rotate.Blocked(model.BlockedTokenValueLost, "the token store does not have the value of token %s", tokenID)
	}
	if err := s.checkBinding(ctx); err != nil {
		return err
	}
	if err := s.checkAccepted(ctx, tokenID, value); err != nil {
		return err
	}
	current, err := s.credentials(ctx)
	if err != nil {
		return err
	}
	if _, err := s.job(ctx); err != nil { // for Graph's clock now: the audit log tells our save by its time
		return err
	}
	payload := s.payload(current, value)
	written, err := s.execute(ctx, operation{
		kind: OperationPut, target: tokenID, why: why,
		journalIntent: func(r *record) {
			r.Rotation.PendingPut = ""
			r.addOwnSave(s.graphNow())
		},
		call: func(ctx context.Context) error { return s.options.Provisioning.SaveCredentials(ctx, payload) },
		journalOutcome: func(r *record, written journal.Operation) {
			if written.Done() {
				r.addOwnSave(s.graphNow())
				r.ThirdPartyChange = time.Time{}
			}
		},
	})
	if err != nil {
		return err
	}
	s.LogStep("saved token %s to Entra (%s): %s", tokenID, why, formatOutcome(written))
	if !written.Done() {
		return s.Wait(ctx, time.Minute<<min(max(s.rotation().putsFailedInARow()-1, 0), 3), model.WaitingSettling)
	}
	return nil
}

// rollBackTo saves another token than the new one.
func (s saver) rollBackTo(ctx context.Context, tokenID string) error {
	if err := s.put(ctx, tokenID, PutRollback); err != nil {
		return err
	}
	if last, _ := s.rotation().lastPut(); !last.Done() {
		return &model.Error{Reason: model.ReasonOther, Op: "saving token " + tokenID + " again", Detail: last.Error}
	}
	return nil
}

// checkAccepted makes sure that no dead token is ever saved. AWS's answer is enough; if AWS
// gives none, Entra's test.
func (s saver) checkAccepted(ctx context.Context, tokenID string, value model.Secret) error {
	result, detail := s.probe(ctx, value)
	if result == inconclusive || result == unreachable {
		var err error
		if result, err = s.testValue(ctx, value); err != nil {
			return err
		}
		if result != accepted { // the test may lag behind the last save
			tested := "Entra's test with it fails"
			if result == inconclusive {
				tested = "Entra's inline test is no evidence"
			}
			return rotate.BlockedIfLasting(model.BlockedEndpointRefusesEntra, "token %s is not saved to Entra: %s, and %s", tokenID, tested, detail)
		}
	}
	if result == unauthorized {
		return rotate.Blocked(model.BlockedNewTokenRejected, "token %s is not saved to Entra: AWS does not accept it", tokenID)
	}
	return nil
}

// payload is what is saved: every clear key as it was just read, the token replaced, no
// key added, no mask sent back.
func (s saver) payload(current []model.Credential, value model.Secret) []model.Credential {
	var sent []model.Credential
	replaced := false
	for _, c := range current {
		switch {
		case c.Key == model.CredentialKeySecretToken:
			c.Value, replaced = value, true
		case c.Masked():
			c.Value = model.NewSecret(s.tenantURL())
		}
		sent = append(sent, c)
	}
	if !replaced {
		sent = append(sent, model.Credential{Key: model.CredentialKeySecretToken, Value: value})
	}
	return sent
}

// waitStored waits for the proof level stored: a save that was answered 2xx, then Entra's
// test of the saved credentials passed twice. False: the test still fails when its time is
// over, or the save was not answered. A test that does not take place says nothing about
// the save, which is not repeated for it. Shortly after a save, that is to be expected.
func (s saver) waitStored(ctx context.Context) (bool, error) {
	put, _ := s.rotation().lastPut()
	if !put.Done() {
		return false, nil
	}
	passed := false // the last time
	for {
		result, err := s.testSaved(ctx)
		switch late := s.Elapsed(put.Answered.Local) >= maxStoredDelay; {
		case err != nil && late: // if that lasts, an operator must test it
			if model.ReasonOf(err) == model.ReasonNotFound { // a reset does not help a replaced job
				if err := s.checkBinding(ctx); err != nil {
					return false, err
				}
			}
			return false, rotate.BlockedIfLasting(s.notStoredReason(), "token %s was saved to Entra and could not be tested: %s", put.Target, err)
		case result != model.TestPassed && late:
			if err := s.checkEndpoint(ctx, put.Target, s.rotation().Plan.ControlFailed); err != nil {
				return false, err
			}
			return false, s.write(ctx, func(r *record) { r.Rotation.FailedPut = put.Number })
		case result != model.TestPassed:
			passed = false
		case !passed:
			passed = true
		case s.Elapsed(put.Answered.Local) >= minStoredDelay:
			return true, s.journalStored(ctx, put)
		}
		if err := s.Wait(ctx, testGap, model.WaitingSettling); err != nil {
			return false, err
		}
	}
}

func (s saver) journalStored(ctx context.Context, put journal.Operation) error {
	if _, err := s.job(ctx); err != nil { // for Graph's clock
		return err
	}
	if !s.AWS.Known { // after a restart; CloudTrail is read from this moment on, by AWS's clock
		if _, err := s.listTokens(ctx); err != nil {
			return err
		}
	}
	at := s.Timestamps()
	return s.write(ctx, func(r *record) {
		proof := &r.Rotation.Proof
		proof.Put, proof.Stored = put.Number, at
		proof.raise(model.ProofStored)
		r.InUse = put.Target
	})
}

// putsFailing tells whether attempts to save have failed often, and for long, enough to stop.
func (o observer) putsFailing(failed []journal.Operation) bool {
	if len(failed) < maxFailedPuts {
		return false
	}
	first, last := failed[0], failed[len(failed)-1]
	return last.Intent.Local.Sub(first.Intent.Local) >= o.Shortened(rotate.LastingTime)
}

// notStoredReason is what it means that the new token cannot be made to work in Entra.
func (o observer) notStoredReason() model.BlockedReason {
	if rot := o.rotation(); rot.Recoveries > 0 || rot.Plan.SavedTestFailed || rot.oldDeletionRequested() {
		return model.BlockedEntraHoldsDeadToken
	}
	return model.BlockedSwitchFailed
}

// refusalReason tells why saving was refused every time. The size limit has no documented
// code; what is known of it is in docs/rotation-reasons.md.
func refusalReason(put journal.Operation) model.BlockedReason {
	switch put.Reason {
	case model.ReasonPermission, model.ReasonLicence:
		return model.BlockedPermission
	case model.ReasonAuth:
		return model.BlockedOwnCredentialExpiring
	default:
		if strings.Contains(strings.ToLower(put.Error), "limit") {
			return model.BlockedStorageLimit
		}
		return model.BlockedSwitchFailed
	}
}
