package entra

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

const (
	// GalleryTemplate is "AWS IAM Identity Center (successor to AWS Single Sign-On)"
	// in Entra's application gallery.
	// https://learn.microsoft.com/entra/identity/saas-apps/aws-single-sign-on-tutorial
	GalleryTemplate = "21ed01d2-ec13-4e9e-86c1-cd546719ebc4"
	jobTemplate     = "aWSSingleSignon"
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

// Application is one connection's enterprise application. It keeps what it discovers
// until Entra says that it no longer exists.
type Application struct {
	tenant  *Tenant
	options ApplicationOptions
	logger  *slog.Logger

	discovering chan struct{} // full while a source discovers

	mu      sync.Mutex // never held during a call
	found   discovered
	recent  *recentPrincipal // nil: none
	ignored map[string]bool  // certificates that a log line was written about
}

// discovered is what the config leaves open.
type discovered struct{ servicePrincipal, job, template, samlAppID string }

// Application returns one connection's application. It makes no request.
func (t *Tenant) Application(options ApplicationOptions) *Application {
	return &Application{
		tenant: t, options: options, discovering: make(chan struct{}, 1), ignored: map[string]bool{},
		logger: t.logger.With("connection", options.Connection),
	}
}

// Binding returns the Entra half of what the connection resolves to.
func (a *Application) Binding(ctx context.Context) (model.Binding, error) {
	principalID, jobID, err := a.resolve(ctx)
	if err != nil {
		return model.Binding{}, err
	}
	return model.Binding{EntraTenantID: a.tenant.id, ServicePrincipalID: principalID, JobID: jobID}, nil
}

// Rediscover forgets what was discovered and returns the Entra half of what the
// connection resolves to now.
func (a *Application) Rediscover(ctx context.Context) (model.Binding, error) {
	a.update(func(found *discovered) { *found = discovered{} })
	return a.Binding(ctx)
}

// resolve returns the ids of the service principal and of the job.
func (a *Application) resolve(ctx context.Context) (principalID, jobID string, err error) {
	if principalID, err = a.principalID(ctx); err != nil {
		return "", "", err
	}
	if a.options.JobID != "" {
		return principalID, a.options.JobID, nil
	}
	jobID, err = a.discover(ctx, func(found *discovered) *string { return &found.job }, func() (string, error) {
		return a.discoverJob(ctx, principalID)
	})
	if err != nil {
		return "", "", a.forgetIfGone(err)
	}
	return principalID, jobID, nil
}

// discover returns what is cached, or finds it. Of several sources one asks Entra, and the
// others wait for what it finds.
func (a *Application) discover(ctx context.Context, part func(*discovered) *string, find func() (string, error)) (string, error) {
	cached := func() string { found := a.cached(); return *part(&found) }
	if id := cached(); id != "" {
		return id, nil
	}
	done, err := a.waitForOthers(ctx, "looking for the AWS application and its job")
	if err != nil {
		return "", err
	}
	defer done()
	if id := cached(); id != "" {
		return id, nil
	}
	id, err := find()
	if err == nil {
		a.update(func(found *discovered) { *part(found) = id })
	}
	return id, err
}

// waitForOthers waits until no other source asks Entra for what both need.
func (a *Application) waitForOthers(ctx context.Context, op string) (done func(), err error) {
	select {
	case a.discovering <- struct{}{}:
		return func() { <-a.discovering }, nil
	case <-ctx.Done():
		failed := cloudhttp.Classify(ctx.Err())
		failed.Op, failed.Unsent = op, true
		return nil, failed
	}
}

const jobPath = "/servicePrincipals/{id}/synchronization/jobs/{job}"

// jobParameters fills in jobPath.
func (a *Application) jobParameters(ctx context.Context) (parameters, error) {
	principalID, jobID, err := a.resolve(ctx)
	return parameters{"id": principalID, "job": jobID}, err
}

func (a *Application) principalID(ctx context.Context) (string, error) {
	if a.options.ServicePrincipalID != "" {
		return a.options.ServicePrincipalID, nil
	}
	return a.discover(ctx, func(found *discovered) *string { return &found.servicePrincipal }, func() (string, error) {
		return a.tenant.discoverApplication(ctx)
	})
}

// samlPrincipalID is the application that signs users in to AWS.
func (a *Application) samlPrincipalID(ctx context.Context) (string, error) {
	if a.options.SAMLServicePrincipalID != "" {
		return a.options.SAMLServicePrincipalID, nil
	}
	return a.principalID(ctx)
}

func (a *Application) cached() discovered {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.found
}

func (a *Application) update(set func(*discovered)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	set(&a.found)
}

// forgetIfGone returns the error. If it is not_found, what was discovered is forgotten.
func (a *Application) forgetIfGone(err error) error {
	if model.ReasonOf(err) == model.ReasonNotFound {
		a.update(func(found *discovered) { *found = discovered{} })
	}
	return err
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
	done, err := a.waitForOthers(ctx, op)
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

// discoverApplication finds the only application made from AWS's gallery template.
func (t *Tenant) discoverApplication(ctx context.Context) (string, error) {
	call := apiCall{op: "looking for the AWS application", permission: readApplications}
	applications, _, err := getList[servicePrincipal](ctx, t.graph, call, "/servicePrincipals{?%24filter,%24select,%24count}",
		parameters{"%24filter": "applicationTemplateId eq '" + GalleryTemplate + "'", "%24select": "id,displayName"})
	if err != nil {
		return "", err
	}
	var ids, names []string
	for _, application := range applications {
		if application == nil || application.ID == "" {
			continue
		}
		ids = append(ids, application.ID)
		names = append(names, fmt.Sprintf("%q (%s)", application.DisplayName, application.ID))
	}
	return exactlyOne(call, ids, names,
		"tenant "+t.name+" has no application made from the gallery's AWS IAM Identity Center", "applications made from the gallery's AWS IAM Identity Center",
		"set service_principal_id to the object id of the enterprise application")
}

// discoverJob finds the application's only job that provisions AWS.
func (a *Application) discoverJob(ctx context.Context, principalID string) (string, error) {
	call := apiCall{
		op: "looking for the provisioning job", permission: readJobs,
		notFound: "check service_principal_id: it is the object id of the enterprise application",
	}
	jobs, _, err := getList[struct{ ID, TemplateID string }](ctx, a.tenant.graph, call,
		"/servicePrincipals/{id}/synchronization/jobs", parameters{"id": principalID})
	if err != nil {
		return "", err
	}
	var ids, others []string
	for _, job := range jobs {
		switch {
		case job == nil || job.ID == "":
		case strings.EqualFold(job.TemplateID, jobTemplate):
			ids = append(ids, job.ID)
		default:
			others = append(others, fmt.Sprintf("%s of template %q", job.ID, job.TemplateID))
		}
	}
	none := "application " + principalID + " has no provisioning job for AWS"
	advice := "set up automatic provisioning in Entra, or set job_id"
	if len(others) > 0 {
		none += ", only " + strings.Join(others, ", ")
	}
	if len(ids) > 1 {
		advice = "set job_id to one of them"
	}
	return exactlyOne(call, ids, ids, none, "provisioning jobs for AWS in application "+principalID, advice)
}

// exactlyOne returns the only candidate, or an error that lists them and says what to set.
func exactlyOne(call apiCall, ids, names []string, none, many, advice string) (string, error) {
	switch len(ids) {
	case 1:
		return ids[0], nil
	case 0:
		return "", &model.Error{Reason: model.ReasonNotFound, Op: call.op, Detail: none, Advice: advice}
	default:
		return "", &model.Error{
			Reason: model.ReasonAmbiguous, Op: call.op, Advice: advice,
			Detail: fmt.Sprintf("%d %s: %s", len(names), many, strings.Join(names, ", ")),
		}
	}
}
