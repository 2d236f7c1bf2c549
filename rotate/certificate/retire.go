package certificate

import (
	"context"
	"errors"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
)

// retireInterval is the time between two looks while the old certificate stays at AWS.
const retireInterval = time.Hour

// retirePhase keeps the old certificate at AWS for a while, then deletes it there, if trust
// or an operator allows it.
type retirePhase struct{ observer }

func (p retirePhase) run(ctx context.Context) (model.Phase, error) {
	rot := p.rotation()
	s, err := p.readSides(ctx)
	if err != nil {
		return "", err
	}
	if err := p.checkClock(); err != nil {
		return "", err
	}
	if !s.trusts(*rot.Plan.Old) {
		return p.gone(ctx)
	}
	if repairing, err := health(p).check(ctx, s); repairing || err != nil {
		return model.PhaseRetire, err
	}
	if left := p.options.Policy.RetireAfter - p.since(rot.Proof.Used); left > 0 {
		return model.PhaseRetire, p.WaitLong(ctx, min(left, retireInterval), model.WaitingRetireWait)
	}
	if !guard(p).approved() {
		return model.PhaseRetire, p.askApproval(ctx)
	}
	return model.PhaseRetire, p.retire(ctx)
}

// gone moves on once two lists are without the old certificate.
func (p retirePhase) gone(ctx context.Context) (model.Phase, error) {
	s, err := p.stableSides(ctx)
	if err != nil || s.trusts(*p.rotation().Plan.Old) {
		return model.PhaseRetire, err
	}
	at := p.Timestamps()
	return model.PhaseConfirm, p.write(ctx, func(r *record) { r.Rotation.Proof.Gone, r.Rotation.Approval = at, nil })
}

// retire deletes the old certificate at AWS, each of its entries by id.
func (p retirePhase) retire(ctx context.Context) error {
	g := guard(p)
	permit, err := g.authorizeDeletion(ctx)
	switch {
	case errors.Is(err, errConditionPending):
		return p.Wait(ctx, time.Minute, model.WaitingSettling)
	case err != nil:
		return err
	}
	attempts := p.rotation().sinceReset(OperationDelete, permit.id)
	if n := len(attempts); n > 0 {
		last := attempts[n-1]
		if !last.Refused() && p.since(last.Intent) < listLag {
			return p.Wait(ctx, listInterval, model.WaitingSettling)
		}
		if n >= maxRepairAttempts {
			return p.refused(permit, last)
		}
	}
	return g.delete(ctx, permit)
}

func (p retirePhase) refused(permit operationPermit, last journal.Operation) error {
	reason := model.BlockedDeleteRefused
	if last.Reason == model.ReasonPermission {
		reason = model.BlockedPermission
	}
	return rotate.Blocked(reason, "the old certificate %s was not deleted at AWS: %s", permit.certificate, formatOutcome(last))
}
