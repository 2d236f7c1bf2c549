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
)

// must plays a scenario that has to end like this, with no invariant violated.
func must(t *testing.T, s scenario, ending string, checks ...func(*testing.T, outcome)) {
	t.Helper()
	play(t, s, func(t *testing.T, o outcome) {
		t.Helper()
		if o.ending != ending {
			t.Errorf("ended %s, want %s", o.ending, ending)
		}
		for _, wrong := range judge(o) {
			t.Error(wrong)
		}
		for _, check := range checks {
			check(t, o)
		}
		if t.Failed() {
			t.Log("\n" + o.lab.story())
		}
	})
}

// told demands that the story contains these, in this order.
func told(phrases ...string) func(*testing.T, outcome) {
	return func(t *testing.T, o outcome) {
		t.Helper()
		story := o.lab.story()
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

// noGap demands that provisioning was never interrupted, by whomever.
func noGap(t *testing.T, o outcome) {
	t.Helper()
	for _, gap := range o.lab.world.Outages() {
		t.Errorf("provisioning was interrupted: %s", gap)
	}
}

// noStepTwice demands that the record tells each step of the story once.
func noStepTwice(t *testing.T, o outcome) {
	t.Helper()
	seen := map[model.RotationStep]bool{}
	for _, step := range o.last.Steps {
		if seen[step] {
			t.Errorf("the step stands twice in the record: %s %s", step.Phase, step.Text)
		}
		seen[step] = true
	}
}

func TestARotationFromAlertToProof(t *testing.T) {
	must(t, usual(), "done", noGap, noStepTwice, told(
		"alert: started", "created token", "works at AWS, and from Entra", "saved in", "stored", "used", "attributed",
		"(before_delete): done", "deleted token", "AWS refuses the old token", "exclusive", "outcome: done",
	), func(t *testing.T, o outcome) {
		if o.status.Phase != model.PhaseIdle || o.status.LastSuccess.IsZero() || o.status.TokensCreated != 1 || o.status.Outcomes[model.OutcomeDone] != 1 {
			t.Errorf("status %+v", o.status)
		}
		if id, ok := o.status.InUse(); !ok || id != o.last.NewTokenID || o.last.OldTokenID != o.lab.at.TokenIDs[0] || o.last.Proof != model.ProofExclusive {
			t.Errorf("in use %q, record %+v", id, o.last)
		}
		if got := o.lab.memory.values(); len(got) != 1 || got[0] != o.lab.world.TokenValue(o.last.NewTokenID) {
			t.Errorf("the vault holds %d values, want the new one alone", len(got))
		}
	})
}

// The lists may lag behind a deletion: nothing is deleted twice, and Entra is watched all
// the same, so that the rescue does not wait for them.
func TestListsLagBehindTheDeletion(t *testing.T) {
	s := usual()
	s.hands = map[string]func(*lab){"aws.delete#1": func(l *lab) {
		l.person(func(w *clouds.Model) error { return w.SetQuirk("list_lag", "10m") })
	}}
	once := func(t *testing.T, o outcome) {
		if n := o.lab.counts["aws.delete"]; n != 1 {
			t.Errorf("deleted %d times", n)
		}
	}
	t.Run("all is well", func(t *testing.T) { must(t, s, "done", noGap, once) })
	t.Run("the save was dropped", func(t *testing.T) {
		s := s
		s.quirks.CloudTrail = clouds.TrailAbsent
		_ = s.quirks.Set("deleted_lag", "0s")
		s.policy.Approval = model.ApprovalNever
		s.prepare = func(l *lab) {
			l.dropped = true
			_ = l.world.SetQuirk("put_secrets", clouds.PutKeepsToken)
		}
		hand := s.hands["aws.delete#1"]
		s.hands = map[string]func(*lab){"aws.delete#1": func(l *lab) {
			hand(l)
			l.person(func(w *clouds.Model) error { return w.SetQuirk("put_secrets", clouds.PutMerges) })
		}}
		must(t, s, "done", once, told("without the old token Entra's test of the saved credentials fails: recovery", "(recovery): done", "exclusive"), func(t *testing.T, o outcome) {
			for _, gap := range o.lab.world.Outages() {
				if seconds := gap.Seconds(gap.Ended); seconds > 60 {
					t.Errorf("a gap of %v s", seconds)
				}
			}
		})
	})
}

func TestTheLogIsSilent(t *testing.T) {
	s := usual()
	s.named = map[string]fault{"trail.calls": refused}
	must(t, s, "done", noGap, told("reading CloudTrail failed: trail.calls: other: ", "approval to delete token", "exclusive"), func(t *testing.T, o outcome) {
		if n := strings.Count(o.lab.story(), "reading CloudTrail failed"); n != 1 {
			t.Errorf("said %d times", n)
		}
	})
}

func TestADeletedTokenThatAWSStillAccepts(t *testing.T) {
	t.Run("for hours", func(t *testing.T) {
		s := usual()
		s.prepare = rememberOld
		_ = s.quirks.Set("deleted_lag", "3h")
		must(t, s, "done", noGap, told("deleted token", "AWS refuses the old token", "exclusive"), func(t *testing.T, o outcome) {
			if waited := o.last.Ended.Sub(o.last.Started); waited < 5*time.Hour {
				t.Errorf("it was done after %s", waited)
			}
		})
	})
	t.Run("for ever", func(t *testing.T) {
		s := usual()
		s.prepare = rememberOld
		_ = s.quirks.Set("deleted_lag", "1000h")
		must(t, s, "blocked delete_refused", noGap, told("AWS still accepts the old token 24h0m0s after its deletion"))
	})
	t.Run("for hours, its value unknown", func(t *testing.T) {
		s := usual()
		_ = s.quirks.Set("deleted_lag", "3h")
		must(t, s, "done", noGap, told("cannot verify that AWS refuses the old token", "exclusive"))
	})
}

// The four worlds in which naive rotators cause the outage they were to prevent.

func TestTheSaveIsSilentlyDropped(t *testing.T) {
	t.Run("AWS's log tells", func(t *testing.T) {
		s := usual()
		s.quirks = quirk("put_secrets", clouds.PutKeepsToken)
		must(t, s, "blocked proof_contradicted", noGap, told("CloudTrail shows Entra using another token; saving the new token once more"))
	})
	t.Run("once only, and nothing tells", func(t *testing.T) {
		s := usual()
		s.quirks.CloudTrail = clouds.TrailAbsent
		s.policy.Approval = model.ApprovalNever
		s.prepare = func(l *lab) { _ = l.world.SetQuirk("put_secrets", clouds.PutKeepsToken) }
		s.hands = map[string]func(*lab){"graph.put#2": func(l *lab) {
			l.person(func(w *clouds.Model) error { return w.SetQuirk("put_secrets", clouds.PutMerges) })
		}}
		must(t, s, "done", noGap, told("used", "(before_delete): done", "deleted token"))
	})
	t.Run("every time but for the rescue", func(t *testing.T) {
		s := usual()
		s.quirks.CloudTrail = clouds.TrailAbsent
		s.policy.Approval = model.ApprovalNever
		s.prepare = func(l *lab) {
			l.dropped = true
			_ = l.world.SetQuirk("put_secrets", clouds.PutKeepsToken)
		}
		s.hands = map[string]func(*lab){"graph.put#3": func(l *lab) {
			l.person(func(w *clouds.Model) error { return w.SetQuirk("put_secrets", clouds.PutMerges) })
		}}
		must(t, s, "done", told("which was saved in", "without the old token Entra's test of the saved credentials fails: recovery", "(recovery): done", "exclusive"),
			func(t *testing.T, o outcome) {
				var seconds float64
				for _, gap := range o.lab.world.Outages() {
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
		s := usual()
		s.hands = map[string]func(*lab){"aws.list#7": func(l *lab) { l.saveByHand(clouds.ActorOperator, l.createByHand()) }}
		must(t, s, "blocked foreign_token", noGap)
	})
	t.Run("after ours was saved, in place of the old one", func(t *testing.T) {
		s := usual()
		s.hands = map[string]func(*lab){"graph.log#1": func(l *lab) {
			l.person(func(w *clouds.Model) error {
				return w.DeleteBearerToken(clouds.CallerFor(clouds.ActorOperator), l.at.IdentityStoreID, l.at.ProvisioningTenantID, l.at.TokenIDs[0])
			})
			l.saveByHand(clouds.ActorOperator, l.createByHand())
		}}
		s.prepare = func(l *lab) { l.deny(clouds.ReadDirectoryAudits) }
		must(t, s, "blocked foreign_token", noGap)
	})
}

func TestTerraformWritesTheOldTokenBack(t *testing.T) {
	overwrite := func(l *lab) { l.saveByHand(clouds.ActorTerraform, l.at.TokenIDs[0]) }
	t.Run("the audit tells", func(t *testing.T) {
		s := usual()
		s.hands = map[string]func(*lab){"graph.log#1": overwrite}
		must(t, s, "blocked credentials_overwritten", noGap)
	})
	t.Run("AWS's log tells", func(t *testing.T) {
		s := usual()
		s.prepare = func(l *lab) { l.deny(clouds.ReadDirectoryAudits) }
		s.hands = map[string]func(*lab){"graph.log#1": overwrite}
		must(t, s, "done", noGap, told("terraform", "saving the new token once more", "attributed"))
	})
	t.Run("nothing tells, and nobody is asked", func(t *testing.T) {
		s := usual()
		s.quirks.CloudTrail = clouds.TrailAbsent
		s.policy.Approval = model.ApprovalNever
		s.prepare = func(l *lab) { l.deny(clouds.ReadDirectoryAudits) }
		s.hands = map[string]func(*lab){"graph.log#1": overwrite}
		must(t, s, "done", noGap, told("terraform", "(before_delete): done", "deleted token"))
	})
}

func TestOneUserFailsInEveryCycle(t *testing.T) {
	s := usual()
	s.quirks = quirk("failing_user", clouds.OneUserFails)
	must(t, s, "done", noGap, told("entry_level_errors: used"))
}

// What else happens.

func TestAnExpiredTokenMakesRoom(t *testing.T) {
	s := usual()
	s.spec = clouds.Expiring("corp")
	must(t, s, "done", noGap, told("(expired)", "created token", "outcome: done"))
	s.policy.DeleteExpiredToken = false
	must(t, s, "blocked two_tokens", noGap)
}

func TestRepairOutOfQuarantine(t *testing.T) {
	s := usual()
	s.spec = clouds.Quarantined("corp")
	must(t, s, "done", told("Entra's test of the saved credentials fails; testing again", "created token", "saved in", "started the job", "attributed", "(expired)", "outcome: done"))
	t.Run("though the inline test tests what is saved", func(t *testing.T) {
		s := s
		s.quirks.InlineTest = clouds.InlineIgnored
		must(t, s, "done")
	})
	t.Run("by itself, soon", func(t *testing.T) {
		s.prepare = func(l *lab) { // the next automatic attempt is near
			l.person(func(w *clouds.Model) error {
				job, err := w.Job(exporter, l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
				time.Sleep(job.Quarantine.NextAttempt.Sub(w.EntraNow()) - 50*time.Minute)
				return err
			})
		}
		must(t, s, "done", func(t *testing.T, o outcome) {
			for start := range clouds.EntriesOf[clouds.Start](o.lab.world) {
				t.Errorf("it did not wait for the automatic attempt: %s", start)
			}
		})
	})
}

func TestRepairWithTheTokenThatTheVaultHas(t *testing.T) {
	s := short()
	s.quiet = false
	s.spec = clouds.Healthy("corp")
	s.prepare = func(l *lab) { rememberOld(l); l.saveGarbage() }
	s.begin = func(l *lab, ses *session) {
		time.Sleep(2 * time.Hour) // until the next cycle fails
		l.alert(context.Background(), ses)
	}
	must(t, s, "done", told("quarantine", "alert: started", "saved in", "exclusive"), func(t *testing.T, o outcome) {
		if o.status.TokensCreated != 0 {
			t.Error("a token was created although the vault had a good one")
		}
	})
}

func TestAnOperatorsToken(t *testing.T) {
	s := usual()
	s.policy.Issuer = model.IssuerOperator
	s.begin = offer("")
	must(t, s, "done", noGap, told("created token", "a person starts a rotation", "works at AWS", "deleted token", "outcome: done"), func(t *testing.T, o outcome) {
		if o.status.TokensCreated != 0 {
			t.Error("the exporter created a token")
		}
	})
	s.begin, s.limit = nil, time.Hour
	play(t, s, told("alert: disabled: rotation.issuer is operator"))
}

func TestTheNewTokenNeverWorks(t *testing.T) {
	s := usual()
	s.quirks.NewLag = 3 * time.Hour
	must(t, s, "aborted", noGap, told("AWS does not accept it", "giving up", "(undo)", "outcome: aborted"), func(t *testing.T, o outcome) {
		if got := o.lab.memory.values(); len(got) != 0 {
			t.Errorf("the vault still holds %d values", len(got))
		}
	})
}

func TestWaitsThatNeedNobody(t *testing.T) {
	seen := map[model.WaitingReason]bool{}
	look := func(s *scenario) {
		s.until = func(l *lab, ses *session) bool {
			seen[ses.engine.Status(l.at.Name).Waiting] = true
			return l.isOver(ses)
		}
	}
	s := usual()
	s.quirks.CloudTrail = clouds.TrailAbsent
	s.hands = map[string]func(*lab){
		"graph.put#1": byHand(pauseJob),
		"graph.job#8": func(l *lab) {
			l.world.Schedule(time.Now().Add(3*time.Hour), func(w *clouds.Model) { go byHand(startJob)(l) })
		},
	}
	look(&s)
	must(t, s, "done", noGap)
	s = usual()
	s.spec = clouds.Quarantined("corp")
	s.quirks.Recovery = clouds.NeedsStart
	look(&s)
	s.every = func(l *lab, name string) {
		if name == "graph.start" { // whose effect is a cycle that fails for a while: the engine must retry by itself
			l.onlyFrom(clouds.ExporterAddress)
			l.world.Schedule(time.Now().Add(20*time.Minute), func(w *clouds.Model) { go l.onlyFrom(clouds.EntraAddress) })
		}
	}
	play(t, s, func(*testing.T, outcome) {})
	s = usual()
	s.hands = map[string]func(*lab){"graph.put#2": func(l *lab) { l.fail("journal.save", 40*time.Minute) }}
	look(&s)
	must(t, s, "done", noGap)
	s = usual()
	s.begin = func(l *lab, ses *session) {
		ctx := context.Background()
		l.alert(ctx, ses)
		time.Sleep(2 * time.Hour)
		if err := ses.engine.Hold(ctx, l.at.Name, false); err != nil {
			t.Error(err)
		}
		time.AfterFunc(5*time.Hour, func() { _ = ses.engine.Hold(ctx, l.at.Name, true) })
	}
	look(&s)
	must(t, s, "done", noGap)
	for _, reason := range model.WaitingReasons() {
		if !seen[reason] {
			t.Errorf("never waited for %s: %v", reason, seen)
		}
	}
}

// fail refuses every call of this name for a while.
func (l *lab) fail(name string, during time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	named := map[string]fault{name: refused}
	l.named, named = named, l.named
	time.AfterFunc(during, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.named = named
	})
}

// Each phase × {refused, answer lost, killed}.
func TestEachPhaseSurvives(t *testing.T) {
	quarantined := func(s *scenario) { s.spec = clouds.Quarantined("corp") }
	rejected := func(s *scenario) { s.quirks.NewLag = 3 * time.Hour }
	tests := []struct {
		phase  model.Phase
		call   string
		change func(*scenario)
		want   map[fault]string // default: done
	}{
		{model.PhasePlan, "aws.list#2", nil, nil},
		{model.PhasePlan, "vault.reserve#1", nil, nil},
		{model.PhaseCreate, "aws.create#1", nil, map[fault]string{none: "aborted"}},
		{model.PhaseTest, "graph.inline#3", nil, nil},
		{model.PhaseSwitch, "graph.put#1", nil, nil},
		{model.PhaseResume, "graph.start#1", quarantined, nil},
		{model.PhaseVerify, "graph.log#1", nil, nil},
		{model.PhaseRetire, "aws.delete#1", nil, nil},
		{model.PhaseConfirm, "graph.test#14", nil, nil},
		{model.PhaseConfirm, "vault.destroy#5", func(s *scenario) { s.prepare = rememberOld }, nil},
		{model.PhaseUndo, "aws.delete#1", rejected, map[fault]string{none: "aborted"}},
	}
	for _, test := range tests {
		for _, f := range []fault{refused, answerLost, killedBefore, killedAfter} {
			t.Run(fmt.Sprintf("%s %s %s", test.phase, test.call, f), func(t *testing.T) {
				s := usual()
				if test.change != nil {
					test.change(&s)
				}
				s.named = map[string]fault{test.call: f}
				want := "done"
				for key, ending := range test.want {
					if key == f || key == none {
						want = ending
					}
				}
				must(t, s, want, told("FAULT "+string(f)+" at "+strings.Split(test.call, "#")[0]))
			})
		}
	}
}

// TestToldAtOnce: two servers and a command line on one store make one rotation.
func TestToldAtOnce(t *testing.T) {
	s := usual()
	s.begin = func(l *lab, first *session) {
		ctx := l.ctx
		second := l.serve(ctx)
		line := l.open()
		decisions := make(chan string, 3)
		go func() { decisions <- string(l.alert(ctx, first)) }()
		go func() { decisions <- string(l.alert(ctx, second)) }()
		go func() {
			if err := line.engine.Start(ctx, l.at.Name, startOptions{}); err != nil {
				decisions <- "refused"
				return
			}
			decisions <- "started"
			_, _ = line.engine.RunToCompletion(ctx, l.at.Name, l)
		}()
		got := []string{<-decisions, <-decisions, <-decisions}
		if n := len(slices.DeleteFunc(slices.Clone(got), func(d string) bool { return d != "started" })); n != 1 {
			t.Errorf("%d of three started a rotation: %v", n, got)
		}
	}
	must(t, s, "done", noGap, func(t *testing.T, o outcome) {
		if o.lab.counts["aws.create"] != 1 || o.lab.counts["aws.delete"] != 1 {
			t.Errorf("created %d times, deleted %d times", o.lab.counts["aws.create"], o.lab.counts["aws.delete"])
		}
	})
}
