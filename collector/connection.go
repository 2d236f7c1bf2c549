package collector

// connection says what a connection resolves to.
type connection struct{ info *metric }

func newConnection(c *catalogue) connection {
	return connection{
		info: c.gauge("connection_info", "What the connection resolves to. Always 1; a label is empty while it is not resolved. Cached: from the last good readings.",
			"entra_tenant_id", "service_principal_id", "job_id", "region", "identity_store_id", "provisioning_tenant_id"),
	}
}

func (f connection) collect(out *output, s *subject) {
	b := s.Binding
	out.value(f.info, 1, b.EntraTenantID, b.ServicePrincipalID, b.JobID, b.Region, b.IdentityStoreID, b.ProvisioningTenantID)
}
