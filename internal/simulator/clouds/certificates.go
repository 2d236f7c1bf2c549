package clouds

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// Certificate is a self-signed SAML signing certificate. Its DER is made from the Model's
// seed, so that the same seed gives the same thumbprints.
type Certificate struct {
	NotBefore, NotAfter time.Time
	subject             string
	seed                uint64
	negative            bool // its serial number
	der                 []byte
	createdBy           Actor // in Entra; "": nobody there
}

// Subject returns the subject as a distinguished name.
func (c *Certificate) Subject() string { return "CN=" + c.subject }

func (c *Certificate) isValid(at time.Time) bool {
	return !at.Before(c.NotBefore) && at.Before(c.NotAfter)
}

// isSame reports whether the two are one certificate, byte by byte.
func (c *Certificate) isSame(other *Certificate) bool {
	return c == other || bytes.Equal(c.DER(), other.DER())
}

// NewCertificate makes a self-signed certificate for a subject's common name.
func (c *core) NewCertificate(subject string, notBefore, notAfter time.Time) *Certificate {
	certificate := &Certificate{NotBefore: notBefore, NotAfter: notAfter, subject: subject, seed: c.random(), negative: c.quirks.SigningCertificates == CertificatesNegative}
	certificate.issue()
	c.certificates = append(c.certificates, certificate)
	return certificate
}

// NewSigningCertificate makes a certificate as Entra does, with its two key ids.
func (c *core) NewSigningCertificate(notBefore, notAfter time.Time) SigningCertificate {
	return SigningCertificate{
		Certificate: c.NewCertificate("Microsoft Azure Federated SSO Certificate", notBefore, notAfter), SignKeyID: c.newID(), VerifyKeyID: c.newID(),
	}
}

// readCertificate finds the certificate that these bytes are, or reads them.
func (c *core) readCertificate(der []byte) (*Certificate, error) {
	for _, known := range c.certificates {
		if bytes.Equal(known.DER(), der) {
			return known, nil
		}
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Certificate{NotBefore: parsed.NotBefore, NotAfter: parsed.NotAfter, subject: parsed.Subject.CommonName, der: der}, nil
}

// BrokenCertificate claims these dates but carries bytes that are no certificate.
func BrokenCertificate(der []byte, notBefore, notAfter time.Time) *Certificate {
	return &Certificate{NotBefore: notBefore, NotAfter: notAfter, der: der}
}

// issue makes the DER anew, at each change of what it holds: readers of a view hold no lock.
func (c *Certificate) issue() {
	seed := sha256.Sum256(fmt.Appendf(nil, "%s/%d", c.subject, c.seed))
	key := ed25519.NewKeyFromSeed(seed[:]) // signs deterministically, and in microseconds
	serial := seed[:16]
	if c.negative {
		serial[0] = 0x7e // what makes it negative is set below, as Go refuses to
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial), // larger than an int64, as the real ones are
		Subject:      pkix.Name{CommonName: c.subject},
		NotBefore:    c.NotBefore, NotAfter: c.NotAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil { // only a template that cannot be encoded
		panic(fmt.Sprintf("making a certificate for %s: %v", c.subject, err))
	}
	if c.negative {
		der = bytes.Replace(der, serial, append([]byte{0xfe}, serial[1:]...), 1)
	}
	c.der = der
}

// DER returns the encoded certificate.
func (c *Certificate) DER() []byte { return c.der }

// Thumbprint returns the SHA-1 of the DER in upper-case hex.
func (c *Certificate) Thumbprint() string { return model.Thumbprint(c.DER()) }

// maxCertificateLifetime is the longest that Entra makes.
const maxCertificateLifetime = 3 * 366 * day

// signerUptake is how long Entra's sign-in service goes on with the certificate that was
// active before, with signer_uptake=delayed; cacheUptake is how long its old caches do.
const (
	signerUptake = 30 * time.Minute
	cacheUptake  = time.Hour
)

// signing is what decides with which certificate an application signs, from a time on.
type signing struct {
	Stamp
	mode         string
	preferred    *Certificate
	absent       string // a thumbprint that no certificate has
	preferredBy  Stamp
	certificates []SigningCertificate
}

func (s signing) isSame(other signing) bool {
	return s.mode == other.mode && s.preferred == other.preferred && s.absent == other.absent &&
		slices.EqualFunc(s.certificates, other.certificates, func(a, b SigningCertificate) bool { return a.Certificate == b.Certificate && a.NoSign == b.NoSign })
}

// noteSigning records how an application signs after a change of it.
func (entra *Entra) noteSigning(sp *servicePrincipal, actor Actor) {
	next := signing{entra.stamp(actor), sp.SSOMode, sp.Preferred, sp.Absent, entra.stamp(actor), slices.Clone(sp.Certificates)}
	if len(sp.signings) > 0 {
		last := sp.signings[len(sp.signings)-1]
		if next.isSame(last) {
			return
		}
		if next.preferred == last.preferred && next.absent == last.absent {
			next.preferredBy = last.preferredBy
		}
	}
	for _, certificate := range sp.Certificates {
		if certificate.createdBy == "" {
			certificate.createdBy = actor
		}
	}
	sp.signings = append(sp.signings, next)
}

// signingAt is how the application signed at a time. How it was at the start was always so.
func (sp *servicePrincipal) signingAt(at time.Time) signing {
	found := sp.signings[0]
	for _, s := range sp.signings[1:] {
		if s.At.After(at) {
			break
		}
		found = s
	}
	return found
}

// signer returns the certificate that Entra signs with at a time, why, since when and who
// made it so; old caches may sign with another one. nil: Entra signs nothing. Quirks:
// signer_uptake, expired_signer.
// https://learn.microsoft.com/entra/identity/enterprise-apps/tutorial-manage-certificates-for-federated-single-sign-on
func (entra *Entra) signer(sp *servicePrincipal, at time.Time, oldCache bool) (signer *Certificate, cause Cause, made Stamp) {
	seen := at
	switch {
	case entra.quirks.SignerUptake == UptakeDelayed:
		seen = at.Add(-entra.lag(signerUptake))
	case entra.quirks.SignerUptake == UptakeCached && oldCache:
		seen = at.Add(-entra.lag(cacheUptake))
	}
	s := sp.signingAt(seen)
	if s.mode != model.SingleSignOnSAML {
		return nil, CauseMode, s.Stamp
	}
	if s.preferred != nil && (at.Before(s.preferred.NotAfter) || entra.quirks.ExpiredSigner == ExpiredStays) {
		return s.preferred, CauseActivated, s.preferredBy
	}
	for _, certificate := range s.certificates {
		if !certificate.NoSign && certificate.isValid(at) && (signer == nil || certificate.NotAfter.After(signer.NotAfter)) {
			signer = certificate.Certificate
		}
	}
	switch {
	case signer != nil:
		return signer, CauseSwitched, Stamp{signer.NotBefore, signer.createdBy}
	case s.preferred != nil:
		return s.preferred, CauseExpired, Stamp{s.preferred.NotAfter, ActorTime}
	default:
		return nil, CauseActivated, s.Stamp
	}
}

// AddTokenSigningCertificate makes a certificate with its private key, which is not
// active. Quirks: created_certificate, app_policy.
// https://learn.microsoft.com/graph/api/serviceprincipal-addtokensigningcertificate
func (entra *Entra) AddTokenSigningCertificate(c Caller, tenantID, objectID, displayName string, expires time.Time) (SigningCertificate, error) {
	sp, err := entra.application(c, WriteApplications, tenantID, objectID)
	if err != nil {
		return SigningCertificate{}, err
	}
	if !entra.mayMakeCertificate(c, sp) {
		return SigningCertificate{}, refusedByGraph()
	}
	subject, isCommonName := strings.CutPrefix(displayName, "CN=")
	if expires.IsZero() {
		expires = entra.at.AddDate(3, 0, 0)
	}
	switch {
	case entra.quirks.AppPolicy == PolicyRefuses:
		return SigningCertificate{}, NewError(ServiceGraph, http.StatusForbidden, "CredentialTypeNotAllowedAsPerAppPolicy", "Credential type not allowed as per assigned policy.")
	case !isCommonName || subject == "":
		return SigningCertificate{}, NewError(ServiceGraph, http.StatusBadRequest, "Request_BadRequest", "The displayName must start with CN=.")
	case !expires.After(entra.at) || expires.Sub(entra.at) > maxCertificateLifetime:
		return SigningCertificate{}, NewError(ServiceGraph, http.StatusBadRequest, "Request_BadRequest", "The endDateTime is not valid.")
	}
	added := SigningCertificate{Certificate: entra.NewCertificate(subject, entra.at, expires), SignKeyID: entra.newID(), VerifyKeyID: entra.newID()}
	added.createdBy = c.Actor
	sp.Certificates = append(sp.Certificates, added)
	entra.noteSigning(sp, c.Actor)
	entra.record(CertificateCreation{entra.stamp(c.Actor), objectID, added.Thumbprint()})
	activate := func() {
		sp.Preferred, sp.Absent = added.Certificate, ""
		entra.noteSigning(sp, ActorEntra)
		entra.annotate(ActorEntra, "activated certificate %s by itself", added.Thumbprint())
	}
	switch entra.quirks.CreatedCertificate {
	case CreatedActive:
		activate()
	case CreatedActiveLater:
		entra.scheduled = append(entra.scheduled, scheduledEvent{entra.at.Add(entra.lag(10 * time.Minute)), activate})
	}
	entra.afterChange()
	return added, nil
}

// PreferSigningCertificate activates the certificate with this thumbprint. Graph does not
// check that there is one.
func (entra *Entra) PreferSigningCertificate(c Caller, tenantID, objectID, thumbprint string) error {
	sp, err := entra.application(c, WriteApplications, tenantID, objectID)
	if err != nil {
		return err
	}
	before := sp.ActiveThumbprint()
	sp.Preferred, sp.Absent = nil, strings.ToUpper(thumbprint)
	for _, certificate := range sp.Certificates {
		if strings.EqualFold(certificate.Thumbprint(), thumbprint) {
			sp.Preferred, sp.Absent = certificate.Certificate, ""
		}
	}
	entra.noteSigning(sp, c.Actor)
	entra.record(CertificateActivation{entra.stamp(c.Actor), objectID, before, sp.ActiveThumbprint()})
	entra.afterChange()
	return nil
}

// Signing returns an application as it is, whatever a replica of the directory shows.
func (entra *Entra) Signing(tenantID, objectID string) ServicePrincipal {
	sp, err := entra.application(Caller{}, ReadApplications, tenantID, objectID)
	if err != nil {
		return ServicePrincipal{}
	}
	view := sp.ServicePrincipal
	view.Certificates = slices.Clone(view.Certificates)
	return view
}

// ActiveThumbprint returns the thumbprint it is set to sign with; "": none.
func (sp *ServicePrincipal) ActiveThumbprint() string {
	if sp.Preferred == nil {
		return sp.Absent
	}
	return sp.Preferred.Thumbprint()
}

// ReplaceSigningCertificate lets a tool replace the active certificate by another one,
// without telling AWS.
func (entra *Entra) ReplaceSigningCertificate(actor Actor, tenantID, objectID string) (string, error) {
	added, err := entra.AddTokenSigningCertificate(CallerFor(actor), tenantID, objectID, "CN=replaced by "+string(actor), time.Time{})
	if err != nil {
		return "", err
	}
	sp, err := entra.application(Caller{}, WriteApplications, tenantID, objectID)
	if err != nil {
		return "", err
	}
	old := sp.Preferred
	if err := entra.PreferSigningCertificate(CallerFor(actor), tenantID, objectID, added.Thumbprint()); err != nil {
		return "", err
	}
	sp.Certificates = slices.DeleteFunc(sp.Certificates, func(s SigningCertificate) bool { return s.Certificate == old })
	entra.noteSigning(sp, actor)
	entra.annotate(actor, "replaced certificate of %s by %s", objectID, added.Thumbprint())
	return added.Thumbprint(), nil
}

// SetSingleSignOn changes the mode of an application's single sign-on.
func (entra *Entra) SetSingleSignOn(actor Actor, tenantID, objectID, mode string) error {
	sp, err := entra.application(Caller{}, WriteApplications, tenantID, objectID)
	if err != nil {
		return err
	}
	sp.SSOMode = mode
	entra.noteSigning(sp, actor)
	entra.annotate(actor, "set single sign-on of %s to %q", objectID, mode)
	entra.afterChange()
	return nil
}
