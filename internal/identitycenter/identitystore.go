package identitycenter

import (
	"context"
	"strings"
)

// identityStoreTarget belongs to the documented Identity Store. Its client in the SDK
// would bring every operation into the binary for this one.
const identityStoreTarget = "AWSIdentityStore"

// SCIMSources says from where AWS takes calls to the SCIM endpoint of an identity store.
type SCIMSources struct {
	Addresses   []string // ranges in CIDR notation; empty: any
	PrivateOnly bool     // through a VPC endpoint only
}

// String says it in a few words.
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

// SCIMSources asks whether the identity store restricts SCIM to source addresses. A
// token that is refused from elsewhere may be a good one.
// https://docs.aws.amazon.com/singlesignon/latest/IdentityStoreAPIReference/API_DescribeIdentityStore.html
func (i *Instance) SCIMSources(ctx context.Context) (SCIMSources, error) {
	asking := operation{doing: "describing the identity store of " + i.options.Connection, action: "identitystore:DescribeIdentityStore"}
	binding, err := i.Binding(ctx)
	if err != nil {
		return SCIMSources{}, err
	}
	clients, err := i.access.clients(ctx)
	if err != nil {
		return SCIMSources{}, i.failed(asking, err)
	}
	var answer struct {
		NetworkConfiguration struct {
			ScimAllowSourceIps []string
			VpceAccessRequired bool
		}
	}
	request := tokenRequest{IdentityStoreID: binding.IdentityStoreID}
	if _, err := i.store.call(ctx, clients.credentials, newRetryer(), "DescribeIdentityStore", request, &answer); err != nil {
		return SCIMSources{}, i.failed(asking, err)
	}
	network := answer.NetworkConfiguration
	sources := SCIMSources{PrivateOnly: network.VpceAccessRequired}
	for _, address := range network.ScimAllowSourceIps {
		sources.Addresses = append(sources.Addresses, clip(address))
	}
	return sources, nil
}
