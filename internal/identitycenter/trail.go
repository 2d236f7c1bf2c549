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
	"golang.org/x/time/rate"

	"entra-aws-exporter/internal/model"
)

const (
	scimEventSource = "identitystore-scim.amazonaws.com"
	trailPageSize   = 50        // CloudTrail's largest
	trailPages      = 2000      // of one CallsSince: beyond, its caller has to ask for less
	trailEventLimit = 256 << 10 // bytes, CloudTrail's own limit for one event
)

// trail is AWS's log of the calls to the SCIM endpoint.
// https://docs.aws.amazon.com/singlesignon/latest/userguide/scim-logging-using-cloudtrail.html
type trail struct {
	// limit keeps LookupEvents under its two calls a second per account and region.
	limit *rate.Limiter
}

func newTrail() *trail { return &trail{limit: rate.NewLimiter(rate.Every(600*time.Millisecond), 1)} }

// CallsSince lists the logged calls to the bound provisioning tenant, oldest first.
// CloudTrail delivers up to 15 minutes late. A call without an accessKeyId is listed
// with an empty one.
func (i *Instance) CallsSince(ctx context.Context, since time.Time) ([]model.SCIMCall, error) {
	var calls []model.SCIMCall
	complete, err := i.visitCalls(ctx, since, trailPages, func(call trailCall) { calls = append(calls, call.SCIMCall) })
	if err != nil {
		return nil, err
	}
	if !complete {
		return nil, &model.Error{
			Reason: model.ReasonOther, Op: i.trailOperation().doing,
			Detail: fmt.Sprintf("more than %d calls since %s", trailPages*trailPageSize, since.UTC().Format(time.RFC3339)),
		}
	}
	slices.SortStableFunc(calls, func(a, b model.SCIMCall) int { return a.At.Compare(b.At) })
	return calls, nil
}

func (i *Instance) trailOperation() operation {
	return operation{doing: "reading CloudTrail's SCIM calls of " + i.options.Connection, action: "cloudtrail:LookupEvents"}
}

// visitCalls visits the logged calls, newest first, up to so many pages; complete says
// whether that was all of them.
func (i *Instance) visitCalls(ctx context.Context, since time.Time, pages int, visit func(trailCall)) (complete bool, err error) {
	reading := i.trailOperation()
	binding, err := i.Binding(ctx)
	if err != nil {
		return false, err
	}
	clients, err := i.access.clients(ctx)
	if err != nil {
		return false, i.failed(reading, err)
	}
	input := &cloudtrail.LookupEventsInput{
		StartTime:  aws.Time(since),
		MaxResults: aws.Int32(trailPageSize),
		LookupAttributes: []types.LookupAttribute{{
			AttributeKey: types.LookupAttributeKeyEventSource, AttributeValue: aws.String(scimEventSource),
		}},
	}
	for range pages {
		if err := i.trail.limit.Wait(ctx); err != nil {
			if ctx.Err() == nil {
				err = context.DeadlineExceeded // the next turn would come after it
			}
			return false, i.failed(reading, err)
		}
		page, err := clients.lookupEvents(ctx, input)
		if err != nil {
			return false, i.failed(reading, err)
		}
		for _, event := range page.Events {
			call, err := parseTrailEvent(event)
			if err != nil {
				i.web.logger.Debug("skipped a CloudTrail event", "connection", i.options.Connection, "err", err)
				continue
			}
			if call.tenant == "" || call.tenant == binding.ProvisioningTenantID || binding.ProvisioningTenantID == "" {
				visit(call)
			}
		}
		next := aws.ToString(page.NextToken)
		if next == "" || next == aws.ToString(input.NextToken) {
			return true, nil
		}
		input.NextToken = page.NextToken
	}
	return false, nil
}

// trailCall is a logged call with what its readers choose by.
type trailCall struct {
	model.SCIMCall
	tenant  string // "": the event does not tell
	refused bool   // AWS did not do what was asked
}

// trailRecord is the little of an event's record that is looked at: no person's name,
// no group, none of the objects called for.
type trailRecord struct {
	EventTime    string `json:"eventTime"`
	EventSource  string `json:"eventSource"`
	UserAgent    string `json:"userAgent"`
	SourceIP     string `json:"sourceIPAddress"`
	ErrorCode    string `json:"errorCode"`
	UserIdentity struct {
		AccessKeyID string `json:"accessKeyId"`
	} `json:"userIdentity"`
	RequestParameters struct {
		TenantID string `json:"tenantId"`
	} `json:"requestParameters"`
}

func parseTrailEvent(event types.Event) (trailCall, error) {
	raw := aws.ToString(event.CloudTrailEvent)
	if len(raw) > trailEventLimit {
		return trailCall{}, errors.New("its record is larger than CloudTrail allows")
	}
	var record trailRecord
	if err := json.Unmarshal([]byte(raw), &record); err != nil && raw != "" {
		var odd *json.UnmarshalTypeError
		if !errors.As(err, &odd) { // a field of another type is left empty, the rest is read
			return trailCall{}, errors.New("its record is not JSON")
		}
	}
	if cmp.Or(record.EventSource, aws.ToString(event.EventSource)) != scimEventSource {
		return trailCall{}, errors.New("it is not of the SCIM endpoint")
	}
	at := aws.ToTime(event.EventTime)
	if at.IsZero() {
		var err error
		if at, err = time.Parse(time.RFC3339, record.EventTime); err != nil {
			return trailCall{}, errors.New("it has no time")
		}
	}
	return trailCall{
		SCIMCall: model.SCIMCall{
			At:          at.UTC(),
			AccessKeyID: clip(cmp.Or(record.UserIdentity.AccessKeyID, aws.ToString(event.AccessKeyId))),
			UserAgent:   clip(record.UserAgent),
			SourceIP:    clip(record.SourceIP),
		},
		tenant:  record.RequestParameters.TenantID,
		refused: record.ErrorCode != "",
	}, nil
}
