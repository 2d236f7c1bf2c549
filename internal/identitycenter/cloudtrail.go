package identitycenter

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"entra-aws-exporter/internal/model"
)

const (
	scimEventSource = "identitystore-scim.amazonaws.com"
	trailPageSize   = 50        // CloudTrail's largest
	maxTrailPages   = 2000      // of one CallsSince; beyond, its caller has to ask for less
	maxTrailEvent   = 256 << 10 // bytes, CloudTrail's own limit for one event
)

// CallsSince lists CloudTrail's calls to the bound provisioning tenant, oldest first.
// CloudTrail delivers up to 15 minutes late. A call without an accessKeyId is listed
// with an empty one.
// https://docs.aws.amazon.com/singlesignon/latest/userguide/scim-logging-using-cloudtrail.html
func (i *Instance) CallsSince(ctx context.Context, since time.Time) ([]model.SCIMCall, error) {
	var calls []model.SCIMCall
	complete, err := i.forEachCall(ctx, since, time.Time{}, maxTrailPages, func(call trailCall) { calls = append(calls, call.SCIMCall) })
	if err != nil {
		return nil, err
	}
	if !complete {
		return nil, &model.Error{
			Reason: model.ReasonOther, Op: i.lookupCall().op,
			Detail: fmt.Sprintf("more than %d calls since %s", maxTrailPages*trailPageSize, since.UTC().Format(time.RFC3339)),
		}
	}
	slices.SortStableFunc(calls, func(a, b model.SCIMCall) int { return a.At.Compare(b.At) })
	return calls, nil
}

func (i *Instance) lookupCall() apiCall {
	return apiCall{op: "reading CloudTrail's SCIM calls of " + i.options.Connection, action: "cloudtrail:LookupEvents"}
}

// forEachCall visits CloudTrail's calls, newest first, up to so many pages. It reports
// whether those were all. until is zero for now.
func (i *Instance) forEachCall(ctx context.Context, since, until time.Time, pages int, visit func(trailCall)) (complete bool, err error) {
	binding, err := i.Binding(ctx)
	if err != nil {
		return false, err
	}
	input := &cloudtrail.LookupEventsInput{
		StartTime: aws.Time(since),
		LookupAttributes: []types.LookupAttribute{{
			AttributeKey: types.LookupAttributeKeyEventSource, AttributeValue: aws.String(scimEventSource),
		}},
	}
	if !until.IsZero() {
		input.EndTime = aws.Time(until)
	}
	return i.forEachEvent(ctx, i.lookupCall(), input, pages, func(events []types.Event) {
		i.visitCalls(events, binding.ProvisioningTenantID, visit)
	})
}

// forEachEvent visits the pages of a look-up, newest first, up to so many. It reports
// whether those were all.
func (i *Instance) forEachEvent(
	ctx context.Context, call apiCall, input *cloudtrail.LookupEventsInput, pages int, visit func([]types.Event),
) (complete bool, err error) {
	clients, err := i.session.open(ctx)
	if err != nil {
		return false, i.failed(call, err)
	}
	input.MaxResults = aws.Int32(trailPageSize)
	for range pages {
		page, err := clients.lookupEvents(ctx, input)
		if err != nil {
			return false, i.failed(call, err)
		}
		if page.Events == nil && page.NextToken == nil { // "{}" or "null", which the SDK accepts; an empty list is []
			return false, i.failed(call, &model.Error{
				Reason: model.ReasonInvalidResponse, Detail: "the response has no list of events", Advice: checkEndpoints,
			})
		}
		visit(page.Events)
		next := aws.ToString(page.NextToken)
		if next == "" || next == aws.ToString(input.NextToken) {
			return true, nil
		}
		input.NextToken = page.NextToken
	}
	return false, nil
}

// visitCalls visits the calls of a page that may be to this provisioning tenant.
func (i *Instance) visitCalls(events []types.Event, tenant string, visit func(trailCall)) {
	for _, event := range events {
		call, err := parseTrailEvent(event)
		if err != nil {
			i.http.Logger.Debug("ignoring CloudTrail event", "connection", i.options.Connection, "err", err)
			continue
		}
		if call.tenant == "" || call.tenant == tenant || tenant == "" {
			visit(call)
		}
	}
}

// trailCall is a call in CloudTrail with what its readers select by.
type trailCall struct {
	model.SCIMCall
	tenant  string // "": the event does not tell
	refused bool   // AWS did not do what was asked
}

// trailRecord is the part of an event's record that is read: no user's name, no group,
// none of the objects called for.
type trailRecord struct {
	EventTime, EventSource, UserAgent, SourceIPAddress, ErrorCode string

	UserIdentity      struct{ AccessKeyID string }
	RequestParameters struct{ TenantID string }
}

func parseTrailEvent(event types.Event) (trailCall, error) {
	raw := aws.ToString(event.CloudTrailEvent)
	if len(raw) > maxTrailEvent {
		return trailCall{}, errors.New("the record is larger than CloudTrail allows")
	}
	var record trailRecord
	if err := json.Unmarshal([]byte(raw), &record); err != nil && raw != "" {
		var odd *json.UnmarshalTypeError
		if !errors.As(err, &odd) { // a field of another type is left empty, the rest is read
			return trailCall{}, errors.New("the record is not JSON")
		}
	}
	if cmp.Or(record.EventSource, aws.ToString(event.EventSource)) != scimEventSource {
		return trailCall{}, errors.New("the record is not of the SCIM endpoint")
	}
	at := aws.ToTime(event.EventTime)
	if at.IsZero() {
		var err error
		if at, err = time.Parse(time.RFC3339, record.EventTime); err != nil {
			return trailCall{}, errors.New("the record has no time")
		}
	}
	return trailCall{
		SCIMCall: model.SCIMCall{
			At:          at.UTC(),
			AccessKeyID: truncate(cmp.Or(record.UserIdentity.AccessKeyID, aws.ToString(event.AccessKeyId))),
			UserAgent:   truncate(record.UserAgent),
			SourceIP:    truncate(record.SourceIPAddress),
		},
		tenant:  record.RequestParameters.TenantID,
		refused: record.ErrorCode != "",
	}, nil
}
