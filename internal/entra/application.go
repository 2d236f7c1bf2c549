package entra

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/microsoftgraph/msgraph-sdk-go/models"

	"entra-aws-exporter/internal/model"
)

const (
	// galleryTemplate is "AWS IAM Identity Center (successor to AWS Single Sign-On)"
	// in Entra's application gallery.
	// https://learn.microsoft.com/entra/identity/saas-apps/aws-single-sign-on-tutorial
	galleryTemplate = "21ed01d2-ec13-4e9e-86c1-cd546719ebc4"
	jobTemplate     = "aWSSingleSignon"
)

// ApplicationOptions says which enterprise application a connection means.
type ApplicationOptions struct {
	Connection             string // for logs
	ServicePrincipalID     string // object id; "": found by the gallery template
	JobID                  string // "": the application's job for AWS
	SAMLServicePrincipalID string // of the application that signs people in; "": the same
	SAMLAppID              string // its client id, for the federation metadata; "": asked of Graph
	Certificates           model.EntraCertificateSource
}

// Application is one connection's enterprise application. What it discovers it keeps,
// until Entra says that it is no longer there.
type Application struct {
	tenant  *Tenant
	options ApplicationOptions
	logger  *slog.Logger

	mu      sync.Mutex // never held during a call
	found   discovered
	leftOut map[string]bool // certificates that a log line was written about
}

// discovered is what the config leaves open.
type discovered struct{ servicePrincipal, job, template, samlAppID string }

// Application returns one connection's application; it makes no request.
func (t *Tenant) Application(options ApplicationOptions) *Application {
	if options.Certificates == "" {
		options.Certificates = model.EntraCertificatesGraph
	}
	return &Application{
		tenant: t, options: options, leftOut: map[string]bool{},
		logger: t.logger.With("connection", options.Connection),
	}
}

// Binding returns the Entra half of what the connection resolves to.
func (a *Application) Binding(ctx context.Context) (model.Binding, error) {
	servicePrincipal, job, err := a.resolve(ctx)
	if err != nil {
		return model.Binding{}, err
	}
	return model.Binding{EntraTenantID: a.tenant.id, ServicePrincipalID: servicePrincipal, JobID: job}, nil
}

// Rediscover forgets what was discovered and returns the Entra half of what the
// connection resolves to now.
func (a *Application) Rediscover(ctx context.Context) (model.Binding, error) {
	a.learn(func(found *discovered) { *found = discovered{} })
	return a.Binding(ctx)
}

// resolve returns service principal and job.
func (a *Application) resolve(ctx context.Context) (servicePrincipal, job string, err error) {
	if servicePrincipal, err = a.servicePrincipal(ctx); err != nil {
		return "", "", err
	}
	if a.options.JobID != "" {
		return servicePrincipal, a.options.JobID, nil
	}
	if job = a.known().job; job != "" {
		return servicePrincipal, job, nil
	}
	if job, err = a.discoverJob(ctx, servicePrincipal); err != nil {
		return "", "", a.notFound(err)
	}
	a.learn(func(found *discovered) { found.job = job })
	return servicePrincipal, job, nil
}

func (a *Application) servicePrincipal(ctx context.Context) (string, error) {
	if a.options.ServicePrincipalID != "" {
		return a.options.ServicePrincipalID, nil
	}
	if id := a.known().servicePrincipal; id != "" {
		return id, nil
	}
	id, err := a.tenant.discoverApplication(ctx)
	if err == nil {
		a.learn(func(found *discovered) { *found = discovered{servicePrincipal: id} })
	}
	return id, err
}

// samlServicePrincipal is the application that signs people in to AWS.
func (a *Application) samlServicePrincipal(ctx context.Context) (string, error) {
	if a.options.SAMLServicePrincipalID != "" {
		return a.options.SAMLServicePrincipalID, nil
	}
	return a.servicePrincipal(ctx)
}

// template is what the job was made from.
func (a *Application) template() string {
	if template := a.known().template; template != "" {
		return template
	}
	return jobTemplate
}

func (a *Application) known() discovered {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.found
}

func (a *Application) learn(set func(*discovered)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	set(&a.found)
}

// notFound passes an error on, and forgets what was discovered if that is not there
// any more.
func (a *Application) notFound(err error) error {
	if model.ReasonOf(err) == model.ReasonNotFound {
		a.learn(func(found *discovered) { *found = discovered{} })
	}
	return err
}

// discoverApplication finds the one application made from AWS's gallery template.
func (t *Tenant) discoverApplication(ctx context.Context) (string, error) {
	c := call{doing: "looking for the AWS application", needs: readApplications}
	filter := "applicationTemplateId eq '" + galleryTemplate + "'"
	list, x, err := ask(ctx, t, c, func(ctx context.Context) (*applicationModels, error) { return t.applicationsWhere(ctx, filter) })
	if err != nil {
		return "", err
	}
	if list.value == nil {
		return "", invalid(c, x, "a list without its value")
	}
	var ids, names []string
	for _, found := range list.value {
		application, is := found.(*applicationModel)
		if !is || application == nil || application.id == "" {
			continue
		}
		ids = append(ids, application.id)
		names = append(names, fmt.Sprintf("%q (%s)", application.displayName, application.id))
	}
	return one(c, ids, names,
		"tenant "+t.name+" has no application made from the gallery's AWS IAM Identity Center", "applications made from the gallery's AWS IAM Identity Center",
		"set service_principal_id to the object id of the enterprise application")
}

// discoverJob finds the application's one job that provisions AWS.
func (a *Application) discoverJob(ctx context.Context, servicePrincipal string) (string, error) {
	c := call{doing: "looking for the provisioning job", needs: readJobs, missing: "check service_principal_id: it is the object id of the enterprise application"}
	list, x, err := ask(ctx, a.tenant, c, func(ctx context.Context) (models.SynchronizationJobCollectionResponseable, error) {
		return a.tenant.servicePrincipals().ByServicePrincipalId(servicePrincipal).Synchronization().Jobs().Get(ctx, nil)
	})
	if err != nil {
		return "", err
	}
	if list.GetValue() == nil {
		return "", invalid(c, x, "a list without its value")
	}
	var ids, others []string
	for _, job := range list.GetValue() {
		switch {
		case job == nil || text(job.GetId()) == "":
		case strings.EqualFold(text(job.GetTemplateId()), jobTemplate):
			ids = append(ids, text(job.GetId()))
		default:
			others = append(others, fmt.Sprintf("%s of template %q", text(job.GetId()), text(job.GetTemplateId())))
		}
	}
	none := "application " + servicePrincipal + " has no provisioning job for AWS"
	advice := "set up automatic provisioning in Entra, or set job_id"
	if len(others) > 0 {
		none += ", only " + strings.Join(others, ", ")
	}
	if len(ids) > 1 {
		advice = "set job_id to one of them"
	}
	return one(c, ids, ids, none, "provisioning jobs for AWS in application "+servicePrincipal, advice)
}

// one returns the only candidate, or an error that lists them and says what to set.
func one(c call, ids, names []string, none, many, advice string) (string, error) {
	switch len(ids) {
	case 1:
		return ids[0], nil
	case 0:
		return "", &model.Error{Reason: model.ReasonNotFound, Op: c.doing, Detail: none, Advice: advice}
	default:
		return "", &model.Error{
			Reason: model.ReasonAmbiguous, Op: c.doing, Advice: advice,
			Detail: fmt.Sprintf("%d %s: %s", len(names), many, strings.Join(names, ", ")),
		}
	}
}
