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
func (aws *AWS) IdPConfigurations(c Caller, directoryID string) ([]IdPConfiguration, error) {
	i, err := aws.storeFor(c, ServiceAppsAuth, ListIdPConfigurationsAction, directoryID)
	if err != nil {
		return nil, err
	}
	first := i.idp.IdPConfiguration
	for _, certificate := range i.idp.certificates(aws.listedAt()) {
		first.CertificateIDs = append(first.CertificateIDs, certificate.CertificateID)
	}
	return append([]IdPConfiguration{first}, i.idp.others...), nil
}

// IdPCertificates lists the certificates that AWS trusts for an identity provider. Quirk:
// trust_list_lag.
func (aws *AWS) IdPCertificates(c Caller, idpID, directoryID string) ([]IdPCertificate, error) {
	i, err := aws.idpFor(c, ListIdPCertificatesAction, idpID, directoryID)
	if err != nil {
		return nil, err
	}
	if i.idp.IdPID != idpID {
		return nil, nil // one of the others
	}
	return i.idp.certificates(aws.listedAt()), nil
}

// Trusted lists what AWS trusts for the external identity provider of an identity store,
// whatever its lists show.
func (aws *AWS) Trusted(directoryID string) []IdPCertificate {
	aws.Advance()
	if i := aws.instance(directoryID); i != nil {
		return i.idp.certificates(aws.at)
	}
	return nil
}

// IdPOf returns the id of an identity store's external identity provider.
func (aws *AWS) IdPOf(directoryID string) string {
	if i := aws.instance(directoryID); i != nil {
		return i.idp.IdPID
	}
	return ""
}

func (aws *AWS) listedAt() time.Time { return aws.at.Add(-aws.lag(aws.quirks.TrustListLag)) }

func (aws *AWS) idpFor(c Caller, action Action, idpID, directoryID string) (*instance, error) {
	i, err := aws.storeFor(c, ServiceAppsAuth, action, directoryID)
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
func (aws *AWS) ImportIdPCertificate(c Caller, idpID, directoryID, certificateInPEM, use string) (string, error) {
	i, err := aws.idpFor(c, ImportIdPCertificateAction, idpID, directoryID)
	if err != nil {
		return "", err
	}
	refuse := func(status int, code, message string) (string, error) {
		return "", NewError(ServiceAppsAuth, status, code, message)
	}
	if use != CertificateUse || aws.quirks.CertificateUse == UseRefused {
		return refuse(http.StatusBadRequest, "ValidationException", "Value at 'certificateUse' failed to satisfy constraint: Member must satisfy enum value set.")
	}
	block, rest := pem.Decode([]byte(certificateInPEM))
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		return refuse(http.StatusBadRequest, "ValidationException", "The certificate is not one certificate in PEM.")
	}
	certificate, err := aws.readCertificate(block.Bytes)
	if err != nil {
		return refuse(http.StatusBadRequest, "ValidationException", "The certificate cannot be parsed.")
	}
	listed := i.idp.certificates(aws.at)
	if at := slices.IndexFunc(listed, func(other IdPCertificate) bool { return other.isSame(certificate) }); at >= 0 {
		switch aws.quirks.SecondImport {
		case ImportRefused:
			return refuse(http.StatusConflict, "ConflictException", "The certificate exists already.")
		case ImportNoOp:
			return listed[at].CertificateID, nil
		}
	}
	if limit := map[string]int{SlotsTwo: 2, SlotsThree: 3}[aws.quirks.TrustSlots]; limit > 0 && len(listed) >= limit {
		return refuse(http.StatusPaymentRequired, "ServiceQuotaExceededException", "The number of certificates for this identity provider has reached its limit.")
	}
	added := &trust{IdPCertificate: IdPCertificate{aws.newID(), certificate}, idpID: idpID, from: aws.at, by: c.Actor}
	i.idp.trusted = append(i.idp.trusted, added)
	aws.record(CertificateImport{aws.stamp(c.Actor), directoryID, added.CertificateID, certificate.Thumbprint(), certificate.createdBy})
	aws.afterChange()
	return added.CertificateID, nil
}

// DeleteIdPCertificate ends AWS's trust in a certificate. Quirk: last_certificate.
func (aws *AWS) DeleteIdPCertificate(c Caller, idpID, directoryID, certificateID string) error {
	i, err := aws.idpFor(c, DeleteIdPCertificateAction, idpID, directoryID)
	if err != nil {
		return err
	}
	var deleted *trust
	remaining := 0
	for _, t := range i.idp.trusted {
		switch {
		case t.idpID != idpID || !t.isListed(aws.at):
		case t.CertificateID == certificateID:
			deleted = t
		case t.isValid(aws.at):
			remaining++
		}
	}
	if deleted == nil {
		return notFound(ServiceAppsAuth, "Certificate %s not found.", certificateID)
	}
	if remaining == 0 && aws.quirks.LastCertificate == LastRefused {
		return NewError(ServiceAppsAuth, http.StatusConflict, "ConflictException", "At least one valid certificate must remain.")
	}
	deleted.until, deleted.endedBy = aws.at, c.Actor
	aws.record(CertificateDeletion{aws.stamp(c.Actor), directoryID, certificateID, deleted.Thumbprint(), deleted.by, remaining})
	aws.afterChange()
	return nil
}

// ReplaceIdP configures the external identity provider of an identity store anew: another
// id, and none of the certificates.
func (aws *AWS) ReplaceIdP(actor Actor, directoryID string) error {
	aws.Advance()
	i := aws.instance(directoryID)
	if i == nil {
		return notFound(ServiceAppsAuth, "Directory %s not found.", directoryID)
	}
	for _, t := range i.idp.trusted {
		if t.until.IsZero() {
			t.until, t.endedBy = aws.at, actor
		}
	}
	old := i.idp.IdPID
	i.idp.IdPID = aws.newID()
	aws.annotate(actor, "replaced identity provider %s of %s by %s", old, directoryID, i.idp.IdPID)
	aws.afterChange()
	return nil
}

// AddIdP configures a second external identity provider.
func (aws *AWS) AddIdP(actor Actor, directoryID string) error {
	aws.Advance()
	i := aws.instance(directoryID)
	if i == nil {
		return notFound(ServiceAppsAuth, "Directory %s not found.", directoryID)
	}
	i.idp.others = append(i.idp.others, IdPConfiguration{IdPID: aws.newID(), Enabled: true})
	aws.annotate(actor, "added a second identity provider to %s", directoryID)
	return nil
}

// RemoveIdP removes the second external identity provider.
func (aws *AWS) RemoveIdP(actor Actor, directoryID string) error {
	aws.Advance()
	i := aws.instance(directoryID)
	if i == nil {
		return notFound(ServiceAppsAuth, "Directory %s not found.", directoryID)
	}
	i.idp.others = nil
	aws.annotate(actor, "removed the second identity provider of %s", directoryID)
	return nil
}

// trusts reports whether AWS accepts what this certificate signs at a time; if not, why,
// since when, and who made it so. Quirk: trust_lag.
func (aws *AWS) trusts(i *instance, signer *Certificate, at time.Time) (accepted bool, cause Cause, by Actor, since time.Time) {
	for _, t := range i.idp.trusted {
		switch {
		case !t.isSame(signer) || t.from.After(at):
			continue
		case !t.isListed(at):
			if t.until.After(since) {
				cause, by, since = CauseDeleted, t.endedBy, t.until
			}
			continue
		case !t.from.IsZero() && at.Before(t.from.Add(aws.lag(aws.quirks.TrustLag))):
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
