package harness

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/token"
)

// A process implements the interfaces of package token on the model. It does what the
// real clients do, without HTTP.

// Exporter is the caller of everything that a process does.
var Exporter = clouds.CallerFor(clouds.ActorExporter)

// classify is an error of the model as the real clients classify it.
func classify(op string, err error) error {
	var failed *clouds.Error
	if !errors.As(err, &failed) {
		return err
	}
	e := &model.Error{Op: op, Reason: model.ReasonOther, Status: failed.Status, Code: failed.Code, Detail: failed.Code}
	switch {
	case failed.Code == "AccessDeniedException", failed.Status == http.StatusForbidden:
		e.Reason = model.ReasonPermission
	case failed.Service == clouds.ServiceGraph && failed.Status == http.StatusNotFound && strings.Contains(failed.Message, "segment"):
		e.Reason = model.ReasonAPIChanged
	case failed.Status == http.StatusNotFound, strings.Contains(failed.Code, "NotFound"):
		e.Reason = model.ReasonNotFound
	}
	return e
}

// Resolve looks the connection's binding up.
func (p *Process) Resolve(ctx context.Context) (model.Binding, error) {
	h := p.Harness
	return read(ctx, p, "resolve", func() (model.Binding, error) {
		tenants, err := h.Clouds.ListProvisioningTenants(Exporter, h.Connection.IdentityStoreID)
		if err != nil {
			return model.Binding{}, classify("resolving", err)
		}
		jobs, err := h.Clouds.Jobs(Exporter, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID)
		if err != nil {
			return model.Binding{}, classify("resolving", err)
		}
		binding := h.Connection.Binding
		binding.JobID = jobs[0].ID
		binding.ProvisioningTenantID, binding.SCIMEndpoint = tenants[0].TenantID, strings.TrimSuffix(tenants[0].SCIMEndpoint, "/")
		return binding, nil
	})
}

// ListTokens implements token.Tokens.
func (p *Process) ListTokens(ctx context.Context) (model.TokenList, error) {
	h := p.Harness
	if list, declared := h.declaration(); declared {
		return list, nil
	}
	list, err := read(ctx, p, "aws.list", func() (model.TokenList, error) {
		tokens, err := h.Clouds.ListBearerTokens(Exporter, h.Connection.IdentityStoreID, h.Connection.ProvisioningTenantID)
		if err != nil {
			return model.TokenList{}, classify("listing SCIM tokens", err)
		}
		list := model.TokenList{Origin: model.OriginConsoleAPI, Slots: model.TokenSlots, Date: h.Clouds.AWSNow()}
		for _, token := range tokens {
			list.Tokens = append(list.Tokens, token.Token)
		}
		return list, nil
	})
	if err == nil {
		h.WithClouds(func(w *clouds.Model) { list.Date = w.AWSNow() })
	}
	return list, err
}

// declaration is the list of tokens that the config declares, if it declares any.
func (h *Harness) declaration() (list model.TokenList, declared bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return model.TokenList{Origin: model.OriginDeclared, Tokens: slices.Clone(h.Declared)}, h.Declared != nil
}

// CreateToken implements token.Tokens.
func (p *Process) CreateToken(ctx context.Context) (issued model.IssuedToken, err error) {
	h := p.Harness
	err = mutate(ctx, p, "aws.create", func() error {
		token, err := h.Clouds.CreateBearerToken(Exporter, h.Connection.IdentityStoreID, h.Connection.ProvisioningTenantID)
		if err != nil {
			return classify("creating a SCIM token", err)
		}
		issued = model.IssuedToken{Token: token.Token, Value: model.NewSecret(token.Value), Date: h.Clouds.AWSNow()}
		return nil
	})
	if err != nil {
		return model.IssuedToken{}, err
	}
	return issued, nil
}

// DeleteToken implements token.Tokens.
func (p *Process) DeleteToken(ctx context.Context, tokenID string) error {
	h := p.Harness
	return mutate(ctx, p, "aws.delete", func() error {
		return classify("deleting a SCIM token", h.Clouds.DeleteBearerToken(Exporter, h.Connection.IdentityStoreID, h.Connection.ProvisioningTenantID, tokenID))
	})
}

func (p *Process) scimCall(value model.Secret) clouds.SCIMCall {
	return clouds.SCIMCall{Tenant: p.Harness.Connection.ProvisioningTenantID, Token: value.Reveal(), SourceIP: clouds.ExporterAddress, UserAgent: "entra-aws-exporter/test"}
}

// ProbeToken implements token.SCIM.
func (p *Process) ProbeToken(ctx context.Context, value model.Secret) (model.Probe, error) {
	return read(ctx, p, "scim.probe", func() (model.Probe, error) {
		err := p.Harness.Clouds.ServiceProviderConfig(p.scimCall(value))
		var failed *clouds.Error
		switch {
		case err == nil:
			return model.Probe{StatusCode: http.StatusOK, Date: p.Harness.Clouds.AWSNow()}, nil
		case errors.As(err, &failed) && failed.Status != 0:
			return model.Probe{StatusCode: failed.Status, Date: p.Harness.Clouds.AWSNow()}, nil
		default:
			return model.Probe{}, classify("probing", err)
		}
	})
}

// HasUser implements token.SCIM.
func (p *Process) HasUser(ctx context.Context, value model.Secret, userName string) (bool, error) {
	return read(ctx, p, "scim.user", func() (bool, error) {
		found, err := p.Harness.Clouds.UserNamed(p.scimCall(value), userName)
		return len(found) > 0, classify("looking a user up", err)
	})
}

// CallsSince implements token.CloudTrail.
func (p *Process) CallsSince(ctx context.Context, since time.Time) ([]model.SCIMCall, error) {
	return read(ctx, p, "trail.calls", func() ([]model.SCIMCall, error) {
		events, err := p.Harness.Clouds.LookupEvents(Exporter, clouds.TrailFilter{After: since, EventSource: clouds.SCIMEventSource, TenantID: p.Harness.Connection.ProvisioningTenantID})
		if err != nil {
			return nil, classify("looking events up", err)
		}
		var calls []model.SCIMCall
		for _, event := range slices.Backward(events) {
			calls = append(calls, event.SCIMCall)
		}
		return calls, nil
	})
}

// Job implements token.Provisioning.
func (p *Process) Job(ctx context.Context) (model.Job, error) {
	h := p.Harness
	job, err := read(ctx, p, "graph.job", func() (model.Job, error) {
		job, err := h.Clouds.Job(Exporter, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID)
		return job.Job, classify("reading the job", err)
	})
	if err == nil { // the job may be stale, the response's Date never is
		h.WithClouds(func(w *clouds.Model) { job.Date = w.EntraNow() })
	}
	return job, err
}

// Credentials implements token.Provisioning.
func (p *Process) Credentials(ctx context.Context) ([]model.Credential, error) {
	h := p.Harness
	return read(ctx, p, "graph.secrets", func() ([]model.Credential, error) {
		secrets, err := h.Clouds.Secrets(Exporter, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID)
		if err != nil {
			return nil, classify("reading the provisioning credentials", err)
		}
		var list []model.Credential
		for _, secret := range secrets {
			list = append(list, model.Credential{Key: secret.Key, Value: model.NewSecret(secret.Value)})
		}
		return list, nil
	})
}

func secretsOf(credentials []model.Credential) []clouds.Secret {
	var list []clouds.Secret
	for _, c := range credentials {
		list = append(list, clouds.Secret{Key: c.Key, Value: c.Value.Reveal()})
	}
	return list
}

// SaveCredentials implements token.Provisioning.
func (p *Process) SaveCredentials(ctx context.Context, credentials []model.Credential) error {
	h := p.Harness
	return mutate(ctx, p, "graph.put", func() error {
		return classify("saving the provisioning credentials", h.Clouds.PutSecrets(Exporter, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, secretsOf(credentials)))
	})
}

// TestConnection implements token.Provisioning.
func (p *Process) TestConnection(ctx context.Context, inline []model.Credential) (model.TestResult, error) {
	h, name := p.Harness, "graph.test"
	if inline != nil {
		name = "graph.inline"
	}
	result, err := read(ctx, p, name, func() (model.TestResult, error) {
		err := h.Clouds.TestConnection(Exporter, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID, secretsOf(inline))
		var failed *clouds.Error
		switch {
		case err == nil:
			return model.TestPassed, nil
		case errors.As(err, &failed) && failed.Status == http.StatusBadRequest && model.SaysRefused(failed.Code, failed.Message):
			return model.TestFailed, nil
		default:
			return model.TestUnavailable, classify("testing the connection", err)
		}
	})
	switch {
	case err != nil:
		return model.TestUnavailable, err
	case result == model.TestFailed:
		return result, &model.Error{Reason: model.ReasonOther, Op: "testing the connection", Status: http.StatusBadRequest, Detail: "CredentialValidation"}
	default:
		return result, nil
	}
}

// StartJob implements token.Provisioning.
func (p *Process) StartJob(ctx context.Context) error {
	h := p.Harness
	return mutate(ctx, p, "graph.start", func() error {
		return classify("starting the job", h.Clouds.StartJob(Exporter, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID))
	})
}

// Exports implements token.Provisioning.
func (p *Process) Exports(ctx context.Context, since time.Time) (int, error) {
	h := p.Harness
	return read(ctx, p, "graph.log", func() (int, error) {
		entries, err := h.Clouds.ProvisioningLog(Exporter, h.Connection.EntraTenantID, clouds.LogFilter{After: since, JobID: h.Connection.JobID, Status: "success"})
		return len(entries), classify("reading the provisioning log", err)
	})
}

// ProvisionUser implements token.Provisioning.
func (p *Process) ProvisionUser(ctx context.Context, userObjectID string) (userName string, err error) {
	h := p.Harness
	err = mutate(ctx, p, "graph.canary", func() error {
		job, err := h.Clouds.Job(Exporter, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID)
		if err != nil {
			return classify("provisioning on demand", err)
		}
		outcome, err := h.Clouds.ProvisionOnDemand(Exporter, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID, job.RuleID, userObjectID)
		userName = outcome.SourceName
		return classify("provisioning on demand", err)
	})
	return userName, err
}

// Application implements token.Provisioning.
func (p *Process) Application(ctx context.Context) (model.Application, error) {
	h := p.Harness
	return read(ctx, p, "graph.app", func() (model.Application, error) {
		sp, err := h.Clouds.ServicePrincipal(Exporter, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID)
		if err != nil {
			return model.Application{}, classify("reading the application", err)
		}
		app := model.Application{EntityIDs: sp.EntityIDs, CredentialExpires: h.OwnCredentialExpires}
		audits, err := h.Clouds.DirectoryAudits(Exporter, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, time.Time{})
		if err == nil {
			app.CredentialsReadable = true
			for _, audit := range audits {
				if audit.At.After(app.CredentialsChanged) {
					app.CredentialsChanged = audit.At
				}
			}
		}
		return app, nil
	})
}

// Snapshot is the connection's snapshot as the poller would have it. It makes no call of
// the rotation and gets no fault.
func (h *Harness) Snapshot(connection string) (model.Snapshot, bool) {
	if connection != h.Connection.Name {
		return model.Snapshot{}, false
	}
	declaration, declared := h.declaration()
	h.mu.Lock()
	defer h.mu.Unlock()
	by := clouds.CallerFor("poller")
	tokens, err := h.Clouds.ListBearerTokens(by, h.Connection.IdentityStoreID, h.Connection.ProvisioningTenantID)
	if err != nil {
		return model.Snapshot{}, false
	}
	job, err := h.Clouds.Job(by, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID)
	if err != nil {
		return model.Snapshot{}, false
	}
	list := model.TokenList{Origin: model.OriginConsoleAPI, Slots: model.TokenSlots, Date: h.Clouds.AWSNow()}
	for _, token := range tokens {
		list.Tokens = append(list.Tokens, token.Token)
	}
	if declared {
		list = declaration
	}
	now := time.Now()
	if h.Rolls != nil {
		return h.rolloverSnapshot(), true
	}
	return model.Snapshot{
		Connection: h.Connection.Name, Binding: h.Connection.Binding, Tokens: &list, Job: &job.Job,
		Sources: []model.SourceStatus{{Source: model.SourceTokens, Interval: 15 * time.Minute, LastAttempt: now, LastSuccess: now}},
	}, true
}

var _ interface {
	token.Tokens
	token.SCIM
	token.CloudTrail
	token.Provisioning
	journal.Store
	token.Store
} = (*Process)(nil)
