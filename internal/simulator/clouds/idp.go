//nolint:revive // IdP is AWS's own spelling, in the names of its operations.
package clouds

import (
	"encoding/pem"
	"net/http"
	"slices"
)

// IdPConfiguration is the external identity provider of an identity store.
type IdPConfiguration struct {
	IdPID          string
	Enabled        bool
	EntityID       string
	LoginURL       string
	CertificateIDs []string
}

// IdPCertificate is a certificate that AWS trusts.
type IdPCertificate struct {
	CertificateID string
	*Certificate
}

type idp struct {
	IdPConfiguration
	certificates []IdPCertificate
}

// IdPConfigurations lists the external identity providers of an identity store.
func (w *Model) IdPConfigurations(c Caller, directoryID string) ([]IdPConfiguration, error) {
	w.Advance()
	i, err := w.reach(c, ServiceAppsAuth, ListIdPConfigurationsAction, directoryID)
	if err != nil {
		return nil, err
	}
	var list []IdPConfiguration
	for _, p := range i.idps {
		view := p.IdPConfiguration
		for _, certificate := range p.certificates {
			view.CertificateIDs = append(view.CertificateIDs, certificate.CertificateID)
		}
		list = append(list, view)
	}
	return list, nil
}

// IdPCertificates lists the certificates that AWS trusts for an identity provider.
func (w *Model) IdPCertificates(c Caller, idpID, directoryID string) ([]IdPCertificate, error) {
	w.Advance()
	p, err := w.idp(c, ListIdPCertificatesAction, idpID, directoryID)
	if err != nil {
		return nil, err
	}
	return slices.Clone(p.certificates), nil
}

// ImportIdPCertificate makes AWS trust another certificate.
func (w *Model) ImportIdPCertificate(c Caller, idpID, directoryID, pemText string) (certificateID string, err error) {
	w.Advance()
	p, err := w.idp(c, ImportIdPCertificateAction, idpID, directoryID)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode([]byte(pemText))
	if block == nil {
		return "", invalid(ServiceAppsAuth, "The certificate is not PEM.")
	}
	certificate, err := ParsedCertificate(block.Bytes)
	if err != nil {
		return "", invalid(ServiceAppsAuth, "The certificate cannot be parsed.")
	}
	return w.trust(p, certificate), nil
}

// DeleteIdPCertificate ends the trust in a certificate; the last one stays.
func (w *Model) DeleteIdPCertificate(c Caller, idpID, directoryID, certificateID string) error {
	w.Advance()
	p, err := w.idp(c, DeleteIdPCertificateAction, idpID, directoryID)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(p.certificates, func(c IdPCertificate) bool { return c.CertificateID == certificateID })
	switch {
	case at < 0:
		return notFound(ServiceAppsAuth, "Certificate %s not found.", certificateID)
	case len(p.certificates) == 1:
		return &Error{Service: ServiceAppsAuth, Status: http.StatusBadRequest, Code: "ConflictException", Message: "At least one certificate must remain."}
	}
	p.certificates = slices.Delete(p.certificates, at, at+1)
	return nil
}

func (w *Model) idp(c Caller, action Action, idpID, directoryID string) (*idp, error) {
	i, err := w.reach(c, ServiceAppsAuth, action, directoryID)
	if err != nil {
		return nil, err
	}
	for _, p := range i.idps {
		if p.IdPID == idpID {
			return p, nil
		}
	}
	return nil, notFound(ServiceAppsAuth, "Identity provider %s not found.", idpID)
}

func (w *Model) trust(p *idp, certificate *Certificate) string {
	id := w.newID()
	p.certificates = append(p.certificates, IdPCertificate{id, certificate})
	return id
}
