package certificate

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// The operations of a rollover.
const (
	OperationCreate   journal.OperationKind = "create_certificate"
	OperationImport   journal.OperationKind = "import"
	OperationActivate journal.OperationKind = "activate"
	OperationDelete   journal.OperationKind = "delete"
)

// Certificate is a certificate as it is written down. All of it is public.
type Certificate struct {
	SHA256     string    `json:"sha256"` // of the DER, lower-case hex
	Thumbprint string    `json:"thumbprint"`
	Subject    string    `json:"subject,omitempty"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	DER        []byte    `json:"der"`
}

// Fingerprint is the SHA-256 of a certificate's DER, as operators name it.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// certificateOf describes a certificate that was read; false: its bytes are not known.
func certificateOf(c model.Certificate) (Certificate, bool) {
	if len(c.DER) == 0 || model.Thumbprint(c.DER) != c.Thumbprint {
		return Certificate{}, false
	}
	return Certificate{Fingerprint(c.DER), c.Thumbprint, c.Subject, c.NotBefore, c.NotAfter, c.DER}, true
}

func (c Certificate) String() string { return describe(c.SHA256, c.Subject, c.NotBefore, c.NotAfter) }

func describe(id, subject string, notBefore, notAfter time.Time) string {
	if subject != "" {
		subject += ", "
	}
	return fmt.Sprintf("%s (%svalid from %s to %s)", id, subject, rotate.FormatTime(notBefore), rotate.FormatTime(notAfter))
}

// Memory is what is remembered of a binding's certificates between rollovers.
type Memory struct {
	Known   map[string]Certificate `json:"known,omitempty"`   // by SHA-256: seen when the plan or an operator knew what each is for
	Pending *Certificate           `json:"pending,omitempty"` // we created it, and it was never made active
	Own     []string               `json:"own,omitempty"`     // the SHA-256 of each certificate that our own call returned
	Created []time.Time            `json:"created,omitempty"` // when certificates were requested; nothing but time empties it
	Trust   time.Time              `json:"trust,omitzero"`    // when a rollover of this binding became exclusive
}

// Origin says why a certificate may be imported.
type Origin string

// The origins of a new certificate.
const (
	OriginCreated Origin = "created" // our own call returned it
	OriginNamed   Origin = "named"   // an operator named its fingerprint
)

// NewCertificate is the certificate that the rollover leads to.
type NewCertificate struct {
	Certificate
	Origin   Origin             `json:"origin"`
	Imported journal.Timestamps `json:"imported,omitzero"` // two lists of AWS had it
}

// Progress is what is written down of one rollover.
type Progress struct {
	Named  string `json:"named,omitempty"`  // the fingerprint that an operator named for import
	Unused string `json:"unused,omitempty"` // the fingerprint of an expired one that an operator named for deletion

	Plan    Plan            `json:"plan"`
	Subject string          `json:"subject,omitempty"` // of the certificate that was requested
	Refused Refusal         `json:"refused,omitzero"`
	New     *NewCertificate `json:"new,omitempty"`
	Proof   Proof           `json:"proof"`
	Repair  *Repair         `json:"repair,omitempty"`
}

// Plan is what was found before anything was changed.
type Plan struct {
	Old        *Certificate          `json:"old,omitempty"` // the active one: kept, so that its deletion at AWS can be undone
	Trusted    []string              `json:"trusted,omitempty"`
	Signing    []string              `json:"signing,omitempty"` // thumbprints that Entra lists
	TrustedBy  bool                  `json:"trusted_binding,omitempty"`
	DueReason  string                `json:"due_reason,omitempty"`
	ImportOnly bool                  `json:"import_only,omitempty"` // the named one signs already
	Accepted   policy.SignInBaseline `json:"accepted"`              // by AWS
	Issued     policy.SignInBaseline `json:"issued"`                // by Entra
}

// Refusal is why Entra makes no certificate.
type Refusal struct {
	Reason model.BlockedReason `json:"reason,omitempty"`
	Detail string              `json:"detail,omitempty"`
}

// Proof is the evidence that users sign in with the new certificate.
type Proof struct {
	Level     model.ProofLevel   `json:"level,omitempty"`
	Stored    journal.Timestamps `json:"stored,omitzero"` // five readings said that it is active
	Used      journal.Timestamps `json:"used,omitzero"`
	UsedBy    string             `json:"used_by,omitempty"` // CloudTrail | the sign-in log | an operator
	Gone      journal.Timestamps `json:"gone,omitzero"`     // two lists of AWS were without the old one
	Exclusive journal.Timestamps `json:"exclusive,omitzero"`
}

// RepairKind says how sign-in is repaired.
type RepairKind string

// The repairs.
const (
	RepairRollback RepairKind = "rollback" // the old certificate is made active again
	RepairReimport RepairKind = "reimport" // the old certificate is imported again
)

// Repair is a repair that was begun. The rollover stops after it.
type Repair struct {
	Kind   RepairKind          `json:"kind"`
	Reason model.BlockedReason `json:"reason"`
	Detail string              `json:"detail"`
	Began  journal.Timestamps  `json:"began"`
}

// Types registers this package's parts of a record.
func Types() journal.Types {
	return journal.Types{
		NewMemory:   func() journal.Memory { return &Memory{Known: map[string]Certificate{}} },
		NewProgress: func() journal.Progress { return &Progress{} },
	}
}

// Inventory implements journal.Memory.
func (m *Memory) Inventory() string {
	var names []string
	for _, c := range slices.SortedFunc(maps.Values(m.Known), func(a, b Certificate) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), strings.Compare(a.SHA256, b.SHA256))
	}) {
		names = append(names, c.String())
	}
	if len(names) == 0 {
		return "certificates: not read"
	}
	return inventoryOf("certificates", names)
}

func inventoryOf(title string, names []string) string {
	if len(names) == 0 {
		return title + ": none"
	}
	return title + ": " + strings.Join(names, "; ")
}

// know remembers certificates whose purpose is known.
func (m *Memory) know(certificates ...Certificate) {
	for _, c := range certificates {
		m.Known[c.SHA256] = c
	}
}

// Check implements journal.Progress.
func (p *Progress) Check(r *journal.Rotation) error {
	if r.Phase != model.PhasePlan && r.Phase != model.PhaseCreate && p.New == nil {
		return fmt.Errorf("phase %s without a new certificate", r.Phase)
	}
	for _, c := range []*Certificate{p.Plan.Old, p.newCertificate()} {
		if c != nil && (Fingerprint(c.DER) != c.SHA256 || model.Thumbprint(c.DER) != c.Thumbprint) {
			return fmt.Errorf("the bytes of certificate %s are not its own", c.SHA256)
		}
	}
	return nil
}

// Describe implements journal.Progress.
func (p *Progress) Describe(shown *model.RotationRecord) {
	shown.NewCertificate, shown.Proof = p.newName(), p.Proof.Level
	if p.Plan.Old != nil {
		shown.OldCertificate = p.Plan.Old.SHA256
	}
}

func (p *Progress) newCertificate() *Certificate {
	if p.New == nil {
		return nil
	}
	return &p.New.Certificate
}

// newName is the fingerprint of the new certificate; "": there is none yet.
func (p *Progress) newName() string {
	if p.New == nil {
		return ""
	}
	return p.New.SHA256
}

// record is the journal's record together with what this package keeps in it.
type record struct {
	*journal.Record
	*Memory
	Rotation *rotation // nil: none is open
}

// rotation is the journal's rotation together with what this package keeps in it.
type rotation struct {
	*journal.Rotation
	*Progress
}

func recordOf(r *journal.Record) *record {
	memory, _ := r.Procedures[model.ProcedureCertificate].Memory.(*Memory)
	return &record{Record: r, Memory: memory, Rotation: rotationOf(r.Rotation)}
}

// rotationOf returns nil if no rollover is open.
func rotationOf(r *journal.Rotation) *rotation {
	if r == nil {
		return nil
	}
	progress, ok := r.Progress.(*Progress)
	if !ok {
		return nil
	}
	return &rotation{r, progress}
}

// creating tells whether a certificate was requested and the outcome is unknown.
func (r *rotation) creating() bool {
	last, requested := r.LastOperation(OperationCreate)
	return requested && last.Pending()
}

// activationTried tells whether making the new certificate active was ever tried.
func (r *rotation) activationTried() bool {
	return slices.ContainsFunc(r.Operations[OperationActivate], func(o journal.Operation) bool { return o.Target == r.newName() && !o.Unsent })
}

// sinceReset lists the operations of a kind on a target since the last reset, without
// those that were never sent, or refused for what passes.
func (r *rotation) sinceReset(kind journal.OperationKind, target string) []journal.Operation {
	var found []journal.Operation
	for _, o := range r.Operations[kind] {
		if o.Target == target && o.ResetCount == r.ResetCount && !o.RefusedInPassing() && !o.Unsent {
			found = append(found, o)
		}
	}
	return found
}

// approved tells whether an operator has approved what is to come: the deletion or, after
// that, the end. Each needs an approval of its own.
func (r *rotation) approved() bool {
	return r.Approval != nil && r.Approval.Target == r.Plan.Old.SHA256
}

// resumeAfterReset lets a blocked rollover continue after an operator has looked: each
// phase finds out what is done already.
func (r *rotation) resumeAfterReset(at time.Time) {
	was := r.Phase
	r.Blocked, r.Waiting, r.Abort, r.Repair, r.Refused = nil, "", "", nil, Refusal{}
	r.Asked, r.Approval = "", nil
	r.ResetCount++
	r.Phase, r.Proof = model.PhaseImport, Proof{}
	if r.creating() {
		r.Phase = model.PhaseCreate
	}
	if r.Phase != was {
		r.Phases = append(r.Phases, journal.PhaseEntry{Phase: r.Phase, At: journal.Timestamps{Local: at}})
	}
}

// setCreated makes the certificate that our own call returned the new one.
func (r *record) setCreated(created Certificate) {
	r.Rotation.New = &NewCertificate{Certificate: created, Origin: OriginCreated}
	r.Pending = &created
	r.Own = append(r.Own, created.SHA256)
	r.know(created)
}

func sameBytes(a, b []byte) bool { return len(a) > 0 && bytes.Equal(a, b) }
