package model

import (
	"cmp"
	"crypto/x509"
	"slices"
)

// NewCertificate describes a parsed certificate.
func NewCertificate(parsed *x509.Certificate) Certificate {
	return Certificate{
		Thumbprint: Thumbprint(parsed.Raw), Subject: parsed.Subject.String(),
		NotBefore: parsed.NotBefore.UTC(), NotAfter: parsed.NotAfter.UTC(), DER: parsed.Raw,
	}
}

// SortCertificates returns each certificate once, earliest expiry first.
func SortCertificates(certificates []Certificate) []Certificate {
	slices.SortFunc(certificates, func(a, b Certificate) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Thumbprint, b.Thumbprint))
	})
	return slices.CompactFunc(certificates, func(a, b Certificate) bool { return a.Thumbprint == b.Thumbprint })
}
