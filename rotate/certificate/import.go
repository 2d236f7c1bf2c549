package certificate

import (
	"context"
	"errors"
	"fmt"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
)

// importPhase makes AWS trust the new certificate, exactly by its bytes.
type importPhase struct{ observer }

func (p importPhase) run(ctx context.Context) (model.Phase, error) {
	rot := p.rotation()
	s, err := p.readSides(ctx)
	if err != nil {
		return "", err
	}
	if s.trusts(rot.New.Certificate) {
		return p.imported(ctx)
	}
	attempts := rot.sinceReset(OperationImport, rot.newName())
	if n := len(attempts); n > 0 {
		switch last := attempts[n-1]; {
		case last.RefusedForGood():
			return "", p.refused(last.Reason, last.Error)
		case p.since(last.Intent) < listLag:
			return model.PhaseImport, p.Wait(ctx, listInterval, model.WaitingSettling)
		case n >= maxRepairAttempts:
			return "", p.refused(model.ReasonOther, fmt.Sprintf("it does not list it after %d attempts, the last one %s", n, formatOutcome(last)))
		}
	}
	g := guard(p)
	permit, err := g.authorizeImport(ctx)
	switch {
	case errors.Is(err, errConditionPending):
		return model.PhaseImport, p.Wait(ctx, listInterval, model.WaitingSettling)
	case err != nil:
		return "", err
	}
	return model.PhaseImport, g.importCertificate(ctx, permit)
}

// refused says that AWS does not take the certificate. Nothing has changed for anybody.
func (p importPhase) refused(reason model.Reason, detail string) error {
	fresh, left := p.rotation().New.Certificate, "it stays in Entra, inactive"
	if p.rotation().Plan.ImportOnly {
		left = "Entra signs with it, so nobody can sign in"
	}
	if reason == model.ReasonPermission {
		return rotate.BlockedNow(model.BlockedPermission, "certificate %s was not imported: %s; %s", fresh, detail, left)
	}
	return rotate.BlockedNow(model.BlockedImportRefused, "AWS did not take certificate %s: %s; %s", fresh, detail, left)
}

// imported demands two lists with exactly this certificate.
func (p importPhase) imported(ctx context.Context) (model.Phase, error) {
	s, err := p.stableSides(ctx)
	if err != nil || !s.trusts(p.rotation().New.Certificate) {
		return model.PhaseImport, err
	}
	if p.rotation().Plan.ImportOnly {
		p.LogStep("AWS trusts certificate %s, with which Entra signs", p.rotation().New.Certificate)
		return p.Finish(ctx, model.OutcomeDone, "", func(r *journal.Record) {
			recordOf(r).know(*recordOf(r).Rotation.newCertificate())
			r.Procedures[model.ProcedureCertificate].Attempts = 0
		})
	}
	if !p.rotation().New.Imported.Local.IsZero() {
		return model.PhaseSettle, nil
	}
	at := p.Timestamps()
	return model.PhaseSettle, p.write(ctx, func(r *record) { r.Rotation.New.Imported = at })
}
