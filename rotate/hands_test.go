package rotate

import (
	"net/netip"
	"time"

	"entra-aws-exporter/internal/simulator/world"
)

// What other people do to the clouds, by the same doors as everybody.

func (l *lab) person(do func(*world.World) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := do(l.world); err != nil {
		l.world.Mark("play", "a person failed: %v", err)
	}
}

func (l *lab) createByHand() (id string) {
	l.person(func(w *world.World) error {
		token, err := w.CreateBearerToken(world.By(world.ActorPerson), l.at.IdentityStoreID, l.at.ProvisioningTenantID)
		id = token.ID
		return err
	})
	return id
}

func (l *lab) saveByHand(actor world.Actor, tokenID string) {
	l.person(func(w *world.World) error {
		return w.SaveToken(actor, l.at.EntraTenantID, l.at.ServicePrincipalID, tokenID)
	})
}

func (l *lab) saveGarbage() {
	l.person(func(w *world.World) error {
		return w.SaveValue(world.ActorPerson, l.at.EntraTenantID, l.at.ServicePrincipalID, "mistyped")
	})
}

func (l *lab) deny(action world.Action) {
	l.person(func(w *world.World) error {
		w.Deny(world.ActorExporter, action, world.DenyMissing)
		return nil
	})
}

// onlyFrom lets SCIM be called from this address alone.
func (l *lab) onlyFrom(address string) {
	l.person(func(w *world.World) error {
		return w.AllowSources(world.ActorPerson, l.at.IdentityStoreID, netip.MustParsePrefix(address+"/32"))
	})
}

// newest is the token that the exporter made last; "" if it made none.
func newest(l *lab) (id string) {
	l.locked(func(w *world.World) {
		for c := range world.RecordsOf[world.Creation](w) {
			if c.Actor == world.ActorExporter {
				id = c.TokenID
			}
		}
	})
	return id
}

// byHand does something to the world that may fail, as what people do may.
func byHand(do func(*lab, *world.World) error) func(*lab) {
	return func(l *lab) {
		l.locked(func(w *world.World) {
			if err := do(l, w); err != nil {
				w.Mark(world.ActorPerson, "failed: %v", err)
			}
		})
	}
}

var person = world.By(world.ActorPerson)

func deleteByHand(l *lab, id string) {
	byHand(func(l *lab, w *world.World) error {
		return w.DeleteBearerToken(person, l.at.IdentityStoreID, l.at.ProvisioningTenantID, id)
	})(l)
}

func later(after time.Duration, do func(*lab, *world.World) error) func(*lab) {
	return byHand(func(l *lab, w *world.World) error {
		w.Schedule(w.Now().Add(after), "later", func(w *world.World) {
			if err := do(l, w); err != nil {
				w.Mark(world.ActorPerson, "failed: %v", err)
			}
		})
		return nil
	})
}

func pauseJob(l *lab, w *world.World) error {
	return w.PauseJob(person, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
}

func startJob(l *lab, w *world.World) error {
	return w.StartJob(person, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
}

func replaceJob(l *lab, w *world.World) error {
	_, err := w.ReplaceJob(world.ActorPerson, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
	return err
}

func skewed(by time.Duration, lasts time.Duration) func(*lab) {
	return func(l *lab) {
		l.locked(func(w *world.World) {
			w.SetSkew(world.Skew{AWS: by})
			w.Mark(world.ActorScene, "AWS's clock is %s away", by)
			if lasts > 0 {
				w.Schedule(w.Now().Add(lasts), "clock", func(w *world.World) { w.SetSkew(world.Skew{}) })
			}
		})
	}
}
