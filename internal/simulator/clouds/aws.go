package clouds

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

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

// instance is an identity store with all that lives in it.
type instance struct {
	Instance
	tenants   []*provisioningTenant // at most one is not deleted
	directory directory
	idps      []*idp
	allowed   []netip.Prefix // source addresses of SCIM; empty: all
	allowedBy Actor          // who restricted them last, and its place among the records

	restriction int
}

type provisioningTenant struct {
	ProvisioningTenant
	of        *instance
	tokens    []*token
	deleted   time.Time
	deletedBy Actor
	deletion  int // its place among the records
}

func (t *provisioningTenant) address() string { return strings.TrimSuffix(t.SCIMEndpoint, "/") }

// Principal is a pair of AWS keys, for the verification of signatures.
type Principal struct {
	AccessKeyID, SecretAccessKey string
	SessionToken                 string // "" for long-lived keys
	Account                      string
	ARN                          string
	Actor                        Actor
	Expires                      time.Time // zero: never
}

// Role can be assumed.
type Role struct {
	ARN        string
	Account    string
	ExternalID string // "" asks for none
	Actor      Actor  // who one is after having assumed it
}

// AddPrincipal makes AWS keys for an actor of an account.
func (w *Model) AddPrincipal(account string, actor Actor) Principal {
	w.Advance()
	p := Principal{
		AccessKeyID: w.accessKeyID("AKIA"), SecretAccessKey: w.newID() + "+" + w.newID()[:3],
		Account: account, ARN: fmt.Sprintf("arn:aws:iam::%s:user/%s", account, actor), Actor: actor,
	}
	w.principals[p.AccessKeyID] = p
	return p
}

// AddRole makes a role that every principal may assume.
func (w *Model) AddRole(role Role) {
	w.Advance()
	w.roles[role.ARN] = role
}

// Principal finds AWS keys by their access key id.
func (w *Model) Principal(accessKeyID string) (Principal, error) {
	w.Advance()
	p, ok := w.principals[accessKeyID]
	switch {
	case !ok:
		return Principal{}, &Error{Service: ServiceSTS, Status: http.StatusForbidden, Code: "UnrecognizedClientException", Message: "The security token included in the request is invalid."}
	case !p.Expires.IsZero() && !w.at.Before(p.Expires):
		return Principal{}, &Error{Service: ServiceSTS, Status: http.StatusForbidden, Code: "ExpiredTokenException", Message: "The security token included in the request is expired"}
	}
	return p, nil
}

// AssumeRole gives temporary keys of a role for an hour.
func (w *Model) AssumeRole(c Caller, arn, externalID string) (Principal, error) {
	w.Advance()
	if err := w.allowAWS(c, ServiceSTS, AssumeRoleAction); err != nil {
		return Principal{}, err
	}
	role, ok := w.roles[arn]
	if !ok || role.ExternalID != externalID {
		return Principal{}, &Error{
			Service: ServiceSTS, Status: http.StatusForbidden, Code: "AccessDenied",
			Message: fmt.Sprintf("User is not authorized to perform: sts:AssumeRole on resource: %s", arn),
		}
	}
	p := Principal{
		AccessKeyID: w.accessKeyID("ASIA"), SecretAccessKey: w.newID() + "+" + w.newID()[:3], SessionToken: w.newID() + w.newID(),
		Account: role.Account, Actor: role.Actor, Expires: w.at.Add(time.Hour),
		ARN: strings.Replace(strings.Replace(arn, ":role/", ":assumed-role/", 1), ":iam:", ":sts:", 1) + "/session",
	}
	w.principals[p.AccessKeyID] = p
	return p, nil
}

func (w *Model) accessKeyID(prefix string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	id := []byte(prefix)
	for _, b := range w.bytes(16) {
		id = append(id, alphabet[b%32])
	}
	return string(id)
}

// ListInstances lists the instances that an account sees: those it owns whose primary
// region was asked, or all of them with every region in scope.
func (w *Model) ListInstances(c Caller, allRegions bool) ([]Instance, error) {
	w.Advance()
	if err := w.allowAWS(c, ServiceSSOAdmin, ListInstancesAction); err != nil {
		return nil, err
	}
	var list []Instance
	for _, i := range w.instances {
		if (c.Account == "" || c.Account == i.OwnerAccountID) && (allRegions || c.Region == "" || c.Region == i.PrimaryRegion) {
			view := i.Instance
			view.Created = shift(view.Created, w.skew.AWS)
			list = append(list, view)
		}
	}
	return list, nil
}

// ListProvisioningTenants lists the provisioning tenants of an identity store.
func (w *Model) ListProvisioningTenants(c Caller, identityStoreID string) ([]ProvisioningTenant, error) {
	w.Advance()
	i, err := w.reach(c, ServiceTokens, ListProvisioningTenantsAction, identityStoreID)
	if err != nil {
		return nil, err
	}
	var list []ProvisioningTenant
	for _, t := range i.tenants {
		if t.deleted.IsZero() {
			view := t.ProvisioningTenant
			view.Created = shift(view.Created, w.skew.AWS)
			list = append(list, view)
		}
	}
	return list, nil
}

// reach finds an identity store for a caller who may do this to it.
func (w *Model) reach(c Caller, service Service, action Action, identityStoreID string) (*instance, error) {
	if err := w.allowAWS(c, service, action); err != nil {
		return nil, err
	}
	i := w.instance(identityStoreID)
	if i == nil || (c.Account != "" && c.Account != i.OwnerAccountID) || (c.Region != "" && c.Region != i.PrimaryRegion) {
		return nil, notFound(service, "IDENTITYSTORE resource not found for %s.", identityStoreID)
	}
	return i, nil
}

func (w *Model) instance(identityStoreID string) *instance {
	at := slices.IndexFunc(w.instances, func(i *instance) bool { return i.IdentityStoreID == identityStoreID })
	if at < 0 {
		return nil
	}
	return w.instances[at]
}

// live finds a tenant of a store that is not deleted.
func (i *instance) live(tenantID string) (*provisioningTenant, error) {
	for _, t := range i.tenants {
		if t.TenantID == tenantID && t.deleted.IsZero() {
			return t, nil
		}
	}
	return nil, notFound(ServiceTokens, "PROVISIONING_TENANT resource not found for %s.", tenantID)
}

func (w *Model) newProvisioningTenant(i *instance) *provisioningTenant {
	id := string("abcdefghijklmnopqrstuvwxyz"[w.random()%26]) + strings.ToUpper(w.newID()[:1]) + w.newID()[:1] + w.newID()
	base := w.scimBase
	if base == "" {
		base = "https://scim." + i.PrimaryRegion + ".amazonaws.com"
		if strings.HasPrefix(i.PrimaryRegion, "cn-") {
			base += ".cn"
		}
	}
	t := &provisioningTenant{of: i, ProvisioningTenant: ProvisioningTenant{
		TenantID: id, Created: w.at,
		SCIMEndpoint: base + "/" + id + "/scim/v2/",
	}}
	i.tenants = append(i.tenants, t)
	return t
}

// AllowSources restricts SCIM on an identity store to source addresses; none lifts
// the restriction. What it keeps out includes Entra, unless its address is listed.
func (w *Model) AllowSources(actor Actor, identityStoreID string, sources ...netip.Prefix) error {
	w.Advance()
	i := w.instance(identityStoreID)
	if i == nil {
		return notFound(ServiceTokens, "IDENTITYSTORE resource not found for %s.", identityStoreID)
	}
	w.record(Annotation{w.moment(actor), fmt.Sprintf("restricted SCIM of %s to %v", identityStoreID, sources)})
	i.allowed, i.allowedBy, i.restriction = sources, actor, len(w.records)-1
	w.settle()
	return nil
}

// RecreateProvisioningTenant turns automatic provisioning off and on again: another
// tenant, another endpoint, and none of the tokens.
func (w *Model) RecreateProvisioningTenant(actor Actor, identityStoreID string) (ProvisioningTenant, error) {
	w.Advance()
	i := w.instance(identityStoreID)
	if i == nil {
		return ProvisioningTenant{}, notFound(ServiceTokens, "IDENTITYSTORE resource not found for %s.", identityStoreID)
	}
	old := ""
	for _, t := range i.tenants {
		if t.deleted.IsZero() {
			t.deleted, t.deletedBy, t.deletion, old = w.at, actor, len(w.records), t.TenantID
		}
	}
	t := w.newProvisioningTenant(i)
	w.record(TenantRecreated{w.moment(actor), i.IdentityStoreID, old, t.TenantID})
	w.settle()
	return t.ProvisioningTenant, nil
}
