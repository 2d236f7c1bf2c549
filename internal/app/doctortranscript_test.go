package app

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

var update = flag.Bool("update", false, "write docs/doctor.md")

const transcriptPage = "../../docs/doctor.md"

// TestDoctorTranscript begins with identities that exist and may do nothing. Each round grants
// only what the printed commands grant, and what the texts of failures name. The page has what
// doctor prints until everything is ok.
func TestDoctorTranscript(t *testing.T) {
	written, err := os.ReadFile(transcriptPage)
	if err != nil {
		t.Fatal(err)
	}
	intro, _, _ := strings.Cut(string(written), "## Round 1\n")
	page := intro
	synctest.Test(t, func(t *testing.T) {
		o := newUngranted(t)
		for round := 1; ; round++ {
			output := o.transcript()
			page += fmt.Sprintf("## Round %d\n\n```text\n$ entra-aws-exporter doctor\n%s```\n", round, output)
			if !strings.Contains(output, "FAILED") {
				break
			}
			if round == 5 {
				t.Fatalf("not all is ok after %d rounds:\n%s", round, page)
			}
			for _, part := range strings.SplitAfter(output, "rollover of corp\n") { // another identity may have the same cause
				for _, cause := range regexp.MustCompile(`(?m)^  FAILED .*\n( .*)$`).FindAllStringSubmatch(part, -1) {
					if strings.Count(part, cause[1]) > 1 {
						t.Errorf("round %d says more than once: %s", round, cause[1])
					}
				}
			}
			granted := o.follow(output)
			if len(granted) == 0 {
				t.Fatalf("round %d advises nothing new:\n%s", round, output)
			}
			page += "\nGranted:\n\n" + strings.Join(granted, "\n") + "\n\n"
		}
	})
	if *update {
		if err := os.WriteFile(transcriptPage, []byte(page), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if page != string(written) {
		t.Errorf("docs/doctor.md is not what doctor prints; go test ./internal/app -run TestDoctorTranscript -update writes it. It is now:\n%s", page)
	}
	if rounds := strings.Count(page, "## Round "); rounds > 3 {
		t.Errorf("%d rounds", rounds)
	}
}

// ungranted is an exporter whose roles and applications exist, without a permission.
type ungranted struct {
	*harness
	tenant  string
	granted map[string]bool // "IDENTITY\nPERMISSION"
	actions map[clouds.Actor]map[string][]clouds.Action
}

func newUngranted(t *testing.T) *ungranted {
	t.Helper()
	h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
	tenant, account := h.Credentials.Tenants[0], h.Credentials.Accounts[0]
	arn := func(identity clouds.Actor) string {
		return "arn:aws:iam::" + account.Account + ":role/entra-aws-" + string(identity)
	}
	registrations := map[clouds.Actor]clouds.AppRegistration{}
	h.With(func(m *clouds.Model) {
		m.AllowOnly(ownIdentity)
		for _, identity := range []clouds.Actor{readerIdentity, rotatorIdentity, certificateRotatorIdentity} {
			m.AllowOnly("entra-aws-" + identity)
			m.AddRole(clouds.Role{ARN: arn(identity), Account: account.Account, ExternalID: "external", Actor: "entra-aws-" + identity})
		}
		var err error
		for _, identity := range []clouds.Actor{rotatorIdentity, certificateRotatorIdentity} {
			registration, failed := m.AddRegistration(tenant.TenantID, identity, m.Now().AddDate(1, 0, 0))
			registrations[identity], err = registration, errors.Join(err, failed)
		}
		err = errors.Join(err, m.ChangeRegistration(tenant.TenantID, tenant.Registration.ClientID, func(r *clouds.AppRegistration) {
			r.Actor, r.Roles, r.Secrets = readerIdentity, nil, nil
			r.Federated = []clouds.FederatedCredential{{Issuer: simulator.WebIdentityIssuer(account.Account), Subject: account.Keys.ARN}}
		}), m.ChangeApplication(tenant.TenantID, h.Connection.ServicePrincipalID, func(sp *clouds.ServicePrincipal) { sp.Owners, sp.RegistrationOwners = nil, nil }))
		if err != nil {
			t.Fatal(err)
		}
	})
	h.signInAs(registrations)
	h.edit("name: tenant-1", "name: reader")
	h.edit("tenant: tenant-1", "tenant: reader")
	h.edit("profile: account-"+account.Account, "role_arn: "+arn(readerIdentity)+"\n      external_id: external")
	h.edit("rotation: {", "rotation: {tenant: rotator, role_arn: "+arn(rotatorIdentity)+", ")
	h.edit("saml: {aws_certificates: console_api}", "saml: {aws_certificates: console_api, rollover: {mode: dry_run, tenant: certificate-rotator, role_arn: "+arn(certificateRotatorIdentity)+"}}")
	return &ungranted{harness: h, tenant: tenant.TenantID, granted: map[string]bool{}, actions: map[clouds.Actor]map[string][]clouds.Action{}}
}

// transcript returns what doctor prints at the default log level, with the paths of a package.
func (o *ungranted) transcript() string {
	o.t.Helper()
	output := o.command(func(ctx context.Context, options Options) error {
		options.Logger = slog.New(slog.DiscardHandler)
		if err := Doctor(ctx, options, ""); err != nil {
			return fmt.Errorf("entra-aws-exporter: %w\n", err) //nolint:revive // as the command prints it
		}
		return nil
	})
	return strings.ReplaceAll(output, o.dir+"/state", "/var/lib/entra-aws-exporter")
}

// follow does what the output advises. It returns what it newly granted, a line for each identity.
func (o *ungranted) follow(output string) (granted []string) {
	o.t.Helper()
	grant := func(identity, permission string) {
		if o.granted[identity+"\n"+permission] {
			return
		}
		o.granted[identity+"\n"+permission] = true
		if last := len(granted) - 1; last >= 0 && strings.HasPrefix(granted[last], "- `"+identity+"`:") {
			granted[last] += ", `" + permission + "`"
			return
		}
		granted = append(granted, fmt.Sprintf("- `%s`: `%s`", identity, permission))
	}
	allow := func(role, policy string, actions ...string) {
		identity := clouds.Actor(role)
		if o.actions[identity] == nil {
			o.actions[identity] = map[string][]clouds.Action{}
		}
		var allowed []clouds.Action
		for _, action := range actions {
			grant(role, action)
			allowed = append(allowed, clouds.Action(action))
		}
		o.actions[identity][policy] = allowed // a policy replaces the one of its name
		o.With(func(m *clouds.Model) {
			m.AllowOnly(identity, slices.Concat(slices.Collect(maps.Values(o.actions[identity]))...)...)
		})
	}
	// Failures whose text names who lacks which action.
	for _, match := range regexp.MustCompile(`:assumed-role/([\w-]+)/\S+ is not authorized to perform: (sts:\w+).*\(allow (sts:\w+)`).FindAllStringSubmatch(output, -1) {
		if match[2] != match[3] {
			o.t.Errorf("%s is refused, and doctor advises %s", match[2], match[3])
		}
		allow(match[1], match[3], match[3])
	}
	calls := o.runAdvice(output)
	for _, match := range regexp.MustCompile(`(?m)^az rest .*/servicePrincipals/(\S+)/appRoleAssignments .*"principalId": "(\S+)", "resourceId": "(\S+)", "appRoleId": "(\S+)"`).FindAllStringSubmatch(calls, -1) {
		if match[1] != match[2] || match[3] != "00000003-0000-0000-c000-000000000000" {
			o.t.Errorf("grants to %s, of %s: %s", match[2], match[3], match[0])
		}
		grant(match[1], match[4])
		o.With(func(m *clouds.Model) {
			if err := m.ChangeRegistration(o.tenant, match[1], func(r *clouds.AppRegistration) { r.Roles = append(r.Roles, match[4]) }); err != nil {
				o.t.Error(err)
			}
		})
	}
	for _, match := range regexp.MustCompile(`(?m)^az rest .*/(servicePrincipals|applications)/(\S+)/owners/\$ref .*/directoryObjects/(\S+)"`).FindAllStringSubmatch(calls, -1) {
		owned := ownerOf + match[2]
		if match[1] == "applications" {
			owned = ownerOfRegistration + match[2]
		}
		grant(match[3], owned)
		o.With(func(m *clouds.Model) {
			if err := m.ChangeApplication(o.tenant, match[2], func(sp *clouds.ServicePrincipal) {
				if match[1] == "applications" {
					sp.RegistrationOwners = append(sp.RegistrationOwners, match[3])
				} else {
					sp.Owners = append(sp.Owners, match[3])
				}
			}); err != nil {
				o.t.Error(err)
			}
		})
	}
	for _, match := range regexp.MustCompile(`(?m)^aws iam put-role-policy --role-name (\S+) --policy-name (\S+) --policy-document (.*)$`).FindAllStringSubmatch(calls, -1) {
		var document struct{ Statement []statement }
		if err := json.Unmarshal([]byte(match[3]), &document); err != nil {
			o.t.Fatalf("%s: %v", match[3], err)
		}
		allow(match[1], match[2], allowedBy(o.t, match[2], document.Statement)...)
	}
	return granted
}

// runAdvice runs the commands that doctor printed and returns the calls of az and aws.
func (o *ungranted) runAdvice(output string) string {
	o.t.Helper()
	var commands []string
	for _, match := range regexp.MustCompile(`(?m)^    (\S.*)$`).FindAllStringSubmatch(output, -1) {
		commands = append(commands, match[1])
	}
	printed, calls, err := runWithCloudCommands(o.t, []string{"AZ_FINDS=" + o.Connection.ServicePrincipalID}, "sh", "-euc", strings.Join(commands, "\n"))
	if err != nil {
		o.t.Fatalf("the printed commands fail: %v, %s\n%s", err, printed, strings.Join(commands, "\n"))
	}
	return calls
}
