package simulator

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

const (
	consoleTarget = "AWSIdentityStoreService." // the console's undocumented token service
	publicTarget  = "AWSIdentityStore."        // the public Identity Store
)

func identityStoreOperations() map[string]operation {
	return map[string]operation{
		consoleTarget + "ListProvisioningTenants":    {name: "ListProvisioningTenants", serve: listProvisioningTenants},
		consoleTarget + "DescribeProvisioningTenant": {name: "DescribeProvisioningTenant", serve: describeProvisioningTenant},
		consoleTarget + "ListBearerTokens":           {name: "ListBearerTokens", serve: listBearerTokens},
		consoleTarget + "CreateBearerToken":          {name: "CreateBearerToken", serve: createBearerToken},
		consoleTarget + "DeleteBearerToken":          {name: "DeleteBearerToken", serve: deleteBearerToken},
		publicTarget + "DescribeIdentityStore":       {name: "DescribeIdentityStore", serve: describeIdentityStore},
	}
}

// storeRequest is what the token service's requests hold, as far as it matters.
type storeRequest struct {
	IdentityStoreID string `json:"IdentityStoreId"`
	TenantID        string `json:"TenantId"`
	TokenID         string `json:"TokenId"`
}

// storeRequest reads a request of the token service, whose JSON version is a quirk, and
// refuses one without the members it needs.
func (c *call) storeRequest(needs ...string) (storeRequest, error) {
	var request storeRequest
	version, _ := read(c, func(w *clouds.Model) (string, error) { return w.Quirks().JSONVersion, nil })
	if sent := c.r.Header.Get("Content-Type"); sent != "application/x-amz-json-"+version {
		return request, &clouds.Error{
			Service: clouds.ServiceTokens, Status: http.StatusNotFound, Code: "UnknownOperationException",
			Message: "The service speaks application/x-amz-json-" + version + ", not " + sent + ".",
		}
	}
	if err := c.decode(&request); err != nil {
		return request, err
	}
	have := map[string]string{"IdentityStoreId": request.IdentityStoreID, "TenantId": request.TenantID, "TokenId": request.TokenID}
	for _, name := range append([]string{"IdentityStoreId"}, needs...) {
		if have[name] == "" {
			return request, &clouds.Error{
				Service: clouds.ServiceTokens, Status: http.StatusBadRequest, Code: "ValidationException",
				Message: "1 validation error detected: Value at '" + strings.ToLower(name[:1]) + name[1:] + "' failed to satisfy constraint: Member must not be null",
			}
		}
	}
	return request, nil
}

// timestamp words a time as the quirk token_times says.
func (c *call) timestamp(t time.Time) any {
	style, _ := read(c, func(w *clouds.Model) (string, error) { return w.Quirks().TokenTimes, nil })
	if style == clouds.TimesStrings {
		return t.UTC().Format("2006-01-02T15:04:05.000Z")
	}
	return epoch(t)
}

func (c *call) tenantEntity(tenant clouds.ProvisioningTenant) map[string]any {
	return map[string]any{"TenantId": tenant.TenantID, "ScimEndpoint": c.sim.shown(tenant.SCIMEndpoint), "CreationTime": c.timestamp(tenant.Created)}
}

func (c *call) tokenEntity(token clouds.BearerToken) map[string]any {
	entity := map[string]any{"TokenId": token.ID, "CreationTime": c.timestamp(token.Created), "ExpirationTime": c.timestamp(token.Expires)}
	if token.Value != "" {
		entity["Token"] = token.Value
	}
	return entity
}

func listProvisioningTenants(c *call) (answer, error) {
	request, err := c.storeRequest()
	if err != nil {
		return answer{}, err
	}
	tenants, err := read(c, func(w *clouds.Model) ([]clouds.ProvisioningTenant, error) {
		return w.ListProvisioningTenants(c.caller, request.IdentityStoreID)
	})
	if err != nil {
		return answer{}, err
	}
	list := []map[string]any{}
	for _, tenant := range tenants {
		list = append(list, c.tenantEntity(tenant))
	}
	return c.asAWS(map[string]any{"ProvisioningTenants": list}), nil
}

func describeProvisioningTenant(c *call) (answer, error) {
	request, err := c.storeRequest("TenantId")
	if err != nil {
		return answer{}, err
	}
	tenants, err := read(c, func(w *clouds.Model) ([]clouds.ProvisioningTenant, error) {
		return w.ListProvisioningTenants(c.caller, request.IdentityStoreID)
	})
	if err != nil {
		return answer{}, err
	}
	for _, tenant := range tenants {
		if tenant.TenantID == request.TenantID {
			return c.asAWS(map[string]any{"ProvisioningTenant": c.tenantEntity(tenant)}), nil
		}
	}
	return answer{}, &clouds.Error{
		Service: clouds.ServiceTokens, Status: http.StatusBadRequest, Code: "ResourceNotFoundException",
		Message: "PROVISIONING_TENANT resource not found for " + request.TenantID + ".",
	}
}

func listBearerTokens(c *call) (answer, error) {
	request, err := c.storeRequest("TenantId")
	if err != nil {
		return answer{}, err
	}
	tokens, err := read(c, func(w *clouds.Model) ([]clouds.BearerToken, error) {
		return w.ListBearerTokens(c.caller, request.IdentityStoreID, request.TenantID)
	})
	if err != nil {
		return answer{}, err
	}
	list := []map[string]any{}
	for _, token := range tokens {
		list = append(list, c.tokenEntity(token))
	}
	return c.asAWS(map[string]any{"BearerTokens": list}), nil
}

func createBearerToken(c *call) (answer, error) {
	request, err := c.storeRequest("TenantId")
	if err != nil {
		return answer{}, err
	}
	token, err := act(c, func(w *clouds.Model) (clouds.BearerToken, error) {
		return w.CreateBearerToken(c.caller, request.IdentityStoreID, request.TenantID)
	})
	if err != nil {
		return answer{}, err
	}
	return c.asAWS(map[string]any{"BearerToken": c.tokenEntity(token)}), nil
}

func deleteBearerToken(c *call) (answer, error) {
	request, err := c.storeRequest("TenantId", "TokenId")
	if err != nil {
		return answer{}, err
	}
	_, err = act(c, func(w *clouds.Model) (struct{}, error) {
		return nothing(w.DeleteBearerToken(c.caller, request.IdentityStoreID, request.TenantID, request.TokenID))
	})
	if err != nil {
		return answer{}, err
	}
	return c.asAWS(struct{}{}), nil
}

func describeIdentityStore(c *call) (answer, error) {
	var request storeRequest
	if err := c.decode(&request); err != nil {
		return answer{}, err
	}
	var sources []netip.Prefix
	instance, err := read(c, func(w *clouds.Model) (found clouds.Instance, err error) {
		found, sources, err = w.DescribeStore(c.caller, request.IdentityStoreID)
		return found, err
	})
	if err != nil {
		return answer{}, err
	}
	if sources == nil {
		sources = []netip.Prefix{}
	}
	return c.asAWS(map[string]any{
		"IdentityStoreId":      instance.IdentityStoreID,
		"IdentityStoreArn":     "arn:aws:identitystore::" + instance.OwnerAccountID + ":identitystore/" + instance.IdentityStoreID,
		"NetworkConfiguration": map[string]any{"ScimAllowSourceIps": sources, "VpceAccessRequired": false},
	}), nil
}

// listInstances is sso-admin's.
// https://docs.aws.amazon.com/singlesignon/latest/APIReference/API_ListInstances.html
func listInstances(c *call) (answer, error) {
	var request struct{ RegionScope string }
	if err := c.decode(&request); err != nil {
		return answer{}, err
	}
	instances, err := read(c, func(w *clouds.Model) ([]clouds.Instance, error) {
		return w.ListInstances(c.caller, request.RegionScope == "ALL_REGIONS")
	})
	if err != nil {
		return answer{}, err
	}
	list := []map[string]any{}
	for _, instance := range instances {
		list = append(list, map[string]any{
			"InstanceArn": instance.ARN, "IdentityStoreId": instance.IdentityStoreID, "OwnerAccountId": instance.OwnerAccountID,
			"PrimaryRegion": instance.PrimaryRegion, "Name": instance.Name, "Status": instance.Status, "CreatedDate": epoch(instance.Created),
		})
	}
	return c.asAWS(map[string]any{"Instances": list}), nil
}
