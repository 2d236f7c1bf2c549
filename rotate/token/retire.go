package token

import (
	"context"
	"errors"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// retirePhase keeps the old token for a while, then deletes it, if the proof or an
// operator allows it.
type retirePhase struct{ observer }

func (p retirePhase) run(ctx context.Context) (model.Phase, error) {
	rot := p.rotation()
	if rot.oldDeletionRequested() { // the lists may take their time, what Entra holds may not
		if next, err := recovery(p).verifySaved(ctx); next != "" || err != nil {
			return next, err
		}
	}
	gone, list, err := p.areGone(ctx, idsOf(rot.oldTokens())...)
	if err != nil {
		return "", err
	}
	if gone {
		at := p.Timestamps()
		return model.PhaseConfirm, p.write(ctx, func(r *record) {
			r.Rotation.Proof.Gone, r.Rotation.Proof.Propagated = at, journal.Timestamps{}
		})
	}
	old := firstListed(rot.oldTokens(), list)
	if last := rot.deletionConfirmed(old.ID); p.Elapsed(last.Answered.Local) < listLag {
		return model.PhaseRetire, p.Wait(ctx, listInterval, model.WaitingSettling)
	}
	if err := p.checkClock(); err != nil { // CloudTrail is read by AWS's clock
		return "", err
	}
	job, err := p.job(ctx)
	if err != nil {
		return "", err
	}
	if stopped, err := jobWatch(p).waitIfStopped(ctx, job); stopped || err != nil {
		return model.PhaseRetire, err
	}
	if next, err := health(p).check(ctx, job); next != "" || err != nil {
		return next, err
	}
	return p.waitOrRetire(ctx, job, old)
}

// waitOrRetire waits for the attribution, the retention time and the approval.
func (p retirePhase) waitOrRetire(ctx context.Context, job model.Job, old PlannedToken) (model.Phase, error) {
	found, err := prover(p).attribute(ctx, job)
	if err != nil {
		return "", err
	}
	if found == policy.Contradicted {
		return health(p).restartProof(ctx, model.BlockedProofContradicted, "CloudTrail shows Entra using another token")
	}
	if left := p.options.Policy.RetentionTime() - p.Elapsed(p.rotation().Proof.Used.Local); left > 0 {
		return model.PhaseRetire, p.WaitLong(ctx, min(left, healthInterval), model.WaitingRetireWait)
	}
	if found == policy.Undecided && !p.savedAgain(job) { // CloudTrail might still forbid a deletion
		return model.PhaseRetire, p.Wait(ctx, healthInterval, model.WaitingRetireWait)
	}
	if !p.approved(old.ID) && (!p.expired(old.Token) || p.options.Policy.Approval == model.ApprovalAlways) {
		return model.PhaseRetire, p.askApproval(ctx, old)
	}
	return p.retire(ctx, job, old)
}

// askApproval waits for an operator's approval of the deletion.
func (p retirePhase) askApproval(ctx context.Context, old PlannedToken) error {
	if rot := p.rotation(); rot.Waiting != model.WaitingApproval || rot.Asked != old.ID {
		p.LogStep("%s", approvalMessage(p.options.Connection, rot, old.Token))
		if err := p.write(ctx, func(r *record) { r.Rotation.Asked = old.ID }); err != nil {
			return err
		}
	}
	return p.WaitLong(ctx, healthInterval, model.WaitingApproval)
}

// retire saves the new token once more, so that Entra certainly holds it, and deletes the
// old one.
func (p retirePhase) retire(ctx context.Context, job model.Job, old PlannedToken) (model.Phase, error) {
	if next, err := p.saveAgain(ctx, job); next != "" || err != nil {
		return next, err
	}
	why := deleteRetire
	if p.expired(old.Token) {
		why = deleteExpired
	}
	switch proof := prover(p); {
	case why == deleteExpired:
	case p.mayUseOlder():
		return model.PhaseRetire, p.Wait(ctx, healthInterval, model.WaitingSettling)
	case !proof.lastSaveUsed(job):
		return model.PhaseRetire, proof.waitForUse(ctx, job)
	}
	if p.cycleRunning(job) {
		return model.PhaseRetire, p.Wait(ctx, time.Minute, model.WaitingSettling)
	}
	g := guard(p)
	permit, err := g.authorize(ctx, old.ID, why)
	switch {
	case errors.Is(err, errTokenGone):
		return model.PhaseRetire, nil
	case errors.Is(err, errConditionPending):
		return model.PhaseRetire, p.Wait(ctx, time.Minute, model.WaitingSettling)
	case err != nil:
		return "", err
	}
	return model.PhaseRetire, g.delete(ctx, permit)
}

// savedAgain tells whether the last save is the one before the deletion, and recent.
func (p retirePhase) savedAgain(job model.Job) bool {
	put, _ := p.rotation().lastPut()
	return put.Why == PutBeforeDelete && put.Done() && !p.putOutdated(put, job)
}

// putOutdated tells whether a save is older than its use takes: two cycles, after the time
// in which Entra may use what it read before.
func (o observer) putOutdated(put journal.Operation, job model.Job) bool {
	cycle := o.interval(job)
	if job.LastCycle != nil {
		cycle = max(cycle, job.LastCycle.Ended.Sub(job.LastCycle.Began))
	}
	return time.Since(put.Answered.Local) > o.Shortened(engineCache+putMargin)+2*cycle
}

// saveAgain makes sure that the new token was saved a short time ago, and found stored. It
// returns the phase to continue in, or "" when all is ready for its use.
func (p retirePhase) saveAgain(ctx context.Context, job model.Job) (model.Phase, error) {
	put, _ := p.rotation().lastPut()
	if !p.savedAgain(job) {
		if p.putsFailing(p.rotation().failedPuts(PutBeforeDelete)) {
			return "", rotate.Blocked(refusalReason(put), "token %s could not be saved once more before the old one is deleted: %s", p.rotation().newID(), put.Error)
		}
		if err := saver(p).put(ctx, p.rotation().newID(), PutBeforeDelete); err != nil {
			return "", err
		}
		if put, _ = p.rotation().lastPut(); !put.Done() {
			return model.PhaseRetire, nil
		}
	}
	if p.rotation().Proof.Put == put.Number {
		return "", nil
	}
	stored, err := saver(p).waitStored(ctx)
	if err == nil && !stored {
		return model.PhaseSwitch, nil
	}
	return "", err
}

func firstListed(old []PlannedToken, list model.TokenList) PlannedToken {
	for _, planned := range old {
		if _, listed := policy.FindToken(list.Tokens, planned.ID); listed {
			return planned
		}
	}
	return PlannedToken{}
}

// approvalMessage asks an operator to approve a deletion.
func approvalMessage(connection string, rot *rotation, old model.Token) string {
	strength := "a provisioning cycle passed, though nothing was provisioned in it"
	if rot.Proof.Strong {
		strength = "users were provisioned with what is saved now"
	}
	return connection + " is waiting for approval to delete token " + formatToken(old) + "; the new token is " +
		formatToken(*rot.NewToken) + ", and " + strength + "; next: rotation approve " + connection + " " + old.ID + "."
}
