package harness

import (
	"net/netip"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// What other people do to the clouds, by the same doors as everybody.

func (l *Harness) ByOperator(do func(*clouds.Model) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := do(l.Clouds); err != nil {
		l.Clouds.Annotate("play", "a person failed: %v", err)
	}
}

func (l *Harness) CreateToken() (id string) {
	l.ByOperator(func(w *clouds.Model) error {
		token, err := w.CreateBearerToken(clouds.CallerFor(clouds.ActorOperator), l.Connection.IdentityStoreID, l.Connection.ProvisioningTenantID)
		id = token.ID
		return err
	})
	return id
}

func (l *Harness) SaveToken(actor clouds.Actor, tokenID string) {
	l.ByOperator(func(w *clouds.Model) error {
		return w.SaveToken(actor, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, tokenID)
	})
}

func (l *Harness) SaveGarbage() {
	l.ByOperator(func(w *clouds.Model) error {
		return w.SaveValue(clouds.ActorOperator, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, "mistyped")
	})
}

func (l *Harness) Deny(action clouds.Action) {
	l.ByOperator(func(w *clouds.Model) error {
		w.Deny(clouds.ActorExporter, action, clouds.DenyMissing)
		return nil
	})
}

// AllowOnlyFrom lets SCIM be called from this address alone.
func (l *Harness) AllowOnlyFrom(address string) {
	l.ByOperator(func(w *clouds.Model) error {
		return w.AllowSources(clouds.ActorOperator, l.Connection.IdentityStoreID, netip.MustParsePrefix(address+"/32"))
	})
}

// NewestToken is the token that the exporter made last; "" if it made none.
func NewestToken(l *Harness) (id string) {
	l.WithClouds(func(w *clouds.Model) {
		for c := range clouds.EntriesOf[clouds.Creation](w) {
			if c.Actor == clouds.ActorExporter {
				id = c.TokenID
			}
		}
	})
	return id
}

// ActionOn does something to the world that may fail, as what people do may.
func ActionOn(do func(*Harness, *clouds.Model) error) func(*Harness) {
	return func(l *Harness) {
		l.WithClouds(func(w *clouds.Model) {
			if err := do(l, w); err != nil {
				w.Annotate(clouds.ActorOperator, "failed: %v", err)
			}
		})
	}
}

var Operator = clouds.CallerFor(clouds.ActorOperator)

func DeleteToken(l *Harness, id string) {
	ActionOn(func(l *Harness, w *clouds.Model) error {
		return w.DeleteBearerToken(Operator, l.Connection.IdentityStoreID, l.Connection.ProvisioningTenantID, id)
	})(l)
}

func After(after time.Duration, do func(*Harness, *clouds.Model) error) func(*Harness) {
	return ActionOn(func(l *Harness, w *clouds.Model) error {
		w.Schedule(w.Now().Add(after), func(w *clouds.Model) {
			if err := do(l, w); err != nil {
				w.Annotate(clouds.ActorOperator, "failed: %v", err)
			}
		})
		return nil
	})
}

func PauseJob(l *Harness, w *clouds.Model) error {
	return w.PauseJob(Operator, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID)
}

func StartJob(l *Harness, w *clouds.Model) error {
	return w.StartJob(Operator, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID)
}

func ReplaceJob(l *Harness, w *clouds.Model) error {
	_, err := w.ReplaceJob(clouds.ActorOperator, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID)
	return err
}

func SkewClocks(by time.Duration, lasts time.Duration) func(*Harness) {
	return func(l *Harness) {
		l.WithClouds(func(w *clouds.Model) {
			w.SetSkew(clouds.Skew{AWS: by})
			w.Annotate(clouds.ActorSetup, "AWS's clock is %s away", by)
			if lasts > 0 {
				w.Schedule(w.Now().Add(lasts), func(w *clouds.Model) { w.SetSkew(clouds.Skew{}) })
			}
		})
	}
}
