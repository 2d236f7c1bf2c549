package identitycenter

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin/types"

	"entra-aws-exporter/internal/model"
)

// Binding returns AWS's half of the binding. It is discovered once and kept until an
// answer shows that it is gone. With declared tokens nothing undocumented is asked:
// tenant and endpoint come from aws.provisioning_tenant_id, or stay empty.
func (i *Instance) Binding(ctx context.Context) (model.Binding, error) {
	i.mu.Lock()
	known := i.binding
	i.mu.Unlock()
	if known != nil {
		return *known, nil
	}
	binding, err := i.discover(ctx)
	if err != nil {
		return model.Binding{}, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.binding = &binding
	return binding, nil
}

// Forget makes the next Binding look afresh.
func (i *Instance) Forget() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.binding = nil
}

func (i *Instance) discover(ctx context.Context) (model.Binding, error) {
	binding := model.Binding{Region: i.options.Region, IdentityStoreID: i.options.IdentityStoreID}
	if err := i.findStore(ctx, &binding); err != nil {
		return model.Binding{}, err
	}
	if i.options.TokensFrom == model.OriginDeclared {
		binding.ProvisioningTenantID = i.options.ProvisioningTenantID
	} else if err := i.findTenant(ctx, &binding); err != nil {
		return model.Binding{}, err
	}
	if endpoint := i.knownEndpoint(); endpoint != "" {
		binding.SCIMEndpoint = endpoint
	}
	return binding, nil
}

// knownEndpoint is the SCIM endpoint as far as the options tell it; "": it is discovered.
func (i *Instance) knownEndpoint() string {
	switch tenant := i.options.ProvisioningTenantID; {
	case i.options.Endpoints.SCIM != "":
		return strings.TrimRight(i.options.Endpoints.SCIM, "/")
	case i.options.TokensFrom == model.OriginDeclared && tenant != "":
		return "https://scim." + i.options.Region + "." + domain(i.options.Region) + "/" + tenant + "/scim/v2"
	default:
		return ""
	}
}

// identityStore returns the identity store alone, for what can be read although its
// provisioning tenant cannot be found.
func (i *Instance) identityStore(ctx context.Context) (string, error) {
	i.mu.Lock()
	known := i.binding
	i.mu.Unlock()
	if known != nil {
		return known.IdentityStoreID, nil
	}
	binding := model.Binding{Region: i.options.Region, IdentityStoreID: i.options.IdentityStoreID}
	err := i.findStore(ctx, &binding)
	return binding.IdentityStoreID, err
}

// findStore fills in the identity store and the account that owns it. An identity
// store from the config needs no permission to list: then the account stays unknown.
func (i *Instance) findStore(ctx context.Context, binding *model.Binding) error {
	looking := operation{doing: "finding the IAM Identity Center instance of " + i.options.Connection, action: "sso:ListInstances"}
	clients, err := i.access.clients(ctx)
	if err != nil {
		return i.failed(looking, err)
	}
	var instances []types.InstanceMetadata
	pages := ssoadmin.NewListInstancesPaginator(clients.listInstances, &ssoadmin.ListInstancesInput{RegionScope: types.RegionScopeAllRegions},
		func(o *ssoadmin.ListInstancesPaginatorOptions) { o.StopOnDuplicateToken = true })
	for pages.HasMorePages() && len(instances) < 1000 {
		page, err := pages.NextPage(ctx)
		if err != nil {
			err = i.failed(looking, err)
			if i.options.IdentityStoreID != "" && model.ReasonOf(err) == model.ReasonPermission {
				return nil
			}
			return err
		}
		for _, instance := range page.Instances {
			if aws.ToString(instance.IdentityStoreId) != "" {
				instances = append(instances, instance)
			}
		}
	}
	chosen, err := i.choose(instances)
	if err != nil {
		return i.failed(looking, err)
	}
	binding.IdentityStoreID = aws.ToString(chosen.IdentityStoreId)
	binding.AWSAccount = aws.ToString(chosen.OwnerAccountId)
	return nil
}

// choose picks the instance by its id, or by its primary region: SCIM and the identity
// source's settings work nowhere else.
func (i *Instance) choose(instances []types.InstanceMetadata) (types.InstanceMetadata, error) {
	region, wanted := i.options.Region, i.options.IdentityStoreID
	isHere := func(instance types.InstanceMetadata) bool {
		primary := aws.ToString(instance.PrimaryRegion)
		return primary == "" || primary == region
	}
	var matching []types.InstanceMetadata
	for _, instance := range instances {
		id := aws.ToString(instance.IdentityStoreId)
		if wanted != "" && id == wanted && !isHere(instance) {
			return instance, &model.Error{
				Reason: model.ReasonNotFound,
				Detail: fmt.Sprintf("identity store %s has its primary region in %s, not in %s", clip(id), clip(aws.ToString(instance.PrimaryRegion)), region),
				Advice: "set aws.region: " + clip(aws.ToString(instance.PrimaryRegion)),
			}
		}
		if isHere(instance) && (wanted == "" || id == wanted) {
			matching = append(matching, instance)
		}
	}
	switch {
	case len(matching) == 1:
		return matching[0], nil
	case len(matching) > 1:
		return types.InstanceMetadata{}, &model.Error{
			Reason: model.ReasonAmbiguous,
			Detail: fmt.Sprintf("%d identity stores in %s: %s", len(matching), region, describe(matching)),
			Advice: "set aws.identity_store_id to one of them",
		}
	case len(instances) == 0:
		return types.InstanceMetadata{}, &model.Error{
			Reason: model.ReasonNotFound,
			Detail: "these credentials see no instance in any region",
			Advice: "use the management account or the delegated administrator: aws.profile or aws.role_arn",
		}
	case wanted != "":
		return types.InstanceMetadata{}, &model.Error{
			Reason: model.ReasonNotFound,
			Detail: fmt.Sprintf("identity store %s is not among those found: %s", wanted, describe(instances)),
			Advice: "correct aws.identity_store_id",
		}
	default:
		return types.InstanceMetadata{}, &model.Error{
			Reason: model.ReasonNotFound,
			Detail: fmt.Sprintf("no instance has its primary region in %s; found: %s", region, describe(instances)),
			Advice: "set aws.region: " + clip(aws.ToString(instances[0].PrimaryRegion)),
		}
	}
}

func describe(instances []types.InstanceMetadata) string {
	names := make([]string, 0, len(instances))
	for _, instance := range instances {
		names = append(names, fmt.Sprintf("%s (%s, account %s)", clip(aws.ToString(instance.IdentityStoreId)),
			clip(aws.ToString(instance.PrimaryRegion)), clip(aws.ToString(instance.OwnerAccountId))))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// findTenant fills in the provisioning tenant and its SCIM endpoint.
func (i *Instance) findTenant(ctx context.Context, binding *model.Binding) error {
	looking := i.console("finding the provisioning tenant of ", "sso-directory:ListProvisioningTenants")
	clients, err := i.access.clients(ctx)
	if err != nil {
		return i.failed(looking, err)
	}
	tenants, err := i.tokens.tenants(ctx, clients.credentials, binding.IdentityStoreID)
	if err != nil {
		return i.failed(looking, err)
	}
	tenant, err := i.chooseTenant(tenants, binding.IdentityStoreID)
	if err != nil {
		return i.failed(looking, err)
	}
	endpoint, err := url.Parse(tenant.Endpoint)
	if err != nil || endpoint.Scheme != "https" || endpoint.Host == "" || endpoint.User != nil || endpoint.RawQuery != "" {
		return i.failed(looking, changed("a provisioning tenant without a usable ScimEndpoint"))
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
		ids = append(ids, clip(tenant.ID))
	}
	slices.Sort(ids)
	switch wanted := i.options.ProvisioningTenantID; {
	case len(tenants) == 0:
		return provisioningTenant{}, &model.Error{
			Reason: model.ReasonNotFound, Detail: "identity store " + store + " has no provisioning tenant",
			Advice: "enable automatic provisioning in the console of IAM Identity Center, under Settings, Identity source",
		}
	case wanted != "":
		return provisioningTenant{}, &model.Error{
			Reason: model.ReasonNotFound,
			Detail: fmt.Sprintf("provisioning tenant %s is not among those of identity store %s: %s", wanted, store, strings.Join(ids, ", ")),
			Advice: "correct aws.provisioning_tenant_id",
		}
	case len(tenants) > 1:
		return provisioningTenant{}, &model.Error{
			Reason: model.ReasonAmbiguous,
			Detail: fmt.Sprintf("identity store %s has %d provisioning tenants: %s", store, len(tenants), strings.Join(ids, ", ")),
			Advice: "set aws.provisioning_tenant_id to one of them",
		}
	default:
		return tenants[0], nil
	}
}
