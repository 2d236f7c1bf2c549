package clouds

import (
	"entra-aws-exporter/internal/model"
	"slices"
	"time"
)

// SCIMEventSource is the event source of calls to SCIM in CloudTrail.
const SCIMEventSource = "identitystore-scim.amazonaws.com"

const trailRetention = 90 * 24 * time.Hour

// TrailFilter selects events; a zero field selects all.
type TrailFilter struct {
	After, Before time.Time // inclusive
	EventSource   string    // only SCIMEventSource has any
	TenantID      string    // not a filter of the real API, for convenience
}

// LookupEvents lists the calls to SCIM that were delivered to CloudTrail, the newest
// first as the real API does, of one account and region. Quirks: cloudtrail,
// cloudtrail_delay (an event takes half of it or the whole).
func (aws *AWS) LookupEvents(c Caller, filter TrailFilter) ([]TrailEvent, error) {
	aws.Advance()
	if err := aws.allowAWS(c, ServiceCloudTrail, LookupEventsAction); err != nil {
		return nil, err
	}
	if filter.EventSource != "" && filter.EventSource != SCIMEventSource {
		return nil, nil
	}
	delay := aws.lag(aws.quirks.CloudTrailDelay)
	var list []TrailEvent
	for n, e := range slices.Backward(aws.trail) {
		if e.At.Before(aws.at.Add(-trailRetention)) {
			break
		}
		delivered := e.At.Add(delay)
		if n%2 == 0 {
			delivered = e.At.Add(delay / 2)
		}
		if delivered.After(aws.at) ||
			c.Account != "" && c.Account != e.Account || c.Region != "" && c.Region != e.Region ||
			filter.TenantID != "" && filter.TenantID != e.TenantID {
			continue
		}
		e.At = addSkew(e.At, aws.skew.AWS)
		if !filter.After.IsZero() && e.At.Before(filter.After) || !filter.Before.IsZero() && e.At.After(filter.Before) {
			continue
		}
		list = append(list, e)
	}
	return list, nil
}

// TrailEvent is a call to SCIM in CloudTrail.
type TrailEvent struct {
	model.SCIMCall
	EventID, EventName      string
	Account, Region         string
	IdentityStore, TenantID string
}

// AddCalls writes calls of Entra with a token to CloudTrail, as many as large directories
// make. No cycle makes them.
func (aws *AWS) AddCalls(tokenID string, from time.Time, every time.Duration, count int) error {
	t := aws.tokenByID(tokenID)
	if t == nil {
		return notFound(ServiceTokens, "BEARER_TOKEN resource not found for %s.", tokenID)
	}
	for n := range count {
		aws.logCall(t, SCIMCall{SourceIP: EntraAddress, UserAgent: EntraUserAgent}, "ListUsers")
		aws.trail[len(aws.trail)-1].At = from.Add(time.Duration(n) * every).Truncate(time.Second)
	}
	slices.SortStableFunc(aws.trail, func(a, b TrailEvent) int { return a.At.Compare(b.At) })
	return nil
}

// logCall writes a call to CloudTrail. Quirk: cloudtrail.
func (aws *AWS) logCall(t *scimToken, call SCIMCall, operation string) {
	key := t.accessKeyID
	switch aws.quirks.CloudTrail {
	case TrailAbsent:
		return
	case TrailBlind:
		if t.seeded {
			return
		}
	case TrailConstant:
		key = "ASIACONSTANTCONSTANT"
	case TrailEphemeral:
		key = aws.accessKeyID("ASIA")
	}
	i := t.of.of
	aws.trail = append(aws.trail, TrailEvent{
		SCIMCall: model.SCIMCall{At: aws.at.Truncate(time.Second), AccessKeyID: key, UserAgent: call.UserAgent, SourceIP: call.SourceIP},
		EventID:  aws.newID(), EventName: operation,
		Account: i.OwnerAccountID, Region: i.PrimaryRegion, IdentityStore: i.IdentityStoreID, TenantID: t.of.TenantID,
	})
}
