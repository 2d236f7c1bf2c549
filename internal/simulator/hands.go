package simulator

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// Action is something that a person, a tool or AWS and Entra themselves do besides the
// exporter.
type Action struct {
	Do         string       `json:"do"`
	Connection string       `json:"connection"`      // default: the only one
	Actor      clouds.Actor `json:"actor,omitempty"` // default: person

	TokenID     string           `json:"token_id,omitempty"`
	Value       string           `json:"value,omitempty"`
	UserName    string           `json:"user_name,omitempty"`
	DisplayName string           `json:"display_name,omitempty"`
	ResetScope  string           `json:"reset_scope,omitempty"`
	Sources     []netip.Prefix   `json:"sources,omitempty"`
	Whom        clouds.Actor     `json:"whom,omitempty"` // of deny and allow; default: exporter
	Action      clouds.Action    `json:"action,omitempty"`
	How         clouds.Denial    `json:"how,omitempty"` // default: missing
	Roles       []string         `json:"roles,omitempty"`
	Thumbprint  string           `json:"thumbprint,omitempty"`
	Entry       *clouds.LogEntry `json:"entry,omitempty"`
}

// hands is what each does to a connection; the result, if any, is shown.
var hands = map[string]func(*clouds.Model, clouds.Connection, Action) (any, error){
	"create_token": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		token, err := w.CreateBearerToken(clouds.CallerFor(h.Actor), c.IdentityStoreID, c.ProvisioningTenantID)
		return map[string]string{"token_id": token.ID, "value": token.Value}, err
	},
	"delete_token": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		return nil, w.DeleteBearerToken(clouds.CallerFor(h.Actor), c.IdentityStoreID, c.ProvisioningTenantID, h.TokenID)
	},
	"expire_token": func(w *clouds.Model, _ clouds.Connection, h Action) (any, error) {
		return nil, w.Expire(h.Actor, h.TokenID)
	},
	"save_token": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		return nil, w.SaveToken(h.Actor, c.EntraTenantID, c.ServicePrincipalID, h.TokenID)
	},
	"save_value": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		return nil, w.SaveValue(h.Actor, c.EntraTenantID, c.ServicePrincipalID, h.Value)
	},
	"add_user": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		id, err := w.AddUser(h.Actor, c.EntraTenantID, c.ServicePrincipalID, h.UserName)
		return map[string]string{"object_id": id}, err
	},
	"change_user": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		return nil, w.ChangeUser(h.Actor, c.EntraTenantID, c.ServicePrincipalID, h.UserName, h.DisplayName)
	},
	"remove_user": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		return nil, w.RemoveUser(h.Actor, c.EntraTenantID, c.ServicePrincipalID, h.UserName)
	},
	"start": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		return nil, w.StartJob(clouds.CallerFor(h.Actor), c.EntraTenantID, c.ServicePrincipalID, c.JobID)
	},
	"restart": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		return nil, w.RestartJob(clouds.CallerFor(h.Actor), c.EntraTenantID, c.ServicePrincipalID, c.JobID, h.ResetScope)
	},
	"pause": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		return nil, w.PauseJob(clouds.CallerFor(h.Actor), c.EntraTenantID, c.ServicePrincipalID, c.JobID)
	},
	"disable": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		return nil, w.DisableJob(clouds.CallerFor(h.Actor), c.EntraTenantID, c.ServicePrincipalID, c.JobID)
	},
	"quarantine_deletes": func(w *clouds.Model, c clouds.Connection, _ Action) (any, error) {
		return nil, w.QuarantineForDeletes(c.EntraTenantID, c.ServicePrincipalID, c.JobID)
	},
	"recreate_tenant": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		return w.RecreateProvisioningTenant(h.Actor, c.IdentityStoreID)
	},
	"allow_sources": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		return nil, w.AllowSources(h.Actor, c.IdentityStoreID, h.Sources...)
	},
	"deny": func(w *clouds.Model, _ clouds.Connection, h Action) (any, error) {
		w.Deny(h.Whom, h.Action, h.How)
		return nil, nil
	},
	"allow": func(w *clouds.Model, _ clouds.Connection, h Action) (any, error) {
		w.Allow(h.Whom, h.Action)
		return nil, nil
	},
	"take_licence": func(w *clouds.Model, c clouds.Connection, _ Action) (any, error) {
		return nil, w.SetLicence(c.EntraTenantID, false)
	},
	"give_licence": func(w *clouds.Model, c clouds.Connection, _ Action) (any, error) {
		return nil, w.SetLicence(c.EntraTenantID, true)
	},
	"log_entry": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		if h.Entry == nil {
			return nil, fmt.Errorf("log_entry needs an entry")
		}
		return nil, w.AddLogEntry(c.EntraTenantID, c.ServicePrincipalID, c.JobID, *h.Entry)
	},
	"second_application": func(w *clouds.Model, c clouds.Connection, _ Action) (any, error) {
		return w.AddApplication(c.EntraTenantID, clouds.ServicePrincipal{DisplayName: "AWS IAM Identity Center (another)", TemplateID: clouds.AWSTemplateID})
	},
	"add_certificate": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		certificate := w.NewCertificate("Microsoft Azure Federated SSO Certificate", w.Now(), w.Now().AddDate(3, 0, 0))
		added, err := w.AddSigningCertificate(clouds.CallerFor(h.Actor), c.EntraTenantID, c.ServicePrincipalID, certificate)
		if err != nil {
			return nil, err
		}
		return map[string]string{"thumbprint": added.Thumbprint()}, nil
	},
	"activate_certificate": func(w *clouds.Model, c clouds.Connection, h Action) (any, error) {
		return nil, w.SetPreferred(clouds.CallerFor(h.Actor), c.EntraTenantID, c.ServicePrincipalID, h.Thumbprint)
	},
}

// Perform does what a hand does.
func (s *Simulator) Perform(h Action) (any, error) {
	do, known := hands[h.Do]
	if !known {
		return nil, fmt.Errorf("hands cannot do %q: known are %s", h.Do, strings.Join(slices.Sorted(maps.Keys(hands)), ", "))
	}
	if h.Actor == "" {
		h.Actor = clouds.ActorOperator
	}
	if h.Whom == "" {
		h.Whom = clouds.ActorExporter
	}
	if h.How == "" {
		h.How = clouds.DenyMissing
	}
	var (
		result any
		err    error
	)
	s.With(func(w *clouds.Model) {
		var connection clouds.Connection
		if connection, err = find(w, h.Connection); err == nil {
			result, err = do(w, connection, h)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", h.Do, err)
	}
	return result, nil
}

// find names a connection; without a name, the only one is meant.
func find(w *clouds.Model, name string) (clouds.Connection, error) {
	connections := w.Connections()
	var names []string
	for _, connection := range connections {
		if connection.Name == name || (name == "" && len(connections) == 1) {
			return current(w, connection), nil
		}
		names = append(names, connection.Name)
	}
	return clouds.Connection{}, fmt.Errorf("no connection %q: there are %s", name, strings.Join(names, ", "))
}

// current follows a provisioning tenant that was recreated.
func current(w *clouds.Model, connection clouds.Connection) clouds.Connection {
	tenants, err := w.ListProvisioningTenants(clouds.CallerFor(clouds.ActorSetup), connection.IdentityStoreID)
	if err == nil && len(tenants) > 0 {
		connection.ProvisioningTenantID = tenants[0].TenantID
		connection.SCIMEndpoint = strings.TrimSuffix(tenants[0].SCIMEndpoint, "/")
	}
	return connection
}

func (s *Simulator) controlHands(r *http.Request) (any, error) {
	var hand Action
	if err := ask(r, &hand); err != nil {
		return nil, err
	}
	return s.Perform(hand)
}

// controlConnection adds a connection while the simulator runs, in the tenant and
// account of the first one, so that the exporter's credentials reach it.
func (s *Simulator) controlConnection(r *http.Request) (any, error) {
	var request struct {
		Name string `json:"name"`
		Kind string `json:"kind"` // healthy (default) | expiring | quarantined
	}
	if err := ask(r, &request); err != nil {
		return nil, err
	}
	kinds := map[string]func(string) clouds.ConnectionSpec{
		"": clouds.Healthy, "healthy": clouds.Healthy, "expiring": clouds.Expiring, "quarantined": clouds.Quarantined,
	}
	spec, known := kinds[request.Kind]
	if !known || request.Name == "" {
		return nil, fmt.Errorf("a connection needs a name, and its kind is healthy, expiring or quarantined, not %q", request.Kind)
	}
	var added ConnectionState
	s.With(func(w *clouds.Model) {
		made := spec(request.Name)
		if connections := w.Connections(); len(connections) > 0 {
			made.TenantID, made.Account, made.Region = connections[0].EntraTenantID, connections[0].Account, connections[0].Region
		}
		added = s.connectionState(w, w.Add(made))
	})
	return added, nil
}

func (s *Simulator) controlFlood(r *http.Request) (any, error) {
	var request struct {
		Connection string    `json:"connection"`
		Count      int       `json:"count"`
		From       time.Time `json:"from"`  // default: so long ago that the last entry is now
		Every      Duration  `json:"every"` // default: 1s
	}
	if err := ask(r, &request); err != nil {
		return nil, err
	}
	var (
		connection clouds.Connection
		now        time.Time
		err        error
	)
	s.With(func(w *clouds.Model) {
		now = w.Now()
		connection, err = find(w, request.Connection)
	})
	if err != nil {
		return nil, err
	}
	if request.Every == 0 {
		request.Every = Duration(time.Second)
	}
	if request.From.IsZero() {
		request.From = now.Add(-time.Duration(request.Count) * time.Duration(request.Every))
	}
	return nil, s.AddFlood(BulkEvents{
		TenantID: connection.EntraTenantID, ServicePrincipalID: connection.ServicePrincipalID, JobID: connection.JobID,
		Count: request.Count, From: request.From, Every: request.Every,
	})
}
