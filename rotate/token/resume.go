package token

import (
	"context"
	"fmt"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
)

const (
	jobInterval    = 5 * time.Minute  // between two readings of the job
	maxJobStopped  = 24 * time.Hour   // how long a rotation waits for a stopped job
	maxRetryWait   = 45 * time.Minute // an automatic attempt that is nearer than this is waited for
	maxStartsOfJob = 2

	// maxQuarantine is how long Entra may take to end a quarantine that no start is left
	// for: its automatic attempts are a day apart.
	maxQuarantine = 25 * time.Hour
)

// resumePhase ends a quarantine that the old token caused, if waiting would be long.
type resumePhase struct{ observer }

func (p resumePhase) run(ctx context.Context) (model.Phase, error) {
	watch := jobWatch(p)
	job, err := p.job(ctx)
	if err != nil {
		return "", err
	}
	if stopped, err := watch.waitIfStopped(ctx, job); stopped || err != nil {
		return model.PhaseResume, err
	}
	if watch.mayStart(job) {
		if err := p.start(ctx, job); err != nil {
			return "", err
		}
	}
	return model.PhaseVerify, nil
}

// start starts the job, but only if a reading right before shows the same quarantine.
func (p resumePhase) start(ctx context.Context, seen model.Job) error {
	job, err := p.job(ctx)
	if err != nil {
		return err
	}
	if !jobWatch(p).mayStart(job) || !job.Quarantine.CurrentBegan.Equal(seen.Quarantine.CurrentBegan) {
		return nil
	}
	written, err := p.execute(ctx, operation{
		kind: OperationStart, target: startTarget(job),
		call: p.options.Provisioning.StartJob,
	})
	if err != nil {
		return err
	}
	p.LogStep("started the job to end its quarantine: %s", formatOutcome(written))
	if written.Done() {
		return nil
	}
	return p.Wait(ctx, jobInterval, model.WaitingQuarantineRetry)
}

// startTarget names the quarantine that a start must end, by when it began.
func startTarget(job model.Job) string {
	return "quarantine of " + job.Quarantine.CurrentBegan.UTC().Format(time.RFC3339Nano)
}

// jobWatch decides what a job that does not run means for the rotation.
type jobWatch struct{ observer }

// waitIfStopped waits a while if somebody stopped the job, and returns true if it waited.
// Neither a stop by an operator nor a quarantine that needs a decision is ours to end.
func (w jobWatch) waitIfStopped(ctx context.Context, job model.Job) (bool, error) {
	if q := job.Quarantine; q != nil && q.Cause() == model.QuarantineOther {
		return false, rotate.Blocked(model.BlockedQuarantineOther, "the provisioning job is in quarantine for %s since %s", strings.TrimSpace(q.Reason+" "+q.ErrorCode), rotate.FormatTime(q.CurrentBegan))
	}
	since := w.rotation().JobStopped
	if isRunning(job) {
		if since.IsZero() {
			return false, nil
		}
		return false, w.write(ctx, func(r *record) { r.Rotation.JobStopped = time.Time{} })
	}
	if since.IsZero() {
		w.LogStep("the provisioning job is stopped (%s, schedule %s); waiting until an operator starts it", job.Status, job.Schedule)
		since = time.Now().UTC()
		if err := w.write(ctx, func(r *record) { r.Rotation.JobStopped = since }); err != nil {
			return false, err
		}
	}
	if w.Elapsed(since) >= maxJobStopped {
		return false, rotate.Blocked(model.BlockedJobStopped, "the provisioning job is stopped since %s (%s, schedule %s), so nothing can be proven",
			rotate.FormatTime(since), job.Status, job.Schedule)
	}
	return true, w.Wait(ctx, jobInterval, model.WaitingJobStoppedBriefly)
}

// mayStart is the start rule: one start per quarantine, unless it was certainly refused,
// and no more than two in all, whatever became of them. The second one waits until Entra
// uses nothing that it read before the save: it would fail as the first one did.
func (w jobWatch) mayStart(job model.Job) bool {
	q := job.Quarantine
	if q == nil || !w.isForCredentials(*q) || job.Schedule != model.ScheduleActive || q.NextAttempt.Sub(w.graphNow()) <= w.Shortened(maxRetryWait) {
		return false
	}
	return w.startsLeft(startTarget(job))
}

// isForCredentials tells whether a quarantine is one for the credentials: Entra says so, or
// it says that AWS cannot be reached and its own test of them failed.
func (w jobWatch) isForCredentials(q model.Quarantine) bool {
	return q.Credentials() || (q.Cause() == model.QuarantineUnreachable && w.rotation().Plan.SavedTestFailed)
}

func (w jobWatch) startsLeft(target string) bool {
	sent := 0
	for _, start := range w.rotation().Operations[OperationStart] {
		if start.Unsent {
			continue
		}
		sent++
		if alreadyStarted(start, target) {
			return false
		}
	}
	return sent == 0 || sent < maxStartsOfJob && !w.mayUseOlder()
}

// checkQuarantine asks an operator to end a quarantine that neither Entra nor a start ends:
// a cycle since the save was good, or Entra's next attempt must be over.
func (w jobWatch) checkQuarantine(job model.Job) error {
	q, stored, starts := job.Quarantine, w.rotation().Proof.Stored, len(w.rotation().Operations[OperationStart])
	if w.mayUseOlder() || w.mayStart(job) || !w.isForCredentials(*q) ||
		(!prover(w).goodCycleSince(job, stored) && w.Elapsed(stored.Local) < maxQuarantine) {
		return nil
	}
	return &rotate.BlockedError{
		Reason: model.BlockedJobStopped, Command: commandStart,
		Detail: fmt.Sprintf("the provisioning job stays in quarantine since %s, although token %s was saved and tested and the job was started %d times",
			rotate.FormatTime(q.CurrentBegan), w.rotation().newID(), starts),
	}
}

// commandStart is the next command when only a start ends a quarantine.
const commandStart = "restart provisioning in Entra, then rotation reset CONNECTION"

func alreadyStarted(start journal.Operation, target string) bool {
	return start.Target == target && !start.Refused()
}
