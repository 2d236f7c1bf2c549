package rotate_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/token"
	"entra-aws-exporter/test/harness"
)

// The matrix: see docs/rotation-proof.md.
// externalAction is what an operator, another tool or AWS does during a rotation.
type externalAction struct {
	name    string
	do      func(*harness.Harness)
	allowed []string
	prepare func(*harness.Harness)  // in addition to the scenario's own
	base    func() harness.Scenario // nil: shortScenario
}

// externalActions are all actions, with the outcomes that each allows.
func externalActions() []externalAction {
	reconfigure := func(change func(token.Options) []token.Options) func(*harness.Harness) {
		return func(h *harness.Harness) {
			h.Note("the config is reloaded")
			h.Current.Load().Engine.Configure(change(h.Current.Load().ConnectionOptions()))
		}
	}
	quarantined := func(name, reason string) externalAction {
		return externalAction{
			name: name,
			do: harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
				return m.Quarantine(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID, reason)
			}),
			allowed: []string{"done", "blocked quarantine_other"},
		}
	}
	return []externalAction{
		{
			name:    "operator creates a token",
			do:      func(h *harness.Harness) { h.CreateToken() },
			allowed: []string{"done", "aborted", "blocked foreign_token", "blocked two_tokens", "blocked orphan_token"},
		},
		{
			name:    "operator deletes the old token",
			do:      func(h *harness.Harness) { harness.DeleteToken(h, h.Connection.TokenIDs[0]) },
			allowed: []string{"done", "aborted", "blocked *"},
		},
		{
			name:    "operator deletes the new token",
			do:      func(h *harness.Harness) { harness.DeleteToken(h, harness.NewestToken(h)) },
			allowed: []string{"done", "aborted", "blocked new_token_rejected", "blocked foreign_token", "blocked entra_holds_dead_token", "blocked credentials_overwritten", "blocked orphan_token", "blocked switch_failed", "blocked lifetime_too_short"},
		},
		{
			name:    "operator saves another token",
			do:      func(h *harness.Harness) { h.SaveToken(clouds.ActorOperator, h.CreateToken()) },
			allowed: []string{"done", "aborted", "blocked foreign_token", "blocked two_tokens", "blocked credentials_overwritten", "blocked orphan_token"},
		},
		{
			name:    "operator saves a mistyped token",
			do:      (*harness.Harness).SaveGarbage,
			allowed: []string{"done", "blocked credentials_overwritten", "blocked switch_reverted"},
		},
		{
			name:    "terraform saves the old token again",
			do:      func(h *harness.Harness) { h.SaveToken(clouds.ActorTerraform, h.Connection.TokenIDs[0]) },
			allowed: []string{"done", "blocked credentials_overwritten", "blocked switch_reverted", "blocked entra_holds_dead_token"},
		},
		{
			name: "operator pauses the job for three hours",
			do: func(h *harness.Harness) {
				harness.ActionOn(harness.PauseJob)(h)
				harness.After(3*time.Hour, harness.StartJob)(h)
			},
			allowed: []string{"done"},
		},
		{
			name:    "operator pauses the job for good",
			do:      harness.ActionOn(harness.PauseJob),
			allowed: []string{"done", "blocked job_stopped"},
		},
		{
			name: "operator disables the job",
			do: harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
				return m.StopJob(harness.Operator, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID, model.ScheduleDisabled)
			}),
			allowed: []string{"done", "blocked job_stopped"},
		},
		{
			name: "operator restarts the job",
			do: harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
				return m.RestartJob(harness.Operator, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID, "Full")
			}),
			allowed: []string{"done"},
		},
		quarantined("quarantine for too many deletions", model.QuarantineReasonDeletes),
		quarantined("quarantine for escrows", "EncounteredEscrowProportionThreshold"),
		quarantined("quarantine on demand", "QuarantinedOnDemand"),
		{
			name: "the old token expires",
			do: harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
				return m.Expire(clouds.ActorTime, h.Connection.TokenIDs[0])
			}),
			allowed: []string{"done"},
		},
		{
			name: "the new token expires",
			do: func(h *harness.Harness) {
				if id := harness.NewestToken(h); id != "" {
					h.WithClouds(func(m *clouds.Model) { _ = m.Expire(clouds.ActorTime, id) })
				}
			},
			allowed: []string{"done", "aborted", "blocked *"},
		},
		{
			name: "the provisioning tenant is recreated",
			do: harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
				_, err := m.RecreateProvisioningTenant(clouds.ActorOperator, h.Connection.IdentityStoreID)
				return err
			}),
			allowed: []string{"aborted", "done", "blocked binding_changed", "blocked entra_holds_dead_token", "none"},
		},
		{
			name:    "operator replaces the job",
			do:      harness.ActionOn(harness.ReplaceJob),
			allowed: []string{"aborted", "done", "blocked binding_changed", "none"},
		},
		{
			name: "Entra retries the quarantined job",
			do: harness.ActionOn(func(h *harness.Harness, m *clouds.Model) error {
				return m.RetryNow(clouds.CallerFor(clouds.ActorEngine), h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID)
			}),
			base:    repairScenario,
			allowed: []string{"done"},
		},
		{
			name:    "the config is reloaded unchanged",
			do:      reconfigure(func(c token.Options) []token.Options { return []token.Options{c} }),
			allowed: []string{"done"},
		},
		{
			name: "rotation is disabled",
			do: reconfigure(func(c token.Options) []token.Options {
				c.Policy.Mode = model.RotationDisabled
				return []token.Options{c}
			}),
			allowed: []string{"done"},
		},
		{
			name: "rotation is set to dry run",
			do: reconfigure(func(c token.Options) []token.Options {
				c.Policy.Mode = model.RotationDryRun
				return []token.Options{c}
			}),
			allowed: []string{"done"},
		},
		{
			name:    "the connection is removed",
			do:      reconfigure(func(token.Options) []token.Options { return nil }),
			allowed: []string{"done", "blocked connection_removed"},
		},
		{
			name: "a second replica starts",
			do: func(h *harness.Harness) {
				h.Note("a second replica starts")
				h.ExtraProcesses = append(h.ExtraProcesses, serveBeside(h.Ctx, h))
			},
			allowed: []string{"done"},
		},
		{
			name:    "AWS's clock jumps two days ahead for an hour",
			do:      harness.SkewClocks(48*time.Hour, time.Hour),
			allowed: []string{"done", "aborted", "blocked clock", "blocked foreign_token"},
		},
		{
			name:    "AWS's clock jumps two days ahead for good",
			do:      harness.SkewClocks(48*time.Hour, 0),
			allowed: []string{"done", "aborted", "blocked clock", "blocked foreign_token"},
		},
		{
			name:    "AWS's clock jumps two days back for good",
			do:      harness.SkewClocks(-48*time.Hour, 0),
			allowed: []string{"done", "aborted", "blocked clock", "blocked foreign_token"},
		},
		{
			name: "an earlier state is restored",
			do: func(h *harness.Harness) {
				h.Note("an earlier state is restored")
				h.Store.Restore(len(h.Store.History) * 2 / 3)
			},
			prepare: func(h *harness.Harness) { h.Store.KeepHistory = true; h.ValueLost = true },
			allowed: []string{"done", "blocked state_restored", "blocked foreign_token", "blocked orphan_token", "blocked token_value_lost", "blocked two_tokens", "aborted"},
		},
		{
			name:    "operator holds it for a day",
			do:      holdForADay,
			allowed: []string{"done", "aborted", "waiting held"},
		},
		{
			name: "operator aborts it",
			do: func(h *harness.Harness) {
				p := h.Current.Load()
				go func() { _ = p.Engine.Abort(h.Ctx, h.Connection.Name) }()
			},
			allowed: []string{"done", "aborted"},
		},
	}
}

// externalActionsAt are the cases with one action before one call of a rotation. Unless
// all cases run, each action has a sample of the calls.
func externalActionsAt(prefix string, calls []string, actions []externalAction, base func() harness.Scenario, sample int) []matrixCase {
	var cases []matrixCase
	for n, a := range actions {
		step := 1
		if !fullMatrix() {
			step = max(1, len(calls)/sample)
		}
		for at := n % step; at < len(calls); at += step {
			s := base()
			if a.base != nil {
				s = a.base()
			}
			s.Actions = map[string]func(*harness.Harness){fmt.Sprintf("#%d", at): a.do}
			if a.prepare != nil {
				prepare := s.Prepare
				s.Prepare = func(h *harness.Harness) {
					if prepare != nil {
						prepare(h)
					}
					a.prepare(h)
				}
			}
			cases = append(cases, matrixCase{Scenario: s, name: fmt.Sprintf("%saction:%s:%d", prefix, a.name, at), allowed: a.allowed})
		}
	}
	return cases
}

// replicas are the cases with two processes on one store, whose clocks are apart as far as
// they may be, or agree. One is suspended past its lease, or stopped, and the other one
// takes over. Then the first one resumes, or restarts.
func replicas(prefix string, calls []string, base func() harness.Scenario, allowed []string) []matrixCase {
	var cases []matrixCase
	for at, call := range calls {
		for _, f := range []harness.Fault{harness.SuspendedBefore, harness.SuspendedAfter, harness.Terminated} {
			if !slices.Contains(faultsOf(call), f) && call != "journal.save" && !strings.HasPrefix(call, "tokens.") {
				continue
			}
			for _, ahead := range []time.Duration{0, journal.MaxClockSkew, -journal.MaxClockSkew} {
				s := base()
				s.Faults = map[int]harness.Fault{at: f}
				s.Begin = func(h *harness.Harness, first *harness.Process) {
					h.ClockAhead = ahead
					h.ExtraProcesses = append(h.ExtraProcesses, serveBeside(h.Ctx, h))
					h.ClockAhead = 0
					h.Alert(h.Ctx, first)
				}
				name := prefix + "replica:"
				if ahead != 0 {
					name += fmt.Sprintf("ahead %s:", ahead)
				}
				cases = append(cases, matrixCase{Scenario: s, name: name + injection{at, call, f, ""}.String(), allowed: allowed})
			}
		}
	}
	return slices.DeleteFunc(cases, func(c matrixCase) bool {
		n := uint64(1) // cases for each one that runs
		if strings.Contains(c.name, "replica:ahead") {
			n = 4
		}
		if !fullMatrix() {
			n *= 4
		}
		return hashOf(c.name)%n != 0
	})
}

// tokenReplicas and tokenActions are those of a token rotation with these calls.
func tokenReplicas(calls []string) []matrixCase {
	return replicas("", calls, shortScenario, []string{"done", "aborted", "blocked state_restored", "blocked orphan_token"})
}

func tokenActions(calls []string) []matrixCase {
	return externalActionsAt("", calls, externalActions(), shortScenario, 20)
}

// serveBeside starts another process on the same store. The first one stays the current
// one.
func serveBeside(ctx context.Context, h *harness.Harness) *harness.Process {
	first := h.Current.Load()
	p := h.Serve(ctx)
	h.Current.Store(first)
	return p
}

// holdForADay does not wait, since the call before which it begins goes on meanwhile.
func holdForADay(h *harness.Harness) {
	p := h.Current.Load()
	go func() {
		_ = p.Engine.Hold(h.Ctx, h.Connection.Name, false)
		if rotate.Sleep(h.Ctx, 24*time.Hour) == nil {
			_ = h.Current.Load().Engine.Hold(h.Ctx, h.Connection.Name, true)
		}
	}()
}

// heldWhenAsked begins to hold a rotation when it asks for the approval of a deletion, which
// is given when the rotation is released.
func heldWhenAsked() func(*harness.Harness, string) {
	var held bool
	return func(h *harness.Harness, name string) {
		if entry := h.Current.Load().Engine.Lookup(h.Connection.Name); name == "journal.save" && entry != nil && entry.IsOpen() && entry.Record().Rotation.Asked != "" && !held {
			held = true
			holdForADay(h)
		}
	}
}
