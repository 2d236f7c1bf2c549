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
