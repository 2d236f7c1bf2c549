package entra

import (
	"context"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/microsoftgraph/msgraph-sdk-go/auditlogs"
	"github.com/microsoftgraph/msgraph-sdk-go/models"

	"entra-aws-exporter/internal/bridge"
)

// Events visits the entries of the tenant's provisioning log with after < time <
// before, oldest first as far as Graph keeps that order, for all of its applications.
// One page is in memory at a time. An error of visit ends the reading and is returned
// as it is. A zero time is no bound.
//
// The tenant's requests to its logs are kept within 5 in 10 seconds; give ctx time.
// https://learn.microsoft.com/graph/api/provisioningobjectsummary-list
func (t *Tenant) Events(ctx context.Context, after, before time.Time, visit func(bridge.Event) error) error {
	var bounds []string
	if !after.IsZero() {
		bounds = append(bounds, "activityDateTime gt "+moment(after))
	}
	if !before.IsZero() {
		bounds = append(bounds, "activityDateTime lt "+moment(before))
	}
	return t.readLog(ctx, strings.Join(bounds, " and "), visit)
}

// Exports counts the successful entries of the provisioning log for this job since
// then: users and groups that were really written to AWS.
func (a *Application) Exports(ctx context.Context, since time.Time) (int, error) {
	servicePrincipal, job, err := a.resolve(ctx)
	if err != nil {
		return 0, err
	}
	exports := 0
	filter := "activityDateTime gt " + moment(since) + " and servicePrincipal/id eq '" + servicePrincipal + "'"
	err = a.tenant.readLog(ctx, filter, func(event bridge.Event) error {
		// The log does not keep to the job id's letter case, and filters by it.
		if strings.EqualFold(event.JobID, job) && event.Status == "success" && event.Action != "other" && event.At.After(since) {
			exports++
		}
		return nil
	})
	return exports, err
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// readLog visits a filtered log page by page. The SDK's own page iterator panics on a
// null entry.
func (t *Tenant) readLog(ctx context.Context, filter string, visit func(bridge.Event) error) error {
	c := call{
		doing: "reading the provisioning log", needs: readLog,
		missing: "this cloud has no provisioning log", sensitive: true,
	}
	if t.cloud == "china" {
		return &bridge.Error{
			Reason: bridge.ReasonNotFound, Op: c.doing, Unsent: true,
			Detail: "Microsoft Graph in China has no provisioning log", Advice: "switch this source off",
		}
	}
	query := &auditlogs.ProvisioningRequestBuilderGetQueryParameters{Orderby: []string{"activityDateTime"}}
	if filter != "" {
		query.Filter = &filter
	}
	first := &auditlogs.ProvisioningRequestBuilderGetRequestConfiguration{QueryParameters: query}
	for next := ""; ; {
		page, x, err := ask(ctx, t, c, func(ctx context.Context) (models.ProvisioningObjectSummaryCollectionResponseable, error) {
			if next == "" {
				return t.provisioningLog().Get(ctx, first)
			}
			return t.provisioningLog().WithUrl(next).Get(ctx, nil)
		})
		if err != nil {
			return err
		}
		if page.GetValue() == nil {
			return invalid(c, x, "a page without its value")
		}
		for _, entry := range page.GetValue() {
			event, ok := eventOf(entry)
			if !ok {
				continue
			}
			if err := visit(event); err != nil {
				return err
			}
		}
		link := text(page.GetOdataNextLink())
		if link == "" {
			return nil
		}
		if link == next || !t.isOurs(link) {
			return invalid(c, x, "the next page is the same one, or lies outside of Graph")
		}
		next = link
	}
}

// isOurs reports whether a link leads back to this tenant's Graph.
func (t *Tenant) isOurs(link string) bool {
	target, err := url.Parse(link)
	return err == nil && target.Scheme == t.graph.Scheme && target.Host == t.graph.Host &&
		strings.HasPrefix(target.Path, t.graph.Path+"/")
}

// eventOf takes from an entry what is not personal. An entry without id or time cannot
// be counted once, so it is not counted.
func eventOf(entry models.ProvisioningObjectSummaryable) (bridge.Event, bool) {
	if entry == nil {
		return bridge.Event{}, false
	}
	event := bridge.Event{
		ID: text(entry.GetId()), At: instant(entry.GetActivityDateTime()),
		JobID: text(entry.GetJobId()), CycleID: text(entry.GetCycleId()),
		Action: "other", Status: "unknown",
	}
	if application := entry.GetServicePrincipal(); application != nil {
		event.ServicePrincipalID = text(application.GetId())
	}
	if action := entry.GetProvisioningAction(); action != nil {
		event.Action = actions[*action]
	}
	if info := entry.GetProvisioningStatusInfo(); info != nil {
		if status := info.GetStatus(); status != nil && *status != models.UNKNOWNFUTUREVALUE_PROVISIONINGRESULT {
			event.Status = status.String()
		}
		if failure := info.GetErrorInformation(); failure != nil {
			event.ErrorCode = label(text(failure.GetErrorCode()))
			if category := failure.GetErrorCategory(); category != nil {
				event.ErrorCategory = categories[*category]
			}
		}
	}
	return event, event.ID != "" && !event.At.IsZero()
}

var actions = map[models.ProvisioningAction]string{
	models.CREATE_PROVISIONINGACTION:             "create",
	models.UPDATE_PROVISIONINGACTION:             "update",
	models.DELETE_PROVISIONINGACTION:             "delete",
	models.DISABLE_PROVISIONINGACTION:            "disable",
	models.STAGEDDELETE_PROVISIONINGACTION:       "staged_delete",
	models.OTHER_PROVISIONINGACTION:              "other",
	models.UNKNOWNFUTUREVALUE_PROVISIONINGACTION: "other",
}

var categories = map[models.ProvisioningStatusErrorCategory]string{
	models.FAILURE_PROVISIONINGSTATUSERRORCATEGORY:            "failure",
	models.NONSERVICEFAILURE_PROVISIONINGSTATUSERRORCATEGORY:  "non_service_failure",
	models.SUCCESS_PROVISIONINGSTATUSERRORCATEGORY:            "success",
	models.UNKNOWNFUTUREVALUE_PROVISIONINGSTATUSERRORCATEGORY: "unknown",
}

var labelPattern = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,80}$`)

// label makes Entra's code fit for a metric label: a code as it is, anything else,
// which may be a sentence about a person, as "other".
func label(code string) string {
	code = strings.TrimSpace(code)
	if code == "" || labelPattern.MatchString(code) {
		return code
	}
	return "other"
}
