// Package identitycenter reads and writes AWS's side of a connection: the SCIM access
// tokens of one IAM Identity Center instance, its SCIM endpoint, CloudTrail's events of
// the calls to it and of users' sign-ins, and the SAML certificates that AWS trusts. It is the only package
// that knows the AWS SDK.
//
// Read instance.go and options.go first, then discovery.go, which finds what the config
// leaves open. Each thing that is read has its file: tokens.go with tokenservice.go (the
// undocumented API), scim.go, cloudtrail.go with usage.go and signins.go, certificates.go
// with trust.go (another undocumented API) and identitystore.go. Below them are cloud.go
// (what connections share), session.go, chain.go and webidentity.go (signing in),
// jsonservice.go and retry.go (services without an SDK client), http.go, and errors.go.
//
// Every error that the package returns is a *model.Error, classified once.
package identitycenter

import (
	"fmt"
	"sync"

	"entra-aws-exporter/internal/model"
)

// Instance is one connection's view of an IAM Identity Center instance. It is safe for
// use by several goroutines.
type Instance struct {
	options     Options
	http        *httpClients
	session     *session
	tokens      *tokenService
	store       *jsonService
	idp         *jsonService
	scim        *scimClient
	usage       usageTracker
	discovering chan struct{} // full while a source discovers

	mu                  sync.Mutex
	binding, foundStore *model.Binding  // nil: not discovered
	primaryRegion       string          // where the instance is configured; "": not readable
	listed              []model.Token   // of the last good ListTokens
	ignored             map[string]bool // certificates that a log line was written about
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
	return &Instance{
		options: options,
		http:    clients,
		session: signIn,
		tokens: &tokenService{service("token_service", options.Endpoints.TokenService, options.TokenServiceJSONVersion,
			tokenServiceTarget, "identitystore")},
		store:       service("identity_store", options.Endpoints.IdentityStore, "1.1", identityStoreTarget, "identitystore"),
		idp:         service("idp_certificates", options.Endpoints.IdPCertificates, options.IdPCertificatesJSONVersion, idpTarget, "appsauth"),
		scim:        &scimClient{clients.client("scim"), allowedHosts(options.SCIMAllowedHosts)},
		discovering: make(chan struct{}, 1), ignored: make(map[string]bool),
	}, nil
}
