// Package identitycenter reads and writes AWS's side of a connection: the SCIM access
// tokens of one IAM Identity Center instance, its SCIM endpoint, CloudTrail's events of
// the calls to it, and the SAML certificates that AWS trusts. It is the only package
// that knows the AWS SDK.
//
// Read instance.go and options.go first, then discovery.go, which finds what the config
// leaves open. Each thing that is read has its file: tokenservice.go (the undocumented
// API), scim.go, cloudtrail.go with usage.go, certificates.go, identitystore.go. Below
// them are session.go and webidentity.go (signing in), jsonservice.go and retry.go
// (services without an SDK client), http.go, and errors.go.
//
// Every error that the package returns is a *model.Error, classified once.
package identitycenter

import (
	"context"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

// Instance is one connection's view of an IAM Identity Center instance. It is safe for
// use by several goroutines.
type Instance struct {
	options Options
	http    *httpClients
	session *session
	tokens  *tokenService
	store   *jsonService
	idp     *jsonService
	scim    *scimClient
	usage   usageTracker
	// lookups keeps LookupEvents below its two calls a second per account and region.
	lookups *rate.Limiter

	mu      sync.Mutex
	binding *model.Binding  // nil: not discovered
	listed  []model.Token   // of the last good ListTokens
	ignored map[string]bool // certificates that a log line was written about
}

// New checks the options. It makes no call and reads no file.
func New(options Options) (*Instance, error) {
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	clients := newHTTPClients(options.Connection, options.Options)
	signIn := &session{
		region: options.Region, profile: options.Profile, roleARN: options.RoleARN, externalID: options.ExternalID,
		endpoints: options.Endpoints, http: clients,
	}
	service := func(name, endpoint, jsonVersion, target, signingName string) *jsonService {
		return &jsonService{endpoint, jsonVersion, target, signingName, clients.client(name), signIn}
	}
	return &Instance{
		options: options,
		http:    clients,
		session: signIn,
		tokens: &tokenService{service("token_service", options.Endpoints.TokenService, options.TokenServiceJSONVersion,
			tokenServiceTarget, "identitystore")},
		store:   service("identity_store", options.Endpoints.IdentityStore, "1.1", identityStoreTarget, "identitystore"),
		idp:     service("idp_certificates", options.Endpoints.IdPCertificates, "1.0", idpTarget, "appsauth"),
		scim:    &scimClient{clients.client("scim"), allowedHosts(options.SCIMAllowedHosts)},
		lookups: rate.NewLimiter(rate.Every(600*time.Millisecond), 1),
		ignored: make(map[string]bool),
	}, nil
}

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
			return model.TokenList{}, i.failed(i.tokenCall("listing the SCIM tokens of ", "sso-directory:ListBearerTokens"), err)
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
		return model.IssuedToken{}, cloudhttp.NotSent(err)
	}
	token, err := i.tokens.create(ctx, binding)
	return token, i.failed(i.tokenCall("creating a SCIM token for ", "sso-directory:CreateBearerToken"), err)
}

// DeleteToken deletes the token with this id with exactly one request, without any retry.
func (i *Instance) DeleteToken(ctx context.Context, tokenID string) error {
	binding, err := i.tenantBinding(ctx)
	if err != nil {
		return cloudhttp.NotSent(err)
	}
	err = i.tokens.remove(ctx, binding, tokenID)
	return i.failed(i.tokenCall("deleting a SCIM token of ", "sso-directory:DeleteBearerToken"), err)
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

const setTenantID = "set aws.provisioning_tenant_id, the part of the SCIM endpoint before /scim/v2"

// tokenCall describes a call to the undocumented token service.
func (i *Instance) tokenCall(op, action string) apiCall {
	return apiCall{
		op: op + i.options.Connection, action: action,
		alternative: "AWS does not document this API and may have changed it: " +
			"set tokens.read_from: declared with the tokens' dates, and update the exporter",
	}
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

// logOnce logs an unreadable certificate once, not at every poll.
func (i *Instance) logOnce(source, certificate string, err error) {
	const limit = 1000 // certificates, far more than anybody has
	i.mu.Lock()
	known := i.ignored[certificate] || len(i.ignored) >= limit
	if !known {
		i.ignored[certificate] = true
	}
	i.mu.Unlock()
	if !known {
		i.http.Logger.Warn("ignoring unreadable certificate", "connection", i.options.Connection,
			"source", source, "certificate", certificate, "err", err)
	}
}
