package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/bridge"
	"entra-aws-exporter/internal/config"
)

// callTimeout bounds one of doctor's calls.
const callTimeout = 30 * time.Second

// check is one call that the configuration needs.
type check struct {
	name string
	try  func(context.Context) (found string, err error)
}

// Doctor tries every call that the configuration needs, read-only, and prints for each
// that it works, or why not and what to do. Nothing is changed, at either cloud.
func Doctor(ctx context.Context, options Options) error {
	c, err := config.Load(options.ConfigFile)
	if err != nil {
		return err
	}
	built, err := options.connect(c, collector.NewRequests().Observe, noValue)
	if err != nil {
		return err
	}
	failures := 0
	for _, tenant := range c.Tenants {
		fmt.Fprintf(options.Stdout, "tenant %s\n", tenant.Name)
		failures += run(ctx, options.Stdout, tenantChecks(tenant, built))
	}
	for _, connection := range c.Connections {
		fmt.Fprintf(options.Stdout, "connection %s\n", connection.Name)
		failures += run(ctx, options.Stdout, connectionChecks(connection, built))
	}
	if failures > 0 {
		return fmt.Errorf("%d of the calls above failed", failures)
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
		if err == nil {
			fmt.Fprintf(out, "  ok      %-32s %s\n", check.name, found)
			continue
		}
		failures++
		fmt.Fprintf(out, "  FAILED  %-32s %s\n", check.name, bridge.ReasonOf(err))
		fmt.Fprintf(out, "          %v\n", err)
	}
	return failures
}

func tenantChecks(tenant config.Tenant, clouds *clouds) []check {
	client := clouds.tenants[tenant.Name]
	checks := []check{{"sign-in, own credentials", func(ctx context.Context) (string, error) {
		credentials, err := client.AppCredentials(ctx)
		return fmt.Sprintf("%d credentials", len(credentials)), err
	}}}
	if tenant.Cloud == config.CloudChina {
		return checks
	}
	return append(checks, check{"provisioning log", func(ctx context.Context) (string, error) {
		count := 0
		err := client.Events(ctx, time.Now().Add(-time.Hour), time.Now(), func(bridge.Event) error {
			count++
			return nil
		})
		return fmt.Sprintf("%d entries of the last hour", count), err
	}})
}

func connectionChecks(connection config.Connection, clouds *clouds) []check {
	reader := clouds.readers[connection.Name]
	checks := []check{
		{"AWS instance and tenant", func(ctx context.Context) (string, error) {
			binding, err := reader.instance.Binding(ctx)
			return binding.IdentityStoreID + ", " + binding.ProvisioningTenantID, err
		}},
		{"SCIM tokens", func(ctx context.Context) (string, error) {
			list, err := reader.instance.ListTokens(ctx)
			return fmt.Sprintf("%d of %d slots taken, from %s", len(list.Tokens), list.Slots, list.Origin), err
		}},
		{"SCIM endpoint", func(ctx context.Context) (string, error) {
			probe, err := reader.instance.Probe(ctx)
			if errors.Is(err, bridge.ErrOff) {
				return "not probed: no token value is known (tokens.scim_token_file)", nil
			}
			if err == nil && !probe.Accepted() {
				err = fmt.Errorf("the endpoint answered %d to the token", probe.StatusCode)
			}
			return fmt.Sprintf("answered %d", probe.StatusCode), err
		}},
		{"Entra application and job", func(ctx context.Context) (string, error) {
			binding, err := reader.application.Binding(ctx)
			return binding.ServicePrincipalID + ", " + binding.JobID, err
		}},
		{"provisioning job", func(ctx context.Context) (string, error) {
			job, err := reader.application.Job(ctx)
			return string(job.Status), err
		}},
		{"SAML certificates at Entra", func(ctx context.Context) (string, error) {
			signing, err := reader.application.SigningCertificates(ctx)
			return fmt.Sprintf("%d certificates", len(signing.Certificates)), err
		}},
	}
	if connection.Tokens.Usage == config.UsageCloudTrail {
		checks = append(checks, check{"CloudTrail", func(ctx context.Context) (string, error) {
			calls, err := reader.instance.CallsSince(ctx, time.Now().Add(-time.Hour))
			return fmt.Sprintf("%d SCIM calls of the last hour", len(calls)), err
		}})
	}
	if connection.SAML.AWSCertificates != config.AWSCertificatesNone {
		checks = append(checks, check{"SAML certificates at AWS", func(ctx context.Context) (string, error) {
			trusted, err := reader.instance.TrustedCertificates(ctx)
			return fmt.Sprintf("%d certificates", len(trusted)), err
		}})
	}
	if connection.Rotation.Mode == bridge.RotationDisabled {
		return checks
	}
	rotator := clouds.rotators[connection.Name]
	return append(checks,
		check{"rotation: credentials at Entra", func(ctx context.Context) (string, error) {
			credentials, err := rotator.application.Credentials(ctx)
			return fmt.Sprintf("%d keys", len(credentials)), err
		}},
		check{"rotation: test connection", func(ctx context.Context) (string, error) {
			verdict, err := rotator.application.TestConnection(ctx, nil)
			return string(verdict), err
		}},
		check{"rotation: SCIM tokens", func(ctx context.Context) (string, error) {
			list, err := rotator.instance.ListTokens(ctx)
			return fmt.Sprintf("%d tokens; creating and deleting cannot be tried without doing it", len(list.Tokens)), err
		}},
	)
}
