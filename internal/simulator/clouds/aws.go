package clouds

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// AWS is identity stores with their SCIM tokens and users, and CloudTrail. AWS's other
// services are SecretsManager, IdentityProviders and STS.
type AWS struct {
	*core
	instances []*instance
	tokens    map[string]*scimToken // by value, the deleted ones too
	trail     []TrailEvent
	calls     int // of the operations that nodes answer
}

// Instance is an IAM Identity Center instance with its identity store, as sso-admin
// lists it.
type Instance struct {
	ARN             string
	OwnerAccountID  string
	PrimaryRegion   string
	IdentityStoreID string
	Name            string
	Status          string // ACTIVE
	Created         time.Time
}

// ProvisioningTenant is the SCIM side of an identity store.
type ProvisioningTenant struct {
	TenantID     string // 3 characters and a UUID
	SCIMEndpoint string // with a trailing slash, as the console's API gives it
	Created      time.Time
}

type instance struct {
	Instance
	tenants   []*provisioningTenant // at most one is not deleted
	directory directory
	idp       idp
	allowed   []netip.Prefix // source addresses of SCIM; empty: all
	allowedBy Actor          // who restricted them last

	customerKey bool // encrypted with a customer managed key
}

type provisioningTenant struct {
	ProvisioningTenant
	of        *instance
	tokens    []*scimToken
	deleted   time.Time
	deletedBy Actor
	deletion  int // its place in the timeline
}

func (t *provisioningTenant) address() string { return strings.TrimSuffix(t.SCIMEndpoint, "/") }

// ListInstances lists the instances that an account sees: those it owns whose primary
// region was asked, or all of them with every region in scope.
func (aws *AWS) ListInstances(c Caller, allRegions bool) ([]Instance, error) {
	aws.Advance()
	if err := aws.allowAWS(c, ServiceSSOAdmin, ListInstancesAction); err != nil {
		return nil, err
	}
	var list []Instance
	for _, i := range aws.instances {
		if (c.Account == "" || c.Account == i.OwnerAccountID) && (allRegions || c.Region == "" || c.Region == i.PrimaryRegion) {
			view := i.Instance
			view.Created = addSkew(view.Created, aws.skew.AWS)
			list = append(list, view)
		}
	}
	return list, nil
}

// ListProvisioningTenants lists the provisioning tenants of an identity store.
func (aws *AWS) ListProvisioningTenants(c Caller, identityStoreID string) ([]ProvisioningTenant, error) {
	i, err := aws.storeFor(c, ServiceTokens, ListProvisioningTenantsAction, identityStoreID)
	if err != nil {
		return nil, err
	}
	var list []ProvisioningTenant
	for _, t := range i.tenants {
		if t.deleted.IsZero() {
			view := t.ProvisioningTenant
			view.Created = addSkew(view.Created, aws.skew.AWS)
			list = append(list, view)
		}
	}
	return list, nil
}

func (aws *AWS) storeFor(c Caller, service Service, action Action, identityStoreID string) (*instance, error) {
	aws.Advance()
	if err := aws.allowAWS(c, service, action); err != nil {
		return nil, err
	}
	i := aws.instance(identityStoreID)
	if i == nil || (c.Account != "" && c.Account != i.OwnerAccountID) || (c.Region != "" && c.Region != i.PrimaryRegion) {
		return nil, notFound(service, "IDENTITYSTORE resource not found for %s.", identityStoreID)
	}
	if i.customerKey {
		return i, aws.allowAWS(c, service, DecryptAction)
	}
	return i, nil
}

func (aws *AWS) instance(identityStoreID string) *instance {
	at := slices.IndexFunc(aws.instances, func(i *instance) bool { return i.IdentityStoreID == identityStoreID })
	if at < 0 {
		return nil
	}
	return aws.instances[at]
}

func (i *instance) live(tenantID string) (*provisioningTenant, error) {
	for _, t := range i.tenants {
		if t.TenantID == tenantID && t.deleted.IsZero() {
			return t, nil
		}
	}
	return nil, notFound(ServiceTokens, "PROVISIONING_TENANT resource not found for %s.", tenantID)
}

func (aws *AWS) newProvisioningTenant(i *instance) *provisioningTenant {
	id := string("abcdefghijklmnopqrstuvwxyz"[aws.random()%26]) + strings.ToUpper(aws.newID()[:1]) + aws.newID()[:1] + aws.newID()
	host := "scim." + i.PrimaryRegion + ".amazonaws.com"
	if strings.HasPrefix(i.PrimaryRegion, "cn-") {
		host += ".cn"
	}
	t := &provisioningTenant{of: i, ProvisioningTenant: ProvisioningTenant{
		TenantID: id, Created: aws.at,
		SCIMEndpoint: "https://" + host + "/" + id + "/scim/v2/",
	}}
	i.tenants = append(i.tenants, t)
	return t
}

// SCIMEndpointOf finds the SCIM endpoint of a provisioning tenant; "" if there is none.
func (aws *AWS) SCIMEndpointOf(tenantID string) string {
	for _, i := range aws.instances {
		if t, err := i.live(tenantID); err == nil {
			return t.SCIMEndpoint
		}
	}
	return ""
}

// EncryptWithCustomerKey lets a customer managed key encrypt an identity store.
func (aws *AWS) EncryptWithCustomerKey(identityStoreID string) {
	aws.Advance()
	aws.instance(identityStoreID).customerKey = true
}

// AllowSources restricts SCIM on an identity store to source addresses; none lifts
// the restriction. What it keeps out includes Entra, unless its address is listed.
func (aws *AWS) AllowSources(actor Actor, identityStoreID string, sources ...netip.Prefix) error {
	aws.Advance()
	i := aws.instance(identityStoreID)
	if i == nil {
		return notFound(ServiceTokens, "IDENTITYSTORE resource not found for %s.", identityStoreID)
	}
	aws.annotate(actor, "restricted SCIM of %s to %v", identityStoreID, sources)
	i.allowed, i.allowedBy = sources, actor
	aws.afterChange()
	return nil
}

// RecreateProvisioningTenant turns automatic provisioning off and on again: another
// tenant, another endpoint, and none of the tokens.
func (aws *AWS) RecreateProvisioningTenant(actor Actor, identityStoreID string) (ProvisioningTenant, error) {
	aws.Advance()
	i := aws.instance(identityStoreID)
	if i == nil {
		return ProvisioningTenant{}, notFound(ServiceTokens, "IDENTITYSTORE resource not found for %s.", identityStoreID)
	}
	old := ""
	for _, t := range i.tenants {
		if t.deleted.IsZero() {
			t.deleted, t.deletedBy, t.deletion, old = aws.at, actor, len(aws.timeline), t.TenantID
		}
	}
	t := aws.newProvisioningTenant(i)
	aws.record(TenantRecreated{aws.stamp(actor), i.IdentityStoreID, old, t.TenantID})
	aws.afterChange()
	return t.ProvisioningTenant, nil
}

// DescribeStore is the public Identity Store's DescribeIdentityStore: the instance, and
// the source addresses that SCIM is restricted to (none: all).
func (aws *AWS) DescribeStore(c Caller, identityStoreID string) (Instance, []netip.Prefix, error) {
	i, err := aws.storeFor(c, ServiceTokens, DescribeIdentityStoreAction, identityStoreID)
	if err != nil {
		return Instance{}, nil, err
	}
	return i.Instance, slices.Clone(i.allowed), nil
}
