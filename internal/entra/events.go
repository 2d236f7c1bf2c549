package entra

import (
	"context"
	"strconv"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// Events visits the entries of the tenant's provisioning log with after < time <
// before, oldest first as far as Graph keeps that order, for all of its applications.
// One page is in memory at a time. An error of visit ends the reading and is returned
// unchanged. A zero time is no bound.
//
// The tenant's requests to its logs are kept within 5 in 10 seconds; give ctx time.
// https://learn.microsoft.com/graph/api/provisioningobjectsummary-list
func (t *Tenant) Events(ctx context.Context, after, before time.Time, visit func(model.Event) error) error {
	var bounds []string
	if !after.IsZero() {
		bounds = append(bounds, "activityDateTime gt "+odataTime(after))
	}
	if !before.IsZero() {
		bounds = append(bounds, "activityDateTime lt "+odataTime(before))
	}
	return t.readLog(ctx, strings.Join(bounds, " and "), visit)
}

// Exports counts the successful entries of the provisioning log for this job since
// then: users and groups that were really written to AWS.
func (a *Application) Exports(ctx context.Context, since time.Time) (int, error) {
	principalID, jobID, err := a.discovery.resolve(ctx)
	if err != nil {
		return 0, err
	}
	exports := 0
	filter := "activityDateTime gt " + odataTime(since) + " and servicePrincipal/id eq '" + principalID + "'"
	err = a.tenant.readLog(ctx, filter, func(event model.Event) error {
		// The log does not keep to the job id's letter case, and filters by it.
		if strings.EqualFold(event.JobID, jobID) && event.Status == "success" && event.Action != "other" && event.At.After(since) {
			exports++
		}
		return nil
	})
	return exports, err
}

func odataTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// logPageSize is the most that Graph puts on a page of a log.
const logPageSize = 1000

// logEntry is what is read of an entry. Everything else of it may be personal.
type logEntry struct {
	ID, JobID, CycleID string
	ActivityDateTime   *time.Time
	ProvisioningAction string
	ServicePrincipal   *struct{ ID string }
	StatusInfo         *struct {
		Status           string
		ErrorInformation *struct{ ErrorCode, ErrorCategory string }
	} `json:"provisioningStatusInfo"`
}

// readLog visits a filtered log page by page.
func (t *Tenant) readLog(ctx context.Context, filter string, visit func(model.Event) error) error {
	call := apiCall{
		op: "reading the provisioning log", permission: readLogs,
		notFound: "this cloud has no provisioning log", sensitive: true,
	}
	if t.cloud == model.CloudChina {
		return &model.Error{
			Reason: model.ReasonNotFound, Op: call.op, Unsent: true,
			Detail: "Microsoft Graph in China has no provisioning log", Advice: "set intervals.events: 0",
		}
	}
	values := parameters{"%24orderby": "activityDateTime", "%24top": strconv.Itoa(logPageSize)}
	if filter != "" {
		values["%24filter"] = filter
	}
	_, err := eachPage(ctx, t.graph, call, "/auditLogs/provisioning{?%24filter,%24orderby,%24top}", values, func(page []*logEntry) error {
		for _, entry := range page {
			event, ok := entry.event()
			if !ok {
				continue
			}
			if err := visit(event); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// event takes from an entry what is not personal. An entry without id or time cannot
// be counted once, so it is not counted.
func (e *logEntry) event() (model.Event, bool) {
	if e == nil {
		return model.Event{}, false
	}
	event := model.Event{
		ID: e.ID, At: timeOf(e.ActivityDateTime), JobID: e.JobID, CycleID: e.CycleID,
		Action: enumValue(model.EventActions(), e.ProvisioningAction, "other"), Status: "unknown",
	}
	if e.ServicePrincipal != nil {
		event.ServicePrincipalID = e.ServicePrincipal.ID
	}
	if e.StatusInfo != nil {
		event.Status = enumValue(model.EventStatuses(), e.StatusInfo.Status, "unknown")
		if failure := e.StatusInfo.ErrorInformation; failure != nil {
			event.ErrorCode = labelValue(failure.ErrorCode)
			event.ErrorCategory = labelValue(snakeCase(failure.ErrorCategory))
		}
	}
	return event, event.ID != "" && !event.At.IsZero()
}
