package entra

import (
	"context"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/microsoftgraph/msgraph-sdk-go/auditlogs"

	"entra-aws-exporter/internal/model"
)

// Events visits the entries of the tenant's provisioning log with after < time <
// before, oldest first as far as Graph keeps that order, for all of its applications.
// One page is in memory at a time. An error of visit ends the reading and is returned
// as it is. A zero time is no bound.
//
// The tenant's requests to its logs are kept within 5 in 10 seconds; give ctx time.
// https://learn.microsoft.com/graph/api/provisioningobjectsummary-list
func (t *Tenant) Events(ctx context.Context, after, before time.Time, visit func(model.Event) error) error {
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
	err = a.tenant.readLog(ctx, filter, func(event model.Event) error {
		// The log does not keep to the job id's letter case, and filters by it.
		if strings.EqualFold(event.JobID, job) && event.Status == "success" && event.Action != "other" && event.At.After(since) {
			exports++
		}
		return nil
	})
	return exports, err
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// logPageSize is the most that Graph puts on a page of a log.
const logPageSize = 1000

// logPage is what is read of a page. The SDK's models would decode a person's every
// property, at ten times the memory, and its page iterator panics on a null entry.
type logPage struct {
	Value    []*logEntry
	NextLink string `json:"@odata.nextLink"`
}

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
	c := call{
		doing: "reading the provisioning log", needs: readLog,
		missing: "this cloud has no provisioning log", sensitive: true,
	}
	if t.cloud == model.CloudChina {
		return &model.Error{
			Reason: model.ReasonNotFound, Op: c.doing, Unsent: true,
			Detail: "Microsoft Graph in China has no provisioning log", Advice: "set intervals.events: 0",
		}
	}
	pageSize := int32(logPageSize)
	query := &auditlogs.ProvisioningRequestBuilderGetQueryParameters{Orderby: []string{"activityDateTime"}, Top: &pageSize}
	if filter != "" {
		query.Filter = &filter
	}
	options := &auditlogs.ProvisioningRequestBuilderGetRequestConfiguration{QueryParameters: query}
	request, link := t.provisioningLog(), ""
	for {
		page, x, err := t.readPage(ctx, c, request, options)
		if err != nil {
			return err
		}
		for _, entry := range page.Value {
			event, ok := entry.event()
			if !ok {
				continue
			}
			if err := visit(event); err != nil {
				return err
			}
		}
		if page.NextLink == "" {
			return nil
		}
		if page.NextLink == link || !t.isOurs(page.NextLink) {
			return invalid(c, x, "the next page is the same one, or lies outside of Graph")
		}
		link = page.NextLink
		request, options = t.provisioningLog().WithUrl(link), nil
	}
}

func (t *Tenant) readPage(ctx context.Context, c call, builder *auditlogs.ProvisioningRequestBuilder,
	options *auditlogs.ProvisioningRequestBuilderGetRequestConfiguration,
) (logPage, *exchange, error) {
	var page logPage
	x, err := t.do(ctx, c, func(ctx context.Context) error {
		request, err := builder.ToGetRequestInformation(ctx, options)
		if err != nil {
			return err
		}
		content, err := t.send(ctx, request)
		if err != nil {
			return err
		}
		return decode(content, &page)
	})
	if err == nil && page.Value == nil {
		err = invalid(c, x, "a page without its value")
	}
	return page, x, err
}

// isOurs reports whether a link leads back to this tenant's Graph.
func (t *Tenant) isOurs(link string) bool {
	target, err := url.Parse(link)
	return err == nil && target.Scheme == t.graph.Scheme && target.Host == t.graph.Host &&
		strings.HasPrefix(target.Path, t.graph.Path+"/")
}

// event takes from an entry what is not personal. An entry without id or time cannot
// be counted once, so it is not counted.
func (e *logEntry) event() (model.Event, bool) {
	if e == nil {
		return model.Event{}, false
	}
	event := model.Event{
		ID: e.ID, At: instant(e.ActivityDateTime), JobID: e.JobID, CycleID: e.CycleID,
		Action: known(model.EventActions(), e.ProvisioningAction, "other"), Status: "unknown",
	}
	if e.ServicePrincipal != nil {
		event.ServicePrincipalID = e.ServicePrincipal.ID
	}
	if e.StatusInfo != nil {
		event.Status = known(model.EventStatuses(), e.StatusInfo.Status, "unknown")
		if failure := e.StatusInfo.ErrorInformation; failure != nil {
			event.ErrorCode = label(failure.ErrorCode)
			event.ErrorCategory = label(snake(failure.ErrorCategory))
		}
	}
	return event, event.ID != "" && !event.At.IsZero()
}

// known returns Entra's word in our spelling, or what stands for words added later.
func known(words []string, word, otherwise string) string {
	if word = snake(word); slices.Contains(words, word) {
		return word
	}
	return otherwise
}

// snake turns "stagedDelete" into "staged_delete".
func snake(word string) string {
	var spelled strings.Builder
	for i, r := range word {
		if unicode.IsUpper(r) && i > 0 {
			spelled.WriteByte('_')
		}
		spelled.WriteRune(unicode.ToLower(r))
	}
	return spelled.String()
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
