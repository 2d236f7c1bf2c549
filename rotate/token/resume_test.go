package token

import (
	"context"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// quarantinedScene is one in which the job is in quarantine for its credentials, and Entra's
// next attempt is a day ahead.
func quarantinedScene() *scene {
	s := newScene(deleteRetire)
	s.record.Rotation.Phase = model.PhaseResume
	s.record.Rotation.Proof.Stored = s.aged(2 * time.Hour)
	s.job.Status, s.job.Schedule, s.job.LastCycle = model.JobQuarantine, model.ScheduleActive, nil
	s.job.Quarantine = &model.Quarantine{Reason: model.QuarantineReasonException, CurrentBegan: s.ago(3 * time.Hour), NextAttempt: s.ago(-day)}
	return s
}

// started are the starts of the job so far: of this quarantine, or of another one.
func started(this bool, outcomes ...model.CallOutcome) func(*scene) {
	return func(s *scene) {
		target := "quarantine of another time"
		if this {
			target = startTarget(s.job)
		}
		for i, outcome := range outcomes {
			s.record.Rotation.Operations[OperationStart] = append(s.record.Rotation.Operations[OperationStart],
				journal.Operation{Number: i + 1, Target: target, Outcome: outcome})
		}
	}
}

// A start ends a quarantine for the credentials, if waiting would be long.
func TestResume(t *testing.T) {
	testStep(t, quarantinedScene, func(ctx context.Context, r runner) (model.Phase, error) { return resumePhase(r).run(ctx) }, []outcome{
		{"started", func(*scene) {}, `verify; operations.start.1=quarantine of 1999-12-31T21:00:10Z done; "started the job to end its quarantine: done"; start`},
		{"no quarantine", func(s *scene) { s.job.Quarantine = nil }, "verify"},
		{"the job cannot be read", func(s *scene) { s.failing["job"] = errNoAnswer }, "no answer"},
		{"the job cannot be read at first", func(s *scene) {
			s.failing["job"] = errNoAnswer
			s.then["job 2"] = func() { delete(s.failing, "job") }
		}, "no answer"},
		{"the job cannot be read again", func(s *scene) { s.then["job 2"] = func() { s.failing["job"] = errNoAnswer } }, "no answer"},
		{"Entra ended it right before", func(s *scene) { s.then["job 2"] = func() { s.job.Quarantine = nil } }, "verify"},
		{"it is another one right before", func(s *scene) {
			s.then["job 2"] = func() {
				another := *s.job.Quarantine
				another.CurrentBegan = s.ago(time.Hour)
				s.job.Quarantine = &another
			}
		}, "verify"},
		{"no answer", func(s *scene) { s.failing["start"] = errNoAnswer }, `verify after 5m0s; operations.start.1=quarantine of 1999-12-31T21:00:10Z unknown no answer; waiting=quarantine_retry; "started the job to end its quarantine: unknown: no answer"; start`},
		{"the lease is lost", func(s *scene) { s.then["job 2"] = s.takeOver }, "the lease is lost to another"},
		{"somebody paused the job", func(s *scene) { s.job.Status = model.JobPaused }, `resume after 5m0s; job_stopped=-5m0s; waiting=job_stopped_briefly; "the provisioning job is stopped (paused, schedule active); waiting until an operator starts it"`},
		{"a quarantine for deletions", func(s *scene) { s.job.Quarantine.Reason = model.QuarantineReasonDeletes }, "quarantine_other: the provisioning job is in quarantine for TooManyDeletes since 1999-12-31 21:00 UTC"},
	})
}

// A job that somebody stopped is waited for, a day long.
func TestWaitIfStopped(t *testing.T) {
	stopped := func(ago time.Duration) func(*scene) {
		return func(s *scene) { s.job.Status, s.record.Rotation.JobStopped = model.JobPaused, s.aged(ago).Local }
	}
	testStep(t, retireScene, observed(func(ctx context.Context, r runner, s *scene) (any, error) {
		if s.id == "taken over" {
			s.takeOver()
		}
		return jobWatch(r).waitIfStopped(ctx, s.job)
	}), []outcome{
		{"it runs", func(*scene) {}, "false"},
		{"it runs again", func(s *scene) { s.record.Rotation.JobStopped = s.ago(time.Hour) }, "false; no job_stopped"},
		{"it is stopped now", func(s *scene) { s.job.Status = model.JobPaused }, `true after 5m0s; job_stopped=-5m0s; waiting=job_stopped_briefly; "the provisioning job is stopped (paused, schedule ); waiting until an operator starts it"`},
		{"the lease is lost", func(s *scene) {
			s.job.Status, s.id, s.record.Rotation.Waiting = model.JobPaused, "taken over", model.WaitingJobStoppedBriefly
		}, `the lease is lost to another; "the provisioning job is stopped (paused, schedule ); waiting until an operator starts it"`},
		{"for almost a day", stopped(day - 1), "true after 5m0s; waiting=job_stopped_briefly"},
		{"for a day", stopped(day), "job_stopped: the provisioning job is stopped since 1999-12-31 00:00 UTC (paused, schedule ), so nothing can be proven"},
		{"a quarantine for deletions", func(s *scene) { s.job.Quarantine = &model.Quarantine{Reason: model.QuarantineReasonDeletes} }, "quarantine_other: the provisioning job is in quarantine for TooManyDeletes since unknown"},
	})
}

// The start rule: one start for each quarantine, two in all, none that Entra soon makes
// itself, and none of a job that somebody stopped.
func TestMayStart(t *testing.T) {
	unreachable := func(s *scene) {
		s.job.Quarantine.ErrorCode = "SystemForCrossDomainIdentityManagementCredentialValidationUnavailable"
	}
	testStep(t, quarantinedScene, observed(func(_ context.Context, r runner, s *scene) (any, error) {
		return jobWatch(r).mayStart(s.job), nil
	}), []outcome{
		{"never started", func(*scene) {}, "true"},
		{"no quarantine", func(s *scene) { s.job.Quarantine = nil }, "false"},
		{"a quarantine for another reason", func(s *scene) { s.job.Quarantine.ErrorCode = "Other" }, "false"},
		{"AWS is said to be unreachable", unreachable, "false"},
		{"AWS is said to be unreachable, and the old token was refused", func(s *scene) { unreachable(s); s.record.Rotation.Plan.SavedTestFailed = true }, "true"},
		{"another reason, and the old token was refused", func(s *scene) {
			s.job.Quarantine.ErrorCode, s.record.Rotation.Plan.SavedTestFailed = "Other", true
		}, "false"},
		{"the schedule is disabled", func(s *scene) { s.job.Schedule = model.ScheduleDisabled }, "false"},
		{"Entra tries it in 45 minutes", func(s *scene) { s.job.Quarantine.NextAttempt = s.aged(-45 * time.Minute).Local }, "false"},
		{"Entra tries it later", func(s *scene) { s.job.Quarantine.NextAttempt = s.aged(-45*time.Minute - 1).Local }, "true"},
		{"started for this one", started(true, model.CallDone), "false"},
		{"started for this one, without an answer", started(true, ""), "false"},
		{"started for this one, and refused", started(true, model.CallRefused), "true"},
		{"started for another one", started(false, model.CallDone), "true"},
		{"started for another one, and Entra may use what it read before", func(s *scene) {
			started(false, model.CallDone)(s)
			s.record.Rotation.Proof.Stored = s.aged(time.Hour)
		}, "false"},
		{"never started, and Entra may use what it read before", func(s *scene) { s.record.Rotation.Proof.Stored = s.aged(time.Hour) }, "true"},
		{"started twice", started(false, model.CallDone, model.CallDone), "false"},
		{"started twice, once without a call", func(s *scene) {
			started(false, model.CallDone, model.CallRefused)(s)
			s.record.Rotation.Operations[OperationStart][1].Unsent = true
		}, "true"},
	})
}

// An operator is asked to end a quarantine when nothing else ends it.
func TestCheckQuarantine(t *testing.T) {
	scenes := func() *scene {
		s := quarantinedScene()
		s.job.LastCycle = &model.Cycle{Began: s.ago(time.Hour), Ended: s.ago(time.Hour - time.Minute), State: model.CycleSucceeded}
		started(true, model.CallDone)(s)
		return s
	}
	stored := func(ago time.Duration) func(*scene) {
		return func(s *scene) { s.record.Rotation.Proof.Stored, s.job.LastCycle = s.aged(ago), nil }
	}
	testStep(t, scenes, observed(func(_ context.Context, r runner, s *scene) (any, error) {
		return "", jobWatch(r).checkQuarantine(s.job)
	}), []outcome{
		{"a cycle was good", func(*scene) {}, "job_stopped: the provisioning job stays in quarantine since 1999-12-31 21:00 UTC, although token new was saved and tested and the job was started 1 times; next: restart provisioning in Entra, then rotation reset CONNECTION"},
		{"Entra may use what it read before", func(s *scene) { s.record.Rotation.Proof.Stored = s.aged(65*time.Minute - 1) }, "-"},
		{"a start is left", func(s *scene) { delete(s.record.Rotation.Operations, OperationStart) }, "-"},
		{"another reason", func(s *scene) { s.job.Quarantine.ErrorCode = "Other" }, "-"},
		{"no cycle for 25 hours", stored(25 * time.Hour), "job_stopped: the provisioning job stays in quarantine since 1999-12-31 21:00 UTC, although token new was saved and tested and the job was started 1 times; next: restart provisioning in Entra, then rotation reset CONNECTION"},
		{"no cycle for almost 25 hours", stored(25*time.Hour - 1), "-"},
	})
}
