// Package identitycenter reads and writes AWS's side of the bridge: the SCIM access
// tokens of one IAM Identity Center instance, its SCIM endpoint, AWS's log of the
// calls to it, and the SAML certificates that AWS trusts.
//
// It is the only package that knows the AWS SDK. All errors are *model.Error.
package identitycenter

import (
	"context"
	"errors"
	"slices"
	"sync"

	"entra-aws-exporter/internal/model"
)

// Instance is one connection's view of an IAM Identity Center instance. Its methods
// may be called at the same time.
type Instance struct {
	options Options
	web     *web
	access  *access
	tokens  *tokenService
	store   *consoleAPI
	idp     *consoleAPI
	trail   *trail
	usage   usage
	scim    *scim

	mu      sync.Mutex
	binding *model.Binding  // nil: to be discovered
	listed  []model.Token   // of the last good ListTokens
	skipped map[string]bool // what was already logged as unusable
}

// New checks the options; it makes no call and reads no file.
func New(options Options) (*Instance, error) {
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	web := newWeb(options.Connection, options.Version, options.Transport, options.Observe, options.Logger)
	i := &Instance{
		options: options,
		web:     web,
		access: &access{
			region: options.Region, profile: options.Profile, roleARN: options.RoleARN, externalID: options.ExternalID,
			endpoints: options.Endpoints, web: web,
		},
		tokens: &tokenService{api: &consoleAPI{
			endpoint: options.Endpoints.TokenService, jsonVersion: options.TokenServiceJSONVersion,
			target: tokenServiceTarget, signingName: "identitystore", region: options.Region,
			userAgent: web.userAgent, http: web.client("token_service"),
		}},
		store: &consoleAPI{
			endpoint: options.Endpoints.IdentityStore, jsonVersion: "1.1",
			target: identityStoreTarget, signingName: "identitystore", region: options.Region,
			userAgent: web.userAgent, http: web.client("identity_store"),
		},
		idp: &consoleAPI{
			endpoint: options.Endpoints.IdPCertificates, jsonVersion: "1.0",
			target: idpTarget, signingName: "appsauth", region: options.Region,
			userAgent: web.userAgent, http: web.client("idp_certificates"),
		},
		trail:   newTrail(),
		scim:    &scim{http: web.client("scim"), userAgent: web.userAgent, allowed: allowedHosts(options.SCIMAllowedHosts)},
		skipped: make(map[string]bool),
	}
	return i, nil
}

// ListTokens returns the tokens, oldest first, with AWS's clock; with declared tokens
// those of the config, without any call.
func (i *Instance) ListTokens(ctx context.Context) (model.TokenList, error) {
	if i.options.TokensFrom == model.OriginDeclared {
		list := model.TokenList{Origin: model.OriginDeclared, Slots: model.TokenSlots, Tokens: oldestFirst(append([]model.Token{}, i.options.Declared...))}
		i.remember(list.Tokens)
		return list, nil
	}
	operation := i.console("listing the SCIM tokens of ", "sso-directory:ListBearerTokens")
	clients, binding, err := i.bound(ctx)
	if err != nil {
		return model.TokenList{}, err
	}
	list, err := i.tokens.list(ctx, clients.credentials, binding.IdentityStoreID, binding.ProvisioningTenantID)
	if err != nil {
		return model.TokenList{}, i.failed(operation, err)
	}
	if len(list.Tokens) == 0 {
		i.Forget() // what a recreated provisioning tenant's predecessor may answer
	}
	i.remember(list.Tokens)
	return list, nil
}

// CreateToken asks for a new token exactly once, without any retry. With an error
// that leaves the outcome unknown, the value may be set all the same.
func (i *Instance) CreateToken(ctx context.Context) (model.IssuedToken, error) {
	operation := i.console("creating a SCIM token for ", "sso-directory:CreateBearerToken")
	clients, binding, err := i.bound(ctx)
	if err != nil {
		return model.IssuedToken{}, unsent(err)
	}
	token, err := i.tokens.create(ctx, clients.credentials, binding.IdentityStoreID, binding.ProvisioningTenantID)
	return token, i.failed(operation, err)
}

// DeleteToken deletes the token with this id, exactly once, without any retry.
func (i *Instance) DeleteToken(ctx context.Context, tokenID string) error {
	operation := i.console("deleting a SCIM token of ", "sso-directory:DeleteBearerToken")
	clients, binding, err := i.bound(ctx)
	if err != nil {
		return unsent(err)
	}
	return i.failed(operation, i.tokens.remove(ctx, clients.credentials, binding.IdentityStoreID, binding.ProvisioningTenantID, tokenID))
}

// bound returns what every call to the token service needs.
func (i *Instance) bound(ctx context.Context) (*clients, model.Binding, error) {
	binding, err := i.Binding(ctx)
	if err != nil {
		return nil, model.Binding{}, err
	}
	if binding.ProvisioningTenantID == "" {
		return nil, model.Binding{}, &model.Error{
			Reason: model.ReasonNotFound, Op: "finding the provisioning tenant of " + i.options.Connection,
			Detail: "with declared tokens it is not looked up",
			Advice: "set aws.provisioning_tenant_id, the part of the SCIM endpoint before /scim/v2", Unsent: true,
		}
	}
	clients, err := i.access.clients(ctx)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, model.Binding{}, i.failed(operation{doing: "signing in to AWS for " + i.options.Connection}, err)
	}
	return clients, binding, nil
}

// console names a call to the undocumented token service.
func (i *Instance) console(doing, action string) operation {
	return operation{
		doing: doing + i.options.Connection, action: action,
		instead: "AWS does not document this API and may have changed it: " +
			"set tokens.read_from: declared with the tokens' dates, and update the exporter",
	}
}

// failed classifies an error, and forgets what it proves stale: a refused sign-in may
// be cured by new credential files, a missing tenant by looking for its successor.
func (i *Instance) failed(operation operation, err error) error {
	err = operation.failed(err)
	switch model.ReasonOf(err) {
	case model.ReasonAuth:
		i.access.forget()
	case model.ReasonNotFound:
		i.Forget()
	default:
	}
	return err
}

// unsent marks the failure of what comes before an act: the act itself was never sent.
func unsent(err error) error {
	var known *model.Error
	if !errors.As(err, &known) {
		return err
	}
	before := *known
	before.Unsent = true
	return &before
}

func (i *Instance) remember(tokens []model.Token) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.listed = slices.Clone(tokens)
}

// lastListed returns the tokens of the last good list.
func (i *Instance) lastListed() []model.Token {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.listed
}

// noteOnce logs what was skipped, once per thing and not at every reading.
func (i *Instance) noteOnce(kind, what string, err error) {
	const limit = 1000 // distinct things; nobody has that many certificates
	i.mu.Lock()
	known := i.skipped[what] || len(i.skipped) >= limit
	if !known {
		i.skipped[what] = true
	}
	i.mu.Unlock()
	if !known {
		i.web.logger.Warn("skipped what cannot be read", "connection", i.options.Connection, "kind", kind, "which", what, "err", err)
	}
}
