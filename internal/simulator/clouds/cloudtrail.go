package clouds

import (
	"slices"
	"time"
)

// SCIMEventSource is the event source of calls to SCIM in CloudTrail.
const SCIMEventSource = "identitystore-scim.amazonaws.com"

// trailRetention is how long CloudTrail's event history goes back.
const trailRetention = 90 * 24 * time.Hour

// TrailFilter selects events; a zero field selects all.
type TrailFilter struct {
	After, Before time.Time // inclusive
	AccessKeyID   string
	EventSource   string // only SCIMEventSource has any
	TenantID      string // not a filter of the real API, for convenience
}

// LookupEvents lists the calls to SCIM that were delivered to CloudTrail, the newest
// first as the real API does, of one account and region. Quirks: cloudtrail,
// cloudtrail_delay (an event takes half of it or the whole).
func (w *Model) LookupEvents(c Caller, filter TrailFilter) ([]TrailEvent, error) {
	w.Advance()
	if err := w.allowAWS(c, ServiceCloudTrail, LookupEventsAction); err != nil {
		return nil, err
	}
	if filter.EventSource != "" && filter.EventSource != SCIMEventSource {
		return nil, nil
	}
	delay := w.lag(w.quirks.CloudTrailDelay)
	var list []TrailEvent
	for n, e := range slices.Backward(w.trail) {
		if e.At.Before(w.at.Add(-trailRetention)) {
			break
		}
		delivered := e.At.Add(delay)
		if n%2 == 0 {
			delivered = e.At.Add(delay / 2)
		}
		if delivered.After(w.at) ||
			c.Account != "" && c.Account != e.Account || c.Region != "" && c.Region != e.Region ||
			filter.TenantID != "" && filter.TenantID != e.TenantID ||
			filter.AccessKeyID != "" && filter.AccessKeyID != e.AccessKeyID {
			continue
		}
		e.At = shift(e.At, w.skew.AWS)
		if !filter.After.IsZero() && e.At.Before(filter.After) || !filter.Before.IsZero() && e.At.After(filter.Before) {
			continue
		}
		list = append(list, e)
	}
	return list, nil
}
