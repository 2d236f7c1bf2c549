package clouds

import (
	"net/netip"
	"slices"
)

// MayGetWebIdentityToken checks the permission for STS's GetWebIdentityToken; the token
// itself is a matter of the protocol.
func (w *Model) MayGetWebIdentityToken(c Caller) error {
	w.Advance()
	return w.allowAWS(c, ServiceSTS, GetWebIdentityTokenAction)
}

// DescribeStore is the public Identity Store's DescribeIdentityStore: the instance, and
// the source addresses that SCIM is restricted to (none: all).
func (w *Model) DescribeStore(c Caller, identityStoreID string) (Instance, []netip.Prefix, error) {
	w.Advance()
	i, err := w.reach(c, ServiceTokens, DescribeIdentityStoreAction, identityStoreID)
	if err != nil {
		return Instance{}, nil, err
	}
	return i.Instance, slices.Clone(i.allowed), nil
}

// DescribeIdentityStoreAction is what DescribeStore checks.
const DescribeIdentityStoreAction Action = "identitystore:DescribeIdentityStore"

// Person finds a user of an Entra tenant by object id.
func (w *Model) Person(c Caller, tenantID, objectID string) (Person, error) {
	w.Advance()
	t, err := w.visit(c, ReadApplications, tenantID)
	if err != nil {
		return Person{}, err
	}
	for _, person := range t.people {
		if person.ObjectID == objectID {
			return *person, nil
		}
	}
	return Person{}, notFound(ServiceGraph, "Resource '%s' does not exist or one of its queried reference-property objects are not present.", objectID)
}
