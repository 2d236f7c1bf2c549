package certificate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
)

// secretEnd is how many random characters a new subject ends with.
const secretEnd = 6

// findTime is how long a created certificate may take to be listed.
const findTime = 10 * time.Minute

// createPhase requests one certificate from Entra, inactive, under a subject of its own.
type createPhase struct{ observer }

func (p createPhase) run(ctx context.Context) (model.Phase, error) {
	rot := p.rotation()
	switch last, _ := rot.LastOperation(OperationCreate); {
	case rot.New != nil:
		return model.PhaseImport, nil
	case rot.creating():
		return p.reconcile(ctx, last)
	case last.RefusedForGood() && last.ResetCount == rot.ResetCount:
		return p.notCreated(ctx, last)
	}
	s, err := p.stableSides(ctx)
	if err != nil {
		return "", err
	}
	if err := p.recheck(ctx, s); err != nil {
		return "", err
	}
	return p.create(ctx)
}

// recheck demands what the plan did, right before the creation: when the active one has
// expired, Entra may sign with what is created.
func (p createPhase) recheck(ctx context.Context, s sides) error {
	if err := p.checkClock(); err != nil {
		return err
	}
	if err := p.checkBinding(ctx, s); err != nil {
		return err
	}
	old := *p.rotation().Plan.Old
	switch {
	case s.active() != old.Thumbprint:
		return reverted(s, old)
	case !s.trusts(old):
		return signerNotTrusted(old)
	}
	plan := planPhase(p)
	if err := plan.checkLife(old); err != nil {
		return err
	}
	return plan.checkCreate()
}

// create requests the certificate. What the answer says must fit together, or it counts as
// no answer.
func (p createPhase) create(ctx context.Context) (model.Phase, error) {
	subject := p.newSubject()
	var created Certificate
	var failed error
	written, err := p.execute(ctx, operation{
		kind: OperationCreate, target: subject,
		journalIntent: func(r *record) {
			r.Rotation.Subject = subject
			r.Created = append(r.Created, p.now())
		},
		call: func(ctx context.Context) error {
			issued, err := p.options.Application.CreateCertificate(ctx, subject, p.now().Add(p.options.Policy.Validity))
			if err == nil {
				created, err = p.accept(issued, subject)
			}
			failed = err
			return err
		},
		journalOutcome: func(r *record, written journal.Operation) {
			if written.Done() {
				r.setCreated(created)
			}
			if written.Refused() { // certainly nothing was created
				r.Created = r.Created[:len(r.Created)-1]
				r.Rotation.Refused = refusal(failed)
			}
		},
	})
	switch {
	case err != nil:
		return "", err
	case written.RefusedInPassing():
		return "", failed
	case !written.Done():
		p.LogStep("creating a certificate: %s", formatOutcome(written))
		return model.PhaseCreate, nil
	}
	p.LogStep("created certificate %s in Entra, inactive", created)
	return model.PhaseImport, nil
}

// newSubject is a subject by which a creation without an answer is found again. Its end
// stands in no log and in no status, so that nobody else can make a certificate that passes
// for ours. A common name has at most 64 characters.
func (p createPhase) newSubject() string {
	rot := p.rotation()
	return fmt.Sprintf("CN=%s %s-%d-%s", p.options.Policy.Subject, rot.ID, len(rot.Operations[OperationCreate])+1, strings.ToLower(rand.Text()[:secretEnd]))
}

// accept takes the answer to a creation if it is about what was asked for.
func (p createPhase) accept(issued model.IssuedCertificate, subject string) (Certificate, error) {
	created, known := certificateOf(issued.Certificate)
	if !known || (issued.Subject != "" && issued.Subject != subject) {
		return created, &model.Error{Reason: model.ReasonInvalidResponse, Op: "creating a certificate", Detail: "the answer is about another certificate"}
	}
	return created, nil
}

// refusal says whether no other attempt ends what made Entra refuse.
func refusal(err error) Refusal {
	switch {
	case errors.Is(err, model.ErrNationalCloud):
		return Refusal{model.BlockedNationalCloud, err.Error()}
	case errors.Is(err, model.ErrAppPolicy):
		return Refusal{model.BlockedPolicyRefused, err.Error()}
	case model.ReasonOf(err) == model.ReasonPermission:
		return Refusal{model.BlockedPermission, err.Error()}
	default:
		return Refusal{}
	}
}

// notCreated ends a rollover that has no new certificate.
func (p createPhase) notCreated(ctx context.Context, last journal.Operation) (model.Phase, error) {
	if refused := p.rotation().Refused; refused.Reason != "" {
		return "", rotate.BlockedNow(refused.Reason, "%s", refused.Detail)
	}
	return p.finishAborted(ctx, "Entra refused to create a certificate: "+last.Error)
}

// reconcile finds out what became of a creation without an answer, by its subject.
func (p createPhase) reconcile(ctx context.Context, creation journal.Operation) (model.Phase, error) {
	s, err := p.readSides(ctx)
	if err != nil {
		return "", err
	}
	found := withSubject(s.signing, creation.Target)
	switch {
	case len(found) > 1:
		return "", rotate.Blocked(model.BlockedCreateAmbiguous, "a creation got no answer, and Entra has %d certificates with its subject %s", len(found), creation.Target)
	case len(found) == 1:
		return p.take(ctx, found[0], creation)
	case p.since(creation.Intent) >= findTime:
		return p.finishAborted(ctx, "a creation got no answer, and Entra lists nothing with its subject "+creation.Target)
	default:
		return model.PhaseCreate, p.Wait(ctx, listInterval, model.WaitingSettling)
	}
}

// withSubject lists the certificates with this subject, with or without a private key.
func withSubject(signing model.SigningCertificates, subject string) []model.Certificate {
	var found []model.Certificate
	for _, list := range [][]model.Certificate{signing.Certificates, signing.Keyless} {
		for _, c := range list {
			if c.Subject == subject {
				found = append(found, c)
			}
		}
	}
	return found
}

// take accepts the one certificate with the subject of our creation, if it can be made by
// it: it has its private key in Entra, and its life begins with the call.
func (p createPhase) take(ctx context.Context, found model.Certificate, creation journal.Operation) (model.Phase, error) {
	created, known := certificateOf(found)
	_, signs := p.last.signs(created.SHA256)
	began := p.onAWS(creation.Intent)
	early, late := began.Add(-maxClockSkew-startMargin), p.now().Add(maxClockSkew)
	shown := describe(name(found), found.Subject, found.NotBefore, found.NotAfter)
	switch {
	case !known:
		return "", rotate.Blocked(model.BlockedCreateAmbiguous, "a creation got no answer, and Entra does not show the bytes of certificate %s, which has its subject", shown)
	case !signs:
		return "", rotate.Blocked(model.BlockedCreateAmbiguous, "a creation got no answer, and Entra has certificate %s with its subject, but not its private key", shown)
	case created.NotBefore.Before(early), created.NotBefore.After(late):
		return "", rotate.Blocked(model.BlockedCreateAmbiguous, "a creation got no answer, and certificate %s has its subject, but its validity does not begin with the creation", shown)
	}
	p.LogStep("certificate %s is listed: it was created", created)
	return model.PhaseImport, p.ResolveOperation(ctx, OperationCreate, creation.Number, model.CallDone, func(r *journal.Record) { recordOf(r).setCreated(created) })
}
