package identitycenter

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

// Endpoints replaces AWS's own endpoints, for private clouds and tests; an empty one
// is derived from the region.
type Endpoints struct {
	TokenService    string
	IdentityStore   string
	IdPCertificates string //nolint:revive // IdP is the usual spelling
	SSOAdmin        string
	STS             string
	CloudTrail      string
	SCIM            string // with the tenant's path: https://scim.eu-central-1.amazonaws.com/TENANT/scim/v2
}

// Options says which instance of IAM Identity Center is meant, how to sign in, and what
// is read from where. Only Connection and Region are required.
type Options struct {
	Connection string // for errors and logs

	Region     string // the instance's primary region
	Profile    string // of the shared AWS config files; "": the SDK's credential chain
	RoleARN    string // assumed on top of the chain's credentials
	ExternalID string // that the role's trust policy asks for

	IdentityStoreID      string // "": discovered
	ProvisioningTenantID string // "": discovered
	Endpoints            Endpoints
	// TokenServiceJSONVersion is the version in the Content-Type of the undocumented
	// token service: "1.1" (default) or "1.0".
	TokenServiceJSONVersion string
	// IdPCertificatesJSONVersion is the same of the undocumented service for the identity
	// provider's certificates: "1.0" (default) or "1.1".
	IdPCertificatesJSONVersion string //nolint:revive // IdP is the usual spelling

	// CheckStore refuses an identity store that is not the connection's; known is false if
	// that cannot be told now. nil: any will do.
	CheckStore func(ctx context.Context, identityStoreID string) (known bool, err error)

	TokensFrom model.TokenOrigin // default: OriginConsoleAPI
	Declared   []model.Token     // with OriginDeclared: dates from the config

	// TokenValue returns a token's value to probe with, and the token's id if that is
	// known: usually from the token store. A zero Secret means that there is none yet.
	TokenValue       func(context.Context) (tokenID string, value model.Secret, err error)
	SCIMTokenFile    model.SecretFile // probed with while TokenValue has none
	SCIMAllowedHosts []string         // host suffixes beyond AWS's own that may see a token

	Certificates     model.AWSCertificateSource // default: model.AWSCertificatesNone
	CertificateFiles []string                   // with model.AWSCertificatesFiles: PEM or DER

	// Cloud is what this connection shares with others; nil: nothing, with these options.
	Cloud *Cloud
	cloudhttp.Options
}

var (
	regionPattern = regexp.MustCompile(`^[a-z]{2,5}(-[a-z]+)+-[0-9]+$`)
	// A provisioning tenant's id is three characters and a UUID, not a valid UUID itself.
	tenantPattern = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
)

// complete checks the options and fills in the defaults.
func (o Options) complete() (Options, error) {
	suffix := "." + o.Region + "." + dnsSuffix(o.Region)
	o.TokenServiceJSONVersion = cmp.Or(o.TokenServiceJSONVersion, "1.1")
	o.IdPCertificatesJSONVersion = cmp.Or(o.IdPCertificatesJSONVersion, "1.0")
	o.TokensFrom = cmp.Or(o.TokensFrom, model.OriginConsoleAPI)
	o.Endpoints.TokenService = cmp.Or(o.Endpoints.TokenService, "https://up.sso"+suffix+"/identitystore/")
	o.Endpoints.IdentityStore = cmp.Or(o.Endpoints.IdentityStore, "https://identitystore"+suffix)
	o.Endpoints.IdPCertificates = cmp.Or(o.Endpoints.IdPCertificates, "https://auth-control."+o.Region+".prod.apps-auth.aws.a2z.com/")
	switch {
	case !regionPattern.MatchString(o.Region):
		return o, fmt.Errorf("aws.region: %q is not an AWS region, write for example eu-central-1", o.Region)
	case o.ProvisioningTenantID != "" && !tenantPattern.MatchString(o.ProvisioningTenantID):
		return o, fmt.Errorf("aws.provisioning_tenant_id: %q may have letters, digits and dashes only", o.ProvisioningTenantID)
	}
	for key, version := range map[string]string{
		"token_service": o.TokenServiceJSONVersion, "idp_certificates": o.IdPCertificatesJSONVersion,
	} {
		if version != "1.0" && version != "1.1" {
			return o, fmt.Errorf("aws.endpoints.%s_json_version: %q is neither 1.1 nor 1.0", key, version)
		}
	}
	for key, endpoint := range map[string]string{
		"token_service": o.Endpoints.TokenService, "identity_store": o.Endpoints.IdentityStore, "idp_certificates": o.Endpoints.IdPCertificates,
		"sso_admin": o.Endpoints.SSOAdmin, "sts": o.Endpoints.STS, "cloudtrail": o.Endpoints.CloudTrail, "scim": o.Endpoints.SCIM,
	} {
		if err := checkEndpoint(endpoint); err != nil {
			return o, fmt.Errorf("aws.endpoints.%s: %w", key, err)
		}
	}
	return o, nil
}

func checkEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	parsed, err := url.Parse(endpoint)
	if err != nil || parsed.Host == "" || (parsed.Scheme != "https" && parsed.Scheme != "http") {
		return fmt.Errorf("%q is not a URL like https://host/path", endpoint)
	}
	return nil
}

// dnsSuffix returns the DNS suffix of a region's partition.
func dnsSuffix(region string) string {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "amazonaws.com.cn"
	case strings.HasPrefix(region, "eusc-"):
		return "amazonaws.eu"
	default:
		return "amazonaws.com"
	}
}
