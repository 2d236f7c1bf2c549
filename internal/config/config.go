// Package config reads the exporter's configuration: strict YAML in, a complete and
// validated Config out, or every mistake of the file at once as
// "file:line: key.path: what is wrong, what would be right".
//
// The structs of this file are the schema. Their tags say all that is true of one
// key by itself: its name (yaml), what it is when left out (default, in YAML) and
// what it may be (check, see check.go). What is true between keys is in validate.go.
package config

import (
	"time"

	prommodel "github.com/prometheus/common/model"

	"entra-aws-exporter/internal/model"
)

// Duration is a time.Duration that is written with Prometheus's units: 30s, 15m,
// 24h, 60d, 2w, 1y.
type Duration = prommodel.Duration

// Secret is a value that shows nowhere.
type Secret = model.Secret

// SecretFile is the path of a file with a secret, read again at every use.
type SecretFile = model.SecretFile

// Path is the path of a file or directory. In the config it is relative to the
// config file; after Load it is absolute, like a SecretFile.
type Path string

// Config is the whole configuration file with every default applied.
type Config struct {
	Tenants     []Tenant     `yaml:"tenants" check:"required"`
	Connections []Connection `yaml:"connections" check:"required"`
	HTTPClient  HTTPClient   `yaml:"http_client,omitempty"`
	State       State        `yaml:"state,omitempty"`
	Webhook     *Webhook     `yaml:"webhook,omitempty"` // nil: no endpoint

	source *source // where each key stands in the file
}

// Tenant is one identity in one Entra tenant. Two may name the same tenant_id: a
// reader and a stronger one for the rotation.
type Tenant struct {
	Name     string      `yaml:"name" check:"name"` // never empty after Load
	TenantID string      `yaml:"tenant_id" check:"required uuid"`
	Cloud    model.Cloud `yaml:"cloud" check:"public|usgov|usgov_dod|china" default:"public"`
	ClientID string      `yaml:"client_id,omitempty" check:"uuid"` // empty with a managed identity only

	// Exactly one way to sign in is set.
	ClientSecretFile              SecretFile        `yaml:"client_secret_file,omitempty"`
	ClientCertificateFile         Path              `yaml:"client_certificate_file,omitempty"`          // PEM or PKCS #12, with its private key
	ClientCertificatePasswordFile SecretFile        `yaml:"client_certificate_password_file,omitempty"` // of PKCS #12
	WorkloadIdentity              *WorkloadIdentity `yaml:"workload_identity,omitempty"`
	ManagedIdentity               *ManagedIdentity  `yaml:"managed_identity,omitempty"`
	AWSWebIdentity                *AWSWebIdentity   `yaml:"aws_web_identity,omitempty"`

	Endpoints TenantEndpoints `yaml:"endpoints,omitempty"`
}

// WorkloadIdentity signs in with a token that the platform writes into a file.
type WorkloadIdentity struct {
	TokenFile Path `yaml:"token_file" default:"/var/run/secrets/azure/tokens/azure-identity-token"`
}

// ManagedIdentity signs in with the identity of the Azure machine.
type ManagedIdentity struct {
	ClientID string `yaml:"client_id,omitempty" check:"uuid"` // empty: the system-assigned one
}

// AWSWebIdentity signs in with a token that AWS STS makes (GetWebIdentityToken): no
// secret is stored anywhere.
type AWSWebIdentity struct {
	Region  string `yaml:"region" check:"required region"`
	Profile string `yaml:"profile,omitempty" check:"word"`
	RoleARN string `yaml:"role_arn,omitempty" check:"role_arn"`
}

// TenantEndpoints replace those of the cloud; empty: the cloud's own.
type TenantEndpoints struct {
	Login string `yaml:"login,omitempty" check:"login"`
	Graph string `yaml:"graph,omitempty" check:"graph"`
}

// Connection is one Entra application that provisions one identity store.
type Connection struct {
	Name               string    `yaml:"name" check:"required name"`
	Tenant             string    `yaml:"tenant" check:"name"` // the name of a tenant, never empty after Load
	ServicePrincipalID string    `yaml:"service_principal_id,omitempty" check:"uuid"`
	JobID              string    `yaml:"job_id,omitempty" check:"word"`
	TenantURL          string    `yaml:"tenant_url,omitempty" check:"tenant_url"`
	AWS                AWS       `yaml:"aws"`
	Tokens             Tokens    `yaml:"tokens"`
	SAML               SAML      `yaml:"saml"`
	Intervals          Intervals `yaml:"intervals"`
	Rotation           Rotation  `yaml:"rotation"`
}

// AWS is the side of AWS: how to sign in and, where discovery is not wanted, what is there.
type AWS struct {
	Region               string       `yaml:"region" check:"required region"`
	Profile              string       `yaml:"profile,omitempty" check:"word"`
	RoleARN              string       `yaml:"role_arn,omitempty" check:"role_arn"`
	ExternalID           string       `yaml:"external_id,omitempty" check:"word"`
	IdentityStoreID      string       `yaml:"identity_store_id,omitempty" check:"identity_store_id"`
	ProvisioningTenantID string       `yaml:"provisioning_tenant_id,omitempty" check:"provisioning_tenant_id"`
	Endpoints            AWSEndpoints `yaml:"endpoints,omitempty"`
}

// AWSEndpoints replace those of the region; empty: AWS's own.
type AWSEndpoints struct {
	TokenService            string `yaml:"token_service,omitempty" check:"endpoint"`
	TokenServiceJSONVersion string `yaml:"token_service_json_version" check:"1.1|1.0" default:"'1.1'"`
	IdentityStore           string `yaml:"identity_store,omitempty" check:"endpoint"`
	IDPCertificates         string `yaml:"idp_certificates,omitempty" check:"endpoint"`
	SSOAdmin                string `yaml:"sso_admin,omitempty" check:"endpoint"`
	STS                     string `yaml:"sts,omitempty" check:"endpoint"`
	CloudTrail              string `yaml:"cloudtrail,omitempty" check:"endpoint"`
}

// Tokens says how the SCIM access tokens are read.
type Tokens struct {
	ReadFrom         model.TokenOrigin `yaml:"read_from" check:"console_api|declared" default:"console_api"`
	Declared         []DeclaredToken   `yaml:"declared,omitempty"`
	SCIMTokenFile    SecretFile        `yaml:"scim_token_file,omitempty"`
	Usage            model.UsageSource `yaml:"usage" check:"none|cloudtrail" default:"none"`
	SCIMAllowedHosts []string          `yaml:"scim_allowed_hosts,omitempty" check:"host_suffix"`
}

// DeclaredToken is what an operator says about a token.
type DeclaredToken struct {
	TokenID string    `yaml:"token_id" check:"required token_id"`
	Created time.Time `yaml:"created" check:"required"`
	Expires time.Time `yaml:"expires" check:"required"`
}

// SAML says how the signing certificates are read.
type SAML struct {
	ServicePrincipalID  string                       `yaml:"service_principal_id,omitempty" check:"uuid"` // empty: the connection's
	AppID               string                       `yaml:"app_id,omitempty" check:"uuid"`               // with federation_metadata; empty: asked of Graph
	ReadFrom            model.EntraCertificateSource `yaml:"read_from" check:"graph|federation_metadata" default:"graph"`
	AWSCertificates     model.AWSCertificateSource   `yaml:"aws_certificates" check:"none|console_api|files" default:"none"`
	AWSCertificateFiles []Path                       `yaml:"aws_certificate_files,omitempty"`
}

// Intervals says how often each source is read; 0: never, it is switched off.
type Intervals struct {
	Tokens         Duration `yaml:"tokens" check:"zero 1s..1d" default:"15m"`
	SCIM           Duration `yaml:"scim" check:"zero 1s..1d" default:"1h"`
	Usage          Duration `yaml:"usage" check:"zero 1s..1d" default:"15m"`
	Job            Duration `yaml:"job" check:"zero 1s..1d" default:"5m"`
	Events         Duration `yaml:"events" check:"zero 1s..1d" default:"5m"`
	Certificates   Duration `yaml:"certificates" check:"zero 1s..1d" default:"1h"`
	AppCredentials Duration `yaml:"app_credentials" check:"zero 1s..1d" default:"1h"`
}

// Rotation is the policy of the SCIM token's rotation.
type Rotation struct {
	Mode               model.RotationMode `yaml:"mode" check:"disabled|dry_run|enabled" default:"disabled"`
	Issuer             model.Issuer       `yaml:"issuer" check:"console_api|operator" default:"console_api"`
	Tenant             string             `yaml:"tenant" check:"name"`                       // never empty after Load: the connection's
	RoleARN            string             `yaml:"role_arn,omitempty" check:"role_arn"`       // after Load: aws.role_arn unless set
	Before             Duration           `yaml:"before" check:"1d..365d" default:"60d"`     //
	MaxAge             Duration           `yaml:"max_age" check:"zero 7d..365d" default:"0"` // 0: never
	Approval           model.Approval     `yaml:"approval" check:"first|always|never" default:"first"`
	DeleteExpiredToken bool               `yaml:"delete_expired_token" default:"true"`
	VerifyTimeout      Duration           `yaml:"verify_timeout" check:"1h..30d" default:"24h"`
	CanaryUserObjectID string             `yaml:"canary_user_object_id,omitempty" check:"uuid"`
	RetireAfter        Duration           `yaml:"retire_after" check:"zero 1m..90d" default:"24h"`
	Cooldown           Duration           `yaml:"cooldown" check:"1h..90d" default:"24h"`
	MaxAttempts        int                `yaml:"max_attempts" check:"1..10" default:"3"`
}

// HTTPClient is how every outgoing call is made.
type HTTPClient struct {
	TLSConfig TLSConfig `yaml:"tls_config,omitempty"`
	ProxyURL  string    `yaml:"proxy_url,omitempty" check:"proxy_url"` // empty: as the environment says (HTTPS_PROXY, NO_PROXY)
}

// TLSConfig is how servers are verified.
type TLSConfig struct {
	CAFile Path `yaml:"ca_file,omitempty"` // PEM; replaces the system's roots
}

// State is where that is kept what must survive a crash.
type State struct {
	Directory       Path `yaml:"directory,omitempty"` // empty: nothing is kept
	AgeIdentityFile Path `yaml:"age_identity_file,omitempty"`
}

// Webhook is the endpoint that Alertmanager calls.
type Webhook struct {
	BearerTokenFile SecretFile        `yaml:"bearer_token_file,omitempty"`
	MatchLabels     map[string]string `yaml:"match_labels" check:"labels" default:"{rotate: scim-token}"`
}
