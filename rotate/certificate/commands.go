package certificate

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
)

// StartOptions are an operator's options for this procedure.
type StartOptions struct {
	Certificate string // the SHA-256 fingerprint of the certificate to import
	Unused      string // that of an expired one at AWS which may be deleted
}

// startOptions returns the options with their fingerprints as they are compared.
func startOptions(options any) StartOptions {
	own, _ := options.(StartOptions)
	for _, text := range []*string{&own.Certificate, &own.Unused} {
		if fingerprint, err := ParseFingerprint(*text); err == nil {
			*text = fingerprint
		}
	}
	return own
}

// ParseFingerprint returns the SHA-256 fingerprint that an operator wrote, with or without
// colons, in lower case.
func ParseFingerprint(text string) (string, error) {
	digits := strings.ToLower(strings.ReplaceAll(text, ":", ""))
	if raw, err := hex.DecodeString(digits); err != nil || len(raw) != 32 {
		return "", fmt.Errorf("%q is not the SHA-256 fingerprint of a certificate: it has 64 hex digits", text)
	}
	return digits, nil
}

// CheckStart implements rotate.Procedure.
func (p *Procedure) CheckStart(snapshot model.Snapshot, options any) error {
	own := startOptions(options)
	for _, fingerprint := range []string{own.Certificate, own.Unused} {
		if fingerprint == "" {
			continue
		}
		if _, err := ParseFingerprint(fingerprint); err != nil {
			return err
		}
	}
	if own.Certificate == "" || snapshot.Signing == nil || snapshot.Trusted == nil {
		return nil
	}
	_, err := checkNamed(own.Certificate, *snapshot.Signing, *snapshot.Trusted, time.Now())
	return err
}

// Resolves implements rotate.Procedure: a named certificate answers whatever blocked a
// rollover. Only a creation without an answer must be found out about first.
func (p *Procedure) Resolves(r *journal.Rotation, options any) bool {
	own, rot := startOptions(options), rotationOf(r)
	return rot != nil && !rot.creating() && (own.Certificate != "" || own.Unused != "")
}

// PrepareStart implements rotate.Procedure.
func (p *Procedure) PrepareStart(context.Context, string, any) error { return nil }

// NewProgress implements rotate.Procedure.
func (p *Procedure) NewProgress(_ model.Snapshot, options any) (journal.Progress, bool) {
	own := startOptions(options)
	return &Progress{Named: own.Certificate, Unused: own.Unused}, own.Certificate != ""
}

// CheckAbort implements rotate.Procedure.
func (p *Procedure) CheckAbort(r *journal.Rotation) error {
	if rot := rotationOf(r); rot.activationTried() {
		return fmt.Errorf("certificate %s may be active already, so the rollover cannot be aborted; hold pauses it", rot.newName())
	}
	return nil
}

// AbortPhase implements rotate.Procedure: there is nothing to take back, but what Entra may
// sign with at the expiry of the active one is imported first.
func (p *Procedure) AbortPhase(r *journal.Rotation) (model.Phase, bool) {
	rot := rotationOf(r)
	if rot.activationTried() || rot.creating() {
		return "", false
	}
	if rot.New != nil && rot.New.Origin == OriginCreated && rot.New.Imported.Local.IsZero() {
		last, _ := rot.LastOperation(OperationImport)
		return model.PhaseIdle, last.RefusedForGood()
	}
	return model.PhaseIdle, true
}

// Remainder implements rotate.Procedure.
func (p *Procedure) Remainder(r *journal.Rotation) string {
	rot := rotationOf(r)
	switch {
	case rot.New == nil:
		return ""
	case rot.New.Imported.Local.IsZero():
		return "certificate " + rot.newName() + " stays in Entra, inactive, and AWS does not trust it"
	default:
		return "certificate " + rot.newName() + " stays in Entra, inactive, and AWS trusts it"
	}
}

// Reset implements rotate.Procedure.
func (p *Procedure) Reset(r *journal.Record, at time.Time) bool {
	rot := rotationOf(r.Rotation)
	if rot.New == nil && !rot.creating() {
		return false
	}
	rot.resumeAfterReset(at)
	return true
}

// CheckApproval implements rotate.Procedure.
func (p *Procedure) CheckApproval(r *journal.Rotation, target string) error {
	rot := rotationOf(r)
	switch {
	case rot.Plan.Old == nil || rot.Plan.ImportOnly:
		return errors.New("this rotation deletes nothing")
	case target != rot.Plan.Old.SHA256:
		return fmt.Errorf("certificate %s is not the one that this rollover wants to delete; that is %s", target, rot.Plan.Old)
	case !rot.Proof.Level.AtLeast(model.ProofStored):
		return fmt.Errorf("the new certificate is not active yet (phase %s): approve once the rollover asks for it", rot.Phase)
	default:
		return nil
	}
}

// Adopt implements rotate.Procedure: every certificate that is there is known from now on.
// Entra itself says which one is in use.
func (p *Procedure) Adopt(ctx context.Context, _ string) (func(*journal.Record) error, error) {
	s, err := p.readSides(ctx)
	if err != nil && p.options.Policy.Mode != model.RotationEnabled { // it may not be permitted to read
		return func(r *journal.Record) error {
			if rotationOf(r.Rotation) != nil {
				return err
			}
			return nil
		}, nil
	}
	if err != nil {
		return nil, err
	}
	return func(journalled *journal.Record) error {
		r := recordOf(journalled)
		for _, c := range append(trustedCertificates(s), s.signing.Certificates...) {
			r.know(Certificate{name(c), c.Thumbprint, c.Subject, c.NotBefore, c.NotAfter, c.DER})
		}
		if r.Rotation != nil {
			r.adoptRotation(s, time.Now().UTC())
		}
		return nil
	}, nil
}

func (p *Procedure) readSides(ctx context.Context) (s sides, err error) {
	if s.signing, err = rotate.Read(ctx, p.options.Application.SigningCertificates); err == nil {
		s.trust, err = rotate.Read(ctx, p.options.Instance.TrustConfiguration)
	}
	return s, err
}

// adoptRotation lets the rollover continue towards its new certificate, or ends it if
// somebody has decided otherwise.
func (r *record) adoptRotation(s sides, at time.Time) {
	rot := r.Rotation
	if rot.New == nil {
		r.Finish(model.OutcomeAborted, "adopted: what is there is accepted", at)
		return
	}
	_, listed := s.signs(rot.newName())
	expected := rot.Plan.Old.Thumbprint
	if rot.activationTried() {
		expected = rot.New.Thumbprint
	}
	if active := s.active(); !listed || (active != expected && active != rot.New.Thumbprint) {
		if listed && rot.New.Origin == OriginCreated { // the next rollover need not create another
			r.Pending = &rot.New.Certificate
		}
		r.Finish(model.OutcomeAborted, "adopted: an operator decided otherwise", at)
	} else {
		rot.Plan.Trusted, rot.Plan.Signing = nil, thumbprints(s.signing)
		for _, t := range s.trust.Certificates {
			rot.Plan.Trusted = append(rot.Plan.Trusted, Fingerprint(t.DER))
		}
		rot.resumeAfterReset(at)
	}
}

// Rebind implements rotate.Procedure: what is known of the certificates of an application
// and an identity store stays known when only the provisioning between them was replaced.
func (p *Procedure) Rebind(_ context.Context, from *journal.Record, _ string) (func(*journal.Record), error) {
	return func(to *journal.Record) {
		if to.Binding.ServicePrincipalID == from.Binding.ServicePrincipalID && to.Binding.IdentityStoreID == from.Binding.IdentityStoreID {
			*recordOf(to).Memory = *recordOf(from).Memory
		}
	}, nil
}
