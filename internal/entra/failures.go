package entra

import (
	"cmp"
	"context"
	"errors"
	"strconv"
	"time"
)

// Failure is a failed entry of the provisioning log. Its object and reason are personal
// data: they are for the operator who asks, and kept nowhere.
type Failure struct {
	At     time.Time
	Action string // of Entra: create, update, delete, …
	Object string // display name of the user or group in Entra
	Code   string
	Reason string
}

// failedEntry is what is read of a failed entry.
type failedEntry struct {
	ActivityDateTime   *time.Time
	ProvisioningAction string
	SourceIdentity     *struct{ ID, DisplayName string }
	StatusInfo         *struct {
		ErrorInformation *struct{ ErrorCode, Reason string }
	} `json:"provisioningStatusInfo"`
}

// errEnough ends the reading of a log.
var errEnough = errors.New("enough entries")

// Failures returns the newest failed entries of the provisioning log for this
// application, the newest first, at most limit.
// https://learn.microsoft.com/graph/api/provisioningobjectsummary-list
func (a *Application) Failures(ctx context.Context, limit int) ([]Failure, error) {
	principalID, _, err := a.discovery.resolve(ctx)
	if err != nil {
		return nil, err
	}
	call := apiCall{op: "reading the provisioning log", permission: readLogs, notFound: "this cloud has no provisioning log", sensitive: true}
	values := parameters{
		"%24filter":  "servicePrincipal/id eq '" + principalID + "' and provisioningStatusInfo/status eq 'failure'",
		"%24orderby": "activityDateTime desc", "%24top": strconv.Itoa(limit),
	}
	var failures []Failure
	_, err = eachPage(ctx, a.tenant.graph, call, "/auditLogs/provisioning{?%24filter,%24orderby,%24top}", values, func(page []*failedEntry) error {
		for _, entry := range page {
			if entry != nil {
				failures = append(failures, entry.failure())
			}
			if len(failures) == limit {
				return errEnough
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return failures, err
}

func (e *failedEntry) failure() Failure {
	failure := Failure{At: timeOf(e.ActivityDateTime), Action: e.ProvisioningAction}
	if e.SourceIdentity != nil {
		failure.Object = cmp.Or(e.SourceIdentity.DisplayName, e.SourceIdentity.ID)
	}
	if e.StatusInfo != nil && e.StatusInfo.ErrorInformation != nil {
		failure.Code, failure.Reason = e.StatusInfo.ErrorInformation.ErrorCode, e.StatusInfo.ErrorInformation.Reason
	}
	return failure
}
