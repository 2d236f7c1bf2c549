// Package certificate is the procedure that rolls a connection's SAML signing certificate
// over without an outage: a new certificate in Entra, inactive; its import at AWS; its
// activation in Entra; proof that users sign in; and only then the deletion of the old one
// at AWS. In Entra nothing is ever removed.
//
// Read record.go (what is written down), procedure.go (what it needs of AWS and Entra, and
// what the engine asks of it) and session.go first. Then the phases in their order: plan.go,
// create.go, import.go, settle.go, activate.go, verify.go, retire.go, confirm.go. They stand
// on recovery.go (sign-in is restored), guard.go (the one way to an import, an activation
// and a deletion), proof.go (the sign-ins) and observe.go (reading AWS and Entra).
//
// The states of a rollover:
//
//	idle ──> plan ──> create ──> import ──> settle ──> activate ──> verify ──> retire ──> confirm ──> done
//	          │                   ^  │         │          │            │          │          │
//	          ├─ there is one ────┘  │         │          │            └─ more sign-ins fail ┤
//	          v                      v         └──────────┴── reset ──> import               v
//	       aborted                  done (a repair only imports)             rollback or import, then blocked
//
// There is no undo: a certificate that AWS trusts and Entra never made active does no harm,
// and taking its trust away could.
package certificate

import (
	"context"
	"fmt"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// The interfaces below are all that a rollover needs of AWS and Entra. Every method makes
// its calls under ctx and returns errors classified as *model.Error; model.CallOutcomeOf
// tells from the error of an operation whether it may have taken effect.

// Application is Entra's side: the application that signs users in.
type Application interface {
	// SigningCertificates reads the certificates, which one is active, and the sign-on mode.
	SigningCertificates(ctx context.Context) (model.SigningCertificates, error)
	// CreateCertificate makes an inactive certificate, exactly once, without any retry.
	CreateCertificate(ctx context.Context, subject string, notAfter time.Time) (model.IssuedCertificate, error)
	// ActivateCertificate makes Entra sign with this one, exactly once, without any retry.
	ActivateCertificate(ctx context.Context, thumbprint string) error
	// SignIns counts the sign-ins that Entra issued since then.
	SignIns(ctx context.Context, since time.Time) (model.SignIns, error)
}

// Instance is AWS's side: what the identity store trusts.
type Instance interface {
	// TrustConfiguration reads the trusted certificates and AWS's clock.
	TrustConfiguration(ctx context.Context) (model.TrustConfiguration, error)
	// ImportCertificate makes AWS trust a certificate, exactly once, without any retry.
	ImportCertificate(ctx context.Context, der []byte, use string) (id string, err error)
	// DeleteCertificate removes one entry, exactly once, without any retry.
	DeleteCertificate(ctx context.Context, id string) error
	// SignIns counts the sign-ins that AWS accepted and refused since then.
	SignIns(ctx context.Context, since time.Time) (model.SignIns, error)
}

// Options are what the procedure of one connection works with.
type Options struct {
	Connection  string // its name
	Policy      policy.Certificate
	Application Application
	Instance    Instance
	// Resolve asks AWS and Entra what the connection resolves to now.
	Resolve func(ctx context.Context) (model.Binding, error)
}

// Procedure rolls the certificate of one connection over. It implements rotate.Procedure.
type Procedure struct{ options Options }

// New makes the procedure of one connection.
func New(options Options) *Procedure { return &Procedure{options} }

// Kind implements rotate.Procedure.
func (p *Procedure) Kind() model.Procedure { return model.ProcedureCertificate }

// Policy implements rotate.Procedure.
func (p *Procedure) Policy() policy.Policy { return p.options.Policy.Policy }

// Ready implements rotate.Procedure.
func (p *Procedure) Ready(snapshot model.Snapshot) error {
	if snapshot.Signing == nil || snapshot.Trusted == nil || !snapshot.Binding.Complete() {
		return rotate.NotStarted(model.DecisionNotDue, "its certificates were not read yet")
	}
	return nil
}

// Due implements rotate.Procedure.
func (p *Procedure) Due(snapshot model.Snapshot, r *journal.Record, now time.Time) time.Time {
	if snapshot.Signing == nil {
		return time.Time{}
	}
	if p.Repairs(snapshot, r) {
		return now
	}
	active, _ := snapshot.Signing.Active()
	return p.options.Policy.DueAt(active)
}

// Repairs implements rotate.Procedure: AWS does not trust what Entra signs with. An alert
// makes the rollover stop with the command that ends the outage.
func (p *Procedure) Repairs(snapshot model.Snapshot, _ *journal.Record) bool {
	if snapshot.Signing == nil {
		return false
	}
	signer, found := snapshot.Signing.UnexpectedSigner(time.Now())
	if !found {
		signer, found = snapshot.Signing.Active()
	}
	if !found {
		return false
	}
	trusted, known := snapshot.TrustedByAWS(signer.Thumbprint)
	return known && !trusted
}

// Inventory implements rotate.Procedure.
func (p *Procedure) Inventory(snapshot model.Snapshot, r *journal.Record) string {
	switch {
	case snapshot.Signing != nil:
		s := sides{signing: *snapshot.Signing}
		if snapshot.Trusted != nil {
			for _, c := range *snapshot.Trusted {
				s.trust.Certificates = append(s.trust.Certificates, model.TrustedCertificate{Certificate: c})
			}
		}
		return s.inventory()
	case r != nil:
		return recordOf(r).Memory.Inventory()
	default:
		return (&Memory{}).Inventory()
	}
}

// Describe implements rotate.Procedure.
func (p *Procedure) Describe(status *model.RotationStatus, _ model.Snapshot, r *journal.Record, _ time.Time) {
	if r == nil {
		return
	}
	rot := rotationOf(r.Rotation)
	if rot == nil {
		return
	}
	status.Proof = rot.Proof.Level
	if rot.Waiting == model.WaitingApproval {
		status.Message = approvalMessage(r.Connection, rot)
	}
}

// Changing implements rotate.Procedure: one rollover of a process at a time is between the
// creation and the proof of use. One that waits for a day for somebody to sign in lets the
// others go on.
func (p *Procedure) Changing(r *journal.Rotation) bool {
	rot := rotationOf(r)
	if rot.Plan.ImportOnly {
		return false
	}
	switch rot.Phase {
	case model.PhaseCreate, model.PhaseImport, model.PhaseSettle, model.PhaseActivate:
		return true
	case model.PhaseVerify:
		return time.Since(rot.Proof.Stored.Local) < 24*time.Hour
	default:
		return false
	}
}

// Run implements rotate.Procedure.
func (p *Procedure) Run(s *rotate.Session) rotate.Runner {
	return runner{observer{&session{Session: s, options: p.options}}}
}

// runner implements rotate.Runner.
type runner struct{ observer }

// RunPhase implements rotate.Runner.
func (r runner) RunPhase(ctx context.Context, phase model.Phase) (model.Phase, error) {
	if r.rotation().Repair != nil {
		return repairer(r).run(ctx)
	}
	switch phase {
	case model.PhasePlan:
		return planPhase(r).run(ctx)
	case model.PhaseCreate:
		return createPhase(r).run(ctx)
	case model.PhaseImport:
		return importPhase(r).run(ctx)
	case model.PhaseSettle:
		return settlePhase(r).run(ctx)
	case model.PhaseActivate:
		return activatePhase(r).run(ctx)
	case model.PhaseVerify:
		return verifyPhase(r).run(ctx)
	case model.PhaseRetire:
		return retirePhase(r).run(ctx)
	case model.PhaseConfirm:
		return confirmPhase(r).run(ctx)
	default:
		return "", rotate.BlockedNow(model.BlockedJournalUnreadable, "the journal is in the unknown phase %q", phase)
	}
}

// BeforeBlock implements rotate.Runner: whatever a rollover stops for, users must be able
// to sign in by what it made active.
func (r runner) BeforeBlock(ctx context.Context, found *rotate.BlockedError) (model.Phase, error) {
	switch found.Reason {
	case model.BlockedStateRestored, model.BlockedJournalUnreadable, model.BlockedBindingChanged, model.BlockedWrongTarget:
		return "", nil // what is known may be about another state, or another connection
	default:
		return repairer(r).beforeBlock(ctx, found)
	}
}

// Inventory implements rotate.Runner.
func (r runner) Inventory() string {
	switch {
	case r.last == nil:
		return ""
	case r.changed:
		return inventoryOf("certificates before the last change", r.last.describe())
	default:
		return r.last.inventory()
	}
}

// DryRun implements rotate.Procedure.
func (p *Procedure) DryRun(ctx context.Context, s *rotate.Session, _ any) error {
	plan := planPhase{observer{&session{Session: s, options: p.options}}}
	found, err := plan.preflight(ctx)
	if err != nil {
		return fmt.Errorf("connection %s: a rollover would not start: %w", p.options.Connection, err)
	}
	plan.describe(found)
	return nil
}
