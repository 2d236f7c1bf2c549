// Package identitycenter reads and writes AWS's side of a connection: the SCIM access
// tokens of one IAM Identity Center instance, its SCIM endpoint, CloudTrail's events of
// the calls to it and of users' sign-ins, and the SAML certificates that AWS trusts. It is the only package
// that knows the AWS SDK.
//
// Read instance.go and options.go first, then discovery.go, which finds what the config
// leaves open. Each thing that is read has its file: tokens.go with tokenservice.go (the
// undocumented API), scim.go, cloudtrail.go with usage.go and signins.go, certificates.go
// with trust.go (another undocumented API). Below them are cloud.go (what connections
// share), session.go, chain.go and webidentity.go (signing in), jsonservice.go and retry.go
// (services without an SDK client), http.go, and errors.go.
//
// Every error that the package returns is a *model.Error, classified once.
package identitycenter

import (
	"context"
	"fmt"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"entra-aws-exporter/internal/model"
)

// Instance is one connection's view of an IAM Identity Center instance. It is safe for
// use by several goroutines.
type Instance struct {
	*discovery
	options Options
	http    *httpClients
	session *session
	tokens  *tokenService
	store   *jsonService
	idp     *jsonService
	scim    *scimClient
	usage   usageTracker

	mu      sync.Mutex
	listed  []model.Token   // of the last good ListTokens
	ignored map[string]bool // certificates that a log line was written about
}

// New checks the options. It makes no call and reads no file.
func New(options Options) (*Instance, error) {
	options, err := options.complete()
	if err != nil {
		return nil, fmt.Errorf("connection %s: %w", options.Connection, err)
	}
	cloud := options.Cloud
	if cloud == nil {
		cloud = NewCloud(options.Options)
	}
	signIn := cloud.session(options.Connection, signInKey{
		chainKey{options.Region, options.Profile}, options.RoleARN, options.ExternalID,
		Endpoints{SSOAdmin: options.Endpoints.SSOAdmin, STS: options.Endpoints.STS, CloudTrail: options.Endpoints.CloudTrail},
	})
	clients := signIn.http
	service := func(name, endpoint, jsonVersion, target, signingName string) *jsonService {
		return &jsonService{endpoint, jsonVersion, target, signingName, clients.client(name), signIn}
	}
	tokens := &tokenService{options.Connection, service("token_service", options.Endpoints.TokenService, options.TokenServiceJSONVersion,
		tokenServiceTarget, "identitystore")}
	return &Instance{
		discovery: &discovery{options: options, session: signIn, tokens: tokens, discovering: make(chan struct{}, 1)},
		options:   options,
		http:      clients,
		session:   signIn,
		tokens:    tokens,
		store:     service("identity_store", options.Endpoints.IdentityStore, "1.1", identityStoreTarget, "identitystore"),
		idp:       service("idp_certificates", options.Endpoints.IdPCertificates, options.IdPCertificatesJSONVersion, idpTarget, "appsauth"),
		scim:      &scimClient{clients.client("scim"), allowedHosts(options.SCIMAllowedHosts)},
		ignored:   make(map[string]bool),
	}, nil
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
