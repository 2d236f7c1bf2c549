package entra

import (
	"context"
	"fmt"
	"strings"
	"sync"

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

// discovery finds what the config leaves open, and keeps it until Entra says that it no
// longer exists.
type discovery struct {
	tenant  *Tenant
	options ApplicationOptions

	discovering chan struct{} // full while a source discovers

	mu    sync.Mutex // never held during a call
	found discovered
}

// discovered is what the config leaves open.
type discovered struct{ servicePrincipal, job, template, samlAppID string }

func newDiscovery(t *Tenant, options ApplicationOptions) *discovery {
	return &discovery{tenant: t, options: options, discovering: make(chan struct{}, 1)}
}

// resolve returns the ids of the service principal and of the job.
func (d *discovery) resolve(ctx context.Context) (principalID, jobID string, err error) {
	if principalID, err = d.principalID(ctx); err != nil {
		return "", "", err
	}
	if d.options.JobID != "" {
		return principalID, d.options.JobID, nil
	}
	jobID, err = d.discover(ctx, func(found *discovered) *string { return &found.job }, func() (string, error) {
		return d.discoverJob(ctx, principalID)
	})
	if err != nil {
		return "", "", d.forgetIfGone(err)
	}
	return principalID, jobID, nil
}

const jobPath = "/servicePrincipals/{id}/synchronization/jobs/{job}"

// jobParameters fills in jobPath.
func (d *discovery) jobParameters(ctx context.Context) (parameters, error) {
	principalID, jobID, err := d.resolve(ctx)
	return parameters{"id": principalID, "job": jobID}, err
}

func (d *discovery) principalID(ctx context.Context) (string, error) {
	if d.options.ServicePrincipalID != "" {
		return d.options.ServicePrincipalID, nil
	}
	return d.discover(ctx, func(found *discovered) *string { return &found.servicePrincipal }, func() (string, error) {
		return d.tenant.discoverApplication(ctx)
	})
}

// samlPrincipalID is the application that signs users in to AWS.
func (d *discovery) samlPrincipalID(ctx context.Context) (string, error) {
	if d.options.SAMLServicePrincipalID != "" {
		return d.options.SAMLServicePrincipalID, nil
	}
	return d.principalID(ctx)
}

// discover returns what is cached, or finds it. Of several sources one asks Entra, and the
// others wait for what it finds.
func (d *discovery) discover(ctx context.Context, part func(*discovered) *string, find func() (string, error)) (string, error) {
	cached := func() string { found := d.cached(); return *part(&found) }
	if id := cached(); id != "" {
		return id, nil
	}
	done, err := d.waitForOthers(ctx, "looking for the AWS application and its job")
	if err != nil {
		return "", err
	}
	defer done()
	if id := cached(); id != "" {
		return id, nil
	}
	id, err := find()
	if err == nil {
		d.update(func(found *discovered) { *part(found) = id })
	}
	return id, err
}

// waitForOthers waits until no other source asks Entra for what both need.
func (d *discovery) waitForOthers(ctx context.Context, op string) (done func(), err error) {
	select {
	case d.discovering <- struct{}{}:
		return func() { <-d.discovering }, nil
	case <-ctx.Done():
		failed := cloudhttp.Classify(ctx.Err())
		failed.Op, failed.Unsent = op, true
		return nil, failed
	}
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
func (d *discovery) discoverJob(ctx context.Context, principalID string) (string, error) {
	call := apiCall{
		op: "looking for the provisioning job", permission: readJobs,
		notFound: "check service_principal_id: it is the object id of the enterprise application",
	}
	jobs, _, err := getList[struct{ ID, TemplateID string }](ctx, d.tenant.graph, call,
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

func (d *discovery) cached() discovered {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found
}

func (d *discovery) update(set func(*discovered)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	set(&d.found)
}

// forgetIfGone returns the error. If it is not_found, what was discovered is forgotten.
func (d *discovery) forgetIfGone(err error) error {
	if model.ReasonOf(err) == model.ReasonNotFound {
		d.update(func(found *discovered) { *found = discovered{} })
	}
	return err
}
