package rotate_test

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

var exporter = clouds.CallerFor(clouds.ActorExporter)

// classified is a world's refusal as the clients would classify it.
func classified(op string, err error) error {
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

func (s *session) resolve(ctx context.Context) (model.Binding, error) {
	l := s.lab
	return reading(ctx, s, "resolve", func() (model.Binding, error) {
		tenants, err := l.world.ListProvisioningTenants(exporter, l.at.IdentityStoreID)
		if err != nil {
			return model.Binding{}, classified("resolving", err)
		}
		jobs, err := l.world.Jobs(exporter, l.at.EntraTenantID, l.at.ServicePrincipalID)
		if err != nil {
			return model.Binding{}, classified("resolving", err)
		}
		binding := l.at.Binding
		binding.JobID = jobs[0].ID
		binding.ProvisioningTenantID, binding.SCIMEndpoint = tenants[0].TenantID, strings.TrimSuffix(tenants[0].SCIMEndpoint, "/")
		return binding, nil
	})
}

// ListTokens implements token.Tokens.
func (s *session) ListTokens(ctx context.Context) (model.TokenList, error) {
	l := s.lab
	if list, declared := l.declaration(); declared {
		return list, nil
	}
	list, err := reading(ctx, s, "aws.list", func() (model.TokenList, error) {
		tokens, err := l.world.ListBearerTokens(exporter, l.at.IdentityStoreID, l.at.ProvisioningTenantID)
		if err != nil {
			return model.TokenList{}, classified("listing SCIM tokens", err)
		}
		list := model.TokenList{Origin: model.OriginConsoleAPI, Slots: model.TokenSlots, Date: l.world.AWSNow()}
		for _, token := range tokens {
			list.Tokens = append(list.Tokens, token.Token)
		}
		return list, nil
	})
	if err == nil {
		l.locked(func(w *clouds.Model) { list.Date = w.AWSNow() })
	}
	return list, err
}

// declaration is the list of tokens that the config has, if it has one.
func (l *lab) declaration() (list model.TokenList, declared bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return model.TokenList{Origin: model.OriginDeclared, Tokens: slices.Clone(l.declared)}, l.declared != nil
}

// CreateToken implements token.Tokens.
func (s *session) CreateToken(ctx context.Context) (issued model.IssuedToken, err error) {
	l := s.lab
	err = acting(ctx, s, "aws.create", func() error {
		token, err := l.world.CreateBearerToken(exporter, l.at.IdentityStoreID, l.at.ProvisioningTenantID)
		if err != nil {
			return classified("creating a SCIM token", err)
		}
		issued = model.IssuedToken{Token: token.Token, Value: model.NewSecret(token.Value), Date: l.world.AWSNow()}
		return nil
	})
	if err != nil {
		return model.IssuedToken{}, err
	}
	return issued, nil
}

// DeleteToken implements token.Tokens.
func (s *session) DeleteToken(ctx context.Context, tokenID string) error {
	l := s.lab
	return acting(ctx, s, "aws.delete", func() error {
		return classified("deleting a SCIM token", l.world.DeleteBearerToken(exporter, l.at.IdentityStoreID, l.at.ProvisioningTenantID, tokenID))
	})
}

func (s *session) scimCall(value model.Secret) clouds.SCIMCall {
	return clouds.SCIMCall{Tenant: s.lab.at.ProvisioningTenantID, Token: value.Reveal(), SourceIP: clouds.ExporterAddress, UserAgent: "entra-aws-exporter/test"}
}

// ProbeToken implements SCIM.
func (s *session) ProbeToken(ctx context.Context, value model.Secret) (model.Probe, error) {
	return reading(ctx, s, "scim.probe", func() (model.Probe, error) {
		err := s.lab.world.ServiceProviderConfig(s.scimCall(value))
		var failed *clouds.Error
		switch {
		case err == nil:
			return model.Probe{StatusCode: http.StatusOK, Date: s.lab.world.AWSNow()}, nil
		case errors.As(err, &failed) && failed.Status != 0:
			return model.Probe{StatusCode: failed.Status, Date: s.lab.world.AWSNow()}, nil
		default:
			return model.Probe{}, classified("probing", err)
		}
	})
}

// HasUser implements SCIM.
func (s *session) HasUser(ctx context.Context, value model.Secret, userName string) (bool, error) {
	return reading(ctx, s, "scim.user", func() (bool, error) {
		_, total, err := s.lab.world.ListUsers(s.scimCall(value), []clouds.Match{{Attribute: "userName", Value: userName}}, 1, 1)
		return total > 0, classified("looking a user up", err)
	})
}

// CallsSince implements SCIMCalls.
func (s *session) CallsSince(ctx context.Context, since time.Time) ([]model.SCIMCall, error) {
	return reading(ctx, s, "trail.calls", func() ([]model.SCIMCall, error) {
		events, err := s.lab.world.LookupEvents(exporter, clouds.TrailFilter{After: since, EventSource: clouds.SCIMEventSource, TenantID: s.lab.at.ProvisioningTenantID})
		if err != nil {
			return nil, classified("looking events up", err)
		}
		var calls []model.SCIMCall
		for _, event := range slices.Backward(events) {
			calls = append(calls, event.SCIMCall)
		}
		return calls, nil
	})
}

// Job implements Provisioning.
func (s *session) Job(ctx context.Context) (model.Job, error) {
	l := s.lab
	job, err := reading(ctx, s, "graph.job", func() (model.Job, error) {
		job, err := l.world.Job(exporter, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
		return job.Job, classified("reading the job", err)
	})
	if err == nil { // what is stale is the job, never the answer's Date
		l.locked(func(w *clouds.Model) { job.Date = w.EntraNow() })
	}
	return job, err
}

// Credentials implements Provisioning.
func (s *session) Credentials(ctx context.Context) ([]model.Credential, error) {
	l := s.lab
	return reading(ctx, s, "graph.secrets", func() ([]model.Credential, error) {
		secrets, err := l.world.Secrets(exporter, l.at.EntraTenantID, l.at.ServicePrincipalID)
		if err != nil {
			return nil, classified("reading the provisioning credentials", err)
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
func (s *session) SaveCredentials(ctx context.Context, credentials []model.Credential) error {
	l := s.lab
	return acting(ctx, s, "graph.put", func() error {
		return classified("saving the provisioning credentials", l.world.PutSecrets(exporter, l.at.EntraTenantID, l.at.ServicePrincipalID, secretsOf(credentials)))
	})
}

// TestConnection implements Provisioning.
func (s *session) TestConnection(ctx context.Context, inline []model.Credential) (model.TestResult, error) {
	l, name := s.lab, "graph.test"
	if inline != nil {
		name = "graph.inline"
	}
	verdict, err := reading(ctx, s, name, func() (model.TestResult, error) {
		err := l.world.TestConnection(exporter, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID, secretsOf(inline))
		var failed *clouds.Error
		switch {
		case err == nil:
			return model.TestPassed, nil
		case errors.As(err, &failed) && strings.Contains(failed.Code, "CredentialValidation"):
			return model.TestFailed, nil
		default:
			return model.TestUnavailable, classified("testing the connection", err)
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
func (s *session) StartJob(ctx context.Context) error {
	l := s.lab
	return acting(ctx, s, "graph.start", func() error {
		return classified("starting the job", l.world.StartJob(exporter, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID))
	})
}

// Exports implements Provisioning.
func (s *session) Exports(ctx context.Context, since time.Time) (int, error) {
	l := s.lab
	return reading(ctx, s, "graph.log", func() (int, error) {
		entries, err := l.world.ProvisioningLog(exporter, l.at.EntraTenantID, clouds.LogFilter{After: since, JobID: l.at.JobID, Status: "success"})
		return len(entries), classified("reading the provisioning log", err)
	})
}

// ProvisionUser implements Provisioning.
func (s *session) ProvisionUser(ctx context.Context, userObjectID string) (userName string, err error) {
	l := s.lab
	err = acting(ctx, s, "graph.canary", func() error {
		job, err := l.world.Job(exporter, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
		if err != nil {
			return classified("provisioning on demand", err)
		}
		outcome, err := l.world.ProvisionOnDemand(exporter, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID, job.RuleID, userObjectID)
		userName = outcome.UserName
		return classified("provisioning on demand", err)
	})
	return userName, err
}

// Application implements Provisioning.
func (s *session) Application(ctx context.Context) (model.Application, error) {
	l := s.lab
	return reading(ctx, s, "graph.app", func() (model.Application, error) {
		sp, err := l.world.ServicePrincipal(exporter, l.at.EntraTenantID, l.at.ServicePrincipalID)
		if err != nil {
			return model.Application{}, classified("reading the application", err)
		}
		app := model.Application{EntityIDs: sp.EntityIDs, CredentialExpires: l.ownCredential}
		audits, err := l.world.DirectoryAudits(exporter, l.at.EntraTenantID, l.at.ServicePrincipalID, time.Time{})
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

// snapshot is what watch would have read: without faults, and in no way a rotation's call.
func (l *lab) snapshot(connection string) (model.Snapshot, bool) {
	if connection != l.at.Name {
		return model.Snapshot{}, false
	}
	declaration, declared := l.declaration()
	l.mu.Lock()
	defer l.mu.Unlock()
	by := clouds.CallerFor("watch")
	tokens, err := l.world.ListBearerTokens(by, l.at.IdentityStoreID, l.at.ProvisioningTenantID)
	if err != nil {
		return model.Snapshot{}, false
	}
	job, err := l.world.Job(by, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
	if err != nil {
		return model.Snapshot{}, false
	}
	list := model.TokenList{Origin: model.OriginConsoleAPI, Slots: model.TokenSlots, Date: l.world.AWSNow()}
	for _, token := range tokens {
		list.Tokens = append(list.Tokens, token.Token)
	}
	if declared {
		list = declaration
	}
	now := time.Now()
	return model.Snapshot{
		Connection: l.at.Name, Binding: l.at.Binding, Tokens: &list, Job: &job.Job,
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
} = (*session)(nil)
