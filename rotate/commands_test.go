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
	"entra-aws-exporter/test/harness"
)

// The operator's commands.
func TestAbort(t *testing.T) {
	t.Run("before the point of no return", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"graph.inline#3": func(h *harness.Harness) { go runCommand(h, t, (*rotate.Engine).Abort) }}
		expectOutcome(t, s, "aborted", expectNoOutage, expectSteps("created token", "deleted token", "(undo)", "outcome: aborted: an operator aborted it"))
	})
	t.Run("after it", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(h *harness.Harness) {
			go func() {
				if err := h.Current.Load().Engine.Abort(context.Background(), "corp"); err == nil {
					t.Error("a rotation was aborted after a PUT")
				}
			}()
		}}
		expectOutcome(t, s, "done", expectNoOutage)
	})
}

// runCommand runs an operator's command, which must succeed.
func runCommand(h *harness.Harness, t *testing.T, do func(*rotate.Engine, context.Context, string) error) {
	if err := do(h.Current.Load().Engine.Engine, context.Background(), h.Connection.Name); err != nil {
		t.Error(err)
	}
}

func TestResetKeepsTheNewToken(t *testing.T) {
	s := harness.BaseScenario()
	s.Quirks = quirk("put_secrets", clouds.PutLimited)
	reset := false
	s.Until = func(h *harness.Harness, p *harness.Process) bool {
		if !h.IsOver(p) || reset {
			return h.IsOver(p)
		}
		reset = true
		h.ByOperator(func(m *clouds.Model) error { return m.SetQuirk("put_secrets", clouds.PutMerges) })
		runCommand(h, t, (*rotate.Engine).Reset)
		return false
	}
	expectOutcome(t, s, "done", expectNoOutage, expectSteps("storage_limit", "works at AWS", "outcome: done"), func(t *testing.T, r harness.Result) {
		if r.Harness.CallCounts["aws.create"] != 1 {
			t.Errorf("created %d tokens, want the first one used again", r.Harness.CallCounts["aws.create"])
		}
	})
}

func TestRetireTokenResolvesTwoTokens(t *testing.T) {
	s := harness.BaseScenario()
	blockedScenarios[model.BlockedTwoTokens](&s)
	resolved := false
	s.Until = func(h *harness.Harness, p *harness.Process) bool {
		if !h.IsOver(p) || resolved {
			return h.IsOver(p)
		}
		resolved = true
		if err := p.Engine.Start(context.Background(), h.Connection.Name, harness.StartOptions{RetireToken: h.Connection.TokenIDs[1]}); err != nil {
			t.Error(err)
		}
		return false
	}
	expectOutcome(t, s, "blocked") // the first one
	resolved = false
	harness.Run(t, s, func(t *testing.T, r harness.Result) {
		if r.Status.Outcomes[model.OutcomeDone] != 1 {
			t.Errorf("the second rotation is not done\n%s", r.Harness.Timeline())
		}
	})
}

// An older copy of the journal does not contain the save. Until an operator adopts it,
// the engine does nothing. Even then, the new token may be the one that Entra holds.
func TestNoUndoAfterOlderJournalIsRestored(t *testing.T) {
	s := harness.BaseScenario()
	s.Prepare = func(h *harness.Harness) { h.Store.KeepHistory = true }
	s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(h *harness.Harness) { h.Store.RestoreToPhase(h.Connection.Key(), model.PhaseTest) }}
	adopted := false
	s.Until = func(h *harness.Harness, p *harness.Process) bool {
		if !h.IsOver(p) || adopted {
			return h.IsOver(p)
		}
		adopted = true
		const want = "connection corp: the journal is an older copy that was restored: compare the tokens and certificates at AWS with rotation show corp, then rotation adopt corp --in-use ID, with the token that Entra holds"
		for _, command := range []func(*rotate.Engine, context.Context, string) error{(*rotate.Engine).Reset, (*rotate.Engine).Abort} {
			if err := command(p.Engine.Engine, h.Ctx, h.Connection.Name); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		}
		if err := p.Engine.Adopt(h.Ctx, h.Connection.Name, ""); err != nil {
			t.Error(err)
		}
		if err := p.Engine.Abort(h.Ctx, h.Connection.Name); err == nil || !strings.Contains(err.Error(), "may be in use already") {
			t.Errorf("abort: %v", err)
		}
		return false
	}
	expectOutcome(t, s, "done", expectNoOutage)
}

// An operator who was shown the new token may have entered it in Entra.
func TestNoUndoAfterTokenWasShown(t *testing.T) {
	s := harness.BaseScenario()
	s.Actions = map[string]func(*harness.Harness){"graph.inline#3": func(h *harness.Harness) {
		e := h.Current.Load().Engine
		shown, _, err := e.ShowToken(h.Ctx, h.Connection.Name)
		if err != nil || shown != harness.NewestToken(h) {
			t.Errorf("shown %s: %v", shown, err)
		}
		h.SaveToken(clouds.ActorOperator, shown)
		if err := e.Abort(h.Ctx, h.Connection.Name); err == nil || !strings.Contains(err.Error(), "may be in use already") {
			t.Errorf("abort: %v", err)
		}
	}}
	expectOutcome(t, s, "done", expectNoOutage)
}

// If a connection has another binding, or was removed from the config, adopt ends its
// rotation. Until then, the status shows that rotation.
func TestAdoptEndsRotationOfFormerBinding(t *testing.T) {
	for reason, why := range map[model.BlockedReason]string{
		model.BlockedBindingChanged:    "adopted: the connection is bound to something else now",
		model.BlockedConnectionRemoved: "adopted: the connection is not configured any more",
	} {
		t.Run(string(reason), func(t *testing.T) {
			s := harness.BaseScenario()
			blockedScenarios[reason](&s)
			adopted := false
			s.Until = func(h *harness.Harness, p *harness.Process) bool {
				if status := p.Engine.Status(h.Connection.Name); status.Blocked == "" || adopted {
					return adopted
				} else if status.Blocked != reason {
					t.Errorf("blocked %s", status.Blocked)
				}
				adopted = true
				other := h.Open() // a command
				if binding, err := other.Resolve(h.Ctx); err == nil && reason == model.BlockedBindingChanged {
					h.Connection.Binding = binding
				}
				created := harness.NewestToken(h)
				if err := other.Engine.Adopt(h.Ctx, h.Connection.Name, ""); err != nil {
					t.Error(err)
				}
				history := other.Engine.Records()
				if len(history) != 1 || history[0].Outcome != model.OutcomeAborted || history[0].Reason != why {
					t.Errorf("%+v", history)
				}
				if reason == model.BlockedBindingChanged && !h.Store.Has(h.Connection.Key(), created) {
					t.Errorf("the value of %s was not moved to the new binding", created)
				}
				if err := other.Engine.Adopt(h.Ctx, h.Connection.Name, ""); reason == model.BlockedConnectionRemoved && (err == nil || err.Error() != `no connection "corp" is configured`) {
					t.Errorf("second adopt: %v", err)
				}
				return true
			}
			harness.Run(t, s, func(t *testing.T, r harness.Result) {
				if !adopted {
					t.Errorf("outcome %s\n%s", r.Outcome, r.Harness.Timeline())
				}
			})
		})
	}
}

// A name means its current binding, whatever the journal has under that name.
func TestNameIsGivenToAnotherConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := harness.New(clouds.DefaultQuirks(), harness.DueConnection(), harness.DefaultPolicy())
		h.Ctx = t.Context()
		first := h.Open().Engine
		if err := first.Start(h.Ctx, "corp", harness.StartOptions{}); err != nil {
			t.Fatal(err)
		}
		others := clouds.Healthy("other")
		others.Account = "444455556666"
		other := h.Clouds.Add(others).Binding
		h.Connection.Name = "renamed"
		h.Configure = func(c token.Options) []token.Options {
			added := c
			added.Connection, added.Resolve = "corp", func(context.Context) (model.Binding, error) { return other, nil }
			return []token.Options{c, added}
		}
		second := h.Open().Engine
		for _, test := range []struct {
			hold    string
			waiting model.WaitingReason
		}{{"corp", ""}, {"renamed", model.WaitingOnHold}} {
			if err := second.Hold(h.Ctx, test.hold, false); err != nil {
				t.Error(err)
			}
			if status := second.Status("renamed"); status.Waiting != test.waiting || status.Phase != model.PhasePlan {
				t.Errorf("with %s held: %+v", test.hold, status)
			}
		}
	})
}

// An abort counts until the last read before a rotation blocks.
func TestAbortRightBeforeBlocked(t *testing.T) {
	s := harness.BaseScenario()
	blockedScenarios[model.BlockedTwoTokens](&s)
	s.BeforeCall = firstTime(func(_ *harness.Harness, name string, rot *harness.Rotation) bool {
		return name == "graph.job" && slices.ContainsFunc(rot.Steps, func(step model.RotationStep) bool {
			return strings.Contains(step.Text, "two_tokens") && time.Since(step.At) > 4*time.Minute // at the third attempt
		})
	}, func(h *harness.Harness) { // by another process, which cannot wake the one that rotates
		if err := h.Open().Engine.Abort(h.Ctx, h.Connection.Name); err != nil {
			t.Error(err)
		}
	})
	expectOutcome(t, s, "aborted", expectNoOutage, expectSteps("outcome: aborted: aborted: an operator aborted it"))
}

func TestApprovalNeedsProof(t *testing.T) {
	s := harness.BaseScenario()
	s.Quirks.CloudTrail = clouds.TrailAbsent
	s.Approves = false
	attempted := false
	s.Actions = map[string]func(*harness.Harness){
		"graph.inline#3": func(h *harness.Harness) {
			attempted = true
			err := h.Current.Load().Engine.Approve(h.Ctx, h.Connection.Name, h.Connection.TokenIDs[0])
			if err == nil || !strings.Contains(err.Error(), "nothing shows yet that Entra uses the new token (phase ") {
				t.Errorf("approved without proof: %v", err)
			}
		},
	}
	s.Limit = 3 * 24 * time.Hour
	expectOutcome(t, s, "waiting approval", expectNoOutage)
	if !attempted {
		t.Error("no approval was attempted")
	}
}

func TestAdoptContinuesRotation(t *testing.T) {
	s := harness.BaseScenario()
	s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(h *harness.Harness) { h.SaveToken(clouds.ActorTerraform, h.Connection.TokenIDs[0]) }}
	adopted := false
	s.Until = func(h *harness.Harness, p *harness.Process) bool {
		if !h.IsOver(p) || adopted {
			return h.IsOver(p)
		}
		adopted = true
		if err := p.Engine.Adopt(h.Ctx, h.Connection.Name, ""); err == nil || !strings.Contains(err.Error(), "which token Entra holds is unknown: name it with --in-use ID; tokens: ") {
			t.Errorf("adopted without a question: %v", err)
		}
		if err := p.Engine.Adopt(h.Ctx, h.Connection.Name, harness.NewestToken(h)); err != nil {
			t.Error(err)
		}
		return false
	}
	expectOutcome(t, s, "done", expectNoOutage, expectSteps("credentials_overwritten", "saved in", "outcome: done"))
}

// Entra may hold a token that an operator entered during the rotation: adopt does not
// replace it, and does not guess.
func TestAdoptAsksWhichTokenEntraHolds(t *testing.T) {
	s := harness.BaseScenario()
	s.Prepare = func(h *harness.Harness) { h.Adopted = true }
	foreignInConfirm(true)(&s)
	asked := false
	s.Until = func(h *harness.Harness, p *harness.Process) bool {
		if !h.IsOver(p) || asked {
			return h.IsOver(p)
		}
		asked = true
		if err := p.Engine.Adopt(h.Ctx, h.Connection.Name, ""); err == nil || !strings.Contains(err.Error(), "name it with --in-use ID") {
			t.Errorf("adopted without a question: %v", err)
		}
		if err := p.Engine.Adopt(h.Ctx, h.Connection.Name, lastToken(h)); err != nil {
			t.Error(err)
		}
		return false
	}
	expectOutcome(t, s, "aborted", expectNoOutage, expectSteps("foreign_token"), func(t *testing.T, r harness.Result) {
		r.Harness.WithClouds(func(m *clouds.Model) {
			if held := m.SavedToken(r.Harness.Connection.ServicePrincipalID); held == r.Rotation.NewTokenID {
				t.Error("the operator's token was replaced")
			}
		})
	})
}

// contextStore refuses calls whose context has ended, as the journal on disk does.
type contextStore struct{ journal.Store }

func (contextStore) Keys(ctx context.Context) ([]string, error) { return nil, ctx.Err() }

// A process that stops as soon as it starts logs no error of the journal.
func TestStopIsNoJournalError(t *testing.T) {
	var log strings.Builder
	e := harness.NewEngine(rotate.Options{Store: contextStore{}, Logger: slog.New(slog.NewTextHandler(&log, nil))}, nil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Run(ctx); err != nil || log.String() != "" {
		t.Errorf("%v, and the log says %s", err, log.String())
	}
}

func TestCommandErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := harness.New(clouds.DefaultQuirks(), harness.DueConnection(), harness.DefaultPolicy())
		e, ctx := h.Open().Engine, t.Context()
		_, _, showErr := e.ShowToken(ctx, "corp")
		for _, test := range []struct {
			err  error
			want string
		}{
			{e.Start(ctx, "unknown", harness.StartOptions{}), `no connection "unknown" is configured`},
			{e.Approve(ctx, "corp", "x"), "connection corp: no rotation is open"},
			{e.Abort(ctx, "corp"), "connection corp: no rotation is open"},
			{e.Adopt(ctx, "corp", "x"), "token x is not listed at AWS: " + h.Connection.TokenIDs[0] + " (created 1999-01-21 00:00 UTC, expires 2000-01-21 00:00 UTC)"},
			{e.Reset(ctx, "unknown"), `no connection "unknown" is configured, and the journal has none`},
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

func TestStopFinishesOperationInFlight(t *testing.T) {
	s := harness.BaseScenario()
	s.Limit = 2 * time.Hour
	s.Actions = map[string]func(*harness.Harness){"aws.create#1": func(h *harness.Harness) {
		h.Current.Load().Stop()
		time.Sleep(2 * time.Second)
	}}
	s.WatchAfter = time.Minute
	harness.Run(t, s, func(t *testing.T, r harness.Result) {
		rec, err := harness.DecodeRecord(r.Harness.Store.Records[r.Harness.Connection.Key()].Content, r.Harness.Connection.Key())
		if err != nil {
			t.Fatal(err)
		}
		creates := rec.Rotation.Operations[token.OperationCreate]
		if len(creates) != 1 || !creates[0].Done() || rec.Lease.Holder != "" || len(r.Harness.Store.Values()) != 1 {
			t.Errorf("creates %+v, lease %+v", creates, rec.Lease)
		}
	})
}

func TestLeaseOfDeadHolderIsTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := harness.New(clouds.DefaultQuirks(), harness.DueConnection(), harness.DefaultPolicy())
		b := journal.NewEntry(h.Open(), harness.Codec, h.Connection.Key())
		if _, err := b.LoadOrCreate(t.Context(), h.Connection.Binding, "corp"); err != nil {
			t.Fatal(err)
		}
		if _, err := journal.AcquireLease(t.Context(), b, "first", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := journal.AcquireLease(t.Context(), b, "second", func(string) bool { return false }); !errors.Is(err, journal.ErrLeased) {
			t.Errorf("a second holder acquired the lease: %v", err)
		}
		if _, err := journal.AcquireLease(t.Context(), b, "second", func(holder string) bool { return holder == "first" }); err != nil {
			t.Error(err)
		}
	})
}

func TestDryRunReportsAndChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := harness.New(clouds.DefaultQuirks(), clouds.Expiring("corp"), harness.DefaultPolicy())
		p := h.Open()
		if err := p.Engine.DryRun(t.Context(), "corp", harness.StartOptions{}, h); err != nil {
			t.Fatal(err)
		}
		r := harness.Result{Harness: h}
		expectSteps("tokens at AWS", "provisioning job: active", "in use", "a rotation would start", "it would delete token", "(expired), then create one", "save it to Entra", "approval: first")(t, r)
		for _, call := range h.Calls {
			if strings.HasPrefix(call, "journal.") || strings.HasPrefix(call, "tokens.") || slices.Contains([]string{"aws.create", "aws.delete", "graph.put", "graph.start"}, call) {
				t.Errorf("it called %s", call)
			}
		}
		if t.Failed() {
			t.Log(h.Timeline())
		}
	})
}

func TestDryRunModeLogsReport(t *testing.T) {
	s := harness.BaseScenario()
	s.Policy.Mode, s.Limit, s.AlertInterval = model.RotationDryRun, 2*time.Hour, 10*time.Minute
	harness.Run(t, s, func(t *testing.T, r harness.Result) {
		expectSteps("alert: dry_run", "dry run: a rotation would start", "alert: dry_run", "dry run: it would create a token")(t, r)
		if n := strings.Count(r.Harness.Timeline(), "dry run: a rotation would start"); n < 2 || n > 3 || r.Harness.CallCounts["journal.save"] > 0 {
			t.Errorf("%d dry runs, %d journal writes", n, r.Harness.CallCounts["journal.save"])
		}
	})
}

// A token that an earlier rotation left behind takes no slot for good: the next rotation
// uses it, unless an operator names it as unused.
func TestTokenLeftBehindIsUsed(t *testing.T) {
	for retired, creations := range map[bool]int{false: 0, true: 1} {
		s := harness.BaseScenario()
		s.Spec.Tokens = append(s.Spec.Tokens, clouds.TokenSpec{Age: day, Left: 364 * day})
		s.Begin = func(h *harness.Harness, p *harness.Process) {
			ids := h.Connection.TokenIDs
			h.Store.Reserve(h.Connection.Key() + "/left")
			if err := h.Store.Write(h.Connection.Key()+"/left", harness.StoredEntry(h.Connection.Key(), ids[1], h.Clouds.TokenValue(ids[1])), false); err != nil {
				t.Error(err)
			}
			if err := p.Engine.Adopt(h.Ctx, h.Connection.Name, ids[0]); err != nil {
				t.Error(err)
			}
			options := harness.StartOptions{}
			if retired {
				options.RetireToken = ids[1]
			}
			if err := p.Engine.Start(h.Ctx, h.Connection.Name, options); err != nil {
				t.Error(err)
			}
		}
		expectOutcome(t, s, "done", expectNoOutage, func(t *testing.T, r harness.Result) {
			if n := r.Harness.CallCounts["aws.create"]; n != creations {
				t.Errorf("%d tokens were created, want %d", n, creations)
			}
		})
	}
}
