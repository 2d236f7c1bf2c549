package rotate

import (
	"context"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

const (
	standLimit  = 24 * time.Hour   // how long a rotation waits for a job that stands still
	startBefore = 45 * time.Minute // an automatic attempt that is nearer than this is waited for
	maxStarts   = 2
)

// resumePhase ends a quarantine that the old token caused, if waiting would be long.
func resumePhase(ctx context.Context, r *run) (model.Phase, error) {
	job, err := r.job(ctx)
	if err != nil {
		return "", err
	}
	if standing, err := r.standing(ctx, job); standing || err != nil {
		return model.PhaseResume, err
	}
	if r.mayStart(job) {
		if err := r.start(ctx, job); err != nil {
			return "", err
		}
	}
	return model.PhaseVerify, nil
}

// standing waits a while if the job does not run because somebody stopped it, and
// returns true if it waited. Neither a person's stop nor a quarantine that asks for a
// decision is for us to end.
func (r *run) standing(ctx context.Context, job model.Job) (bool, error) {
	if q := job.Quarantine; q != nil && !q.Credentials() {
		return false, blocked(QuarantineOther, "the provisioning job is in quarantine for %s since %s", strings.TrimSpace(q.Reason+" "+q.ErrorCode), day(q.CurrentBegan))
	}
	since := r.rotation().Standing
	if runs(job) {
		if since.IsZero() {
			return false, nil
		}
		return false, r.write(ctx, func(rec *record) { rec.Rotation.Standing = time.Time{} })
	}
	if since.IsZero() {
		r.say("the provisioning job stands still (%s, schedule %s); waiting for whoever stopped it", job.Status, job.Schedule)
		since = time.Now().UTC()
		if err := r.write(ctx, func(rec *record) { rec.Rotation.Standing = since }); err != nil {
			return false, err
		}
	}
	if r.passed(since) >= standLimit {
		return false, blocked(JobStopped, "the provisioning job stands still since %s (%s, schedule %s), so nothing can be proven",
			day(since), job.Status, job.Schedule)
	}
	return true, r.wait(ctx, lookEvery, JobStoppedBriefly)
}

// runs tells whether Entra runs the job by itself.
func runs(job model.Job) bool {
	return job.Status != model.JobPaused && job.Status != model.JobNotConfigured &&
		job.Schedule != model.SchedulePaused && job.Schedule != model.ScheduleDisabled
}

// mayStart is the start rule: one start per quarantine, unless it was certainly refused,
// and no more than two in all, whatever became of them.
func (r *run) mayStart(job model.Job) bool {
	q := job.Quarantine
	if q == nil || !q.Credentials() || job.Schedule != model.ScheduleActive || q.NextAttempt.Sub(r.graphMoment()) <= startBefore/r.pace {
		return false
	}
	tried := 0
	for _, start := range r.rotation().Starts {
		if start.Unsent {
			continue
		}
		tried++
		if start.Mark.Equal(q.CurrentBegan) && !start.refused() {
			return false
		}
	}
	return tried < maxStarts
}

// start is the act: only if a reading right before it shows the same quarantine.
func (r *run) start(ctx context.Context, seen model.Job) error {
	job, err := r.job(ctx)
	if err != nil {
		return err
	}
	if !r.mayStart(job) || !job.Quarantine.CurrentBegan.Equal(seen.Quarantine.CurrentBegan) {
		return nil
	}
	a, err := r.carryOut(ctx, deed{
		list: starts,
		act:  act{Mark: job.Quarantine.CurrentBegan},
		call: r.connection.Clouds.Provisioning.StartJob,
	})
	if err != nil {
		return err
	}
	r.say("started the job to end its quarantine: %s", outcomeText(a))
	if a.done() {
		return nil
	}
	return r.wait(ctx, lookEvery, QuarantineRetry)
}
