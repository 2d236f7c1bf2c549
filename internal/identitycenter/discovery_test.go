package identitycenter_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/model"
)

func TestBinding(t *testing.T) {
	cloud := newCloud(t)
	instance := cloud.instance(nil)
	want := model.Binding{
		AWSAccount: account, Region: region, IdentityStoreID: store, ProvisioningTenantID: tenant, SCIMEndpoint: endpoint,
	}
	for range 3 {
		got, err := instance.Binding(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	if n := cloud.called("ListInstances"); n != 1 {
		t.Errorf("discovered %d times", n)
	}
	if got := cloud.last("ListInstances").body; got != `{"RegionScope":"ALL_REGIONS"}` {
		t.Errorf("asked %s", got)
	}
}

// A recreated provisioning tenant is found again once the old one answers not found.
func TestBindingIsForgottenWhenItIsGone(t *testing.T) {
	for name, gone := range map[string]answer{
		"not found":  {status: 400, body: `{"__type":"ResourceNotFoundException","message":"gone"}`},
		"empty list": {body: `{"BearerTokens":[]}`},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			instance := cloud.instance(nil)
			if _, err := instance.ListTokens(t.Context()); err != nil {
				t.Fatal(err)
			}
			cloud.answers["ListBearerTokens"] = func(call) answer { return gone }
			cloud.json("ListProvisioningTenants", `{"ProvisioningTenants":[{"TenantId":"other","ScimEndpoint":"https://scim.eu-central-1.amazonaws.com/other/scim/v2"}]}`)
			_, _ = instance.ListTokens(t.Context())
			binding, err := instance.Binding(t.Context())
			if err != nil || binding.ProvisioningTenantID != "other" {
				t.Errorf("got %+v, %v", binding, err)
			}
		})
	}
}

func TestDiscoveryErrors(t *testing.T) {
	const (
		stores  = "finding the IAM Identity Center instance of corp: "
		tenants = "finding the provisioning tenant of corp: "
	)
	one := func(id string) string {
		return fmt.Sprintf(`{"TenantId":%q,"ScimEndpoint":"https://scim.eu-central-1.amazonaws.com/%s/scim/v2/"}`, id, id)
	}
	for name, test := range map[string]struct {
		instances, tenants string
		store, tenant      string
		want               string
	}{
		"none": {
			instances: instances(),
			want: stores + "not_found: these credentials see no instance in any region " +
				"(use the management account or the delegated administrator: aws.profile or aws.role_arn)",
		},
		"wrong region": {
			instances: instances(instance("d-1", "us-east-1", account)),
			want: stores + "not_found: no instance has its primary region in eu-central-1; found: d-1 (us-east-1, account 111122223333) " +
				"(set aws.region: us-east-1)",
		},
		"two": {
			instances: instances(instance("d-2", region, "444455556666"), instance("d-1", region, account), instance("d-3", "us-east-1", account)),
			want: stores + "ambiguous: 2 identity stores in eu-central-1: d-1 (eu-central-1, account 111122223333), d-2 (eu-central-1, account 444455556666) " +
				"(set aws.identity_store_id to one of them)",
		},
		"another store configured": {
			instances: instances(instance("d-1", region, account)), store: "d-9",
			want: stores + "not_found: identity store d-9 is not among those found: d-1 (eu-central-1, account 111122223333) (correct aws.identity_store_id)",
		},
		"configured store elsewhere": {
			instances: instances(instance("d-1", region, account), instance("d-9", "us-east-1", account)), store: "d-9",
			want: stores + "not_found: identity store d-9 has its primary region in us-east-1, not in eu-central-1 (set aws.region: us-east-1)",
		},
		"odd instances": {
			instances: instances(`{}`, `{"IdentityStoreId":null}`),
			want: stores + "not_found: these credentials see no instance in any region " +
				"(use the management account or the delegated administrator: aws.profile or aws.role_arn)",
		},
		"no tenant": {
			tenants: `{}`,
			want: tenants + "not_found: identity store d-9967aaaaaa has no provisioning tenant " +
				"(enable automatic provisioning in the console of IAM Identity Center, under Settings, Identity source)",
		},
		"two tenants": {
			tenants: `{"ProvisioningTenants":[null,` + one("b") + "," + one("a") + `]}`,
			want:    tenants + "ambiguous: identity store d-9967aaaaaa has 2 provisioning tenants: a, b (set aws.provisioning_tenant_id to one of them)",
		},
		"another tenant configured": {
			tenants: `{"ProvisioningTenants":[` + one("a") + `]}`, tenant: "c",
			want: tenants + "not_found: provisioning tenant c is not among those of identity store d-9967aaaaaa: a (correct aws.provisioning_tenant_id)",
		},
		"tenant with a path": {
			tenants: `{"ProvisioningTenants":[` + one("../a") + `]}`,
			want:    tenants + "api_changed: the response has a provisioning tenant without a usable TenantId (" + undocumented + ")",
		},
		"endpoint without TLS": {
			tenants: `{"ProvisioningTenants":[{"TenantId":"a","ScimEndpoint":"http://scim.eu-central-1.amazonaws.com/a/scim/v2"}]}`,
			want:    tenants + "api_changed: the response has a provisioning tenant without a usable ScimEndpoint (" + undocumented + ")",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			if test.instances != "" {
				cloud.json("ListInstances", test.instances)
			}
			if test.tenants != "" {
				cloud.json("ListProvisioningTenants", test.tenants)
			}
			_, err := cloud.instance(func(o *identitycenter.Options) {
				o.IdentityStoreID, o.ProvisioningTenantID = test.store, test.tenant
			}).Binding(t.Context())
			wantError(t, err, test.want)
		})
	}
}

func TestConfiguredIDsChoose(t *testing.T) {
	cloud := newCloud(t)
	cloud.json("ListInstances", instances(instance("d-1", region, account), instance("d-2", region, "444455556666")))
	cloud.json("ListProvisioningTenants", `{"ProvisioningTenants":[{"TenantId":"a","ScimEndpoint":"https://scim.eu-central-1.amazonaws.com/a/scim/v2/"},
		{"TenantId":"b","ScimEndpoint":"https://scim.eu-central-1.amazonaws.com/b/scim/v2/"}]}`)
	got, err := cloud.instance(func(o *identitycenter.Options) { o.IdentityStoreID, o.ProvisioningTenantID = "d-2", "b" }).Binding(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := model.Binding{AWSAccount: "444455556666", Region: region, IdentityStoreID: "d-2", ProvisioningTenantID: "b",
		SCIMEndpoint: "https://scim.eu-central-1.amazonaws.com/b/scim/v2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A configured identity store does without the permission to list instances.
func TestConfiguredStoreNeedsNoPermissionToList(t *testing.T) {
	cloud := newCloud(t)
	cloud.refuse("ListInstances", 400, "AccessDeniedException", "not authorized to perform: sso:ListInstances")
	_, err := cloud.instance(nil).Binding(t.Context())
	wantError(t, err, "finding the IAM Identity Center instance of corp: permission: AccessDeniedException: "+
		"not authorized to perform: sso:ListInstances (allow sso:ListInstances, see deploy/permissions/aws.md)")
	got, err := cloud.instance(func(o *identitycenter.Options) { o.IdentityStoreID = store }).Binding(t.Context())
	if err != nil || got.IdentityStoreID != store || got.ProvisioningTenantID != tenant {
		t.Errorf("got %+v, %v", got, err)
	}
}

// With declared tokens nothing undocumented is called.
func TestDeclaredBinding(t *testing.T) {
	cloud := newCloud(t)
	declared := func(o *identitycenter.Options) { o.TokensFrom = model.OriginDeclared }
	got, err := cloud.instance(declared).Binding(t.Context())
	if err != nil || got.IdentityStoreID != store || got.ProvisioningTenantID != "" || got.SCIMEndpoint != "" {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = cloud.instance(declared).ProbeToken(t.Context(), secret())
	wantError(t, err, "probing the SCIM endpoint of corp: not_found: with declared tokens the SCIM endpoint is not looked up "+
		"(set aws.provisioning_tenant_id, the part of the SCIM endpoint before /scim/v2)")
	for region, want := range map[string]string{
		"eu-central-1":   "https://scim.eu-central-1.amazonaws.com/abc/scim/v2",
		"cn-north-1":     "https://scim.cn-north-1.amazonaws.com.cn/abc/scim/v2",
		"eusc-de-east-1": "https://scim.eusc-de-east-1.amazonaws.eu/abc/scim/v2",
	} {
		cloud.json("ListInstances", instances(instance(store, region, account)))
		got, err := cloud.instance(func(o *identitycenter.Options) {
			declared(o)
			o.Region, o.ProvisioningTenantID = region, "abc"
		}).Binding(t.Context())
		if err != nil || got.SCIMEndpoint != want {
			t.Errorf("%s: got %s, %v", region, got.SCIMEndpoint, err)
		}
	}
	if cloud.called("ListProvisioningTenants")+cloud.called("ListBearerTokens") != 0 {
		t.Error("the undocumented API was called")
	}
}
