// Package config reads the configuration file: strict YAML in, a validated Config with
// every default out, or all problems of the file at once as
// "file:line: key.path: what is wrong; what would be right".
//
// Read config.go first: its structs are the schema. Their tags hold what is true of one
// key alone: its name (yaml), its default in YAML (default) and its rules (check, see
// schema.go). load.go has the steps: it parses YAML, decode.go fills the structs, and
// validate.go checks what is true between keys. schema.go and rules.go describe the right
// values, problem.go has the positions in the file. warnings.go, endpoints.go and
// webhook.go answer questions about a loaded Config.
package config

import (
	"time"

	prommodel "github.com/prometheus/common/model"

	"entra-aws-exporter/internal/model"
)

// Duration is a time.Duration in Prometheus's notation: 30s, 15m, 24h, 60d, 2w, 1y.
type Duration = prommodel.Duration

// SecretFile is the path of a file with a secret. It is read again at every use.
type SecretFile = model.SecretFile

// Path is the path of a file or directory: in the file relative to the configuration
// file, after Load absolute, like a SecretFile.
type Path string

// Config is the configuration with every default applied.
type Config struct {
	Tenants     []Tenant     `yaml:"tenants" check:"required"`
	Connections []Connection `yaml:"connections" check:"required"`
	HTTPClient  HTTPClient   `yaml:"http_client,omitempty"`
	State       State        `yaml:"state,omitempty"`
	Webhook     *Webhook     `yaml:"webhook,omitempty"` // nil: no endpoint

	source *source
}

// Tenant is one identity in one Entra tenant. Two may have the same tenant_id: one that
// reads, and one with more permissions for the rotation.
type Tenant struct {
	Name     string      `yaml:"name" check:"name"` // never empty after Load
	TenantID string      `yaml:"tenant_id" check:"required uuid"`
	Cloud    model.Cloud `yaml:"cloud" check:"public|usgov|usgov_dod|china" default:"public"`
	ClientID string      `yaml:"client_id,omitempty" check:"uuid"` // only empty with a managed identity

	// Exactly one of these ways to sign in is set.
	ClientSecretFile              SecretFile        `yaml:"client_secret_file,omitempty"`
	ClientCertificateFile         Path              `yaml:"client_certificate_file,omitempty"`          // PEM or PKCS #12, with the private key
	ClientCertificatePasswordFile SecretFile        `yaml:"client_certificate_password_file,omitempty"` // of a PKCS #12 file
	WorkloadIdentity              *WorkloadIdentity `yaml:"workload_identity,omitempty"`
	ManagedIdentity               *ManagedIdentity  `yaml:"managed_identity,omitempty"`
	AWSWebIdentity                *AWSWebIdentity   `yaml:"aws_web_identity,omitempty"`

	Endpoints TenantEndpoints `yaml:"endpoints,omitempty"`
}

// WorkloadIdentity signs in with a federated token that the platform writes into a file.
type WorkloadIdentity struct {
	TokenFile Path `yaml:"token_file" default:"/var/run/secrets/azure/tokens/azure-identity-token"`
}

// ManagedIdentity signs in with the identity of the Azure machine.
type ManagedIdentity struct {
	ClientID string `yaml:"client_id,omitempty" check:"uuid"` // empty: the system-assigned one
}

// AWSWebIdentity signs in with a token of AWS STS (GetWebIdentityToken). No secret is
// stored.
type AWSWebIdentity struct {
	Region  string `yaml:"region" check:"required region"`
	Profile string `yaml:"profile,omitempty" check:"word"`
	RoleARN string `yaml:"role_arn,omitempty" check:"role_arn"`
}

// TenantEndpoints replace the endpoints of the cloud.
type TenantEndpoints struct {
	Login string `yaml:"login,omitempty" check:"login"`
	Graph string `yaml:"graph,omitempty" check:"graph"`
}

// Connection is one Entra application that provisions one Identity Center instance.
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

// AWS is how to sign in to AWS, and what discovery would find otherwise.
type AWS struct {
	Region               string       `yaml:"region" check:"required region"`
	Profile              string       `yaml:"profile,omitempty" check:"word"`
	RoleARN              string       `yaml:"role_arn,omitempty" check:"role_arn"`
	ExternalID           string       `yaml:"external_id,omitempty" check:"word"`
	IdentityStoreID      string       `yaml:"identity_store_id,omitempty" check:"identity_store_id"`
	ProvisioningTenantID string       `yaml:"provisioning_tenant_id,omitempty" check:"provisioning_tenant_id"`
	Endpoints            AWSEndpoints `yaml:"endpoints,omitempty"`
}

// AWSEndpoints replace the endpoints of the region.
type AWSEndpoints struct {
	TokenService               string `yaml:"token_service,omitempty" check:"endpoint"`
	TokenServiceJSONVersion    string `yaml:"token_service_json_version" check:"1.1|1.0" default:"'1.1'"`
	IdentityStore              string `yaml:"identity_store,omitempty" check:"endpoint"`
	IDPCertificates            string `yaml:"idp_certificates,omitempty" check:"endpoint"`
	IDPCertificatesJSONVersion string `yaml:"idp_certificates_json_version" check:"1.1|1.0" default:"'1.0'"`
	SSOAdmin                   string `yaml:"sso_admin,omitempty" check:"endpoint"`
	STS                        string `yaml:"sts,omitempty" check:"endpoint"`
	CloudTrail                 string `yaml:"cloudtrail,omitempty" check:"endpoint"`
}

// Tokens is how the SCIM access tokens are read.
type Tokens struct {
	ReadFrom         model.TokenOrigin `yaml:"read_from" check:"console_api|declared" default:"console_api"`
	Declared         []DeclaredToken   `yaml:"declared,omitempty"`
	SCIMTokenFile    SecretFile        `yaml:"scim_token_file,omitempty"`
	Usage            model.UsageSource `yaml:"usage" check:"none|cloudtrail" default:"none"`
	SCIMAllowedHosts []string          `yaml:"scim_allowed_hosts,omitempty" check:"host_suffix"`
}

// DeclaredToken is a token as the operator copied it from the AWS console.
type DeclaredToken struct {
	TokenID string    `yaml:"token_id" check:"required token_id"`
	Created time.Time `yaml:"created" check:"required"`
	Expires time.Time `yaml:"expires" check:"required"`
}

// SAML is how the SAML signing certificates are read.
type SAML struct {
	ServicePrincipalID  string                       `yaml:"service_principal_id,omitempty" check:"uuid"` // default: the connection's
	AppID               string                       `yaml:"app_id,omitempty" check:"uuid"`               // with federation_metadata; default: read from Graph
	ReadFrom            model.EntraCertificateSource `yaml:"read_from" check:"graph|federation_metadata" default:"graph"`
	AWSCertificates     model.AWSCertificateSource   `yaml:"aws_certificates" check:"none|console_api|files" default:"none"`
	AWSCertificateFiles []Path                       `yaml:"aws_certificate_files,omitempty"`
	Rollover            Rollover                     `yaml:"rollover"`
}

// Rollover is the policy of the SAML signing certificate's rollover. It starts as rotations
// do (rotation.trigger).
type Rollover struct {
	Mode           model.RotationMode `yaml:"mode" check:"disabled|dry_run|enabled" default:"disabled"`
	Tenant         string             `yaml:"tenant" check:"name"`                 // never empty after Load; default: rotation.tenant
	RoleARN        string             `yaml:"role_arn,omitempty" check:"role_arn"` // default: rotation.role_arn
	Before         Duration           `yaml:"before" check:"15d..365d" default:"60d"`
	Approval       model.Approval     `yaml:"approval" check:"first|always|never" default:"first"`
	RetireAfter    Duration           `yaml:"retire_after" check:"1h..90d" default:"7d"`
	AWSSlots       int                `yaml:"aws_slots" check:"2..10" default:"2"`
	CertificateUse string             `yaml:"certificate_use" check:"word" default:"SIGNING"`
	Validity       Duration           `yaml:"validity" check:"90d..3y" default:"3y"`
	Subject        string             `yaml:"subject" check:"common_name" default:"entra-aws-exporter"`
}

// Intervals are the intervals at which the sources are read; 0 disables a source.
type Intervals struct {
	Tokens         Duration `yaml:"tokens" check:"zero 1s..1d" default:"15m"`
	SCIM           Duration `yaml:"scim" check:"zero 1s..1d" default:"1h"`
	Usage          Duration `yaml:"usage" check:"zero 1s..1d" default:"15m"`
	Job            Duration `yaml:"job" check:"zero 1s..1d" default:"5m"`
	Events         Duration `yaml:"events" check:"zero 1s..1d" default:"5m"`
	Certificates   Duration `yaml:"certificates" check:"zero 1s..1d" default:"1h"`
	AppCredentials Duration `yaml:"app_credentials" check:"zero 1s..1d" default:"1h"`
}

// Rotation is the policy of the SCIM token rotation.
type Rotation struct {
	Mode               model.RotationMode `yaml:"mode" check:"disabled|dry_run|enabled" default:"disabled"`
	Trigger            model.Trigger      `yaml:"trigger" check:"alert|due" default:"alert"`
	Issuer             model.Issuer       `yaml:"issuer" check:"console_api|operator" default:"console_api"`
	Tenant             string             `yaml:"tenant" check:"name"`                 // never empty after Load; default: the connection's
	RoleARN            string             `yaml:"role_arn,omitempty" check:"role_arn"` // default: aws.role_arn
	Before             Duration           `yaml:"before" check:"1d..365d" default:"60d"`
	MaxAge             Duration           `yaml:"max_age" check:"zero 7d..365d" default:"0"` // 0: not due by age
	Approval           model.Approval     `yaml:"approval" check:"first|always|never" default:"first"`
	DeleteExpiredToken bool               `yaml:"delete_expired_token" default:"true"`
	VerifyTimeout      Duration           `yaml:"verify_timeout" check:"1h..30d" default:"24h"`
	CanaryUserObjectID string             `yaml:"canary_user_object_id,omitempty" check:"uuid"`
	RetireAfter        Duration           `yaml:"retire_after" check:"zero 1m..90d" default:"24h"`
	Cooldown           Duration           `yaml:"cooldown" check:"1h..90d" default:"24h"`
	MaxAttempts        int                `yaml:"max_attempts" check:"1..10" default:"3"`
}

// HTTPClient are the settings of all outgoing calls.
type HTTPClient struct {
	TLSConfig TLSConfig `yaml:"tls_config,omitempty"`
	ProxyURL  string    `yaml:"proxy_url,omitempty" check:"proxy_url"` // default: HTTPS_PROXY and NO_PROXY
}

// TLSConfig is how the certificates of servers are verified.
type TLSConfig struct {
	CAFile Path `yaml:"ca_file,omitempty"` // PEM; replaces the system's certificate authorities
}

// State is where journals, tokens and event counters are kept.
type State struct {
	// At most one of these places is set. With none, no state is kept.
	Directory Path      `yaml:"directory,omitempty"`
	AWS       *StateAWS `yaml:"aws,omitempty"`

	AgeIdentityFile Path `yaml:"age_identity_file,omitempty"` // with Directory
}

// StateAWS keeps the state in DynamoDB and Secrets Manager, which several replicas share.
type StateAWS struct {
	Table          string            `yaml:"table" check:"required table"`
	SecretPrefix   string            `yaml:"secret_prefix" check:"secret_prefix" default:"entra-aws-exporter/"`
	KMSKeyID       string            `yaml:"kms_key_id,omitempty" check:"word"` // empty: aws/secretsmanager
	RecoveryWindow Duration          `yaml:"recovery_window" check:"zero 7d..30d" default:"30d"`
	Region         string            `yaml:"region" check:"required region"`
	Profile        string            `yaml:"profile,omitempty" check:"word"`
	RoleARN        string            `yaml:"role_arn,omitempty" check:"role_arn"`
	ExternalID     string            `yaml:"external_id,omitempty" check:"word"`
	Endpoints      StateAWSEndpoints `yaml:"endpoints,omitempty"`
}

// StateAWSEndpoints replace the endpoints of the region.
type StateAWSEndpoints struct {
	DynamoDB       string `yaml:"dynamodb,omitempty" check:"endpoint"`
	SecretsManager string `yaml:"secrets_manager,omitempty" check:"endpoint"`
	STS            string `yaml:"sts,omitempty" check:"endpoint"`
}

// IsSet reports whether state is kept anywhere.
func (s State) IsSet() bool { return s.Directory != "" || s.AWS != nil }

// Place names where the state is kept: a directory, or a table in a region.
func (s State) Place() string {
	if s.AWS != nil {
		return "table " + s.AWS.Table + " in " + s.AWS.Region
	}
	return string(s.Directory)
}

// Webhook is the endpoint that Alertmanager calls.
type Webhook struct {
	BearerTokenFile SecretFile        `yaml:"bearer_token_file,omitempty"`
	MatchLabels     map[string]string `yaml:"match_labels" default:"{rotate: scim-token}"`
}

// Files lists the files that the configuration names.
func (c *Config) Files() []string {
	var files []string
	for _, file := range c.source.files {
		if file.key != "state.directory" {
			files = append(files, file.path)
		}
	}
	return files
}

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

// Every returns the interval of a source; 0: the source is disabled.
func (i Intervals) Every(s model.Source) time.Duration {
	return time.Duration(map[model.Source]Duration{
		model.SourceTokens:         i.Tokens,
		model.SourceSCIM:           i.SCIM,
		model.SourceUsage:          i.Usage,
		model.SourceJob:            i.Job,
		model.SourceEvents:         i.Events,
		model.SourceCertificates:   i.Certificates,
		model.SourceAppCredentials: i.AppCredentials,
	}[s])
}
