package app

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"slices"
	"sync"
	"time"

	"gopkg.in/yaml.v3"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/entra"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
)

// pollerOptions lists the sources of every tenant and connection for the poller. events
// stores the counters of the provisioning log; nil: they are not persisted.
func pollerOptions(c *config.Config, clients *clientSet, events poller.EventStore, replica poller.Replica, log *slog.Logger) poller.Options {
	options := poller.Options{Logger: log}
	for _, connection := range c.Connections {
		options.Connections = append(options.Connections, poller.Connection{
			Name:            connection.Name,
			Tenant:          connection.Tenant,
			Binding:         configuredBinding(c, connection),
			Sources:         enabledSources(connectionSources(connection, clients.readers[connection.Name], events, replica, log)),
			ExcludedSources: excludedSources(connection.Intervals),
			Identity:        fingerprint(withoutPolicy(connection), c.Tenant(connection.Tenant), c.HTTPClient),
		})
	}
	for _, tenant := range c.Tenants {
		options.Tenants = append(options.Tenants, poller.Tenant{
			Name:     tenant.Name,
			Sources:  enabledSources(tenantSources(c, tenant, clients, events, replica, log)),
			Identity: fingerprint(tenant, c.HTTPClient),
		})
	}
	return options
}

// enabledSources leaves out the sources whose interval is 0.
func enabledSources(sources []poller.Source) []poller.Source {
	return slices.DeleteFunc(sources, func(source poller.Source) bool { return source.Interval == 0 })
}

// excludedSources are the sources of the tenant that a connection has switched off.
func excludedSources(intervals config.Intervals) []model.Source {
	ofTenants := []model.Source{model.SourceEvents, model.SourceAppCredentials}
	return slices.DeleteFunc(ofTenants, func(source model.Source) bool { return intervals.Every(source) > 0 })
}

func connectionSources(connection config.Connection, clients connectionClients, store poller.EventStore, replica poller.Replica, log *slog.Logger) []poller.Source {
	every := connection.Intervals.Every
	aws := func(source poller.Source) poller.Source {
		return poller.WithBinding(source, clients.instance.Binding, true)
	}
	microsoft := func(source poller.Source) poller.Source {
		return poller.WithBinding(source, clients.application.Binding, true)
	}

	tokens := poller.Tokens(every(model.SourceTokens), clients.instance.ListTokens)
	if connection.Tokens.ReadFrom == model.OriginDeclared { // then the list needs no call
		tokens = poller.WithBinding(tokens, clients.instance.Binding, false)
	} else {
		tokens = aws(tokens)
	}
	sources := []poller.Source{
		tokens,
		poller.SCIM(every(model.SourceSCIM), clients.instance.Probe),
		microsoft(poller.Job(every(model.SourceJob), clients.application.Job)),
	}
	if connection.Tokens.Usage == model.UsageCloudTrail {
		sources = append(sources, aws(poller.Usage(every(model.SourceUsage), clients.instance, store, "usage."+connection.Name, replica, log.With("connection", connection.Name))))
	}
	var trusted func(context.Context) ([]model.Certificate, error)
	if connection.SAML.AWSCertificates != model.AWSCertificatesNone {
		trusted = clients.instance.TrustedCertificates
	}
	return append(sources, poller.Certificates(every(model.SourceCertificates), clients.application.PolledCertificates, trusted))
}

// tenantSources are polled once for all connections of a tenant, at the shortest of
// their intervals.
func tenantSources(c *config.Config, tenant config.Tenant, clients *clientSet, events poller.EventStore, replica poller.Replica, log *slog.Logger) []poller.Source {
	connections := slices.DeleteFunc(slices.Clone(c.Connections), func(c config.Connection) bool { return c.Tenant != tenant.Name })
	every := func(source model.Source) time.Duration { return shortestInterval(connections, source) }
	client := clients.tenants[tenant.Name]
	rotators := rotationTenants(c, tenant, clients)
	sources := []poller.Source{
		poller.AppCredentials(every(model.SourceAppCredentials), func(ctx context.Context) ([]model.AppCredential, error) {
			return client.AppCredentials(ctx, rotators...)
		}),
	}
	if tenant.Cloud != model.CloudChina { // has no provisioning log
		sources = append(sources, poller.Events(every(model.SourceEvents), client.Events, events, tenant.Name, replica,
			log.With("entra_tenant", tenant.Name)))
	}
	return sources
}

// shortestInterval is the shortest interval of a source; 0: every connection has it off.
func shortestInterval(connections []config.Connection, source model.Source) (shortest time.Duration) {
	for _, connection := range connections {
		if interval := connection.Intervals.Every(source); interval > 0 && (shortest == 0 || interval < shortest) {
			shortest = interval
		}
	}
	return shortest
}

// rotationTenants are the stronger identities that rotation uses for a tenant's
// connections. Their credentials expire too.
func rotationTenants(c *config.Config, tenant config.Tenant, clients *clientSet) []*entra.Tenant {
	var rotators []*entra.Tenant
	for _, connection := range c.Connections {
		for _, name := range []string{connection.Rotation.Tenant, connection.SAML.Rollover.Tenant} {
			if connection.Tenant == tenant.Name && name != tenant.Name && !slices.Contains(rotators, clients.tenants[name]) {
				rotators = append(rotators, clients.tenants[name])
			}
		}
	}
	return rotators
}

// configuredBinding is the part of a binding that is configured; the rest is discovered.
func configuredBinding(c *config.Config, connection config.Connection) model.Binding {
	return model.Binding{
		Region:               connection.AWS.Region,
		IdentityStoreID:      connection.AWS.IdentityStoreID,
		ProvisioningTenantID: connection.AWS.ProvisioningTenantID,
		EntraTenantID:        c.Tenant(connection.Tenant).TenantID,
		ServicePrincipalID:   connection.ServicePrincipalID,
		JobID:                connection.JobID,
	}
}

// fingerprint changes when a reload changes these parts of the configuration. The poller
// then drops the snapshot.
func fingerprint(parts ...any) string {
	text, err := yaml.Marshal(parts)
	if err != nil {
		panic(err) // the parts were decoded from YAML
	}
	sum := sha256.Sum256(text)
	return string(sum[:])
}

// withoutPolicy leaves out what does not affect the results of a poll.
func withoutPolicy(connection config.Connection) config.Connection {
	connection.Rotation, connection.SAML.Rollover, connection.Intervals = config.Rotation{}, config.Rollover{}, config.Intervals{}
	return connection
}

// pollTimeout bounds the one poll of every source that a command makes.
const pollTimeout = 90 * time.Second

// pollOnce runs a poller until it has tried every source, or until the timeout: then the
// sources that have answered are enough.
func pollOnce(ctx context.Context, p *poller.Poller) error {
	polling, stop := context.WithTimeout(ctx, pollTimeout)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { p.Run(polling) })
	for !p.Ready() {
		select {
		case <-polling.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}
