package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"entra-aws-exporter/internal/model"
)

// endpoint is an endpoint that is called with this configuration; url "": the default one.
type endpoint struct{ path, url string }

// PublicEndpoint returns the key path of the first endpoint of AWS or Microsoft that is
// called, or "" if all are replaced, as with the simulator.
func (c *Config) PublicEndpoint() string {
	var called []endpoint
	for i, tenant := range c.Tenants {
		at := fmt.Sprintf("tenants[%d].", i)
		called = append(called, endpoint{at + "endpoints.login", tenant.Endpoints.Login}, endpoint{at + "endpoints.graph", tenant.Endpoints.Graph})
		if tenant.AWSWebIdentity != nil { // its STS cannot be replaced
			called = append(called, endpoint{at + "aws_web_identity", ""})
		}
	}
	for i := range c.Connections {
		called = append(called, c.Connections[i].endpoints(fmt.Sprintf("connections[%d].", i))...)
	}
	if aws := c.State.AWS; aws != nil {
		called = append(called, endpoint{"state.aws.endpoints.dynamodb", aws.Endpoints.DynamoDB},
			endpoint{"state.aws.endpoints.secrets_manager", aws.Endpoints.SecretsManager})
		if aws.RoleARN != "" {
			called = append(called, endpoint{"state.aws.endpoints.sts", aws.Endpoints.STS})
		}
	}
	if i := slices.IndexFunc(called, endpoint.isPublic); i >= 0 {
		return called[i].path
	}
	return ""
}

// endpoints lists the AWS endpoints that are called for a connection.
func (c *Connection) endpoints(at string) []endpoint {
	replaced := c.AWS.Endpoints
	called := []endpoint{{at + "aws.endpoints.sso_admin", replaced.SSOAdmin}}
	add := func(isCalled bool, key, replacement string) {
		if isCalled {
			called = append(called, endpoint{at + key, replacement})
		}
	}
	add(c.Tokens.ReadFrom == model.OriginConsoleAPI, "aws.endpoints.token_service", replaced.TokenService)
	add(c.Tokens.Usage == model.UsageCloudTrail, "aws.endpoints.cloudtrail", replaced.CloudTrail)
	add(c.SAML.AWSCertificates == model.AWSCertificatesConsoleAPI, "aws.endpoints.idp_certificates", replaced.IDPCertificates)
	add(c.AWS.RoleARN != "" || c.Rotation.RoleARN != "" || c.SAML.Rollover.RoleARN != "", "aws.endpoints.sts", replaced.STS)
	add(c.TenantURL != "", "tenant_url", c.TenantURL)
	return called
}

func (e endpoint) isPublic() bool {
	u, err := url.Parse(e.url)
	if err != nil || e.url == "" {
		return true
	}
	host := "." + strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	return slices.ContainsFunc([]string{
		".microsoftonline.com", ".microsoftonline.us", ".microsoft.com", ".microsoft.us", ".windows.net", ".chinacloudapi.cn",
		".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".amazonaws.eu", ".a2z.com", ".amazonaws-us-gov.com",
	}, func(suffix string) bool { return strings.HasSuffix(host, suffix) })
}
