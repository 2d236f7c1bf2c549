package config

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"entra-aws-exporter/internal/bridge"
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

// LoginURL is where the tenant signs in, without a trailing slash.
// https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
func (t *Tenant) LoginURL() string {
	if t.Endpoints.Login != "" {
		return strings.TrimRight(t.Endpoints.Login, "/")
	}
	switch t.Cloud {
	case CloudUSGov, CloudUSGovDoD:
		return "https://login.microsoftonline.us"
	case CloudChina:
		return "https://login.chinacloudapi.cn"
	default:
		return "https://login.microsoftonline.com"
	}
}

// GraphURL is the root of the tenant's Microsoft Graph, without a trailing slash.
// https://learn.microsoft.com/graph/deployments
func (t *Tenant) GraphURL() string {
	if t.Endpoints.Graph != "" {
		return strings.TrimRight(t.Endpoints.Graph, "/")
	}
	switch t.Cloud {
	case CloudUSGov:
		return "https://graph.microsoft.us"
	case CloudUSGovDoD:
		return "https://dod-graph.microsoft.us"
	case CloudChina:
		return "https://microsoftgraph.chinacloudapi.cn"
	default:
		return "https://graph.microsoft.com"
	}
}

// Every returns how often a source is read.
func (i Intervals) Every(source bridge.Source) time.Duration {
	return time.Duration(map[bridge.Source]Duration{
		bridge.SourceTokens:         i.Tokens,
		bridge.SourceSCIM:           i.SCIM,
		bridge.SourceUsage:          i.Usage,
		bridge.SourceJob:            i.Job,
		bridge.SourceEvents:         i.Events,
		bridge.SourceCertificates:   i.Certificates,
		bridge.SourceAppCredentials: i.AppCredentials,
	}[source])
}

// CloudEndpoint returns the key path of an endpoint that is AWS's or Microsoft's own,
// or "" when all that a rotation touches is replaced: then the clouds are simulated.
func (c *Config) CloudEndpoint() string {
	for i, tenant := range c.Tenants {
		switch {
		case isCloudHost(tenant.LoginURL()):
			return fmt.Sprintf("tenants[%d].endpoints.login", i)
		case isCloudHost(tenant.GraphURL()):
			return fmt.Sprintf("tenants[%d].endpoints.graph", i)
		}
	}
	for i, connection := range c.Connections {
		if service := connection.AWS.Endpoints.TokenService; service == "" || isCloudHost(service) {
			return fmt.Sprintf("connections[%d].aws.endpoints.token_service", i)
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
