package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/prometheus/common/version"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/entra"
	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/model"
)

// clientSet holds the clients of one version of the configuration.
type clientSet struct {
	tenants   map[string]*entra.Tenant // by the name in the config
	readers   map[string]clients       // by connection: what is read on a schedule
	rotators  map[string]clients       // by connection: with the rotation's own, stronger identities
	transport http.RoundTripper
	observe   func(service, code string)
	log       *slog.Logger
	values    tokenValues
}

// clients are the two ends of one connection.
type clients struct {
	application *entra.Application
	instance    *identitycenter.Instance
}

// tokenValues knows the value of a connection's token in use, if the vault has it.
type tokenValues func(ctx context.Context, connection string) (tokenID string, value model.Secret, err error)

// newClouds builds every client that the configuration needs; it makes no call.
func newClouds(c *config.Config, transport http.RoundTripper, observe func(service, code string),
	values tokenValues, log *slog.Logger,
) (*clientSet, error) {
	built := &clientSet{
		tenants: map[string]*entra.Tenant{}, readers: map[string]clients{}, rotators: map[string]clients{},
		transport: transport, observe: observe, log: log, values: values,
	}
	var failures []error
	for _, tenant := range c.Tenants {
		var err error
		if built.tenants[tenant.Name], err = built.tenant(tenant); err != nil {
			failures = append(failures, err)
		}
	}
	if len(failures) > 0 {
		return nil, errors.Join(failures...)
	}
	for _, connection := range c.Connections {
		reader, err := built.connect(connection, connection.Tenant, connection.AWS.RoleARN)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		built.readers[connection.Name], built.rotators[connection.Name] = reader, reader
		rotation := connection.Rotation
		if rotation.Tenant == connection.Tenant && rotation.RoleARN == connection.AWS.RoleARN {
			continue
		}
		rotator, err := built.connect(connection, rotation.Tenant, rotation.RoleARN)
		if err != nil {
			failures = append(failures, fmt.Errorf("rotation: %w", err))
		}
		built.rotators[connection.Name] = rotator
	}
	return built, errors.Join(failures...)
}

func (c *clientSet) tenant(tenant config.Tenant) (*entra.Tenant, error) {
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
		Version:   version.Version,
		Transport: c.transport,
		Observe:   c.observe,
		Logger:    c.log,
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
			Version: version.Version, Transport: c.transport, Observe: c.observe, Logger: c.log,
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

// connect builds the two ends of a connection for one pair of identities.
func (c *clientSet) connect(connection config.Connection, tenant, roleARN string) (clients, error) {
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
		TokenServiceJSONVersion: aws.Endpoints.TokenServiceJSONVersion,
		TokensFrom:              connection.Tokens.ReadFrom,
		Declared:                declared(connection.Tokens.Declared),
		TokenValue: func(ctx context.Context) (string, model.Secret, error) {
			return c.values(ctx, connection.Name)
		},
		SCIMTokenFile:    connection.Tokens.SCIMTokenFile,
		SCIMAllowedHosts: connection.Tokens.SCIMAllowedHosts,
		Certificates:     connection.SAML.AWSCertificates,
		CertificateFiles: paths(connection.SAML.AWSCertificateFiles),
		Version:          version.Version,
		Transport:        c.transport,
		Observe:          c.observe,
		Logger:           c.log,
	}
	instance, err := identitycenter.New(options)
	if err != nil {
		return clients{}, err
	}
	application := c.tenants[tenant].Application(entra.ApplicationOptions{
		Connection:             connection.Name,
		ServicePrincipalID:     connection.ServicePrincipalID,
		JobID:                  connection.JobID,
		SAMLServicePrincipalID: connection.SAML.ServicePrincipalID,
		SAMLAppID:              connection.SAML.AppID,
		Certificates:           connection.SAML.ReadFrom,
	})
	return clients{application: application, instance: instance}, nil
}

// scimEndpoint is the part of Entra's Tenant URL that is AWS's SCIM endpoint: flags
// for Entra stand in its query.
func scimEndpoint(tenantURL string) string {
	endpoint, _, _ := strings.Cut(tenantURL, "?")
	return strings.TrimRight(endpoint, "/")
}

func declared(tokens []config.DeclaredToken) []model.Token {
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

// noValue is for commands that have no vault.
func noValue(context.Context, string) (string, model.Secret, error) { return "", model.Secret{}, nil }
