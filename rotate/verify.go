package rotate

import (
	"context"
	"time"

	"entra-aws-exporter/internal/model"
)

const (
	lookEvery = 5 * time.Minute  // at the job
	careEvery = 15 * time.Minute // at what Entra has saved, and who changed it

	// engineCache is how long Entra's engine may go on using what it read before a PUT;
	// what fails sooner does not speak against the new token.
	engineCache = 65 * time.Minute
)

// verifyPhase waits until Entra has used what is saved. Its clock stops while the job
// stands still, or waits out a quarantine.
func verifyPhase(ctx context.Context, r *run) (model.Phase, error) {
	job, err := r.job(ctx)
	if err != nil {
		return "", err
	}
	if standing, err := r.standing(ctx, job); standing || err != nil {
		return model.PhaseVerify, err
	}
	if r.mayStart(job) {
		return model.PhaseResume, nil
	}
	if following, err := r.takeCare(ctx, job); following != "" || err != nil {
		return following, err
	}
	if r.used(job, r.rotation().Proof.Stored) {
		return model.PhaseRetire, r.journalUsed(ctx, job)
	}
	if job.Quarantine != nil {
		return model.PhaseVerify, r.wait(ctx, lookEvery, QuarantineRetry)
	}
	if ran := r.rotation().Proof.Ran; ran >= r.connection.Policy.VerifyTimeout {
		return "", blocked(ProofTimeout, "for %s no provisioning cycle has shown that token %s is used", ran, r.rotation().newID())
	}
	if err := r.wait(ctx, lookEvery, ProofPending); err != nil {
		return "", err
	}
	return model.PhaseVerify, r.write(ctx, func(rec *record) { rec.Rotation.Proof.Ran += lookEvery })
}

// takeCare looks whether what was saved still holds. It returns the phase that mends
// it, or "" when there is nothing to mend.
func (r *run) takeCare(ctx context.Context, job model.Job) (model.Phase, error) {
	if detail := r.failing(job); detail != "" {
		return r.renew(ctx, SwitchReverted, detail)
	}
	if r.passed(r.cared) < careEvery {
		return "", nil
	}
	if err := r.checkForeignChange(ctx); err != nil {
		return "", err
	}
	if following, err := r.checkSaved(ctx); following != "" || err != nil {
		return following, err
	}
	r.cared = time.Now()
	return "", nil
}

// failing tells whether Entra's engine, with what it must have read since, is refused.
func (r *run) failing(job model.Job) string {
	since := r.rotation().Proof.Stored.Graph.Add(engineCache / r.pace)
	switch cycle, q := job.LastCycle, job.Quarantine; {
	case cycle != nil && cycle.State == model.CycleFailed && cycle.Began.After(since) && cycle.ErrorCode == model.QuarantineCodeBadCredentials:
		return "the provisioning cycle of " + day(cycle.Began) + " was refused by AWS"
	case q != nil && q.CurrentBegan.After(since):
		return "the provisioning job went into quarantine for its credentials on " + day(q.CurrentBegan)
	default:
		return ""
	}
}

// checkForeignChange looks into Entra's audit for a change of the credentials that was
// not ours. Fighting with whoever made it would be worse than asking.
func (r *run) checkForeignChange(ctx context.Context) error {
	app, err := read(ctx, r.connection.Clouds.Provisioning.Application)
	if err != nil {
		if model.ReasonOf(err) == model.ReasonPermission { // the audit is an extra
			return nil
		}
		return err
	}
	changed := r.book.last().foreignChange(app)
	if changed.IsZero() {
		return nil
	}
	if err := r.write(ctx, func(rec *record) { rec.ForeignChange = changed }); err != nil {
		return err
	}
	return blocked(CredentialsOverwritten, "somebody else changed the application's credentials at %s, after token %s was saved", day(changed), r.rotation().newID())
}

// checkSaved asks Entra to test what it has saved. Two failures some minutes apart call
// for the rescue.
func (r *run) checkSaved(ctx context.Context) (model.Phase, error) {
	for try := range 2 {
		if try > 0 {
			if err := r.wait(ctx, badApart, r.rotation().Waiting); err != nil {
				return "", err
			}
		}
		verdict, err := r.saved(ctx)
		if verdict == model.TestPassed || err != nil {
			return "", err
		}
	}
	return r.rescue(ctx)
}

// renew saves the new token once more and begins the proof anew; the second time a
// person must look.
func (r *run) renew(ctx context.Context, reason Blocked, detail string) (model.Phase, error) {
	rot := r.rotation()
	if rot.Renewed > 0 {
		return "", blocked(reason, "%s, although token %s was saved again", detail, rot.newID())
	}
	r.say("%s; saving the new token once more", detail)
	return model.PhaseSwitch, r.write(ctx, func(rec *record) {
		rec.Rotation.Renewed++
		rec.Rotation.Want, rec.Rotation.Proof = putSwitch, proof{}
	})
}
