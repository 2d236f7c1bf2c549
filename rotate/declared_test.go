package rotate_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"entra-aws-exporter/test/harness"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/token"
)

// Where AWS's token service is not to be used: the config says which tokens there are, a
// person makes and deletes them, and the engine does the rest.

// declaring is a scenario whose config declares the tokens.
func declaring(begin func(*harness.Harness, *harness.Process)) harness.Scenario {
	s := harness.BaseScenario()
	s.Policy.Issuer = model.IssuerOperator
	s.Prepare = func(l *harness.Harness) { declare(l, l.Connection.TokenIDs...) }
	s.Begin = begin
	return s
}

// Declare writes these tokens into the config, as the console shows them.
func declare(l *harness.Harness, ids ...string) {
	l.WithClouds(func(w *clouds.Model) {
		tokens, err := w.ListBearerTokens(harness.Operator, l.Connection.IdentityStoreID, l.Connection.ProvisioningTenantID)
		if err != nil {
			panic(err)
		}
		l.Declared = []model.Token{}
		for _, token := range tokens {
			if slices.Contains(ids, token.ID) {
				l.Declared = append(l.Declared, token.Token)
			}
		}
	})
}

// give makes a token, declares it beside the old one, and begins with it.
func give(l *harness.Harness, s *harness.Process) {
	id := l.CreateToken()
	declare(l, append([]string{id}, l.Connection.TokenIDs...)...)
	err := s.Engine.Start(context.Background(), l.Connection.Name, harness.StartOptions{TokenID: id, Value: model.NewSecret(l.Clouds.TokenValue(id))})
	l.Note("a person starts a rotation with token %s: %v", id, err)
}

// atEachBlock lets a person do one thing after the other, each when the rotation is
// blocked, and reset it.
func atEachBlock(t *testing.T, s *harness.Scenario, do ...func(*harness.Harness)) {
	s.Until = func(l *harness.Harness, ses *harness.Process) bool {
		if !l.IsOver(ses) || len(do) == 0 || ses.Engine.Status(l.Connection.Name).Blocked == "" {
			return l.IsOver(ses)
		}
		do[0](l)
		do = do[1:]
		operate(l, t, (*rotate.Engine).Reset)
		return false
	}
}

func deleteOld(l *harness.Harness)  { harness.DeleteToken(l, l.Connection.TokenIDs[0]) }
func declareNew(l *harness.Harness) { declare(l, l.ListedTokens()[len(l.ListedTokens())-1]) }

// untouched demands that nothing undocumented was called.
func untouched(t *testing.T, o harness.Result) {
	t.Helper()
	for _, call := range []string{"aws.list", "aws.create", "aws.delete"} {
		if n := o.Harness.CallCounts[call]; n > 0 {
			t.Errorf("%s was called %d times", call, n)
		}
	}
}

// trusts demands that the next rotation needs a person's approval, or that it does not.
func trusts(want bool) func(*testing.T, harness.Result) {
	return func(t *testing.T, o harness.Result) {
		t.Helper()
		rec, err := harness.DecodeRecord(o.Harness.Store.Records[o.Harness.Connection.Key()].Content, o.Harness.Connection.Key())
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
	t.Run("a person deletes the old one", func(t *testing.T) {
		s := declaring(give)
		atEachBlock(t, &s, func(l *harness.Harness) { deleteOld(l); declareNew(l) })
		mustEnd(t, s, "done", expectNoOutage, untouched, trusts(false),
			expectSteps("tokens declared in the config", "works at AWS", "used", "blocked: delete_refused: the tokens are declared in the config, so token", deleteIt, "works at AWS",
				"exclusive (deletion at AWS cannot be verified with declared tokens)", "outcome: done"))
	})
	t.Run("and says so, but has not", func(t *testing.T) {
		s := declaring(give)
		s.Prepare = func(l *harness.Harness) { declare(l, l.Connection.TokenIDs...); storeOldValue(l) }
		atEachBlock(t, &s, declareNew, deleteOld)
		mustEnd(t, s, "done", expectNoOutage, untouched, trusts(true),
			expectSteps(deleteIt, "is not declared any more, but AWS still accepts it, so it must be deleted by hand", "and Entra works with it: exclusive", "outcome: done"))
	})
	t.Run("nobody is sent to delete what the exporter would keep", func(t *testing.T) {
		s := declaring(give)
		s.Actions = map[string]func(*harness.Harness){"graph.put#2": harness.ActionOn(func(l *harness.Harness, _ *clouds.Model) error {
			l.Declared = slices.Clone(l.Declared)
			l.Declared[slices.IndexFunc(l.Declared, func(token model.Token) bool { return token.ID != l.Connection.TokenIDs[0] })].ID = "stranger"
			return nil
		})}
		mustEnd(t, s, "blocked foreign_token", expectNoOutage, untouched, expectSteps("(before_delete): done", "token stranger appeared during the rotation"))
	})
	t.Run("the clock is AWS's", func(t *testing.T) {
		s := declaring(give)
		s.Prepare = func(l *harness.Harness) {
			declare(l, l.Connection.TokenIDs...)
			l.Clouds.SetSkew(clouds.Skew{AWS: 2 * day1})
		}
		mustEnd(t, s, "blocked clock", expectNoOutage, untouched)
	})
}

// When the token service has changed, a person declares the tokens in the middle of a
// rotation: what cannot be seen any more is neither made nor taken for gone.
func TestTokensAreDeclaredMeanwhile(t *testing.T) {
	declareOld := func(l *harness.Harness) { declare(l, l.Connection.TokenIDs...) }
	t.Run("before the creation", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"graph.job#1": declareOld}
		mustEnd(t, s, "blocked api_changed", expectNoOutage, expectSteps("the tokens are declared in the config, so none is created"), func(t *testing.T, o harness.Result) {
			if n := o.Harness.CallCounts["aws.create"]; n > 0 {
				t.Errorf("%d tokens were asked for", n)
			}
		})
	})
	t.Run("while the answer is lost", func(t *testing.T) {
		s := harness.BaseScenario()
		s.FaultsByName = map[string]harness.Fault{"aws.create#1": harness.ResponseLost}
		s.Actions = map[string]func(*harness.Harness){"aws.create#1": declareOld}
		mustEnd(t, s, "blocked orphan_token", expectNoOutage, expectSteps("look up at AWS whether there is one more; then rotation adopt, not reset"))
	})
	t.Run("before the undo", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"graph.inline#3": func(l *harness.Harness) {
			declareOld(l)
			go operate(l, t, (*rotate.Engine).Abort)
		}}
		mustEnd(t, s, "blocked delete_refused", expectNoOutage, expectSteps("which was created before, must be deleted by hand; then rotation adopt, not reset"), func(t *testing.T, o harness.Result) {
			if n := len(o.Harness.Store.Values()); n != 1 {
				t.Errorf("the vault holds %d values", n)
			}
		})
	})
	t.Run("and adopt ends it", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"graph.inline#3": func(l *harness.Harness) {
			declareOld(l)
			go operate(l, t, (*rotate.Engine).Abort)
		}}
		adopted := false
		s.Until = func(l *harness.Harness, ses *harness.Process) bool {
			if !l.IsOver(ses) || adopted {
				return l.IsOver(ses)
			}
			adopted = true
			harness.DeleteToken(l, l.ListedTokens()[len(l.ListedTokens())-1])
			if err := ses.Engine.Adopt(context.Background(), l.Connection.Name, ""); err != nil {
				t.Error(err)
			}
			return true
		}
		mustEnd(t, s, "aborted", expectNoOutage, onlyOld)
	})
}

// onlyOld demands that the old token is the only one at the end.
func onlyOld(t *testing.T, o harness.Result) {
	t.Helper()
	if got := o.Harness.ListedTokens(); !slices.Equal(got, o.Harness.Connection.TokenIDs) {
		t.Errorf("listed are %v", got)
	}
}

// What is not declared yet is said at once, and costs no attempt.
func TestATokenThatIsNotDeclaredYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := harness.New(clouds.DefaultQuirks(), harness.DueConnection(), harness.DefaultPolicy())
		l.Policy.Issuer = model.IssuerOperator
		declare(l, l.Connection.TokenIDs...)
		ses, options := l.Open(), harness.StartOptions{TokenID: "new", Value: model.NewSecret("value")}
		const want = "new_token_rejected: token new, which an operator gave, is not declared yet: add it to tokens.declared with its dates, then give it again"
		if err := ses.Engine.Start(t.Context(), "corp", options); err == nil || err.Error() != "connection corp: "+want {
			t.Errorf("got  %v\nwant connection corp: %s", err, want)
		}
		if n := len(l.Store.Values()); n > 0 {
			t.Errorf("%d values are kept", n)
		}
		if err := ses.Engine.DryRun(t.Context(), "corp", options, l); err != nil {
			t.Error(err)
		}
		expectSteps("tokens declared in the config", "dry run: it would be blocked: "+want)(t, harness.Result{Harness: l})
		if err := ses.Engine.DryRun(t.Context(), "corp", harness.StartOptions{}, l); err != nil {
			t.Error(err)
		}
		expectSteps("it would be blocked: api_changed: the tokens are declared in the config, so none is created")(t, harness.Result{Harness: l})
		if err := ses.Engine.Adopt(t.Context(), "corp", "new"); err == nil || !strings.HasPrefix(err.Error(), "token new is not declared in the config: ") {
			t.Errorf("adopt: %v", err)
		}
	})
}

func TestTheProvisioningTenantIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := harness.New(clouds.DefaultQuirks(), harness.DueConnection(), harness.DefaultPolicy())
		l.Connection.ProvisioningTenantID = ""
		ses := l.Open()
		c := ses.ConnectionOptions()
		c.Resolve = func(context.Context) (model.Binding, error) { return l.Connection.Binding, nil }
		ses.Engine.Configure([]token.Options{c})
		const want = "connection corp: its provisioning tenant at AWS is unknown: with tokens.read_from: declared it is not looked up, so set aws.provisioning_tenant_id"
		if err := ses.Engine.DryRun(t.Context(), "corp", harness.StartOptions{}, l); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}
