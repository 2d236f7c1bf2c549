package token

import (
	"cmp"
	"context"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
)

// maxStoredPuts is how many saves may be answered 2xx and not be found stored.
const maxStoredPuts = 3

// switchPhase saves the new token to Entra and waits until Entra's test of the saved
// credentials passes.
type switchPhase struct{ observer }

func (p switchPhase) run(ctx context.Context) (model.Phase, error) {
	rot := p.rotation()
	last, tried := rot.lastPut()
	if tried && rot.PendingPut == "" && rot.Proof.Put == last.Number {
		return model.PhaseResume, nil
	}
	if rot.PendingPut != "" || last.Why == PutBeforeDelete || !last.Done() || rot.FailedPut == last.Number {
		if err := p.checkAttempts(ctx); err != nil {
			return "", err
		}
		if err := saver(p).put(ctx, rot.newID(), cmp.Or(rot.PendingPut, PutInitial)); err != nil {
			return "", err
		}
	}
	stored, err := saver(p).waitStored(ctx)
	if !stored || err != nil {
		return model.PhaseSwitch, err
	}
	p.LogStep("Entra's test of the saved credentials passes: stored")
	return model.PhaseResume, nil
}

// checkAttempts stops saving when it does not help: the old token is then saved again, if
// its value is stored.
func (p switchPhase) checkAttempts(ctx context.Context) error {
	rot := p.rotation()
	var answered, unanswered int
	var failed []journal.Operation // since the last 2xx
	for _, put := range rot.Operations[OperationPut] {
		switch {
		case put.Why == PutBeforeDelete || put.Why == PutRollback || put.ResetCount != rot.ResetCount:
		case put.Done():
			answered++
			failed = nil
		default:
			failed = append(failed, put)
			if put.Pending() {
				unanswered++
			}
		}
	}
	notStored := answered >= maxStoredPuts+rot.Recoveries+rot.ProofRestarts
	if !notStored && !p.putsFailing(failed) {
		return nil
	}
	token := "token " + rot.newID()
	if answered+unanswered == 0 {
		last := failed[len(failed)-1]
		return rotate.Blocked(refusalReason(last), "%s could not be saved to Entra, which keeps what it has: %s", token, last.Error)
	}
	rolledBack, err := p.rollBack(ctx)
	if err != nil {
		return err
	}
	if notStored {
		return rotate.BlockedNow(p.notStoredReason(), "%s was saved to Entra %d times and Entra's test of it still fails; %s", token, answered, rolledBack)
	}
	return rotate.BlockedNow(p.notStoredReason(), "%s was sent to Entra %d times and no save was confirmed, the last answer was: %s; %s",
		token, len(failed), failed[len(failed)-1].Error, rolledBack)
}

// rollBack saves an old token again whose value is stored and accepted by AWS. It returns
// what came of it.
func (p switchPhase) rollBack(ctx context.Context) (string, error) {
	rot := p.rotation()
	if failed := rot.failedPuts(PutRollback); p.putsFailing(failed) {
		return "saving the old token again failed: " + failed[len(failed)-1].Error, nil
	}
	for _, old := range rot.oldTokens() {
		value, err := p.tokens.find(ctx, old.ID)
		if err != nil {
			return "", err
		}
		if value.IsZero() {
			continue
		}
		if result, _ := p.probe(ctx, value); result == accepted {
			return "token " + old.ID + " was saved again", saver(p).rollBackTo(ctx, old.ID)
		}
	}
	return "the old token's value is unknown", nil
}
