package simulator

import (
	"net/url"
	"strings"

	"entra-aws-exporter/internal/simulator/clouds"
)

// shown replaces AWS's SCIM host in an address by this simulator's own, if it has one.
func (s *Simulator) shown(address string) string {
	parsed, err := url.Parse(address)
	if s.url == "" || err != nil || !isSCIMHost(parsed.Host) {
		return address
	}
	_, rest, _ := strings.Cut(address, parsed.Host)
	return s.url + scimPrefix + rest
}

// meant undoes shown: the address that the world knows for the one a client gave.
func (s *Simulator) meant(address string) string {
	rest, ours := strings.CutPrefix(address, s.url+scimPrefix+"/")
	if s.url == "" || !ours {
		return address
	}
	tenant, path, _ := strings.Cut(rest, "/")
	var found string
	s.With(func(w *clouds.Model) {
		everybody := clouds.CallerFor(clouds.ActorSetup)
		instances, _ := w.ListInstances(everybody, true) // nobody denies the scene anything
		for _, instance := range instances {
			tenants, _ := w.ListProvisioningTenants(everybody, instance.IdentityStoreID)
			for _, candidate := range tenants {
				if candidate.TenantID == tenant {
					found = candidate.SCIMEndpoint
				}
			}
		}
	})
	if found == "" {
		return address // leads nowhere, here as there
	}
	host, _, _ := strings.Cut(found, "/"+tenant+"/")
	return host + "/" + tenant + "/" + path
}

func isSCIMHost(host string) bool {
	return strings.HasPrefix(host, "scim.") && (strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".amazonaws.com.cn"))
}
