package collector

import "entra-aws-exporter/internal/model"

// saml shows the signing certificates of both sides. The last reading stays when they
// cannot be read: an expiry does not move while nobody looks.
type saml struct {
	notBefore, expiry, active, trusted            *metric
	activeExpiry, unexpectedSigner, notifications *metric
}

func newSAML(c *catalogue) saml {
	const cached = " Cached: from the last good reading of the certificates."
	return saml{
		notBefore: c.gauge("saml_certificate_not_before_timestamp_seconds", "From when on the SAML signing certificate is valid."+cached, "holder", "thumbprint"),
		expiry:    c.gauge("saml_certificate_expiry_timestamp_seconds", "When the SAML signing certificate expires or expired."+cached, "holder", "thumbprint"),
		active:    c.gauge("saml_certificate_active", "Whether Entra is set to sign with the certificate."+cached, "thumbprint"),
		trusted:   c.gauge("saml_certificate_trusted", "Whether AWS holds this certificate of Entra's."+cached, "thumbprint"),
		activeExpiry: c.gauge("saml_active_certificate_expiry_timestamp_seconds",
			"When the active SAML signing certificate expires; read from federation metadata, which does not tell: the earliest listed."+cached),
		unexpectedSigner: c.gauge("saml_unexpected_signer",
			"Whether the active certificate has expired and a valid inactive one signs in its place."+cached),
		notifications: c.gauge("saml_notification_addresses", "How many addresses Entra mails before a certificate expires."+cached),
	}
}

func (f saml) collect(out *output, s *subject) {
	if s.Trusted != nil {
		f.collectDates(out, model.HolderAWS, *s.Trusted)
	}
	if s.Signing == nil {
		return
	}
	for _, thumbprint := range f.collectDates(out, model.HolderEntra, s.Signing.Certificates) {
		if s.Signing.ActiveKnown {
			out.flag(f.active, thumbprint == s.Signing.ActiveThumbprint, thumbprint)
		}
		if trusted, known := s.TrustedByAWS(thumbprint); known {
			out.flag(f.trusted, trusted, thumbprint)
		}
	}
	if decisive, found := s.Signing.Effective(); found {
		out.time(f.activeExpiry, decisive.NotAfter)
	}
	if _, found := s.Signing.Active(); found {
		_, unexpected := s.Signing.UnexpectedSigner(out.now)
		out.flag(f.unexpectedSigner, unexpected)
	}
	if s.Signing.NotificationAddresses >= 0 {
		out.value(f.notifications, float64(s.Signing.NotificationAddresses))
	}
}

// collectDates shows each certificate once and returns the thumbprints.
func (f saml) collectDates(out *output, holder model.CertificateHolder, certificates []model.Certificate) []string {
	shown := make(map[string]bool, len(certificates))
	thumbprints := make([]string, 0, len(certificates))
	for _, certificate := range certificates {
		if shown[certificate.Thumbprint] {
			continue
		}
		shown[certificate.Thumbprint] = true
		thumbprints = append(thumbprints, certificate.Thumbprint)
		out.time(f.notBefore, certificate.NotBefore, string(holder), certificate.Thumbprint)
		out.time(f.expiry, certificate.NotAfter, string(holder), certificate.Thumbprint)
	}
	return thumbprints
}
