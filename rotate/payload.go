package rotate

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"entra-aws-exporter/internal/bridge"
)

// credentials reads Entra's provisioning credentials and refuses to go on with any
// that a PUT could destroy: a masked key whose value we do not know.
func (r *run) credentials(ctx context.Context) ([]bridge.Credential, error) {
	current, err := read(ctx, r.connection.Clouds.Provisioning.Credentials)
	if err != nil {
		return nil, err
	}
	for _, c := range current {
		if c.Masked() && c.Key != bridge.CredentialKeySecretToken && c.Key != bridge.CredentialKeyBaseAddress {
			return nil, blocked(UnknownSecretKeys, "the application's credentials hold the secret key %q, which a PUT could erase", c.Key)
		}
		if c.Key == bridge.CredentialKeyBaseAddress && !c.Masked() && !r.isBound(c.Value.Reveal()) {
			return nil, blocked(WrongTarget, "the application provisions to another Tenant URL than the connection's SCIM endpoint %s", r.book.last().Binding.SCIMEndpoint)
		}
	}
	return current, nil
}

// payload is what is to be saved: every clear key as it was just read, the token
// replaced, no key added, no mask sent back.
func (r *run) payload(current []bridge.Credential, value bridge.Secret) []bridge.Credential {
	var sent []bridge.Credential
	replaced := false
	for _, c := range current {
		switch {
		case c.Key == bridge.CredentialKeySecretToken:
			c.Value, replaced = value, true
		case c.Masked():
			c.Value = bridge.NewSecret(r.tenantURL())
		}
		sent = append(sent, c)
	}
	if !replaced {
		sent = append(sent, bridge.Credential{Key: bridge.CredentialKeySecretToken, Value: value})
	}
	return sent
}

// inline is what a test needs of the payload: where, and with what.
func (r *run) inline(current []bridge.Credential, value bridge.Secret) []bridge.Credential {
	address := bridge.NewSecret(r.tenantURL())
	for _, c := range current {
		if c.Key == bridge.CredentialKeyBaseAddress && !c.Masked() {
			address = c.Value
		}
	}
	return []bridge.Credential{
		{Key: bridge.CredentialKeyBaseAddress, Value: address},
		{Key: bridge.CredentialKeySecretToken, Value: value},
	}
}

// hidesAddress tells whether Entra shows a mask in place of its Tenant URL.
func hidesAddress(current []bridge.Credential) bool {
	return slices.ContainsFunc(current, func(c bridge.Credential) bool { return c.Key == bridge.CredentialKeyBaseAddress && c.Masked() })
}

// tenantURL is the Tenant URL to write when Entra does not show its own.
func (r *run) tenantURL() string {
	if r.connection.TenantURL != "" {
		return r.connection.TenantURL
	}
	return r.book.last().Binding.SCIMEndpoint
}

// isBound tells whether a Tenant URL leads to the bound provisioning tenant.
func (r *run) isBound(address string) bool {
	return sameEndpoint(address, r.book.last().Binding.SCIMEndpoint) ||
		(r.connection.TenantURL != "" && sameEndpoint(address, r.connection.TenantURL))
}

// sameEndpoint compares two addresses without their flags (a query) and final slash.
func sameEndpoint(a, b string) bool {
	x, errX := url.Parse(a)
	y, errY := url.Parse(b)
	return errX == nil && errY == nil && strings.EqualFold(x.Host, y.Host) &&
		strings.TrimRight(x.Path, "/") == strings.TrimRight(y.Path, "/")
}

func keysOf(credentials []bridge.Credential) []string {
	keys := make([]string, len(credentials))
	for i, c := range credentials {
		keys[i] = c.Key
	}
	slices.Sort(keys)
	return keys
}
