package simulator

import (
	"encoding/pem"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

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
	"add_certificate": func(m *clouds.Model, c clouds.Connection, a Action) (any, error) {
		added, err := m.AddTokenSigningCertificate(clouds.CallerFor(a.Actor), c.EntraTenantID, c.ServicePrincipalID, "CN=Microsoft Azure Federated SSO Certificate", time.Time{})
		if err != nil {
			return nil, err
		}
		return map[string]string{"thumbprint": added.Thumbprint()}, nil
	},
	"activate_certificate": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		return m.PreferSigningCertificate(clouds.CallerFor(a.Actor), c.EntraTenantID, c.ServicePrincipalID, a.Thumbprint)
	}),
	"replace_certificate": func(m *clouds.Model, c clouds.Connection, a Action) (any, error) {
		thumbprint, err := m.ReplaceSigningCertificate(a.Actor, c.EntraTenantID, c.ServicePrincipalID)
		return map[string]string{"thumbprint": thumbprint}, err
	},
	"import_certificate": func(m *clouds.Model, c clouds.Connection, a Action) (any, error) {
		certificate, err := certificateOf(m, c, a.Thumbprint)
		if err != nil {
			return nil, err
		}
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.DER()})
		id, err := m.ImportIdPCertificate(clouds.CallerFor(a.Actor), m.IdPOf(c.IdentityStoreID), c.IdentityStoreID, string(block), clouds.CertificateUse)
		return map[string]string{"certificate_id": id}, err
	},
	"distrust_certificate": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		trusted, err := m.IdPCertificates(clouds.CallerFor(clouds.ActorSetup), m.IdPOf(c.IdentityStoreID), c.IdentityStoreID)
		if err != nil {
			return err
		}
		for _, certificate := range trusted {
			if strings.EqualFold(certificate.Thumbprint(), a.Thumbprint) {
				return m.DeleteIdPCertificate(clouds.CallerFor(a.Actor), m.IdPOf(c.IdentityStoreID), c.IdentityStoreID, certificate.CertificateID)
			}
		}
		return fmt.Errorf("AWS lists no certificate %s", a.Thumbprint)
	}),
	"replace_idp": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		return m.ReplaceIdP(a.Actor, c.IdentityStoreID)
	}),
	"second_idp": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		return m.AddIdP(a.Actor, c.IdentityStoreID)
	}),
	"change_sign_on": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		return m.SetSingleSignOn(a.Actor, c.EntraTenantID, c.ServicePrincipalID, a.Value)
	}),
	"sign_in_every": silently(func(m *clouds.Model, c clouds.Connection, a Action) error {
		every, err := time.ParseDuration(a.Value)
		if err != nil || every < 0 {
			return fmt.Errorf("%q is no duration of at least 0", a.Value)
		}
		return m.SetSignInInterval(c.EntraTenantID, c.ServicePrincipalID, every)
	}),
}

// certificateOf finds an application's certificate by its thumbprint, in any letter case.
func certificateOf(m *clouds.Model, c clouds.Connection, thumbprint string) (*clouds.Certificate, error) {
	sp, err := m.ServicePrincipal(clouds.CallerFor(clouds.ActorSetup), c.EntraTenantID, c.ServicePrincipalID)
	if err != nil {
		return nil, err
	}
	for _, certificate := range sp.Certificates {
		if strings.EqualFold(certificate.Thumbprint(), thumbprint) {
			return certificate.Certificate, nil
		}
	}
	return nil, fmt.Errorf("the application has no certificate %s", thumbprint)
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
