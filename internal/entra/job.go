package entra

import (
	"context"
	"time"

	kiota "github.com/microsoft/kiota-abstractions-go/serialization"
	"github.com/microsoftgraph/msgraph-sdk-go/models"

	"entra-aws-exporter/internal/model"
)

// longestInterval is beyond any interval that a job can be set to. A disabled job's is
// the largest number of the service, which overflows.
const longestInterval = 31 * 24 * time.Hour

// Job reads the provisioning job and Graph's clock.
// https://learn.microsoft.com/graph/api/synchronization-synchronizationjob-get
func (a *Application) Job(ctx context.Context) (model.Job, error) {
	servicePrincipal, id, err := a.resolve(ctx)
	if err != nil {
		return model.Job{}, err
	}
	c := call{
		doing: "reading the provisioning job", needs: readJobs,
		missing: "the application or its job was deleted; check service_principal_id and job_id",
	}
	answer, x, err := ask(ctx, a.tenant, c, func(ctx context.Context) (models.SynchronizationJobable, error) {
		return a.tenant.job(servicePrincipal, id).Get(ctx, nil)
	})
	if err != nil {
		return model.Job{}, a.notFound(err)
	}
	if answer.GetStatus() == nil {
		return model.Job{}, invalid(c, x, "a job without its status")
	}
	job := jobOf(answer)
	job.ID, job.Date = id, x.date
	a.learn(func(found *discovered) { found.template = job.TemplateID })
	job.NotificationEnabled = a.notificationEnabled(ctx, servicePrincipal)
	return job, nil
}

func jobOf(answer models.SynchronizationJobable) model.Job {
	status := answer.GetStatus()
	job := model.Job{
		TemplateID:  text(answer.GetTemplateId()),
		Status:      jobStatusOf(status.GetCode()),
		Schedule:    model.ScheduleUnknown,
		Quarantine:  quarantineOf(status.GetQuarantine()),
		LastCycle:   cycleOf(status.GetLastExecution()),
		LastSuccess: cycleOf(status.GetLastSuccessfulExecution()),
		LastExport:  cycleOf(status.GetLastSuccessfulExecutionWithExports()),
	}
	if schedule := answer.GetSchedule(); schedule != nil {
		job.Schedule = scheduleOf(schedule.GetState())
		if job.Schedule == model.ScheduleActive {
			job.Interval = intervalOf(schedule.GetInterval())
		}
	}
	if failures := status.GetCountSuccessiveCompleteFailures(); failures != nil && *failures >= 0 {
		job.ConsecutiveFailures = failures
	}
	for _, entry := range status.GetSynchronizedEntryCountByType() {
		if entry == nil || text(entry.GetKey()) == "" || entry.GetValue() == nil || *entry.GetValue() < 0 {
			continue
		}
		if job.Synchronized == nil {
			job.Synchronized = map[string]int64{}
		}
		job.Synchronized[text(entry.GetKey())] = *entry.GetValue()
	}
	return job
}

func jobStatusOf(code *models.SynchronizationStatusCode) model.JobStatus {
	if code == nil {
		return model.JobUnknown
	}
	switch *code {
	case models.NOTCONFIGURED_SYNCHRONIZATIONSTATUSCODE:
		return model.JobNotConfigured
	case models.NOTRUN_SYNCHRONIZATIONSTATUSCODE:
		return model.JobNotRun
	case models.ACTIVE_SYNCHRONIZATIONSTATUSCODE:
		return model.JobActive
	case models.PAUSED_SYNCHRONIZATIONSTATUSCODE:
		return model.JobPaused
	case models.QUARANTINE_SYNCHRONIZATIONSTATUSCODE:
		return model.JobQuarantine
	default:
		return model.JobUnknown
	}
}

func scheduleOf(state *models.SynchronizationScheduleState) model.ScheduleState {
	if state == nil {
		return model.ScheduleUnknown
	}
	switch *state {
	case models.ACTIVE_SYNCHRONIZATIONSCHEDULESTATE:
		return model.ScheduleActive
	case models.DISABLED_SYNCHRONIZATIONSCHEDULESTATE:
		return model.ScheduleDisabled
	case models.PAUSED_SYNCHRONIZATIONSCHEDULESTATE:
		return model.SchedulePaused
	default:
		return model.ScheduleUnknown
	}
}

// intervalOf reads a duration that may be absent, absurd or overflow; zero: unknown.
func intervalOf(interval *kiota.ISODuration) time.Duration {
	if interval == nil || interval.GetYears() != 0 || interval.GetWeeks() > 5 || interval.GetDays() > 31 {
		return 0
	}
	duration, err := interval.ToDuration()
	if err != nil || duration <= 0 || duration > longestInterval {
		return 0
	}
	return duration
}

// quarantineOf reads the quarantine; one without any content is none.
func quarantineOf(answer models.SynchronizationQuarantineable) *model.Quarantine {
	if answer == nil {
		return nil
	}
	quarantine := model.Quarantine{
		Reason:       "unknown",
		CurrentBegan: instant(answer.GetCurrentBegan()),
		SeriesBegan:  instant(answer.GetSeriesBegan()),
		NextAttempt:  instant(answer.GetNextAttempt()),
	}
	if reason := answer.GetReason(); reason != nil {
		quarantine.Reason = reason.String()
	}
	if failure := answer.GetError(); failure != nil {
		quarantine.ErrorCode = label(text(failure.GetCode()))
	}
	if quarantine == (model.Quarantine{Reason: "unknown"}) {
		return nil
	}
	return &quarantine
}

// cycleOf reads one execution; one that never began is none.
func cycleOf(answer models.SynchronizationTaskExecutionable) *model.Cycle {
	if answer == nil {
		return nil
	}
	cycle := model.Cycle{
		Began:   instant(answer.GetTimeBegan()),
		Ended:   instant(answer.GetTimeEnded()),
		State:   model.CycleUnknown,
		Entries: make(map[model.EntryKind]int64),
	}
	if cycle.Began.IsZero() && cycle.Ended.IsZero() {
		return nil
	}
	if state := answer.GetState(); state != nil {
		switch *state {
		case models.SUCCEEDED_SYNCHRONIZATIONTASKEXECUTIONRESULT:
			cycle.State = model.CycleSucceeded
		case models.FAILED_SYNCHRONIZATIONTASKEXECUTIONRESULT:
			cycle.State = model.CycleFailed
		case models.ENTRYLEVELERRORS_SYNCHRONIZATIONTASKEXECUTIONRESULT:
			cycle.State = model.CycleEntryLevelErrors
		}
	}
	for kind, entries := range map[model.EntryKind]*int64{
		model.EntriesImported: answer.GetCountImported(),
		model.EntriesExported: answer.GetCountExported(),
		model.EntriesEscrowed: answer.GetCountEscrowed(),
		model.EntriesEntitled: answer.GetCountEntitled(),
	} {
		if entries != nil && *entries >= 0 {
			cycle.Entries[kind] = *entries
		}
	}
	if failure := answer.GetError(); failure != nil {
		cycle.ErrorCode = label(text(failure.GetCode()))
	}
	return &cycle
}
