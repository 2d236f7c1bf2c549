package entra

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

// ApplicationOptions says which enterprise application a connection has.
type ApplicationOptions struct {
	Connection             string // for logs
	ServicePrincipalID     string // object id; "": found by the gallery template
	JobID                  string // "": the application's job for AWS
	SAMLServicePrincipalID string // of the application that signs users in; "": the same
	SAMLAppID              string // its client id, for the federation metadata; "": read from Graph
	Certificates           model.EntraCertificateSource
}

// Application is one connection's enterprise application.
type Application struct {
	tenant    *Tenant
	options   ApplicationOptions
	discovery *discovery
	logger    *slog.Logger

	mu      sync.Mutex       // never held during a call
	recent  *recentPrincipal // nil: none
	ignored map[string]bool  // certificates that a log line was written about
}

// Application returns one connection's application. It makes no request.
func (t *Tenant) Application(options ApplicationOptions) *Application {
	return &Application{
		tenant: t, options: options, discovery: newDiscovery(t, options), ignored: map[string]bool{},
		logger: t.logger.With("connection", options.Connection),
	}
}

// Binding returns the Entra half of what the connection resolves to.
func (a *Application) Binding(ctx context.Context) (model.Binding, error) {
	principalID, jobID, err := a.discovery.resolve(ctx)
	if err != nil {
		return model.Binding{}, err
	}
	return model.Binding{EntraTenantID: a.tenant.id, ServicePrincipalID: principalID, JobID: jobID}, nil
}

// Rediscover forgets what was discovered and returns the Entra half of what the
// connection resolves to now.
func (a *Application) Rediscover(ctx context.Context) (model.Binding, error) {
	a.discovery.update(func(found *discovered) { *found = discovered{} })
	return a.Binding(ctx)
}

// ignoreOnce writes one line per certificate, not one per poll.
func (a *Application) ignoreOnce(keyID, reason string) {
	a.mu.Lock()
	known := a.ignored[keyID+reason]
	a.ignored[keyID+reason] = true
	a.mu.Unlock()
	if !known {
		a.logger.Warn("ignoring application certificate", "key_id", keyID, "reason", reason)
	}
}

// servicePrincipal is what is read of an application's service principal.
type servicePrincipal struct {
	ID, DisplayName, AppID             string
	ServicePrincipalNames              []string
	PreferredTokenSigningKeyThumbprint string
	PreferredSingleSignOnMode          string
	NotificationEmailAddresses         []string // they never leave this package
	KeyCredentials                     []*keyCredential
}

type keyCredential struct {
	CustomKeyIdentifier, Key   []byte
	KeyID, Type, Usage         string
	DisplayName                string // the subject, of those that Entra made
	StartDateTime, EndDateTime *time.Time
}

// principalProperties are what two sources begin with, the one soon after the other.
const principalProperties = "appId,servicePrincipalNames,preferredTokenSigningKeyThumbprint,preferredSingleSignOnMode,notificationEmailAddresses"

// principalReader reads the principalProperties of a service principal.
type principalReader func(ctx context.Context, op, id string) (servicePrincipal, error)

// freshPrincipal is a principalReader that always asks Entra.
func (a *Application) freshPrincipal(ctx context.Context, op, id string) (servicePrincipal, error) {
	principal, _, err := a.readPrincipal(ctx, op, id, principalProperties)
	return principal, err
}

// recentPrincipal is what one source has read, for the other one.
type recentPrincipal struct {
	servicePrincipal
	id string
	at time.Time
}

// polledPrincipal is a principalReader that takes, once, what the other source has read
// within the last minute.
func (a *Application) polledPrincipal(ctx context.Context, op, id string) (servicePrincipal, error) {
	done, err := a.discovery.waitForOthers(ctx, op)
	if err != nil {
		return servicePrincipal{}, err
	}
	defer done()
	if recent := a.takeRecent(); recent != nil && recent.id == id && time.Since(recent.at) < time.Minute {
		return recent.servicePrincipal, nil
	}
	principal, err := a.freshPrincipal(ctx, op, id)
	if err == nil {
		a.mu.Lock()
		a.recent = &recentPrincipal{principal, id, time.Now()}
		a.mu.Unlock()
	}
	return principal, err
}

func (a *Application) takeRecent() *recentPrincipal {
	a.mu.Lock()
	defer a.mu.Unlock()
	recent := a.recent
	a.recent = nil
	return recent
}

// readPrincipal reads some properties of a service principal.
func (a *Application) readPrincipal(ctx context.Context, op, id, properties string) (principal servicePrincipal, x *cloudhttp.Exchange, err error) {
	call := apiCall{op: op, permission: readApplications, notFound: "check service_principal_id and saml.service_principal_id"}
	x, err = a.tenant.graph.get(ctx, call, "/servicePrincipals/{id}{?%24select}", parameters{"id": id, "%24select": properties}, &principal)
	return principal, x, err
}

// readAppID reads a service principal, with its appId.
func readAppID(ctx context.Context, op, id string, read principalReader) (servicePrincipal, error) {
	application, err := read(ctx, op, id)
	if err == nil && application.AppID == "" {
		err = apiCall{op: op}.invalid(&cloudhttp.Exchange{Status: http.StatusOK}, "an application without appId")
	}
	return application, err
}
