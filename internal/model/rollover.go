package model

import (
	"errors"
	"slices"
	"time"
)

// IssuedCertificate is a certificate that Entra just made, as its answer shows it. The
// private key never leaves Entra.
type IssuedCertificate struct {
	Certificate
	KeyID string // of the credential that signs
}

// TrustedCertificate is a certificate that AWS trusts, as it lists it.
type TrustedCertificate struct {
	Certificate
	ID     string
	Status string // AWS's own word, whose values are unknown; "": not shown
}

// TrustConfiguration is what AWS trusts for an identity store.
type TrustConfiguration struct {
	IDPConfigurations int                  // enabled identity providers; a rollover needs exactly one
	PrimaryRegion     string               // of the instance, where it is configured; "": not readable
	Certificates      []TrustedCertificate // every one listed, also one that is twice there or cannot be parsed
	Date              time.Time            // the service's clock when it responded; zero: unknown
}

// SignIns counts users' sign-ins, as one side logged them. Nobody is named.
type SignIns struct {
	Successes int
	Users     int // different ones among the successes
	Failures  int
	Since     time.Time // from here on the counts are complete; later than asked for if there are too many
	Until     time.Time
	Available bool // false: there is no log, or it may not be read
}

// The errors of a rollover that no other attempt ends. A client's error wraps them.
var (
	// ErrNationalCloud: this cloud's Graph cannot make a certificate. Nothing was sent.
	ErrNationalCloud = errors.New("only the global cloud's Microsoft Graph makes SAML certificates")
	// ErrAppPolicy: the tenant's app management policy forbids the certificate.
	ErrAppPolicy = errors.New("the tenant's app management policy forbids it")
)

// LeavesValid reports whether a valid certificate stays trusted without the one of this id.
// AWS's own rule is that one must stay; whether its API enforces that is unknown.
func (c TrustConfiguration) LeavesValid(certificateID string, at time.Time) bool {
	return slices.ContainsFunc(c.Certificates, func(t TrustedCertificate) bool {
		return t.ID != certificateID && !at.Before(t.NotBefore) && at.Before(t.NotAfter)
	})
}

// Find returns the trusted certificate of this id.
func (c TrustConfiguration) Find(certificateID string) (TrustedCertificate, bool) {
	at := slices.IndexFunc(c.Certificates, func(t TrustedCertificate) bool { return t.ID == certificateID })
	if at < 0 {
		return TrustedCertificate{}, false
	}
	return c.Certificates[at], true
}
