package identitycenter

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

const checkTimeout = 5 * time.Second // of CheckStore, which is asked beside every discovery

const setTenantID = "set aws.provisioning_tenant_id, the part of the SCIM endpoint before /scim/v2"

// Binding returns AWS's half of the binding. It is discovered once and kept until a
// response shows that it no longer exists. With declared tokens no undocumented API is
// called: tenant and endpoint come from aws.provisioning_tenant_id, or stay empty.
func (i *Instance) Binding(ctx context.Context) (model.Binding, error) {
	if known, _ := i.cached(); known != nil {
		return *known, nil
	}
	if err := i.awaitDiscovery(ctx); err != nil {
		return model.Binding{}, err
	}
	defer i.endDiscovery()
	if known, _ := i.cached(); known != nil {
		return *known, nil
	}
	binding, checked, err := i.discover(ctx)
	if err != nil {
		return model.Binding{}, err
	}
	if checked {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.binding = &binding
	}
	return binding, nil
}

// awaitDiscovery lets one source discover. The others wait, and find what it has found.
func (i *Instance) awaitDiscovery(ctx context.Context) error {
	select {
	case i.discovering <- struct{}{}:
		return nil
	case <-ctx.Done():
		return i.findCall().classify(cloudhttp.NotSent(cloudhttp.Classify(ctx.Err())))
	}
}

func (i *Instance) endDiscovery() { <-i.discovering }

// Forget makes the next Binding discover it again.
func (i *Instance) Forget() {
	i.session.forgetInstances()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.binding, i.foundStore = nil, nil
}

// failed classifies an error, and forgets what it proves stale: new credential files may
// fix a refused sign-in, and a missing provisioning tenant may have a successor.
func (i *Instance) failed(call apiCall, err error) error {
	err = call.classify(err)
	switch model.ReasonOf(err) {
	case model.ReasonAuth:
		i.session.invalidate()
	case model.ReasonNotFound:
		i.Forget()
	default:
	}
	return err
}

// cached returns what was discovered: the binding, and its identity store alone.
func (i *Instance) cached() (binding, foundStore *model.Binding) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.binding, i.foundStore
}

// discover also reports whether the identity store could be checked.
func (i *Instance) discover(ctx context.Context) (binding model.Binding, checked bool, err error) {
	binding = model.Binding{Region: i.options.Region, IdentityStoreID: i.options.IdentityStoreID}
	if checked, err = i.findStore(ctx, &binding); err != nil {
		return model.Binding{}, false, err
	}
	if i.options.TokensFrom == model.OriginDeclared {
		binding.ProvisioningTenantID = i.options.ProvisioningTenantID
	} else if err := i.findTenant(ctx, &binding); err != nil {
		return model.Binding{}, false, err
	}
	binding.SCIMEndpoint = cmp.Or(i.configuredEndpoint(), binding.SCIMEndpoint)
	return binding, checked, nil
}

// configuredEndpoint is the SCIM endpoint as far as the options tell it; "": it is
// discovered.
func (i *Instance) configuredEndpoint() string {
	switch tenant := i.options.ProvisioningTenantID; {
	case i.options.Endpoints.SCIM != "":
		return strings.TrimRight(i.options.Endpoints.SCIM, "/")
	case i.options.TokensFrom == model.OriginDeclared && tenant != "":
		return "https://scim." + i.options.Region + "." + dnsSuffix(i.options.Region) + "/" + tenant + "/scim/v2"
	default:
		return ""
	}
}

// identityStore returns the identity store alone, for what can be read although its
// provisioning tenant cannot be found.
func (i *Instance) identityStore(ctx context.Context) (string, error) {
	if err := i.awaitDiscovery(ctx); err != nil {
		return "", err
	}
	defer i.endDiscovery()
	binding := model.Binding{Region: i.options.Region, IdentityStoreID: i.options.IdentityStoreID}
	_, err := i.findStore(ctx, &binding)
	return binding.IdentityStoreID, err
}

// findStore fills in the identity store and its account, and reports whether it could be
// checked that they are the connection's.
func (i *Instance) findStore(ctx context.Context, binding *model.Binding) (checked bool, err error) {
	if _, known := i.cached(); known != nil {
		*binding = *known
		return true, nil
	}
	if err := i.readStore(ctx, binding); err != nil {
		return false, err
	}
	if checked, err = i.checkStore(ctx, binding.IdentityStoreID); err != nil || !checked {
		return false, err
	}
	found := *binding
	i.mu.Lock()
	defer i.mu.Unlock()
	i.foundStore = &found
	return true, nil
}

func (i *Instance) checkStore(ctx context.Context, id string) (known bool, err error) {
	if i.options.CheckStore == nil {
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return i.options.CheckStore(ctx, id)
}

// Caller returns account and ARN of the credentials. The call needs no permission.
func (i *Instance) Caller(ctx context.Context) (account, arn string, err error) {
	call := apiCall{op: "signing in to AWS for " + i.options.Connection, action: "sts:GetCallerIdentity"}
	clients, err := i.session.open(ctx)
	if err != nil {
		return "", "", i.failed(call, err)
	}
	caller, err := clients.getCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", "", i.failed(call, err)
	}
	return aws.ToString(caller.Account), aws.ToString(caller.Arn), nil
}

func (i *Instance) findCall() apiCall {
	return apiCall{op: "finding the IAM Identity Center instance of " + i.options.Connection, action: "sso:ListInstances"}
}

// readStore fills in the identity store and the account that owns it. An identity store
// from the config needs no permission to list instances: then the account stays unknown.
func (i *Instance) readStore(ctx context.Context, binding *model.Binding) error {
	instances, err := i.session.instances(ctx)
	if err != nil {
		err = i.failed(i.findCall(), err)
		if i.options.IdentityStoreID != "" && model.ReasonOf(err) == model.ReasonPermission {
			return nil
		}
		return err
	}
	chosen, err := i.chooseInstance(instances)
	if err != nil {
		return i.failed(i.findCall(), err)
	}
	binding.IdentityStoreID = aws.ToString(chosen.IdentityStoreId)
	binding.AWSAccount = aws.ToString(chosen.OwnerAccountId)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.primaryRegion = aws.ToString(chosen.PrimaryRegion)
	return nil
}

// knownPrimaryRegion is the instance's primary region; "": the instances cannot be listed.
func (i *Instance) knownPrimaryRegion() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.primaryRegion
}

// chooseInstance picks the instance by its id, or by its primary region: SCIM and the
// identity source's settings work in no other region.
func (i *Instance) chooseInstance(instances []types.InstanceMetadata) (types.InstanceMetadata, error) {
	region, wanted := i.options.Region, i.options.IdentityStoreID
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

// otherJSONVersion is the setting to try when a service does not know an operation.
func otherJSONVersion(service, version string) string {
	other := "1.0"
	if version == other {
		other = "1.1"
	}
	return fmt.Sprintf("aws.endpoints.%s_json_version: %q", service, other)
}

// tokenCall describes a call to the undocumented token service.
func (i *Instance) tokenCall(op, action string) apiCall {
	return apiCall{
		op: op + i.options.Connection, action: action,
		jsonVersion: otherJSONVersion("token_service", i.options.TokenServiceJSONVersion),
		alternative: "AWS does not document this API and may have changed it: " +
			"set tokens.read_from: declared with the tokens' dates, and update the exporter",
	}
}

// findTenant fills in the provisioning tenant and its SCIM endpoint.
func (i *Instance) findTenant(ctx context.Context, binding *model.Binding) error {
	call := i.tokenCall("finding the provisioning tenant of ", "sso-directory:ListProvisioningTenants")
	tenants, err := i.tokens.tenants(ctx, binding.IdentityStoreID)
	if err != nil {
		return i.failed(call, err)
	}
	tenant, err := i.chooseTenant(tenants, binding.IdentityStoreID)
	if err != nil {
		return i.failed(call, err)
	}
	endpoint, err := url.Parse(tenant.Endpoint)
	if err != nil || endpoint.Scheme != "https" || endpoint.Host == "" || endpoint.User != nil || endpoint.RawQuery != "" {
		return i.failed(call, apiChanged("a provisioning tenant without a usable ScimEndpoint"))
	}
	binding.ProvisioningTenantID = tenant.ID
	// The API ends it with a slash, the documentation and Entra do not.
	binding.SCIMEndpoint = strings.TrimRight(tenant.Endpoint, "/")
	return nil
}

func (i *Instance) chooseTenant(tenants []provisioningTenant, store string) (provisioningTenant, error) {
	ids := make([]string, 0, len(tenants))
	for _, tenant := range tenants {
		if tenant.ID == i.options.ProvisioningTenantID {
			return tenant, nil
		}
		ids = append(ids, truncate(tenant.ID))
	}
	slices.Sort(ids)
	failed := &model.Error{Reason: model.ReasonNotFound}
	switch wanted := i.options.ProvisioningTenantID; {
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
