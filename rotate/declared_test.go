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
)

// Where AWS's token service is not to be used: the config says which tokens there are, a
// person makes and deletes them, and the engine does the rest.

// declaring is a scenario whose config declares the tokens.
func declaring(begin func(*lab, *session)) scenario {
	s := usual()
	s.policy.Issuer = model.IssuerOperator
	s.prepare = func(l *lab) { l.declare(l.at.TokenIDs...) }
	s.begin = begin
	return s
}

// declare writes these tokens into the config, as the console shows them.
func (l *lab) declare(ids ...string) {
	l.locked(func(w *clouds.Model) {
		tokens, err := w.ListBearerTokens(person, l.at.IdentityStoreID, l.at.ProvisioningTenantID)
		if err != nil {
			panic(err)
		}
		l.declared = []model.Token{}
		for _, token := range tokens {
			if slices.Contains(ids, token.ID) {
				l.declared = append(l.declared, token.Token)
			}
		}
	})
}

// give makes a token, declares it beside the old one, and begins with it.
func give(l *lab, s *session) {
	id := l.createByHand()
	l.declare(append([]string{id}, l.at.TokenIDs...)...)
	err := s.engine.Start(context.Background(), l.at.Name, startOptions{TokenID: id, Value: model.NewSecret(l.world.TokenValue(id))})
	l.note("a person starts a rotation with token %s: %v", id, err)
}

// atEachBlock lets a person do one thing after the other, each when the rotation is
// blocked, and reset it.
func atEachBlock(t *testing.T, s *scenario, do ...func(*lab)) {
	s.until = func(l *lab, ses *session) bool {
		if !l.isOver(ses) || len(do) == 0 || ses.engine.Status(l.at.Name).Blocked == "" {
			return l.isOver(ses)
		}
		do[0](l)
		do = do[1:]
		l.operate(t, (*rotate.Engine).Reset)
		return false
	}
}

func deleteOld(l *lab)  { deleteByHand(l, l.at.TokenIDs[0]) }
func declareNew(l *lab) { l.declare(l.listed()[len(l.listed())-1]) }

// untouched demands that nothing undocumented was called.
func untouched(t *testing.T, o outcome) {
	t.Helper()
	for _, call := range []string{"aws.list", "aws.create", "aws.delete"} {
		if n := o.lab.counts[call]; n > 0 {
			t.Errorf("%s was called %d times", call, n)
		}
	}
}

// trusts demands that the next rotation needs a person's approval, or that it does not.
func trusts(want bool) func(*testing.T, outcome) {
	return func(t *testing.T, o outcome) {
		t.Helper()
		rec, err := decodeRecord(o.lab.memory.records[o.lab.at.Key()].content, o.lab.at.Key())
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
		atEachBlock(t, &s, func(l *lab) { deleteOld(l); declareNew(l) })
		must(t, s, "done", noGap, untouched, trusts(false),
			told("tokens declared in the config", "works at AWS", "used", "blocked: delete_refused: the tokens are declared in the config, so token", deleteIt, "works at AWS",
				"exclusive (deletion at AWS cannot be verified with declared tokens)", "outcome: done"))
	})
	t.Run("and says so, but has not", func(t *testing.T) {
		s := declaring(give)
		s.prepare = func(l *lab) { l.declare(l.at.TokenIDs...); rememberOld(l) }
		atEachBlock(t, &s, declareNew, deleteOld)
		must(t, s, "done", noGap, untouched, trusts(true),
			told(deleteIt, "is not declared any more, but AWS still accepts it, so it must be deleted by hand", "and Entra works with it: exclusive", "outcome: done"))
	})
	t.Run("nobody is sent to delete what the exporter would keep", func(t *testing.T) {
		s := declaring(give)
		s.hands = map[string]func(*lab){"graph.put#2": byHand(func(l *lab, _ *clouds.Model) error {
			l.declared = slices.Clone(l.declared)
			l.declared[slices.IndexFunc(l.declared, func(token model.Token) bool { return token.ID != l.at.TokenIDs[0] })].ID = "stranger"
			return nil
		})}
		must(t, s, "blocked foreign_token", noGap, untouched, told("(before_delete): done", "token stranger appeared during the rotation"))
	})
	t.Run("the clock is AWS's", func(t *testing.T) {
		s := declaring(give)
		s.prepare = func(l *lab) {
			l.declare(l.at.TokenIDs...)
			l.world.SetSkew(clouds.Skew{AWS: 2 * day1})
		}
		must(t, s, "blocked clock", noGap, untouched)
	})
}

// When the token service has changed, a person declares the tokens in the middle of a
// rotation: what cannot be seen any more is neither made nor taken for gone.
func TestTokensAreDeclaredMeanwhile(t *testing.T) {
	declareOld := func(l *lab) { l.declare(l.at.TokenIDs...) }
	t.Run("before the creation", func(t *testing.T) {
		s := usual()
		s.hands = map[string]func(*lab){"graph.job#1": declareOld}
		must(t, s, "blocked api_changed", noGap, told("the tokens are declared in the config, so none is created"), func(t *testing.T, o outcome) {
			if n := o.lab.counts["aws.create"]; n > 0 {
				t.Errorf("%d tokens were asked for", n)
			}
		})
	})
	t.Run("while the answer is lost", func(t *testing.T) {
		s := usual()
		s.named = map[string]fault{"aws.create#1": answerLost}
		s.hands = map[string]func(*lab){"aws.create#1": declareOld}
		must(t, s, "blocked orphan_token", noGap, told("look up at AWS whether there is one more; then rotation adopt, not reset"))
	})
	t.Run("before the undo", func(t *testing.T) {
		s := usual()
		s.hands = map[string]func(*lab){"graph.inline#3": func(l *lab) {
			declareOld(l)
			go l.operate(t, (*rotate.Engine).Abort)
		}}
		must(t, s, "blocked delete_refused", noGap, told("which was created before, must be deleted by hand; then rotation adopt, not reset"), func(t *testing.T, o outcome) {
			if n := len(o.lab.memory.values()); n != 1 {
				t.Errorf("the vault holds %d values", n)
			}
		})
	})
	t.Run("and adopt ends it", func(t *testing.T) {
		s := usual()
		s.hands = map[string]func(*lab){"graph.inline#3": func(l *lab) {
			declareOld(l)
			go l.operate(t, (*rotate.Engine).Abort)
		}}
		adopted := false
		s.until = func(l *lab, ses *session) bool {
			if !l.isOver(ses) || adopted {
				return l.isOver(ses)
			}
			adopted = true
			deleteByHand(l, l.listed()[len(l.listed())-1])
			if err := ses.engine.Adopt(context.Background(), l.at.Name, ""); err != nil {
				t.Error(err)
			}
			return true
		}
		must(t, s, "aborted", noGap, onlyOld)
	})
}

// onlyOld demands that the old token is the only one at the end.
func onlyOld(t *testing.T, o outcome) {
	t.Helper()
	if got := o.lab.listed(); !slices.Equal(got, o.lab.at.TokenIDs) {
		t.Errorf("listed are %v", got)
	}
}

// What is not declared yet is said at once, and costs no attempt.
func TestATokenThatIsNotDeclaredYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(clouds.DefaultQuirks(), dueSpec(), defaultPolicy())
		l.policy.Issuer = model.IssuerOperator
		l.declare(l.at.TokenIDs...)
		ses, options := l.open(), startOptions{TokenID: "new", Value: model.NewSecret("value")}
		const want = "new_token_rejected: token new, which an operator gave, is not declared yet: add it to tokens.declared with its dates, then give it again"
		if err := ses.engine.Start(t.Context(), "corp", options); err == nil || err.Error() != "connection corp: "+want {
			t.Errorf("got  %v\nwant connection corp: %s", err, want)
		}
		if n := len(l.memory.values()); n > 0 {
			t.Errorf("%d values are kept", n)
		}
		if err := ses.engine.DryRun(t.Context(), "corp", options, l); err != nil {
			t.Error(err)
		}
		told("tokens declared in the config", "dry run: it would be blocked: "+want)(t, outcome{lab: l})
		if err := ses.engine.DryRun(t.Context(), "corp", startOptions{}, l); err != nil {
			t.Error(err)
		}
		told("it would be blocked: api_changed: the tokens are declared in the config, so none is created")(t, outcome{lab: l})
		if err := ses.engine.Adopt(t.Context(), "corp", "new"); err == nil || !strings.HasPrefix(err.Error(), "token new is not declared in the config: ") {
			t.Errorf("adopt: %v", err)
		}
	})
}

func TestTheProvisioningTenantIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(clouds.DefaultQuirks(), dueSpec(), defaultPolicy())
		l.at.ProvisioningTenantID = ""
		ses := l.open()
		c := ses.connection()
		c.Resolve = func(context.Context) (model.Binding, error) { return l.at.Binding, nil }
		ses.engine.Configure([]token.Options{c})
		const want = "connection corp: its provisioning tenant at AWS is unknown: with tokens.read_from: declared it is not looked up, so set aws.provisioning_tenant_id"
		if err := ses.engine.DryRun(t.Context(), "corp", startOptions{}, l); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}
