package certificate

import (
	"context"
	"errors"
	"fmt"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
)

// maxRepairAttempts is how often a repair's call is made.
const maxRepairAttempts = 3

// repairer restores sign-in: it makes the old certificate active again while AWS trusts it,
// or imports it again after its deletion. The rollover stops afterwards.
type repairer struct{ observer }

// begin journals the repair that fits, if there is one.
func (r repairer) begin(ctx context.Context, s sides, reason model.BlockedReason, detail string) error {
	old := *r.rotation().Plan.Old
	repair := &Repair{Kind: RepairRollback, Reason: reason, Detail: detail, Began: r.Timestamps()}
	switch {
	case s.trusts(old) && !r.expired(old.NotAfter):
	case r.rotation().deletionTried():
		repair.Kind = RepairReimport
	default:
		return rotate.Blocked(reason, "%s, and there is no other certificate that AWS trusts and Entra could sign with", detail)
	}
	r.LogStep("%s: %s", detail, repair.Kind)
	return r.write(ctx, func(known *record) { known.Rotation.Repair = repair })
}

// run carries the repair out, and blocks the rollover.
func (r repairer) run(ctx context.Context) (model.Phase, error) {
	phase := r.rotation().Phase
	run := r.rollBack
	if r.rotation().Repair.Kind == RepairReimport {
		run = r.reimport
	}
	err := run(ctx)
	if errors.Is(err, errConditionPending) {
		err = r.Wait(ctx, listInterval, model.WaitingSettling)
	}
	return phase, err
}

// rollBack makes the old certificate active again.
func (r repairer) rollBack(ctx context.Context) error {
	rot := r.rotation()
	old, repair := *rot.Plan.Old, *rot.Repair
	s, err := r.readSides(ctx)
	if err != nil {
		return err
	}
	attempts := rot.sinceReset(OperationActivate, old.SHA256)
	if s.active() == old.Thumbprint {
		active, err := activatePhase(r).isActive(ctx, old)
		if !active {
			return err
		}
		return r.done("%s, so certificate %s was made active again", repair.Detail, old)
	}
	if n := len(attempts); n > 0 {
		last := attempts[n-1]
		if !last.Refused() && r.since(last.Intent) < activationTime {
			return errConditionPending
		}
		if n >= maxRepairAttempts {
			return rotate.BlockedNow(repair.Reason, "%s, and certificate %s could not be made active again: %s", repair.Detail, old, formatOutcome(last))
		}
	}
	g := guard(r)
	permit, err := g.authorizeActivation(ctx, activateOld)
	if err != nil {
		return r.failed(err)
	}
	return g.activate(ctx, permit)
}

// reimport imports the old certificate again and, if sign-in still fails after that, makes
// it active again.
func (r repairer) reimport(ctx context.Context) error {
	rot := r.rotation()
	old, repair := *rot.Plan.Old, *rot.Repair
	s, err := r.readSides(ctx)
	if err != nil {
		return err
	}
	attempts := rot.sinceReset(OperationImport, old.SHA256)
	if s.trusts(old) {
		return r.afterReimport(ctx, s, repair)
	}
	if n := len(attempts); n > 0 {
		last := attempts[n-1]
		if !last.Refused() && r.since(last.Intent) < listLag {
			return errConditionPending
		}
		if n >= maxRepairAttempts {
			return rotate.BlockedNow(repair.Reason, "%s, and the old certificate %s could not be imported again: %s", repair.Detail, old, formatOutcome(last))
		}
	}
	g := guard(r)
	permit, err := g.authorizeKept(ctx)
	if err != nil {
		return r.failed(err)
	}
	return g.importCertificate(ctx, permit)
}

// afterReimport waits until the logs show whether that was enough.
func (r repairer) afterReimport(ctx context.Context, s sides, repair Repair) error {
	old := *r.rotation().Plan.Old
	if wait := 2*deliveryTime - r.since(repair.Began); wait > 0 && s.active() != old.Thumbprint {
		return r.Wait(ctx, min(wait, watchInterval), model.WaitingSettling)
	}
	counts, baseline, _, err := prover(r).signIns(ctx, r.now().Add(-r.Shortened(deliveryTime)))
	if err != nil {
		return err
	}
	if s.active() == old.Thumbprint || !baseline.Failing(counts) {
		return r.done("%s, so the old certificate %s was imported again", repair.Detail, old)
	}
	r.LogStep("sign-ins still fail: making the old certificate active again")
	return r.write(ctx, func(known *record) { known.Rotation.Repair.Kind = RepairRollback })
}

// done blocks the rollover after its repair, by what was read last.
func (r repairer) done(format string, args ...any) error {
	rot, s := r.rotation(), *r.last
	signer, known := s.signer(r.now())
	switch {
	case known && !s.trusts(signer):
		return signerNotTrusted(signer)
	case s.trusts(rot.New.Certificate):
		format += "; AWS trusts both"
	default:
		format += "; AWS does not trust the new one"
	}
	return rotate.BlockedNow(rot.Repair.Reason, format, args...)
}

// failed names both facts when a repair is not possible.
func (r repairer) failed(err error) error {
	var blocked *rotate.BlockedError
	if !errors.As(err, &blocked) {
		return err
	}
	repair := r.rotation().Repair
	return &rotate.BlockedError{
		Reason: repair.Reason, Detail: fmt.Sprintf("%s; %s", repair.Detail, blocked.Detail), Command: blocked.Command, Persistence: blocked.Persistence,
	}
}

// beforeBlock repairs sign-in before a rollover stops, if what it made active is not trusted.
// If that is impossible, the block is about nothing less.
func (r repairer) beforeBlock(ctx context.Context, found *rotate.BlockedError) (model.Phase, error) {
	rot := r.rotation()
	if rot.Repair != nil || !rot.activationTried() {
		return "", nil
	}
	s, err := r.stableSides(ctx)
	if err != nil {
		return "", err
	}
	signer, known := s.signer(r.now())
	if !known || s.trusts(signer) {
		return "", nil
	}
	if signer.SHA256 != rot.newName() && signer.SHA256 != rot.Plan.Old.SHA256 {
		return "", signerNotTrusted(signer)
	}
	if err := r.begin(ctx, s, found.Reason, found.Detail); err != nil {
		return "", signerNotTrusted(signer)
	}
	return rot.Phase, nil
}
