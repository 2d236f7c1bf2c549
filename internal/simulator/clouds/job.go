package clouds

import (
	"net/http"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// JobTemplate is the synchronization template of the AWS application.
const JobTemplate = "aWSSingleSignon"

// CyclePeriod is how often Entra provisions.
const CyclePeriod = 40 * time.Minute

// Job is a provisioning job as Graph shows it. Interval is zero unless the schedule
// is active; on the wire a disabled job shows P10675199DT2H48M5.4775807S.
type Job struct {
	model.Job
	RuleID            string // of the schema's synchronization rule for users
	QuarantineMessage string
	QuarantineCount   int64
	SteadyFirst       time.Time // steadyStateFirstAchievedTime
	SteadyLast        time.Time
}

// job is a provisioning job with its engine.
type job struct {
	id, ruleID  string
	application *servicePrincipal
	status      model.JobStatus
	schedule    model.ScheduleState
	stoppedBy   Actor // who paused or disabled it; "": nobody

	last, lastSuccess, lastExport *model.Cycle
	failures                      int64
	steadyFirst, steadyLast       time.Time

	quarantine  *quarantine
	seriesBegan time.Time // of quarantines without a recovery between them
	disables    time.Time // when Entra gives the job up

	nextCycle time.Time
	running   *execution

	cached      *credential // what the engine goes on using
	cachedUntil time.Time   // zero: until the cycle ends

	scope   []*member
	holding EntraState // as last recorded
	gap     *Outage    // open
}

type quarantine struct {
	reason, code, message string
	began                 time.Time
	count                 int64
	nextAttempt           time.Time
}

// due returns when the job next does something by itself.
func (j *job) due() time.Time {
	if j.running != nil {
		return j.running.ends
	}
	if j.schedule != model.ScheduleActive {
		return time.Time{}
	}
	if !j.disables.IsZero() && (j.nextCycle.IsZero() || j.disables.Before(j.nextCycle)) {
		return j.disables
	}
	return j.nextCycle
}

// Jobs lists the provisioning jobs of an application.
func (w *Model) Jobs(c Caller, tenantID, objectID string) ([]Job, error) {
	w.Advance()
	sp, err := w.application(c, ReadSynchronization, tenantID, objectID)
	if err != nil {
		return nil, err
	}
	var list []Job
	for _, j := range sp.jobs {
		list = append(list, w.jobView(j))
	}
	return list, nil
}

// Job reads one provisioning job.
func (w *Model) Job(c Caller, tenantID, objectID, jobID string) (Job, error) {
	w.Advance()
	j, err := w.job(c, ReadSynchronization, tenantID, objectID, jobID)
	if err != nil {
		return Job{}, err
	}
	return w.jobView(j), nil
}

// StartJob starts a job: whatever stopped it is forgotten, any quarantine is lifted,
// and a cycle begins at once. After a quarantine for too many deletes, the deletes go
// through.
// https://learn.microsoft.com/graph/api/synchronization-synchronizationjob-start
func (w *Model) StartJob(c Caller, tenantID, objectID, jobID string) error {
	return w.startJob(c, tenantID, objectID, jobID, "")
}

// RestartJob starts a job with criteria. A scope that names Full, ForceDeletes,
// Watermark or ConnectorDataStore provisions everybody again.
func (w *Model) RestartJob(c Caller, tenantID, objectID, jobID, resetScope string) error {
	if resetScope == "" {
		resetScope = "None"
	}
	return w.startJob(c, tenantID, objectID, jobID, resetScope)
}

func (w *Model) startJob(c Caller, tenantID, objectID, jobID, resetScope string) error {
	w.Advance()
	j, err := w.job(c, WriteSynchronization, tenantID, objectID, jobID)
	if err != nil {
		return err
	}
	start := Start{
		Stamp: w.moment(c.Actor), ServicePrincipalID: objectID, JobID: jobID, ResetScope: resetScope,
		Status: j.status, Schedule: j.schedule, StoppedBy: j.stoppedBy, Quarantine: j.quarantineView(),
	}
	for _, scope := range []string{"Full", "ForceDeletes", "Watermark", "ConnectorDataStore"} {
		if strings.Contains(resetScope, scope) {
			j.touchEverybody()
			break
		}
	}
	w.record(start)
	if j.quarantine != nil && j.quarantine.reason == model.QuarantineReasonDeletes {
		j.deleteEverybody()
	}
	j.status, j.schedule, j.stoppedBy = model.JobActive, model.ScheduleActive, ""
	j.quarantine, j.disables = nil, time.Time{}
	j.nextCycle = w.at
	w.settle()
	return nil
}

// PauseJob stops a job until it is started.
func (w *Model) PauseJob(c Caller, tenantID, objectID, jobID string) error {
	return w.stopJob(c, tenantID, objectID, jobID, model.SchedulePaused)
}

// DisableJob turns provisioning off, as the portal does.
func (w *Model) DisableJob(c Caller, tenantID, objectID, jobID string) error {
	return w.stopJob(c, tenantID, objectID, jobID, model.ScheduleDisabled)
}

func (w *Model) stopJob(c Caller, tenantID, objectID, jobID string, schedule model.ScheduleState) error {
	w.Advance()
	j, err := w.job(c, WriteSynchronization, tenantID, objectID, jobID)
	if err != nil {
		return err
	}
	w.record(Stop{w.moment(c.Actor), objectID, jobID, schedule})
	j.status, j.schedule, j.stoppedBy = model.JobPaused, schedule, c.Actor
	w.abandon(j)
	w.settle()
	return nil
}

// ReplaceJob deletes an application's provisioning job and sets another one up, which
// begins at once: what "Restart provisioning" from scratch, or another template, amounts to.
// The saved credentials stay. It returns the new job's id.
func (w *Model) ReplaceJob(actor Actor, tenantID, objectID, jobID string) (string, error) {
	w.Advance()
	j, err := w.job(CallerFor(actor), WriteSynchronization, tenantID, objectID, jobID)
	if err != nil {
		return "", err
	}
	w.abandon(j)
	j.id = JobTemplate + "." + strings.ReplaceAll(tenantID, "-", "") + "." + w.newID()
	j.last, j.lastSuccess, j.lastExport, j.failures = nil, nil, nil, 0
	j.steadyFirst, j.steadyLast = time.Time{}, time.Time{}
	j.quarantine, j.seriesBegan, j.disables = nil, time.Time{}, time.Time{}
	j.status, j.schedule, j.stoppedBy, j.nextCycle = model.JobActive, model.ScheduleActive, "", w.at
	w.record(JobReplaced{w.moment(actor), objectID, jobID, j.id})
	w.settle()
	return j.id, nil
}

// RetryNow brings the next automatic attempt of a job in quarantine forward to now.
func (w *Model) RetryNow(c Caller, tenantID, objectID, jobID string) error {
	w.Advance()
	j, err := w.job(c, ReadSynchronization, tenantID, objectID, jobID)
	if err != nil || j.quarantine == nil || j.schedule != model.ScheduleActive || j.running != nil {
		return err
	}
	w.record(Annotation{w.moment(ActorEngine), "tries the quarantined job again"})
	j.quarantine.nextAttempt, j.nextCycle = w.at, w.at
	w.settle()
	return nil
}

// job finds a job for a caller who may do this to its application.
func (w *Model) job(c Caller, action Action, tenantID, objectID, jobID string) (*job, error) {
	sp, err := w.application(c, action, tenantID, objectID)
	if err != nil {
		return nil, err
	}
	for _, j := range sp.jobs {
		if j.id == jobID {
			return j, nil
		}
	}
	return nil, &Error{Service: ServiceGraph, Status: http.StatusNotFound, Code: "JobNotFound", Message: "The synchronization job '" + jobID + "' was not found."}
}

func (j *job) quarantineView() *model.Quarantine {
	if j.quarantine == nil {
		return nil
	}
	return &model.Quarantine{
		Reason: j.quarantine.reason, ErrorCode: j.quarantine.code, CurrentBegan: j.quarantine.began,
		SeriesBegan: j.seriesBegan, NextAttempt: j.quarantine.nextAttempt,
	}
}

func (w *Model) jobView(j *job) Job {
	by := w.skew.Entra
	cycle := func(c *model.Cycle) *model.Cycle {
		if c == nil {
			return nil
		}
		view := *c
		view.Began, view.Ended = shift(c.Began, by), shift(c.Ended, by)
		return &view
	}
	failures := j.failures
	view := Job{
		RuleID: j.ruleID, SteadyFirst: shift(j.steadyFirst, by), SteadyLast: shift(j.steadyLast, by),
		Job: model.Job{
			ID: j.id, TemplateID: JobTemplate, Status: j.status, Schedule: j.schedule,
			LastCycle: cycle(j.last), LastSuccess: cycle(j.lastSuccess), LastExport: cycle(j.lastExport),
			ConsecutiveFailures: &failures, Synchronized: j.synchronized(), Date: shift(w.at, by),
		},
	}
	if j.schedule == model.ScheduleActive {
		view.Interval = w.lag(CyclePeriod)
	}
	if q := j.quarantineView(); q != nil {
		q.CurrentBegan, q.SeriesBegan, q.NextAttempt = shift(q.CurrentBegan, by), shift(q.SeriesBegan, by), shift(q.NextAttempt, by)
		view.Quarantine, view.QuarantineMessage, view.QuarantineCount = q, j.quarantine.message, j.quarantine.count
	}
	return view
}
