package identitycenter

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin/types"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

const checkTimeout = 5 * time.Second // of CheckStore, which is asked beside every discovery

// discovery finds AWS's half of a connection's binding: what the config leaves open. Its
// methods are the Instance's as well.
type discovery struct {
	options     Options
	session     *session
	tokens      *tokenService
	discovering chan struct{} // full while a source discovers

	mu                  sync.Mutex
	binding, foundStore *model.Binding // nil: not discovered
	primaryRegion       string         // where the instance is configured; "": not readable
}

// Binding returns AWS's half of the binding. It is discovered once and kept until a
// response shows that it no longer exists. With declared tokens no undocumented API is
// called: tenant and endpoint come from aws.provisioning_tenant_id, or stay empty.
func (d *discovery) Binding(ctx context.Context) (model.Binding, error) {
	if known, _ := d.cached(); known != nil {
		return *known, nil
	}
	if err := d.awaitDiscovery(ctx); err != nil {
		return model.Binding{}, err
	}
	defer d.endDiscovery()
	if known, _ := d.cached(); known != nil {
		return *known, nil
	}
	binding, checked, err := d.discover(ctx)
	if err != nil {
		return model.Binding{}, err
	}
	if checked {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.binding = &binding
	}
	return binding, nil
}

// awaitDiscovery lets one source discover. The others wait, and find what it has found.
func (d *discovery) awaitDiscovery(ctx context.Context) error {
	select {
	case d.discovering <- struct{}{}:
		return nil
	case <-ctx.Done():
		return d.findCall().classify(cloudhttp.NotSent(cloudhttp.Classify(ctx.Err())))
	}
}

func (d *discovery) endDiscovery() { <-d.discovering }

// Forget makes the next Binding discover it again.
func (d *discovery) Forget() {
	d.session.forgetInstances()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.binding, d.foundStore = nil, nil
}

// failed classifies an error, and forgets what it proves stale: new credential files may
// fix a refused sign-in, and a missing provisioning tenant may have a successor.
func (d *discovery) failed(call apiCall, err error) error {
	err = call.classify(err)
	switch model.ReasonOf(err) {
	case model.ReasonAuth:
		d.session.invalidate()
	case model.ReasonNotFound:
		d.Forget()
	default:
	}
	return err
}

// cached returns what was discovered: the binding, and its identity store alone.
func (d *discovery) cached() (binding, foundStore *model.Binding) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.binding, d.foundStore
}

// discover also reports whether the identity store could be checked.
func (d *discovery) discover(ctx context.Context) (binding model.Binding, checked bool, err error) {
	binding = model.Binding{Region: d.options.Region, IdentityStoreID: d.options.IdentityStoreID}
	if checked, err = d.findStore(ctx, &binding); err != nil {
		return model.Binding{}, false, err
	}
	if d.options.TokensFrom == model.OriginDeclared {
		binding.ProvisioningTenantID = d.options.ProvisioningTenantID
	} else if err := d.findTenant(ctx, &binding); err != nil {
		return model.Binding{}, false, err
	}
	binding.SCIMEndpoint = cmp.Or(d.configuredEndpoint(), binding.SCIMEndpoint)
	return binding, checked, nil
}

// configuredEndpoint is the SCIM endpoint as far as the options tell it; "": it is
// discovered.
func (d *discovery) configuredEndpoint() string {
	switch tenant := d.options.ProvisioningTenantID; {
	case d.options.Endpoints.SCIM != "":
		return strings.TrimRight(d.options.Endpoints.SCIM, "/")
	case d.options.TokensFrom == model.OriginDeclared && tenant != "":
		return "https://scim." + d.options.Region + "." + dnsSuffix(d.options.Region) + "/" + tenant + "/scim/v2"
	default:
		return ""
	}
}

// identityStore returns the identity store alone, for what can be read although its
// provisioning tenant cannot be found.
func (d *discovery) identityStore(ctx context.Context) (string, error) {
	if err := d.awaitDiscovery(ctx); err != nil {
		return "", err
	}
	defer d.endDiscovery()
	binding := model.Binding{Region: d.options.Region, IdentityStoreID: d.options.IdentityStoreID}
	_, err := d.findStore(ctx, &binding)
	return binding.IdentityStoreID, err
}

// findStore fills in the identity store and its account, and reports whether it could be
// checked that they are the connection's.
func (d *discovery) findStore(ctx context.Context, binding *model.Binding) (checked bool, err error) {
	if _, known := d.cached(); known != nil {
		*binding = *known
		return true, nil
	}
	if err := d.readStore(ctx, binding); err != nil {
		return false, err
	}
	if checked, err = d.checkStore(ctx, binding.IdentityStoreID); err != nil || !checked {
		return false, err
	}
	found := *binding
	d.mu.Lock()
	defer d.mu.Unlock()
	d.foundStore = &found
	return true, nil
}

func (d *discovery) checkStore(ctx context.Context, id string) (known bool, err error) {
	if d.options.CheckStore == nil {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return d.options.CheckStore(ctx, id)
}

func (d *discovery) findCall() apiCall {
	return apiCall{op: "finding the IAM Identity Center instance of " + d.options.Connection, action: "sso:ListInstances"}
}

// readStore fills in the identity store and the account that owns it. An identity store
// from the config needs no permission to list instances: then the account stays unknown.
func (d *discovery) readStore(ctx context.Context, binding *model.Binding) error {
	instances, err := d.session.instances(ctx)
	if err != nil {
		err = d.failed(d.findCall(), err)
		if d.options.IdentityStoreID != "" && model.ReasonOf(err) == model.ReasonPermission {
			return nil
		}
		return err
	}
	chosen, err := d.chooseInstance(instances)
	if err != nil {
		return d.failed(d.findCall(), err)
	}
	binding.IdentityStoreID = aws.ToString(chosen.IdentityStoreId)
	binding.AWSAccount = aws.ToString(chosen.OwnerAccountId)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.primaryRegion = aws.ToString(chosen.PrimaryRegion)
	return nil
}

// knownPrimaryRegion is the instance's primary region; "": the instances cannot be listed.
func (d *discovery) knownPrimaryRegion() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.primaryRegion
}

// chooseInstance picks the instance by its id, or by its primary region: SCIM and the
// identity source's settings work in no other region.
func (d *discovery) chooseInstance(instances []types.InstanceMetadata) (types.InstanceMetadata, error) {
	region, wanted := d.options.Region, d.options.IdentityStoreID
	fail := func(reason model.Reason, advice, format string, arguments ...any) (types.InstanceMetadata, error) {
		return types.InstanceMetadata{}, &model.Error{Reason: reason, Detail: fmt.Sprintf(format, arguments...), Advice: advice}
	}
	var matching []types.InstanceMetadata
	for _, instance := range instances {
		id, primary := aws.ToString(instance.IdentityStoreId), aws.ToString(instance.PrimaryRegion)
		isHere := primary == "" || primary == region
		if wanted != "" && id == wanted && !isHere {
			return fail(model.ReasonNotFound, "set aws.region: "+truncate(primary),
				"identity store %s has its primary region in %s, not in %s", truncate(id), truncate(primary), region)
		}
		if isHere && (wanted == "" || id == wanted) {
			matching = append(matching, instance)
		}
	}
	switch {
	case len(matching) == 1:
		return matching[0], nil
	case len(matching) > 1:
		return fail(model.ReasonAmbiguous, "set aws.identity_store_id to one of them",
			"%d identity stores in %s: %s", len(matching), region, describeInstances(matching))
	case len(instances) == 0:
		return fail(model.ReasonNotFound, "use the management account or the delegated administrator: aws.profile or aws.role_arn",
			"these credentials see no instance in any region")
	case wanted != "":
		return fail(model.ReasonNotFound, "correct aws.identity_store_id",
			"identity store %s is not among those found: %s", wanted, describeInstances(instances))
	default:
		return fail(model.ReasonNotFound, "set aws.region: "+truncate(aws.ToString(instances[0].PrimaryRegion)),
			"no instance has its primary region in %s; found: %s", region, describeInstances(instances))
	}
}

func describeInstances(instances []types.InstanceMetadata) string {
	names := make([]string, 0, len(instances))
	for _, instance := range instances {
		names = append(names, fmt.Sprintf("%s (%s, account %s)", truncate(aws.ToString(instance.IdentityStoreId)),
			truncate(aws.ToString(instance.PrimaryRegion)), truncate(aws.ToString(instance.OwnerAccountId))))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// findTenant fills in the provisioning tenant and its SCIM endpoint.
func (d *discovery) findTenant(ctx context.Context, binding *model.Binding) error {
	call := d.tokens.describe("finding the provisioning tenant of ", "sso-directory:ListProvisioningTenants")
	tenants, err := d.tokens.tenants(ctx, binding.IdentityStoreID)
	if err != nil {
		return d.failed(call, err)
	}
	tenant, err := d.chooseTenant(tenants, binding.IdentityStoreID)
	if err != nil {
		return d.failed(call, err)
	}
	endpoint, err := url.Parse(tenant.Endpoint)
	if err != nil || endpoint.Scheme != "https" || endpoint.Host == "" || endpoint.User != nil || endpoint.RawQuery != "" {
		return d.failed(call, apiChanged("a provisioning tenant without a usable ScimEndpoint"))
	}
	binding.ProvisioningTenantID = tenant.ID
	// The API ends it with a slash, the documentation and Entra do not.
	binding.SCIMEndpoint = strings.TrimRight(tenant.Endpoint, "/")
	return nil
}

func (d *discovery) chooseTenant(tenants []provisioningTenant, store string) (provisioningTenant, error) {
	ids := make([]string, 0, len(tenants))
	for _, tenant := range tenants {
		if tenant.ID == d.options.ProvisioningTenantID {
			return tenant, nil
		}
		ids = append(ids, truncate(tenant.ID))
	}
	slices.Sort(ids)
	failed := &model.Error{Reason: model.ReasonNotFound}
	switch wanted := d.options.ProvisioningTenantID; {
	case len(tenants) == 0:
		failed.Detail = "identity store " + store + " has no provisioning tenant"
		failed.Advice = "enable automatic provisioning in the console of IAM Identity Center, under Settings, Identity source"
	case wanted != "":
		failed.Detail = fmt.Sprintf("provisioning tenant %s is not among those of identity store %s: %s", wanted, store, strings.Join(ids, ", "))
		failed.Advice = "correct aws.provisioning_tenant_id"
	case len(tenants) > 1:
		failed.Reason = model.ReasonAmbiguous
		failed.Detail = fmt.Sprintf("identity store %s has %d provisioning tenants: %s", store, len(tenants), strings.Join(ids, ", "))
		failed.Advice = "set aws.provisioning_tenant_id to one of them"
	default:
		return tenants[0], nil
	}
	return provisioningTenant{}, failed
}
