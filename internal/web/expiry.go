package web

import (
	"cmp"
	"slices"
	"time"
)

// Expiry is something in use that expires: a token, a certificate, or a credential by
// which the exporter signs in to an Entra tenant.
type Expiry struct {
	Kind        ExpiryKind `json:"kind"`
	Connection  string     `json:"connection,omitempty"`   // absent: a credential
	EntraTenant string     `json:"entra_tenant,omitempty"` // of a credential
	ID          string     `json:"id"`                     // token id, thumbprint or key id
	Expires     time.Time  `json:"expires"`
}

// ExpiryKind is what expires.
type ExpiryKind string

// The kinds.
const (
	ExpiryToken       ExpiryKind = "scim_token"
	ExpiryCertificate ExpiryKind = "saml_certificate"
	ExpiryCredential  ExpiryKind = "app_credential" //nolint:gosec // the name of a kind
)

// Label names the kind.
func (k ExpiryKind) Label() string {
	switch k {
	case ExpiryToken:
		return "SCIM access token"
	case ExpiryCertificate:
		return "SAML signing certificate"
	case ExpiryCredential:
		return "the exporter's own credential"
	default:
		return string(k)
	}
}

// Owner is the connection or the Entra tenant.
func (e Expiry) Owner() string { return cmp.Or(e.Connection, e.EntraTenant) }

// expiryLimit bounds the list of expiries.
const expiryLimit = 20

// expiresNext lists what expires first in all connections. What is not in use is left out.
func expiresNext(connections []Connection, now time.Time) []Expiry {
	list := []Expiry{}
	credentials := map[AppCredential]bool{} // several connections share one
	for _, connection := range connections {
		if tokens := connection.Tokens; tokens != nil && !tokens.ActiveExpires.IsZero() {
			list = append(list, Expiry{Kind: ExpiryToken, Connection: connection.Name, ID: tokens.ActiveTokenID, Expires: tokens.ActiveExpires})
		}
		if certificates := connection.Certificates; certificates != nil && !certificates.ActiveExpires.IsZero() {
			list = append(list, Expiry{Kind: ExpiryCertificate, Connection: connection.Name, ID: certificates.effectiveThumbprint(), Expires: certificates.ActiveExpires})
		}
		for _, credential := range usedCredentials(connection.AppCredentials, now) {
			if !credential.Expires.IsZero() && !credentials[credential] {
				credentials[credential] = true
				list = append(list, Expiry{Kind: ExpiryCredential, EntraTenant: credential.EntraTenant, ID: credential.KeyID, Expires: credential.Expires})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b Expiry) int { return a.Expires.Compare(b.Expires) })
	return list[:min(len(list), expiryLimit)]
}

// usedCredentials leaves out an expired credential beside a valid one of the same tenant:
// the exporter cannot be using it. The alerting rules do the same.
func usedCredentials(credentials []AppCredential, now time.Time) []AppCredential {
	latest := map[string]time.Time{} // by tenant
	for _, credential := range credentials {
		if credential.Expires.After(latest[credential.EntraTenant]) {
			latest[credential.EntraTenant] = credential.Expires
		}
	}
	return slices.DeleteFunc(slices.Clone(credentials), func(credential AppCredential) bool {
		expired := !credential.Expires.IsZero() && !credential.Expires.After(now)
		return expired && latest[credential.EntraTenant].After(now)
	})
}

// effectiveThumbprint names the certificate whose expiry matters.
func (c Certificates) effectiveThumbprint() string {
	for _, certificate := range c.Entra {
		if certificate.NotAfter.Equal(c.ActiveExpires) && (certificate.Active || c.ActiveThumbprint == "" || c.ActiveKnown != nil && !*c.ActiveKnown) {
			return certificate.Thumbprint
		}
	}
	return ""
}
