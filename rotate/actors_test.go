package rotate_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/test/harness"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/token"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// actor is somebody, or something, who interferes.
type actor struct {
	name    string
	hand    func(*harness.Harness)
	allowed []string
	prepare func(*harness.Harness)  // beside what the scenario prepares
	base    func() harness.Scenario // nil: short
}

// actors are all who interfere, and how a rotation may end that they interfere with.
func actors() []actor {
	reconfigure := func(change func(token.Options) []token.Options) func(*harness.Harness) {
		return func(l *harness.Harness) {
			l.Note("the config is reloaded")
			l.Current.Load().Engine.Configure(change(l.Current.Load().ConnectionOptions()))
		}
	}
	return []actor{
		{
			name:    "a person creates a token",
			hand:    func(l *harness.Harness) { l.CreateToken() },
			allowed: []string{"done", "aborted", "blocked foreign_token", "blocked two_tokens", "blocked orphan_token"},
		},
		{
			name:    "a person deletes the old token",
			hand:    func(l *harness.Harness) { harness.DeleteToken(l, l.Connection.TokenIDs[0]) },
			allowed: []string{"done", "aborted", "blocked *"},
		},
		{
			name:    "a person deletes the new token",
			hand:    func(l *harness.Harness) { harness.DeleteToken(l, harness.NewestToken(l)) },
			allowed: []string{"done", "aborted", "blocked new_token_rejected", "blocked foreign_token", "blocked entra_holds_dead_token", "blocked credentials_overwritten", "blocked orphan_token", "blocked switch_failed", "blocked lifetime_too_short"},
		},
		{
			name:    "a person saves another token",
			hand:    func(l *harness.Harness) { l.SaveToken(clouds.ActorOperator, l.CreateToken()) },
			allowed: []string{"done", "aborted", "blocked foreign_token", "blocked two_tokens", "blocked credentials_overwritten", "blocked orphan_token"},
		},
		{
			name:    "a person mistypes the token",
			hand:    (*harness.Harness).SaveGarbage,
			allowed: []string{"done", "blocked credentials_overwritten", "blocked switch_reverted"},
		},
		{
			name:    "terraform writes the old token back",
			hand:    func(l *harness.Harness) { l.SaveToken(clouds.ActorTerraform, l.Connection.TokenIDs[0]) },
			allowed: []string{"done", "blocked credentials_overwritten", "blocked switch_reverted", "blocked entra_holds_dead_token"},
		},
		{
			name: "a person pauses the job for three hours",
			hand: func(l *harness.Harness) {
				harness.ActionOn(harness.PauseJob)(l)
				harness.After(3*time.Hour, harness.StartJob)(l)
			},
			allowed: []string{"done"},
		},
		{
			name:    "a person pauses the job for good",
			hand:    harness.ActionOn(harness.PauseJob),
			allowed: []string{"done", "blocked job_stopped"},
		},
		{
			name: "a person disables the job",
			hand: harness.ActionOn(func(l *harness.Harness, w *clouds.Model) error {
				return w.DisableJob(harness.Operator, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID)
			}),
			allowed: []string{"done", "blocked job_stopped"},
		},
		{
			name: "a person restarts the job",
			hand: harness.ActionOn(func(l *harness.Harness, w *clouds.Model) error {
				return w.RestartJob(harness.Operator, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID, "Full")
			}),
			allowed: []string{"done"},
		},
		{
			name: "too many deletes",
			hand: harness.ActionOn(func(l *harness.Harness, w *clouds.Model) error {
				return w.QuarantineForDeletes(l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID)
			}),
			allowed: []string{"done", "blocked quarantine_other"},
		},
		{
			name: "the old token expires",
			hand: harness.ActionOn(func(l *harness.Harness, w *clouds.Model) error {
				return w.Expire(clouds.ActorTime, l.Connection.TokenIDs[0])
			}),
			allowed: []string{"done"},
		},
		{
			name: "the new token expires",
			hand: func(l *harness.Harness) {
				if id := harness.NewestToken(l); id != "" {
					l.WithClouds(func(w *clouds.Model) { _ = w.Expire(clouds.ActorTime, id) })
				}
			},
			allowed: []string{"done", "aborted", "blocked *"},
		},
		{
			name: "the provisioning tenant is recreated",
			hand: harness.ActionOn(func(l *harness.Harness, w *clouds.Model) error {
				_, err := w.RecreateProvisioningTenant(clouds.ActorOperator, l.Connection.IdentityStoreID)
				return err
			}),
			allowed: []string{"aborted", "done", "blocked binding_changed", "blocked entra_holds_dead_token", "none"},
		},
		{
			name:    "a person sets up another job",
			hand:    harness.ActionOn(harness.ReplaceJob),
			allowed: []string{"aborted", "done", "blocked binding_changed", "none"},
		},
		{
			name: "Entra tries the quarantined job again",
			hand: harness.ActionOn(func(l *harness.Harness, w *clouds.Model) error {
				return w.RetryNow(clouds.CallerFor(clouds.ActorEngine), l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID)
			}),
			base:    repairScenario,
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
			name: "a second replica comes",
			hand: func(l *harness.Harness) {
				l.Note("a second replica")
				l.ExtraProcesses = append(l.ExtraProcesses, serveBeside(l.Ctx, l))
			},
			allowed: []string{"done"},
		},
		{
			name:    "AWS's clock jumps two days ahead for an hour",
			hand:    harness.SkewClocks(48*time.Hour, time.Hour),
			allowed: []string{"done", "aborted", "blocked clock", "blocked foreign_token"},
		},
		{
			name:    "AWS's clock jumps two days ahead for good",
			hand:    harness.SkewClocks(48*time.Hour, 0),
			allowed: []string{"done", "aborted", "blocked clock", "blocked foreign_token"},
		},
		{
			name:    "AWS's clock jumps two days back for good",
			hand:    harness.SkewClocks(-48*time.Hour, 0),
			allowed: []string{"done", "aborted", "blocked clock", "blocked foreign_token"},
		},
		{
			name: "the state of a third before is put back",
			hand: func(l *harness.Harness) {
				l.Note("an earlier state is put back")
				l.Store.Restore(len(l.Store.History) * 2 / 3)
			},
			prepare: func(l *harness.Harness) { l.Store.KeepHistory = true; l.ValueLost = true },
			allowed: []string{"done", "blocked state_restored", "blocked foreign_token", "blocked orphan_token", "blocked token_value_lost", "blocked two_tokens", "aborted"},
		},
		{
			name: "a person holds it for a day",
			hand: func(l *harness.Harness) {
				s := l.Current.Load()
				go func() {
					_ = s.Engine.Hold(l.Ctx, l.Connection.Name, false)
					if rotate.Sleep(l.Ctx, 24*time.Hour) == nil {
						_ = l.Current.Load().Engine.Hold(l.Ctx, l.Connection.Name, true)
					}
				}()
			},
			allowed: []string{"done", "aborted", "waiting held"},
		},
		{
			name: "a person aborts it",
			hand: func(l *harness.Harness) {
				s := l.Current.Load()
				go func() { _ = s.Engine.Abort(l.Ctx, l.Connection.Name) }()
			},
			allowed: []string{"done", "aborted"},
		},
	}
}

// actorsAt lets each actor interfere before each call of a rotation, or before a sample.
func actorsAt(trace []string) []matrixCase {
	const sample = 20 // positions for each
	var trials []matrixCase
	for n, a := range actors() {
		step := 1
		if !full() {
			step = max(1, len(trace)/sample)
		}
		for at := n % step; at < len(trace); at += step {
			base := shortScenario
			if a.base != nil {
				base = a.base
			}
			s := base()
			s.Actions = map[string]func(*harness.Harness){fmt.Sprintf("#%d", at): a.hand}
			if a.prepare != nil {
				prepare := s.Prepare
				s.Prepare = func(l *harness.Harness) { prepare(l); a.prepare(l) }
			}
			trials = append(trials, matrixCase{Scenario: s, name: fmt.Sprintf("actor:%s:%d", a.name, at), allowed: a.allowed})
		}
	}
	return trials
}

// replicas plays with two processes on one store: one sleeps past its lease before or
// after a call, or is stopped, the other takes over, and the first wakes up, or comes back.
func replicas(trace []string) []matrixCase {
	var trials []matrixCase
	for at, call := range trace {
		for _, f := range []harness.Fault{harness.SuspendedBefore, harness.SuspendedAfter, harness.Terminated} {
			if !slices.Contains(kinds(call), f) && call != "journal.save" {
				continue
			}
			s := shortScenario()
			s.Faults = map[int]harness.Fault{at: f}
			s.Begin = func(l *harness.Harness, first *harness.Process) {
				l.ExtraProcesses = append(l.ExtraProcesses, serveBeside(l.Ctx, l))
				l.Alert(l.Ctx, first)
			}
			trials = append(trials, matrixCase{Scenario: s, name: fmt.Sprintf("replica:%s", injection{at, call, f, ""}),
				allowed: []string{"done", "aborted", "blocked state_restored", "blocked orphan_token"}})
		}
	}
	if full() {
		return trials
	}
	return slices.DeleteFunc(trials, func(tr matrixCase) bool { return number(tr.name)%4 != 0 })
}

// serveBeside starts another process on the same store, which stays the lesser one.
func serveBeside(ctx context.Context, l *harness.Harness) *harness.Process {
	first := l.Current.Load()
	s := l.Serve(ctx)
	l.Current.Store(first)
	return s
}
