// Package entra reads and operates the Entra side of a connection: the provisioning job
// of an enterprise application, its log, its credentials, its SAML signing certificates,
// and the exporter's own credential. It is the only package that knows the Microsoft
// Graph SDK and azidentity.
//
// Read tenant.go first, then application.go, and discovery.go, which finds what the config
// leaves open. Each thing that is read has its file: job.go, events.go, certificates.go,
// metadata.go, appcredentials.go, signins.go. The writes are in provisioning.go, ondemand.go
// and rollover.go. All of them call Graph through graph.go. Below it are transport.go (rate
// limits and HTTP), signin.go with aadsts.go (access tokens), errors.go and values.go.
//
// Every error that the package returns is a *model.Error, classified once, without
// personal data.
package entra

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

// TenantOptions says which Entra tenant is meant and how the exporter signs in to it.
type TenantOptions struct {
	Name     string // in the config, for errors and logs; default: TenantID
	TenantID string
	ClientID string      // of the exporter's app registration; not needed with a managed identity
	Cloud    model.Cloud // default: CloudPublic

	LoginEndpoint string // "https://host[:port]"; "": the cloud's own
	GraphEndpoint string // "https://host[:port][/path]" without /v1.0; "": the cloud's own

	Credential Credential // exactly one kind

	cloudhttp.Options
}

// Tenant is one identity of the exporter in one Entra tenant. It is safe for use by
// several goroutines.
type Tenant struct {
	name, id, clientID string
	cloud              model.Cloud
	login              string // "https://login.microsoftonline.com"
	credential         Credential
	signIn             *signIn
	graph              *graphClient
	metadata           *http.Client // for the public federation metadata
	logger             *slog.Logger
}

// NewTenant checks the options. It makes no request.
func NewTenant(options TenantOptions) (*Tenant, error) {
	options.Name = cmp.Or(options.Name, options.TenantID)
	tenant, err := newTenant(options)
	if err != nil {
		return nil, fmt.Errorf("tenant %s: %w", options.Name, err)
	}
	return tenant, nil
}

func newTenant(o TenantOptions) (*Tenant, error) {
	if o.TenantID == "" {
		return nil, errors.New("tenant_id is missing")
	}
	o.Cloud = cmp.Or(o.Cloud, model.CloudPublic)
	loginRoot, graphRoot := o.Cloud.Endpoints()
	if loginRoot == "" {
		return nil, fmt.Errorf("unknown cloud %q", o.Cloud)
	}
	loginRoot = cmp.Or(strings.TrimRight(o.LoginEndpoint, "/"), loginRoot)
	graphRoot = cmp.Or(strings.TrimRight(o.GraphEndpoint, "/"), graphRoot)
	// The sign-in library takes the first element of the path for the tenant.
	if login, err := url.Parse(loginRoot); err != nil || login.Scheme != "https" || login.Host == "" || login.Path != "" {
		return nil, fmt.Errorf("endpoints.login: %q is not a URL like https://host", o.LoginEndpoint)
	}
	graphURL, err := url.Parse(graphRoot)
	if err != nil || graphURL.Scheme != "https" || graphURL.Host == "" {
		return nil, fmt.Errorf("endpoints.graph: %q is not a URL like https://host", o.GraphEndpoint)
	}
	if err := o.Credential.check(o.ClientID); err != nil {
		return nil, err
	}
	o.Options = o.WithDefaults()
	t := &Tenant{
		name: o.Name, id: o.TenantID, clientID: o.ClientID, cloud: o.Cloud, login: loginRoot, credential: o.Credential,
		signIn:   newSignIn(o.TenantID, o.ClientID, o.Credential, loginRoot, o.LoginEndpoint != "", o.Options),
		metadata: newHTTPClient(o.Options, "federation_metadata", maxMetadata, nil),
		logger:   o.Logger.With("tenant", o.Name),
	}
	t.graph, err = newGraphClient(graphURL, t.signIn, newThrottle(), o.Options)
	return t, err
}
