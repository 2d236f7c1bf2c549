package app

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// The identities that the exporter uses. It runs as the first and assumes the roles of the
// others.
const (
	ownIdentity     = clouds.ActorExporter
	readerIdentity  = clouds.Actor("reader")
	rotatorIdentity = clouds.Actor("rotator")

	certificateRotatorIdentity = clouds.Actor("certificate-rotator")
)

// permissionPlace is a place that says what identities may do.
type permissionPlace struct {
	name   string
	of     []clouds.Actor
	has    []string
	grants bool     // the exporter of the test gets these permissions
	also   []string // what it has beside the needed permissions
	except []string // what is needed and said elsewhere
	kind   func([]string) []string
}

// TestPermissionsAreThoseOfTheCalls runs an exporter with exactly the permissions that the
// policies and the script grant, apart for running, reading, rotating the token and rolling
// over the certificate. The simulator
// refuses all others. Then the test compares the permissions that the calls needed with what
// each policy, module, script and page has.
func TestPermissionsAreThoseOfTheCalls(t *testing.T) {
	places := permissionPlaces(t)
	var needed map[clouds.Actor][]string
	var failures []string // an error inside of the bubble would end the test
	synctest.Test(t, func(t *testing.T) { needed, failures = neededByCalls(t, places) })
	for _, place := range places {
		var want []string
		for _, identity := range place.of {
			want = append(want, place.kind(needed[identity])...)
		}
		want = append(without(want, place.except), place.also...)
		for _, missing := range without(want, place.has) {
			t.Errorf("%s lacks %s, which a call of the exporter needs: add it there, or stop the call", place.name, missing)
		}
		if len(failures) > 0 {
			continue // what failed made no later calls
		}
		for _, superfluous := range without(place.has, want) {
			t.Errorf("%s has %s, which no call of the exporter needed: remove it there, or let neededByCalls make the call that needs it", place.name, superfluous)
		}
	}
	for _, failure := range failures {
		t.Errorf("with the granted permissions, this failed:\n%s", failure)
	}
}

// neededByCalls polls, rotates, rolls over and lets doctor explain a refused probe, with what
// the places grant. It returns the permissions that the calls of each identity needed, and
// what failed.
func neededByCalls(t *testing.T, places []permissionPlace) (needed map[clouds.Actor][]string, failures []string) {
	t.Helper()
	spec := clouds.Expiring("corp")
	spec.Certificates = clouds.ExpiringCertificate("corp").Certificates
	h := newHarness(t, []clouds.ConnectionSpec{spec})
	tenant, account := h.Credentials.Tenants[0], h.Credentials.Accounts[0]
	granted := map[clouds.Actor][]string{}
	for _, place := range places {
		if place.grants {
			granted[place.of[0]] = append(granted[place.of[0]], place.has...)
		}
	}
	arn := func(identity clouds.Actor) string {
		return "arn:aws:iam::" + account.Account + ":role/" + string(identity)
	}
	registrations := map[clouds.Actor]clouds.AppRegistration{}
	h.With(func(m *clouds.Model) {
		for identity, permissions := range granted {
			var actions []clouds.Action
			for _, action := range actionsOf(permissions) {
				actions = append(actions, clouds.Action(action))
			}
			m.AllowOnly(identity, actions...)
			m.AddRole(clouds.Role{ARN: arn(identity), Account: account.Account, ExternalID: "external", Actor: identity})
		}
		m.EncryptWithCustomerKey(h.Connection.IdentityStoreID)
		var err error
		for _, identity := range []clouds.Actor{rotatorIdentity, certificateRotatorIdentity} {
			registration, failed := m.AddRegistration(tenant.TenantID, identity, m.Now().AddDate(1, 0, 0), rolesOf(granted[identity])...)
			registrations[identity], err = registration, errors.Join(err, failed)
		}
		err = errors.Join(err, m.ChangeRegistration(tenant.TenantID, tenant.Registration.ClientID, func(r *clouds.AppRegistration) {
			r.Actor, r.Roles, r.Secrets = readerIdentity, rolesOf(granted[readerIdentity]), nil
			r.Federated = []clouds.FederatedCredential{{Issuer: simulator.WebIdentityIssuer(account.Account), Subject: account.Keys.ARN}}
		}), m.ChangeApplication(tenant.TenantID, h.Connection.ServicePrincipalID, func(sp *clouds.ServicePrincipal) {
			sp.Owners = []string{registrations[rotatorIdentity].ClientID, registrations[certificateRotatorIdentity].ClientID}
			sp.RegistrationOwners = []string{registrations[certificateRotatorIdentity].ClientID}
		}))
		if err != nil {
			t.Fatal(err)
		}
	})
	h.signInAs(registrations)
	h.edit("profile: account-"+account.Account, "role_arn: "+arn(readerIdentity)+"\n      external_id: external")
	h.edit("rotation: {", "rotation: {tenant: rotator, role_arn: "+arn(rotatorIdentity)+", ")
	h.edit("saml: {aws_certificates: console_api}", "saml: {aws_certificates: console_api, rollover: {mode: enabled, approval: never, retire_after: 2h, "+
		"tenant: certificate-rotator, role_arn: "+arn(certificateRotatorIdentity)+"}}")

	h.start()
	time.Sleep(firstPoll)
	failures = h.series().matching("entra_aws_source_errors_total")
	h.stop()
	if output := h.startRotation(StartOptions{Connection: "corp"}); !strings.Contains(output, "done: token") {
		failures = append(failures, output)
	}
	if output := h.startRotation(StartOptions{Connection: "corp", Kind: "certificate"}); !strings.Contains(output, "done: certificate ") {
		failures = append(failures, output)
	}
	h.With(func(m *clouds.Model) {
		if err := m.AllowSources(clouds.ActorOperator, h.Connection.IdentityStoreID, netip.MustParsePrefix("203.0.113.0/24")); err != nil {
			t.Fatal(err)
		}
	})
	if output := h.doctor("corp"); !strings.Contains(output, "allows SCIM calls from 203.0.113.0/24") || strings.Contains(output, "permissions that are missing") {
		failures = append(failures, output)
	}
	needed = map[clouds.Actor][]string{}
	h.With(func(m *clouds.Model) {
		for identity := range granted {
			needed[identity] = m.Needed(identity)
		}
	})
	return needed, failures
}

// signInAs adds an entry with each of these registrations to the tenants of the
// configuration. The identity that reads signs in by the role that the exporter runs with.
func (h *harness) signInAs(registrations map[clouds.Actor]clouds.AppRegistration) {
	h.t.Helper()
	_, entry, _ := strings.Cut(h.read("exporter.yml"), "tenants:\n")
	entry, _, _ = strings.Cut(entry, "connections:\n")
	const secret = "client_secret_file: client-secret-tenant-1"
	entries := []string{strings.Replace(entry, secret, "aws_web_identity: {region: eu-central-1}", 1)}
	for identity, registration := range registrations {
		file := "client-secret-" + string(identity)
		h.write(file, registration.Secrets[0].Value)
		entries = append(entries, strings.NewReplacer("name: tenant-1", "name: "+string(identity), secret, "client_secret_file: "+file,
			h.Credentials.Tenants[0].Registration.ClientID, registration.ClientID).Replace(entry))
	}
	h.edit(entry, strings.Join(entries, ""))
}

// without returns what a list has and another has not.
func without(list, other []string) []string {
	return slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(list))), func(name string) bool { return slices.Contains(other, name) })
}

// actionsOf selects the actions of IAM, rolesOf the permissions of Graph.
func actionsOf(permissions []string) []string {
	return slices.DeleteFunc(slices.Clone(permissions), func(name string) bool { return !strings.Contains(name, ":") })
}

func rolesOf(permissions []string) []string { return without(permissions, actionsOf(permissions)) }

func permissionPlaces(t *testing.T) []permissionPlace {
	t.Helper()
	const (
		audits = clouds.RoleAuditLog // a rotation works without
		users  = "User.Read.All"     // only if Entra's answer lacks the canary user's name
		tags   = "sts:TagSession"    // EKS Pod Identity, not the exporter
		kms    = "kms:Decrypt"       // has a section of its own
		log    = clouds.RoleProvisioningLog
		tenant = clouds.RoleSynchronization // instead of being an owner
	)
	one := func(identity clouds.Actor) []clouds.Actor { return []clouds.Actor{identity} }
	places := []permissionPlace{
		{name: "aws-trust.json with aws-web-identity.json", of: one(ownIdentity), has: policies(t, "aws-trust.json", "aws-web-identity.json"), grants: true, kind: actionsOf},
		{name: "aws-reader.json with aws-kms.json", of: one(readerIdentity), has: policies(t, "aws-reader.json", "aws-kms.json"), grants: true, kind: actionsOf},
		{name: "aws-rotator.json with aws-kms.json", of: one(rotatorIdentity), has: policies(t, "aws-rotator.json", "aws-kms.json"), grants: true, kind: actionsOf},
		{name: "aws-certificate-rotator.json with aws-kms.json", of: one(certificateRotatorIdentity), has: policies(t, "aws-certificate-rotator.json", "aws-kms.json"), grants: true, kind: actionsOf},
		{name: "grant-entra.sh reader", of: one(readerIdentity), has: grantedByScript(t, "", "reader", "CLIENT"), grants: true, kind: rolesOf},
		{name: "grant-entra.sh rotator", of: one(rotatorIdentity), has: grantedByScript(t, "", "rotator", "CLIENT", "OBJECT"), grants: true, except: []string{audits}, kind: rolesOf},
		{name: "grant-entra.sh certificate-rotator", of: one(certificateRotatorIdentity), has: grantedByScript(t, "", "certificate-rotator", "CLIENT", "OBJECT"), grants: true, except: []string{audits}, kind: rolesOf},
		{name: "grant-entra.sh certificate-rotator, all that it can", of: one(certificateRotatorIdentity), has: grantedByScript(t, "", "certificate-rotator", "CLIENT", "OBJECT", audits), kind: rolesOf},
		{name: "grant-entra.sh reader in an older tenant", of: one(readerIdentity), has: grantedByScript(t, log, "reader", "CLIENT", audits), also: []string{audits}, except: []string{log}, kind: rolesOf},
		{name: "grant-entra.sh rotator, all that it can", of: one(rotatorIdentity), has: grantedByScript(t, log, "rotator", "CLIENT", "OBJECT", audits, users), also: []string{users}, except: []string{log}, kind: rolesOf},
		{name: "aws.md, Reader", of: one(readerIdentity), has: namedIn(t, "permissions/aws.md", "Reader"), except: []string{kms}, kind: actionsOf},
		{name: "aws.md, Rotator", of: one(rotatorIdentity), has: namedIn(t, "permissions/aws.md", "Rotator"), except: []string{kms}, kind: actionsOf},
		{name: "entra.md, Reader", of: one(readerIdentity), has: namedIn(t, "permissions/entra.md", "Reader"), also: []string{audits}, kind: rolesOf},
		{name: "entra.md, Rotator", of: one(rotatorIdentity), has: namedIn(t, "permissions/entra.md", "Rotator"), also: []string{users, tenant}, kind: rolesOf},
		{name: "aws.md, Certificate rotator", of: one(certificateRotatorIdentity), has: namedIn(t, "permissions/aws.md", "Certificate rotator"), except: []string{kms}, kind: actionsOf},
		{name: "entra.md, Certificate rotator", of: one(certificateRotatorIdentity), has: namedIn(t, "permissions/entra.md", "Certificate rotator"), also: []string{tenant}, kind: rolesOf},
		{name: "docs/permissions.md", of: []clouds.Actor{readerIdentity, rotatorIdentity, certificateRotatorIdentity}, has: namedIn(t, "../docs/permissions.md", "Permissions"), also: append(policies(t, "aws-state.json", "aws-state-kms.json"), users, tenant), except: []string{kms}, kind: slices.Clone[[]string]},
		{name: "README.md", of: one(readerIdentity), has: namedIn(t, "../README.md", "Install it"), kind: rolesOf},
	}
	named := namedByDoctor(t)
	places = append(places,
		permissionPlace{name: "doctor, reading", of: one(readerIdentity), has: named[readerIdentity], except: []string{kms, "identitystore:DescribeIdentityStore"}, kind: slices.Clone[[]string]},
		permissionPlace{name: "doctor, rotating", of: one(rotatorIdentity), has: named[rotatorIdentity], except: []string{kms, audits, log, "cloudtrail:LookupEvents"}, kind: slices.Clone[[]string]},
		permissionPlace{name: "doctor, rolling over", of: one(certificateRotatorIdentity), has: named[certificateRotatorIdentity], except: []string{kms, audits}, kind: slices.Clone[[]string]})
	module, template := terraformActions(t), templateActions(t)
	for _, identity := range []clouds.Actor{ownIdentity, readerIdentity, rotatorIdentity, certificateRotatorIdentity} {
		var also []string
		if identity == ownIdentity { // TestPermissionsOfTheState is about those of the state
			also = append(policies(t, "aws-state.json", "aws-state-kms.json"), tags)
		}
		places = append(places,
			permissionPlace{name: "terraform/aws, " + string(identity), of: one(identity), has: module[identity], also: also, kind: actionsOf},
			permissionPlace{name: "cloudformation/permissions.yaml, " + string(identity), of: one(identity), has: template[identity], also: also, kind: actionsOf})
	}
	main, variables := readDeployed(t, "terraform/entra/main.tf"), readDeployed(t, "terraform/entra/variables.tf")
	roles := func(text, pattern string) []string {
		return namedRole.FindAllString(strings.Join(regexp.MustCompile(pattern).FindStringSubmatch(text)[1:], ""), -1)
	}
	byDefault := roles(variables, `(?s)"provisioning_log_permission" \{.*?default += (\S+)`)
	return append(places,
		permissionPlace{name: "terraform/entra, reader", of: one(readerIdentity), has: append(roles(main, `reader += (.*)`), byDefault...), kind: rolesOf},
		permissionPlace{name: "terraform/entra, certificate_rotator", of: one(certificateRotatorIdentity), has: roles(main, `certificate_rotator += (.*)`), kind: rolesOf},
		permissionPlace{name: "terraform/entra, rotator", of: one(rotatorIdentity), has: append(roles(main, ` rotator += (.*)`), byDefault...), except: []string{audits}, kind: rolesOf},
		permissionPlace{name: "terraform/entra, optional_permissions", has: roles(variables, `setsubtract\((.*)`), also: []string{audits, users}, kind: rolesOf},
	)
}

// namedByDoctor returns the permissions that doctor prints when they are missing.
func namedByDoctor(t *testing.T) map[clouds.Actor][]string {
	t.Helper()
	const id = "11111111-1111-4111-8111-111111111111"
	path := filepath.Join(t.TempDir(), "exporter.yml")
	if err := os.WriteFile(path, []byte("tenants: [{tenant_id: "+id+", client_id: "+id+", client_secret_file: s}]\n"+
		"connections: [{name: corp, aws: {region: eu-central-1}, tokens: {usage: cloudtrail}, saml: {aws_certificates: console_api, rollover: {mode: dry_run}}}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	named := map[clouds.Actor][]string{}
	for identity, checks := range map[clouds.Actor][]check{
		readerIdentity:  append(tenantChecks(c.Tenants[0], &clientSet{}, c.Connections), connectionChecks(c, c.Connections[0], connectionClients{})...),
		rotatorIdentity: rotationChecks(c, c.Connections[0], connectionClients{}),

		certificateRotatorIdentity: rolloverChecks(c, c.Connections[0], connectionClients{}),
	} {
		for _, made := range checks {
			named[identity] = append(named[identity], slices.DeleteFunc(slices.Clone(made.needs), func(needed string) bool { return strings.HasPrefix(needed, ownerOf) })...)
		}
	}
	return named
}
