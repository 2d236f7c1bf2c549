package config

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// Tenant returns the tenant of that name, or nil.
func (c *Config) Tenant(name string) *Tenant {
	for i := range c.Tenants {
		if c.Tenants[i].Name == name {
			return &c.Tenants[i]
		}
	}
	return nil
}

// Connection returns the connection of that name, or nil.
func (c *Config) Connection(name string) *Connection {
	for i := range c.Connections {
		if c.Connections[i].Name == name {
			return &c.Connections[i]
		}
	}
	return nil
}

// Every returns how often a source is read; 0: never.
func (i Intervals) Every(source model.Source) time.Duration {
	return time.Duration(map[model.Source]Duration{
		model.SourceTokens:         i.Tokens,
		model.SourceSCIM:           i.SCIM,
		model.SourceUsage:          i.Usage,
		model.SourceJob:            i.Job,
		model.SourceEvents:         i.Events,
		model.SourceCertificates:   i.Certificates,
		model.SourceAppCredentials: i.AppCredentials,
	}[source])
}

// CloudEndpoint returns the key path of the first endpoint that is AWS's or Microsoft's
// own among those that are called, or "" if all are replaced: then the clouds are simulated.
func (c *Config) CloudEndpoint() string {
	for i, tenant := range c.Tenants {
		at := fmt.Sprintf("tenants[%d].endpoints.", i)
		if own := firstOwn([]called{{at + "login", tenant.Endpoints.Login}, {at + "graph", tenant.Endpoints.Graph}}); own != "" {
			return own
		}
		if tenant.AWSWebIdentity != nil { // its STS is always AWS's own
			return fmt.Sprintf("tenants[%d].aws_web_identity", i)
		}
	}
	for i, connection := range c.Connections {
		if own := firstOwn(connection.called(fmt.Sprintf("connections[%d].", i))); own != "" {
			return own
		}
	}
	return ""
}

// called is an endpoint that the configuration lets be called; "": the cloud's own.
type called struct{ path, endpoint string }

// called lists those of the AWS side.
func (c *Connection) called(at string) []called {
	endpoints := c.AWS.Endpoints
	list := []called{{at + "aws.endpoints.sso_admin", endpoints.SSOAdmin}}
	for _, optional := range []struct {
		on bool
		called
	}{
		{c.Tokens.ReadFrom == model.OriginConsoleAPI, called{"aws.endpoints.token_service", endpoints.TokenService}},
		{c.Tokens.Usage == model.UsageCloudTrail, called{"aws.endpoints.cloudtrail", endpoints.CloudTrail}},
		{c.SAML.AWSCertificates == model.AWSCertificatesConsoleAPI, called{"aws.endpoints.idp_certificates", endpoints.IDPCertificates}},
		{c.AWS.RoleARN != "" || c.Rotation.RoleARN != "", called{"aws.endpoints.sts", endpoints.STS}},
		{c.TenantURL != "", called{"tenant_url", c.TenantURL}},
	} {
		if optional.on {
			list = append(list, called{at + optional.path, optional.endpoint})
		}
	}
	return list
}

func firstOwn(list []called) string {
	for _, c := range list {
		if c.endpoint == "" || isCloudHost(c.endpoint) {
			return c.path
		}
	}
	return ""
}

func isCloudHost(endpoint string) bool {
	u, err := url.Parse(endpoint)
	if err != nil {
		return true
	}
	host := "." + strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	for _, own := range []string{
		".microsoftonline.com", ".microsoftonline.us", ".microsoft.com", ".microsoft.us", ".windows.net", ".chinacloudapi.cn",
		".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".amazonaws.eu", ".a2z.com", ".amazonaws-us-gov.com",
	} {
		if strings.HasSuffix(host, own) {
			return true
		}
	}
	return false
}
