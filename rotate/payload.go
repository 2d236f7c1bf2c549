package rotate

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"entra-aws-exporter/internal/model"
)

// credentials reads Entra's provisioning credentials and refuses to go on with any
// that a PUT could destroy: a masked key whose value we do not know.
func (r *run) credentials(ctx context.Context) ([]model.Credential, error) {
	current, err := read(ctx, r.connection.Clouds.Provisioning.Credentials)
	if err != nil {
		return nil, err
	}
	for _, c := range current {
		if c.Masked() && c.Key != model.CredentialKeySecretToken && c.Key != model.CredentialKeyBaseAddress {
			return nil, blocked(UnknownSecretKeys, "the application's credentials hold the secret key %q, which a PUT could erase", c.Key)
		}
		if c.Key == model.CredentialKeyBaseAddress && !c.Masked() && !r.isBound(c.Value.Reveal()) {
			return nil, blocked(WrongTarget, "the application provisions to another Tenant URL than the connection's SCIM endpoint %s", r.book.last().Binding.SCIMEndpoint)
		}
	}
	return current, nil
}

// payload is what is to be saved: every clear key as it was just read, the token
// replaced, no key added, no mask sent back.
func (r *run) payload(current []model.Credential, value model.Secret) []model.Credential {
	var sent []model.Credential
	replaced := false
	for _, c := range current {
		switch {
		case c.Key == model.CredentialKeySecretToken:
			c.Value, replaced = value, true
		case c.Masked():
			c.Value = model.NewSecret(r.tenantURL())
		}
		sent = append(sent, c)
	}
	if !replaced {
		sent = append(sent, model.Credential{Key: model.CredentialKeySecretToken, Value: value})
	}
	return sent
}

// inline is what a test needs of the payload: where, and with what.
func (r *run) inline(current []model.Credential, value model.Secret) []model.Credential {
	address := model.NewSecret(r.tenantURL())
	for _, c := range current {
		if c.Key == model.CredentialKeyBaseAddress && !c.Masked() {
			address = c.Value
		}
	}
	return []model.Credential{
		{Key: model.CredentialKeyBaseAddress, Value: address},
		{Key: model.CredentialKeySecretToken, Value: value},
	}
}

// hidesAddress tells whether Entra shows a mask in place of its Tenant URL.
func hidesAddress(current []model.Credential) bool {
	return slices.ContainsFunc(current, func(c model.Credential) bool { return c.Key == model.CredentialKeyBaseAddress && c.Masked() })
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

func keysOf(credentials []model.Credential) []string {
	keys := make([]string, len(credentials))
	for i, c := range credentials {
		keys[i] = c.Key
	}
	slices.Sort(keys)
	return keys
}
