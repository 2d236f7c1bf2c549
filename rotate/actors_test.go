package rotate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/internal/simulator/world"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// actor is somebody, or something, who interferes.
type actor struct {
	name    string
	hand    func(*lab)
	prepare func(*lab)
	allowed []string
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

// actors are all who interfere, and how a rotation may end that they interfere with.
func actors() []actor {
	reconfigure := func(change func(Connection) []Connection) func(*lab) {
		return func(l *lab) {
			l.note("the config is reloaded")
			l.current.engine.Configure(change(l.current.connection()))
		}
	}
	return []actor{
		{"a person creates a token", func(l *lab) { l.createByHand() }, nil, []string{"done", "aborted", "blocked foreign_token", "blocked two_tokens", "blocked orphan_token"}},
		{"a person deletes the old token", func(l *lab) { deleteByHand(l, l.at.TokenIDs[0]) }, nil, []string{"done", "aborted", "blocked *"}},
		{"a person deletes the new token", func(l *lab) { deleteByHand(l, newest(l)) }, nil, []string{"done", "aborted", "blocked new_token_rejected", "blocked foreign_token", "blocked entra_holds_dead_token", "blocked credentials_overwritten", "blocked orphan_token", "blocked switch_failed", "blocked lifetime_too_short"}},
		{"a person saves another token", func(l *lab) { l.saveByHand(world.ActorPerson, l.createByHand()) }, nil, []string{"done", "aborted", "blocked foreign_token", "blocked two_tokens", "blocked credentials_overwritten", "blocked orphan_token"}},
		{"terraform writes the old token back", func(l *lab) { l.saveByHand(world.ActorTerraform, l.at.TokenIDs[0]) }, nil, []string{"done", "blocked credentials_overwritten", "blocked switch_reverted", "blocked entra_holds_dead_token"}},
		{"a person pauses the job for three hours", func(l *lab) { byHand(pauseJob)(l); later(3*time.Hour, startJob)(l) }, nil, []string{"done"}},
		{"a person pauses the job for good", byHand(pauseJob), nil, []string{"done", "blocked job_stopped"}},
		{"a person disables the job", byHand(func(l *lab, w *world.World) error {
			return w.DisableJob(person, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
		}), nil, []string{"done", "blocked job_stopped"}},
		{"a person restarts the job", byHand(func(l *lab, w *world.World) error {
			return w.RestartJob(person, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID, "Full")
		}), nil, []string{"done"}},
		{"too many deletes", byHand(func(l *lab, w *world.World) error {
			return w.QuarantineForDeletes(l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
		}), nil, []string{"done", "blocked quarantine_other"}},
		{"the old token expires", byHand(func(l *lab, w *world.World) error { return w.Expire(world.ActorTime, l.at.TokenIDs[0]) }), nil, []string{"done"}},
		{"the new token expires", func(l *lab) {
			if id := newest(l); id != "" {
				l.locked(func(w *world.World) { _ = w.Expire(world.ActorTime, id) })
			}
		}, nil, []string{"done", "aborted", "blocked *"}},
		{"the provisioning tenant is recreated", byHand(func(l *lab, w *world.World) error {
			_, err := w.RecreateProvisioningTenant(world.ActorPerson, l.at.IdentityStoreID)
			return err
		}), nil, []string{"aborted", "done", "blocked binding_changed", "blocked entra_holds_dead_token", "none", "running *"}},
		{"the config is reloaded as it was", reconfigure(func(c Connection) []Connection { return []Connection{c} }), nil, []string{"done"}},
		{"rotation is disabled", reconfigure(func(c Connection) []Connection {
			c.Policy.Mode = "disabled"
			return []Connection{c}
		}), nil, []string{"done"}},
		{"the connection is removed", reconfigure(func(Connection) []Connection { return nil }), nil, []string{"done", "blocked connection_removed"}},
		{"a second replica comes", func(l *lab) { l.note("a second replica"); l.extra = append(l.extra, l.serveBeside(l.ctx)) }, nil, []string{"done"}},
		{"AWS's clock jumps two days ahead for an hour", skewed(48*time.Hour, time.Hour), nil, []string{"done", "aborted", "blocked clock", "blocked foreign_token"}},
		{"AWS's clock jumps two days back for good", skewed(-48*time.Hour, 0), nil, []string{"done", "aborted", "blocked clock", "blocked foreign_token"}},
		{"the state of a third before is put back", func(l *lab) {
			l.note("an earlier state is put back")
			l.memory.putBack(len(l.memory.past) * 2 / 3)
		}, func(l *lab) { l.memory.keepPast = true; l.valueLost = true }, []string{"done", "blocked state_restored", "blocked foreign_token", "blocked orphan_token", "blocked vault_value_lost", "blocked two_tokens", "aborted"}},
		{"a person holds it for a day", func(l *lab) {
			s := l.current
			go func() {
				_ = s.engine.Hold(l.ctx, l.at.Name, false)
				if sleep(l.ctx, 24*time.Hour) == nil {
					_ = l.current.engine.Hold(l.ctx, l.at.Name, true)
				}
			}()
		}, nil, []string{"done", "aborted", "waiting held"}},
		{"a person aborts it", func(l *lab) {
			s := l.current
			go func() { _ = s.engine.Abort(l.ctx, l.at.Name) }()
		}, nil, []string{"done", "aborted"}},
	}
}

// actorsAt lets each actor interfere before each call of a rotation, or before a sample.
func actorsAt(trace []string) []trial {
	const sample = 20 // positions for each
	var trials []trial
	for n, a := range actors() {
		step := 1
		if !full() {
			step = max(1, len(trace)/sample)
		}
		for at := n % step; at < len(trace); at += step {
			s := short()
			s.hands = map[string]func(*lab){fmt.Sprintf("#%d", at): a.hand}
			if a.prepare != nil {
				s.prepare = func(l *lab) { rememberOld(l); a.prepare(l) }
			}
			trials = append(trials, trial{scenario: s, base: short, prefix: "actor ", name: fmt.Sprintf("actor:%s:%d", a.name, at), allowed: a.allowed})
		}
	}
	return trials
}

// replicas plays with two processes on one store: one sleeps past its lease before or
// after a call, or dies, the other takes over, and the first wakes up.
func replicas(trace []string) []trial {
	var trials []trial
	for at, call := range trace {
		for _, f := range []fault{suspended, sleptAfter} {
			if !slices.Contains(kinds(call), f) && call != "journal.save" {
				continue
			}
			s := short()
			s.faults = map[int]fault{at: f}
			s.begin = func(l *lab, first *session) {
				l.extra = append(l.extra, l.serveBeside(l.ctx))
				l.alert(l.ctx, first)
			}
			trials = append(trials, trial{scenario: s, base: short, prefix: "replica ", name: fmt.Sprintf("replica:%s", strike{at, call, f, ""}),
				allowed: []string{"done", "aborted", "blocked state_restored", "blocked orphan_token"}})
		}
	}
	if full() {
		return trials
	}
	return slices.DeleteFunc(trials, func(tr trial) bool { return number(tr.name)%4 != 0 })
}

// serveBeside starts another process on the same store, which stays the lesser one.
func (l *lab) serveBeside(ctx context.Context) *session {
	first := l.current
	s := l.serve(ctx)
	l.current = first
	return s
}
