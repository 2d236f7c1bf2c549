package harness

import (
	"encoding/pem"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// AnswerEdits are what somebody between a process and the clouds makes of their answers.
// Each may be nil.
type AnswerEdits struct {
	Issued  func(model.IssuedCertificate) model.IssuedCertificate
	Signing func(model.SigningCertificates) model.SigningCertificates
}

// ForeignCertificate makes a certificate that neither side has.
func (h *Harness) ForeignCertificate(subject string) (certificate model.Certificate) {
	h.WithClouds(func(m *clouds.Model) {
		certificate = describe(m.NewCertificate(subject, m.Now(), m.Now().Add(3*365*24*time.Hour)))
	})
	return certificate
}

// MakeCertificate makes a certificate in Entra, inactive.
func (h *Harness) MakeCertificate(actor clouds.Actor, subject string) (thumbprint string) {
	h.ByOperator(func(m *clouds.Model) error {
		added, err := m.AddTokenSigningCertificate(clouds.CallerFor(actor), h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, subject, time.Time{})
		if err == nil {
			thumbprint = added.Thumbprint()
		}
		return err
	})
	return thumbprint
}

// ActivateCertificate makes Entra sign with a certificate.
func (h *Harness) ActivateCertificate(actor clouds.Actor, thumbprint string) {
	h.ByOperator(func(m *clouds.Model) error {
		return m.PreferSigningCertificate(clouds.CallerFor(actor), h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, thumbprint)
	})
}

// TrustCertificate makes AWS trust a certificate.
func (h *Harness) TrustCertificate(actor clouds.Actor, certificate model.Certificate) {
	h.ByOperator(func(m *clouds.Model) error {
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.DER})
		_, err := m.ImportIdPCertificate(clouds.CallerFor(actor), m.IdPOf(h.Connection.IdentityStoreID), h.Connection.IdentityStoreID, string(block), clouds.CertificateUse)
		return err
	})
}

// DistrustCertificate deletes a certificate at AWS.
func (h *Harness) DistrustCertificate(actor clouds.Actor, thumbprint string) {
	h.ByOperator(func(m *clouds.Model) error {
		provider := m.IdPOf(h.Connection.IdentityStoreID)
		list, err := m.IdPCertificates(clouds.CallerFor(actor), provider, h.Connection.IdentityStoreID)
		for _, c := range list {
			if c.Thumbprint() == thumbprint {
				return m.DeleteIdPCertificate(clouds.CallerFor(actor), provider, h.Connection.IdentityStoreID, c.CertificateID)
			}
		}
		return err
	})
}

// OldCertificate is the thumbprint of the certificate that was active at first.
func (h *Harness) OldCertificate() string { return h.initialActive }

// NewestCertificate is the one that the exporter created last; zero: it created none.
func (h *Harness) NewestCertificate() (newest model.Certificate) {
	created := ""
	h.WithClouds(func(m *clouds.Model) {
		for c := range clouds.EntriesOf[clouds.CertificateCreation](m) {
			if c.Actor == clouds.ActorExporter {
				created = c.Thumbprint
			}
		}
	})
	for _, c := range h.Certificates() {
		if c.Thumbprint == created {
			newest = c
		}
	}
	return newest
}

// Imported lists the thumbprints of what the exporter made AWS trust.
func (h *Harness) Imported() (thumbprints []string) {
	h.WithClouds(func(m *clouds.Model) {
		for i := range clouds.EntriesOf[clouds.CertificateImport](m) {
			if i.Actor == clouds.ActorExporter {
				thumbprints = append(thumbprints, i.Thumbprint)
			}
		}
	})
	return thumbprints
}
