package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
)

// checkTimeout bounds one of doctor's calls.
const checkTimeout = 30 * time.Second

// check is one call that the configuration needs.
type check struct {
	name string
	run  checkFunc
}

// checkFunc makes the call of a check and describes the result. model.ErrSourceOff: the
// configuration does not need the call; the result says why.
type checkFunc func(context.Context) (result string, err error)

// Doctor makes every read-only call that the configuration needs. It prints for each
// whether it works, or why it failed and what to do. only restricts it to one
// connection; "": all. Doctor changes nothing at AWS or Entra.
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
	directory, stateErr := openState(c.State)
	clients, _, err := options.newClientsAndRotation(c, collector.NewRequests().Observe, directory, 1, nil)
	if err != nil {
		return err
	}

	failures := 0
	section := func(title string, checks []check) {
		if len(checks) > 0 {
			fmt.Fprintln(options.Stdout, title)
			failures += runChecks(ctx, options.Stdout, checks)
		}
	}
	if root := string(c.State.Directory); root != "" {
		section("host", []check{{"state directory", func(ctx context.Context) (string, error) {
			if stateErr != nil {
				return "", stateErr
			}
			return root, directory.Check(ctx)
		}}})
	}
	for _, tenant := range c.Tenants {
		section("tenant "+tenant.Name, tenantChecks(tenant, clients, selected))
	}
	for _, connection := range selected {
		section("connection "+connection.Name, connectionChecks(connection, clients.readers[connection.Name]))
		if connection.Rotation.Mode != model.RotationDisabled {
			section("rotation of "+connection.Name, rotationChecks(clients.rotators[connection.Name]))
		}
	}
	if failures > 0 {
		return errors.New(count(failures, "check") + " failed")
	}
	return nil
}

// runChecks runs the checks one after the other and returns how many failed.
func runChecks(ctx context.Context, out io.Writer, checks []check) (failures int) {
	for _, current := range checks {
		result, err := func() (string, error) {
			ctx, cancel := context.WithTimeout(ctx, checkTimeout)
			defer cancel()
			return current.run(ctx)
		}()
		switch {
		case err == nil:
			fmt.Fprintf(out, "  ok      %-30s %s\n", current.name, result)
		case errors.Is(err, model.ErrSourceOff):
			fmt.Fprintf(out, "  off     %-30s %s\n", current.name, result)
		default:
			failures++
			fmt.Fprintf(out, "  FAILED  %-30s %s\n", current.name, model.ReasonOf(err))
			fmt.Fprintf(out, "          %v\n", err)
		}
	}
	return failures
}

// sourceCheck is a check that these sources need. It makes no call if all are off.
func sourceCheck(every func(model.Source) time.Duration, name string, call checkFunc, sources ...model.Source) check {
	names := make([]string, 0, len(sources))
	for _, source := range sources {
		if every(source) > 0 {
			return check{name, call}
		}
		names = append(names, string(source))
	}
	return check{name, func(context.Context) (string, error) {
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
	}, model.SourceAppCredentials)}
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
	}, model.SourceEvents))
}

func connectionChecks(connection config.Connection, clients connectionClients) []check {
	every := connection.Intervals.Every
	bindingSources := []model.Source{model.SourceTokens, model.SourceSCIM} // need the AWS half of the binding
	if connection.Tokens.Usage == model.UsageCloudTrail {
		bindingSources = append(bindingSources, model.SourceUsage)
	}
	checks := []check{
		sourceCheck(every, "AWS instance and tenant", func(ctx context.Context) (string, error) {
			binding, err := clients.instance.Binding(ctx)
			if err != nil && connection.Tokens.ReadFrom == model.OriginDeclared && connection.Rotation.Mode == model.RotationDisabled {
				return "not needed: the tokens are declared", nil
			}
			return binding.IdentityStoreID + ", " + binding.ProvisioningTenantID, err
		}, bindingSources...),
		sourceCheck(every, "SCIM tokens", func(ctx context.Context) (string, error) {
			list, err := clients.instance.ListTokens(ctx)
			return fmt.Sprintf("%d of %d slots taken, from %s", len(list.Tokens), model.TokenSlots, list.Origin), err
		}, model.SourceTokens),
		sourceCheck(every, "SCIM endpoint", clients.checkSCIM, model.SourceSCIM),
		sourceCheck(every, "Entra application and job", func(ctx context.Context) (string, error) {
			binding, err := clients.application.Binding(ctx)
			return binding.ServicePrincipalID + ", " + binding.JobID, err
		}, model.SourceJob),
		sourceCheck(every, "provisioning job", func(ctx context.Context) (string, error) {
			job, err := clients.application.Job(ctx)
			return string(job.Status), err
		}, model.SourceJob),
		sourceCheck(every, "SAML certificates at Entra", func(ctx context.Context) (string, error) {
			signing, err := clients.application.SigningCertificates(ctx)
			return count(len(signing.Certificates), "certificate"), err
		}, model.SourceCertificates),
	}
	if connection.Tokens.Usage == model.UsageCloudTrail {
		checks = append(checks, sourceCheck(every, "CloudTrail", func(ctx context.Context) (string, error) {
			calls, err := clients.instance.CallsSince(ctx, time.Now().Add(-time.Hour))
			return fmt.Sprintf("SCIM calls in the last hour: %d", len(calls)), err
		}, model.SourceUsage))
	}
	if connection.SAML.AWSCertificates != model.AWSCertificatesNone {
		checks = append(checks, sourceCheck(every, "SAML certificates at AWS", func(ctx context.Context) (string, error) {
			trusted, err := clients.instance.TrustedCertificates(ctx)
			return count(len(trusted), "certificate"), err
		}, model.SourceCertificates))
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

func rotationChecks(clients connectionClients) []check {
	return []check{
		{"Entra application", func(ctx context.Context) (string, error) {
			application, err := clients.application.Application(ctx)
			if err == nil && !application.CredentialsReadable {
				return "cannot read the audit log: grant AuditLog.Read.All to see who else changes the credentials", nil
			}
			return "the audit log shows changes of the credentials", err
		}},
		{"credentials at Entra", func(ctx context.Context) (string, error) {
			credentials, err := clients.application.Credentials(ctx)
			return count(len(credentials), "key"), err
		}},
		{"test connection", func(ctx context.Context) (string, error) {
			result, err := clients.application.TestConnection(ctx, nil)
			var failed *model.Error
			if result == model.TestFailed && errors.As(err, &failed) {
				err = &model.Error{
					Reason: model.ReasonAuth, Op: failed.Op, Detail: failed.Detail,
					Advice: "AWS rejects the token that Entra holds: rotate it",
				}
			}
			return string(result), err
		}},
		{"SCIM tokens", func(ctx context.Context) (string, error) {
			list, err := clients.instance.ListTokens(ctx)
			return count(len(list.Tokens), "token") + "; create and delete permissions cannot be tested without using them", err
		}},
	}
}
