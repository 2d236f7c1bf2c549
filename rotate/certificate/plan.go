package certificate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/policy"
)

// planPhase reads both sides twice, changes nothing but an occupied place at AWS, and
// decides whether there is a rollover at all.
type planPhase struct{ observer }

// findings are what the plan rests on.
type findings struct {
	sides    sides
	old      Certificate     // the active one
	existing *NewCertificate // what need not be created; nil: nothing
	due      string          // why; "": it is not
	repair   bool            // the named certificate signs already, and AWS does not trust it
	full     bool            // AWS has no room for one more
}

func (p planPhase) run(ctx context.Context) (model.Phase, error) {
	found, err := p.preflight(ctx)
	var refused *refusedError
	switch {
	case errors.As(err, &refused):
		return p.Finish(ctx, model.OutcomeAborted, refused.Error(), nil)
	case err != nil:
		return "", err
	case found.due == "":
		p.LogStep("not due; use --force to roll over anyway")
		return p.Finish(ctx, model.OutcomeAborted, rotate.ReasonNotDue, nil)
	}
	if found.full {
		return model.PhasePlan, p.makeRoom(ctx)
	}
	if err := p.journalPlan(ctx, found); err != nil {
		return "", err
	}
	if found.existing != nil {
		return model.PhaseImport, nil
	}
	return model.PhaseCreate, nil
}

// refusedError says why a named certificate is not taken. Nothing was changed.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return e.text }

func refuse(format string, args ...any) error { return &refusedError{fmt.Sprintf(format, args...)} }

// preflight reads everything that a rollover depends on, and says what forbids one. It
// changes nothing at AWS or in Entra.
func (p planPhase) preflight(ctx context.Context) (*findings, error) {
	s, err := p.stableSides(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.checkClock(); err != nil {
		return nil, err
	}
	if err := p.checkBinding(ctx, s); err != nil {
		return nil, err
	}
	found := &findings{sides: s}
	if err := p.findNamed(found); err != nil {
		return nil, err
	}
	if found.repair {
		found.due = "an operator named the certificate that Entra signs with"
		found.full, err = p.isFull(found)
		return found, err
	}
	if err := p.checkActive(found); err != nil {
		return nil, err
	}
	if found.due == "" {
		return found, nil
	}
	if err := p.findExisting(found); err != nil {
		return nil, err
	}
	if found.existing == nil || !p.rotation().Forced { // to import what an operator named takes no risk
		if err := p.checkLife(found.old); err != nil {
			return nil, err
		}
	}
	if found.existing == nil {
		if err := p.checkCreate(); err != nil {
			return nil, err
		}
	}
	found.full, err = p.isFull(found)
	return found, err
}

// findNamed finds the certificate that an operator named for import, if there is one.
func (p planPhase) findNamed(found *findings) error {
	named := p.rotation().Named
	if named == "" {
		return nil
	}
	c, err := checkNamed(named, found.sides.signing, trustedCertificates(found.sides), p.now())
	if err != nil {
		return err
	}
	found.existing = &NewCertificate{Certificate: c, Origin: OriginNamed}
	signer, _ := found.sides.signer(p.now())
	signs := signer.SHA256 == named
	trusted := found.sides.trusts(c)
	switch {
	case signs && trusted:
		return refuse("AWS trusts certificate %s already, with which Entra signs, so there is nothing to do", c)
	case signs:
		found.repair, found.old = true, c
		p.LogStep("Entra signs with certificate %s; AWS does not trust it", c)
	default:
		p.LogStep("an operator named certificate %s, which Entra has and does not sign with", c)
	}
	return nil
}

// checkNamed finds a certificate by its fingerprint, and refuses one that cannot do.
func checkNamed(fingerprint string, signing model.SigningCertificates, trusted []model.Certificate, now time.Time) (Certificate, error) {
	c, found := find(signing.Certificates, fingerprint)
	if !found {
		if keyless, listed := find(signing.Keyless, fingerprint); listed {
			return c, refuse("Entra has certificate %s without its private key, so it cannot sign with it", keyless)
		}
		if only, listed := find(trusted, fingerprint); listed {
			return c, refuse("AWS trusts certificate %s already, and Entra does not have it", only)
		}
		return c, refuse("neither Entra nor AWS shows a certificate with the fingerprint %s", fingerprint)
	}
	switch weak := weakness(c.DER); {
	case weak != "":
		return c, refuse("certificate %s is not imported: %s", c, weak)
	case !now.Before(c.NotAfter):
		return c, refuse("certificate %s has expired", c)
	case now.Before(c.NotBefore):
		return c, refuse("certificate %s is not valid yet", c)
	}
	return c, nil
}

// checkActive demands an active certificate that AWS trusts, and tells whether it is due.
func (p planPhase) checkActive(found *findings) error {
	s, now := found.sides, p.now()
	active, listed := s.signing.Active()
	if !listed {
		return rotate.Blocked(model.BlockedActiveUnknown, "%s", unknownActive(s))
	}
	old, known := certificateOf(active)
	if !known {
		return rotate.Blocked(model.BlockedActiveUnknown, "Entra does not show the bytes of its active certificate %s, so it cannot be compared with AWS's", active.Thumbprint)
	}
	if _, err := checkSigner(s, now); err != nil {
		return err
	}
	found.old = old
	if due := p.options.Policy.DueAt(active); !due.After(now) {
		found.due = fmt.Sprintf("certificate %s, due since %s", old, rotate.FormatTime(due))
	} else if p.rotation().Forced {
		found.due = "an operator forced it"
	}
	return nil
}

// checkLife demands that the active certificate lives long enough for a rollover that
// creates another one: when it expires, Entra may sign with what was created.
func (p planPhase) checkLife(active Certificate) error {
	needed, within := policy.MinActiveLife, "14 days"
	if p.rotation().Forced {
		needed, within = policy.MinForcedLife, "a day"
	}
	if active.NotAfter.Sub(p.now()) >= needed {
		return nil
	}
	return rotate.Blocked(model.BlockedActiveExpiring, "the active certificate %s expires within %s; when it does, Entra signs with any other valid certificate that it has, trusted by AWS or not", active, within)
}

// findExisting finds a certificate that need not be created: the named one, or one that an
// earlier rollover created and never made active. Anybody else's that waits for its
// activation stops the rollover.
func (p planPhase) findExisting(found *findings) error {
	if found.existing != nil {
		return nil
	}
	known := p.record()
	for _, c := range found.sides.signing.Certificates {
		_, seen := known.Known[name(c)]
		if !seen && c.NotAfter.After(found.old.NotAfter) {
			return rotate.Blocked(model.BlockedForeignCertificate, "somebody else made certificate %s, which waits in Entra to be made active", describe(name(c), c.Subject, c.NotBefore, c.NotAfter))
		}
	}
	if known.Pending == nil {
		return nil
	}
	if c, _ := found.sides.signs(known.Pending.SHA256); c.NotAfter.After(found.old.NotAfter) { // never, if it is not listed
		p.LogStep("certificate %s was created by an earlier rollover and never made active", c)
		found.existing = &NewCertificate{Certificate: *known.Pending, Origin: OriginCreated}
	}
	return nil
}

// checkCreate refuses a creation that the cloud or the rate limit forbids.
func (p planPhase) checkCreate() error {
	if refused := p.rotation().Refused; refused.Reason != "" {
		return rotate.Blocked(refused.Reason, "%s", refused.Detail)
	}
	if exceeded := policy.CertificatesExceeded(p.record().Created, p.now()); exceeded != "" {
		return rotate.Blocked(model.BlockedBudgetExhausted, "%s", exceeded)
	}
	return nil
}

// isFull tells whether AWS has no room, and an operator named what may make some. Without
// that name it blocks.
func (p planPhase) isFull(found *findings) (bool, error) {
	if found.existing != nil && found.sides.trusts(found.existing.Certificate) {
		return false, nil
	}
	slots := p.options.Policy.Slots
	if len(found.sides.trust.Certificates) < slots {
		return false, nil
	}
	if p.rotation().Unused != "" {
		return true, nil
	}
	full := &rotate.BlockedError{
		Reason: model.BlockedCertificatesFull,
		Detail: fmt.Sprintf("AWS trusts %d certificates and takes no more than %d (saml.rollover.aws_slots)", len(found.sides.trust.Certificates), slots),
	}
	if named := p.rotation().Named; named != "" { // a reset would forget the name
		full.Command = "remove a certificate at AWS that Entra does not sign with, then rotation start CONNECTION --certificate " + named
	}
	return false, full
}

// makeRoom deletes the expired certificate at AWS that an operator named.
func (p planPhase) makeRoom(ctx context.Context) error {
	g := guard(p)
	permit, err := g.authorizeUnused(ctx)
	if errors.Is(err, errConditionPending) {
		return p.Wait(ctx, listInterval, model.WaitingSettling)
	}
	if err != nil {
		return err
	}
	if refused := p.rotation().sinceReset(OperationDelete, permit.id); len(refused) >= maxRepairAttempts {
		return rotate.Blocked(model.BlockedDeleteRefused, "AWS did not delete certificate %s: %s", permit.certificate, formatOutcome(refused[len(refused)-1]))
	}
	if err := g.delete(ctx, permit); err != nil {
		return err
	}
	return p.Wait(ctx, listInterval, model.WaitingSettling)
}

// journalPlan writes down both sides, and how users signed in so far.
func (p planPhase) journalPlan(ctx context.Context, found *findings) error {
	accepted, issued, err := prover(p).baseline(ctx)
	if err != nil {
		return err
	}
	p.LogStep("%s", found.sides.inventory())
	p.LogStep("sign-ins in 7 days: %s", formatBaseline(accepted, issued))
	p.LogStep("due: %s", found.due)
	plan := Plan{
		Old: &found.old, Signing: thumbprints(found.sides.signing), TrustedBy: !p.record().Trust.IsZero(),
		DueReason: found.due, ImportOnly: found.repair, Accepted: accepted, Issued: issued,
	}
	for _, t := range found.sides.trust.Certificates {
		plan.Trusted = append(plan.Trusted, Fingerprint(t.DER))
	}
	slices.Sort(plan.Trusted)
	return p.write(ctx, func(r *record) {
		r.Rotation.Plan, r.Rotation.New = plan, found.existing
		r.know(found.old)
		if found.existing != nil {
			r.know(found.existing.Certificate)
		}
	})
}

func formatBaseline(accepted, issued policy.SignInBaseline) string {
	switch {
	case accepted.Available:
		return fmt.Sprintf("%d by %d users, %d failures (%s)", accepted.Successes, accepted.Users, accepted.Failures, byCloudTrail)
	case issued.Available:
		return fmt.Sprintf("%d by %d users, %d failures (%s; CloudTrail, which is stronger, cannot be read: allow %s)", issued.Successes, issued.Users, issued.Failures, byEntra, readsCloudTrail)
	default:
		return "unknown: " + withoutLog(Plan{})
	}
}

// describe logs what the findings would lead to.
func (p planPhase) describe(found *findings) {
	p.LogStep("dry run: %s", found.sides.inventory())
	settings := p.options.Policy
	switch {
	case found.due == "":
		p.LogStep("dry run: nothing to do: due %s", rotate.FormatTime(settings.DueAt(model.Certificate{NotAfter: found.old.NotAfter})))
		return
	case found.repair:
		p.LogStep("dry run: it would import certificate %s at AWS, and nothing else", found.existing.Certificate)
		return
	case found.full:
		p.LogStep("dry run: it would first delete certificate %s at AWS", p.rotation().Unused)
	}
	p.LogStep("dry run: a rollover would start: %s", found.due)
	if found.existing != nil {
		p.LogStep("dry run: it would import certificate %s at AWS", found.existing.Certificate)
	} else {
		p.LogStep("dry run: it would create a certificate in Entra (CN=%s …), valid for %d days, and import it at AWS", settings.Subject, int(settings.Validity.Hours()/24))
	}
	p.LogStep("dry run: then make it active in Entra, watch the sign-ins, keep the old certificate at AWS for %s, and delete it there (approval: %s)", settings.RetireAfter, settings.Approval)
}
