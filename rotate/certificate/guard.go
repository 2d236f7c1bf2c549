package certificate

import (
	"context"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

const (
	// maxReadAge is how old the readings may be when an operation is permitted.
	maxReadAge = time.Minute
	// startMargin is how long ago a certificate must have become valid.
	startMargin = 10 * time.Minute
	// listLag is how long a side may take to show a change that it has confirmed.
	listLag = 15 * time.Minute
)

// operationPermit authorizes one operation on one certificate. Only the guard makes one, and every
// operation on a certificate's place at AWS or in Entra needs one.
type operationPermit struct {
	certificate Certificate
	why         operationReason
	id          string    // AWS's, of the entry to delete
	read        time.Time // when the last of the readings was made
}

// operationReason is why a certificate may be imported, made active or deleted.
type operationReason string

// The reasons, each with its own conditions.
const (
	importCreated operationReason = "created"  // our own call returned it
	importNamed   operationReason = "named"    // an operator named its fingerprint
	importKept    operationReason = "kept"     // we deleted it at AWS, and sign-in fails without it
	activateNew   operationReason = "new"      // it takes over
	activateOld   operationReason = "rollback" // it was active before
	deleteOld     operationReason = "retire"   // the new one is used
	deleteUnused  operationReason = "unused"   // it has expired, and an operator named it
)

// stale tells whether a permit is too old to be used, as after a suspension. Both of our
// clocks count: the monotonic one stops while a machine is suspended, and the other one
// may be set.
func (p operationPermit) stale() bool {
	age := max(time.Since(p.read), time.Now().Round(0).Sub(p.read.Round(0)))
	return age > maxReadAge+rotate.CallTimeout()
}

// errStale is the error of a call that its permit does not allow any more.
func errStale(op string) error {
	return &model.Error{Reason: model.ReasonTimeout, Op: op, Detail: "the permit is stale", Unsent: true}
}

// guard is the one way to an import, an activation and a deletion. The lease and the
// durable intent belong to every operation.
type guard struct{ observer }

// read makes the readings that every permit rests on.
func (g guard) read(ctx context.Context) (sides, error) {
	s, err := g.stableSides(ctx)
	if err != nil {
		return s, err
	}
	if err := g.checkBinding(ctx, s); err != nil {
		return s, err
	}
	if err := g.checkClock(); err != nil {
		return s, err
	}
	if time.Since(s.read) > maxReadAge {
		return s, errConditionPending
	}
	return s, nil
}

// authorizeImport permits the import of the new certificate. It is never chosen by what
// Entra shows: Entra must show exactly the bytes that our own call returned, or that an
// operator named.
func (g guard) authorizeImport(ctx context.Context) (operationPermit, error) {
	rot := g.rotation()
	fresh := rot.New.Certificate
	s, err := g.readFresh(ctx)
	for range activeReads - 1 { // a replica of Entra may not show it yet
		if _, listed := s.signs(fresh.SHA256); listed || err != nil {
			break
		}
		if err = rotate.Sleep(ctx, g.Shortened(time.Second)); err == nil {
			s, err = g.readFresh(ctx)
		}
	}
	if err != nil {
		return operationPermit{}, err
	}
	why := importNamed
	switch {
	case g.record().created(fresh):
		why = importCreated
	case Fingerprint(fresh.DER) == rot.Named:
	default:
		return operationPermit{}, rotate.BlockedNow(model.BlockedForeignCertificate, "certificate %s was neither created by this exporter nor named by an operator", fresh)
	}
	if _, listed := s.signs(fresh.SHA256); !listed {
		return operationPermit{}, g.notShown(s, fresh)
	}
	if g.expired(fresh.NotAfter) {
		return operationPermit{}, rotate.Blocked(model.BlockedImportRefused, "certificate %s has expired", fresh)
	}
	return operationPermit{fresh, why, "", s.read}, nil
}

// readFresh is read without the second reading: an import takes nothing away from anybody,
// and while Entra may sign with the certificate already, every second counts.
func (g guard) readFresh(ctx context.Context) (sides, error) {
	s, err := g.readSides(ctx)
	if err != nil {
		return s, err
	}
	if err := g.checkBinding(ctx, s); err != nil {
		return s, err
	}
	return s, g.checkClock()
}

// created tells whether our own call returned exactly this certificate.
func (r *record) created(c Certificate) bool {
	return slices.Contains(r.Own, Fingerprint(c.DER))
}

// notShown tells why Entra does not show the bytes that are to be imported: not yet, or
// others under the same name.
func (g guard) notShown(s sides, fresh Certificate) error {
	for _, c := range s.signing.Certificates {
		if fresh.Subject != "" && c.Subject == fresh.Subject {
			return rotate.Blocked(model.BlockedForeignCertificate, "Entra shows certificate %s under the subject of certificate %s", name(c), fresh)
		}
	}
	if g.Elapsed(g.rotation().Phases[len(g.rotation().Phases)-1].At.Local) < listLag {
		return errConditionPending
	}
	return rotate.Blocked(model.BlockedForeignCertificate, "Entra does not list certificate %s with its private key any more", fresh)
}

// authorizeKept permits to undo our own deletion.
func (g guard) authorizeKept(ctx context.Context) (operationPermit, error) {
	s, err := g.readFresh(ctx)
	if err != nil {
		return operationPermit{}, err
	}
	old := *g.rotation().Plan.Old
	if !slices.Contains(g.rotation().Plan.Trusted, old.SHA256) || !g.rotation().deletionTried() {
		return operationPermit{}, rotate.BlockedNow(model.BlockedSignerNotTrusted, "AWS did not trust the old certificate before, so it is not imported")
	}
	return operationPermit{old, importKept, "", s.read}, nil
}

// deletionTried tells whether we may have deleted the old certificate.
func (r *rotation) deletionTried() bool {
	return slices.ContainsFunc(r.Operations[OperationDelete], func(o journal.Operation) bool { return o.Why == string(deleteOld) && !o.Unsent && !o.Refused() })
}

// authorizeActivation permits to make a certificate active.
func (g guard) authorizeActivation(ctx context.Context, why operationReason) (operationPermit, error) {
	s, err := g.read(ctx)
	if err != nil {
		return operationPermit{}, err
	}
	rot := g.rotation()
	target, current := *rot.newCertificate(), *rot.Plan.Old
	if why == activateOld {
		target, current = current, target
	}
	_, listed := s.signs(target.SHA256)
	switch {
	case !listed:
		return operationPermit{}, rotate.Blocked(model.BlockedForeignCertificate, "Entra does not list certificate %s with its private key any more", target)
	case !s.trusts(target) && why == activateOld:
		return operationPermit{}, rotate.Blocked(model.BlockedSignInFailing, "AWS does not trust the old certificate %s any more, so it is not made active again", target)
	case !s.trusts(target):
		return operationPermit{}, rotate.Blocked(model.BlockedForeignCertificate, "AWS does not list the new certificate %s any more", target)
	case why == activateOld && !g.now().Before(target.NotAfter):
		return operationPermit{}, rotate.Blocked(model.BlockedSignInFailing, "the old certificate %s has expired, so it is not made active again", target)
	case why == activateOld:
		return operationPermit{target, why, "", s.read}, nil
	}
	if err := g.checkActivation(s, target, current); err != nil {
		return operationPermit{}, err
	}
	return operationPermit{target, why, "", s.read}, nil
}

// checkActivation are the conditions for the new certificate alone.
func (g guard) checkActivation(s sides, target, current Certificate) error {
	now := g.now()
	switch active := s.active(); {
	case active != current.Thumbprint && active != target.Thumbprint:
		return reverted(s, current)
	case active == current.Thumbprint && !s.trusts(current):
		return rotate.Blocked(model.BlockedActiveNotTrusted, "AWS does not trust the active certificate %s any more, so nobody can sign in", current)
	case target.NotBefore.After(now.Add(-g.Shortened(startMargin))):
		return errConditionPending
	case target.NotAfter.Before(now.Add(policy.MinNewLife)):
		return rotate.Blocked(model.BlockedActivationFailed, "the new certificate %s is valid for less than %d days", target, int(policy.MinNewLife.Hours()/24))
	}
	return nil
}

// authorizeDeletion permits the deletion of the old certificate at AWS.
func (g guard) authorizeDeletion(ctx context.Context) (operationPermit, error) {
	s, err := g.read(ctx)
	if err != nil {
		return operationPermit{}, err
	}
	rot := g.rotation()
	fresh, old := rot.New.Certificate, *rot.Plan.Old
	switch {
	case s.active() != fresh.Thumbprint:
		return operationPermit{}, reverted(s, fresh)
	case !s.trusts(fresh):
		return operationPermit{}, rotate.Blocked(model.BlockedForeignCertificate, "AWS does not list the new certificate %s any more", fresh)
	case fresh.NotAfter.Before(g.now().Add(policy.MinNewLife)):
		return operationPermit{}, rotate.Blocked(model.BlockedDeleteRefused, "the old certificate %s is kept at AWS, because the new one is valid for less than %d days", old, int(policy.MinNewLife.Hours()/24))
	case !rot.Proof.Level.AtLeast(model.ProofUsed), g.since(rot.Proof.Used) < g.options.Policy.RetireAfter, !g.approved():
		return operationPermit{}, errConditionPending
	case !slices.Contains(rot.Plan.Trusted, old.SHA256):
		return operationPermit{}, rotate.Blocked(model.BlockedForeignCertificate, "certificate %s is not the one that was written down", old)
	}
	failing, err := prover(g).failing(ctx)
	if err != nil {
		return operationPermit{}, err
	}
	entries := s.trusted(old)
	if failing || len(entries) == 0 {
		return operationPermit{}, errConditionPending
	}
	return operationPermit{old, deleteOld, entries[0].ID, s.read}, nil
}

// approved tells whether the old certificate may be deleted: an operator approved it, this
// binding is trusted, or the policy accepts the risk.
func (g guard) approved() bool {
	rot := g.rotation()
	return g.options.Policy.Approved(rot.approved(), rot.Proof.Level, rot.Plan.TrustedBy)
}

// authorizeUnused permits the deletion of an expired certificate that an operator named, to
// make room at AWS.
func (g guard) authorizeUnused(ctx context.Context) (operationPermit, error) {
	s, err := g.read(ctx)
	if err != nil {
		return operationPermit{}, err
	}
	unused, listed := find(trustedCertificates(s), g.rotation().Unused)
	_, inEntra := s.signs(unused.SHA256)
	othersValid := slices.ContainsFunc(s.trust.Certificates, func(t model.TrustedCertificate) bool { return !g.expired(t.NotAfter) })
	switch {
	case !listed:
		return operationPermit{}, rotate.Blocked(model.BlockedCertificatesFull, "AWS does not list certificate %s, which an operator named as unused", g.rotation().Unused)
	case !g.expired(unused.NotAfter):
		return operationPermit{}, rotate.Blocked(model.BlockedCertificatesFull, "certificate %s, which an operator named as unused, has not expired", unused)
	case inEntra:
		return operationPermit{}, rotate.Blocked(model.BlockedCertificatesFull, "Entra has certificate %s, which an operator named as unused", unused)
	case !othersValid:
		return operationPermit{}, rotate.Blocked(model.BlockedCertificatesFull, "AWS trusts no other valid certificate than %s, which an operator named as unused", unused)
	}
	return operationPermit{unused, deleteUnused, s.trusted(unused)[0].ID, s.read}, nil
}

func trustedCertificates(s sides) []model.Certificate {
	var list []model.Certificate
	for _, t := range s.trust.Certificates {
		list = append(list, t.Certificate)
	}
	return list
}

// importCertificate imports the certificate of a permit. What came of it is settled by the
// lists that follow.
func (g guard) importCertificate(ctx context.Context, p operationPermit) error {
	op := "importing certificate " + p.certificate.String() + " at AWS"
	written, err := g.execute(ctx, operation{
		kind: OperationImport, target: p.certificate.SHA256, why: string(p.why),
		call: func(ctx context.Context) error {
			if p.stale() {
				return errStale(op)
			}
			_, err := g.options.Instance.ImportCertificate(ctx, p.certificate.DER, g.options.Policy.Use)
			return err
		},
	})
	return g.passed(written, err, op)
}

// passed returns the error of a call that was refused for what passes, such as throttling:
// the engine tries again later. Anything else is logged, and settled by what is read next.
func (g guard) passed(written journal.Operation, err error, op string) error {
	switch {
	case err != nil:
		return err
	case written.RefusedInPassing():
		return &model.Error{Reason: written.Reason, Op: op, Detail: written.Error}
	}
	g.LogStep("%s: %s", op, formatOutcome(written))
	return nil
}

// activate makes the certificate of a permit active.
func (g guard) activate(ctx context.Context, p operationPermit) error {
	op := "making certificate " + p.certificate.String() + " active in Entra"
	written, err := g.execute(ctx, operation{
		kind: OperationActivate, target: p.certificate.SHA256, why: string(p.why),
		journalIntent: func(r *record) {
			if p.why == activateNew {
				r.Pending = nil
			}
		},
		call: func(ctx context.Context) error {
			if p.stale() {
				return errStale(op)
			}
			return g.options.Application.ActivateCertificate(ctx, p.certificate.Thumbprint)
		},
	})
	return g.passed(written, err, op)
}

// delete deletes the certificate of a permit at AWS.
func (g guard) delete(ctx context.Context, p operationPermit) error {
	op := "deleting certificate " + p.certificate.String() + " at AWS"
	written, err := g.execute(ctx, operation{
		kind: OperationDelete, target: p.id, why: string(p.why),
		call: func(ctx context.Context) error {
			if p.stale() {
				return errStale(op)
			}
			return g.options.Instance.DeleteCertificate(ctx, p.id)
		},
	})
	return g.passed(written, err, op)
}

// reverted says that somebody else made another certificate active.
func reverted(s sides, expected Certificate) error {
	if s.active() == "" {
		return rotate.Blocked(model.BlockedActiveUnknown, "%s", unknownActive(s))
	}
	other := s.active()
	for _, c := range s.signing.Certificates {
		if c.Thumbprint == s.active() {
			other = describe(name(c), c.Subject, c.NotBefore, c.NotAfter)
		}
	}
	return rotate.Blocked(model.BlockedActivationReverted, "somebody made certificate %s active, instead of certificate %s", other, expected)
}
