package rotate_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/token"
	"entra-aws-exporter/test/harness"
)

// Without AWS's token service: the config declares the tokens, an operator creates and
// deletes them, and the engine does the rest.

// declaredScenario is a scenario whose config declares the tokens.
func declaredScenario(begin func(*harness.Harness, *harness.Process)) harness.Scenario {
	s := harness.BaseScenario()
	s.Policy.Issuer = model.IssuerOperator
	s.Prepare = func(h *harness.Harness) { declareTokens(h, h.Connection.TokenIDs...) }
	s.Begin = begin
	return s
}

// declareTokens declares these tokens in the config, as AWS's console shows them.
func declareTokens(h *harness.Harness, ids ...string) {
	h.WithClouds(func(m *clouds.Model) {
		tokens, err := m.ListBearerTokens(harness.Operator, h.Connection.IdentityStoreID, h.Connection.ProvisioningTenantID)
		if err != nil {
			panic(err)
		}
		h.Declared = []model.Token{}
		for _, token := range tokens {
			if slices.Contains(ids, token.ID) {
				h.Declared = append(h.Declared, token.Token)
			}
		}
	})
}

// startWithDeclaredToken creates a token, declares it beside the old one, and starts a
// rotation with it.
func startWithDeclaredToken(h *harness.Harness, p *harness.Process) {
	id := h.CreateToken()
	declareTokens(h, append([]string{id}, h.Connection.TokenIDs...)...)
	err := p.Engine.Start(context.Background(), h.Connection.Name, harness.StartOptions{TokenID: id, Value: model.NewSecret(h.Clouds.TokenValue(id))})
	h.Note("operator starts a rotation with token %s: %v", id, err)
}

// resetAtEachBlock runs one action after the other, each when the rotation is blocked, and
// resets the rotation.
func resetAtEachBlock(t *testing.T, s *harness.Scenario, do ...func(*harness.Harness)) {
	s.Until = func(h *harness.Harness, p *harness.Process) bool {
		if !h.IsOver(p) || len(do) == 0 || p.Engine.Status(h.Connection.Name).Blocked == "" {
			return h.IsOver(p)
		}
		do[0](h)
		do = do[1:]
		runCommand(h, t, (*rotate.Engine).Reset)
		return false
	}
}

func deleteOld(h *harness.Harness)  { harness.DeleteToken(h, h.Connection.TokenIDs[0]) }
func declareNew(h *harness.Harness) { declareTokens(h, h.ListedTokens()[len(h.ListedTokens())-1]) }

// expectNoTokenServiceCalls demands that the token service was never called.
func expectNoTokenServiceCalls(t *testing.T, r harness.Result) {
	t.Helper()
	for _, call := range []string{"aws.list", "aws.create", "aws.delete"} {
		if n := r.Harness.CallCounts[call]; n > 0 {
			t.Errorf("%s has %d calls", call, n)
		}
	}
}

// expectTrust demands that the next rotation needs no approval, or that it needs one.
func expectTrust(want bool) func(*testing.T, harness.Result) {
	return func(t *testing.T, r harness.Result) {
		t.Helper()
		rec, err := harness.DecodeRecord(r.Harness.Store.Records[r.Harness.Connection.Key()].Content, r.Harness.Connection.Key())
		if err != nil {
			t.Fatal(err)
		}
		if got := rec.Trust != nil; got != want {
			t.Errorf("trust %t, want %t", got, want)
		}
	}
}

func TestDeclaredTokens(t *testing.T) {
	const deleteIt = "must be deleted by hand, and removed from tokens.declared"
	t.Run("operator deletes the old one", func(t *testing.T) {
		s := declaredScenario(startWithDeclaredToken)
		resetAtEachBlock(t, &s, func(h *harness.Harness) { deleteOld(h); declareNew(h) })
		expectOutcome(t, s, "done", expectNoOutage, expectNoTokenServiceCalls, expectTrust(false),
			expectSteps("tokens declared in the config", "works at AWS", "used", "blocked: delete_refused: the tokens are declared in the config, so token", deleteIt, "works at AWS",
				"exclusive (deletion at AWS cannot be verified with declared tokens)", "outcome: done"))
	})
	t.Run("operator declares a deletion that did not happen", func(t *testing.T) {
		s := declaredScenario(startWithDeclaredToken)
		s.Prepare = func(h *harness.Harness) { declareTokens(h, h.Connection.TokenIDs...); storeOldValue(h) }
		resetAtEachBlock(t, &s, declareNew, deleteOld)
		expectOutcome(t, s, "done", expectNoOutage, expectNoTokenServiceCalls, expectTrust(true),
			expectSteps(deleteIt, "is not declared any more, but AWS still accepts it, so it must be deleted by hand", "and Entra works with it: exclusive", "outcome: done"))
	})
	t.Run("no deletion is requested beside a third-party token", func(t *testing.T) {
		s := declaredScenario(startWithDeclaredToken)
		s.Actions = map[string]func(*harness.Harness){"graph.put#2": harness.ActionOn(func(h *harness.Harness, _ *clouds.Model) error {
			h.Declared = slices.Clone(h.Declared)
			h.Declared[slices.IndexFunc(h.Declared, func(token model.Token) bool { return token.ID != h.Connection.TokenIDs[0] })].ID = "third-party"
			return nil
		})}
		expectOutcome(t, s, "blocked foreign_token", expectNoOutage, expectNoTokenServiceCalls, expectSteps("(before_delete): done", "token third-party appeared during the rotation"))
	})
	t.Run("AWS's clock is two days ahead", func(t *testing.T) {
		s := declaredScenario(startWithDeclaredToken)
		s.Prepare = func(h *harness.Harness) {
			declareTokens(h, h.Connection.TokenIDs...)
			h.Clouds.SetSkew(clouds.Skew{AWS: 2 * day})
		}
		expectOutcome(t, s, "blocked clock", expectNoOutage, expectNoTokenServiceCalls)
	})
}

// An operator may declare the tokens during a rotation, after a change of the token
// service. Then the engine creates none, and considers none deleted.
func TestTokensDeclaredDuringRotation(t *testing.T) {
	declareOld := func(h *harness.Harness) { declareTokens(h, h.Connection.TokenIDs...) }
	t.Run("before the creation", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"graph.job#1": declareOld}
		expectOutcome(t, s, "blocked api_changed", expectNoOutage, expectSteps("the tokens are declared in the config, so none is created"), func(t *testing.T, r harness.Result) {
			if n := r.Harness.CallCounts["aws.create"]; n > 0 {
				t.Errorf("%d tokens were requested", n)
			}
		})
	})
	t.Run("while the response is lost", func(t *testing.T) {
		s := harness.BaseScenario()
		s.FaultsByName = map[string]harness.Fault{"aws.create#1": harness.ResponseLost}
		s.Actions = map[string]func(*harness.Harness){"aws.create#1": declareOld}
		expectOutcome(t, s, "blocked orphan_token", expectNoOutage, expectSteps("look up at AWS whether there is one more; then rotation adopt, not reset"))
	})
	t.Run("before the undo", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"graph.inline#3": func(h *harness.Harness) {
			declareOld(h)
			go runCommand(h, t, (*rotate.Engine).Abort)
		}}
		expectOutcome(t, s, "blocked delete_refused", expectNoOutage, expectSteps("which was created before, must be deleted by hand; then rotation adopt, not reset"), func(t *testing.T, r harness.Result) {
			if n := len(r.Harness.Store.Values()); n != 1 {
				t.Errorf("the token store holds %d values", n)
			}
		})
	})
	t.Run("adopt ends it", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"graph.inline#3": func(h *harness.Harness) {
			declareOld(h)
			go runCommand(h, t, (*rotate.Engine).Abort)
		}}
		adopted := false
		s.Until = func(h *harness.Harness, p *harness.Process) bool {
			if !h.IsOver(p) || adopted {
				return h.IsOver(p)
			}
			adopted = true
			harness.DeleteToken(h, h.ListedTokens()[len(h.ListedTokens())-1])
			if err := p.Engine.Adopt(context.Background(), h.Connection.Name, ""); err != nil {
				t.Error(err)
			}
			return true
		}
		expectOutcome(t, s, "aborted", expectNoOutage, expectOnlyOldToken)
	})
}

// expectOnlyOldToken demands that the old token is the only one at the end.
func expectOnlyOldToken(t *testing.T, r harness.Result) {
	t.Helper()
	if got := r.Harness.ListedTokens(); !slices.Equal(got, r.Harness.Connection.TokenIDs) {
		t.Errorf("AWS lists %v", got)
	}
}

// A token that is not declared yet is refused at once and costs no attempt.
func TestOperatorTokenIsNotDeclaredYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := harness.New(clouds.DefaultQuirks(), harness.DueConnection(), harness.DefaultPolicy())
		h.Policy.Issuer = model.IssuerOperator
		declareTokens(h, h.Connection.TokenIDs...)
		p, options := h.Open(), harness.StartOptions{TokenID: "new", Value: model.NewSecret("value")}
		const want = "new_token_rejected: token new, which an operator gave, is not declared yet: add it to tokens.declared with its dates, then give it again"
		if err := p.Engine.Start(t.Context(), "corp", options); err == nil || err.Error() != "connection corp: "+want {
			t.Errorf("got  %v\nwant connection corp: %s", err, want)
		}
		if n := len(h.Store.Values()); n > 0 {
			t.Errorf("%d values are stored", n)
		}
		if err := p.Engine.DryRun(t.Context(), "corp", options, h); err != nil {
			t.Error(err)
		}
		expectSteps("tokens declared in the config", "dry run: it would be blocked: "+want)(t, harness.Result{Harness: h})
		if err := p.Engine.DryRun(t.Context(), "corp", harness.StartOptions{}, h); err != nil {
			t.Error(err)
		}
		expectSteps("it would be blocked: api_changed: the tokens are declared in the config, so none is created")(t, harness.Result{Harness: h})
		if err := p.Engine.Adopt(t.Context(), "corp", "new"); err == nil || !strings.HasPrefix(err.Error(), "token new is not declared in the config: ") {
			t.Errorf("adopt: %v", err)
		}
	})
}

func TestProvisioningTenantIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := harness.New(clouds.DefaultQuirks(), harness.DueConnection(), harness.DefaultPolicy())
		h.Connection.ProvisioningTenantID = ""
		p := h.Open()
		c := p.ConnectionOptions()
		c.Resolve = func(context.Context) (model.Binding, error) { return h.Connection.Binding, nil }
		p.Engine.Configure([]token.Options{c})
		const want = "connection corp: its provisioning tenant at AWS is unknown: with tokens.read_from: declared it is not looked up, so set aws.provisioning_tenant_id"
		if err := p.Engine.DryRun(t.Context(), "corp", harness.StartOptions{}, h); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}
