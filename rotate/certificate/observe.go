package certificate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/policy"
)

const (
	readGap      = 30 * time.Second // between two readings of both sides that count as two
	stableReads  = 6                // that may differ from the one before
	listInterval = 30 * time.Second // until a change must show

	// maxClockSkew is how far our clock may be from AWS's.
	maxClockSkew = 5 * time.Minute
)

// sides are one reading of Entra and AWS.
type sides struct {
	signing model.SigningCertificates
	trust   model.TrustConfiguration
	read    time.Time
}

// active is the thumbprint of the certificate that Entra is set to sign with; "": unknown.
func (s sides) active() string {
	if !s.signing.ActiveKnown {
		return ""
	}
	return strings.ToUpper(s.signing.ActiveThumbprint)
}

// signer is the certificate that Entra signs with now: the active one or, once that has
// expired, another valid one. False: Entra does not show it, or not its bytes.
func (s sides) signer(at time.Time) (Certificate, bool) {
	signer, found := s.signing.UnexpectedSigner(at)
	if !found {
		signer, _ = s.signing.Active()
	}
	return certificateOf(signer)
}

// signs returns the certificate with which Entra can sign by this fingerprint.
func (s sides) signs(fingerprint string) (Certificate, bool) {
	return find(s.signing.Certificates, fingerprint)
}

func find(list []model.Certificate, fingerprint string) (Certificate, bool) {
	for _, listed := range list {
		if c, known := certificateOf(listed); known && c.SHA256 == fingerprint {
			return c, true
		}
	}
	return Certificate{}, false
}

// trusted lists AWS's entries of exactly this certificate.
func (s sides) trusted(c Certificate) []model.TrustedCertificate {
	return slices.DeleteFunc(slices.Clone(s.trust.Certificates), func(t model.TrustedCertificate) bool { return !sameBytes(t.DER, c.DER) })
}

// trusts tells whether AWS lists exactly this certificate.
func (s sides) trusts(c Certificate) bool { return len(s.trusted(c)) > 0 }

// equals tells whether two readings say the same.
func (s sides) equals(other sides) bool {
	return s.active() == other.active() && s.signing.SSOMode == other.signing.SSOMode &&
		slices.Equal(thumbprints(s.signing), thumbprints(other.signing)) &&
		s.trust.IDPConfigurations == other.trust.IDPConfigurations && s.trust.PrimaryRegion == other.trust.PrimaryRegion &&
		slices.Equal(s.entries(), other.entries())
}

func thumbprints(signing model.SigningCertificates) []string {
	var list []string
	for _, c := range signing.Certificates {
		list = append(list, c.Thumbprint)
	}
	slices.Sort(list)
	return list
}

// entries lists AWS's certificates by id and bytes.
func (s sides) entries() []string {
	var list []string
	for _, t := range s.trust.Certificates {
		list = append(list, t.ID+" "+Fingerprint(t.DER))
	}
	slices.Sort(list)
	return list
}

// inventory lists both sides, for messages.
func (s sides) inventory() string { return inventoryOf("certificates", s.describe()) }

// describe says of each certificate which side has it, and how.
func (s sides) describe() (names []string) {
	shown := map[string]bool{}
	for _, c := range s.signing.Certificates {
		text := describe(name(c), c.Subject, c.NotBefore, c.NotAfter)
		if c.Thumbprint == s.active() {
			text += ", active in Entra"
		} else {
			text += ", inactive in Entra"
		}
		if slices.ContainsFunc(s.trust.Certificates, func(t model.TrustedCertificate) bool { return t.Thumbprint == c.Thumbprint }) {
			text += ", trusted by AWS"
		}
		shown[c.Thumbprint] = true
		names = append(names, text)
	}
	for _, t := range s.trust.Certificates {
		if !shown[t.Thumbprint] {
			shown[t.Thumbprint] = true
			names = append(names, describe(name(t.Certificate), t.Subject, t.NotBefore, t.NotAfter)+", trusted by AWS only")
		}
	}
	return names
}

// name is the fingerprint of a certificate, or its thumbprint if its bytes are not known.
func name(c model.Certificate) string {
	if len(c.DER) == 0 {
		return c.Thumbprint
	}
	return Fingerprint(c.DER)
}

// observer reads Entra and AWS for one rollover. Nothing here changes them.
type observer struct{ *session }

// readSides reads both sides once, and AWS's clock with them.
func (o observer) readSides(ctx context.Context) (sides, error) {
	var s sides
	var err error
	if s.signing, err = rotate.Read(ctx, o.options.Application.SigningCertificates); err != nil {
		return s, err
	}
	if s.trust, err = rotate.Read(ctx, o.options.Instance.TrustConfiguration); err != nil {
		return s, err
	}
	s.read = time.Now()
	o.AWS.Set(s.trust.Date)
	o.last, o.changed = &s, false
	return s, nil
}

// stableSides reads both sides until two readings in a row are equal.
func (o observer) stableSides(ctx context.Context) (sides, error) {
	first, err := o.readSides(ctx)
	if err != nil {
		return first, err
	}
	for range stableReads {
		if err := o.WaitGap(ctx, readGap); err != nil {
			return first, err
		}
		second, err := o.readSides(ctx)
		if err != nil {
			return second, err
		}
		if first.equals(second) {
			return second, nil
		}
		first = second
	}
	return first, &model.Error{Reason: model.ReasonOther, Op: "reading the SAML certificates", Detail: "no two readings in a row are equal"}
}

// checkClock demands a common time: without one no date and no log means anything.
func (o observer) checkClock() error {
	if !o.AWS.Known {
		return &model.Error{Reason: model.ReasonInvalidResponse, Op: "reading AWS's clock", Detail: "AWS's answer had no date"}
	}
	if o.AWS.Offset.Abs() > maxClockSkew {
		return rotate.Blocked(model.BlockedClock, "this machine's clock is %s away from AWS's", o.AWS.Offset.Abs().Round(time.Second))
	}
	return nil
}

// checkBinding demands that the connection still resolves to what the record is about, and
// that both sides are set up as a rollover needs it.
func (o observer) checkBinding(ctx context.Context, s sides) error {
	now, err := rotate.Read(ctx, o.options.Resolve)
	if err != nil {
		return err
	}
	if bound := o.record().Binding; now.Key() != bound.Key() {
		return rotate.Blocked(model.BlockedBindingChanged, "since the rollover began the connection resolves to %s", differences(now, bound))
	}
	switch {
	case s.signing.SSOMode != model.SingleSignOnSAML:
		return wrongMode(s)
	case s.trust.IDPConfigurations != 1:
		return rotate.Blocked(model.BlockedWrongTarget, "AWS has %d enabled identity providers, a rollover needs exactly one", s.trust.IDPConfigurations)
	case s.trust.PrimaryRegion != "" && s.trust.PrimaryRegion != now.Region:
		return rotate.Blocked(model.BlockedNotPrimaryRegion, "the instance's primary region is %s, the connection is configured for %s", s.trust.PrimaryRegion, now.Region)
	}
	return nil
}

// differences names what a connection is bound to now instead of before.
func differences(now, before model.Binding) string {
	var texts []string
	for _, part := range []struct{ name, now, before string }{
		{"tenant", now.EntraTenantID, before.EntraTenantID}, {"application", now.ServicePrincipalID, before.ServicePrincipalID},
		{"region", now.Region, before.Region}, {"identity store", now.IdentityStoreID, before.IdentityStoreID},
		{"provisioning tenant", now.ProvisioningTenantID, before.ProvisioningTenantID}, {"job", now.JobID, before.JobID},
	} {
		if part.now != part.before {
			texts = append(texts, fmt.Sprintf("%s %s instead of %s", part.name, part.now, part.before))
		}
	}
	return strings.Join(texts, " and ")
}

func wrongMode(s sides) error {
	return rotate.Blocked(model.BlockedWrongSSOMode, "the application's single sign-on mode is %q, not %q", s.signing.SSOMode, model.SingleSignOnSAML)
}

// expired judges by AWS's clock, with a grace.
func (o observer) expired(notAfter time.Time) bool {
	return o.AWS.Now().Add(-policy.ExpiryGrace).After(notAfter)
}

// now is AWS's time, or ours while that is unknown.
func (o observer) now() time.Time {
	if now := o.AWS.Now(); !now.IsZero() {
		return now
	}
	return time.Now().UTC()
}

func unknownActive(s sides) string {
	if s.active() == "" {
		return "Entra does not say which certificate is active"
	}
	return fmt.Sprintf("Entra says that the certificate with the thumbprint %s is active, and does not show it", s.active())
}

// signerNotTrusted names the one command that ends the outage.
func signerNotTrusted(signer Certificate) error {
	return &rotate.BlockedError{
		Reason:  model.BlockedSignerNotTrusted,
		Detail:  fmt.Sprintf("Entra signs with certificate %s, which AWS does not trust, so nobody can sign in", signer),
		Command: "rotation start CONNECTION --certificate " + signer.SHA256,
	}
}
