package certificate

import (
	"context"
	"errors"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
)

const (
	activeReads     = 5                // in a row that must say the same
	activeGap       = 15 * time.Second // between them
	activationTime  = 30 * time.Minute // until an activation must show
	replicaTime     = 45 * time.Minute // how long a replica of Entra may show what was active before
	maxActivations  = 2
	activationCheck = 30 * time.Second
)

// activatePhase makes Entra sign with the new certificate. From the first attempt on nobody
// can tell which one signs, so AWS trusts both.
type activatePhase struct{ observer }

func (p activatePhase) run(ctx context.Context) (model.Phase, error) {
	rot := p.rotation()
	fresh := rot.New.Certificate
	s, err := p.readSides(ctx)
	if err != nil {
		return "", err
	}
	if s.active() == fresh.Thumbprint {
		return p.verify(ctx, s)
	}
	attempts := rot.sinceReset(OperationActivate, fresh.SHA256)
	if n := len(attempts); n > 0 {
		last := attempts[n-1]
		if s.active() != rot.Plan.Old.Thumbprint && p.since(last.Intent) >= activationTime {
			return "", reverted(s, fresh)
		}
		if !last.Refused() && p.since(last.Intent) < activationTime {
			return model.PhaseActivate, p.Wait(ctx, activationCheck, model.WaitingSettling)
		}
		if last.Refused() || n >= maxActivations {
			return "", p.failed(last.Reason, formatOutcome(last))
		}
	}
	g := guard(p)
	permit, err := g.authorizeActivation(ctx, activateNew)
	switch {
	case errors.Is(err, errConditionPending):
		return model.PhaseActivate, p.Wait(ctx, activationCheck, model.WaitingSettling)
	case err != nil:
		return "", err
	}
	return model.PhaseActivate, g.activate(ctx, permit)
}

// verify goes on once every replica says that the new certificate is active.
func (p activatePhase) verify(ctx context.Context, s sides) (model.Phase, error) {
	fresh := p.rotation().New.Certificate
	if !s.trusts(fresh) {
		return "", rotate.Blocked(model.BlockedForeignCertificate, "AWS does not list the new certificate %s any more, with which Entra signs", fresh)
	}
	active, err := p.isActive(ctx, fresh)
	if !active {
		return model.PhaseActivate, err
	}
	p.LogStep("Entra signs with certificate %s: stored", fresh)
	at := p.Timestamps()
	return model.PhaseVerify, p.write(ctx, func(r *record) {
		r.Rotation.Proof, r.Rotation.Approval = Proof{Level: model.ProofStored, Stored: at}, nil
		r.Pending = nil
	})
}

// isActive tells whether so many readings in a row say that a certificate is active.
func (p activatePhase) isActive(ctx context.Context, c Certificate) (bool, error) {
	for range activeReads - 1 {
		if err := p.Wait(ctx, activeGap, model.WaitingSettling); err != nil {
			return false, err
		}
		s, err := p.readSides(ctx)
		if err != nil || s.active() != c.Thumbprint {
			return false, err
		}
	}
	return true, nil
}

func (p activatePhase) failed(reason model.Reason, detail string) error {
	fresh := p.rotation().New.Certificate
	if reason == model.ReasonPermission {
		return rotate.BlockedNow(model.BlockedPermission, "certificate %s was not made active: %s", fresh, detail)
	}
	return rotate.BlockedNow(model.BlockedActivationFailed, "certificate %s could not be made active: %s; AWS trusts it and the old one", fresh, detail)
}
