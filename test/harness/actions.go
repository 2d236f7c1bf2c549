package harness

// The operator's and other tools' actions. They change AWS and Entra by the same API as
// the exporter.

import (
	"net/netip"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// Operator is the caller of what an operator does.
var Operator = clouds.CallerFor(clouds.ActorOperator)

// ByOperator runs a function on the model and notes its error.
func (h *Harness) ByOperator(do func(*clouds.Model) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := do(h.Clouds); err != nil {
		h.Clouds.Annotate(clouds.ActorOperator, "failed: %v", err)
	}
}

// CreateToken creates a token as an operator; "": there was no slot.
func (h *Harness) CreateToken() (id string) {
	h.ByOperator(func(m *clouds.Model) error {
		token, err := m.CreateBearerToken(clouds.CallerFor(clouds.ActorOperator), h.Connection.IdentityStoreID, h.Connection.ProvisioningTenantID)
		id = token.ID
		return err
	})
	return id
}

// SaveToken saves a token's value to Entra.
func (h *Harness) SaveToken(actor clouds.Actor, tokenID string) {
	h.ByOperator(func(m *clouds.Model) error {
		return m.SaveToken(actor, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, tokenID)
	})
}

// SaveGarbage saves a value to Entra that is no token's.
func (h *Harness) SaveGarbage() {
	h.ByOperator(func(m *clouds.Model) error {
		return m.SaveValue(clouds.ActorOperator, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, "mistyped")
	})
}

// Deny takes a permission from the exporter.
func (h *Harness) Deny(action clouds.Action) {
	h.ByOperator(func(m *clouds.Model) error {
		m.Deny(clouds.ActorExporter, action, clouds.DenyMissing)
		return nil
	})
}

// AllowOnlyFrom makes AWS accept SCIM calls from this address only.
func (h *Harness) AllowOnlyFrom(address string) {
	h.ByOperator(func(m *clouds.Model) error {
		return m.AllowSources(clouds.ActorOperator, h.Connection.IdentityStoreID, netip.MustParsePrefix(address+"/32"))
	})
}

// NewestToken is the token that the exporter created last; "": it created none.
func NewestToken(h *Harness) (id string) {
	h.WithClouds(func(m *clouds.Model) {
		for c := range clouds.EntriesOf[clouds.Creation](m) {
			if c.Actor == clouds.ActorExporter {
				id = c.TokenID
			}
		}
	})
	return id
}

// ActionOn makes an action of a function on the model. The action notes its error.
func ActionOn(do func(*Harness, *clouds.Model) error) func(*Harness) {
	return func(h *Harness) {
		h.ByOperator(func(m *clouds.Model) error { return do(h, m) })
	}
}

// DeleteToken deletes a token as an operator.
func DeleteToken(h *Harness, id string) {
	ActionOn(func(h *Harness, m *clouds.Model) error {
		return m.DeleteBearerToken(Operator, h.Connection.IdentityStoreID, h.Connection.ProvisioningTenantID, id)
	})(h)
}

// After makes an action that takes effect after a while.
func After(after time.Duration, do func(*Harness, *clouds.Model) error) func(*Harness) {
	return ActionOn(func(h *Harness, m *clouds.Model) error {
		m.Schedule(m.Now().Add(after), func(m *clouds.Model) {
			if err := do(h, m); err != nil {
				m.Annotate(clouds.ActorOperator, "failed: %v", err)
			}
		})
		return nil
	})
}

// PauseJob pauses the provisioning job.
func PauseJob(h *Harness, m *clouds.Model) error {
	return m.StopJob(Operator, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID, model.SchedulePaused)
}

// StartJob starts the provisioning job.
func StartJob(h *Harness, m *clouds.Model) error {
	return m.StartJob(Operator, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID)
}

// ReplaceJob replaces the provisioning job by another one.
func ReplaceJob(h *Harness, m *clouds.Model) error {
	_, err := m.ReplaceJob(clouds.ActorOperator, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID)
	return err
}

// clockNote is followed by how far AWS's clock is away.
const clockNote = "AWS's clock is "

// SkewClocks makes an action that sets AWS's clock wrong for a while; lasts 0: for good.
func SkewClocks(by, lasts time.Duration) func(*Harness) {
	return func(h *Harness) {
		h.WithClouds(func(m *clouds.Model) {
			m.SetSkew(clouds.Skew{AWS: by})
			m.Annotate(clouds.ActorSetup, clockNote+"%s away", by)
			if lasts > 0 {
				m.Schedule(m.Now().Add(lasts), func(m *clouds.Model) { m.SetSkew(clouds.Skew{}) })
			}
		})
	}
}
