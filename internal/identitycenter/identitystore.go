package identitycenter

import (
	"context"
	"strings"
)

// identityStoreTarget belongs to the documented Identity Store. Its client in the SDK
// would bring every operation into the binary for this one.
const identityStoreTarget = "AWSIdentityStore"

// SCIMSources says from where AWS accepts calls to the SCIM endpoint of an identity store.
type SCIMSources struct {
	Addresses   []string // ranges in CIDR notation; empty: any
	PrivateOnly bool     // through a VPC endpoint only
}

// String describes the sources in a few words.
func (s SCIMSources) String() string {
	text := "any address"
	if len(s.Addresses) > 0 {
		text = strings.Join(s.Addresses, ", ")
	}
	if s.PrivateOnly {
		text += ", through a VPC endpoint only"
	}
	return text
}

// SCIMSources reads whether the identity store restricts SCIM to source addresses. A
// token that is refused from another address may be a good one.
// https://docs.aws.amazon.com/singlesignon/latest/IdentityStoreAPIReference/API_DescribeIdentityStore.html
func (i *Instance) SCIMSources(ctx context.Context) (SCIMSources, error) {
	call := apiCall{op: "describing the identity store of " + i.options.Connection, action: "identitystore:DescribeIdentityStore"}
	binding, err := i.Binding(ctx)
	if err != nil {
		return SCIMSources{}, err
	}
	var response struct {
		NetworkConfiguration struct {
			ScimAllowSourceIps []string
			VpceAccessRequired bool
		}
	}
	request := tokenRequest{IdentityStoreID: binding.IdentityStoreID}
	if _, err := i.store.read(ctx, "DescribeIdentityStore", request, &response); err != nil {
		return SCIMSources{}, i.failed(call, err)
	}
	sources := SCIMSources{PrivateOnly: response.NetworkConfiguration.VpceAccessRequired}
	for _, address := range response.NetworkConfiguration.ScimAllowSourceIps {
		sources.Addresses = append(sources.Addresses, truncate(address))
	}
	return sources, nil
}
