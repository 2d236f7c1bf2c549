package rotate_test

import (
	"net/netip"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// What other people do to the clouds, by the same doors as everybody.

func (l *lab) person(do func(*clouds.Model) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := do(l.world); err != nil {
		l.world.Annotate("play", "a person failed: %v", err)
	}
}

func (l *lab) createByHand() (id string) {
	l.person(func(w *clouds.Model) error {
		token, err := w.CreateBearerToken(clouds.CallerFor(clouds.ActorOperator), l.at.IdentityStoreID, l.at.ProvisioningTenantID)
		id = token.ID
		return err
	})
	return id
}

func (l *lab) saveByHand(actor clouds.Actor, tokenID string) {
	l.person(func(w *clouds.Model) error {
		return w.SaveToken(actor, l.at.EntraTenantID, l.at.ServicePrincipalID, tokenID)
	})
}

func (l *lab) saveGarbage() {
	l.person(func(w *clouds.Model) error {
		return w.SaveValue(clouds.ActorOperator, l.at.EntraTenantID, l.at.ServicePrincipalID, "mistyped")
	})
}

func (l *lab) deny(action clouds.Action) {
	l.person(func(w *clouds.Model) error {
		w.Deny(clouds.ActorExporter, action, clouds.DenyMissing)
		return nil
	})
}

// onlyFrom lets SCIM be called from this address alone.
func (l *lab) onlyFrom(address string) {
	l.person(func(w *clouds.Model) error {
		return w.AllowSources(clouds.ActorOperator, l.at.IdentityStoreID, netip.MustParsePrefix(address+"/32"))
	})
}

// newest is the token that the exporter made last; "" if it made none.
func newest(l *lab) (id string) {
	l.locked(func(w *clouds.Model) {
		for c := range clouds.EntriesOf[clouds.Creation](w) {
			if c.Actor == clouds.ActorExporter {
				id = c.TokenID
			}
		}
	})
	return id
}

// byHand does something to the world that may fail, as what people do may.
func byHand(do func(*lab, *clouds.Model) error) func(*lab) {
	return func(l *lab) {
		l.locked(func(w *clouds.Model) {
			if err := do(l, w); err != nil {
				w.Annotate(clouds.ActorOperator, "failed: %v", err)
			}
		})
	}
}

var person = clouds.CallerFor(clouds.ActorOperator)

func deleteByHand(l *lab, id string) {
	byHand(func(l *lab, w *clouds.Model) error {
		return w.DeleteBearerToken(person, l.at.IdentityStoreID, l.at.ProvisioningTenantID, id)
	})(l)
}

func later(after time.Duration, do func(*lab, *clouds.Model) error) func(*lab) {
	return byHand(func(l *lab, w *clouds.Model) error {
		w.Schedule(w.Now().Add(after), func(w *clouds.Model) {
			if err := do(l, w); err != nil {
				w.Annotate(clouds.ActorOperator, "failed: %v", err)
			}
		})
		return nil
	})
}

func pauseJob(l *lab, w *clouds.Model) error {
	return w.PauseJob(person, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
}

func startJob(l *lab, w *clouds.Model) error {
	return w.StartJob(person, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
}

func replaceJob(l *lab, w *clouds.Model) error {
	_, err := w.ReplaceJob(clouds.ActorOperator, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
	return err
}

func skewed(by time.Duration, lasts time.Duration) func(*lab) {
	return func(l *lab) {
		l.locked(func(w *clouds.Model) {
			w.SetSkew(clouds.Skew{AWS: by})
			w.Annotate(clouds.ActorSetup, "AWS's clock is %s away", by)
			if lasts > 0 {
				w.Schedule(w.Now().Add(lasts), func(w *clouds.Model) { w.SetSkew(clouds.Skew{}) })
			}
		})
	}
}
