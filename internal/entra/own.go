package entra

import (
	"context"
	"slices"
	"strings"
	"time"

	kiota "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoftgraph/msgraph-sdk-go/auditlogs"
	"github.com/microsoftgraph/msgraph-sdk-go/models"

	"entra-aws-exporter/internal/model"
)

// AppCredentials reads when the secrets and certificates expire by which the exporter
// signs in: as this identity, and as others of the same Entra tenant, whose own rights
// need not reach that far.
func (t *Tenant) AppCredentials(ctx context.Context, others ...*Tenant) ([]model.AppCredential, error) {
	var credentials []model.AppCredential
	for _, identity := range append([]*Tenant{t}, others...) {
		of, _, err := t.credentialsOf(ctx, identity)
		if err != nil {
			return nil, err
		}
		credentials = append(credentials, of...)
	}
	return credentials, nil
}

// credentialsOf reads the credentials of an identity's app registration that end, and
// Graph's clock. A managed identity has none.
// https://learn.microsoft.com/graph/api/resources/application
func (t *Tenant) credentialsOf(ctx context.Context, identity *Tenant) ([]model.AppCredential, time.Time, error) {
	if identity.credential.ManagedIdentity {
		return nil, time.Time{}, nil
	}
	c := call{doing: "reading the exporter's own credentials", needs: readApplications}
	type credential struct {
		KeyID       string
		EndDateTime *time.Time
	}
	var answer struct {
		Value []*struct{ PasswordCredentials, KeyCredentials []*credential }
	}
	// The SDK's package for applications would add a megabyte of source for this.
	x, err := t.do(ctx, c, func(ctx context.Context) error {
		content, err := t.raw(ctx, kiota.GET, "/applications{?%24filter,%24select}", nil, map[string]string{
			"%24filter": "appId eq '" + identity.clientID + "'",
			"%24select": "passwordCredentials,keyCredentials",
		}, nil)
		if err != nil {
			return err
		}
		return decode(content, &answer)
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	if answer.Value == nil {
		return nil, time.Time{}, invalid(c, x, "a list without its value")
	}
	if len(answer.Value) == 0 || answer.Value[0] == nil {
		return nil, time.Time{}, &model.Error{
			Reason: model.ReasonNotFound, Op: c.doing,
			Detail: "tenant " + identity.name + " has no app registration with client id " + identity.clientID,
			Advice: "if it is registered in another tenant, set intervals.app_credentials: 0",
		}
	}
	var credentials []model.AppCredential
	list := func(kind string, found []*credential) {
		for _, entry := range found {
			if entry != nil && !instant(entry.EndDateTime).IsZero() {
				credentials = append(credentials, model.AppCredential{
					Tenant: identity.name, Kind: kind, KeyID: entry.KeyID, Expires: instant(entry.EndDateTime),
				})
			}
		}
	}
	list(model.CredentialSecret, answer.Value[0].PasswordCredentials)
	list(model.CredentialCertificate, answer.Value[0].KeyCredentials)
	return credentials, x.date, nil
}

// credentialExpires returns the earliest end of the credentials that the sign-in may
// be using: those of its kind that have not ended, for with an ended one it would have
// been refused. Zero: it uses none that ends, or they cannot be read.
func (t *Tenant) credentialExpires(ctx context.Context) time.Time {
	kind := model.CredentialSecret
	switch {
	case t.credential.CertificateFile != "":
		kind = model.CredentialCertificate
	case t.credential.SecretFile == "":
		return time.Time{}
	}
	credentials, now, err := t.credentialsOf(ctx, t)
	if err != nil {
		t.logger.DebugContext(ctx, "the exporter's own credentials cannot be read", "err", err)
		return time.Time{}
	}
	if now.IsZero() {
		now = time.Now()
	}
	var earliest time.Time
	for _, credential := range credentials {
		if credential.Kind == kind && credential.Expires.After(now) && (earliest.IsZero() || credential.Expires.Before(earliest)) {
			earliest = credential.Expires
		}
	}
	return earliest
}

// Application reads what the plan of a rotation checks of the application itself. What
// may not be readable, our own credentials and the directory audit, is left out then.
func (a *Application) Application(ctx context.Context) (model.Application, error) {
	id, err := a.samlServicePrincipal(ctx)
	if err != nil {
		return model.Application{}, err
	}
	const doing = "reading the application"
	answer, err := a.selectOf(ctx, doing, id, "appId", "servicePrincipalNames")
	if err == nil && answer.appID == "" {
		err = &model.Error{Reason: model.ReasonInvalidResponse, Op: doing, Detail: "an application without appId"}
	}
	if err != nil {
		return model.Application{}, a.notFound(err)
	}
	var application model.Application
	for _, name := range answer.names {
		if !strings.EqualFold(name, answer.appID) {
			application.EntityIDs = append(application.EntityIDs, name)
		}
	}
	application.CredentialExpires = a.tenant.credentialExpires(ctx)
	application.CredentialsChanged, application.CredentialsReadable = a.credentialsChanged(ctx)
	return application, nil
}

// credentialActivity is what the directory audit calls a change of the provisioning
// credentials, or of other settings of the job.
// https://learn.microsoft.com/entra/identity/monitoring-health/reference-audit-activities
const credentialActivity = "Update provisioning setting or credentials"

// credentialsChanged returns when the directory audit last saw a change of the
// provisioning credentials, and whether the audit could be read.
func (a *Application) credentialsChanged(ctx context.Context) (time.Time, bool) {
	id, err := a.servicePrincipal(ctx)
	if err != nil {
		return time.Time{}, false
	}
	c := call{doing: "reading the directory audit", needs: readAudits, sensitive: true}
	filter := "activityDisplayName eq '" + credentialActivity + "' and targetResources/any(t:t/id eq '" + id + "')"
	page, _, err := ask(ctx, a.tenant, c, func(ctx context.Context) (models.DirectoryAuditCollectionResponseable, error) {
		return a.tenant.directoryAudits().Get(ctx, &auditlogs.DirectoryAuditsRequestBuilderGetRequestConfiguration{
			QueryParameters: &auditlogs.DirectoryAuditsRequestBuilderGetQueryParameters{
				Filter: &filter, Orderby: []string{"activityDateTime desc"},
			},
		})
	})
	if err != nil || page.GetValue() == nil {
		a.logger.DebugContext(ctx, "the directory audit cannot be read", "err", err)
		return time.Time{}, false
	}
	var latest time.Time
	for _, entry := range page.GetValue() {
		if entry == nil || text(entry.GetActivityDisplayName()) != credentialActivity || !concerns(entry, id) {
			continue
		}
		if at := instant(entry.GetActivityDateTime()); at.After(latest) {
			latest = at
		}
	}
	return latest, true
}

func concerns(entry models.DirectoryAuditable, id string) bool {
	return slices.ContainsFunc(entry.GetTargetResources(), func(target models.TargetResourceable) bool {
		return target != nil && strings.EqualFold(text(target.GetId()), id)
	})
}
