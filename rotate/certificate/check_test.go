package certificate

import (
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
)

// What one reading of each side says about a rollover.
func TestCheckSigner(t *testing.T) {
	for _, test := range []outcome{
		{"14 days left", func(s *scene) { s.expiresIn(14 * day) }, ""},
		{"fewer", func(s *scene) { s.expiresIn(14*day - 1) }, "active_expiring: the active certificate old expires within 14 days, so a rollover starts only for an operator"},
		{"the active one is unknown", func(s *scene) { s.signing.ActiveKnown = false }, "active_unknown: Entra does not say which certificate is active"},
		{"AWS does not trust it", func(s *scene) { s.trust.Certificates = nil }, "signer_not_trusted: Entra signs with certificate old, which AWS does not trust, so nobody can sign in"},
		{"AWS does not trust it, and fewer than 14 days", func(s *scene) { s.trust.Certificates = nil; s.expiresIn(day) }, "signer_not_trusted: Entra signs with certificate old, which AWS does not trust, so nobody can sign in"},
		{"it has expired", func(s *scene) { s.expiresIn(0) }, "active_expired: the active certificate old has expired, so Entra signs with any other valid one that it has"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene()
				test.spoil(s)
				signer, err := CheckSigner(s.signing, s.trust, s.at.Add(s.skew))
				if got := s.named(errorText(err)); got != test.want {
					t.Errorf("\ngot  %s\nwant %s", got, test.want)
				}
				if unknown := !s.signing.ActiveKnown; (signer.SHA256 == "") != unknown {
					t.Errorf("the signer is %s", signer)
				}
			})
		})
	}
}

// A weak certificate is not imported, even if an operator names it.
func TestNamedCertificateIsWeak(t *testing.T) {
	weak := model.Certificate{DER: selfSigned(t, 1024), NotBefore: time.Now().Add(-day), NotAfter: time.Now().Add(year)}
	weak.Thumbprint = model.Thumbprint(weak.DER)
	want := "certificate " + known(weak).String() + " is not imported: its RSA key has 1024 bits, fewer than 2048"
	_, err := checkNamed(Fingerprint(weak.DER), model.SigningCertificates{Certificates: []model.Certificate{weak}}, nil, time.Now())
	if got := errorText(err); got != want {
		t.Errorf("\ngot  %s\nwant %s", got, want)
	}
}
