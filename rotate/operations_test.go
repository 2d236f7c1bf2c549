package rotate_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/token"
)

// A person's operations.

func TestAbort(t *testing.T) {
	t.Run("before the point of no undo", func(t *testing.T) {
		s := usual()
		s.hands = map[string]func(*lab){"graph.inline#3": func(l *lab) { go l.operate(t, (*rotate.Engine).Abort) }}
		must(t, s, "aborted", noGap, told("created token", "deleted token", "(undo)", "outcome: aborted: an operator aborted it"))
	})
	t.Run("after it", func(t *testing.T) {
		s := usual()
		s.hands = map[string]func(*lab){"graph.log#1": func(l *lab) {
			go func() {
				if err := l.current.Load().engine.Abort(context.Background(), "corp"); err == nil {
					t.Error("it can be aborted after a PUT")
				}
			}()
		}}
		must(t, s, "done", noGap)
	})
}

// operate does what a person does at a command line, and demands that it works.
func (l *lab) operate(t *testing.T, do func(*rotate.Engine, context.Context, string) error) {
	if err := do(l.current.Load().engine.Engine, context.Background(), l.at.Name); err != nil {
		t.Error(err)
	}
}

func TestResetNeverGoesBackBeforeASave(t *testing.T) {
	s := usual()
	s.quirks = quirk("put_secrets", clouds.PutLimited)
	reset := false
	s.until = func(l *lab, ses *session) bool {
		if !l.isOver(ses) || reset {
			return l.isOver(ses)
		}
		reset = true
		l.person(func(w *clouds.Model) error { return w.SetQuirk("put_secrets", clouds.PutMerges) })
		l.operate(t, (*rotate.Engine).Reset)
		return false
	}
	must(t, s, "done", noGap, told("storage_limit", "works at AWS", "outcome: done"), func(t *testing.T, o outcome) {
		if o.lab.counts["aws.create"] != 1 {
			t.Errorf("created %d tokens: the first was to be used again", o.lab.counts["aws.create"])
		}
	})
}

func TestRetireTokenSettlesTwoTokens(t *testing.T) {
	s := usual()
	stuck[model.BlockedTwoTokens](&s)
	settled := false
	s.until = func(l *lab, ses *session) bool {
		if !l.isOver(ses) || settled {
			return l.isOver(ses)
		}
		settled = true
		if err := ses.engine.Start(context.Background(), l.at.Name, startOptions{RetireToken: l.at.TokenIDs[1]}); err != nil {
			t.Error(err)
		}
		return false
	}
	must(t, s, "blocked") // the first one
	settled = false
	play(t, s, func(t *testing.T, o outcome) {
		if o.status.Outcomes[model.OutcomeDone] != 1 {
			t.Errorf("the second rotation did not get done\n%s", o.lab.story())
		}
	})
}

// An older copy of the journal does not know of the save. Until a person has compared,
// nothing may be done by it; and even then the new token may be the one that Entra holds.
func TestNothingIsTakenBackByAnOlderCopy(t *testing.T) {
	s := usual()
	s.prepare = func(l *lab) { l.memory.keepPast = true }
	s.hands = map[string]func(*lab){"graph.log#1": func(l *lab) { l.memory.putBackTo(l.at.Key(), model.PhaseTest) }}
	compared := false
	s.until = func(l *lab, ses *session) bool {
		if !l.isOver(ses) || compared {
			return l.isOver(ses)
		}
		compared = true
		const first = "connection corp: the journal is an older copy that was restored: compare the tokens at AWS with rotation show corp, then rotation adopt corp"
		for _, operate := range []func(*rotate.Engine, context.Context, string) error{(*rotate.Engine).Reset, (*rotate.Engine).Abort} {
			if err := operate(ses.engine.Engine, l.ctx, l.at.Name); err == nil || err.Error() != first {
				t.Errorf("got  %v\nwant %s", err, first)
			}
		}
		if err := ses.engine.Adopt(l.ctx, l.at.Name, ""); err != nil {
			t.Error(err)
		}
		if err := ses.engine.Abort(l.ctx, l.at.Name); err == nil || !strings.Contains(err.Error(), "may be in use already") {
			t.Errorf("aborting: %v", err)
		}
		return false
	}
	must(t, s, "done", noGap)
}

// Whoever was shown the new token may have entered it in Entra.
func TestNothingIsTakenBackThatAPersonWasShown(t *testing.T) {
	s := usual()
	s.hands = map[string]func(*lab){"graph.inline#3": func(l *lab) {
		e := l.current.Load().engine
		shown, _, err := e.ShowToken(l.ctx, l.at.Name)
		if err != nil || shown != newest(l) {
			t.Errorf("shown %s: %v", shown, err)
		}
		l.saveByHand(clouds.ActorOperator, shown)
		if err := e.Abort(l.ctx, l.at.Name); err == nil || !strings.Contains(err.Error(), "may be in use already") {
			t.Errorf("aborting: %v", err)
		}
	}}
	must(t, s, "done", noGap)
}

// A rotation whose connection is bound to something else by now, or is gone from the
// config, can only be ended; until then it is what a person is shown.
func TestAdoptEndsWhatCannotGoOn(t *testing.T) {
	for reason, why := range map[model.BlockedReason]string{
		model.BlockedBindingChanged:    "adopted: the connection is bound to something else now",
		model.BlockedConnectionRemoved: "adopted: the connection is not configured any more",
	} {
		t.Run(string(reason), func(t *testing.T) {
			s := usual()
			stuck[reason](&s)
			adopted := false
			s.until = func(l *lab, ses *session) bool {
				if status := ses.engine.Status(l.at.Name); status.Blocked == "" || adopted {
					return adopted
				} else if status.Blocked != reason {
					t.Errorf("blocked %s", status.Blocked)
				}
				adopted = true
				other := l.open() // a command line
				if binding, err := other.resolve(l.ctx); err == nil && reason == model.BlockedBindingChanged {
					l.at.Binding = binding
				}
				created := newest(l)
				if err := other.engine.Adopt(l.ctx, l.at.Name, ""); err != nil {
					t.Error(err)
				}
				history := other.engine.Records()
				if len(history) != 1 || history[0].Outcome != model.OutcomeAborted || history[0].Reason != why {
					t.Errorf("%+v", history)
				}
				if reason == model.BlockedBindingChanged && !l.memory.has(l.at.Key(), created) {
					t.Errorf("the value of %s did not come with the connection", created)
				}
				if err := other.engine.Adopt(l.ctx, l.at.Name, ""); reason == model.BlockedConnectionRemoved && (err == nil || err.Error() != `no connection "corp" is configured`) {
					t.Errorf("once more: %v", err)
				}
				return true
			}
			play(t, s, func(t *testing.T, o outcome) {
				if !adopted {
					t.Errorf("ended %s\n%s", o.ending, o.lab.story())
				}
			})
		})
	}
}

// A name means what it is bound to now, whatever the journal remembers of it.
func TestANameIsGivenToAnotherConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(clouds.DefaultQuirks(), dueSpec(), defaultPolicy())
		l.ctx = t.Context()
		first := l.open().engine
		if err := first.Start(l.ctx, "corp", startOptions{}); err != nil {
			t.Fatal(err)
		}
		others := clouds.Healthy("other")
		others.Account = "444455556666"
		other := l.world.Add(others).Binding
		l.at.Name = "renamed"
		l.connections = func(c token.Options) []token.Options {
			newcomer := c
			newcomer.Connection, newcomer.Resolve = "corp", func(context.Context) (model.Binding, error) { return other, nil }
			return []token.Options{c, newcomer}
		}
		second := l.open().engine
		for _, test := range []struct {
			hold    string
			waiting model.WaitingReason
		}{{"corp", ""}, {"renamed", model.WaitingOnHold}} {
			if err := second.Hold(l.ctx, test.hold, false); err != nil {
				t.Error(err)
			}
			if status := second.Status("renamed"); status.Waiting != test.waiting || status.Phase != model.PhasePlan {
				t.Errorf("with %s held: %+v", test.hold, status)
			}
		}
	})
}

// What a person says at the last look before a rotation blocks is heard.
func TestAbortedBeforeItBlocks(t *testing.T) {
	s := usual()
	stuck[model.BlockedTwoTokens](&s)
	s.every = once(func(_ *lab, name string, rot *rotation) bool {
		return name == "graph.job" && slices.ContainsFunc(rot.Steps, func(step model.RotationStep) bool {
			return strings.Contains(step.Text, "two_tokens") && time.Since(step.At) > 4*time.Minute // in the third try
		})
	}, func(l *lab) { // another process: nobody wakes the one that rotates
		if err := l.open().engine.Abort(l.ctx, l.at.Name); err != nil {
			t.Error(err)
		}
	})
	must(t, s, "aborted", noGap, told("outcome: aborted: aborted: an operator aborted it"))
}

func TestAnApprovalIsForOneProof(t *testing.T) {
	s := usual()
	s.quirks.CloudTrail = clouds.TrailAbsent
	s.approves = false
	early := false
	s.hands = map[string]func(*lab){
		"graph.inline#3": func(l *lab) {
			early = true
			err := l.current.Load().engine.Approve(l.ctx, l.at.Name, l.at.TokenIDs[0])
			if err == nil || !strings.Contains(err.Error(), "nothing shows yet that Entra uses the new token (phase ") {
				t.Errorf("approved in advance: %v", err)
			}
		},
	}
	s.limit = 3 * 24 * time.Hour
	must(t, s, "waiting approval", noGap)
	if !early {
		t.Error("nobody asked")
	}
}

func TestAdoptLetsGoOn(t *testing.T) {
	s := usual()
	s.hands = map[string]func(*lab){"graph.log#1": func(l *lab) { l.saveByHand(clouds.ActorTerraform, l.at.TokenIDs[0]) }}
	adopted := false
	s.until = func(l *lab, ses *session) bool {
		if !l.isOver(ses) || adopted {
			return l.isOver(ses)
		}
		adopted = true
		if err := ses.engine.Adopt(context.Background(), l.at.Name, ""); err != nil {
			t.Error(err)
		}
		return false
	}
	must(t, s, "done", noGap, told("credentials_overwritten", "saved in", "outcome: done"))
}

// hasty is a journal that refuses whoever has no time any more, as the one on disk does.
type hasty struct{ journal.Store }

func (hasty) Keys(ctx context.Context) ([]string, error) { return nil, ctx.Err() }

// A process that ends as it begins, its port being taken, says nothing of the journal.
func TestAnEndIsNoFaultOfTheJournal(t *testing.T) {
	var log strings.Builder
	e := newEngine(rotate.Options{Store: hasty{}, Logger: slog.New(slog.NewTextHandler(&log, nil))}, nil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Run(ctx); err != nil || log.String() != "" {
		t.Errorf("%v, and the log says %s", err, log.String())
	}
}

func TestOperationsSayWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(clouds.DefaultQuirks(), dueSpec(), defaultPolicy())
		e, ctx := l.open().engine, t.Context()
		_, _, showErr := e.ShowToken(ctx, "corp")
		for _, test := range []struct {
			err  error
			want string
		}{
			{e.Start(ctx, "nobody", startOptions{}), `no connection "nobody" is configured`},
			{e.Approve(ctx, "corp", "x"), "connection corp: no rotation is open"},
			{e.Abort(ctx, "corp"), "connection corp: no rotation is open"},
			{e.Adopt(ctx, "corp", "x"), "token x is not listed at AWS: " + l.at.TokenIDs[0] + " (created 1999-01-21 00:00 UTC, expires 2000-01-21 00:00 UTC)"},
			{e.Reset(ctx, "nobody"), `no connection "nobody" is configured, and the journal has none`},
			{showErr, "connection corp: no rotation has stored a token, so there is no value to show; create a new token by hand (docs/rotation.md, By hand)"},
		} {
			if test.err == nil || test.err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", test.err, test.want)
			}
		}
		if err := e.Start(ctx, "corp", startOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			err  error
			want string
		}{
			{e.Start(ctx, "corp", startOptions{Force: true}), "is in phase plan"},
			{e.Adopt(ctx, "corp", ""), "connection corp: its rotation is not blocked, it is in phase plan"},
			{e.Reset(ctx, "corp"), "connection corp: its rotation is not blocked, it is in phase plan"},
			{e.Approve(ctx, "corp", "x"), "connection corp: token x is not one that this rotation wants to delete; those are: none"},
		} {
			if test.err == nil || !strings.Contains(test.err.Error(), test.want) {
				t.Errorf("got  %v\nwant %s", test.err, test.want)
			}
		}
	})
}

func TestAStopLetsTheActInFlightFinish(t *testing.T) {
	s := usual()
	s.limit = 2 * time.Hour
	s.hands = map[string]func(*lab){"aws.create#1": func(l *lab) {
		l.current.Load().stop()
		time.Sleep(2 * time.Second)
	}}
	s.after = time.Minute
	play(t, s, func(t *testing.T, o outcome) {
		rec, err := decodeRecord(o.lab.memory.records[o.lab.at.Key()].content, o.lab.at.Key())
		if err != nil {
			t.Fatal(err)
		}
		creates := rec.Rotation.Operations[token.OperationCreate]
		if len(creates) != 1 || !creates[0].Done() || rec.Lease.Holder != "" || len(o.lab.memory.values()) != 1 {
			t.Errorf("creates %+v, lease %+v", creates, rec.Lease)
		}
	})
}

func TestTheLeaseIsNotWaitedOutForAHolderThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(clouds.DefaultQuirks(), dueSpec(), defaultPolicy())
		b := journal.NewEntry(l.open(), codec, l.at.Key())
		if _, err := b.LoadOrCreate(t.Context(), l.at.Binding, "corp"); err != nil {
			t.Fatal(err)
		}
		if _, err := journal.AcquireLease(t.Context(), b, "first", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := journal.AcquireLease(t.Context(), b, "second", func(string) bool { return false }); !errors.Is(err, journal.ErrLeased) {
			t.Errorf("two hold the lease: %v", err)
		}
		if _, err := journal.AcquireLease(t.Context(), b, "second", func(holder string) bool { return holder == "first" }); err != nil {
			t.Error(err)
		}
	})
}

func TestDryRunTellsEverythingAndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(clouds.DefaultQuirks(), clouds.Expiring("corp"), defaultPolicy())
		ses := l.open()
		if err := ses.engine.DryRun(t.Context(), "corp", startOptions{}, l); err != nil {
			t.Fatal(err)
		}
		o := outcome{lab: l}
		told("tokens at AWS", "provisioning job: active", "in use", "a rotation would start", "it would delete token", "(expired), then create one", "save it to Entra", "approval: first")(t, o)
		for _, call := range l.trace {
			if strings.HasPrefix(call, "journal.") || strings.HasPrefix(call, "vault.") || slices.Contains([]string{"aws.create", "aws.delete", "graph.put", "graph.start"}, call) {
				t.Errorf("it called %s", call)
			}
		}
		if t.Failed() {
			t.Log(l.story())
		}
	})
}

func TestModeDryRunTellsItInTheLog(t *testing.T) {
	s := usual()
	s.policy.Mode, s.limit, s.alerts = model.RotationDryRun, 2*time.Hour, 10*time.Minute
	play(t, s, func(t *testing.T, o outcome) {
		told("alert: dry_run", "dry run: a rotation would start", "alert: dry_run", "dry run: it would create a token")(t, o)
		if n := strings.Count(o.lab.story(), "dry run: a rotation would start"); n < 2 || n > 3 || o.lab.counts["journal.save"] > 0 {
			t.Errorf("%d dry runs, %d journal entries", n, o.lab.counts["journal.save"])
		}
	})
}
