package collector

import (
	"cmp"

	"entra-aws-exporter/internal/model"
)

// appCredentialMetrics show the credentials by which the exporter signs in to Entra.
// All connections of a tenant report the same credentials.
type appCredentialMetrics struct{ expiry *typedDesc }

func newAppCredentialMetrics(d *descriptions) appCredentialMetrics {
	return appCredentialMetrics{
		expiry: d.globalGauge("app_credential_expiry_timestamp_seconds",
			"Timestamp at which a credential of the exporter's own Entra application expires or has expired. Cached from the last successful poll of the application.",
			"entra_tenant", "kind", "key_id"),
	}
}

func (m appCredentialMetrics) collect(w *sampleWriter, snapshots []model.Snapshot) {
	type series struct{ tenant, kind, keyID string }
	sent := make(map[series]bool)
	for i := range snapshots {
		for _, credential := range snapshots[i].AppCredentials {
			key := series{cmp.Or(credential.Tenant, snapshots[i].EntraTenant), credential.Kind, credential.KeyID}
			if !sent[key] {
				sent[key] = true
				w.writeTime(m.expiry, credential.Expires, key.tenant, key.kind, key.keyID)
			}
		}
	}
}
