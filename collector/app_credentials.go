package collector

import (
	"cmp"

	"entra-aws-exporter/internal/model"
)

// appCredentials shows the credentials by which the exporter signs in to Entra. They
// belong to a tenant, whose connections all carry the same reading.
type appCredentials struct{ expiry *metric }

func newAppCredentials(c *catalogue) appCredentials {
	return appCredentials{
		expiry: c.global("app_credential_expiry_timestamp_seconds",
			"When a credential of the exporter's own Entra application expires or expired. Cached: from the last good reading of the application.",
			"entra_tenant", "kind", "key_id"),
	}
}

func (f appCredentials) collect(out *output, snapshots []model.Snapshot) {
	type series struct{ tenant, kind, keyID string }
	shown := make(map[series]bool)
	for i := range snapshots {
		for _, credential := range snapshots[i].AppCredentials {
			key := series{cmp.Or(credential.Tenant, snapshots[i].EntraTenant), credential.Kind, credential.KeyID}
			if !shown[key] {
				shown[key] = true
				out.time(f.expiry, credential.Expires, key.tenant, key.kind, key.keyID)
			}
		}
	}
}
