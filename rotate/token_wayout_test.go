package rotate_test

import (
	"context"
	"net/netip"
	"regexp"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/token"
	"entra-aws-exporter/test/harness"
)

// TestWaysOut plays the ways out of every reason that blocks a rotation of the token.
func TestWaysOut(t *testing.T) {
	waysOut{
		kind: model.ProcedureToken, ways: tokenWaysOut(), section: "ways out",
		base: harness.BaseScenario, blocked: blockedScenarios, id: tokenID, shown: "ID",
		accept: func(h *harness.Harness, _ string) { h.Adopted, h.ValueLost = true, true },
		start: func(h *harness.Harness, p *harness.Process, flag func(string) bool, id string) error {
			options := harness.StartOptions{Force: flag("--force")}
			if flag("--retire-token") {
				options.RetireToken = id
			}
			if flag("--token-id") {
				options.TokenID = id
			}
			h.WithClouds(func(m *clouds.Model) { options.Value = model.NewSecret(m.TokenValue(options.TokenID)) })
			return p.Engine.Start(h.Ctx, h.Connection.Name, options)
		},
		check: func(t *testing.T, h *harness.Harness) {
			h.WithClouds(func(m *clouds.Model) {
				if held := m.SavedToken(h.Connection.ServicePrincipalID); held == "" || m.TokenAccepted(held) != clouds.AcceptedByAll {
					t.Errorf("Entra holds %q, which AWS refuses", held)
				}
			})
		},
	}.run(t)
}

var tokenID = regexp.MustCompile(`[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// entered is an operator who generates a token by hand and enters it in Entra; if both slots
// are taken, the operator first deletes the one named.
func entered(h *harness.Harness, deleted string) string {
	if deleted != "" {
		harness.DeleteToken(h, deleted)
	}
	id := h.CreateToken()
	h.SaveToken(clouds.ActorOperator, id)
	return id
}

// by makes an action of what an operator does on the model.
func by(do func(*harness.Harness, *clouds.Model) error) func(*harness.Harness, *harness.Process) string {
	return func(h *harness.Harness, _ *harness.Process) string {
		harness.ActionOn(do)(h)
		return ""
	}
}

// untouched is an operator who has nothing to do but to end what goes wrong.
func untouched(*harness.Harness, *harness.Process) string { return "" }

func allow(actions ...clouds.Action) func(*harness.Harness, *harness.Process) string {
	return by(func(_ *harness.Harness, m *clouds.Model) error {
		for _, action := range actions {
			m.Allow(clouds.ActorExporter, action)
		}
		return nil
	})
}

func setQuirk(name, value string) func(*harness.Harness, *harness.Process) string {
	return by(func(_ *harness.Harness, m *clouds.Model) error { return m.SetQuirk(name, value) })
}

// restart stops the process, and lets the next one begin.
func restart(h *harness.Harness, p *harness.Process) {
	p.Stop()
	h.Ended <- p
}

// reconfigured reloads the connection with another policy.
func reconfigured(change func(*harness.Harness)) func(*harness.Harness, *harness.Process) string {
	return func(h *harness.Harness, p *harness.Process) string {
		change(h)
		h.Configure = nil
		p.Engine.Configure([]token.Options{p.ConnectionOptions()})
		return ""
	}
}

// foreignInConfirm is an operator who creates a token while the rotation confirms, and
// perhaps enters it in Entra.
func foreignInConfirm(saved bool) func(*harness.Scenario) {
	return func(s *harness.Scenario) {
		s.BeforeCall = firstTime(func(_ *harness.Harness, _ string, rot *harness.Rotation) bool { return rot.Phase == model.PhaseConfirm }, func(h *harness.Harness) {
			if id := h.CreateToken(); saved {
				h.SaveToken(clouds.ActorOperator, id)
			}
		})
	}
}

// lastToken is the token that an operator created last.
func lastToken(h *harness.Harness) (id string) {
	h.WithClouds(func(m *clouds.Model) {
		for c := range clouds.EntriesOf[clouds.Creation](m) {
			if c.Actor == clouds.ActorOperator {
				id = c.TokenID
			}
		}
	})
	return id
}

// tokenWaysOut are the ways out of every reason.
func tokenWaysOut() []wayOut {
	const reset, adoptInUse = "rotation reset corp", "rotation adopt corp --in-use ID"
	old := func(h *harness.Harness) string { return h.Connection.TokenIDs[0] }
	var journalled []byte
	return []wayOut{
		{model.BlockedTwoTokens, nil, "names the unused token", func(h *harness.Harness, _ *harness.Process) string { return h.Connection.TokenIDs[1] },
			"rotation start corp --retire-token ID", "done"},
		{model.BlockedTwoTokens, nil, "deletes the unused token", func(h *harness.Harness, _ *harness.Process) string {
			harness.DeleteToken(h, h.Connection.TokenIDs[1])
			return ""
		}, "rotation adopt corp", "done"},
		{model.BlockedOrphanToken, nil, "deletes the orphan", func(h *harness.Harness, _ *harness.Process) string {
			harness.DeleteToken(h, harness.NewestToken(h))
			return ""
		}, reset, "done"},
		{model.BlockedForeignToken, nil, "Entra has the old token: deletes the foreign one", func(h *harness.Harness, _ *harness.Process) string {
			harness.DeleteToken(h, lastToken(h))
			return old(h)
		}, adoptInUse, "done"},
		{model.BlockedForeignToken, foreignInConfirm(false), "Entra has the new token: deletes the foreign one", func(h *harness.Harness, _ *harness.Process) string {
			harness.DeleteToken(h, lastToken(h))
			return harness.NewestToken(h)
		}, adoptInUse, "done"},
		{model.BlockedForeignToken, foreignInConfirm(true), "Entra has the foreign token: deletes the exporter's", func(h *harness.Harness, _ *harness.Process) string {
			harness.DeleteToken(h, harness.NewestToken(h))
			return lastToken(h)
		}, adoptInUse, "not due"},
		{model.BlockedNewTokenRejected, nil, "gives the right value", func(h *harness.Harness, _ *harness.Process) string { return lastToken(h) },
			"rotation abort corp, rotation start corp --force --token-stdin --token-id ID", "done"},
		{model.BlockedNewTokenRejected, func(s *harness.Scenario) {
			s.Prepare = storeOldValue
			s.BeforeCall = firstTime(func(h *harness.Harness, name string, rot *harness.Rotation) bool {
				return rot.Phase == model.PhaseSwitch && name == "resolve"
			}, func(h *harness.Harness) {
				harness.DeleteToken(h, harness.NewestToken(h))
				time.Sleep(2 * time.Minute)
			})
		}, "Entra has the old token", func(h *harness.Harness, _ *harness.Process) string { return old(h) }, adoptInUse, "done"},
		{model.BlockedEndpointRefusesEntra, nil, "allows Entra's addresses", func(h *harness.Harness, _ *harness.Process) string {
			h.ByOperator(func(m *clouds.Model) error {
				return m.AllowSources(clouds.ActorOperator, h.Connection.IdentityStoreID, []netip.Prefix{}...)
			})
			return ""
		}, reset, "done"},
		{model.BlockedSwitchFailed, nil, "stops what overwrites the credentials", untouched, reset, "done"},
		{model.BlockedSwitchReverted, nil, "stops what overwrites the credentials", untouched, reset, "done"},
		{model.BlockedStorageLimit, nil, "makes room", setQuirk("put_secrets", clouds.PutMerges), reset, "done"},
		{model.BlockedUnknownSecretKeys, nil, "removes the key", setQuirk("extra_keys", clouds.DefaultQuirks().ExtraKeys), reset, "done"},
		{model.BlockedUnknownSecretKeys, nil, "enters a token by hand", func(h *harness.Harness, _ *harness.Process) string { return entered(h, "") }, adoptInUse, "not due"},
		{model.BlockedWrongTarget, nil, "corrects the configuration", by(func(h *harness.Harness, m *clouds.Model) error {
			return m.ChangeApplication(h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, func(sp *clouds.ServicePrincipal) { sp.EntityIDs = nil })
		}), reset, "done"},
		{model.BlockedBindingChanged, func(s *harness.Scenario) {
			s.Actions = map[string]func(*harness.Harness){"scim.probe#1": harness.ActionOn(harness.ReplaceJob)}
		}, "accepts the change", func(h *harness.Harness, p *harness.Process) string {
			if binding, err := p.Resolve(h.Ctx); err == nil {
				h.WithClouds(func(*clouds.Model) { h.Connection.Binding = binding })
			}
			return old(h)
		}, adoptInUse, "done"},
		{model.BlockedBindingChanged, func(s *harness.Scenario) {
			s.Actions = map[string]func(*harness.Harness){"graph.put#1": harness.After(time.Second, harness.ReplaceJob)}
		}, "Entra has the new token: accepts the change", func(h *harness.Harness, p *harness.Process) string {
			if binding, err := p.Resolve(h.Ctx); err == nil {
				h.WithClouds(func(*clouds.Model) { h.Connection.Binding = binding })
			}
			return harness.NewestToken(h)
		}, adoptInUse, "not due"},
		{model.BlockedJobStopped, nil, "starts the job", by(harness.StartJob), reset, "done"},
		{model.BlockedQuarantineOther, nil, "resolves the quarantine", by(func(h *harness.Harness, m *clouds.Model) error {
			return m.RestartJob(harness.Operator, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID, "Full")
		}), reset, "done"},
		{model.BlockedProofTimeout, nil, "raises `verify_timeout`", reconfigured(func(h *harness.Harness) { h.Policy.VerifyTimeout = day }), reset, "done"},
		{model.BlockedProofContradicted, nil, "enters the new token", func(h *harness.Harness, _ *harness.Process) string {
			h.SaveToken(clouds.ActorOperator, harness.NewestToken(h))
			return ""
		}, reset, "done"},
		{model.BlockedEntraHoldsDeadToken, nil, "enters the new token", func(h *harness.Harness, _ *harness.Process) string {
			h.SaveToken(clouds.ActorOperator, harness.NewestToken(h))
			return harness.NewestToken(h)
		}, adoptInUse, "done"},
		{model.BlockedEntraHoldsDeadToken, func(s *harness.Scenario) {
			s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(h *harness.Harness) { harness.DeleteToken(h, harness.NewestToken(h)) }}
			s.FaultsByName = map[string]harness.Fault{"aws.create#2": harness.Refused}
		}, "there is no token: enters another by hand", func(h *harness.Harness, _ *harness.Process) string { return entered(h, "") }, adoptInUse, "not due"},
		{model.BlockedCredentialsOverwritten, nil, "stops what overwrites the credentials", untouched, reset, "done"},
		{model.BlockedDeleteRefused, nil, "deletes the old token", func(h *harness.Harness, _ *harness.Process) string {
			harness.DeleteToken(h, old(h))
			return ""
		}, reset, "done"},
		{model.BlockedPermission, nil, "grants the permission", allow(clouds.WriteSynchronization), reset, "done"},
		{model.BlockedOwnCredentialExpiring, nil, "renews the credential", func(h *harness.Harness, _ *harness.Process) string {
			h.WithClouds(func(*clouds.Model) { h.OwnCredentialExpires = time.Now().Add(365 * day) })
			return ""
		}, reset, "done"},
		{model.BlockedTokenStoreUnwritable, nil, "makes the directory writable", untouched, reset, "done"},
		{model.BlockedTokenValueLost, nil, "both slots are taken: deletes the old token, enters another, deletes the lost one", func(h *harness.Harness, _ *harness.Process) string {
			id := entered(h, old(h))
			harness.DeleteToken(h, harness.NewestToken(h))
			return id
		}, adoptInUse, "not due"},
		{model.BlockedJournalUnreadable, func(s *harness.Scenario) {
			s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(h *harness.Harness) {
				journalled = h.Store.Replace(h.Connection.Key(), []byte("{"))
			}}
		}, "restores the file", func(h *harness.Harness, _ *harness.Process) string {
			h.Store.Replace(h.Connection.Key(), journalled)
			return ""
		}, "rotation show corp", "done"},
		{model.BlockedJournalUnreadable, nil, "moves the file away, restarts", func(h *harness.Harness, p *harness.Process) string {
			h.Store.Replace(h.Connection.Key(), nil)
			restart(h, p)
			return harness.NewestToken(h)
		}, adoptInUse, "not due"},
		{model.BlockedStateRestored, nil, "Entra has the new token", func(h *harness.Harness, _ *harness.Process) string { return harness.NewestToken(h) }, adoptInUse, "not due"},
		{model.BlockedStoreUnsafe, nil, "moves the directory, restarts", func(h *harness.Harness, p *harness.Process) string {
			restart(h, p)
			return ""
		}, reset, "done"},
		{model.BlockedClock, nil, "sets the clock", by(func(_ *harness.Harness, m *clouds.Model) error {
			m.SetSkew(clouds.Skew{})
			return nil
		}), reset, "done"},
		{model.BlockedAPIChanged, nil, "updates the exporter", setQuirk("secrets_get", clouds.DefaultQuirks().SecretsGet), reset, "done"},
		{model.BlockedAPIChanged, nil, "enters a token by hand", func(h *harness.Harness, _ *harness.Process) string { return entered(h, "") }, adoptInUse, "not due"},
		{model.BlockedLifetimeTooShort, nil, "shortens `verify_timeout`", reconfigured(func(h *harness.Harness) { h.Policy.VerifyTimeout = time.Hour }), reset, "done"},
		{model.BlockedAttemptsExhausted, nil, "removes the cause", untouched, reset, "done"},
		{model.BlockedBudgetExhausted, nil, "waits a day", func(*harness.Harness, *harness.Process) string {
			time.Sleep(day)
			return ""
		}, reset, "done"},
		{model.BlockedConnectionRemoved, nil, "puts the connection back", reconfigured(func(*harness.Harness) {}), reset, "done"},
		{model.BlockedConnectionRemoved, nil, "finishes by hand", func(h *harness.Harness, _ *harness.Process) string {
			entered(h, old(h))
			harness.DeleteToken(h, harness.NewestToken(h))
			return ""
		}, "rotation adopt corp", "closed"},
		{model.BlockedFleetHalt, nil, "resolves the other connections", func(h *harness.Harness, p *harness.Process) string {
			h.Configure = func(own token.Options) []token.Options {
				options := []token.Options{own}
				for _, name := range []string{"first", "second"} {
					own.Connection, own.Resolve = name, func(context.Context) (model.Binding, error) {
						binding := h.Connection.Binding
						binding.ServicePrincipalID = name
						return binding, nil
					}
					options = append(options, own)
				}
				return options
			}
			return ""
		}, "rotation reset each of them", "done"},
	}
}
