package app

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/entra"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
)

// readings says what is read: the sources of every tenant and connection, from the
// clients that can read them. events is where the provisioning log's counters are kept;
// nil: nowhere.
func readings(c *config.Config, clouds *clientSet, events poller.EventStore, log *slog.Logger) poller.Options {
	options := poller.Options{Logger: log}
	for _, connection := range c.Connections {
		options.Connections = append(options.Connections, poller.Connection{
			Name:            connection.Name,
			Tenant:          connection.Tenant,
			Binding:         configured(c, connection),
			Sources:         switchedOn(connectionSources(connection, clouds.readers[connection.Name])),
			ExcludedSources: unwanted(connection.Intervals),
			Identity:        identity(withoutPolicy(connection), c.Tenant(connection.Tenant), c.HTTPClient),
		})
	}
	for _, tenant := range c.Tenants {
		options.Tenants = append(options.Tenants, poller.Tenant{
			Name:     tenant.Name,
			Sources:  switchedOn(tenantSources(c, tenant, clouds, events, log)),
			Identity: identity(tenant, c.HTTPClient),
		})
	}
	return options
}

// switchedOn leaves out what is never to be read.
func switchedOn(sources []poller.Source) []poller.Source {
	return slices.DeleteFunc(sources, func(source poller.Source) bool { return source.Interval == 0 })
}

// unwanted are the sources of its tenant that a connection does not want.
func unwanted(intervals config.Intervals) []model.Source {
	ofTenants := []model.Source{model.SourceEvents, model.SourceAppCredentials}
	return slices.DeleteFunc(ofTenants, func(source model.Source) bool { return intervals.Every(source) > 0 })
}

func connectionSources(connection config.Connection, ends clients) []poller.Source {
	every := connection.Intervals.Every
	aws := func(source poller.Source) poller.Source {
		return poller.WithBinding(source, ends.instance.Binding, true)
	}
	microsoft := func(source poller.Source) poller.Source {
		return poller.WithBinding(source, ends.application.Binding, true)
	}

	tokens := poller.Tokens(every(model.SourceTokens), ends.instance.ListTokens)
	if connection.Tokens.ReadFrom == model.OriginDeclared { // nothing need be asked
		tokens = poller.WithBinding(tokens, ends.instance.Binding, false)
	} else {
		tokens = aws(tokens)
	}
	sources := []poller.Source{
		tokens,
		poller.SCIM(every(model.SourceSCIM), ends.instance.Probe),
		microsoft(poller.Job(every(model.SourceJob), ends.application.Job)),
	}
	if connection.Tokens.Usage == model.UsageCloudTrail {
		sources = append(sources, aws(poller.Usage(every(model.SourceUsage), ends.instance.Usage)))
	}
	var trusted func(context.Context) ([]model.Certificate, error)
	if connection.SAML.AWSCertificates != model.AWSCertificatesNone {
		trusted = ends.instance.TrustedCertificates
	}
	return append(sources, poller.Certificates(every(model.SourceCertificates), ends.application.SigningCertificates, trusted))
}

// tenantSources are read once per tenant, for those of its connections that want them
// and as often as the most impatient one wants; not at all if none does.
func tenantSources(c *config.Config, tenant config.Tenant, clouds *clientSet, events poller.EventStore, log *slog.Logger) []poller.Source {
	connections := slices.DeleteFunc(slices.Clone(c.Connections), func(c config.Connection) bool { return c.Tenant != tenant.Name })
	every := func(source model.Source) time.Duration { return mostOften(connections, source) }
	client := clouds.tenants[tenant.Name]
	rotators := rotatorsOf(c, tenant, clouds)
	sources := []poller.Source{
		poller.AppCredentials(every(model.SourceAppCredentials), func(ctx context.Context) ([]model.AppCredential, error) {
			return client.AppCredentials(ctx, rotators...)
		}),
	}
	if tenant.Cloud != model.CloudChina { // that cloud has no provisioning log
		sources = append(sources, poller.Events(every(model.SourceEvents), client.Events, events, tenant.Name,
			log.With("entra_tenant", tenant.Name)))
	}
	return sources
}

// mostOften is how often the most impatient connection wants a source; 0: none wants it.
func mostOften(connections []config.Connection, source model.Source) (shortest time.Duration) {
	for _, connection := range connections {
		if interval := connection.Intervals.Every(source); interval > 0 && (shortest == 0 || interval < shortest) {
			shortest = interval
		}
	}
	return shortest
}

// rotatorsOf are the stronger identities with which the rotation acts on a tenant's
// connections. Their credentials expire too.
func rotatorsOf(c *config.Config, tenant config.Tenant, clouds *clientSet) []*entra.Tenant {
	var rotators []*entra.Tenant
	for _, connection := range c.Connections {
		rotator := clouds.tenants[connection.Rotation.Tenant]
		if connection.Tenant == tenant.Name && connection.Rotation.Tenant != tenant.Name && !slices.Contains(rotators, rotator) {
			rotators = append(rotators, rotator)
		}
	}
	return rotators
}

// configured is what the configuration says of a binding; the rest is discovered.
func configured(c *config.Config, connection config.Connection) model.Binding {
	return model.Binding{
		Region:               connection.AWS.Region,
		IdentityStoreID:      connection.AWS.IdentityStoreID,
		ProvisioningTenantID: connection.AWS.ProvisioningTenantID,
		EntraTenantID:        c.Tenant(connection.Tenant).TenantID,
		ServicePrincipalID:   connection.ServicePrincipalID,
		JobID:                connection.JobID,
	}
}

// identity tells whether anything that a reading depends on was edited: it is the
// configuration's own text of the parts.
func identity(parts ...any) string {
	text, err := yaml.Marshal(parts)
	if err != nil {
		panic(err) // they came out of YAML
	}
	return string(text)
}

// withoutPolicy leaves out what may change without making a reading another one.
func withoutPolicy(connection config.Connection) config.Connection {
	connection.Rotation, connection.Intervals = config.Rotation{}, config.Intervals{}
	return connection
}
