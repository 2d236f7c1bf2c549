package token

import (
	"context"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
)

// The new token is verified when a cycle has used it.
func TestVerify(t *testing.T) {
	quarantined := func(s *scene) {
		s.job.Quarantine = &model.Quarantine{Reason: model.QuarantineReasonException, CurrentBegan: s.ago(3 * time.Hour)}
	}
	scenes := func() *scene {
		s := newScene(deleteRetire)
		s.record.Rotation.Phase = model.PhaseVerify
		s.record.Rotation.Proof = Proof{Level: model.ProofStored, Put: 1, Stored: s.aged(80 * time.Minute)}
		s.options.Policy.VerifyTimeout = day
		return s
	}
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) { return verifyPhase(r).run(ctx) }, []outcome{
		{"it is used", func(*scene) {}, `retire; no approval.at; no approval.target; proof.level=used; proof.used=now-; "the cycle that began 1999-12-31 23:50 UTC ended succeeded: used (nothing had to be provisioned)"`},
		{"it is not used yet", func(s *scene) { s.job.LastCycle = nil }, "verify after 5m0s; proof.waited=5m0s; waiting=proof_pending"},
		{"the job cannot be read", func(s *scene) { s.failing["job"] = errNoAnswer }, "no answer"},
		{"the job is stopped", func(s *scene) { s.job.Status = model.JobPaused }, `verify after 5m0s; job_stopped=-5m0s; waiting=job_stopped_briefly; "the provisioning job is stopped (paused, schedule ); waiting until an operator starts it"`},
		{"the job is stopped for a day", func(s *scene) { s.job.Status, s.record.Rotation.JobStopped = model.JobPaused, s.ago(25*time.Hour) }, "job_stopped: the provisioning job is stopped since 1999-12-30 23:00 UTC (paused, schedule ), so nothing can be proven"},
		{"the job runs again", func(s *scene) { s.record.Rotation.JobStopped = s.ago(time.Hour) }, `retire; no approval.at; no approval.target; no job_stopped; proof.level=used; proof.used=now-; "the cycle that began 1999-12-31 23:50 UTC ended succeeded: used (nothing had to be provisioned)"`},
		{"a quarantine that a start ends", func(s *scene) {
			quarantined(s)
			s.job.Schedule, s.job.Quarantine.NextAttempt = model.ScheduleActive, s.ago(-day)
		}, "resume"},
		{"a quarantine that Entra ends", func(s *scene) { quarantined(s); s.job.LastCycle = nil }, "verify after 5m0s; waiting=quarantine_retry"},
		{"AWS refuses what is saved", func(s *scene) { quarantined(s); s.job.Quarantine.CurrentBegan = s.ago(time.Minute) }, `switch; no proof.level; no proof.put; no proof.stored; pending_put=switch; proof_restarts=1; "the provisioning job went into quarantine for its credentials on 1999-12-31 23:59 UTC; saving the new token once more"`},
		{"the audit log does not answer", func(s *scene) { s.failing["application"] = errNoAnswer }, "no answer"},
	})
}
