package certificate

import (
	"context"

	"entra-aws-exporter/internal/model"
)

// verifyPhase waits until users have signed in since the activation. A rise of failures
// makes the old certificate active again.
type verifyPhase struct{ observer }

func (p verifyPhase) run(ctx context.Context) (model.Phase, error) {
	s, err := p.readSides(ctx)
	if err != nil {
		return "", err
	}
	if err := p.checkClock(); err != nil { // the logs are read by AWS's clock
		return "", err
	}
	if repairing, err := health(p).check(ctx, s); repairing || err != nil {
		return model.PhaseVerify, err
	}
	by, counts, err := prover(p).used(ctx)
	if err != nil {
		return "", err
	}
	if by != "" {
		p.LogStep("users sign in with what Entra issues now (%s): used", by)
		at := p.Timestamps()
		return model.PhaseRetire, p.write(ctx, func(r *record) {
			r.Rotation.Proof.Level, r.Rotation.Proof.Used, r.Rotation.Proof.UsedBy = model.ProofUsed, at, by
		})
	}
	switch {
	case p.since(p.rotation().Proof.Stored) < 2*gateTime:
		return model.PhaseVerify, p.Wait(ctx, watchInterval, model.WaitingProofPending)
	case !counts.Available: // nothing but an operator can tell
		return model.PhaseVerify, p.askApproval(ctx)
	default:
		return model.PhaseVerify, p.WaitLong(ctx, quietInterval, model.WaitingProofPending)
	}
}
