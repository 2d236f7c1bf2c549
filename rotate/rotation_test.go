package rotate_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/harness"
)

// expectOutcome runs a scenario that must have this outcome and violate no invariant.
func expectOutcome(t *testing.T, s harness.Scenario, outcome string, checks ...func(*testing.T, harness.Result)) {
	t.Helper()
	harness.Run(t, s, func(t *testing.T, r harness.Result) {
		t.Helper()
		if r.Outcome != outcome {
			t.Errorf("outcome %s, want %s", r.Outcome, outcome)
		}
		for _, violation := range harness.Check(r) {
			t.Error(violation)
		}
		for _, check := range checks {
			check(t, r)
		}
		if t.Failed() {
			t.Log("\n" + r.Harness.Timeline())
		}
	})
}

// expectSteps demands that the timeline contains these phrases, in this order.
func expectSteps(phrases ...string) func(*testing.T, harness.Result) {
	return func(t *testing.T, r harness.Result) {
		t.Helper()
		timeline := r.Harness.Timeline()
		for _, phrase := range phrases {
			_, rest, found := strings.Cut(timeline, phrase)
			if !found {
				t.Errorf("the timeline does not continue with %q", phrase)
				return
			}
			timeline = rest
		}
	}
}

// expectNoOutage demands that there was no outage, whatever the cause.
func expectNoOutage(t *testing.T, r harness.Result) {
	t.Helper()
	for _, outage := range r.Harness.Clouds.Outages() {
		t.Errorf("an outage: %s", outage)
	}
}

// expectDistinctSteps demands that the record contains each step once.
func expectDistinctSteps(t *testing.T, r harness.Result) {
	t.Helper()
	seen := map[model.RotationStep]bool{}
	for _, step := range r.Rotation.Steps {
		if seen[step] {
			t.Errorf("the step is twice in the record: %s %s", step.Phase, step.Text)
		}
		seen[step] = true
	}
}

func TestRotationFromAlertToProof(t *testing.T) {
	expectOutcome(t, harness.BaseScenario(), "done", expectNoOutage, expectDistinctSteps, expectSteps(
		"alert: started", "created token", "works at AWS, and from Entra", "saved in", "stored", "used", "attributed",
		"(before_delete): done", "deleted token", "AWS refuses the old token", "exclusive", "outcome: done",
	), func(t *testing.T, r harness.Result) {
		if r.Status.Phase != model.PhaseIdle || r.Status.LastSuccess.IsZero() || r.Status.TokensCreated != 1 || r.Status.Outcomes[model.OutcomeDone] != 1 {
			t.Errorf("status %+v", r.Status)
		}
		if id, ok := r.Status.InUse(); !ok || id != r.Rotation.NewTokenID || r.Rotation.OldTokenID != r.Harness.Connection.TokenIDs[0] || r.Rotation.Proof != model.ProofExclusive {
			t.Errorf("in use %q, record %+v", id, r.Rotation)
		}
		if got := r.Harness.Store.Values(); len(got) != 1 || got[0] != r.Harness.Clouds.TokenValue(r.Rotation.NewTokenID) {
			t.Errorf("the token store holds %d values, want the new one only", len(got))
		}
	})
}

// The lists may lag behind a deletion. Nothing is deleted twice, and the engine tests
// Entra's credentials meanwhile, so that a recovery does not wait for the lists.
func TestListsLagBehindTheDeletion(t *testing.T) {
	s := harness.BaseScenario()
	s.Actions = map[string]func(*harness.Harness){"aws.delete#1": func(h *harness.Harness) {
		h.ByOperator(func(m *clouds.Model) error { return m.SetQuirk("list_lag", "10m") })
	}}
	once := func(t *testing.T, r harness.Result) {
		if n := r.Harness.CallCounts["aws.delete"]; n != 1 {
			t.Errorf("deleted %d times", n)
		}
	}
	t.Run("the save was kept", func(t *testing.T) { expectOutcome(t, s, "done", expectNoOutage, once) })
	t.Run("the save was dropped", func(t *testing.T) {
		s := s
		s.Quirks.CloudTrail = clouds.TrailAbsent
		_ = s.Quirks.Set("deleted_lag", "0s")
		s.Policy.Approval = model.ApprovalNever
		s.Prepare = func(h *harness.Harness) {
			h.SaveMayBeDropped = true
			_ = h.Clouds.SetQuirk("put_secrets", clouds.PutKeepsToken)
		}
		setListLag := s.Actions["aws.delete#1"]
		s.Actions = map[string]func(*harness.Harness){"aws.delete#1": func(h *harness.Harness) {
			setListLag(h)
			h.ByOperator(func(m *clouds.Model) error { return m.SetQuirk("put_secrets", clouds.PutMerges) })
		}}
		expectOutcome(t, s, "done", once, expectSteps("without the old token Entra's test of the saved credentials fails: recovery", "(recovery): done", "exclusive"), func(t *testing.T, r harness.Result) {
			for _, outage := range r.Harness.Clouds.Outages() {
				if seconds := outage.Seconds(outage.Ended); seconds > 60 {
					t.Errorf("an outage of %v s", seconds)
				}
			}
		})
	})
}

func TestCloudTrailIsUnavailable(t *testing.T) {
	s := harness.BaseScenario()
	s.FaultsByName = map[string]harness.Fault{"trail.calls": harness.Refused}
	expectOutcome(t, s, "done", expectNoOutage, expectSteps("reading CloudTrail failed: trail.calls: other: ", "approval to delete token", "exclusive"), func(t *testing.T, r harness.Result) {
		if n := strings.Count(r.Harness.Timeline(), "reading CloudTrail failed"); n != 1 {
			t.Errorf("logged %d times", n)
		}
	})
}

func TestDeletedTokenIsStillAccepted(t *testing.T) {
	t.Run("for hours", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Prepare = storeOldValue
		_ = s.Quirks.Set("deleted_lag", "3h")
		expectOutcome(t, s, "done", expectNoOutage, expectSteps("deleted token", "AWS refuses the old token", "exclusive"), func(t *testing.T, r harness.Result) {
			if waited := r.Rotation.Ended.Sub(r.Rotation.Started); waited < 5*time.Hour {
				t.Errorf("it was done after %s", waited)
			}
		})
	})
	t.Run("for good", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Prepare = storeOldValue
		_ = s.Quirks.Set("deleted_lag", "1000h")
		expectOutcome(t, s, "blocked delete_refused", expectNoOutage, expectSteps("AWS still accepts the old token 24h0m0s after its deletion"))
	})
	t.Run("for hours, its value unknown", func(t *testing.T) {
		s := harness.BaseScenario()
		_ = s.Quirks.Set("deleted_lag", "3h")
		expectOutcome(t, s, "done", expectNoOutage, expectSteps("cannot verify that AWS refuses the old token", "exclusive"))
	})
}

// A simple rotation would cause an outage in the next four tests.

func TestSaveIsSilentlyDropped(t *testing.T) {
	t.Run("CloudTrail shows it", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Quirks = quirk("put_secrets", clouds.PutKeepsToken)
		expectOutcome(t, s, "blocked proof_contradicted", expectNoOutage, expectSteps("CloudTrail shows Entra using another token; saving the new token once more"))
	})
	t.Run("CloudTrail has whole seconds, without approval", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Quirks = quirk("put_secrets", clouds.PutKeepsToken)
		s.Policy.Approval = model.ApprovalNever
		s.Prepare = func(*harness.Harness) { time.Sleep(700 * time.Millisecond) } // creation times have a fraction
		expectOutcome(t, s, "blocked proof_contradicted", expectNoOutage)
	})
	t.Run("once, and nothing shows it", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Quirks.CloudTrail = clouds.TrailAbsent
		s.Policy.Approval = model.ApprovalNever
		s.Prepare = func(h *harness.Harness) { _ = h.Clouds.SetQuirk("put_secrets", clouds.PutKeepsToken) }
		s.Actions = map[string]func(*harness.Harness){"graph.put#2": func(h *harness.Harness) {
			h.ByOperator(func(m *clouds.Model) error { return m.SetQuirk("put_secrets", clouds.PutMerges) })
		}}
		expectOutcome(t, s, "done", expectNoOutage, expectSteps("used", "(before_delete): done", "deleted token"))
	})
	t.Run("until the recovery", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Quirks.CloudTrail = clouds.TrailAbsent
		s.Policy.Approval = model.ApprovalNever
		s.Prepare = func(h *harness.Harness) {
			h.SaveMayBeDropped = true
			_ = h.Clouds.SetQuirk("put_secrets", clouds.PutKeepsToken)
		}
		s.Actions = map[string]func(*harness.Harness){"graph.put#3": func(h *harness.Harness) {
			h.ByOperator(func(m *clouds.Model) error { return m.SetQuirk("put_secrets", clouds.PutMerges) })
		}}
		expectOutcome(t, s, "done", expectSteps("which was saved in", "without the old token Entra's test of the saved credentials fails: recovery", "(recovery): done", "exclusive"),
			func(t *testing.T, r harness.Result) {
				var seconds float64
				for _, outage := range r.Harness.Clouds.Outages() {
					seconds += outage.Seconds(time.Now())
				}
				if seconds > 60 {
					t.Errorf("the recovery took %v seconds", seconds)
				}
			})
	})
}

func TestOperatorSavesAnotherToken(t *testing.T) {
	t.Run("before the new token is created", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"aws.list#7": func(h *harness.Harness) { h.SaveToken(clouds.ActorOperator, h.CreateToken()) }}
		expectOutcome(t, s, "blocked foreign_token", expectNoOutage)
	})
	t.Run("after the save, in place of the old one", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": func(h *harness.Harness) {
			h.ByOperator(func(m *clouds.Model) error {
				return m.DeleteBearerToken(clouds.CallerFor(clouds.ActorOperator), h.Connection.IdentityStoreID, h.Connection.ProvisioningTenantID, h.Connection.TokenIDs[0])
			})
			h.SaveToken(clouds.ActorOperator, h.CreateToken())
		}}
		s.Prepare = func(h *harness.Harness) { h.Deny(clouds.ReadDirectoryAudits) }
		expectOutcome(t, s, "blocked foreign_token", expectNoOutage)
	})
}

func TestTerraformSavesTheOldToken(t *testing.T) {
	overwrite := func(h *harness.Harness) { h.SaveToken(clouds.ActorTerraform, h.Connection.TokenIDs[0]) }
	t.Run("the audit log shows it", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": overwrite}
		expectOutcome(t, s, "blocked credentials_overwritten", expectNoOutage)
	})
	t.Run("CloudTrail shows it", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Prepare = func(h *harness.Harness) { h.Deny(clouds.ReadDirectoryAudits) }
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": overwrite}
		expectOutcome(t, s, "done", expectNoOutage, expectSteps("terraform", "saving the new token once more", "attributed"))
	})
	t.Run("nothing shows it, without approval", func(t *testing.T) {
		s := harness.BaseScenario()
		s.Quirks.CloudTrail = clouds.TrailAbsent
		s.Policy.Approval = model.ApprovalNever
		s.Prepare = func(h *harness.Harness) { h.Deny(clouds.ReadDirectoryAudits) }
		s.Actions = map[string]func(*harness.Harness){"graph.log#1": overwrite}
		expectOutcome(t, s, "done", expectNoOutage, expectSteps("terraform", "(before_delete): done", "deleted token"))
	})
}

func TestOneUserFailsInEveryCycle(t *testing.T) {
	s := harness.BaseScenario()
	s.Quirks = quirk("failing_user", clouds.OneUserFails)
	expectOutcome(t, s, "done", expectNoOutage, expectSteps("entry_level_errors: used"))
}

func TestExpiredTokenIsDeletedFirst(t *testing.T) {
	s := harness.BaseScenario()
	s.Spec = clouds.Expiring("corp")
	expectOutcome(t, s, "done", expectNoOutage, expectSteps("(expired)", "created token", "outcome: done"))
	s.Policy.DeleteExpiredToken = false
	expectOutcome(t, s, "blocked two_tokens", expectNoOutage)
}

func TestRepairOutOfQuarantine(t *testing.T) {
	s := harness.BaseScenario()
	s.Spec = clouds.Quarantined("corp")
	expectOutcome(t, s, "done", expectSteps("Entra's test of the saved credentials fails; testing again", "created token", "saved in", "started the job", "attributed", "(expired)", "outcome: done"))
	t.Run("the inline test ignores the given credentials", func(t *testing.T) {
		s := s
		s.Quirks.InlineTest = clouds.InlineIgnored
		expectOutcome(t, s, "done")
	})
	t.Run("right before Entra's own retry", func(t *testing.T) {
		s.Prepare = func(h *harness.Harness) { // Entra's next retry is in 50 minutes
			h.ByOperator(func(m *clouds.Model) error {
				job, err := m.Job(harness.Exporter, h.Connection.EntraTenantID, h.Connection.ServicePrincipalID, h.Connection.JobID)
				time.Sleep(job.Quarantine.NextAttempt.Sub(m.EntraNow()) - 50*time.Minute)
				return err
			})
		}
		expectOutcome(t, s, "done", func(t *testing.T, r harness.Result) {
			for start := range clouds.EntriesOf[clouds.Start](r.Harness.Clouds) {
				t.Errorf("the engine did not wait for Entra's retry: %s", start)
			}
		})
	})
}

func TestRepairWithStoredToken(t *testing.T) {
	s := shortScenario()
	s.Quiet = false
	s.Spec = clouds.Healthy("corp")
	s.Prepare = func(h *harness.Harness) { storeOldValue(h); h.SaveGarbage() }
	s.Begin = func(h *harness.Harness, p *harness.Process) {
		time.Sleep(2 * time.Hour) // until the next cycle fails
		h.Alert(context.Background(), p)
	}
	expectOutcome(t, s, "done", expectSteps("quarantine", "alert: started", "saved in", "exclusive"), func(t *testing.T, r harness.Result) {
		if r.Status.TokensCreated != 0 {
			t.Error("a token was created although the token store had a valid one")
		}
	})
}

func TestOperatorToken(t *testing.T) {
	s := harness.BaseScenario()
	s.Policy.Issuer = model.IssuerOperator
	s.Begin = startWithOperatorToken("")
	expectOutcome(t, s, "done", expectNoOutage, expectSteps("created token", "operator starts a rotation", "works at AWS", "deleted token", "outcome: done"), func(t *testing.T, r harness.Result) {
		if r.Status.TokensCreated != 0 {
			t.Error("the exporter created a token")
		}
	})
	s.Begin, s.Limit = nil, time.Hour
	harness.Run(t, s, expectSteps("alert: disabled: rotation.issuer is operator"))
}

func TestNewTokenNeverWorks(t *testing.T) {
	s := harness.BaseScenario()
	s.Quirks.NewLag = 3 * time.Hour
	expectOutcome(t, s, "aborted", expectNoOutage, expectSteps("AWS does not accept it", "giving up", "(undo)", "outcome: aborted"), func(t *testing.T, r harness.Result) {
		if got := r.Harness.Store.Values(); len(got) != 0 {
			t.Errorf("the token store still holds %d values", len(got))
		}
	})
}

func TestWaitingReasons(t *testing.T) {
	seen := map[model.WaitingReason]bool{}
	observe := func(s *harness.Scenario) {
		s.Until = func(h *harness.Harness, p *harness.Process) bool {
			seen[p.Engine.Status(h.Connection.Name).Waiting] = true
			return h.IsOver(p)
		}
	}
	s := harness.BaseScenario()
	s.Quirks.CloudTrail = clouds.TrailAbsent
	s.Actions = map[string]func(*harness.Harness){
		"graph.put#1": harness.ActionOn(harness.PauseJob),
		"graph.job#8": func(h *harness.Harness) {
			h.Clouds.Schedule(time.Now().Add(3*time.Hour), func(m *clouds.Model) { go harness.ActionOn(harness.StartJob)(h) })
		},
	}
	observe(&s)
	expectOutcome(t, s, "done", expectNoOutage)
	s = harness.BaseScenario()
	s.Spec = clouds.Quarantined("corp")
	s.Quirks.Recovery = clouds.NeedsStart
	observe(&s)
	s.BeforeCall = func(h *harness.Harness, name string) {
		if name == "graph.start" { // the cycle that it starts fails, so Entra must retry
			h.AllowOnlyFrom(clouds.ExporterAddress)
			h.Clouds.Schedule(time.Now().Add(20*time.Minute), func(m *clouds.Model) { go h.AllowOnlyFrom(clouds.EntraAddress) })
		}
	}
	harness.Run(t, s, func(*testing.T, harness.Result) {})
	s = harness.BaseScenario()
	s.Actions = map[string]func(*harness.Harness){"graph.put#2": func(h *harness.Harness) { injectFor(h, "journal.save", harness.Refused, 40*time.Minute) }}
	observe(&s)
	expectOutcome(t, s, "done", expectNoOutage)
	s = harness.BaseScenario()
	s.Begin = func(h *harness.Harness, p *harness.Process) {
		ctx := context.Background()
		h.Alert(ctx, p)
		time.Sleep(2 * time.Hour)
		if err := p.Engine.Hold(ctx, h.Connection.Name, false); err != nil {
			t.Error(err)
		}
		time.AfterFunc(5*time.Hour, func() { _ = p.Engine.Hold(ctx, h.Connection.Name, true) })
	}
	observe(&s)
	expectOutcome(t, s, "done", expectNoOutage)
	for _, reason := range model.WaitingReasons() {
		if !seen[reason] {
			t.Errorf("no scenario waited for %s: %v", reason, seen)
		}
	}
}

// A call of each phase is refused, its response is lost, or the process is killed.
func TestEachPhaseSurvivesFaults(t *testing.T) {
	quarantined := func(s *harness.Scenario) { s.Spec = clouds.Quarantined("corp") }
	rejected := func(s *harness.Scenario) { s.Quirks.NewLag = 3 * time.Hour }
	tests := []struct {
		phase  model.Phase
		call   string
		change func(*harness.Scenario)
		want   map[harness.Fault]string // default: done
	}{
		{model.PhasePlan, "aws.list#2", nil, nil},
		{model.PhasePlan, "tokens.reserve#1", nil, nil},
		{model.PhaseCreate, "aws.create#1", nil, map[harness.Fault]string{harness.NoFault: "aborted"}},
		{model.PhaseTest, "graph.inline#3", nil, nil},
		{model.PhaseSwitch, "graph.put#1", nil, nil},
		{model.PhaseResume, "graph.start#1", quarantined, nil},
		{model.PhaseVerify, "graph.log#1", nil, nil},
		{model.PhaseRetire, "aws.delete#1", nil, nil},
		{model.PhaseConfirm, "graph.test#14", nil, nil},
		{model.PhaseConfirm, "tokens.destroy#5", func(s *harness.Scenario) { s.Prepare = storeOldValue }, nil},
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
				for fault, outcome := range test.want {
					if fault == f || fault == harness.NoFault {
						want = outcome
					}
				}
				expectOutcome(t, s, want, expectSteps("FAULT "+string(f)+" at "+strings.Split(test.call, "#")[0]))
			})
		}
	}
}

// TestConcurrentStarts: two servers and a command on one store start one rotation.
func TestConcurrentStarts(t *testing.T) {
	s := harness.BaseScenario()
	s.Begin = func(h *harness.Harness, first *harness.Process) {
		ctx := h.Ctx
		second := h.Serve(ctx)
		command := h.Open()
		decisions := make(chan string, 3)
		go func() { decisions <- string(h.Alert(ctx, first)) }()
		go func() { decisions <- string(h.Alert(ctx, second)) }()
		go func() {
			if err := command.Engine.Start(ctx, h.Connection.Name, harness.StartOptions{}); err != nil {
				decisions <- "refused"
				return
			}
			decisions <- "started"
			_, _ = command.Engine.RunToCompletion(ctx, h.Connection.Name, h)
		}()
		got := []string{<-decisions, <-decisions, <-decisions}
		if n := len(slices.DeleteFunc(slices.Clone(got), func(d string) bool { return d != "started" })); n != 1 {
			t.Errorf("%d of three started a rotation: %v", n, got)
		}
	}
	expectOutcome(t, s, "done", expectNoOutage, func(t *testing.T, r harness.Result) {
		if r.Harness.CallCounts["aws.create"] != 1 || r.Harness.CallCounts["aws.delete"] != 1 {
			t.Errorf("created %d times, deleted %d times", r.Harness.CallCounts["aws.create"], r.Harness.CallCounts["aws.delete"])
		}
	})
}
