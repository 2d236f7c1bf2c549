package wire

// SourceRequests are the requests of the first read of a source, and how few the clouds'
// operations allow.
type SourceRequests struct {
	Source     string
	Operations []string
	Floor      int
	Why        string
}

// FirstRound lists the requests until everything is known, with the configuration that the
// simulator writes for so many connections, each of which has an AWS account of its own.
func FirstRound(connections, tenants int) []SourceRequests {
	return []SourceRequests{
		{"sign-in", []string{"GET openid-configuration", "GET instance", "POST token"}, 2 * tenants, "endpoints and one access token"},
		{"tokens", []string{"ListInstances", "ListProvisioningTenants", "ListBearerTokens"}, 3 * connections, "instance, SCIM endpoint, list"},
		{"scim", []string{"SCIM GET ServiceProviderConfig"}, connections, "one probe"},
		{"usage", []string{"LookupEvents"}, connections, "one page"},
		{"job", []string{"GET servicePrincipals", "GET jobs", "GET job", "GET secrets"}, 2 * connections, "jobs with their states, setting of the mails"},
		{"certificates", []string{"GET servicePrincipal", "ListExternalIdPConfigurationsForDirectory", "ListExternalIdPCertificates"}, 4 * connections, "Graph returns certificates only to a request of their own; AWS lists them by provider"},
		{"events", []string{"GET provisioning"}, tenants, "one page"},
		{"app_credentials", []string{"GET applications"}, tenants, "one application"},
	}
}
