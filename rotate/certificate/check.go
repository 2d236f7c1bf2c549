package certificate

import (
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/policy"
)

// CheckSigner returns the certificate that Entra signs with, by one reading of each side,
// and the *rotate.BlockedError with which a rollover would stop because of it.
func CheckSigner(signing model.SigningCertificates, trust model.TrustConfiguration, now time.Time) (Certificate, error) {
	signer, err := checkSigner(sides{signing: signing, trust: trust}, now)
	if err == nil && signer.NotAfter.Sub(now) < policy.MinActiveLife {
		err = rotate.Blocked(model.BlockedActiveExpiring, "the active certificate %s expires within 14 days, so a rollover starts only for an operator", signer)
	}
	return signer, err
}

// checkSigner demands that AWS trusts what Entra signs with, and that this is the active
// certificate, not another one in the place of one that has expired.
func checkSigner(s sides, now time.Time) (Certificate, error) {
	signer, known := s.signer(now)
	active, _ := s.signing.Active()
	switch {
	case !known:
		return signer, rotate.Blocked(model.BlockedActiveUnknown, "%s", unknownActive(s))
	case !s.trusts(signer):
		return signer, signerNotTrusted(signer)
	case !now.Before(active.NotAfter):
		return signer, rotate.Blocked(model.BlockedActiveExpired, "the active certificate %s has expired, so Entra signs with any other valid one that it has",
			describe(name(active), active.Subject, active.NotBefore, active.NotAfter))
	default:
		return signer, nil
	}
}
