package certificate

import (
	"context"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
)

// settleTime is how long AWS's regions and Entra's replicas get to learn of the import.
const settleTime = 15 * time.Minute

// settlePhase waits before anything depends on the new certificate, and reads both sides
// again.
type settlePhase struct{ observer }

func (p settlePhase) run(ctx context.Context) (model.Phase, error) {
	if _, err := p.readSides(ctx); err != nil { // for AWS's clock
		return "", err
	}
	if left := settleTime - p.since(p.rotation().New.Imported); left > 0 {
		return model.PhaseSettle, p.Wait(ctx, left, model.WaitingSettling)
	}
	s, err := p.stableSides(ctx)
	if err != nil {
		return "", err
	}
	if err := p.checkBinding(ctx, s); err != nil {
		return "", err
	}
	return model.PhaseActivate, p.compare(s)
}

// compare finds any difference from the plan. That Entra signs with the new certificate
// already is none.
func (p settlePhase) compare(s sides) error {
	rot := p.rotation()
	fresh, old := rot.New.Certificate, *rot.Plan.Old
	switch active := s.active(); {
	case !s.trusts(fresh):
		return rotate.Blocked(model.BlockedForeignCertificate, "AWS does not list the new certificate %s any more", fresh)
	case active == fresh.Thumbprint:
		return nil
	case active != old.Thumbprint:
		return reverted(s, old)
	case !s.trusts(old):
		return rotate.Blocked(model.BlockedActiveNotTrusted, "AWS does not trust the active certificate %s any more, so nobody can sign in", old)
	}
	for _, c := range s.signing.Certificates {
		_, known := p.record().Known[name(c)]
		if !known && c.NotAfter.After(old.NotAfter) && !slices.Contains(rot.Plan.Signing, c.Thumbprint) {
			return rotate.Blocked(model.BlockedForeignCertificate, "since the plan somebody else made certificate %s in Entra", describe(name(c), c.Subject, c.NotBefore, c.NotAfter))
		}
	}
	for _, t := range s.trust.Certificates {
		if fingerprint := Fingerprint(t.DER); fingerprint != fresh.SHA256 && !slices.Contains(rot.Plan.Trusted, fingerprint) {
			return rotate.Blocked(model.BlockedForeignCertificate, "since the plan somebody else made AWS trust certificate %s", describe(fingerprint, t.Subject, t.NotBefore, t.NotAfter))
		}
	}
	return nil
}
