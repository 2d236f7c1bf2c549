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
	wire := cloudhttp.Options{Transport: options.Transport, Observe: options.Observe}
	clients := newHTTPClients(options.Connection, options.Version, wire, options.Logger)
	service := func(name, endpoint, jsonVersion, target, signingName string) *jsonService {
		return &jsonService{
			endpoint: endpoint, jsonVersion: jsonVersion, target: target, signingName: signingName,
			region: options.Region, http: clients.client(name), clients: clients,
		}
	}
	return &Instance{
		options: options,
		http:    clients,
		session: &session{
			region: options.Region, profile: options.Profile, roleARN: options.RoleARN, externalID: options.ExternalID,
			endpoints: options.Endpoints, http: clients,
		},
		tokens: &tokenService{service("token_service", options.Endpoints.TokenService, options.TokenServiceJSONVersion,
			tokenServiceTarget, "identitystore")},
		store:   service("identity_store", options.Endpoints.IdentityStore, "1.1", identityStoreTarget, "identitystore"),
		idp:     service("idp_certificates", options.Endpoints.IdPCertificates, "1.0", idpTarget, "appsauth"),
		scim:    &scimClient{http: clients.client("scim"), userAgent: clients.userAgent, allowed: allowedHosts(options.SCIMAllowedHosts)},
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
		clients, binding, err := i.sessionFor(ctx)
		if err != nil {
			return model.TokenList{}, err
		}
		list.Tokens, list.Date, err = i.tokens.list(ctx, clients.credentials, binding)
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
	clients, binding, err := i.sessionFor(ctx)
	if err != nil {
		return model.IssuedToken{}, cloudhttp.NotSent(err)
	}
	token, err := i.tokens.create(ctx, clients.credentials, binding)
	return token, i.failed(i.tokenCall("creating a SCIM token for ", "sso-directory:CreateBearerToken"), err)
}

// DeleteToken deletes the token with this id with exactly one request, without any retry.
func (i *Instance) DeleteToken(ctx context.Context, tokenID string) error {
	clients, binding, err := i.sessionFor(ctx)
	if err != nil {
		return cloudhttp.NotSent(err)
	}
	err = i.tokens.remove(ctx, clients.credentials, binding, tokenID)
	return i.failed(i.tokenCall("deleting a SCIM token of ", "sso-directory:DeleteBearerToken"), err)
}

// sessionFor returns what every call to the token service needs.
func (i *Instance) sessionFor(ctx context.Context) (*awsClients, model.Binding, error) {
	binding, err := i.Binding(ctx)
	if err != nil {
		return nil, model.Binding{}, err
	}
	if binding.ProvisioningTenantID == "" {
		return nil, model.Binding{}, &model.Error{
			Reason: model.ReasonNotFound, Op: "finding the provisioning tenant of " + i.options.Connection,
			Detail: "with declared tokens it is not looked up", Advice: setTenantID, Unsent: true,
		}
	}
	clients, err := i.session.open(ctx)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, model.Binding{}, i.failed(apiCall{op: "signing in to AWS for " + i.options.Connection}, err)
	}
	return clients, binding, nil
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
		i.http.logger.Warn("ignoring unreadable certificate", "connection", i.options.Connection,
			"source", source, "certificate", certificate, "err", err)
	}
}
