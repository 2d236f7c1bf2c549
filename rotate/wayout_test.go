package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/token"
	"entra-aws-exporter/test/harness"
)

// wayOut is one way out of a blocked rotation: an operator does what the message says, then
// runs the command that it prints.
type wayOut struct {
	reason   model.BlockedReason
	change   func(*harness.Scenario)                         // nil: the scenario of blockedScenarios
	operator string                                          // what the operator does
	do       func(*harness.Harness, *harness.Process) string // returns the token id for the command
	command  string                                          // as printed, with ID; several are separated by ", "
	leads    string                                          // done | not due
}

// cured ends what goes wrong by itself in the scenario.
func cured(h *harness.Harness) {
	h.WithClouds(func(*clouds.Model) { h.FaultsByName, h.Actions, h.BeforeCall = nil, nil, nil })
}

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

// waysOut are the ways out of every reason.
func waysOut() []wayOut {
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

var printedCommand = regexp.MustCompile(`rotation (?:reset|adopt|abort|start|show) (?:corp|each of them)(?: --[a-z-]+(?: ID)?)*`)

// runPrinted runs a command as an operator would.
func runPrinted(h *harness.Harness, p *harness.Process, command, id string) error {
	ctx, e, name := h.Ctx, p.Engine, h.Connection.Name
	words := strings.Fields(command)
	has := func(flag string) string {
		if slices.Contains(words, flag) {
			return id
		}
		return ""
	}
	switch words[1] {
	case "reset":
		if words[2] == "each" {
			return errors.Join(e.Reset(ctx, "first"), e.Reset(ctx, "second"))
		}
		return e.Reset(ctx, name)
	case "show":
		return nil
	case "abort":
		return e.Abort(ctx, name)
	case "adopt":
		return e.Adopt(ctx, name, has("--in-use"))
	default:
		options := harness.StartOptions{Force: slices.Contains(words, "--force"), RetireToken: has("--retire-token"), TokenID: has("--token-id")}
		h.WithClouds(func(m *clouds.Model) { options.Value = model.NewSecret(m.TokenValue(options.TokenID)) })
		return e.Start(ctx, name, options)
	}
}

// TestWaysOut plays every blocked reason with an operator who does what the message says
// and runs the command that it prints: none leads back to a blocked rotation.
func TestWaysOut(t *testing.T) {
	var table strings.Builder
	table.WriteString("| Reason | Operator | Command | Leads to |\n|---|---|---|---|\n")
	ways := waysOut()
	for _, reason := range model.BlockedReasons() {
		if !slices.ContainsFunc(ways, func(w wayOut) bool { return w.reason == reason }) {
			t.Errorf("%s has no way out", reason)
		}
	}
	for _, w := range ways {
		t.Run(string(w.reason)+": "+w.operator, func(t *testing.T) {
			leads := w.play(t)
			if leads != w.leads {
				t.Errorf("leads to %s, want %s", leads, w.leads)
			}
			shown := strings.NewReplacer("corp", "CONNECTION", "each of them", "CONNECTION", ", ", "`, `").Replace(w.command)
			row := fmt.Sprintf("| [%s](#%s) | %s | `%s` | %s |\n", w.reason, w.reason, w.operator, shown, leads)
			t.Log(row)
			table.WriteString(row)
		})
	}
	compareSection(t, "../docs/rotation-reasons.md", "ways out", table.String())
}

// play returns where a way out leads.
func (w wayOut) play(t *testing.T) (leads string) {
	t.Helper()
	s := harness.BaseScenario()
	blockedScenarios[w.reason](&s)
	if w.change != nil {
		s = harness.BaseScenario()
		w.change(&s)
	}
	s.AlertInterval, s.Limit = time.Hour, 30*day
	until := s.Until
	if until == nil {
		until = (*harness.Harness).IsOver
	}
	var played time.Time
	s.Until = func(h *harness.Harness, p *harness.Process) bool {
		if !played.IsZero() {
			return p.Engine.Status(h.Connection.Name).Blocked != "" || w.ended(h, p, played)
		}
		status := p.Engine.Status(h.Connection.Name)
		if !until(h, p) && status.Blocked != model.BlockedJournalUnreadable {
			return false
		}
		if status.Blocked != w.reason {
			t.Errorf("blocked for %q", status.Blocked)
			return true
		}
		_, next, _ := strings.Cut(status.Message, "next: ")
		printed := printedCommand.FindAllString(tokenID.ReplaceAllString(next, "ID"), -1)
		played, h.Adopted, h.ValueLost = time.Now(), true, true
		cured(h)
		id := w.do(h, p)
		time.Sleep(time.Hour)
		server := h.Current.Load()
		commandLine := h.Open() // with the present configuration
		h.Current.Store(server)
		for _, command := range strings.Split(w.command, ", ") {
			if !slices.Contains(printed, command) {
				t.Errorf("%q is not printed: %s", command, next)
			}
			if err := runPrinted(h, commandLine, command, id); err != nil {
				t.Errorf("%s: %v", command, err)
			}
			time.Sleep(10 * time.Minute)
		}
		return false
	}
	harness.Run(t, s, func(t *testing.T, r harness.Result) {
		p := r.Harness.Current.Load()
		decision := r.Harness.Alert(context.Background(), p)
		rec := p.Engine.Record(r.Harness.Connection.Name)
		switch {
		case r.Status.Blocked != "" || rec == nil || rec.Rotation != nil:
			leads = r.Outcome
		case decision == model.DecisionUnknownConnection:
			leads = "closed"
		case decision == model.DecisionNotDue && !isDone(rec, played):
			leads = "not due"
		default:
			leads = string(rec.History[len(rec.History)-1].Outcome)
		}
		r.Harness.WithClouds(func(m *clouds.Model) {
			if held := m.SavedToken(r.Harness.Connection.ServicePrincipalID); held == "" || m.TokenAccepted(held) != clouds.AcceptedByAll {
				t.Errorf("Entra holds %q, which AWS refuses", held)
			}
		})
		if t.Failed() || leads != w.leads {
			t.Log(r.Harness.Timeline())
		}
	})
	return leads
}

// ended tells whether a rotation was done since then, or none is open although the alert
// was repeated after the cooldown.
func (w wayOut) ended(h *harness.Harness, p *harness.Process, since time.Time) bool {
	rec := p.Engine.Record(h.Connection.Name)
	return rec != nil && rec.Rotation == nil && (isDone(rec, since) || time.Since(since) > 3*day)
}

// isDone tells whether the last rotation was done after this time.
func isDone(rec *harness.Record, since time.Time) bool {
	last := len(rec.History) - 1
	return last >= 0 && rec.History[last].Outcome == model.OutcomeDone && rec.History[last].Ended.After(since)
}

var tokenID = regexp.MustCompile(`[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// compareSection compares a part of a page, between two comments, with what a test found.
func compareSection(t *testing.T, file, name, want string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->\n"
	before, rest, _ := strings.Cut(string(content), begin)
	section, after, found := strings.Cut(rest, end)
	if !found {
		t.Fatalf("%s has no section %q", file, name)
	}
	if section == want {
		return
	}
	if !*update {
		t.Errorf("%s: the section %q differs; write it with -update", file, name)
		return
	}
	if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o600); err != nil {
		t.Fatal(err)
	}
}
