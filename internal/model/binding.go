package model

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Binding is what a connection resolves to. A rotation and its journal belong to a
// binding, not to the connection's name in the config.
type Binding struct {
	AWSAccount           string `json:"aws_account,omitempty"`
	Region               string `json:"region,omitempty"`
	IdentityStoreID      string `json:"identity_store_id,omitempty"`
	ProvisioningTenantID string `json:"provisioning_tenant_id,omitempty"`
	SCIMEndpoint         string `json:"scim_endpoint,omitempty"` // without a trailing slash
	EntraTenantID        string `json:"entra_tenant_id,omitempty"`
	ServicePrincipalID   string `json:"service_principal_id,omitempty"`
	JobID                string `json:"job_id,omitempty"`
}

// Complete reports whether both sides are known, which a rotation needs.
func (b Binding) Complete() bool {
	return b.IdentityStoreID != "" && b.ProvisioningTenantID != "" && b.SCIMEndpoint != "" &&
		b.EntraTenantID != "" && b.ServicePrincipalID != "" && b.JobID != ""
}

// Key names the binding in file names. It is the same for the same job and provisioning
// tenant, even if the connection is renamed.
func (b Binding) Key() string {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		b.EntraTenantID, b.ServicePrincipalID, b.JobID, b.Region, b.IdentityStoreID, b.ProvisioningTenantID,
	}, "\x00")))
	return hex.EncodeToString(sum[:12])
}
