package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state/shared"
	"entra-aws-exporter/rotate/token"
)

// checkTimeout bounds one of doctor's calls.
const checkTimeout = 30 * time.Second

// check is one call that the configuration needs.
type check struct {
	name  string
	run   checkFunc
	as    identity
	needs []string // the permissions of the call, as far as the identity can lack them
}

// by returns the check with the identity that makes its call.
func (c check) by(as identity, needs ...string) check {
	c.as, c.needs = as, needs
	return c
}

// checkFunc makes the call of a check and describes the result. model.ErrSourceOff: the
// configuration does not need the call; the result says why.
type checkFunc func(context.Context) (result string, err error)

// Doctor makes every read-only call that the configuration needs. It prints for each
// whether it works, or why it failed and what to do. only restricts it to one
// connection; "": all. Doctor changes nothing at AWS or Entra but the state itself: there
// it leaves what it found.
func Doctor(ctx context.Context, options Options, only string) error {
	c, err := config.Load(options.ConfigFile)
	if err != nil {
		return err
	}
	selected := c.Connections
	if only != "" {
		connection := c.Connection(only)
		if connection == nil {
			return unknownConnection(c, only)
		}
		selected = []config.Connection{*connection}
	}
	requests := collector.NewRequests()
	store, stateErr := options.openState(c, requests.Observe)
	clients, _, err := options.newClientsAndRotation(c, requests.Observe, store, 1, nil)
	if err != nil {
		return err
	}

	r := &report{out: options.Stdout, causes: map[string]string{}, held: map[string]bool{}}
	section := func(title string, checks []check) {
		if len(checks) > 0 {
			fmt.Fprintln(options.Stdout, title)
			r.run(ctx, checks)
		}
	}
	section(stateChecks(c, store, stateErr))
	for _, tenant := range c.Tenants {
		section("tenant "+tenant.Name, tenantChecks(tenant, clients, selected))
	}
	for _, connection := range selected {
		section("connection "+connection.Name, connectionChecks(c, connection, clients.readers[connection.Name]))
		if connection.Rotation.Mode != model.RotationDisabled {
			section("rotation of "+connection.Name, rotationChecks(c, connection, clients.rotators[connection.Name]))
		}
		if connection.SAML.Rollover.Mode != model.RotationDisabled {
			section("rollover of "+connection.Name, rolloverChecks(c, connection, clients.rollovers[connection.Name]))
		}
	}
	r.printPermissions()
	if r.failures > 0 {
		return errors.New(count(r.failures, "check") + " failed")
	}
	return nil
}

// stateChecks try the state: writing and reading a record and, in AWS, a token value.
func stateChecks(c *config.Config, store *stateStore, opened error) (title string, checks []check) {
	try := func(do func(context.Context) (string, error)) checkFunc {
		return func(ctx context.Context) (string, error) {
			if opened != nil {
				return "", opened
			}
			result, err := do(ctx)
			return result, shared.Cause(err)
		}
	}
	proves := try(func(ctx context.Context) (string, error) { return c.State.Place(), store.check(ctx) })
	switch {
	case !c.State.IsSet():
		return "", nil
	case c.State.AWS == nil:
		return "host", []check{{name: "state directory", run: proves}}
	}
	as := stateIdentity(c.State.AWS)
	checks = []check{check{name: "table", run: proves}.by(as,
		"dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:UpdateItem", "secretsmanager:GetSecretValue")}
	if rotationEnabled(c) {
		checks = append(checks, check{name: "token values", run: try(func(ctx context.Context) (string, error) {
			return "one was stored, read and deleted", tryTokenStore(ctx, store.tokens)
		})}.by(as, "secretsmanager:CreateSecret", "secretsmanager:GetSecretValue", "secretsmanager:DeleteSecret"))
	}
	return "state", checks
}

// tryTokenStore stores a value, reads it and deletes it.
func tryTokenStore(ctx context.Context, tokens token.Store) error {
	key, value := "doctor/"+strings.ToLower(rand.Text()), model.NewSecret("tried by doctor")
	if err := tokens.Reserve(ctx, key); err != nil {
		return err
	}
	err := tokens.Write(ctx, key, value)
	if err == nil {
		var read model.Secret
		if read, err = tokens.Read(ctx, key); err == nil && !read.Equal(value) {
			err = errors.New("the token store returns another value than it got")
		}
	}
	return errors.Join(err, tokens.Destroy(ctx, key))
}

// sourceCheck is a check that these sources need. It makes no call if all are off.
func sourceCheck(every func(model.Source) time.Duration, name string, call checkFunc, sources ...model.Source) check {
	names := make([]string, 0, len(sources))
	for _, source := range sources {
		if every(source) > 0 {
			return check{name: name, run: call}
		}
		names = append(names, string(source))
	}
	return check{name: name, run: func(context.Context) (string, error) {
		return "intervals." + strings.Join(names, ", ") + ": 0", model.ErrSourceOff
	}}
}

func tenantChecks(tenant config.Tenant, clients *clientSet, selected []config.Connection) []check {
	connections := slices.DeleteFunc(slices.Clone(selected), func(c config.Connection) bool { return c.Tenant != tenant.Name })
	if len(connections) == 0 {
		return nil // rotationChecks covers a tenant that only rotation uses
	}
	every := func(source model.Source) time.Duration { return shortestInterval(connections, source) }
	client := clients.tenants[tenant.Name]
	checks := []check{sourceCheck(every, "sign-in, own credentials", func(ctx context.Context) (string, error) {
		credentials, err := client.AppCredentials(ctx)
		return count(len(credentials), "credential"), err
	}, model.SourceAppCredentials).by(entraIdentity(tenant), "Application.Read.All")}
	if tenant.Cloud == model.CloudChina { // has no provisioning log
		return checks
	}
	return append(checks, sourceCheck(every, "provisioning log", func(ctx context.Context) (string, error) {
		entries := 0
		err := client.Events(ctx, time.Now().Add(-time.Hour), time.Now(), func(model.Event) error {
			entries++
			return nil
		})
		return fmt.Sprintf("entries in the last hour: %d", entries), err
	}, model.SourceEvents).by(entraIdentity(tenant), "ProvisioningLog.Read.All"))
}

func connectionChecks(c *config.Config, connection config.Connection, clients connectionClients) []check {
	every := connection.Intervals.Every
	entra, aws := entraIdentity(*c.Tenant(connection.Tenant)), awsIdentity(connection.Name, connection.AWS.RoleARN)
	var finds, lists, reads []string // what discovery, the tokens and Entra's certificates need
	if connection.ServicePrincipalID == "" {
		finds = append(finds, "Application.Read.All")
	}
	if connection.JobID == "" {
		finds = append(finds, "Synchronization.Read.All")
	}
	if connection.Tokens.ReadFrom != model.OriginDeclared {
		lists = []string{"sso:ListInstances", "sso-directory:ListProvisioningTenants"}
	}
	if connection.SAML.ReadFrom == model.EntraCertificatesGraph {
		reads = []string{"Application.Read.All"}
	}
	bindingSources := []model.Source{model.SourceTokens, model.SourceSCIM} // need the AWS half of the binding
	if connection.Tokens.Usage == model.UsageCloudTrail {
		bindingSources = append(bindingSources, model.SourceUsage)
	}
	checks := []check{
		sourceCheck(every, "AWS credentials", func(ctx context.Context) (string, error) {
			account, arn, err := clients.instance.Caller(ctx)
			if err != nil && connection.Tokens.ReadFrom == model.OriginDeclared && connection.Rotation.Mode == model.RotationDisabled {
				return "not needed: the tokens are declared", nil
			}
			return "account " + account + ", " + arn, err
		}, bindingSources...).by(aws),
		sourceCheck(every, "AWS instance and tenant", func(ctx context.Context) (string, error) {
			binding, err := clients.instance.Binding(ctx)
			if err != nil && connection.Tokens.ReadFrom == model.OriginDeclared && connection.Rotation.Mode == model.RotationDisabled {
				return "not needed: the tokens are declared", nil
			}
			return binding.IdentityStoreID + ", " + binding.ProvisioningTenantID, err
		}, bindingSources...).by(aws, lists...),
		sourceCheck(every, "SCIM tokens", func(ctx context.Context) (string, error) {
			list, err := clients.instance.ListTokens(ctx)
			return fmt.Sprintf("%d of %d slots taken, from %s", len(list.Tokens), model.TokenSlots, list.Origin), err
		}, model.SourceTokens).by(aws, ifAny(lists, "sso-directory:ListBearerTokens")...),
		sourceCheck(every, "SCIM endpoint", clients.checkSCIM, model.SourceSCIM).by(aws),
		sourceCheck(every, "Entra application and job", func(ctx context.Context) (string, error) {
			binding, err := clients.application.Binding(ctx)
			return binding.ServicePrincipalID + ", " + binding.JobID, err
		}, model.SourceJob).by(entra, finds...),
		sourceCheck(every, "provisioning job", func(ctx context.Context) (string, error) {
			job, err := clients.application.Job(ctx)
			return string(job.Status), err
		}, model.SourceJob).by(entra, "Synchronization.Read.All"),
		sourceCheck(every, "SAML certificates at Entra", func(ctx context.Context) (string, error) {
			signing, err := clients.application.SigningCertificates(ctx)
			return count(len(signing.Certificates), "certificate"), err
		}, model.SourceCertificates).by(entra, reads...),
	}
	if connection.Tokens.Usage == model.UsageCloudTrail {
		checks = append(checks, sourceCheck(every, "CloudTrail", func(ctx context.Context) (string, error) {
			calls, err := clients.instance.CallsSince(ctx, time.Now().Add(-time.Hour))
			return fmt.Sprintf("SCIM calls in the last hour: %d", len(calls)), err
		}, model.SourceUsage).by(aws, "cloudtrail:LookupEvents"))
	}
	if connection.SAML.AWSCertificates != model.AWSCertificatesNone {
		var trusts []string
		if connection.SAML.AWSCertificates == model.AWSCertificatesConsoleAPI {
			trusts = []string{"sso-directory:ListExternalIdPConfigurationsForDirectory", "sso-directory:ListExternalIdPCertificates"}
		}
		checks = append(checks, sourceCheck(every, "SAML certificates at AWS", func(ctx context.Context) (string, error) {
			trusted, err := clients.instance.TrustedCertificates(ctx)
			return count(len(trusted), "certificate"), err
		}, model.SourceCertificates).by(aws, trusts...))
	}
	return checks
}

// checkSCIM probes the SCIM endpoint. A 403 can mean that the token is valid, but the
// caller's address is not allowed. Only the identity store shows which.
func (c connectionClients) checkSCIM(ctx context.Context) (string, error) {
	answer, err := c.instance.Probe(ctx)
	refused := &model.Error{
		Reason: model.ReasonAuth, Op: "probing the SCIM endpoint", Status: answer.StatusCode,
		Detail: fmt.Sprintf("AWS answered %d", answer.StatusCode),
	}
	switch {
	case errors.Is(err, model.ErrSourceOff):
		return "not probed: no token value is known (set tokens.scim_token_file)", nil
	case err != nil:
		return "", err
	case answer.Accepted():
		return fmt.Sprintf("accepts the token (%d)", answer.StatusCode), nil
	case answer.StatusCode == http.StatusUnauthorized:
		refused.Advice = "the token has expired, was deleted, or belongs to another endpoint: rotate it, or correct tokens.scim_token_file"
	case answer.StatusCode == http.StatusForbidden:
		refused.Reason = model.ReasonPermission
		sources, err := c.instance.SCIMSources(ctx)
		if err != nil {
			refused.Advice = "cannot read which addresses may call the SCIM endpoint: " + err.Error()
			return "", refused
		}
		refused.Advice = "the identity store allows SCIM calls from " + sources.String() + ": check that this host is one of them"
	case answer.StatusCode == http.StatusTooManyRequests:
		refused.Reason, refused.Advice = model.ReasonThrottled, "try again in a minute"
	default:
		refused.Reason = model.ReasonOther
	}
	return "", refused
}

func rotationChecks(c *config.Config, connection config.Connection, clients connectionClients) []check {
	entra, aws := entraIdentity(*c.Tenant(connection.Rotation.Tenant)), awsIdentity(connection.Name, connection.Rotation.RoleARN)
	var lists []string
	if connection.Tokens.ReadFrom != model.OriginDeclared {
		lists = []string{"sso:ListInstances", "sso-directory:ListProvisioningTenants", "sso-directory:ListBearerTokens"}
	}
	lists = append(lists, "sso-directory:DeleteBearerToken")
	if connection.Rotation.Issuer != model.IssuerOperator {
		lists = append(lists, "sso-directory:CreateBearerToken")
	}
	return []check{
		check{name: "Entra application", run: func(ctx context.Context) (string, error) {
			application, err := clients.application.Application(ctx)
			if err == nil && !application.CredentialsReadable {
				return "cannot read the audit log: grant AuditLog.Read.All to see who else changes the credentials", nil
			}
			return "the audit log shows changes of the credentials", err
		}}.by(entra, "Application.Read.All"),
		check{name: "credentials at Entra", run: func(ctx context.Context) (string, error) {
			credentials, err := clients.application.Credentials(ctx)
			return count(len(credentials), "key"), err
		}}.by(entra, "Synchronization.Read.All"),
		check{name: "test connection", run: func(ctx context.Context) (string, error) {
			result, err := clients.application.TestConnection(ctx, nil)
			var failed *model.Error
			if result == model.TestFailed && errors.As(err, &failed) {
				err = &model.Error{
					Reason: model.ReasonAuth, Op: failed.Op, Detail: failed.Detail,
					Advice: "AWS rejects the token that Entra holds: rotate it",
				}
			}
			return string(result), err
		}}.by(entra, "Application.ReadWrite.OwnedBy", ownerOf+cmp.Or(connection.ServicePrincipalID, anyApplication)),
		check{name: "SCIM tokens", run: func(ctx context.Context) (string, error) {
			list, err := clients.instance.ListTokens(ctx)
			return count(len(list.Tokens), "token") + "; create and delete permissions cannot be tested without using them", err
		}}.by(aws, lists...),
	}
}
