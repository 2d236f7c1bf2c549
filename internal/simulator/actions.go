package simulator

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// Action is what an operator, a tool, or AWS and Entra themselves do beside the exporter.
type Action struct {
	Do         string       `json:"do"`
	Connection string       `json:"connection"`      // default: the only one
	Actor      clouds.Actor `json:"actor,omitempty"` // default: operator

	TokenID    string         `json:"token_id,omitempty"`
	Value      string         `json:"value,omitempty"`
	UserName   string         `json:"user_name,omitempty"`
	Sources    []netip.Prefix `json:"sources,omitempty"`
	Action     clouds.Action  `json:"action,omitempty"` // to deny to the exporter, or to allow again
	How        clouds.Denial  `json:"how,omitempty"`    // default: missing
	Thumbprint string         `json:"thumbprint,omitempty"`
}

// perform is what an action does to a connection; the result, if any, is shown.
type perform func(*clouds.Model, clouds.Connection, Action) (any, error)

func silently(do func(*clouds.Model, clouds.Connection, Action) error) perform {
	return func(m *clouds.Model, c clouds.Connection, a Action) (any, error) { return nil, do(m, c, a) }
}

var actions = map[string]perform{
	"create_token": func(m *clouds.Model, c clouds.Connection, a Action) (any, error) {
		token, err := m.CreateBearerToken(clouds.CallerFor(a.Actor), c.IdentityStoreID, c.ProvisioningTenantID)
		return map[string]string{"token_id": token.ID, "value": token.Value}, err
	},
	"delete_token": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		return m.DeleteBearerToken(clouds.CallerFor(a.Actor), c.IdentityStoreID, c.ProvisioningTenantID, a.TokenID)
	}),
	"expire_token": silently(func(m *clouds.Model, _ clouds.Connection, a Action) error { return m.Expire(a.Actor, a.TokenID) }),
	"save_token": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		return m.SaveToken(a.Actor, c.EntraTenantID, c.ServicePrincipalID, a.TokenID)
	}),
	"save_value": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		return m.SaveValue(a.Actor, c.EntraTenantID, c.ServicePrincipalID, a.Value)
	}),
	"add_user": func(m *clouds.Model, c clouds.Connection, a Action) (any, error) {
		id, err := m.AddUser(a.Actor, c.EntraTenantID, c.ServicePrincipalID, a.UserName)
		return map[string]string{"object_id": id}, err
	},
	"start": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		return m.StartJob(clouds.CallerFor(a.Actor), c.EntraTenantID, c.ServicePrincipalID, c.JobID)
	}),
	"pause": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		return m.StopJob(clouds.CallerFor(a.Actor), c.EntraTenantID, c.ServicePrincipalID, c.JobID, model.SchedulePaused)
	}),
	"disable": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		return m.StopJob(clouds.CallerFor(a.Actor), c.EntraTenantID, c.ServicePrincipalID, c.JobID, model.ScheduleDisabled)
	}),
	"quarantine": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		return m.Quarantine(c.EntraTenantID, c.ServicePrincipalID, c.JobID, a.Value)
	}),
	"recreate_tenant": func(m *clouds.Model, c clouds.Connection, a Action) (any, error) {
		return m.RecreateProvisioningTenant(a.Actor, c.IdentityStoreID)
	},
	"allow_sources": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		return m.AllowSources(a.Actor, c.IdentityStoreID, a.Sources...)
	}),
	"deny": silently(func(m *clouds.Model, _ clouds.Connection, a Action) error {
		m.Deny(clouds.ActorExporter, a.Action, a.How)
		return nil
	}),
	"allow": silently(func(m *clouds.Model, _ clouds.Connection, a Action) error {
		m.Allow(clouds.ActorExporter, a.Action)
		return nil
	}),
	"take_licence": silently(func(m *clouds.Model, c clouds.Connection, _ Action) error {
		return m.SetLicence(c.EntraTenantID, false)
	}),
	"second_application": func(m *clouds.Model, c clouds.Connection, _ Action) (any, error) {
		return m.AddApplication(c.EntraTenantID, "AWS IAM Identity Center (another)")
	},
	"change_identifier": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		return m.ChangeApplication(c.EntraTenantID, c.ServicePrincipalID, func(sp *clouds.ServicePrincipal) { sp.EntityIDs = []string{a.Value} })
	}),
	"add_certificate": func(m *clouds.Model, c clouds.Connection, _ Action) (any, error) {
		added := m.NewSigningCertificate(m.Now(), m.Now().AddDate(3, 0, 0))
		return map[string]string{"thumbprint": added.Thumbprint()}, m.ChangeApplication(c.EntraTenantID, c.ServicePrincipalID, func(sp *clouds.ServicePrincipal) {
			sp.Certificates = append(sp.Certificates, added)
		})
	},
	"activate_certificate": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		return m.ChangeApplication(c.EntraTenantID, c.ServicePrincipalID, func(sp *clouds.ServicePrincipal) {
			for _, certificate := range sp.Certificates {
				if certificate.Thumbprint() == a.Thumbprint {
					sp.Preferred = certificate.Certificate
				}
			}
		})
	}),
}

// Perform performs an action.
func (s *Simulator) Perform(a Action) (any, error) {
	do, known := actions[a.Do]
	if !known {
		return nil, fmt.Errorf("unknown action %q: known are %s", a.Do, strings.Join(slices.Sorted(maps.Keys(actions)), ", "))
	}
	if a.Actor == "" {
		a.Actor = clouds.ActorOperator
	}
	if a.How == "" {
		a.How = clouds.DenyMissing
	}
	var (
		result any
		err    error
	)
	s.With(func(m *clouds.Model) {
		var connection clouds.Connection
		if connection, err = connectionNamed(m, a.Connection); err == nil {
			result, err = do(m, connection, a)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.Do, err)
	}
	return result, nil
}

// connectionNamed finds a connection by its name; "" is the only one.
func connectionNamed(m *clouds.Model, name string) (clouds.Connection, error) {
	var names []string
	connections := m.Connections()
	for _, connection := range connections {
		if connection.Name == name || name == "" && len(connections) == 1 {
			return rebound(m, connection), nil
		}
		names = append(names, connection.Name)
	}
	return clouds.Connection{}, fmt.Errorf("no connection %q: known are %s", name, strings.Join(names, ", "))
}

func rebound(m *clouds.Model, connection clouds.Connection) clouds.Connection {
	tenants, err := m.ListProvisioningTenants(clouds.CallerFor(clouds.ActorSetup), connection.IdentityStoreID)
	if err == nil && len(tenants) > 0 {
		connection.ProvisioningTenantID, connection.SCIMEndpoint = tenants[0].TenantID, strings.TrimSuffix(tenants[0].SCIMEndpoint, "/")
	}
	return connection
}
