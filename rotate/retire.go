package rotate

import (
	"context"
	"errors"
	"time"

	"entra-aws-exporter/internal/model"
)

// retirePhase keeps the old token for a while, then deletes it, if the proof or a
// person allows.
func retirePhase(ctx context.Context, r *run) (model.Phase, error) {
	rot := r.rotation()
	if rot.deletedOld() { // the lists may take their time, what Entra holds may not
		if following, err := r.watchSaved(ctx); following != "" || err != nil {
			return following, err
		}
	}
	gone, list, err := r.isGone(ctx, ids(rot.old())...)
	if err != nil {
		return "", err
	}
	if gone {
		at := r.moment()
		return model.PhaseConfirm, r.write(ctx, func(rec *record) {
			rec.Rotation.Proof.Gone, rec.Rotation.Proof.Settled = at, moment{}
		})
	}
	old := firstListed(rot.old(), list)
	if last, deleted := rot.deletedLast(old.ID); deleted && r.passed(last.Answered.Local) < listLag {
		return model.PhaseRetire, r.wait(ctx, settleOften, Settling)
	}
	if err := r.checkClock(); err != nil { // AWS's log is read by AWS's clock
		return "", err
	}
	job, err := r.job(ctx)
	if err != nil {
		return "", err
	}
	if standing, err := r.standing(ctx, job); standing || err != nil {
		return model.PhaseRetire, err
	}
	if following, err := r.takeCare(ctx, job); following != "" || err != nil {
		return following, err
	}
	found, err := r.attribute(ctx, job)
	if err != nil {
		return "", err
	}
	if found == contradicted {
		return r.renew(ctx, ProofContradicted, "AWS's log shows Entra using another token")
	}
	if left := r.retireAfter() - r.passed(r.rotation().Proof.Used.Local); left > 0 {
		return model.PhaseRetire, r.wait(ctx, min(left, careEvery), RetireWait)
	}
	if found == undecided { // a deletion now could be one that AWS's log would have forbidden
		return model.PhaseRetire, r.wait(ctx, careEvery, RetireWait)
	}
	if !r.approved(old.ID) && (!r.expired(old.Token) || r.connection.Policy.Approval == ApproveAlways) {
		return model.PhaseRetire, r.askFor(ctx, old)
	}
	return r.retire(ctx, job, old)
}

// askFor waits for a person's leave to delete the token.
func (r *run) askFor(ctx context.Context, old planned) error {
	if rot := r.rotation(); rot.Waiting != ApprovalNeeded || rot.Asked != old.ID {
		r.say("%s", r.approvalSentence(old))
		if err := r.write(ctx, func(rec *record) { rec.Rotation.Asked = old.ID }); err != nil {
			return err
		}
	}
	return r.wait(ctx, careEvery, ApprovalNeeded)
}

// retire saves the new token once more, so that it is certainly the one that Entra
// holds, and deletes the old one.
func (r *run) retire(ctx context.Context, job model.Job, old planned) (model.Phase, error) {
	put, _ := r.rotation().lastPut()
	if put.Why != putAgain || !put.done() || r.passed(put.Answered.Local) > storedFresh {
		if put.Why == putAgain && !put.done() && r.savingFails(r.rotation().failedPuts(putAgain)) {
			return "", blocked(refusal(put), "token %s could not be saved once more before the old one goes: %s", r.rotation().newID(), put.Error)
		}
		if err := r.put(ctx, r.rotation().newID(), putAgain); err != nil {
			return "", err
		}
		if put, _ = r.rotation().lastPut(); !put.done() {
			return model.PhaseRetire, nil
		}
	}
	if r.rotation().Proof.Put != put.Number {
		if stored, err := r.stored(ctx); err != nil {
			return "", err
		} else if !stored {
			return model.PhaseSwitch, nil
		}
	}
	if r.cycleRunning(job) {
		return model.PhaseRetire, r.wait(ctx, time.Minute, Settling)
	}
	why := deleteRetire
	if r.expired(old.Token) {
		why = deleteExpired
	}
	leave, err := r.mayDelete(ctx, old.ID, why)
	switch {
	case errors.Is(err, errGone):
		return model.PhaseRetire, nil
	case errors.Is(err, errNotYet):
		return model.PhaseRetire, r.wait(ctx, time.Minute, Settling)
	case err != nil:
		return "", err
	}
	return model.PhaseRetire, r.delete(ctx, leave)
}

// retireAfter is how long the old token stays after the proof.
func (r *run) retireAfter() time.Duration { return max(r.connection.Policy.RetireAfter, retireFloor) }

// approved tells whether the old token may go: by proof, by trust, by a person's word
// for this very token, or because the policy takes the risk.
func (r *run) approved(id string) bool {
	rot := r.rotation()
	if rot.approved(id) {
		return true
	}
	switch r.connection.Policy.Approval {
	case ApproveNever:
		return true
	case ApproveAlways:
		return false
	default:
		return rot.Proof.atLeast(model.ProofAttributed) || rot.Plan.Trusted
	}
}

func firstListed(old []planned, list model.TokenList) planned {
	for _, p := range old {
		if _, listed := find(list.Tokens, p.ID); listed {
			return p
		}
	}
	return planned{}
}

func ids(list []planned) []string {
	names := make([]string, len(list))
	for i, p := range list {
		names[i] = p.ID
	}
	return names
}

func (r *rotation) failedPuts(why string) []act {
	var failed []act
	for _, put := range r.Puts {
		if put.Why == why && !put.done() && put.Round == r.Round {
			failed = append(failed, put)
		}
	}
	return failed
}

func (r *run) approvalSentence(old planned) string {
	return approvalSentence(r.connection.Name, r.rotation(), old.Token)
}

// approvalSentence asks a person for leave to delete.
func approvalSentence(connection string, rot *rotation, old model.Token) string {
	strength := "a provisioning cycle passed, though nothing was provisioned in it"
	if rot.Proof.Strong {
		strength = "users were provisioned with what is saved now"
	}
	return connection + " waits in phase retire for a person's leave to delete token " + dated(old) + "; the new token is " +
		dated(*rot.NewToken) + ", and " + strength + "; next: rotation approve " + connection + " " + old.ID + "."
}
