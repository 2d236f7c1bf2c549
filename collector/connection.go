package collector

// connectionMetrics show what a connection resolves to.
type connectionMetrics struct{ info *typedDesc }

func newConnectionMetrics(d *descriptions) connectionMetrics {
	return connectionMetrics{
		info: d.gauge("connection_info",
			"Identifiers that the connection resolves to, with a constant value of 1. A label is empty until it is resolved. Cached from the last successful polls.",
			"entra_tenant_id", "service_principal_id", "job_id", "region", "identity_store_id", "provisioning_tenant_id"),
	}
}

func (m connectionMetrics) collect(w *sampleWriter, t *target) {
	b := t.Binding
	w.write(m.info, 1, b.EntraTenantID, b.ServicePrincipalID, b.JobID, b.Region, b.IdentityStoreID, b.ProvisioningTenantID)
}
