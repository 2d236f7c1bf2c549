// Package entra reads and operates the Entra side of the bridge: the provisioning job
// of an enterprise application, its log, its credentials, its SAML signing
// certificates, and the exporter's own credential. It is the only package that knows
// the Microsoft Graph SDK.
//
// Every error it returns is a *model.Error, classified once, without personal data.
package entra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	auth "github.com/microsoft/kiota-authentication-azure-go"
	kiota "github.com/microsoft/kiota-http-go"
	kiotajson "github.com/microsoft/kiota-serialization-json-go"
	"github.com/microsoftgraph/msgraph-sdk-go/auditlogs"
	"github.com/microsoftgraph/msgraph-sdk-go/serviceprincipals"

	"entra-aws-exporter/internal/model"
)

// TenantOptions says which Entra tenant is meant and how the exporter signs in to it.
type TenantOptions struct {
	Name     string // what the config calls it, for errors and logs; default: TenantID
	TenantID string
	ClientID string      // of the exporter's app registration; not needed with a managed identity
	Cloud    model.Cloud // default: CloudPublic

	LoginEndpoint string // "https://host[:port]"; "": the cloud's own
	GraphEndpoint string // "https://host[:port][/path]" without /v1.0; "": the cloud's own

	Credential Credential // exactly one kind

	Version   string                     // of the exporter, for the User-Agent
	Transport http.RoundTripper          // of every request; default: http.DefaultTransport
	Observe   func(service, code string) // called once per HTTP request; code is a status or "error"
	Logger    *slog.Logger
}

// Credential is how the exporter proves who it is. Exactly one kind is set. Files are
// read again whenever an access token is acquired.
type Credential struct {
	SecretFile model.SecretFile

	CertificateFile         string           // PEM or PKCS #12, with its private key
	CertificatePasswordFile model.SecretFile // of a PKCS #12 file

	WorkloadIdentityTokenFile model.SecretFile // a federated token, as Kubernetes projects it

	ManagedIdentity         bool
	ManagedIdentityClientID string // "": the system-assigned one

	// Assertion returns a federated token made for each sign-in, such as AWS STS's
	// GetWebIdentityToken. No secret is stored anywhere.
	Assertion func(context.Context) (string, error)
}

// Tenant is one identity of the exporter in one Entra tenant. It is safe for use by
// several goroutines.
type Tenant struct {
	name, id, clientID string
	cloud              model.Cloud
	login              string // "https://login.microsoftonline.com"
	graph              *url.URL
	credential         Credential
	identity           *identity
	adapter            *kiota.NetHttpRequestAdapter
	metadata           *http.Client // to the public federation metadata
	logger             *slog.Logger
}

// NewTenant checks the options; it makes no request.
func NewTenant(options TenantOptions) (*Tenant, error) {
	if options.Name == "" {
		options.Name = options.TenantID
	}
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
		return nil, fmt.Errorf("cloud: %q is none of Microsoft's", o.Cloud)
	}
	if o.LoginEndpoint != "" {
		loginRoot = strings.TrimRight(o.LoginEndpoint, "/")
	}
	if o.GraphEndpoint != "" {
		graphRoot = strings.TrimRight(o.GraphEndpoint, "/")
	}
	// The sign-in library takes the first element of the path for the tenant.
	if login, err := url.Parse(loginRoot); err != nil || login.Scheme != "https" || login.Host == "" || login.Path != "" {
		return nil, fmt.Errorf("endpoints.login: %q is not a URL like https://host", o.LoginEndpoint)
	}
	graph, err := url.Parse(graphRoot)
	if err != nil || graph.Scheme != "https" || graph.Host == "" {
		return nil, fmt.Errorf("endpoints.graph: %q is not a URL like https://host", o.GraphEndpoint)
	}
	if err := o.Credential.check(o.ClientID); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Tenant{
		name: o.Name, id: o.TenantID, clientID: o.ClientID, cloud: o.Cloud,
		login: loginRoot, graph: graph, credential: o.Credential,
		logger: o.Logger.With("tenant", o.Name),
	}
	web := newWeb(o)
	t.metadata = web.client("federation_metadata", metadataSize, nil)
	t.identity = newIdentity(t, o.LoginEndpoint != "", web)
	if t.adapter, err = newAdapter(t, web); err != nil {
		return nil, err
	}
	return t, nil
}

// newAdapter returns the SDK's way to Graph. Its middleware is chosen one by one: the
// SDK's default set comes in a random order, and retries behind its compression send
// a body that is not what its header says.
func newAdapter(t *Tenant, web *web) (*kiota.NetHttpRequestAdapter, error) {
	scope := t.graph.String() + "/.default"
	tokens, err := auth.NewAzureIdentityAuthenticationProviderWithScopesAndValidHostsAndObservabilityOptionsAndIsCaeEnabled(
		t.identity, []string{scope}, []string{t.graph.Hostname()}, auth.ObservabilityOptions{}, false)
	if err != nil {
		return nil, err
	}
	client := web.client("graph", answerSize, newThrottle())
	client.Transport = kiota.NewCustomTransportWithParentTransport(client.Transport,
		kiota.NewRetryHandlerWithOptions(kiota.RetryHandlerOptions{ShouldRetry: mayRetry}),
		kiota.NewParametersNameDecodingHandler(),
	)
	adapter, err := kiota.NewNetHttpRequestAdapterWithParseNodeFactoryAndSerializationWriterFactoryAndHttpClient(
		tokens, kiotajson.NewJsonParseNodeFactory(), kiotajson.NewJsonSerializationWriterFactory(), client)
	if err != nil {
		return nil, err
	}
	adapter.SetBaseUrl(t.graph.String() + "/v1.0")
	return adapter, nil
}

// The request builders are made per call: the SDK writes into their parameters.

func (t *Tenant) servicePrincipals() *serviceprincipals.ServicePrincipalsRequestBuilder {
	return serviceprincipals.NewServicePrincipalsRequestBuilderInternal(t.parameters(), t.adapter)
}

func (t *Tenant) job(servicePrincipal, job string) *serviceprincipals.ItemSynchronizationJobsSynchronizationJobItemRequestBuilder {
	return t.servicePrincipals().ByServicePrincipalId(servicePrincipal).Synchronization().Jobs().BySynchronizationJobId(job)
}

func (t *Tenant) provisioningLog() *auditlogs.ProvisioningRequestBuilder {
	return auditlogs.NewProvisioningRequestBuilderInternal(t.parameters(), t.adapter)
}

func (t *Tenant) directoryAudits() *auditlogs.DirectoryAuditsRequestBuilder {
	return auditlogs.NewDirectoryAuditsRequestBuilderInternal(t.parameters(), t.adapter)
}

func (t *Tenant) parameters() map[string]string {
	return map[string]string{"baseurl": t.adapter.GetBaseUrl()}
}
