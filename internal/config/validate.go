package config

import (
	"path/filepath"
	"slices"
	"strings"

	"entra-aws-exporter/internal/model"
)

// settle checks that there is exactly one way to sign in.
func (t *Tenant) settle(at place) {
	if t.Name == "" {
		t.Name = t.TenantID
	}
	ways := []string{"client_secret_file", "client_certificate_file", "workload_identity", "managed_identity", "aws_web_identity"}
	given := slices.DeleteFunc(slices.Clone(ways), func(way string) bool {
		return !at.has(way) && !at.has(strings.TrimSuffix(way, "_file")) // an inline secret is reported already
	})
	switch {
	case len(given) == 0:
		at.fail("", "has no way to sign in; give it one of %s", strings.Join(ways, ", "))
	case len(given) > 1:
		at.fail("", "has several ways to sign in (%s); keep one", strings.Join(given, ", "))
	case given[0] == "managed_identity" && at.has("client_id"):
		at.fail("client_id", "has no effect with managed_identity; a user-assigned identity is named by managed_identity.client_id")
	case given[0] != "managed_identity" && !at.has("client_id"):
		at.fail("client_id", "is missing; it is the application (client) id of the exporter's app registration, %s", rules["uuid"])
	}
	if at.has("client_certificate_password_file") && !at.has("client_certificate_file") {
		at.fail("client_certificate_password_file", "has no effect without client_certificate_file")
	}
}

func (c *Connection) settle(at place) {
	if at.in("aws").has("external_id") && c.AWS.RoleARN == "" && c.Rotation.RoleARN == "" {
		at.in("aws").fail("external_id", "has no effect without role_arn")
	}
	if c.Rotation.RoleARN == "" {
		c.Rotation.RoleARN = c.AWS.RoleARN
	}
	c.settleIntervals(at)
	if c.Rotation.Mode != model.RotationDisabled && c.Tokens.ReadFrom == model.OriginDeclared {
		c.settleDeclaredRotation(at)
	}
}

// settleDeclaredRotation demands what a rotation cannot look up without the undocumented API.
func (c *Connection) settleDeclaredRotation(at place) {
	if c.Rotation.Issuer == model.IssuerConsoleAPI {
		at.in("rotation").fail("issuer", "console_api creates tokens by the API that tokens.read_from: declared avoids; "+
			"set issuer: operator (a person makes the token) or tokens.read_from: console_api")
	}
	if !at.in("aws").has("provisioning_tenant_id") {
		at.in("aws").fail("provisioning_tenant_id", "is missing; with tokens.read_from: declared it is not looked up, and a rotation needs it; "+
			"it is the part of the SCIM endpoint before /scim/v2")
	}
}

// settleIntervals keeps what a rotation is decided by.
func (c *Connection) settleIntervals(at place) {
	if c.Rotation.Mode == model.RotationDisabled {
		return
	}
	for _, source := range []model.Source{model.SourceTokens, model.SourceJob} {
		if c.Intervals.Every(source) == 0 {
			at.in("intervals").fail(string(source), "0 switches off what a rotation is decided by; give it a time or set rotation.mode: disabled")
		}
	}
}

func (t *Tokens) settle(at place) {
	switch declared := len(t.Declared) > 0; {
	case t.ReadFrom == model.OriginDeclared && !declared:
		at.fail("declared", "is missing; read_from: declared needs the tokens of the AWS console (token_id, created, expires)")
	case t.ReadFrom == model.OriginConsoleAPI && declared:
		at.fail("declared", "has no effect with read_from: console_api; set read_from: declared or remove it")
	case len(t.Declared) > model.TokenSlots:
		at.fail("declared", "has %d tokens, but an identity store holds at most %d", len(t.Declared), model.TokenSlots)
	}
	for i, token := range t.Declared {
		if first := slices.IndexFunc(t.Declared, func(o DeclaredToken) bool { return o.TokenID == token.TokenID }); first < i && token.TokenID != "" {
			at.item("declared", i).fail("token_id", "is declared[%d] already", first)
		}
	}
}

// longestLife is a year with some room for what AWS may change; a later date is a slip.
const longestLife = 400 * 24 // hours

func (t *DeclaredToken) settle(at place) {
	if t.Created.IsZero() || t.Expires.IsZero() {
		return
	}
	if life := t.Expires.Sub(t.Created).Hours(); life <= 0 {
		at.fail("expires", "is not after created")
	} else if life > longestLife {
		at.fail("expires", "is %.0f days after created; a SCIM token lives one year", life/24)
	}
}

func (s *SAML) settle(at place) {
	if s.AppID != "" && s.ReadFrom != model.EntraCertificatesMetadata {
		at.fail("app_id", "has no effect without read_from: federation_metadata")
	}
	switch files := len(s.AWSCertificateFiles) > 0; {
	case s.AWSCertificates == model.AWSCertificatesFiles && !files:
		at.fail("aws_certificate_files", "is missing; aws_certificates: files needs the PEM files of the certificates that AWS trusts")
	case s.AWSCertificates != model.AWSCertificatesFiles && files:
		at.fail("aws_certificate_files", "has no effect without aws_certificates: files")
	}
}

func (r *Rotation) settle(at place) {
	if r.Before > 0 && r.Before <= r.VerifyTimeout+r.RetireAfter {
		at.fail("before", "%s leaves too little time: a rotation may take verify_timeout + retire_after = %s, and the token would expire meanwhile",
			r.Before, r.VerifyTimeout+r.RetireAfter)
	}
	if r.MaxAge > 0 && r.MaxAge < r.Cooldown {
		at.fail("max_age", "%s is shorter than cooldown (%s)", r.MaxAge, r.Cooldown)
	}
}

func (s *State) settle(at place) {
	switch {
	case s.AgeIdentityFile == "":
	case s.Directory == "":
		at.fail("age_identity_file", "has no effect without directory")
	case inside(string(s.Directory), string(s.AgeIdentityFile)):
		at.fail("age_identity_file", "lies in the state directory, where a backup would hold lock and key; put it elsewhere")
	}
}

// inside reports whether path lies in directory, as written or by its links.
func inside(directory, path string) bool {
	for _, resolve := range []func(string) string{filepath.Clean, followed} {
		relative, err := filepath.Rel(resolve(directory), resolve(path))
		if err == nil && filepath.IsLocal(relative) {
			return true
		}
	}
	return false
}

// followed is path without symbolic links, as far as it exists.
func followed(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved
	}
	if up := filepath.Dir(path); up != path {
		return filepath.Join(followed(up), filepath.Base(path))
	}
	return path
}

// settle resolves the references between the parts and keeps them apart.
func (c *Config) settle(at place) {
	c.settleTenants(at)
	for i := range c.Connections {
		connection, here := &c.Connections[i], at.item("connections", i)
		c.settleReferences(connection, here)
		for j, other := range c.Connections[:i] {
			c.keepApart(here, connection, j, &other)
		}
		if connection.Rotation.Mode == model.RotationEnabled && c.State.Directory == "" {
			here.in("rotation").fail("mode", "enabled needs a place for the journal and the new token; set state.directory")
		}
	}
}

func (c *Config) settleTenants(at place) {
	for i, tenant := range c.Tenants {
		first := slices.IndexFunc(c.Tenants, func(o Tenant) bool { return o.Name == tenant.Name })
		switch {
		case first == i || tenant.Name == "":
		case at.item("tenants", i).has("name"):
			at.item("tenants", i).fail("name", "is the name of tenants[%d] already; give each its own", first)
		default:
			at.item("tenants", i).fail("name", "is missing; tenants[%d] has the same tenant_id, so both need a name", first)
		}
	}
}

func (c *Config) settleReferences(connection *Connection, here place) {
	names := make([]string, len(c.Tenants))
	for i, tenant := range c.Tenants {
		names[i] = tenant.Name
	}
	switch {
	case len(names) == 0: // reported as such
		return
	case connection.Tenant == "" && len(names) == 1:
		connection.Tenant = names[0]
	case connection.Tenant == "":
		here.fail("tenant", "is missing; there are several tenants, it is one of %s", strings.Join(names, ", "))
	case !slices.Contains(names, connection.Tenant):
		here.fail("tenant", "%s", noSuchTenant(connection.Tenant, names))
	}
	if connection.Rotation.Tenant == "" {
		connection.Rotation.Tenant = connection.Tenant
		return
	}
	reader, rotator := c.Tenant(connection.Tenant), c.Tenant(connection.Rotation.Tenant)
	switch {
	case rotator == nil:
		here.in("rotation").fail("tenant", "%s", noSuchTenant(connection.Rotation.Tenant, names))
	case reader != nil && reader.TenantID != rotator.TenantID:
		here.in("rotation").fail("tenant", "has another tenant_id than tenant %q; the rotation needs an identity in the same Entra tenant", reader.Name)
	}
}

func noSuchTenant(name string, names []string) string {
	text := shown(name) + " is no tenant"
	if guess := nearest(name, names); guess != "" {
		return text + "; did you mean " + guess + "?"
	}
	return text + "; it is one of " + strings.Join(names, ", ")
}

// keepApart reports what two connections must not share: a name, and an application. What
// is discovered is compared again once it is known.
func (c *Config) keepApart(here place, connection *Connection, j int, other *Connection) {
	if connection.Name != "" && connection.Name == other.Name {
		here.fail("name", "is the name of connections[%d] already; give each its own", j)
	}
	tenant, theirs := c.Tenant(connection.Tenant), c.Tenant(other.Tenant)
	switch {
	case connection.ServicePrincipalID != other.ServicePrincipalID:
	case connection.ServicePrincipalID != "":
		here.fail("service_principal_id", "is the application of connections[%d] (%s) already; one application is one connection", j, other.Name)
	case tenant != nil && theirs != nil && tenant.TenantID == theirs.TenantID:
		here.fail("service_principal_id", "is missing; connections[%d] (%s) has none either, so both would find the same application of tenant %s", j, other.Name, connection.Tenant)
	}
	keepStoresApart(here, connection, j, other)
}

// keepStoresApart does the same for the identity store and its provisioning tenant.
func keepStoresApart(here place, connection *Connection, j int, other *Connection) {
	mine, theirs := connection.AWS, other.AWS
	switch {
	case mine.IdentityStoreID != "" && mine.IdentityStoreID == theirs.IdentityStoreID:
		here.in("aws").fail("identity_store_id", "is the identity store of connections[%d] (%s) already; one identity store is one connection", j, other.Name)
	case mine.Region != "" && mine == theirs:
		here.in("aws").fail("identity_store_id", "is missing; connections[%d] (%s) has the same region, profile and role, so both would find the same identity store", j, other.Name)
	}
	if mine.ProvisioningTenantID != "" && mine.ProvisioningTenantID == theirs.ProvisioningTenantID {
		here.in("aws").fail("provisioning_tenant_id", "is that of connections[%d] (%s) already", j, other.Name)
	}
}
