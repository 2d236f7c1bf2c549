package entra

import (
	"context"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// AppCredentials reads when the secrets and certificates expire by which the exporter
// signs in: as this identity, and as others of the same Entra tenant, whose own
// permissions may not allow it. One that Entra refuses is an error, also while an access
// token is left.
func (t *Tenant) AppCredentials(ctx context.Context, others ...*Tenant) ([]model.AppCredential, error) {
	if !t.credential.ManagedIdentity {
		if err := t.graph.testSignIn(ctx, "testing the sign-in of tenant "+t.name); err != nil {
			return nil, err
		}
	}
	var credentials []model.AppCredential
	for _, identity := range append([]*Tenant{t}, others...) {
		found, _, err := t.credentialsOf(ctx, identity)
		if err != nil {
			return nil, err
		}
		credentials = append(credentials, found...)
	}
	return credentials, nil
}

// registration is what is read of an app registration.
type registration struct{ PasswordCredentials, KeyCredentials []*registeredCredential }

type registeredCredential struct {
	KeyID       string
	EndDateTime *time.Time
}

// credentialsOf reads the credentials of an identity's app registration that expire, and
// Graph's clock. A managed identity has none.
// https://learn.microsoft.com/graph/api/resources/application
func (t *Tenant) credentialsOf(ctx context.Context, identity *Tenant) ([]model.AppCredential, time.Time, error) {
	if identity.credential.ManagedIdentity {
		return nil, time.Time{}, nil
	}
	call := apiCall{op: "reading the exporter's own credentials", permission: readApplications}
	found, x, err := getList[registration](ctx, t.graph, call, "/applications{?%24filter,%24select,%24count}", parameters{
		"%24filter": "appId eq '" + identity.clientID + "'",
		"%24select": "passwordCredentials,keyCredentials",
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	if len(found) == 0 || found[0] == nil {
		return nil, time.Time{}, &model.Error{
			Reason: model.ReasonNotFound, Op: call.op,
			Detail: "tenant " + identity.name + " has no app registration with client id " + identity.clientID,
			Advice: "if it is registered in another tenant, set intervals.app_credentials: 0",
		}
	}
	var credentials []model.AppCredential
	add := func(kind string, entries []*registeredCredential) {
		for _, entry := range entries {
			if entry != nil && !timeOf(entry.EndDateTime).IsZero() {
				credentials = append(credentials, model.AppCredential{
					Tenant: identity.name, Kind: kind, KeyID: entry.KeyID, Expires: timeOf(entry.EndDateTime),
				})
			}
		}
	}
	add(model.CredentialSecret, found[0].PasswordCredentials)
	add(model.CredentialCertificate, found[0].KeyCredentials)
	return credentials, x.Date, nil
}

// credentialExpires returns the earliest expiry of the credentials that the sign-in may
// be using: those of its kind that have not expired. Zero: it uses none that expires, or
// they cannot be read.
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
		t.logger.DebugContext(ctx, "cannot read app credentials", "err", err)
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

// Application reads what a rotation's plan checks of the application. The exporter's own
// credentials and the directory audit are optional: without permission they are left out.
func (a *Application) Application(ctx context.Context) (model.Application, error) {
	ids, err := a.entityIDs(ctx, a.freshPrincipal)
	if err != nil {
		return model.Application{}, err
	}
	application := model.Application{EntityIDs: ids}
	application.CredentialExpires = a.tenant.credentialExpires(ctx)
	application.CredentialsChanged, application.CredentialsReadable = a.credentialsChanged(ctx)
	return application, nil
}

// PolledEntityIDs returns the application's SAML identifiers, read up to a minute ago. A
// rotation must not use it.
func (a *Application) PolledEntityIDs(ctx context.Context) ([]string, error) {
	return a.entityIDs(ctx, a.polledPrincipal)
}

func (a *Application) entityIDs(ctx context.Context, read principalReader) ([]string, error) {
	id, err := a.discovery.samlPrincipalID(ctx)
	if err != nil {
		return nil, err
	}
	principal, err := readAppID(ctx, "reading the application", id, read)
	if err != nil {
		return nil, a.discovery.forgetIfGone(err)
	}
	return slices.DeleteFunc(principal.ServicePrincipalNames, func(name string) bool { return strings.EqualFold(name, principal.AppID) }), nil
}

// credentialActivity is what the directory audit calls a change of the provisioning
// credentials, or of other settings of the job.
// https://learn.microsoft.com/entra/identity/monitoring-health/reference-audit-activities
const credentialActivity = "Update provisioning setting or credentials"

type auditEntry struct {
	ActivityDateTime    *time.Time
	ActivityDisplayName string
	TargetResources     []*struct{ ID string }
}

// credentialsChanged returns when the directory audit last recorded a change of the
// provisioning credentials, and whether the audit is readable.
func (a *Application) credentialsChanged(ctx context.Context) (time.Time, bool) {
	id, err := a.discovery.principalID(ctx)
	if err != nil {
		return time.Time{}, false
	}
	call := apiCall{op: "reading the directory audit", permission: readAudits, sensitive: true}
	entries, _, err := getList[auditEntry](ctx, a.tenant.graph, call, "/auditLogs/directoryAudits{?%24filter,%24orderby}", parameters{
		"%24filter":  "activityDisplayName eq '" + credentialActivity + "' and targetResources/any(t:t/id eq '" + id + "')",
		"%24orderby": "activityDateTime desc",
	})
	if err != nil {
		a.logger.DebugContext(ctx, "cannot read directory audit", "err", err)
		return time.Time{}, false
	}
	var latest time.Time
	for _, entry := range entries {
		if entry == nil || entry.ActivityDisplayName != credentialActivity || !entry.concerns(id) {
			continue
		}
		if at := timeOf(entry.ActivityDateTime); at.After(latest) {
			latest = at
		}
	}
	return latest, true
}

func (e *auditEntry) concerns(id string) bool {
	for _, target := range e.TargetResources {
		if target != nil && strings.EqualFold(target.ID, id) {
			return true
		}
	}
	return false
}
