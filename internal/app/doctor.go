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
	"entra-aws-exporter/internal/state"
)

// callTimeout bounds one of doctor's calls.
const callTimeout = 30 * time.Second

// check is one call that the configuration needs.
type check struct {
	name string
	try  attempt
}

// attempt makes a check's call; model.ErrOff: the configuration does not want it, and
// found says why.
type attempt func(context.Context) (found string, err error)

// reading is the check of what these sources need; with all of them switched off it is
// not tried.
func reading(every func(model.Source) time.Duration, name string, try attempt, sources ...model.Source) check {
	names := make([]string, 0, len(sources))
	for _, source := range sources {
		if every(source) > 0 {
			return check{name, try}
		}
		names = append(names, string(source))
	}
	return check{name, func(context.Context) (string, error) {
		return "intervals." + strings.Join(names, ", ") + ": 0", model.ErrSourceOff
	}}
}

// doctor tries what a configuration needs.
type doctor struct {
	config    *config.Config
	meant     []config.Connection
	clouds    *clientSet
	directory *state.Directory // nil: there is none, or it cannot be used
	unusable  error            // why it cannot
}

// Doctor tries every call that the configuration needs, read-only, and prints for each
// that it works, or why not and what to do. only is the connection that is meant; "": all.
// Nothing is changed, at either cloud.
func Doctor(ctx context.Context, options Options, only string) error {
	c, err := config.Load(options.ConfigFile)
	if err != nil {
		return err
	}
	if only != "" && c.Connection(only) == nil {
		return noConnection(c, only)
	}
	d := &doctor{config: c, meant: c.Connections}
	if only != "" {
		d.meant = []config.Connection{*c.Connection(only)}
	}
	d.directory, d.unusable = openState(c.State)
	if d.clouds, _, err = options.connectWithVault(c, collector.NewRequests().Observe, d.directory, nil); err != nil {
		return err
	}

	failures := 0
	examine := func(what string, checks []check) {
		if len(checks) > 0 {
			fmt.Fprintln(options.Stdout, what)
			failures += run(ctx, options.Stdout, checks)
		}
	}
	examine("this machine", d.ownChecks())
	for _, tenant := range c.Tenants {
		examine("tenant "+tenant.Name, d.tenantChecks(tenant))
	}
	for _, connection := range d.meant {
		examine("connection "+connection.Name, d.connectionChecks(connection))
	}
	if failures > 0 {
		return fmt.Errorf("%d of the checks above failed", failures)
	}
	return nil
}

// run tries the checks one after the other and returns how many failed.
func run(ctx context.Context, out io.Writer, checks []check) (failures int) {
	for _, check := range checks {
		found, err := func() (string, error) {
			ctx, cancel := context.WithTimeout(ctx, callTimeout)
			defer cancel()
			return check.try(ctx)
		}()
		switch {
		case err == nil:
			fmt.Fprintf(out, "  ok      %-30s %s\n", check.name, found)
		case errors.Is(err, model.ErrSourceOff):
			fmt.Fprintf(out, "  off     %-30s %s\n", check.name, found)
		default:
			failures++
			fmt.Fprintf(out, "  FAILED  %-30s %s\n", check.name, model.ReasonOf(err))
			fmt.Fprintf(out, "          %v\n", err)
		}
	}
	return failures
}

func (d *doctor) ownChecks() []check {
	if d.config.State.Directory == "" {
		return nil
	}
	return []check{{"state directory", func(ctx context.Context) (string, error) {
		if d.unusable != nil {
			return "", d.unusable
		}
		return string(d.config.State.Directory), d.directory.Check(ctx)
	}}}
}

func (d *doctor) tenantChecks(tenant config.Tenant) []check {
	readers := slices.DeleteFunc(slices.Clone(d.meant), func(c config.Connection) bool { return c.Tenant != tenant.Name })
	if len(readers) == 0 {
		return nil // what a rotation alone does with it is checked with the connection
	}
	every := func(source model.Source) time.Duration { return mostOften(readers, source) }
	client := d.clouds.tenants[tenant.Name]
	checks := []check{reading(every, "sign-in, own credentials", func(ctx context.Context) (string, error) {
		credentials, err := client.AppCredentials(ctx)
		return count(len(credentials), "credential"), err
	}, model.SourceAppCredentials)}
	if tenant.Cloud == model.CloudChina {
		return checks
	}
	return append(checks, reading(every, "provisioning log", func(ctx context.Context) (string, error) {
		entries := 0
		err := client.Events(ctx, time.Now().Add(-time.Hour), time.Now(), func(model.Event) error {
			entries++
			return nil
		})
		if entries == 1 {
			return "1 entry of the last hour", err
		}
		return fmt.Sprintf("%d entries of the last hour", entries), err
	}, model.SourceEvents))
}

func (d *doctor) connectionChecks(connection config.Connection) []check {
	reader, every := d.clouds.readers[connection.Name], connection.Intervals.Every
	bound := []model.Source{model.SourceTokens, model.SourceSCIM} // by AWS's half of the binding
	if connection.Tokens.Usage == model.UsageCloudTrail {
		bound = append(bound, model.SourceUsage)
	}
	checks := []check{
		reading(every, "AWS instance and tenant", func(ctx context.Context) (string, error) {
			binding, err := reader.instance.Binding(ctx)
			if err != nil && connection.Tokens.ReadFrom == model.OriginDeclared && connection.Rotation.Mode == model.RotationDisabled {
				return "not needed: the tokens are declared", nil
			}
			return binding.IdentityStoreID + ", " + binding.ProvisioningTenantID, err
		}, bound...),
		reading(every, "SCIM tokens", func(ctx context.Context) (string, error) {
			list, err := reader.instance.ListTokens(ctx)
			return fmt.Sprintf("%d of %d slots taken, from %s", len(list.Tokens), model.TokenSlots, list.Origin), err
		}, model.SourceTokens),
		reading(every, "SCIM endpoint", func(ctx context.Context) (string, error) { return probe(ctx, reader) }, model.SourceSCIM),
		reading(every, "Entra application and job", func(ctx context.Context) (string, error) {
			binding, err := reader.application.Binding(ctx)
			return binding.ServicePrincipalID + ", " + binding.JobID, err
		}, model.SourceJob),
		reading(every, "provisioning job", func(ctx context.Context) (string, error) {
			job, err := reader.application.Job(ctx)
			return string(job.Status), err
		}, model.SourceJob),
		reading(every, "SAML certificates at Entra", func(ctx context.Context) (string, error) {
			signing, err := reader.application.SigningCertificates(ctx)
			return count(len(signing.Certificates), "certificate"), err
		}, model.SourceCertificates),
	}
	if connection.Tokens.Usage == model.UsageCloudTrail {
		checks = append(checks, reading(every, "CloudTrail", func(ctx context.Context) (string, error) {
			calls, err := reader.instance.CallsSince(ctx, time.Now().Add(-time.Hour))
			return count(len(calls), "SCIM call") + " of the last hour", err
		}, model.SourceUsage))
	}
	if connection.SAML.AWSCertificates != model.AWSCertificatesNone {
		checks = append(checks, reading(every, "SAML certificates at AWS", func(ctx context.Context) (string, error) {
			trusted, err := reader.instance.TrustedCertificates(ctx)
			return count(len(trusted), "certificate"), err
		}, model.SourceCertificates))
	}
	if connection.Rotation.Mode == model.RotationDisabled {
		return checks
	}
	return append(checks, rotationChecks(d.clouds.rotators[connection.Name])...)
}

// probe calls the SCIM endpoint. What AWS refuses with 403 may be a good token from an
// address that it does not take calls from, which only the identity store can tell.
func probe(ctx context.Context, ends clients) (string, error) {
	answer, err := ends.instance.Probe(ctx)
	refused := &model.Error{
		Reason: model.ReasonAuth, Op: "probing the SCIM endpoint", Status: answer.StatusCode,
		Detail: fmt.Sprintf("AWS answers %d to the token", answer.StatusCode),
	}
	switch {
	case errors.Is(err, model.ErrSourceOff):
		return "not probed: no token value is known (tokens.scim_token_file)", nil
	case err != nil:
		return "", err
	case answer.Accepted():
		return fmt.Sprintf("accepts the token (%d)", answer.StatusCode), nil
	case answer.StatusCode == http.StatusUnauthorized:
		refused.Advice = "it has expired, was deleted or belongs to another endpoint: rotate it, or correct tokens.scim_token_file"
	case answer.StatusCode == http.StatusForbidden:
		refused.Reason = model.ReasonPermission
		sources, err := ends.instance.SCIMSources(ctx)
		if err != nil {
			refused.Advice = "whether it takes SCIM calls from this machine could not be seen: " + err.Error()
			return "", refused
		}
		refused.Advice = "the identity store takes SCIM calls from " + sources.String() + ": is this machine among them?"
	case answer.StatusCode == http.StatusTooManyRequests:
		refused.Reason, refused.Advice = model.ReasonThrottled, "try again in a minute"
	default:
		refused.Reason = model.ReasonOther
	}
	return "", refused
}

func rotationChecks(rotator clients) []check {
	return []check{
		{"rotation: application", func(ctx context.Context) (string, error) {
			application, err := rotator.application.Application(ctx)
			if err == nil && !application.CredentialsReadable {
				return "the directory audit cannot be read: AuditLog.Read.All would show who else changes the credentials", nil
			}
			return "changes of the credentials are seen in the directory audit", err
		}},
		{"rotation: credentials at Entra", func(ctx context.Context) (string, error) {
			credentials, err := rotator.application.Credentials(ctx)
			return count(len(credentials), "key"), err
		}},
		{"rotation: test connection", func(ctx context.Context) (string, error) {
			verdict, err := rotator.application.TestConnection(ctx, nil)
			var failed *model.Error
			if verdict == model.TestFailed && errors.As(err, &failed) {
				err = &model.Error{
					Reason: model.ReasonAuth, Op: failed.Op, Detail: failed.Detail,
					Advice: "AWS refuses the token that Entra holds: rotate it",
				}
			}
			return string(verdict), err
		}},
		{"rotation: SCIM tokens", func(ctx context.Context) (string, error) {
			list, err := rotator.instance.ListTokens(ctx)
			return count(len(list.Tokens), "token") + "; creating and deleting cannot be tried without doing it", err
		}},
	}
}
