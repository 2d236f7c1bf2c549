package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/prometheus/common/version"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/entra"
	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/model"
)

// clientSet holds the clients of one version of the configuration.
type clientSet struct {
	tenants    map[string]*entra.Tenant     // by name in the configuration
	readers    map[string]connectionClients // by connection: for the poller
	rotators   map[string]connectionClients // by connection: for rotation, with its own, stronger identities
	rollovers  map[string]connectionClients // by connection: for the rollover of the certificate
	entraHTTP  cloudhttp.Options
	aws        *identitycenter.Cloud
	tokenValue tokenValueFunc
}

// connectionClients are the clients of one connection, one for Entra and one for AWS.
type connectionClients struct {
	application *entra.Application
	instance    *identitycenter.Instance
}

// resolve discovers the binding again.
func (c connectionClients) resolve(ctx context.Context) (model.Binding, error) {
	c.instance.Forget()
	aws, err := c.instance.Binding(ctx)
	if err != nil {
		return model.Binding{}, err
	}
	binding, err := c.application.Rediscover(ctx)
	binding.AWSAccount, binding.Region, binding.IdentityStoreID = aws.AWSAccount, aws.Region, aws.IdentityStoreID
	binding.ProvisioningTenantID, binding.SCIMEndpoint = aws.ProvisioningTenantID, aws.SCIMEndpoint
	return binding, err
}

// tokenValueFunc returns the value of a connection's token in use, if the token store has it.
type tokenValueFunc func(ctx context.Context, connection string) (tokenID string, value model.Secret, err error)

// newClients builds the clients that a configuration needs. It makes no call.
func (o Options) newClients(c *config.Config, observe func(service, code string), tokenValue tokenValueFunc) (*clientSet, error) {
	toEntra, toAWS, err := o.newTransports(c.HTTPClient)
	if err != nil {
		return nil, fmt.Errorf("%s: http_client: %w", o.ConfigFile, err)
	}
	o.addConfigured(c)
	clients, err := newClientSet(c, sentValues{o.redactor, toEntra}, sentValues{o.redactor, toAWS}, observe, tokenValue, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.ConfigFile, err)
	}
	return clients, nil
}

// newClientSet builds every client that the configuration needs. It makes no call.
func newClientSet(c *config.Config, toEntra, toAWS http.RoundTripper, observe func(service, code string),
	values tokenValueFunc, log *slog.Logger,
) (*clientSet, error) {
	set := &clientSet{
		tenants: map[string]*entra.Tenant{}, readers: map[string]connectionClients{}, rotators: map[string]connectionClients{}, rollovers: map[string]connectionClients{},
		entraHTTP:  cloudhttp.Options{Version: version.Version, Transport: toEntra, Observe: observe, Logger: log},
		aws:        identitycenter.NewCloud(cloudhttp.Options{Version: version.Version, Transport: toAWS, Observe: observe, Logger: log}),
		tokenValue: values,
	}
	var failures []error
	for _, tenant := range c.Tenants {
		var err error
		if set.tenants[tenant.Name], err = set.newTenant(tenant); err != nil {
			failures = append(failures, err)
		}
	}
	if len(failures) > 0 {
		return nil, errors.Join(failures...)
	}
	for _, connection := range c.Connections {
		reader, err := set.newConnectionClients(connection, connection.Tenant, connection.AWS.RoleARN)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		type identities struct{ tenant, roleARN string }
		rotation, rollover := connection.Rotation, connection.SAML.Rollover
		known := map[identities]connectionClients{{connection.Tenant, connection.AWS.RoleARN}: reader}
		clientsOf := func(what string, used identities) connectionClients {
			if _, built := known[used]; !built {
				writer, err := set.newConnectionClients(connection, used.tenant, used.roleARN)
				if err != nil {
					failures = append(failures, fmt.Errorf("%s: %w", what, err))
				}
				known[used] = writer
			}
			return known[used]
		}
		set.readers[connection.Name] = reader
		set.rotators[connection.Name] = clientsOf("rotation", identities{rotation.Tenant, rotation.RoleARN})
		set.rollovers[connection.Name] = clientsOf("saml.rollover", identities{rollover.Tenant, rollover.RoleARN})
	}
	return set, errors.Join(failures...)
}

func (c *clientSet) newTenant(tenant config.Tenant) (*entra.Tenant, error) {
	options := entra.TenantOptions{
		Name:          tenant.Name,
		TenantID:      tenant.TenantID,
		ClientID:      tenant.ClientID,
		Cloud:         tenant.Cloud,
		LoginEndpoint: tenant.Endpoints.Login,
		GraphEndpoint: tenant.Endpoints.Graph,
		Credential: entra.Credential{
			SecretFile:              tenant.ClientSecretFile,
			CertificateFile:         string(tenant.ClientCertificateFile),
			CertificatePasswordFile: tenant.ClientCertificatePasswordFile,
		},
		Options: c.entraHTTP,
	}
	if workload := tenant.WorkloadIdentity; workload != nil {
		options.Credential.WorkloadIdentityTokenFile = model.SecretFile(workload.TokenFile)
	}
	if managed := tenant.ManagedIdentity; managed != nil {
		options.Credential.ManagedIdentity = true
		options.Credential.ManagedIdentityClientID = managed.ClientID
	}
	if web := tenant.AWSWebIdentity; web != nil {
		signer, err := identitycenter.NewWebIdentity(identitycenter.WebIdentityOptions{
			Name: tenant.Name, Region: web.Region, Profile: web.Profile, RoleARN: web.RoleARN,
			Cloud: c.aws,
		})
		if err != nil {
			return nil, err
		}
		options.Credential.Assertion = func(ctx context.Context) (string, error) {
			token, err := signer.WebIdentityToken(ctx, tenant.Cloud.TokenExchange())
			return token.Reveal(), err
		}
	}
	return entra.NewTenant(options)
}

// newConnectionClients builds the clients of a connection for one pair of identities.
func (c *clientSet) newConnectionClients(connection config.Connection, tenant, roleARN string) (connectionClients, error) {
	aws := connection.AWS
	options := identitycenter.Options{
		Connection:           connection.Name,
		Region:               aws.Region,
		Profile:              aws.Profile,
		RoleARN:              roleARN,
		ExternalID:           aws.ExternalID,
		IdentityStoreID:      aws.IdentityStoreID,
		ProvisioningTenantID: aws.ProvisioningTenantID,
		Endpoints: identitycenter.Endpoints{
			TokenService:    aws.Endpoints.TokenService,
			IdentityStore:   aws.Endpoints.IdentityStore,
			IdPCertificates: aws.Endpoints.IDPCertificates,
			SSOAdmin:        aws.Endpoints.SSOAdmin,
			STS:             aws.Endpoints.STS,
			CloudTrail:      aws.Endpoints.CloudTrail,
			SCIM:            scimEndpoint(connection.TenantURL),
		},
		TokenServiceJSONVersion:    aws.Endpoints.TokenServiceJSONVersion,
		IdPCertificatesJSONVersion: aws.Endpoints.IDPCertificatesJSONVersion,
		TokensFrom:                 connection.Tokens.ReadFrom,
		Declared:                   declaredTokens(connection.Tokens.Declared),
		TokenValue: func(ctx context.Context) (string, model.Secret, error) {
			return c.tokenValue(ctx, connection.Name)
		},
		SCIMTokenFile:    connection.Tokens.SCIMTokenFile,
		SCIMAllowedHosts: connection.Tokens.SCIMAllowedHosts,
		Certificates:     connection.SAML.AWSCertificates,
		CertificateFiles: paths(connection.SAML.AWSCertificateFiles),
		Cloud:            c.aws,
	}
	application := c.tenants[tenant].Application(entra.ApplicationOptions{
		Connection:             connection.Name,
		ServicePrincipalID:     connection.ServicePrincipalID,
		JobID:                  connection.JobID,
		SAMLServicePrincipalID: connection.SAML.ServicePrincipalID,
		SAMLAppID:              connection.SAML.AppID,
		Certificates:           connection.SAML.ReadFrom,
	})
	options.CheckStore = storeCheck(application)
	instance, err := identitycenter.New(options)
	if err != nil {
		return connectionClients{}, err
	}
	return connectionClients{application: application, instance: instance}, nil
}

// storeCheck compares an identity store with what the application's SAML identifiers name.
// An application that cannot be read now is asked again at the next discovery.
func storeCheck(application *entra.Application) func(context.Context, string) (bool, error) {
	return func(ctx context.Context, store string) (known bool, err error) {
		ids, err := application.PolledEntityIDs(ctx)
		if err != nil {
			return model.ReasonOf(err) == model.ReasonPermission, nil
		}
		return true, model.CheckTarget(ids, store)
	}
}

// scimEndpoint is AWS's SCIM endpoint: Entra's Tenant URL without its query, which holds
// flags for Entra.
func scimEndpoint(tenantURL string) string {
	endpoint, _, _ := strings.Cut(tenantURL, "?")
	return strings.TrimRight(endpoint, "/")
}

func declaredTokens(tokens []config.DeclaredToken) []model.Token {
	list := make([]model.Token, 0, len(tokens))
	for _, token := range tokens {
		list = append(list, model.Token{ID: token.TokenID, Created: token.Created, Expires: token.Expires})
	}
	return list
}

func paths(files []config.Path) []string {
	list := make([]string, 0, len(files))
	for _, file := range files {
		list = append(list, string(file))
	}
	return list
}
