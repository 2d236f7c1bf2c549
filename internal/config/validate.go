package config

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	prommodel "github.com/prometheus/common/model"

	"entra-aws-exporter/internal/model"
)

// setDefaults sets the keys whose default is the value of another key.
func (c *Config) setDefaults() {
	for i := range c.Tenants {
		if tenant := &c.Tenants[i]; tenant.Name == "" {
			tenant.Name = tenant.TenantID
		}
	}
	for i := range c.Connections {
		connection := &c.Connections[i]
		if connection.Tenant == "" && len(c.Tenants) == 1 {
			connection.Tenant = c.Tenants[0].Name
		}
		if connection.Rotation.Tenant == "" {
			connection.Rotation.Tenant = connection.Tenant
		}
		if connection.Rotation.RoleARN == "" {
			connection.Rotation.RoleARN = connection.AWS.RoleARN
		}
		rollover := &connection.SAML.Rollover
		if rollover.Tenant == "" {
			rollover.Tenant = connection.Rotation.Tenant
		}
		if rollover.RoleARN == "" {
			rollover.RoleARN = connection.Rotation.RoleARN
		}
	}
	if c.Webhook != nil && len(c.Webhook.MatchLabels) > 0 {
		if _, given := c.Webhook.MatchLabels["alertname"]; !given {
			c.Webhook.MatchLabels["alertname"] = dueAlert
		}
	}
}

// dueAlert is the one alert that asks for a rotation. Grafana gives its own alerts about
// a failing query the labels of the rule, but another name.
const dueAlert = "EntraAwsScimTokenRotationDue"

// rolloverAlert is the one alert that asks for a rollover of the SAML certificate.
const rolloverAlert = "EntraAwsSamlCertificateRolloverDue"

// RolloverLabels are the labels that an alert must have to ask for a rollover: those of a
// rotation, but for what names the kind.
func (w *Webhook) RolloverLabels() map[string]string {
	labels := maps.Clone(w.MatchLabels)
	labels["alertname"], labels["rotate"] = rolloverAlert, "saml-certificate"
	return labels
}

// validate reports what does not fit together.
func (c *Config) validate(at position) {
	for i := range c.Tenants {
		here := at.key("tenants").item(i)
		c.Tenants[i].validate(here)
		c.validateTenantName(i, here)
	}
	for i := range c.Connections {
		connection, here := &c.Connections[i], at.key("connections").item(i)
		if here.failed() && !here.has("name") { // not a mapping
			continue
		}
		connection.validate(here)
		c.validateReferences(connection, here)
		for j := range c.Connections[:i] {
			c.validateDistinct(connection, j, here)
		}
		if connection.SAML.Rollover.Mode == model.RotationEnabled && !c.State.IsSet() {
			here.key("saml.rollover.mode").fail("enabled needs a place for the journal; set state.directory or state.aws")
		}
		if connection.Rotation.Mode == model.RotationEnabled && !c.State.IsSet() {
			here.key("rotation.mode").fail("enabled needs a place for the journal and the new token; set state.directory or state.aws")
		}
	}
	c.State.validate(at.key("state"))
	if c.Webhook != nil {
		c.Webhook.validate(at.key("webhook"))
	}
}

// validate requires exactly one way to sign in.
func (t *Tenant) validate(at position) {
	ways := []string{"client_secret_file", "client_certificate_file", "workload_identity", "managed_identity", "aws_web_identity"}
	given := slices.DeleteFunc(slices.Clone(ways), func(way string) bool {
		return !at.has(way) && !at.has(strings.TrimSuffix(way, "_file")) // an inline secret is reported already
	})
	switch {
	case len(given) == 0:
		at.fail("has no way to sign in; give it one of %s", strings.Join(ways, ", "))
	case len(given) > 1:
		at.fail("has several ways to sign in (%s); keep one", strings.Join(given, ", "))
	case given[0] == "managed_identity" && at.has("client_id"):
		at.key("client_id").fail("has no effect with managed_identity; set managed_identity.client_id for a user-assigned identity")
	case given[0] != "managed_identity" && !at.has("client_id"):
		at.key("client_id").fail("is missing; it is the application (client) ID of the exporter's app registration, %s", rules["uuid"])
	}
	if at.has("client_certificate_password_file") && !at.has("client_certificate_file") {
		at.key("client_certificate_password_file").fail("has no effect without client_certificate_file")
	}
}

func (c *Config) validateTenantName(i int, at position) {
	name := c.Tenants[i].Name
	first := slices.IndexFunc(c.Tenants, func(other Tenant) bool { return other.Name == name })
	switch {
	case first == i || name == "":
	case at.has("name"):
		at.key("name").fail("is the name of tenants[%d] already; give each its own", first)
	default:
		at.key("name").fail("is missing; tenants[%d] has the same tenant_id, so both need a name", first)
	}
}

func (c *Connection) validate(at position) {
	c.Tokens.validate(at.key("tokens"))
	c.SAML.validate(at.key("saml"))
	c.Rotation.validate(at.key("rotation"))
	if at.has("aws.external_id") && c.Rotation.RoleARN == "" && c.SAML.Rollover.RoleARN == "" {
		at.key("aws.external_id").fail("has no effect without role_arn")
	}
	if c.Rotation.Mode != model.RotationDisabled {
		c.require("rotation", "rotation.mode", at, model.SourceTokens, model.SourceJob)
		if c.Tokens.ReadFrom == model.OriginDeclared && c.Rotation.Issuer == model.IssuerConsoleAPI {
			at.key("rotation.issuer").fail("console_api creates tokens by the API that tokens.read_from: declared avoids; " +
				"set issuer: operator (an operator creates the token) or tokens.read_from: console_api")
		}
	}
	if c.SAML.Rollover.Mode != model.RotationDisabled {
		c.require("rollover", "saml.rollover.mode", at, model.SourceTokens, model.SourceJob, model.SourceCertificates)
	}
}

// require demands the sources that a rotation reads, and that discover what the connection
// is bound to.
func (c *Connection) require(what, mode string, at position, sources ...model.Source) {
	for _, needed := range sources {
		if c.Intervals.Every(needed) == 0 {
			at.key("intervals."+string(needed)).fail("0 disables a source that a %s needs; set an interval or %s: disabled", what, mode)
		}
	}
	if c.Tokens.ReadFrom == model.OriginDeclared && !at.has("aws.provisioning_tenant_id") {
		at.key("aws.provisioning_tenant_id").fail("is missing; with tokens.read_from: declared it is not looked up, and a %s needs it; "+
			"it is the part of the SCIM endpoint before /scim/v2", what)
	}
}

func (t *Tokens) validate(at position) {
	for i := range t.Declared {
		t.Declared[i].validate(at.key("declared").item(i))
	}
	declared := at.key("declared")
	switch {
	case t.ReadFrom == model.OriginDeclared && len(t.Declared) == 0:
		declared.fail("is missing; read_from: declared needs the tokens of the AWS console (token_id, created, expires)")
	case t.ReadFrom == model.OriginConsoleAPI && len(t.Declared) > 0:
		declared.fail("has no effect with read_from: console_api; set read_from: declared or remove it")
	case len(t.Declared) > model.TokenSlots:
		declared.fail("has %d tokens, but an identity store holds at most %d", len(t.Declared), model.TokenSlots)
	}
	for i, token := range t.Declared {
		first := slices.IndexFunc(t.Declared, func(other DeclaredToken) bool { return other.TokenID == token.TokenID })
		if first < i && token.TokenID != "" {
			declared.item(i).key("token_id").fail("is declared[%d] already", first)
		}
	}
}

// maxTokenLife is a year, with some room for a change by AWS.
const maxTokenLife = 400 * 24 * time.Hour

func (t *DeclaredToken) validate(at position) {
	if t.Created.IsZero() || t.Expires.IsZero() {
		return
	}
	if life := t.Expires.Sub(t.Created); life <= 0 {
		at.key("expires").fail("is not after created")
	} else if life > maxTokenLife {
		at.key("expires").fail("is %.0f days after created; a SCIM token lives one year", life.Hours()/24)
	}
}

func (s *SAML) validate(at position) {
	if s.AppID != "" && s.ReadFrom != model.EntraCertificatesMetadata {
		at.key("app_id").fail("has no effect without read_from: federation_metadata")
	}
	s.validateRollover(at)
	switch files := len(s.AWSCertificateFiles) > 0; {
	case s.AWSCertificates == model.AWSCertificatesFiles && !files:
		at.key("aws_certificate_files").fail("is missing; aws_certificates: files needs the PEM files of the certificates that AWS trusts")
	case s.AWSCertificates != model.AWSCertificatesFiles && files:
		at.key("aws_certificate_files").fail("has no effect without aws_certificates: files")
	}
}

// minActiveLife is how long the active certificate must still be valid when a rollover starts.
const minActiveLife = Duration(14 * 24 * time.Hour)

func (s *SAML) validateRollover(at position) {
	r := s.Rollover
	if r.Mode == model.RotationDisabled || r.Mode == "" {
		return
	}
	if s.ReadFrom != model.EntraCertificatesGraph {
		at.key("read_from").fail("federation_metadata does not say which certificate is active, and a rollover needs to know; set read_from: graph")
	}
	if s.AWSCertificates != model.AWSCertificatesConsoleAPI {
		at.key("aws_certificates").fail("%s does not show what AWS trusts, and a rollover needs to see it; set aws_certificates: console_api", s.AWSCertificates)
	}
	if r.Before > 0 && r.Before <= minActiveLife+r.RetireAfter {
		at.key("rollover.before").fail("%s is too short: a rollover starts no later than %s before the expiry, and takes retire_after = %s", r.Before, minActiveLife, r.RetireAfter)
	}
}

func (r *Rotation) validate(at position) {
	if r.Before > 0 && r.Before <= r.VerifyTimeout+r.RetireAfter {
		at.key("before").fail("%s is too short: a rotation may take verify_timeout + retire_after = %s, and the token would expire meanwhile",
			r.Before, r.VerifyTimeout+r.RetireAfter)
	}
	if r.MaxAge > 0 && r.MaxAge < r.Cooldown {
		at.key("max_age").fail("%s is shorter than cooldown (%s)", r.MaxAge, r.Cooldown)
	}
}

// validateReferences checks the tenants that a connection names.
func (c *Config) validateReferences(connection *Connection, at position) {
	if len(c.Tenants) == 0 { // reported already
		return
	}
	names := make([]string, len(c.Tenants))
	for i, tenant := range c.Tenants {
		names[i] = tenant.Name
	}
	tenant := c.Tenant(connection.Tenant)
	switch {
	case connection.Tenant == "" && len(names) > 1:
		at.key("tenant").fail("is missing; there are several tenants, it is one of %s", strings.Join(names, ", "))
	case tenant == nil:
		at.key("tenant").fail("%s", describeUnknownTenant(connection.Tenant, names))
	}
	for _, key := range []struct{ name, what, value string }{
		{"rotation.tenant", "rotation", connection.Rotation.Tenant}, {"saml.rollover.tenant", "rollover", connection.SAML.Rollover.Tenant},
	} {
		switch writer := c.Tenant(key.value); {
		case !at.has(key.name):
		case writer == nil:
			at.key(key.name).fail("%s", describeUnknownTenant(key.value, names))
		case tenant != nil && tenant.TenantID != writer.TenantID:
			at.key(key.name).fail("has another tenant_id than tenant %q; the %s needs an identity in the same Entra tenant", tenant.Name, key.what)
		}
	}
}

func describeUnknownTenant(name string, names []string) string {
	text := quoteSafe(name) + " is not the name of a tenant"
	if guess := suggest(name, names); guess != "" {
		return text + "; did you mean " + guess + "?"
	}
	return text + "; it is one of " + strings.Join(names, ", ")
}

// validateDistinct reports what a connection must not share with connections[j]. What
// discovery finds is compared later.
func (c *Config) validateDistinct(connection *Connection, j int, at position) {
	other := &c.Connections[j]
	if connection.Name != "" && connection.Name == other.Name {
		at.key("name").fail("is the name of connections[%d] already; give each its own", j)
	}
	tenant, otherTenant := c.Tenant(connection.Tenant), c.Tenant(other.Tenant)
	switch {
	case connection.ServicePrincipalID != other.ServicePrincipalID:
	case connection.ServicePrincipalID != "":
		at.key("service_principal_id").fail("is the application of connections[%d] (%s) already; one application is one connection", j, other.Name)
	case tenant != nil && otherTenant != nil && tenant.TenantID == otherTenant.TenantID:
		at.key("service_principal_id").fail("is missing; connections[%d] (%s) has none either, so both would find the same application of tenant %s", j, other.Name, connection.Tenant)
	}
	mine, theirs := connection.AWS, other.AWS
	switch {
	case mine.IdentityStoreID != "" && mine.IdentityStoreID == theirs.IdentityStoreID:
		at.key("aws.identity_store_id").fail("is the identity store of connections[%d] (%s) already; one identity store is one connection", j, other.Name)
	case mine.Region != "" && mine == theirs:
		at.key("aws.identity_store_id").fail("is missing; connections[%d] (%s) has the same region, profile and role, so both would find the same identity store", j, other.Name)
	}
	if mine.ProvisioningTenantID != "" && mine.ProvisioningTenantID == theirs.ProvisioningTenantID {
		at.key("aws.provisioning_tenant_id").fail("is that of connections[%d] (%s) already", j, other.Name)
	}
}

func (s *State) validate(at position) {
	if s.AWS != nil {
		if at.has("directory") {
			at.key("aws").fail("is set together with directory; the state is in one place, keep one of them")
		}
		if s.AWS.ExternalID != "" && s.AWS.RoleARN == "" {
			at.key("aws.external_id").fail("has no effect without role_arn")
		}
	}
	switch {
	case s.AgeIdentityFile == "":
	case s.Directory == "":
		at.key("age_identity_file").fail("has no effect without directory")
	case isInside(string(s.Directory), string(s.AgeIdentityFile)):
		at.key("age_identity_file").fail("is inside the state directory; a backup would contain the key and the encrypted tokens; move the key elsewhere")
	}
}

func (w *Webhook) validate(at position) {
	for name, value := range w.MatchLabels {
		if !prommodel.LegacyValidation.IsValidLabelName(name) || value == "" {
			at.key("match_labels").fail("has a label that is not a name and a text; it looks like rotate: scim-token")
		}
	}
	if w.MatchLabels != nil && len(w.MatchLabels) == 0 { // nil: reported already
		at.key("match_labels").fail("is empty, so every alert would match; it looks like {rotate: scim-token}")
	}
}

// isInside reports whether path lies in directory, as written or after following links.
func isInside(directory, path string) bool {
	for _, resolve := range []func(string) string{filepath.Clean, resolveLinks} {
		relative, err := filepath.Rel(resolve(directory), resolve(path))
		if err == nil && filepath.IsLocal(relative) {
			return true
		}
	}
	return false
}

// resolveLinks follows symbolic links in the part of a path that exists.
func resolveLinks(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved
	}
	if parent := filepath.Dir(path); parent != path {
		return filepath.Join(resolveLinks(parent), filepath.Base(path))
	}
	return path
}
