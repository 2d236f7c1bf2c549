package certificate

import (
	"context"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
)

// confirmPhase watches that users sign in although AWS does not trust the old certificate
// any more: the only proof that leaves no doubt, and the moment in which a mistake shows.
type confirmPhase struct{ observer }

func (p confirmPhase) run(ctx context.Context) (model.Phase, error) {
	rot := p.rotation()
	s, err := p.readSides(ctx)
	if err != nil {
		return "", err
	}
	if err := p.checkClock(); err != nil {
		return "", err
	}
	if s.trusts(*rot.Plan.Old) {
		if s, err = p.stableSides(ctx); err != nil {
			return "", err
		}
		if s.trusts(*rot.Plan.Old) {
			return "", rotate.Blocked(model.BlockedForeignCertificate, "somebody made AWS trust the old certificate %s again", rot.Plan.Old)
		}
	}
	if repairing, err := health(p).check(ctx, s); repairing || err != nil {
		return model.PhaseConfirm, err
	}
	by, counts, err := prover(p).exclusive(ctx)
	switch {
	case err != nil:
		return "", err
	case by != "":
		return p.finish(ctx, by)
	case p.since(rot.Proof.Gone) < 2*gateTime:
		return model.PhaseConfirm, p.Wait(ctx, watchInterval, model.WaitingProofPending)
	case !counts.Available: // nothing but an operator can tell
		return model.PhaseConfirm, p.askApproval(ctx)
	default:
		return model.PhaseConfirm, p.WaitLong(ctx, quietInterval, model.WaitingProofPending)
	}
}

// finish ends the rollover with its proof. Trust in the next one needs AWS's own log.
func (p confirmPhase) finish(ctx context.Context, by string) (model.Phase, error) {
	p.LogStep("users sign in without the old certificate (%s): exclusive", by)
	at := p.Timestamps()
	return p.Finish(ctx, model.OutcomeDone, "", func(journalled *journal.Record) {
		r := recordOf(journalled)
		r.Rotation.Proof.Exclusive, r.Rotation.Proof.Level = at, model.ProofExclusive
		if by == byCloudTrail {
			r.Trust = at.Local
		}
		procedure := r.Procedures[model.ProcedureCertificate]
		procedure.Attempts, procedure.LastSuccess = 0, at.Local
	})
}
