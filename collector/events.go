package collector

import (
	"slices"

	"entra-aws-exporter/internal/model"
)

// events shows the counters over the provisioning log. They only grow, so they stay
// when the log cannot be read.
type events struct {
	total, errors, last *metric
	usual               []model.EventKey
}

func newEvents(c *catalogue) events {
	const cached = " Cached: from the last good reading of the log."
	return events{
		total: c.counter("provisioning_events_total",
			"Entries of Entra's provisioning log since the exporter's state began."+cached, "action", "status"),
		errors: c.counter("provisioning_event_errors_total",
			"Failed entries of Entra's provisioning log by Entra's category and code; what exceeds 20 codes is other."+cached, "category", "error_code"),
		last: c.gauge("provisioning_last_event_timestamp_seconds",
			"Time of the newest entry of the provisioning log that ended so."+cached, "status"),
		usual: usualEvents(),
	}
}

// usualEvents are shown from the start, at 0: the successes and failures that rates
// and alerts are made of. The other combinations appear when they are first counted,
// or else they alone would be a quarter of a connection's series.
func usualEvents() []model.EventKey {
	actions := []string{"create", "update", "delete", "disable", "staged_delete"}
	usual := make([]model.EventKey, 0, 2*len(actions))
	for _, action := range actions {
		usual = append(usual, model.EventKey{Action: action, Status: "success"}, model.EventKey{Action: action, Status: "failure"})
	}
	return usual
}

func (f events) collect(out *output, s *subject) {
	if s.Events == nil {
		return
	}
	for _, key := range f.usual {
		out.value(f.total, float64(s.Events.Events[key]), key.Action, key.Status)
	}
	for key, count := range s.Events.Events {
		if !slices.Contains(f.usual, key) {
			out.value(f.total, float64(count), key.Action, key.Status)
		}
	}
	for key, count := range s.Events.Errors {
		out.value(f.errors, float64(count), key.Category, key.Code)
	}
	for status, at := range s.Events.Last {
		out.time(f.last, at, status)
	}
}
