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

// The session implements the engine's ports on the world: what the real clients do over
// the wire, without the wire.

var Exporter = clouds.CallerFor(clouds.ActorExporter)

// classify is a world's refusal as the clients would classify it.
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

func (s *Process) Resolve(ctx context.Context) (model.Binding, error) {
	l := s.Harness
	return read(ctx, s, "resolve", func() (model.Binding, error) {
		tenants, err := l.Clouds.ListProvisioningTenants(Exporter, l.Connection.IdentityStoreID)
		if err != nil {
			return model.Binding{}, classify("resolving", err)
		}
		jobs, err := l.Clouds.Jobs(Exporter, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID)
		if err != nil {
			return model.Binding{}, classify("resolving", err)
		}
		binding := l.Connection.Binding
		binding.JobID = jobs[0].ID
		binding.ProvisioningTenantID, binding.SCIMEndpoint = tenants[0].TenantID, strings.TrimSuffix(tenants[0].SCIMEndpoint, "/")
		return binding, nil
	})
}

// ListTokens implements token.Tokens.
func (s *Process) ListTokens(ctx context.Context) (model.TokenList, error) {
	l := s.Harness
	if list, declared := l.declaration(); declared {
		return list, nil
	}
	list, err := read(ctx, s, "aws.list", func() (model.TokenList, error) {
		tokens, err := l.Clouds.ListBearerTokens(Exporter, l.Connection.IdentityStoreID, l.Connection.ProvisioningTenantID)
		if err != nil {
			return model.TokenList{}, classify("listing SCIM tokens", err)
		}
		list := model.TokenList{Origin: model.OriginConsoleAPI, Slots: model.TokenSlots, Date: l.Clouds.AWSNow()}
		for _, token := range tokens {
			list.Tokens = append(list.Tokens, token.Token)
		}
		return list, nil
	})
	if err == nil {
		l.WithClouds(func(w *clouds.Model) { list.Date = w.AWSNow() })
	}
	return list, err
}

// declaration is the list of tokens that the config has, if it has one.
func (l *Harness) declaration() (list model.TokenList, declared bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return model.TokenList{Origin: model.OriginDeclared, Tokens: slices.Clone(l.Declared)}, l.Declared != nil
}

// CreateToken implements token.Tokens.
func (s *Process) CreateToken(ctx context.Context) (issued model.IssuedToken, err error) {
	l := s.Harness
	err = operate(ctx, s, "aws.create", func() error {
		token, err := l.Clouds.CreateBearerToken(Exporter, l.Connection.IdentityStoreID, l.Connection.ProvisioningTenantID)
		if err != nil {
			return classify("creating a SCIM token", err)
		}
		issued = model.IssuedToken{Token: token.Token, Value: model.NewSecret(token.Value), Date: l.Clouds.AWSNow()}
		return nil
	})
	if err != nil {
		return model.IssuedToken{}, err
	}
	return issued, nil
}

// DeleteToken implements token.Tokens.
func (s *Process) DeleteToken(ctx context.Context, tokenID string) error {
	l := s.Harness
	return operate(ctx, s, "aws.delete", func() error {
		return classify("deleting a SCIM token", l.Clouds.DeleteBearerToken(Exporter, l.Connection.IdentityStoreID, l.Connection.ProvisioningTenantID, tokenID))
	})
}

func (s *Process) scimCall(value model.Secret) clouds.SCIMCall {
	return clouds.SCIMCall{Tenant: s.Harness.Connection.ProvisioningTenantID, Token: value.Reveal(), SourceIP: clouds.ExporterAddress, UserAgent: "entra-aws-exporter/test"}
}

// ProbeToken implements SCIM.
func (s *Process) ProbeToken(ctx context.Context, value model.Secret) (model.Probe, error) {
	return read(ctx, s, "scim.probe", func() (model.Probe, error) {
		err := s.Harness.Clouds.ServiceProviderConfig(s.scimCall(value))
		var failed *clouds.Error
		switch {
		case err == nil:
			return model.Probe{StatusCode: http.StatusOK, Date: s.Harness.Clouds.AWSNow()}, nil
		case errors.As(err, &failed) && failed.Status != 0:
			return model.Probe{StatusCode: failed.Status, Date: s.Harness.Clouds.AWSNow()}, nil
		default:
			return model.Probe{}, classify("probing", err)
		}
	})
}

// HasUser implements SCIM.
func (s *Process) HasUser(ctx context.Context, value model.Secret, userName string) (bool, error) {
	return read(ctx, s, "scim.user", func() (bool, error) {
		_, total, err := s.Harness.Clouds.ListUsers(s.scimCall(value), clouds.Match{Attribute: "userName", Value: userName})
		return total > 0, classify("looking a user up", err)
	})
}

// CallsSince implements SCIMCalls.
func (s *Process) CallsSince(ctx context.Context, since time.Time) ([]model.SCIMCall, error) {
	return read(ctx, s, "trail.calls", func() ([]model.SCIMCall, error) {
		events, err := s.Harness.Clouds.LookupEvents(Exporter, clouds.TrailFilter{After: since, EventSource: clouds.SCIMEventSource, TenantID: s.Harness.Connection.ProvisioningTenantID})
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

// Job implements Provisioning.
func (s *Process) Job(ctx context.Context) (model.Job, error) {
	l := s.Harness
	job, err := read(ctx, s, "graph.job", func() (model.Job, error) {
		job, err := l.Clouds.Job(Exporter, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID)
		return job.Job, classify("reading the job", err)
	})
	if err == nil { // what is stale is the job, never the answer's Date
		l.WithClouds(func(w *clouds.Model) { job.Date = w.EntraNow() })
	}
	return job, err
}

// Credentials implements Provisioning.
func (s *Process) Credentials(ctx context.Context) ([]model.Credential, error) {
	l := s.Harness
	return read(ctx, s, "graph.secrets", func() ([]model.Credential, error) {
		secrets, err := l.Clouds.Secrets(Exporter, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID)
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

// SaveCredentials implements Provisioning.
func (s *Process) SaveCredentials(ctx context.Context, credentials []model.Credential) error {
	l := s.Harness
	return operate(ctx, s, "graph.put", func() error {
		return classify("saving the provisioning credentials", l.Clouds.PutSecrets(Exporter, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, secretsOf(credentials)))
	})
}

// TestConnection implements Provisioning.
func (s *Process) TestConnection(ctx context.Context, inline []model.Credential) (model.TestResult, error) {
	l, name := s.Harness, "graph.test"
	if inline != nil {
		name = "graph.inline"
	}
	verdict, err := read(ctx, s, name, func() (model.TestResult, error) {
		err := l.Clouds.TestConnection(Exporter, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID, secretsOf(inline))
		var failed *clouds.Error
		switch {
		case err == nil:
			return model.TestPassed, nil
		case errors.As(err, &failed) && strings.Contains(failed.Code, "CredentialValidation"):
			return model.TestFailed, nil
		default:
			return model.TestUnavailable, classify("testing the connection", err)
		}
	})
	switch {
	case err != nil:
		return model.TestUnavailable, err
	case verdict == model.TestFailed:
		return verdict, &model.Error{Reason: model.ReasonOther, Op: "testing the connection", Status: http.StatusBadRequest, Detail: "CredentialValidation"}
	default:
		return verdict, nil
	}
}

// StartJob implements Provisioning.
func (s *Process) StartJob(ctx context.Context) error {
	l := s.Harness
	return operate(ctx, s, "graph.start", func() error {
		return classify("starting the job", l.Clouds.StartJob(Exporter, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID))
	})
}

// Exports implements Provisioning.
func (s *Process) Exports(ctx context.Context, since time.Time) (int, error) {
	l := s.Harness
	return read(ctx, s, "graph.log", func() (int, error) {
		entries, err := l.Clouds.ProvisioningLog(Exporter, l.Connection.EntraTenantID, clouds.LogFilter{After: since, JobID: l.Connection.JobID, Status: "success"})
		return len(entries), classify("reading the provisioning log", err)
	})
}

// ProvisionUser implements Provisioning.
func (s *Process) ProvisionUser(ctx context.Context, userObjectID string) (userName string, err error) {
	l := s.Harness
	err = operate(ctx, s, "graph.canary", func() error {
		job, err := l.Clouds.Job(Exporter, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID)
		if err != nil {
			return classify("provisioning on demand", err)
		}
		outcome, err := l.Clouds.ProvisionOnDemand(Exporter, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID, job.RuleID, userObjectID)
		userName = outcome.UserName
		return classify("provisioning on demand", err)
	})
	return userName, err
}

// Application implements Provisioning.
func (s *Process) Application(ctx context.Context) (model.Application, error) {
	l := s.Harness
	return read(ctx, s, "graph.app", func() (model.Application, error) {
		sp, err := l.Clouds.ServicePrincipal(Exporter, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID)
		if err != nil {
			return model.Application{}, classify("reading the application", err)
		}
		app := model.Application{EntityIDs: sp.EntityIDs, CredentialExpires: l.OwnCredentialExpires}
		audits, err := l.Clouds.DirectoryAudits(Exporter, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, time.Time{})
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

// Snapshot is what watch would have read: without faults, and in no way a rotation's call.
func (l *Harness) Snapshot(connection string) (model.Snapshot, bool) {
	if connection != l.Connection.Name {
		return model.Snapshot{}, false
	}
	declaration, declared := l.declaration()
	l.mu.Lock()
	defer l.mu.Unlock()
	by := clouds.CallerFor("watch")
	tokens, err := l.Clouds.ListBearerTokens(by, l.Connection.IdentityStoreID, l.Connection.ProvisioningTenantID)
	if err != nil {
		return model.Snapshot{}, false
	}
	job, err := l.Clouds.Job(by, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID)
	if err != nil {
		return model.Snapshot{}, false
	}
	list := model.TokenList{Origin: model.OriginConsoleAPI, Slots: model.TokenSlots, Date: l.Clouds.AWSNow()}
	for _, token := range tokens {
		list.Tokens = append(list.Tokens, token.Token)
	}
	if declared {
		list = declaration
	}
	now := time.Now()
	return model.Snapshot{
		Connection: l.Connection.Name, Binding: l.Connection.Binding, Tokens: &list, Job: &job.Job,
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
