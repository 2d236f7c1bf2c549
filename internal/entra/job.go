package entra

import (
	"context"
	"fmt"
	"time"

	"github.com/microsoft/kiota-abstractions-go/serialization"
	kiotajson "github.com/microsoft/kiota-serialization-json-go"
	"github.com/microsoftgraph/msgraph-sdk-go/models"

	"entra-aws-exporter/internal/model"
)

// longestInterval is beyond any interval that a job can be set to. A disabled job's is
// the largest number of the service, which overflows.
const longestInterval = 31 * 24 * time.Hour

// jobResponse is a job, decoded by the SDK's model.
type jobResponse struct{ models.SynchronizationJobable }

// UnmarshalJSON implements json.Unmarshaler.
func (r *jobResponse) UnmarshalJSON(content []byte) error {
	node, err := kiotajson.NewJsonParseNode(content)
	if err != nil || node == nil {
		return err
	}
	parsed, err := node.GetObjectValue(models.CreateSynchronizationJobFromDiscriminatorValue)
	r.SynchronizationJobable, _ = parsed.(models.SynchronizationJobable)
	return err
}

// Job reads the provisioning job and Graph's clock.
// https://learn.microsoft.com/graph/api/synchronization-synchronizationjob-get
func (a *Application) Job(ctx context.Context) (model.Job, error) {
	values, err := a.discovery.jobParameters(ctx)
	if err != nil {
		return model.Job{}, err
	}
	call := apiCall{
		op: "reading the provisioning job", permission: readJobs,
		notFound: "the application or its job was deleted; check service_principal_id and job_id",
	}
	var response jobResponse
	x, err := a.tenant.graph.get(ctx, call, jobPath, values, &response)
	if err != nil {
		return model.Job{}, a.discovery.forgetIfGone(err)
	}
	if response.SynchronizationJobable == nil || response.GetId() == nil && response.GetStatus() == nil {
		return model.Job{}, call.invalid(x, "neither an id nor a status of the job")
	}
	job := response.job()
	job.ID, job.Date = values["job"], x.Date
	a.discovery.update(func(found *discovered) { found.template = job.TemplateID })
	job.NotificationEnabled = a.notificationEnabled(ctx, values["id"])
	return job, nil
}

func (r *jobResponse) job() model.Job {
	status := r.GetStatus()
	if status == nil {
		status = models.NewSynchronizationStatus()
	}
	job := model.Job{
		TemplateID:  stringOf(r.GetTemplateId()),
		Status:      sdkEnum(status.GetCode(), model.JobStatuses(), model.JobUnknown),
		Schedule:    model.ScheduleUnknown,
		Quarantine:  quarantineOf(status.GetQuarantine()),
		LastCycle:   cycleOf(status.GetLastExecution()),
		LastSuccess: cycleOf(status.GetLastSuccessfulExecution()),
		LastExport:  cycleOf(status.GetLastSuccessfulExecutionWithExports()),
	}
	if schedule := r.GetSchedule(); schedule != nil {
		job.Schedule = sdkEnum(schedule.GetState(), model.ScheduleStates(), model.ScheduleUnknown)
		if job.Schedule == model.ScheduleActive {
			job.Interval = intervalOf(schedule.GetInterval())
		}
	}
	if failures := status.GetCountSuccessiveCompleteFailures(); failures != nil && *failures >= 0 {
		job.ConsecutiveFailures = failures
	}
	for _, entry := range status.GetSynchronizedEntryCountByType() {
		if entry == nil || stringOf(entry.GetKey()) == "" || entry.GetValue() == nil || *entry.GetValue() < 0 {
			continue
		}
		if job.Synchronized == nil {
			job.Synchronized = map[string]int64{}
		}
		job.Synchronized[stringOf(entry.GetKey())] = *entry.GetValue()
	}
	return job
}

// sdkEnum returns an enum value of the SDK as the model spells it.
func sdkEnum[E fmt.Stringer, T ~string](value *E, known []T, otherwise T) T {
	if value == nil {
		return otherwise
	}
	return enumValue(known, (*value).String(), otherwise)
}

// intervalOf reads a duration that may be absent, absurd or overflow; zero: unknown.
func intervalOf(duration *serialization.ISODuration) time.Duration {
	if duration == nil || duration.GetYears() != 0 || duration.GetWeeks() > 5 || duration.GetDays() > 31 {
		return 0
	}
	interval, err := duration.ToDuration()
	if err != nil || interval <= 0 || interval > longestInterval {
		return 0
	}
	return interval
}

// quarantineOf reads the quarantine; nil for one without any content.
func quarantineOf(response models.SynchronizationQuarantineable) *model.Quarantine {
	if response == nil {
		return nil
	}
	quarantine := model.Quarantine{
		Reason:       "unknown",
		CurrentBegan: timeOf(response.GetCurrentBegan()),
		SeriesBegan:  timeOf(response.GetSeriesBegan()),
		NextAttempt:  timeOf(response.GetNextAttempt()),
	}
	if reason := response.GetReason(); reason != nil {
		quarantine.Reason = reason.String()
	}
	if failure := response.GetError(); failure != nil {
		quarantine.ErrorCode = labelValue(stringOf(failure.GetCode()))
	}
	if quarantine == (model.Quarantine{Reason: "unknown"}) {
		return nil
	}
	return &quarantine
}

// cycleOf reads one execution; nil for one that never began.
func cycleOf(response models.SynchronizationTaskExecutionable) *model.Cycle {
	if response == nil {
		return nil
	}
	cycle := model.Cycle{
		Began:   timeOf(response.GetTimeBegan()),
		Ended:   timeOf(response.GetTimeEnded()),
		State:   sdkEnum(response.GetState(), model.CycleStates(), model.CycleUnknown),
		Entries: make(map[model.EntryKind]int64),
	}
	if cycle.Began.IsZero() && cycle.Ended.IsZero() {
		return nil
	}
	for kind, entries := range map[model.EntryKind]*int64{
		model.EntriesImported: response.GetCountImported(),
		model.EntriesExported: response.GetCountExported(),
		model.EntriesEscrowed: response.GetCountEscrowed(),
		model.EntriesEntitled: response.GetCountEntitled(),
	} {
		if entries != nil && *entries >= 0 {
			cycle.Entries[kind] = *entries
		}
	}
	if failure := response.GetError(); failure != nil {
		cycle.ErrorCode = labelValue(stringOf(failure.GetCode()))
	}
	return &cycle
}
