package model

import (
	"crypto/sha1" //nolint:gosec // the thumbprint of an X.509 certificate is defined as SHA-1
	"encoding/hex"
	"strings"
	"time"
)

// Certificate is a public SAML signing certificate, on either side of the bridge.
type Certificate struct {
	Thumbprint string // SHA-1 of the DER, upper-case hex
	NotBefore  time.Time
	NotAfter   time.Time
	DER        []byte // empty when the source gives dates only
}

// Thumbprint returns the SHA-1 of a DER certificate in upper-case hex, as Entra shows it.
func Thumbprint(der []byte) string {
	sum := sha1.Sum(der) //nolint:gosec // see the import
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// CertificateHolder is the side a certificate was read from.
type CertificateHolder string

// The holders of a certificate.
const (
	HolderEntra CertificateHolder = "entra" // signs with it
	HolderAWS   CertificateHolder = "aws"   // trusts it
)

// SigningCertificates is one reading of the certificates an Entra application signs with.
type SigningCertificates struct {
	Certificates          []Certificate // each once, earliest expiry first
	ActiveThumbprint      string        // "": unknown or never set
	ActiveKnown           bool          // false when read from federation metadata, which does not tell
	NotificationAddresses int           // how many people Entra mails before expiry; -1: unknown
}

// Active returns the certificate that Entra is set to sign with.
func (s SigningCertificates) Active() (Certificate, bool) {
	for _, certificate := range s.Certificates {
		if s.ActiveKnown && certificate.Thumbprint == s.ActiveThumbprint {
			return certificate, true
		}
	}
	return Certificate{}, false
}

// Effective returns the certificate whose expiry ends sign-in: the active one or, where
// the source does not tell which that is, the one that expires first.
func (s SigningCertificates) Effective() (Certificate, bool) {
	if s.ActiveKnown {
		return s.Active()
	}
	var earliest Certificate
	for _, certificate := range s.Certificates {
		if earliest.NotAfter.IsZero() || certificate.NotAfter.Before(earliest.NotAfter) {
			earliest = certificate
		}
	}
	return earliest, !earliest.NotAfter.IsZero()
}

// UnexpectedSigner returns the certificate that Entra signs with although it is not the
// active one: when the active one has expired, Entra takes a valid inactive one by itself.
// https://learn.microsoft.com/entra/identity/enterprise-apps/tutorial-manage-certificates-for-federated-single-sign-on
func (s SigningCertificates) UnexpectedSigner(at time.Time) (Certificate, bool) {
	active, known := s.Active()
	if !known || at.Before(active.NotAfter) {
		return Certificate{}, false
	}
	for _, certificate := range s.Certificates {
		if certificate.Thumbprint != active.Thumbprint && !at.Before(certificate.NotBefore) && at.Before(certificate.NotAfter) {
			return certificate, true
		}
	}
	return Certificate{}, false
}

// AppCredential is a secret or certificate by which the exporter itself signs in to Entra.
type AppCredential struct {
	Tenant  string // whose credential it is, by the tenant's name in the config
	Kind    string // secret | certificate
	KeyID   string
	Expires time.Time
}

// The kinds of an application's own credential.
const (
	CredentialSecret      = "secret"
	CredentialCertificate = "certificate"
)
