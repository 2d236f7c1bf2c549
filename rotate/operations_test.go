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

	"entra-aws-exporter/test/harness"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/token"
)

// A person's operations.

func TestAbort(t *testing.T) {
	t.Run("before the point of no undo", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"graph.inline#3": func(l *harness.Harness) { go operate(l, t, (*rotate.Engine).Abort) }}
		mustEnd(t, s, "aborted", expectNoOutage, expectSteps("created token", "deleted token", "(undo)", "outcome: aborted: an operator aborted it"))
	})
	t.Run("after it", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(l *harness.Harness) {
			go func() {
				if err := l.Current.Load().Engine.Abort(context.Background(), "corp"); err == nil {
					t.Error("it can be aborted after a PUT")
				}
			}()
		}}
		mustEnd(t, s, "done", expectNoOutage)
	})
}

// operate_ does what a person does at a command line, and demands that it works.
func operate(l *harness.Harness, t *testing.T, do func(*rotate.Engine, context.Context, string) error) {
	if err := do(l.Current.Load().Engine.Engine, context.Background(), l.Connection.Name); err != nil {
		t.Error(err)
	}
}

func TestResetNeverGoesBackBeforeASave(t *testing.T) {
	s := harness.BaseScenario()
	s.Quirks = quirk("put_secrets", clouds.PutLimited)
	reset := false
	s.Until = func(l *harness.Harness, ses *harness.Process) bool {
		if !l.IsOver(ses) || reset {
			return l.IsOver(ses)
		}
		reset = true
		l.ByOperator(func(w *clouds.Model) error { return w.SetQuirk("put_secrets", clouds.PutMerges) })
		operate(l, t, (*rotate.Engine).Reset)
		return false
	}
	mustEnd(t, s, "done", expectNoOutage, expectSteps("storage_limit", "works at AWS", "outcome: done"), func(t *testing.T, o harness.Result) {
		if o.Harness.CallCounts["aws.create"] != 1 {
			t.Errorf("created %d tokens: the first was to be used again", o.Harness.CallCounts["aws.create"])
		}
	})
}

func TestRetireTokenSettlesTwoTokens(t *testing.T) {
	s := harness.BaseScenario()
	blockedScenarios[model.BlockedTwoTokens](&s)
	settled := false
	s.Until = func(l *harness.Harness, ses *harness.Process) bool {
		if !l.IsOver(ses) || settled {
			return l.IsOver(ses)
		}
		settled = true
		if err := ses.Engine.Start(context.Background(), l.Connection.Name, harness.StartOptions{RetireToken: l.Connection.TokenIDs[1]}); err != nil {
			t.Error(err)
		}
		return false
	}
	mustEnd(t, s, "blocked") // the first one
	settled = false
	harness.Run(t, s, func(t *testing.T, o harness.Result) {
		if o.Status.Outcomes[model.OutcomeDone] != 1 {
			t.Errorf("the second rotation did not get done\n%s", o.Harness.Timeline())
		}
	})
}

// An older copy of the journal does not know of the save. Until a person has compared,
// nothing may be done by it; and even then the new token may be the one that Entra holds.
func TestNothingIsTakenBackByAnOlderCopy(t *testing.T) {
	s := harness.BaseScenario()
	s.Prepare = func(l *harness.Harness) { l.Store.KeepHistory = true }
	s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(l *harness.Harness) { l.Store.RestoreToPhase(l.Connection.Key(), model.PhaseTest) }}
	compared := false
	s.Until = func(l *harness.Harness, ses *harness.Process) bool {
		if !l.IsOver(ses) || compared {
			return l.IsOver(ses)
		}
		compared = true
		const first = "connection corp: the journal is an older copy that was restored: compare the tokens at AWS with rotation show corp, then rotation adopt corp"
		for _, operate := range []func(*rotate.Engine, context.Context, string) error{(*rotate.Engine).Reset, (*rotate.Engine).Abort} {
			if err := operate(ses.Engine.Engine, l.Ctx, l.Connection.Name); err == nil || err.Error() != first {
				t.Errorf("got  %v\nwant %s", err, first)
			}
		}
		if err := ses.Engine.Adopt(l.Ctx, l.Connection.Name, ""); err != nil {
			t.Error(err)
		}
		if err := ses.Engine.Abort(l.Ctx, l.Connection.Name); err == nil || !strings.Contains(err.Error(), "may be in use already") {
			t.Errorf("aborting: %v", err)
		}
		return false
	}
	mustEnd(t, s, "done", expectNoOutage)
}

// Whoever was shown the new token may have entered it in Entra.
func TestNothingIsTakenBackThatAPersonWasShown(t *testing.T) {
	s := harness.BaseScenario()
	s.Actions = map[string]func(*harness.Harness){"graph.inline#3": func(l *harness.Harness) {
		e := l.Current.Load().Engine
		shown, _, err := e.ShowToken(l.Ctx, l.Connection.Name)
		if err != nil || shown != harness.NewestToken(l) {
			t.Errorf("shown %s: %v", shown, err)
		}
		l.SaveToken(clouds.ActorOperator, shown)
		if err := e.Abort(l.Ctx, l.Connection.Name); err == nil || !strings.Contains(err.Error(), "may be in use already") {
			t.Errorf("aborting: %v", err)
		}
	}}
	mustEnd(t, s, "done", expectNoOutage)
}

// A rotation whose connection is bound to something else by now, or is gone from the
// config, can only be ended; until then it is what a person is shown.
func TestAdoptEndsWhatCannotGoOn(t *testing.T) {
	for reason, why := range map[model.BlockedReason]string{
		model.BlockedBindingChanged:    "adopted: the connection is bound to something else now",
		model.BlockedConnectionRemoved: "adopted: the connection is not configured any more",
	} {
		t.Run(string(reason), func(t *testing.T) {
			s := harness.BaseScenario()
			blockedScenarios[reason](&s)
			adopted := false
			s.Until = func(l *harness.Harness, ses *harness.Process) bool {
				if status := ses.Engine.Status(l.Connection.Name); status.Blocked == "" || adopted {
					return adopted
				} else if status.Blocked != reason {
					t.Errorf("blocked %s", status.Blocked)
				}
				adopted = true
				other := l.Open() // a command line
				if binding, err := other.Resolve(l.Ctx); err == nil && reason == model.BlockedBindingChanged {
					l.Connection.Binding = binding
				}
				created := harness.NewestToken(l)
				if err := other.Engine.Adopt(l.Ctx, l.Connection.Name, ""); err != nil {
					t.Error(err)
				}
				history := other.Engine.Records()
				if len(history) != 1 || history[0].Outcome != model.OutcomeAborted || history[0].Reason != why {
					t.Errorf("%+v", history)
				}
				if reason == model.BlockedBindingChanged && !l.Store.Has(l.Connection.Key(), created) {
					t.Errorf("the value of %s did not come with the connection", created)
				}
				if err := other.Engine.Adopt(l.Ctx, l.Connection.Name, ""); reason == model.BlockedConnectionRemoved && (err == nil || err.Error() != `no connection "corp" is configured`) {
					t.Errorf("once more: %v", err)
				}
				return true
			}
			harness.Run(t, s, func(t *testing.T, o harness.Result) {
				if !adopted {
					t.Errorf("ended %s\n%s", o.Outcome, o.Harness.Timeline())
				}
			})
		})
	}
}

// A name means what it is bound to now, whatever the journal remembers of it.
func TestANameIsGivenToAnotherConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := harness.New(clouds.DefaultQuirks(), harness.DueConnection(), harness.DefaultPolicy())
		l.Ctx = t.Context()
		first := l.Open().Engine
		if err := first.Start(l.Ctx, "corp", harness.StartOptions{}); err != nil {
			t.Fatal(err)
		}
		others := clouds.Healthy("other")
		others.Account = "444455556666"
		other := l.Clouds.Add(others).Binding
		l.Connection.Name = "renamed"
		l.Configure = func(c token.Options) []token.Options {
			newcomer := c
			newcomer.Connection, newcomer.Resolve = "corp", func(context.Context) (model.Binding, error) { return other, nil }
			return []token.Options{c, newcomer}
		}
		second := l.Open().Engine
		for _, test := range []struct {
			hold    string
			waiting model.WaitingReason
		}{{"corp", ""}, {"renamed", model.WaitingOnHold}} {
			if err := second.Hold(l.Ctx, test.hold, false); err != nil {
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
	s := harness.BaseScenario()
	blockedScenarios[model.BlockedTwoTokens](&s)
	s.BeforeCall = once(func(_ *harness.Harness, name string, rot *harness.Rotation) bool {
		return name == "graph.job" && slices.ContainsFunc(rot.Steps, func(step model.RotationStep) bool {
			return strings.Contains(step.Text, "two_tokens") && time.Since(step.At) > 4*time.Minute // in the third try
		})
	}, func(l *harness.Harness) { // another process: nobody wakes the one that rotates
		if err := l.Open().Engine.Abort(l.Ctx, l.Connection.Name); err != nil {
			t.Error(err)
		}
	})
	mustEnd(t, s, "aborted", expectNoOutage, expectSteps("outcome: aborted: aborted: an operator aborted it"))
}

func TestAnApprovalIsForOneProof(t *testing.T) {
	s := harness.BaseScenario()
	s.Quirks.CloudTrail = clouds.TrailAbsent
	s.Approves = false
	early := false
	s.Actions = map[string]func(*harness.Harness){
		"graph.inline#3": func(l *harness.Harness) {
			early = true
			err := l.Current.Load().Engine.Approve(l.Ctx, l.Connection.Name, l.Connection.TokenIDs[0])
			if err == nil || !strings.Contains(err.Error(), "nothing shows yet that Entra uses the new token (phase ") {
				t.Errorf("approved in advance: %v", err)
			}
		},
	}
	s.Limit = 3 * 24 * time.Hour
	mustEnd(t, s, "waiting approval", expectNoOutage)
	if !early {
		t.Error("nobody asked")
	}
}

func TestAdoptLetsGoOn(t *testing.T) {
	s := harness.BaseScenario()
	s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(l *harness.Harness) { l.SaveToken(clouds.ActorTerraform, l.Connection.TokenIDs[0]) }}
	adopted := false
	s.Until = func(l *harness.Harness, ses *harness.Process) bool {
		if !l.IsOver(ses) || adopted {
			return l.IsOver(ses)
		}
		adopted = true
		if err := ses.Engine.Adopt(context.Background(), l.Connection.Name, ""); err != nil {
			t.Error(err)
		}
		return false
	}
	mustEnd(t, s, "done", expectNoOutage, expectSteps("credentials_overwritten", "saved in", "outcome: done"))
}

// expiringStore is a journal that refuses whoever has no time any more, as the one on disk does.
type expiringStore struct{ journal.Store }

func (expiringStore) Keys(ctx context.Context) ([]string, error) { return nil, ctx.Err() }

// A process that ends as it begins, its port being taken, says nothing of the journal.
func TestAnEndIsNoFaultOfTheJournal(t *testing.T) {
	var log strings.Builder
	e := harness.NewEngine(rotate.Options{Store: expiringStore{}, Logger: slog.New(slog.NewTextHandler(&log, nil))}, nil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Run(ctx); err != nil || log.String() != "" {
		t.Errorf("%v, and the log says %s", err, log.String())
	}
}

func TestOperationsSayWhatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := harness.New(clouds.DefaultQuirks(), harness.DueConnection(), harness.DefaultPolicy())
		e, ctx := l.Open().Engine, t.Context()
		_, _, showErr := e.ShowToken(ctx, "corp")
		for _, test := range []struct {
			err  error
			want string
		}{
			{e.Start(ctx, "nobody", harness.StartOptions{}), `no connection "nobody" is configured`},
			{e.Approve(ctx, "corp", "x"), "connection corp: no rotation is open"},
			{e.Abort(ctx, "corp"), "connection corp: no rotation is open"},
			{e.Adopt(ctx, "corp", "x"), "token x is not listed at AWS: " + l.Connection.TokenIDs[0] + " (created 1999-01-21 00:00 UTC, expires 2000-01-21 00:00 UTC)"},
			{e.Reset(ctx, "nobody"), `no connection "nobody" is configured, and the journal has none`},
			{showErr, "connection corp: no rotation has stored a token, so there is no value to show; create a new token by hand (docs/rotation.md, By hand)"},
		} {
			if test.err == nil || test.err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", test.err, test.want)
			}
		}
		if err := e.Start(ctx, "corp", harness.StartOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, test := range []struct {
			err  error
			want string
		}{
			{e.Start(ctx, "corp", harness.StartOptions{Force: true}), "is in phase plan"},
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
	s := harness.BaseScenario()
	s.Limit = 2 * time.Hour
	s.Actions = map[string]func(*harness.Harness){"aws.create#1": func(l *harness.Harness) {
		l.Current.Load().Stop()
		time.Sleep(2 * time.Second)
	}}
	s.WatchAfter = time.Minute
	harness.Run(t, s, func(t *testing.T, o harness.Result) {
		rec, err := harness.DecodeRecord(o.Harness.Store.Records[o.Harness.Connection.Key()].Content, o.Harness.Connection.Key())
		if err != nil {
			t.Fatal(err)
		}
		creates := rec.Rotation.Operations[token.OperationCreate]
		if len(creates) != 1 || !creates[0].Done() || rec.Lease.Holder != "" || len(o.Harness.Store.Values()) != 1 {
			t.Errorf("creates %+v, lease %+v", creates, rec.Lease)
		}
	})
}

func TestTheLeaseIsNotWaitedOutForAHolderThatIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := harness.New(clouds.DefaultQuirks(), harness.DueConnection(), harness.DefaultPolicy())
		b := journal.NewEntry(l.Open(), harness.Codec, l.Connection.Key())
		if _, err := b.LoadOrCreate(t.Context(), l.Connection.Binding, "corp"); err != nil {
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
		l := harness.New(clouds.DefaultQuirks(), clouds.Expiring("corp"), harness.DefaultPolicy())
		ses := l.Open()
		if err := ses.Engine.DryRun(t.Context(), "corp", harness.StartOptions{}, l); err != nil {
			t.Fatal(err)
		}
		o := harness.Result{Harness: l}
		expectSteps("tokens at AWS", "provisioning job: active", "in use", "a rotation would start", "it would delete token", "(expired), then create one", "save it to Entra", "approval: first")(t, o)
		for _, call := range l.Calls {
			if strings.HasPrefix(call, "journal.") || strings.HasPrefix(call, "vault.") || slices.Contains([]string{"aws.create", "aws.delete", "graph.put", "graph.start"}, call) {
				t.Errorf("it called %s", call)
			}
		}
		if t.Failed() {
			t.Log(l.Timeline())
		}
	})
}

func TestModeDryRunTellsItInTheLog(t *testing.T) {
	s := harness.BaseScenario()
	s.Policy.Mode, s.Limit, s.AlertInterval = model.RotationDryRun, 2*time.Hour, 10*time.Minute
	harness.Run(t, s, func(t *testing.T, o harness.Result) {
		expectSteps("alert: dry_run", "dry run: a rotation would start", "alert: dry_run", "dry run: it would create a token")(t, o)
		if n := strings.Count(o.Harness.Timeline(), "dry run: a rotation would start"); n < 2 || n > 3 || o.Harness.CallCounts["journal.save"] > 0 {
			t.Errorf("%d dry runs, %d journal entries", n, o.Harness.CallCounts["journal.save"])
		}
	})
}
