package rotate_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/test/harness"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// mustEnd plays a scenario that has to end like this, with no invariant violated.
func mustEnd(t *testing.T, s harness.Scenario, ending string, checks ...func(*testing.T, harness.Result)) {
	t.Helper()
	harness.Run(t, s, func(t *testing.T, o harness.Result) {
		t.Helper()
		if o.Outcome != ending {
			t.Errorf("ended %s, want %s", o.Outcome, ending)
		}
		for _, wrong := range harness.CheckInvariants(o) {
			t.Error(wrong)
		}
		for _, check := range checks {
			check(t, o)
		}
		if t.Failed() {
			t.Log("\n" + o.Harness.Timeline())
		}
	})
}

// expectSteps demands that the story contains these, in this order.
func expectSteps(phrases ...string) func(*testing.T, harness.Result) {
	return func(t *testing.T, o harness.Result) {
		t.Helper()
		story := o.Harness.Timeline()
		for _, phrase := range phrases {
			at := strings.Index(story, phrase)
			if at < 0 {
				t.Errorf("the story does not go on with %q", phrase)
				return
			}
			story = story[at+len(phrase):]
		}
	}
}

// expectNoOutage demands that provisioning was never interrupted, by whomever.
func expectNoOutage(t *testing.T, o harness.Result) {
	t.Helper()
	for _, gap := range o.Harness.Clouds.Outages() {
		t.Errorf("provisioning was interrupted: %s", gap)
	}
}

// expectNoStepTwice demands that the record tells each step of the story once.
func expectNoStepTwice(t *testing.T, o harness.Result) {
	t.Helper()
	seen := map[model.RotationStep]bool{}
	for _, step := range o.Rotation.Steps {
		if seen[step] {
			t.Errorf("the step stands twice in the record: %s %s", step.Phase, step.Text)
		}
		seen[step] = true
	}
}

func TestARotationFromAlertToProof(t *testing.T) {
	mustEnd(t, harness.BaseScenario(), "done", expectNoOutage, expectNoStepTwice, expectSteps(
		"alert: started", "created token", "works at AWS, and from Entra", "saved in", "stored", "used", "attributed",
		"(before_delete): done", "deleted token", "AWS refuses the old token", "exclusive", "outcome: done",
	), func(t *testing.T, o harness.Result) {
		if o.Status.Phase != model.PhaseIdle || o.Status.LastSuccess.IsZero() || o.Status.TokensCreated != 1 || o.Status.Outcomes[model.OutcomeDone] != 1 {
			t.Errorf("status %+v", o.Status)
		}
		if id, ok := o.Status.InUse(); !ok || id != o.Rotation.NewTokenID || o.Rotation.OldTokenID != o.Harness.Connection.TokenIDs[0] || o.Rotation.Proof != model.ProofExclusive {
			t.Errorf("in use %q, record %+v", id, o.Rotation)
		}
		if got := o.Harness.Store.Values(); len(got) != 1 || got[0] != o.Harness.Clouds.TokenValue(o.Rotation.NewTokenID) {
			t.Errorf("the vault holds %d values, want the new one alone", len(got))
		}
	})
}

// The lists may lag behind a deletion: nothing is deleted twice, and Entra is watched all
// the same, so that the rescue does not wait for them.
func TestListsLagBehindTheDeletion(t *testing.T) {
	s := harness.BaseScenario()
	s.Actions = map[string]func(*harness.Harness){"aws.delete#1": func(l *harness.Harness) {
		l.ByOperator(func(w *clouds.Model) error { return w.SetQuirk("list_lag", "10m") })
	}}
	once := func(t *testing.T, o harness.Result) {
		if n := o.Harness.CallCounts["aws.delete"]; n != 1 {
			t.Errorf("deleted %d times", n)
		}
	}
	t.Run("all is well", func(t *testing.T) { mustEnd(t, s, "done", expectNoOutage, once) })
	t.Run("the save was dropped", func(t *testing.T) {
		s := s
		s.Quirks.CloudTrail = clouds.TrailAbsent
		_ = s.Quirks.Set("deleted_lag", "0s")
		s.Policy.Approval = model.ApprovalNever
		s.Prepare = func(l *harness.Harness) {
			l.SaveMayBeDropped = true
			_ = l.Clouds.SetQuirk("put_secrets", clouds.PutKeepsToken)
		}
		hand := s.Actions["aws.delete#1"]
		s.Actions = map[string]func(*harness.Harness){"aws.delete#1": func(l *harness.Harness) {
			hand(l)
			l.ByOperator(func(w *clouds.Model) error { return w.SetQuirk("put_secrets", clouds.PutMerges) })
		}}
		mustEnd(t, s, "done", once, expectSteps("without the old token Entra's test of the saved credentials fails: recovery", "(recovery): done", "exclusive"), func(t *testing.T, o harness.Result) {
			for _, gap := range o.Harness.Clouds.Outages() {
				if seconds := gap.Seconds(gap.Ended); seconds > 60 {
					t.Errorf("a gap of %v s", seconds)
				}
			}
		})
	})
}

func TestTheLogIsSilent(t *testing.T) {
	s := harness.BaseScenario()
	s.FaultsByName = map[string]harness.Fault{"trail.calls": harness.Refused}
	mustEnd(t, s, "done", expectNoOutage, expectSteps("reading CloudTrail failed: trail.calls: other: ", "approval to delete token", "exclusive"), func(t *testing.T, o harness.Result) {
		if n := strings.Count(o.Harness.Timeline(), "reading CloudTrail failed"); n != 1 {
			t.Errorf("said %d times", n)
		}
	})
}

func TestADeletedTokenThatAWSStillAccepts(t *testing.T) {
	t.Run("for hours", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Prepare = storeOldValue
		_ = s.Quirks.Set("deleted_lag", "3h")
		mustEnd(t, s, "done", expectNoOutage, expectSteps("deleted token", "AWS refuses the old token", "exclusive"), func(t *testing.T, o harness.Result) {
			if waited := o.Rotation.Ended.Sub(o.Rotation.Started); waited < 5*time.Hour {
				t.Errorf("it was done after %s", waited)
			}
		})
	})
	t.Run("for ever", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Prepare = storeOldValue
		_ = s.Quirks.Set("deleted_lag", "1000h")
		mustEnd(t, s, "blocked delete_refused", expectNoOutage, expectSteps("AWS still accepts the old token 24h0m0s after its deletion"))
	})
	t.Run("for hours, its value unknown", func(t *testing.T) {
		s := harness.BaseScenario()
		_ = s.Quirks.Set("deleted_lag", "3h")
		mustEnd(t, s, "done", expectNoOutage, expectSteps("cannot verify that AWS refuses the old token", "exclusive"))
	})
}

// The four worlds in which naive rotators cause the outage they were to prevent.

func TestTheSaveIsSilentlyDropped(t *testing.T) {
	t.Run("AWS's log tells", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Quirks = quirk("put_secrets", clouds.PutKeepsToken)
		mustEnd(t, s, "blocked proof_contradicted", expectNoOutage, expectSteps("CloudTrail shows Entra using another token; saving the new token once more"))
	})
	t.Run("CloudTrail has whole seconds, and nobody is asked", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Quirks = quirk("put_secrets", clouds.PutKeepsToken)
		s.Policy.Approval = model.ApprovalNever
		s.Prepare = func(*harness.Harness) { time.Sleep(700 * time.Millisecond) } // creation times have a fraction
		mustEnd(t, s, "blocked proof_contradicted", expectNoOutage)
	})
	t.Run("once only, and nothing tells", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Quirks.CloudTrail = clouds.TrailAbsent
		s.Policy.Approval = model.ApprovalNever
		s.Prepare = func(l *harness.Harness) { _ = l.Clouds.SetQuirk("put_secrets", clouds.PutKeepsToken) }
		s.Actions = map[string]func(*harness.Harness){"graph.put#2": func(l *harness.Harness) {
			l.ByOperator(func(w *clouds.Model) error { return w.SetQuirk("put_secrets", clouds.PutMerges) })
		}}
		mustEnd(t, s, "done", expectNoOutage, expectSteps("used", "(before_delete): done", "deleted token"))
	})
	t.Run("every time but for the rescue", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Quirks.CloudTrail = clouds.TrailAbsent
		s.Policy.Approval = model.ApprovalNever
		s.Prepare = func(l *harness.Harness) {
			l.SaveMayBeDropped = true
			_ = l.Clouds.SetQuirk("put_secrets", clouds.PutKeepsToken)
		}
		s.Actions = map[string]func(*harness.Harness){"graph.put#3": func(l *harness.Harness) {
			l.ByOperator(func(w *clouds.Model) error { return w.SetQuirk("put_secrets", clouds.PutMerges) })
		}}
		mustEnd(t, s, "done", expectSteps("which was saved in", "without the old token Entra's test of the saved credentials fails: recovery", "(recovery): done", "exclusive"),
			func(t *testing.T, o harness.Result) {
				var seconds float64
				for _, gap := range o.Harness.Clouds.Outages() {
					seconds += gap.Seconds(time.Now())
				}
				if seconds > 60 {
					t.Errorf("the rescue took %v seconds", seconds)
				}
			})
	})
}

func TestAPersonMadeAndSavedAnotherTokenMeanwhile(t *testing.T) {
	t.Run("before ours is created", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"aws.list#7": func(l *harness.Harness) { l.SaveToken(clouds.ActorOperator, l.CreateToken()) }}
		mustEnd(t, s, "blocked foreign_token", expectNoOutage)
	})
	t.Run("after ours was saved, in place of the old one", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(l *harness.Harness) {
			l.ByOperator(func(w *clouds.Model) error {
				return w.DeleteBearerToken(clouds.CallerFor(clouds.ActorOperator), l.Connection.IdentityStoreID, l.Connection.ProvisioningTenantID, l.Connection.TokenIDs[0])
			})
			l.SaveToken(clouds.ActorOperator, l.CreateToken())
		}}
		s.Prepare = func(l *harness.Harness) { l.Deny(clouds.ReadDirectoryAudits) }
		mustEnd(t, s, "blocked foreign_token", expectNoOutage)
	})
}

func TestTerraformWritesTheOldTokenBack(t *testing.T) {
	overwrite := func(l *harness.Harness) { l.SaveToken(clouds.ActorTerraform, l.Connection.TokenIDs[0]) }
	t.Run("the audit tells", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": overwrite}
		mustEnd(t, s, "blocked credentials_overwritten", expectNoOutage)
	})
	t.Run("AWS's log tells", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Prepare = func(l *harness.Harness) { l.Deny(clouds.ReadDirectoryAudits) }
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": overwrite}
		mustEnd(t, s, "done", expectNoOutage, expectSteps("terraform", "saving the new token once more", "attributed"))
	})
	t.Run("nothing tells, and nobody is asked", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Quirks.CloudTrail = clouds.TrailAbsent
		s.Policy.Approval = model.ApprovalNever
		s.Prepare = func(l *harness.Harness) { l.Deny(clouds.ReadDirectoryAudits) }
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": overwrite}
		mustEnd(t, s, "done", expectNoOutage, expectSteps("terraform", "(before_delete): done", "deleted token"))
	})
}

func TestOneUserFailsInEveryCycle(t *testing.T) {
	s := harness.BaseScenario()
	s.Quirks = quirk("failing_user", clouds.OneUserFails)
	mustEnd(t, s, "done", expectNoOutage, expectSteps("entry_level_errors: used"))
}

// What else happens.

func TestAnExpiredTokenMakesRoom(t *testing.T) {
	s := harness.BaseScenario()
	s.Spec = clouds.Expiring("corp")
	mustEnd(t, s, "done", expectNoOutage, expectSteps("(expired)", "created token", "outcome: done"))
	s.Policy.DeleteExpiredToken = false
	mustEnd(t, s, "blocked two_tokens", expectNoOutage)
}

func TestRepairOutOfQuarantine(t *testing.T) {
	s := harness.BaseScenario()
	s.Spec = clouds.Quarantined("corp")
	mustEnd(t, s, "done", expectSteps("Entra's test of the saved credentials fails; testing again", "created token", "saved in", "started the job", "attributed", "(expired)", "outcome: done"))
	t.Run("though the inline test tests what is saved", func(t *testing.T) {
		s := s
		s.Quirks.InlineTest = clouds.InlineIgnored
		mustEnd(t, s, "done")
	})
	t.Run("by itself, soon", func(t *testing.T) {
		s.Prepare = func(l *harness.Harness) { // the next automatic attempt is near
			l.ByOperator(func(w *clouds.Model) error {
				job, err := w.Job(harness.Exporter, l.Connection.EntraTenantID, l.Connection.ServicePrincipalID, l.Connection.JobID)
				time.Sleep(job.Quarantine.NextAttempt.Sub(w.EntraNow()) - 50*time.Minute)
				return err
			})
		}
		mustEnd(t, s, "done", func(t *testing.T, o harness.Result) {
			for start := range clouds.EntriesOf[clouds.Start](o.Harness.Clouds) {
				t.Errorf("it did not wait for the automatic attempt: %s", start)
			}
		})
	})
}

func TestRepairWithTheTokenThatTheVaultHas(t *testing.T) {
	s := shortScenario()
	s.Quiet = false
	s.Spec = clouds.Healthy("corp")
	s.Prepare = func(l *harness.Harness) { storeOldValue(l); l.SaveGarbage() }
	s.Begin = func(l *harness.Harness, ses *harness.Process) {
		time.Sleep(2 * time.Hour) // until the next cycle fails
		l.Alert(context.Background(), ses)
	}
	mustEnd(t, s, "done", expectSteps("quarantine", "alert: started", "saved in", "exclusive"), func(t *testing.T, o harness.Result) {
		if o.Status.TokensCreated != 0 {
			t.Error("a token was created although the vault had a good one")
		}
	})
}

func TestAnOperatorsToken(t *testing.T) {
	s := harness.BaseScenario()
	s.Policy.Issuer = model.IssuerOperator
	s.Begin = startWithOperatorToken("")
	mustEnd(t, s, "done", expectNoOutage, expectSteps("created token", "a person starts a rotation", "works at AWS", "deleted token", "outcome: done"), func(t *testing.T, o harness.Result) {
		if o.Status.TokensCreated != 0 {
			t.Error("the exporter created a token")
		}
	})
	s.Begin, s.Limit = nil, time.Hour
	harness.Run(t, s, expectSteps("alert: disabled: rotation.issuer is operator"))
}

func TestTheNewTokenNeverWorks(t *testing.T) {
	s := harness.BaseScenario()
	s.Quirks.NewLag = 3 * time.Hour
	mustEnd(t, s, "aborted", expectNoOutage, expectSteps("AWS does not accept it", "giving up", "(undo)", "outcome: aborted"), func(t *testing.T, o harness.Result) {
		if got := o.Harness.Store.Values(); len(got) != 0 {
			t.Errorf("the vault still holds %d values", len(got))
		}
	})
}

func TestWaitsThatNeedNobody(t *testing.T) {
	seen := map[model.WaitingReason]bool{}
	look := func(s *harness.Scenario) {
		s.Until = func(l *harness.Harness, ses *harness.Process) bool {
			seen[ses.Engine.Status(l.Connection.Name).Waiting] = true
			return l.IsOver(ses)
		}
	}
	s := harness.BaseScenario()
	s.Quirks.CloudTrail = clouds.TrailAbsent
	s.Actions = map[string]func(*harness.Harness){
		"graph.put#1": harness.ActionOn(harness.PauseJob),
		"graph.job#8": func(l *harness.Harness) {
			l.Clouds.Schedule(time.Now().Add(3*time.Hour), func(w *clouds.Model) { go harness.ActionOn(harness.StartJob)(l) })
		},
	}
	look(&s)
	mustEnd(t, s, "done", expectNoOutage)
	s = harness.BaseScenario()
	s.Spec = clouds.Quarantined("corp")
	s.Quirks.Recovery = clouds.NeedsStart
	look(&s)
	s.BeforeCall = func(l *harness.Harness, name string) {
		if name == "graph.start" { // whose effect is a cycle that fails for a while: the engine must retry by itself
			l.AllowOnlyFrom(clouds.ExporterAddress)
			l.Clouds.Schedule(time.Now().Add(20*time.Minute), func(w *clouds.Model) { go l.AllowOnlyFrom(clouds.EntraAddress) })
		}
	}
	harness.Run(t, s, func(*testing.T, harness.Result) {})
	s = harness.BaseScenario()
	s.Actions = map[string]func(*harness.Harness){"graph.put#2": func(l *harness.Harness) { injectFailure(l, "journal.save", 40*time.Minute) }}
	look(&s)
	mustEnd(t, s, "done", expectNoOutage)
	s = harness.BaseScenario()
	s.Begin = func(l *harness.Harness, ses *harness.Process) {
		ctx := context.Background()
		l.Alert(ctx, ses)
		time.Sleep(2 * time.Hour)
		if err := ses.Engine.Hold(ctx, l.Connection.Name, false); err != nil {
			t.Error(err)
		}
		time.AfterFunc(5*time.Hour, func() { _ = ses.Engine.Hold(ctx, l.Connection.Name, true) })
	}
	look(&s)
	mustEnd(t, s, "done", expectNoOutage)
	for _, reason := range model.WaitingReasons() {
		if !seen[reason] {
			t.Errorf("never waited for %s: %v", reason, seen)
		}
	}
}

// fail refuses every call of this name for a while.
func injectFailure(l *harness.Harness, name string, during time.Duration) {
	l.Lock()
	defer l.Unlock()
	named := map[string]harness.Fault{name: harness.Refused}
	l.FaultsByName, named = named, l.FaultsByName
	time.AfterFunc(during, func() {
		l.Lock()
		defer l.Unlock()
		l.FaultsByName = named
	})
}

// Each phase × {refused, answer lost, killed}.
func TestEachPhaseSurvives(t *testing.T) {
	quarantined := func(s *harness.Scenario) { s.Spec = clouds.Quarantined("corp") }
	rejected := func(s *harness.Scenario) { s.Quirks.NewLag = 3 * time.Hour }
	tests := []struct {
		phase  model.Phase
		call   string
		change func(*harness.Scenario)
		want   map[harness.Fault]string // default: done
	}{
		{model.PhasePlan, "aws.list#2", nil, nil},
		{model.PhasePlan, "vault.reserve#1", nil, nil},
		{model.PhaseCreate, "aws.create#1", nil, map[harness.Fault]string{harness.NoFault: "aborted"}},
		{model.PhaseTest, "graph.inline#3", nil, nil},
		{model.PhaseSwitch, "graph.put#1", nil, nil},
		{model.PhaseResume, "graph.start#1", quarantined, nil},
		{model.PhaseVerify, "graph.log#1", nil, nil},
		{model.PhaseRetire, "aws.delete#1", nil, nil},
		{model.PhaseConfirm, "graph.test#14", nil, nil},
		{model.PhaseConfirm, "vault.destroy#5", func(s *harness.Scenario) { s.Prepare = storeOldValue }, nil},
		{model.PhaseUndo, "aws.delete#1", rejected, map[harness.Fault]string{harness.NoFault: "aborted"}},
	}
	for _, test := range tests {
		for _, f := range []harness.Fault{harness.Refused, harness.ResponseLost, harness.KilledBefore, harness.KilledAfter} {
			t.Run(fmt.Sprintf("%s %s %s", test.phase, test.call, f), func(t *testing.T) {
				s := harness.BaseScenario()
				if test.change != nil {
					test.change(&s)
				}
				s.FaultsByName = map[string]harness.Fault{test.call: f}
				want := "done"
				for key, ending := range test.want {
					if key == f || key == harness.NoFault {
						want = ending
					}
				}
				mustEnd(t, s, want, expectSteps("FAULT "+string(f)+" at "+strings.Split(test.call, "#")[0]))
			})
		}
	}
}

// TestToldAtOnce: two servers and a command line on one store make one rotation.
func TestToldAtOnce(t *testing.T) {
	s := harness.BaseScenario()
	s.Begin = func(l *harness.Harness, first *harness.Process) {
		ctx := l.Ctx
		second := l.Serve(ctx)
		line := l.Open()
		decisions := make(chan string, 3)
		go func() { decisions <- string(l.Alert(ctx, first)) }()
		go func() { decisions <- string(l.Alert(ctx, second)) }()
		go func() {
			if err := line.Engine.Start(ctx, l.Connection.Name, harness.StartOptions{}); err != nil {
				decisions <- "refused"
				return
			}
			decisions <- "started"
			_, _ = line.Engine.RunToCompletion(ctx, l.Connection.Name, l)
		}()
		got := []string{<-decisions, <-decisions, <-decisions}
		if n := len(slices.DeleteFunc(slices.Clone(got), func(d string) bool { return d != "started" })); n != 1 {
			t.Errorf("%d of three started a rotation: %v", n, got)
		}
	}
	mustEnd(t, s, "done", expectNoOutage, func(t *testing.T, o harness.Result) {
		if o.Harness.CallCounts["aws.create"] != 1 || o.Harness.CallCounts["aws.delete"] != 1 {
			t.Errorf("created %d times, deleted %d times", o.Harness.CallCounts["aws.create"], o.Harness.CallCounts["aws.delete"])
		}
	})
}
