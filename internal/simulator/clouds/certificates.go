//nolint:revive // IdP is AWS's own spelling, in the names of its operations.
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
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// Certificate is a self-signed SAML signing certificate. Its DER is made when first
// asked for, from the Model's seed, so that the same seed gives the same thumbprints.
type Certificate struct {
	NotBefore, NotAfter time.Time
	subject             string
	seed                uint64
	negative            bool // its serial number
	der                 []byte
}

// NewCertificate makes a self-signed certificate for a subject's common name.
func (c *core) NewCertificate(subject string, notBefore, notAfter time.Time) *Certificate {
	certificate := &Certificate{NotBefore: notBefore, NotAfter: notAfter, subject: subject, seed: c.random(), negative: c.quirks.SigningCertificates == CertificatesNegative}
	c.certificates = append(c.certificates, certificate)
	return certificate
}

// NewSigningCertificate makes a certificate as Entra does, with its two key ids.
func (c *core) NewSigningCertificate(notBefore, notAfter time.Time) SigningCertificate {
	return SigningCertificate{
		Certificate: c.NewCertificate("Microsoft Azure Federated SSO Certificate", notBefore, notAfter), SignKeyID: c.newID(), VerifyKeyID: c.newID(),
	}
}

// BrokenCertificate claims these dates but carries bytes that are no certificate.
func BrokenCertificate(der []byte, notBefore, notAfter time.Time) *Certificate {
	return &Certificate{NotBefore: notBefore, NotAfter: notAfter, der: der}
}

// DER returns the encoded certificate.
func (c *Certificate) DER() []byte {
	if c.der != nil {
		return c.der
	}
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
	return der
}

// Thumbprint returns the SHA-1 of the DER in upper-case hex.
func (c *Certificate) Thumbprint() string { return model.Thumbprint(c.DER()) }

// IdPConfiguration is the external identity provider of an identity store.
type IdPConfiguration struct {
	IdPID   string
	Enabled bool
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

// IdPConfigurations lists the external identity providers of an identity store: it has one.
func (aws *AWS) IdPConfigurations(c Caller, directoryID string) ([]IdPConfiguration, error) {
	i, err := aws.storeFor(c, ServiceAppsAuth, ListIdPConfigurationsAction, directoryID)
	if err != nil {
		return nil, err
	}
	return []IdPConfiguration{i.idp.IdPConfiguration}, nil
}

// IdPCertificates lists the certificates that AWS trusts for an identity provider.
func (aws *AWS) IdPCertificates(c Caller, idpID, directoryID string) ([]IdPCertificate, error) {
	i, err := aws.storeFor(c, ServiceAppsAuth, ListIdPCertificatesAction, directoryID)
	if err != nil {
		return nil, err
	}
	if i.idp.IdPID != idpID {
		return nil, notFound(ServiceAppsAuth, "Identity provider %s not found.", idpID)
	}
	return slices.Clone(i.idp.certificates), nil
}
