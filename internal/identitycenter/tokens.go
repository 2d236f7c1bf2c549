package identitycenter

import (
	"context"
	"slices"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

const setTenantID = "set aws.provisioning_tenant_id, the part of the SCIM endpoint before /scim/v2"

// ListTokens returns the tokens, oldest first, with AWS's clock. Declared tokens come
// from the config, without any call.
func (i *Instance) ListTokens(ctx context.Context) (model.TokenList, error) {
	list := model.TokenList{Origin: i.options.TokensFrom, Slots: model.TokenSlots}
	if i.options.TokensFrom == model.OriginDeclared {
		list.Tokens = oldestFirst(append([]model.Token{}, i.options.Declared...))
	} else {
		binding, err := i.tenantBinding(ctx)
		if err != nil {
			return model.TokenList{}, err
		}
		list.Tokens, list.Date, err = i.tokens.list(ctx, binding)
		if err != nil {
			return model.TokenList{}, i.failed(i.tokens.describe("listing the SCIM tokens of ", "sso-directory:ListBearerTokens"), err)
		}
		if len(list.Tokens) == 0 {
			i.Forget() // the predecessor of a recreated provisioning tenant may answer so
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.listed = slices.Clone(list.Tokens)
	return list, nil
}

// lastListed returns the tokens of the last good list.
func (i *Instance) lastListed() []model.Token {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.listed
}

// CreateToken creates a token with exactly one request, without any retry. With an error
// that leaves the outcome unknown, the value may be set nevertheless.
func (i *Instance) CreateToken(ctx context.Context) (model.IssuedToken, error) {
	binding, err := i.tenantBinding(ctx)
	if err != nil {
		return model.IssuedToken{}, cloudhttp.NotRead(err)
	}
	token, err := i.tokens.create(ctx, binding)
	return token, i.failed(i.tokens.describe("creating a SCIM token for ", "sso-directory:CreateBearerToken"), err)
}

// DeleteToken deletes the token with this id with exactly one request, without any retry.
func (i *Instance) DeleteToken(ctx context.Context, tokenID string) error {
	binding, err := i.tenantBinding(ctx)
	if err != nil {
		return cloudhttp.NotRead(err)
	}
	err = i.tokens.remove(ctx, binding, tokenID)
	return i.failed(i.tokens.describe("deleting a SCIM token of ", "sso-directory:DeleteBearerToken"), err)
}

// tenantBinding returns the binding, whose provisioning tenant must be known.
func (i *Instance) tenantBinding(ctx context.Context) (model.Binding, error) {
	binding, err := i.Binding(ctx)
	if err == nil && binding.ProvisioningTenantID == "" {
		err = &model.Error{
			Reason: model.ReasonNotFound, Op: "finding the provisioning tenant of " + i.options.Connection,
			Detail: "with declared tokens it is not looked up", Advice: setTenantID, Unsent: true,
		}
	}
	return binding, err
}
