package model

import (
	"crypto/sha1" //nolint:gosec // the thumbprint of an X.509 certificate is defined as SHA-1
	"encoding/hex"
	"strings"
	"time"
)

// Certificate is a public SAML signing certificate, as Entra or AWS holds it.
type Certificate struct {
	Thumbprint string // SHA-1 of the DER, upper-case hex
	Subject    string // "CN=…"; "": unknown
	NotBefore  time.Time
	NotAfter   time.Time
	DER        []byte // empty when the source gives dates only
}

// Thumbprint returns the SHA-1 of a DER certificate in upper-case hex, as Entra shows it.
func Thumbprint(der []byte) string {
	sum := sha1.Sum(der) //nolint:gosec // see the import
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// CertificateHolder says which side a certificate was read from.
type CertificateHolder string

// The holders of a certificate.
const (
	HolderEntra CertificateHolder = "entra" // signs with it
	HolderAWS   CertificateHolder = "aws"   // trusts it
)

// SigningCertificates are the certificates that an Entra application can sign with.
type SigningCertificates struct {
	Certificates          []Certificate // each once, earliest expiry first
	ActiveThumbprint      string        // "": unknown or never set
	ActiveKnown           bool          // false: read from federation metadata, which does not say
	Keyless               []Certificate // listed without a private key, so Entra cannot sign with them
	SSOMode               string        // SingleSignOnSAML, or another way to sign in; "": not set, or unknown
	NotificationAddresses int           // how many addresses Entra notifies before expiry; -1: unknown
}

// SingleSignOnSAML is the mode of an application whose active certificate signs.
// https://learn.microsoft.com/graph/api/resources/serviceprincipal
const SingleSignOnSAML = "saml"

// Active returns the certificate that Entra is set to sign with.
func (s SigningCertificates) Active() (Certificate, bool) {
	for _, certificate := range s.Certificates {
		if s.ActiveKnown && certificate.Thumbprint == s.ActiveThumbprint {
			return certificate, true
		}
	}
	return Certificate{}, false
}

// Effective returns the certificate whose expiry ends sign-in: the active one or, if that
// is not known, the unexpired one that expires first; if all have expired, the last one.
func (s SigningCertificates) Effective(at time.Time) (Certificate, bool) {
	if active, found := s.Active(); found {
		return active, true
	}
	var earliest, latest Certificate
	for _, certificate := range s.Certificates {
		if at.Before(certificate.NotAfter) && (earliest.NotAfter.IsZero() || certificate.NotAfter.Before(earliest.NotAfter)) {
			earliest = certificate
		}
		if certificate.NotAfter.After(latest.NotAfter) {
			latest = certificate
		}
	}
	if earliest.NotAfter.IsZero() {
		earliest = latest
	}
	return earliest, !earliest.NotAfter.IsZero()
}

// UnexpectedSigner returns the certificate that Entra signs with although it is not the
// active one. When the active one has expired, Entra switches to a valid inactive one.
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

// AppCredential is a secret or certificate with which the exporter signs in to Entra.
type AppCredential struct {
	Tenant  string // the tenant's name in the config
	Kind    string // secret | certificate
	KeyID   string
	Expires time.Time
}

// The kinds of an application's own credential.
const (
	CredentialSecret      = "secret"
	CredentialCertificate = "certificate"
)

// EntraCertificateSource says where Entra's SAML signing certificates are read.
type EntraCertificateSource string

// The sources of Entra's certificates. Federation metadata does not say which one is active.
const (
	EntraCertificatesGraph    EntraCertificateSource = "graph"
	EntraCertificatesMetadata EntraCertificateSource = "federation_metadata"
)

// AWSCertificateSource says where the SAML certificates that AWS trusts are read.
type AWSCertificateSource string

// The sources of AWS's certificates.
const (
	AWSCertificatesNone       AWSCertificateSource = "none"
	AWSCertificatesConsoleAPI AWSCertificateSource = "console_api"
	AWSCertificatesFiles      AWSCertificateSource = "files"
)
