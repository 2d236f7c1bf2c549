package model

// UsageSource says where the last use of a token is read.
type UsageSource string

// The sources of a token's last use.
const (
	UsageNone       UsageSource = "none"
	UsageCloudTrail UsageSource = "cloudtrail"
)

// EntraCertificateSource says where Entra's SAML signing certificates are read.
type EntraCertificateSource string

// The sources of Entra's certificates. Federation metadata does not tell which one is active.
const (
	EntraCertificatesGraph    EntraCertificateSource = "graph"
	EntraCertificatesMetadata EntraCertificateSource = "federation_metadata"
)

// AWSCertificateSource says where the SAML certificates that AWS trusts are read.
type AWSCertificateSource string

// The sources of AWS's certificates.
const (
	AWSCertificatesNone       AWSCertificateSource = "none"
	AWSCertificatesConsoleAPI AWSCertificateSource = "console_api"
	AWSCertificatesFiles      AWSCertificateSource = "files"
)
