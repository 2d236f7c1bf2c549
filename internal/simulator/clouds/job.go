package clouds

import (
	"net/http"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// Engine is Entra's provisioning engine: the jobs of all tenants, and what they do as
// time passes.
type Engine struct {
	*core
	aws     *AWS
	entra   *Entra
	jobs    []*job // in the order of their creation
	outages []*Outage
}

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
}

type job struct {
	id, ruleID  string
	application *servicePrincipal
	status      model.JobStatus
	schedule    model.ScheduleState
	stoppedBy   Actor // who paused or disabled it; "": it runs

	last, lastSuccess, lastExport *model.Cycle
	failures                      int64

	quarantine  *quarantine
	seriesBegan time.Time // of quarantines without a recovery between them
	disables    time.Time // when Entra gives the job up

	nextCycle time.Time
	running   *runningCycle

	cached      *credential // what the engine still uses
	cachedUntil time.Time   // zero: until the cycle ends

	scope  []*assignedUser
	state  EntraState // as last recorded
	outage *Outage    // open
}

type quarantine struct {
	reason, code, message string
	began                 time.Time
	count                 int64
	nextAttempt           time.Time
}

func (j *job) due() time.Time {
	switch {
	case j.running != nil:
		return j.running.ends
	case j.schedule != model.ScheduleActive:
		return time.Time{}
	case !j.disables.IsZero():
		return sooner(j.disables, j.nextCycle)
	default:
		return j.nextCycle
	}
}

// waitsFor lists the times that a change of the speed moves.
func (j *job) waitsFor() []*time.Time {
	list := []*time.Time{&j.nextCycle, &j.disables, &j.cachedUntil}
	if j.quarantine != nil {
		list = append(list, &j.quarantine.nextAttempt)
	}
	if j.running != nil {
		list = append(list, &j.running.ends)
	}
	return list
}

func (engine *Engine) nextDue() time.Time {
	var due time.Time
	for _, j := range engine.jobs {
		due = sooner(due, j.due())
		for _, held := range []*credential{&j.application.saved, j.cached} {
			due = sooner(due, engine.aws.nextChange(held))
		}
		if j.cached != nil && j.cachedUntil.After(engine.at) {
			due = sooner(due, j.cachedUntil)
		}
	}
	return due
}

func (engine *Engine) runDue() {
	for _, j := range engine.jobs {
		if due := j.due(); !due.IsZero() && !due.After(engine.at) {
			engine.runJob(j)
		}
	}
}

// Jobs lists the provisioning jobs of an application.
func (engine *Engine) Jobs(c Caller, tenantID, objectID string) ([]Job, error) {
	sp, err := engine.entra.application(c, ReadSynchronization, tenantID, objectID)
	if err != nil {
		return nil, err
	}
	var list []Job
	for _, j := range sp.jobs {
		list = append(list, engine.jobView(j))
	}
	return list, nil
}

// Job reads one provisioning job.
func (engine *Engine) Job(c Caller, tenantID, objectID, jobID string) (Job, error) {
	j, err := engine.job(c, ReadSynchronization, tenantID, objectID, jobID)
	if err != nil {
		return Job{}, err
	}
	return engine.jobView(j), nil
}

// StartJob starts a job: it resumes, any quarantine ends, and a cycle begins at once.
// After a quarantine for too many deletes, the deletes go through.
// https://learn.microsoft.com/graph/api/synchronization-synchronizationjob-start
func (engine *Engine) StartJob(c Caller, tenantID, objectID, jobID string) error {
	return engine.RestartJob(c, tenantID, objectID, jobID, "")
}

// RestartJob starts a job with criteria. The scope Full provisions every user again.
func (engine *Engine) RestartJob(c Caller, tenantID, objectID, jobID, resetScope string) error {
	j, err := engine.job(c, WriteSynchronization, tenantID, objectID, jobID)
	if err != nil {
		return err
	}
	start := Start{
		Stamp: engine.stamp(c.Actor), ServicePrincipalID: objectID, JobID: jobID, ResetScope: resetScope,
		Status: j.status, Schedule: j.schedule, StoppedBy: j.stoppedBy, Quarantine: j.quarantineView(),
	}
	engine.record(start)
	for _, m := range j.scope {
		switch {
		case j.quarantine != nil && j.quarantine.reason == model.QuarantineReasonDeletes:
			m.todo = "delete"
		case resetScope == "Full" && m.todo == "":
			m.todo = "update"
		}
	}
	j.status, j.schedule, j.stoppedBy = model.JobActive, model.ScheduleActive, ""
	j.quarantine, j.disables = nil, time.Time{}
	j.nextCycle = engine.at
	engine.afterChange()
	return nil
}

// StopJob stops a job until it is started: paused, or disabled as the portal does.
func (engine *Engine) StopJob(c Caller, tenantID, objectID, jobID string, schedule model.ScheduleState) error {
	j, err := engine.job(c, WriteSynchronization, tenantID, objectID, jobID)
	if err != nil {
		return err
	}
	engine.annotate(c.Actor, "stopped job of %s: schedule %s", objectID, schedule)
	j.status, j.schedule, j.stoppedBy = model.JobPaused, schedule, c.Actor
	j.stopRunning()
	engine.afterChange()
	return nil
}

// ReplaceJob deletes an application's provisioning job and sets another one up, which
// begins at once: what "Restart provisioning" from scratch, or another template, amounts to.
// The saved credentials stay. It returns the new job's id.
func (engine *Engine) ReplaceJob(actor Actor, tenantID, objectID, jobID string) (string, error) {
	j, err := engine.job(CallerFor(actor), WriteSynchronization, tenantID, objectID, jobID)
	if err != nil {
		return "", err
	}
	j.stopRunning()
	j.id = JobTemplate + "." + strings.ReplaceAll(tenantID, "-", "") + "." + engine.newID()
	j.last, j.lastSuccess, j.lastExport, j.failures = nil, nil, nil, 0
	j.quarantine, j.seriesBegan, j.disables = nil, time.Time{}, time.Time{}
	j.status, j.schedule, j.stoppedBy, j.nextCycle = model.JobActive, model.ScheduleActive, "", engine.at
	engine.record(JobReplaced{engine.stamp(actor), objectID, jobID, j.id})
	engine.afterChange()
	return j.id, nil
}

// RetryNow brings the next automatic attempt of a job in quarantine forward to now.
func (engine *Engine) RetryNow(c Caller, tenantID, objectID, jobID string) error {
	j, err := engine.job(c, ReadSynchronization, tenantID, objectID, jobID)
	if err != nil || j.quarantine == nil || j.schedule != model.ScheduleActive || j.running != nil {
		return err
	}
	engine.annotate(ActorEngine, "tries the quarantined job again")
	j.quarantine.nextAttempt, j.nextCycle = engine.at, engine.at
	engine.afterChange()
	return nil
}

func (engine *Engine) job(c Caller, action Action, tenantID, objectID, jobID string) (*job, error) {
	sp, err := engine.entra.application(c, action, tenantID, objectID)
	if err != nil {
		return nil, err
	}
	for _, j := range sp.jobs {
		if j.id == jobID {
			return j, nil
		}
	}
	return nil, NewError(ServiceGraph, http.StatusNotFound, "JobNotFound", "The synchronization job '"+jobID+"' was not found.")
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

func (engine *Engine) jobView(j *job) Job {
	by := engine.skew.Entra
	cycle := func(c *model.Cycle) *model.Cycle {
		if c == nil {
			return nil
		}
		view := *c
		view.Began, view.Ended = addSkew(c.Began, by), addSkew(c.Ended, by)
		return &view
	}
	failures := j.failures
	view := Job{
		RuleID: j.ruleID,
		Job: model.Job{
			ID: j.id, TemplateID: JobTemplate, Status: j.status, Schedule: j.schedule,
			LastCycle: cycle(j.last), LastSuccess: cycle(j.lastSuccess), LastExport: cycle(j.lastExport),
			ConsecutiveFailures: &failures, Synchronized: j.synchronized(), Date: addSkew(engine.at, by),
		},
	}
	if j.schedule == model.ScheduleActive {
		view.Interval = engine.lag(CyclePeriod)
	}
	if q := j.quarantineView(); q != nil {
		q.CurrentBegan, q.SeriesBegan, q.NextAttempt = addSkew(q.CurrentBegan, by), addSkew(q.SeriesBegan, by), addSkew(q.NextAttempt, by)
		view.Quarantine, view.QuarantineMessage, view.QuarantineCount = q, j.quarantine.message, j.quarantine.count
	}
	return view
}

// TestConnection is validateCredentials: Entra calls the SCIM endpoint with these
// credentials, or with the saved ones if inline is nil. Quirks: test_lag, inline_test.
func (engine *Engine) TestConnection(c Caller, tenantID, objectID, jobID string, inline []Secret) error {
	j, err := engine.job(c, WriteSynchronization, tenantID, objectID, jobID)
	if err != nil {
		return err
	}
	sp := j.application
	held := sp.saved
	if inline != nil {
		if err := engine.entra.knownKeys(inline); err != nil {
			return err
		}
		given := engine.aws.credentialOf(inline)
		if given.address == "" || given.value == "" {
			return engine.entra.synchronizationError(http.StatusBadRequest, "RequestMissingRequiredParameter", "A required credential parameter is missing.")
		}
		if engine.quirks.InlineTest == InlineHonest {
			held = given
		}
	}
	if !sp.savedAt.IsZero() && engine.at.Before(sp.savedAt.Add(engine.lag(engine.quirks.TestLag))) {
		return engine.testError(engine.quirks.UnreachableCode, "The supplied credentials could not be validated. Please try again later.")
	}
	if _, err := engine.entraCall(&held, "ListUsers"); err != nil {
		code, reason := engine.credentialCode(err)
		return engine.testError(code, "We received this unexpected response from your application: "+reason)
	}
	return nil
}

// testError is how Test connection fails. A gateway's own answer keeps its status, unless
// the API nests it in its own.
func (engine *Engine) testError(code, message string) *Error {
	status := http.StatusBadRequest
	if own := map[string]int{CodeGateway: http.StatusBadGateway, CodeTimeout: http.StatusGatewayTimeout}[code]; own != 0 && engine.quirks.GraphErrors == ErrorsPlain {
		status = own
	}
	return engine.entra.synchronizationError(status, code, message)
}

// AddLogEntry writes an entry for a job into the log, as if the engine had; its id,
// time and job are filled in.
func (engine *Engine) AddLogEntry(tenantID, objectID, jobID string, entry LogEntry) error {
	j, err := engine.job(Caller{}, WriteSynchronization, tenantID, objectID, jobID)
	if err != nil {
		return err
	}
	engine.entra.logEvent(j, entry)
	return nil
}

// Quarantine puts a job into quarantine for a reason that is none of its credentials. Too
// many deletes wait for an operator's decision, with every user about to be deleted.
func (engine *Engine) Quarantine(tenantID, objectID, jobID, reason string) error {
	j, err := engine.job(Caller{}, WriteSynchronization, tenantID, objectID, jobID)
	if err != nil {
		return err
	}
	j.stopRunning()
	engine.enterQuarantine(j, reason, "", "The job needs an operator's decision.")
	engine.afterChange()
	return nil
}
