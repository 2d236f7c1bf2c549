package harness

import (
	"bytes"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/certificate"
	"entra-aws-exporter/rotate/journal"
)

// The documented times of a rollover, spelled out once more.
const (
	readApart     = 30 * time.Second    // the time between the two readings before an operation
	settleTime    = 15 * time.Minute    // from the import to the activation
	gateTime      = time.Hour           // from the activation to the proof of its use
	validSince    = 10 * time.Minute    // how long a certificate must have been valid that is made active
	validFor      = 30 * 24 * time.Hour // and for how long it must be
	signInsNeeded = 3
)

// certificateTruth is what the model knows about a connection's certificates, without any
// lag and whatever the engine believes.
type certificateTruth struct {
	now         time.Time
	active      string               // its thumbprint
	signer      string               // the thumbprint of what signs
	accepted    bool                 // AWS accepts what it signs
	imported    map[string]time.Time // when the exporter imported it, by thumbprint
	activated   map[string]time.Time // when somebody made it active first, by thumbprint
	certificate map[string]clouds.SigningCertificate
	signIns     []clouds.SignIn
	approvals   approvals // of deletions, by thumbprint
}

// certificateTruthOf reads the model. The harness is locked.
func certificateTruthOf(h *Harness) certificateTruth {
	t := certificateTruth{
		now: h.Clouds.Now(), imported: map[string]time.Time{}, activated: map[string]time.Time{}, approvals: approvals{},
		certificate: map[string]clouds.SigningCertificate{},
	}
	sp := h.signing()
	t.active = sp.ActiveThumbprint()
	for _, c := range sp.Certificates {
		t.certificate[c.Thumbprint()] = c
	}
	t.signer, t.accepted, _ = h.Clouds.Signer(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID)
	t.signIns, _ = h.Clouds.SignIns(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID)
	for _, entry := range h.Clouds.Timeline() {
		own := entry.Stamped().Actor == clouds.ActorExporter
		switch e := entry.(type) {
		case clouds.CertificateImport:
			if own {
				t.imported[e.Thumbprint] = e.At
			}
		case clouds.CertificateActivation:
			if _, known := t.activated[e.After]; !known {
				t.activated[e.After] = e.At
			}
		case clouds.Annotation:
			t.approvals.read(e.Text)
		}
	}
	return t
}

// used reports whether users signed in since the activation, as the policy demands it.
func (t certificateTruth) used(since time.Time) bool {
	users, accepted := map[string]bool{}, 0
	for _, s := range t.signIns {
		if s.Accepted && !s.At.Before(since.Truncate(time.Second)) {
			accepted++
			users[s.UserID] = true
		}
	}
	return accepted >= signInsNeeded && len(users) >= 2
}

// checkRolloverOperation compares an operation that is about to be made with what the model
// knows.
func (o *InvariantObserver) checkRolloverOperation(record *journal.Record, name string, intent journal.Operation) {
	h := o.harness
	h.mu.Lock()
	defer h.mu.Unlock()
	progress, _ := record.Rotation.Progress.(*certificate.Progress)
	truth, raced := certificateTruthOf(h), (&rolloverCheck{clouds: h.Clouds}).raced(h.Clouds.Now())
	switch name {
	case "graph.create_certificate":
		active, listed := truth.certificate[truth.active]
		if !raced && (!truth.accepted || listed && !truth.now.Before(active.NotAfter)) {
			o.add("C1: a certificate is created, and AWS accepts %t what certificate %s signs", truth.accepted, truth.signer)
		}
	case "graph.activate_certificate":
		o.checkReadings(name)
		if intent.Why == "new" {
			o.checkActivation(progress, truth)
		}
	case "aws.delete_certificate":
		o.checkReadings(name)
		o.checkCertificateDeletion(progress, truth, intent)
	}
}

// checkReadings demands two readings that are fresh and far enough apart. Those of several
// processes may come between each other.
func (o *InvariantObserver) checkReadings(name string) {
	n := len(o.listed)
	before := func(at time.Time) bool { return o.listed[n-1].Sub(at) >= readApart }
	several := len(o.harness.ExtraProcesses) > 0 && slices.ContainsFunc(o.listed, before)
	if n < 2 || !before(o.listed[n-2]) && !several || time.Since(o.listed[n-1]) > listFresh+callTimeout {
		o.add("C4: %s without two readings that are %s apart and fresh", name, readApart)
	}
}

func (o *InvariantObserver) checkActivation(progress *certificate.Progress, truth certificateTruth) {
	fresh := progress.New
	if fresh == nil {
		o.add("C4: an activation without a new certificate in the journal")
		return
	}
	made, listed := truth.certificate[fresh.Thumbprint]
	if at, imported := truth.imported[fresh.Thumbprint]; imported && truth.now.Sub(at) < settleTime {
		o.add("C1: certificate %s is made active %s after its import", fresh.Thumbprint, truth.now.Sub(at))
	}
	if listed && (truth.now.Sub(made.NotBefore) < validSince || made.NotAfter.Sub(truth.now) < validFor) {
		o.add("C4: certificate %s is made active, which is valid from %s to %s", fresh.Thumbprint, made.NotBefore, made.NotAfter)
	}
}

// checkCertificateDeletion demands the proof, the retention time, a permission to delete,
// and what undoes the deletion.
func (o *InvariantObserver) checkCertificateDeletion(progress *certificate.Progress, truth certificateTruth, intent journal.Operation) {
	h := o.harness
	if intent.Why != "retire" {
		return
	}
	old, fresh := progress.Plan.Old, progress.New
	if old == nil || fresh == nil {
		o.add("C3: a deletion without the old and the new certificate in the journal")
		return
	}
	if kept, listed := truth.certificate[old.Thumbprint]; listed && !bytes.Equal(kept.DER(), old.DER) {
		o.add("C3: certificate %s is deleted, and the journal does not keep it", old.Thumbprint)
	}
	activated, known := truth.activated[fresh.Thumbprint]
	switch {
	case !known && h.Clouds.Quirks().CreatedCertificate == clouds.CreatedInactive:
		o.add("C3: certificate %s is deleted, and certificate %s was never made active", old.Thumbprint, fresh.Thumbprint)
	case known && !truth.approvals.given(old.Thumbprint) && truth.now.Sub(activated) < gateTime+h.Rolls.RetireAfter:
		o.add("C3: certificate %s is deleted %s after the activation", old.Thumbprint, truth.now.Sub(activated))
	case known && truth.now.Sub(activated) < h.Rolls.RetireAfter:
		o.add("C3: certificate %s is deleted %s after the activation", old.Thumbprint, truth.now.Sub(activated))
	case known && !truth.used(activated) && h.expectsSignIns():
		o.add("C3: certificate %s is deleted, and nobody signed in since the activation", old.Thumbprint)
	}
	if approval := h.Rolls.Approval; !truth.approvals.given(old.Thumbprint) && approval != model.ApprovalNever && (approval != model.ApprovalFirst || !h.Trusted) {
		o.add("C3: certificate %s is deleted without approval or trust", old.Thumbprint)
	}
}
