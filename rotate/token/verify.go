package token

import (
	"context"

	"entra-aws-exporter/internal/model"
)

// verifyPhase waits until Entra has used what is saved. Its clock stops while the job is
// stopped, or waits out a quarantine.
type verifyPhase struct{ observer }

func (p verifyPhase) run(ctx context.Context) (model.Phase, error) {
	watch, proof := jobWatch(p), prover(p)
	job, err := p.job(ctx)
	if err != nil {
		return "", err
	}
	if stopped, err := watch.waitIfStopped(ctx, job); stopped || err != nil {
		return model.PhaseVerify, err
	}
	if watch.mayStart(job) {
		return model.PhaseResume, nil
	}
	if next, err := health(p).check(ctx, job); next != "" || err != nil {
		return next, err
	}
	if proof.used(job, p.rotation().Proof.Stored) {
		return model.PhaseRetire, proof.journalUsed(ctx, job)
	}
	return model.PhaseVerify, proof.waitForUse(ctx, job)
}
