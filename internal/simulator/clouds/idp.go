//nolint:revive // IdP is AWS's own spelling, in the names of its operations.
package clouds

import (
	"encoding/pem"
	"net/http"
	"slices"
	"time"
)

// CertificateUse is the only use of a certificate that AWS is known to take.
const CertificateUse = "SIGNING"

// IdentityProviders is the external identity providers of AWS's identity stores, and the
// certificates that AWS trusts for them.
type IdentityProviders struct {
	*core
	aws *AWS
}

// IdPConfiguration is an external identity provider of an identity store.
type IdPConfiguration struct {
	IdPID          string
	Enabled        bool
	CertificateIDs []string
}

// IdPCertificate is a certificate that AWS trusts.
type IdPCertificate struct {
	CertificateID string
	*Certificate
}

type idp struct {
	IdPConfiguration
	trusted []*trust // the deleted ones too
	others  []IdPConfiguration
}

// trust is a certificate that AWS trusts, or trusted.
type trust struct {
	IdPCertificate
	idpID       string
	from, until time.Time // from is zero: since before the start; until is zero: it lasts
	by, endedBy Actor
}

func (t *trust) isListed(at time.Time) bool {
	return !t.from.After(at) && (t.until.IsZero() || t.until.After(at))
}

// certificates are those that the identity provider has at a time.
func (p *idp) certificates(at time.Time) []IdPCertificate {
	var list []IdPCertificate
	for _, t := range p.trusted {
		if t.idpID == p.IdPID && t.isListed(at) {
			list = append(list, t.IdPCertificate)
		}
	}
	return list
}

// IdPConfigurations lists the external identity providers of an identity store. Quirk:
// trust_list_lag.
func (providers *IdentityProviders) IdPConfigurations(c Caller, directoryID string) ([]IdPConfiguration, error) {
	i, err := providers.aws.storeFor(c, ServiceAppsAuth, ListIdPConfigurationsAction, directoryID)
	if err != nil {
		return nil, err
	}
	first := i.idp.IdPConfiguration
	for _, certificate := range i.idp.certificates(providers.listedAt()) {
		first.CertificateIDs = append(first.CertificateIDs, certificate.CertificateID)
	}
	return append([]IdPConfiguration{first}, i.idp.others...), nil
}

// IdPCertificates lists the certificates that AWS trusts for an identity provider. Quirk:
// trust_list_lag.
func (providers *IdentityProviders) IdPCertificates(c Caller, idpID, directoryID string) ([]IdPCertificate, error) {
	i, err := providers.idpFor(c, ListIdPCertificatesAction, idpID, directoryID)
	if err != nil {
		return nil, err
	}
	if i.idp.IdPID != idpID {
		return nil, nil // one of the others
	}
	return i.idp.certificates(providers.listedAt()), nil
}

// Trusted lists what AWS trusts for the external identity provider of an identity store,
// whatever its lists show.
func (providers *IdentityProviders) Trusted(directoryID string) []IdPCertificate {
	providers.Advance()
	if i := providers.aws.instance(directoryID); i != nil {
		return i.idp.certificates(providers.at)
	}
	return nil
}

// IdPOf returns the id of an identity store's external identity provider.
func (providers *IdentityProviders) IdPOf(directoryID string) string {
	if i := providers.aws.instance(directoryID); i != nil {
		return i.idp.IdPID
	}
	return ""
}

func (providers *IdentityProviders) listedAt() time.Time {
	return providers.at.Add(-providers.lag(providers.quirks.TrustListLag))
}

func (providers *IdentityProviders) idpFor(c Caller, action Action, idpID, directoryID string) (*instance, error) {
	i, err := providers.aws.storeFor(c, ServiceAppsAuth, action, directoryID)
	if err != nil {
		return nil, err
	}
	if i.idp.IdPID != idpID && !slices.ContainsFunc(i.idp.others, func(other IdPConfiguration) bool { return other.IdPID == idpID }) {
		return nil, notFound(ServiceAppsAuth, "Identity provider %s not found.", idpID)
	}
	return i, nil
}

// ImportIdPCertificate makes AWS trust a certificate in PEM, and returns its id. Quirks:
// trust_slots, second_import, certificate_use.
func (providers *IdentityProviders) ImportIdPCertificate(c Caller, idpID, directoryID, certificateInPEM, use string) (string, error) {
	i, err := providers.idpFor(c, ImportIdPCertificateAction, idpID, directoryID)
	if err != nil {
		return "", err
	}
	refuse := func(status int, code, message string) (string, error) {
		return "", NewError(ServiceAppsAuth, status, code, message)
	}
	if use != CertificateUse || providers.quirks.CertificateUse == UseRefused {
		return refuse(http.StatusBadRequest, "ValidationException", "Value at 'certificateUse' failed to satisfy constraint: Member must satisfy enum value set.")
	}
	block, rest := pem.Decode([]byte(certificateInPEM))
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		return refuse(http.StatusBadRequest, "ValidationException", "The certificate is not one certificate in PEM.")
	}
	certificate, err := providers.readCertificate(block.Bytes)
	if err != nil {
		return refuse(http.StatusBadRequest, "ValidationException", "The certificate cannot be parsed.")
	}
	listed := i.idp.certificates(providers.at)
	if at := slices.IndexFunc(listed, func(other IdPCertificate) bool { return other.isSame(certificate) }); at >= 0 {
		switch providers.quirks.SecondImport {
		case ImportRefused:
			return refuse(http.StatusConflict, "ConflictException", "The certificate exists already.")
		case ImportNoOp:
			return listed[at].CertificateID, nil
		}
	}
	if limit := map[string]int{SlotsTwo: 2, SlotsThree: 3}[providers.quirks.TrustSlots]; limit > 0 && len(listed) >= limit {
		return refuse(http.StatusPaymentRequired, "ServiceQuotaExceededException", "The number of certificates for this identity provider has reached its limit.")
	}
	added := &trust{IdPCertificate: IdPCertificate{providers.newID(), certificate}, idpID: idpID, from: providers.at, by: c.Actor}
	i.idp.trusted = append(i.idp.trusted, added)
	providers.record(CertificateImport{providers.stamp(c.Actor), directoryID, added.CertificateID, certificate.Thumbprint(), certificate.createdBy})
	providers.afterChange()
	return added.CertificateID, nil
}

// DeleteIdPCertificate ends AWS's trust in a certificate. Quirk: last_certificate.
func (providers *IdentityProviders) DeleteIdPCertificate(c Caller, idpID, directoryID, certificateID string) error {
	i, err := providers.idpFor(c, DeleteIdPCertificateAction, idpID, directoryID)
	if err != nil {
		return err
	}
	var deleted *trust
	remaining := 0
	for _, t := range i.idp.trusted {
		switch {
		case t.idpID != idpID || !t.isListed(providers.at):
		case t.CertificateID == certificateID:
			deleted = t
		case t.isValid(providers.at):
			remaining++
		}
	}
	if deleted == nil {
		return notFound(ServiceAppsAuth, "Certificate %s not found.", certificateID)
	}
	if remaining == 0 && providers.quirks.LastCertificate == LastRefused {
		return NewError(ServiceAppsAuth, http.StatusConflict, "ConflictException", "At least one valid certificate must remain.")
	}
	deleted.until, deleted.endedBy = providers.at, c.Actor
	providers.record(CertificateDeletion{providers.stamp(c.Actor), directoryID, certificateID, deleted.Thumbprint(), deleted.by, remaining})
	providers.afterChange()
	return nil
}

// ReplaceIdP configures the external identity provider of an identity store anew: another
// id, and none of the certificates.
func (providers *IdentityProviders) ReplaceIdP(actor Actor, directoryID string) error {
	providers.Advance()
	i := providers.aws.instance(directoryID)
	if i == nil {
		return notFound(ServiceAppsAuth, "Directory %s not found.", directoryID)
	}
	for _, t := range i.idp.trusted {
		if t.until.IsZero() {
			t.until, t.endedBy = providers.at, actor
		}
	}
	old := i.idp.IdPID
	i.idp.IdPID = providers.newID()
	providers.annotate(actor, "replaced identity provider %s of %s by %s", old, directoryID, i.idp.IdPID)
	providers.afterChange()
	return nil
}

// AddIdP configures a second external identity provider.
func (providers *IdentityProviders) AddIdP(actor Actor, directoryID string) error {
	providers.Advance()
	i := providers.aws.instance(directoryID)
	if i == nil {
		return notFound(ServiceAppsAuth, "Directory %s not found.", directoryID)
	}
	i.idp.others = append(i.idp.others, IdPConfiguration{IdPID: providers.newID(), Enabled: true})
	providers.annotate(actor, "added a second identity provider to %s", directoryID)
	return nil
}

// RemoveIdP removes the second external identity provider.
func (providers *IdentityProviders) RemoveIdP(actor Actor, directoryID string) error {
	providers.Advance()
	i := providers.aws.instance(directoryID)
	if i == nil {
		return notFound(ServiceAppsAuth, "Directory %s not found.", directoryID)
	}
	i.idp.others = nil
	providers.annotate(actor, "removed the second identity provider of %s", directoryID)
	return nil
}

// trusts reports whether AWS accepts what this certificate signs at a time; if not, why,
// since when, and who made it so. Quirk: trust_lag.
func (providers *IdentityProviders) trusts(i *instance, signer *Certificate, at time.Time) (accepted bool, cause Cause, by Actor, since time.Time) {
	for _, t := range i.idp.trusted {
		switch {
		case !t.isSame(signer) || t.from.After(at):
			continue
		case !t.isListed(at):
			if t.until.After(since) {
				cause, by, since = CauseDeleted, t.endedBy, t.until
			}
			continue
		case !t.from.IsZero() && at.Before(t.from.Add(providers.lag(providers.quirks.TrustLag))):
			if cause == "" {
				cause = CausePropagating
			}
			continue
		case !signer.isValid(at):
			return false, CauseExpired, ActorTime, signer.NotAfter
		}
		return true, "", "", time.Time{}
	}
	return false, cause, by, since
}
