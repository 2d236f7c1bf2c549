package rotate_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/token"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// actor is somebody, or something, who interferes.
type actor struct {
	name    string
	hand    func(*lab)
	allowed []string
	prepare func(*lab)      // beside what the scenario prepares
	base    func() scenario // nil: short
}

// actors are all who interfere, and how a rotation may end that they interfere with.
func actors() []actor {
	reconfigure := func(change func(token.Options) []token.Options) func(*lab) {
		return func(l *lab) {
			l.note("the config is reloaded")
			l.current.Load().engine.Configure(change(l.current.Load().connection()))
		}
	}
	return []actor{
		{
			name:    "a person creates a token",
			hand:    func(l *lab) { l.createByHand() },
			allowed: []string{"done", "aborted", "blocked foreign_token", "blocked two_tokens", "blocked orphan_token"},
		},
		{
			name:    "a person deletes the old token",
			hand:    func(l *lab) { deleteByHand(l, l.at.TokenIDs[0]) },
			allowed: []string{"done", "aborted", "blocked *"},
		},
		{
			name:    "a person deletes the new token",
			hand:    func(l *lab) { deleteByHand(l, newest(l)) },
			allowed: []string{"done", "aborted", "blocked new_token_rejected", "blocked foreign_token", "blocked entra_holds_dead_token", "blocked credentials_overwritten", "blocked orphan_token", "blocked switch_failed", "blocked lifetime_too_short"},
		},
		{
			name:    "a person saves another token",
			hand:    func(l *lab) { l.saveByHand(clouds.ActorOperator, l.createByHand()) },
			allowed: []string{"done", "aborted", "blocked foreign_token", "blocked two_tokens", "blocked credentials_overwritten", "blocked orphan_token"},
		},
		{
			name:    "a person mistypes the token",
			hand:    (*lab).saveGarbage,
			allowed: []string{"done", "blocked credentials_overwritten", "blocked switch_reverted"},
		},
		{
			name:    "terraform writes the old token back",
			hand:    func(l *lab) { l.saveByHand(clouds.ActorTerraform, l.at.TokenIDs[0]) },
			allowed: []string{"done", "blocked credentials_overwritten", "blocked switch_reverted", "blocked entra_holds_dead_token"},
		},
		{
			name:    "a person pauses the job for three hours",
			hand:    func(l *lab) { byHand(pauseJob)(l); later(3*time.Hour, startJob)(l) },
			allowed: []string{"done"},
		},
		{
			name:    "a person pauses the job for good",
			hand:    byHand(pauseJob),
			allowed: []string{"done", "blocked job_stopped"},
		},
		{
			name: "a person disables the job",
			hand: byHand(func(l *lab, w *clouds.Model) error {
				return w.DisableJob(person, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
			}),
			allowed: []string{"done", "blocked job_stopped"},
		},
		{
			name: "a person restarts the job",
			hand: byHand(func(l *lab, w *clouds.Model) error {
				return w.RestartJob(person, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID, "Full")
			}),
			allowed: []string{"done"},
		},
		{
			name: "too many deletes",
			hand: byHand(func(l *lab, w *clouds.Model) error {
				return w.QuarantineForDeletes(l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
			}),
			allowed: []string{"done", "blocked quarantine_other"},
		},
		{
			name:    "the old token expires",
			hand:    byHand(func(l *lab, w *clouds.Model) error { return w.Expire(clouds.ActorTime, l.at.TokenIDs[0]) }),
			allowed: []string{"done"},
		},
		{
			name: "the new token expires",
			hand: func(l *lab) {
				if id := newest(l); id != "" {
					l.locked(func(w *clouds.Model) { _ = w.Expire(clouds.ActorTime, id) })
				}
			},
			allowed: []string{"done", "aborted", "blocked *"},
		},
		{
			name: "the provisioning tenant is recreated",
			hand: byHand(func(l *lab, w *clouds.Model) error {
				_, err := w.RecreateProvisioningTenant(clouds.ActorOperator, l.at.IdentityStoreID)
				return err
			}),
			allowed: []string{"aborted", "done", "blocked binding_changed", "blocked entra_holds_dead_token", "none"},
		},
		{
			name:    "a person sets up another job",
			hand:    byHand(replaceJob),
			allowed: []string{"aborted", "done", "blocked binding_changed", "none"},
		},
		{
			name: "Entra tries the quarantined job again",
			hand: byHand(func(l *lab, w *clouds.Model) error {
				return w.RetryNow(clouds.CallerFor(clouds.ActorEngine), l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
			}),
			base:    repair,
			allowed: []string{"done"},
		},
		{
			name:    "the config is reloaded as it was",
			hand:    reconfigure(func(c token.Options) []token.Options { return []token.Options{c} }),
			allowed: []string{"done"},
		},
		{
			name: "rotation is disabled",
			hand: reconfigure(func(c token.Options) []token.Options {
				c.Policy.Mode = model.RotationDisabled
				return []token.Options{c}
			}),
			allowed: []string{"done"},
		},
		{
			name: "rotation is only rehearsed",
			hand: reconfigure(func(c token.Options) []token.Options {
				c.Policy.Mode = model.RotationDryRun
				return []token.Options{c}
			}),
			allowed: []string{"done"},
		},
		{
			name:    "the connection is removed",
			hand:    reconfigure(func(token.Options) []token.Options { return nil }),
			allowed: []string{"done", "blocked connection_removed"},
		},
		{
			name:    "a second replica comes",
			hand:    func(l *lab) { l.note("a second replica"); l.extra = append(l.extra, l.serveBeside(l.ctx)) },
			allowed: []string{"done"},
		},
		{
			name:    "AWS's clock jumps two days ahead for an hour",
			hand:    skewed(48*time.Hour, time.Hour),
			allowed: []string{"done", "aborted", "blocked clock", "blocked foreign_token"},
		},
		{
			name:    "AWS's clock jumps two days ahead for good",
			hand:    skewed(48*time.Hour, 0),
			allowed: []string{"done", "aborted", "blocked clock", "blocked foreign_token"},
		},
		{
			name:    "AWS's clock jumps two days back for good",
			hand:    skewed(-48*time.Hour, 0),
			allowed: []string{"done", "aborted", "blocked clock", "blocked foreign_token"},
		},
		{
			name: "the state of a third before is put back",
			hand: func(l *lab) {
				l.note("an earlier state is put back")
				l.memory.putBack(len(l.memory.past) * 2 / 3)
			},
			prepare: func(l *lab) { l.memory.keepPast = true; l.valueLost = true },
			allowed: []string{"done", "blocked state_restored", "blocked foreign_token", "blocked orphan_token", "blocked token_value_lost", "blocked two_tokens", "aborted"},
		},
		{
			name: "a person holds it for a day",
			hand: func(l *lab) {
				s := l.current.Load()
				go func() {
					_ = s.engine.Hold(l.ctx, l.at.Name, false)
					if rotate.Sleep(l.ctx, 24*time.Hour) == nil {
						_ = l.current.Load().engine.Hold(l.ctx, l.at.Name, true)
					}
				}()
			},
			allowed: []string{"done", "aborted", "waiting held"},
		},
		{
			name: "a person aborts it",
			hand: func(l *lab) {
				s := l.current.Load()
				go func() { _ = s.engine.Abort(l.ctx, l.at.Name) }()
			},
			allowed: []string{"done", "aborted"},
		},
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
			base := short
			if a.base != nil {
				base = a.base
			}
			s := base()
			s.hands = map[string]func(*lab){fmt.Sprintf("#%d", at): a.hand}
			if a.prepare != nil {
				prepare := s.prepare
				s.prepare = func(l *lab) { prepare(l); a.prepare(l) }
			}
			trials = append(trials, trial{scenario: s, name: fmt.Sprintf("actor:%s:%d", a.name, at), allowed: a.allowed})
		}
	}
	return trials
}

// replicas plays with two processes on one store: one sleeps past its lease before or
// after a call, or is stopped, the other takes over, and the first wakes up, or comes back.
func replicas(trace []string) []trial {
	var trials []trial
	for at, call := range trace {
		for _, f := range []fault{suspended, sleptAfter, stopped} {
			if !slices.Contains(kinds(call), f) && call != "journal.save" {
				continue
			}
			s := short()
			s.faults = map[int]fault{at: f}
			s.begin = func(l *lab, first *session) {
				l.extra = append(l.extra, l.serveBeside(l.ctx))
				l.alert(l.ctx, first)
			}
			trials = append(trials, trial{scenario: s, name: fmt.Sprintf("replica:%s", strike{at, call, f, ""}),
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
	first := l.current.Load()
	s := l.serve(ctx)
	l.current.Store(first)
	return s
}
