package collector

import (
	"maps"

	"entra-aws-exporter/internal/model"
)

// samlMetrics show the signing certificates of Entra and AWS. The last result stays when
// a poll fails: an expiry date does not change meanwhile.
type samlMetrics struct {
	notBefore, expiry, active, trusted            *typedDesc
	activeExpiry, unexpectedSigner, notifications *typedDesc
	due                                           *typedDesc
}

func newSAMLMetrics(d *descriptions) samlMetrics {
	const cached = " Cached from the last successful poll of the certificates."
	return samlMetrics{
		notBefore: d.gauge("saml_certificate_not_before_timestamp_seconds", "Timestamp from which the SAML signing certificate is valid."+cached, "holder", "thumbprint"),
		expiry:    d.gauge("saml_certificate_expiry_timestamp_seconds", "Timestamp at which the SAML signing certificate expires or has expired."+cached, "holder", "thumbprint"),
		active:    d.gauge("saml_certificate_active", "Whether this is Entra's active signing certificate."+cached, "thumbprint"),
		trusted:   d.gauge("saml_certificate_trusted", "Whether AWS trusts this Entra signing certificate."+cached, "thumbprint"),
		activeExpiry: d.gauge("saml_active_certificate_expiry_timestamp_seconds",
			"Timestamp at which the active SAML signing certificate expires. While that is unknown, as with federation metadata, of the unexpired certificate that expires first."+cached),
		unexpectedSigner: d.gauge("saml_unexpected_signer",
			"Whether the active certificate has expired and Entra signs with a valid inactive one."+cached),
		notifications: d.gauge("saml_notification_addresses", "Number of addresses that Entra notifies before a certificate expires."+cached),
		due: d.gauge("saml_certificate_rollover_due_timestamp_seconds",
			"Timestamp at which the active SAML signing certificate becomes due for a rollover. Absent while the rollover is disabled or the time is unknown."+cached),
	}
}

func (m samlMetrics) collect(w *sampleWriter, t *target) {
	if t.rollover != nil && t.rollover.Mode != model.RotationDisabled {
		w.writeTime(m.due, t.rollover.Due)
	}
	sent := make(map[string]bool)
	if t.Signing != nil {
		for _, thumbprint := range m.collectDates(w, model.HolderEntra, t.Signing.Certificates, sent) {
			if t.Signing.ActiveKnown {
				w.writeBool(m.active, thumbprint == t.Signing.ActiveThumbprint, thumbprint)
			}
			if trusted, known := t.TrustedByAWS(thumbprint); known {
				w.writeBool(m.trusted, trusted, thumbprint)
			}
		}
	}
	if t.Trusted != nil {
		m.collectDates(w, model.HolderAWS, *t.Trusted, sent)
	}
	if t.Signing == nil {
		return
	}
	if effective, found := t.Signing.Effective(w.now); found {
		w.writeTime(m.activeExpiry, effective.NotAfter)
	}
	if _, found := t.Signing.Active(); found {
		_, unexpected := t.Signing.UnexpectedSigner(w.now)
		w.writeBool(m.unexpectedSigner, unexpected)
	}
	if t.Signing.NotificationAddresses >= 0 {
		w.write(m.notifications, float64(t.Signing.NotificationAddresses))
	}
}

// collectDates sends the dates of each certificate once and returns the thumbprints. The
// beginning is left out of a certificate that was sent for the other holder: it is the same.
func (m samlMetrics) collectDates(w *sampleWriter, holder model.CertificateHolder, certificates []model.Certificate, other map[string]bool) []string {
	sent := make(map[string]bool, len(certificates))
	thumbprints := make([]string, 0, len(certificates))
	for _, certificate := range certificates {
		if sent[certificate.Thumbprint] {
			continue
		}
		sent[certificate.Thumbprint] = true
		thumbprints = append(thumbprints, certificate.Thumbprint)
		if !other[certificate.Thumbprint] {
			w.writeTime(m.notBefore, certificate.NotBefore, string(holder), certificate.Thumbprint)
		}
		w.writeTime(m.expiry, certificate.NotAfter, string(holder), certificate.Thumbprint)
	}
	maps.Copy(other, sent)
	return thumbprints
}
