package collector

import (
	"slices"

	"entra-aws-exporter/internal/model"
)

// eventMetrics show the counters of the provisioning log. A counter only grows, so it
// stays when the log cannot be polled.
type eventMetrics struct {
	total, errors, last *typedDesc
	initial             []model.EventKey
}

func newEventMetrics(d *descriptions) eventMetrics {
	const cached = " Cached from the last successful poll of the provisioning log."
	return eventMetrics{
		total: d.counter("provisioning_events_total",
			"Total number of provisioning log entries, by action and status."+cached, "action", "status"),
		errors: d.counter("provisioning_event_errors_total",
			"Total number of failed provisioning log entries, by category and error code. Beyond 20 codes, both labels are other."+cached, "category", "error_code"),
		last: d.gauge("provisioning_last_event_timestamp_seconds",
			"Timestamp of the newest provisioning log entry with this status."+cached, "status"),
		initial: initialEvents(),
	}
}

// initialEvents lists the counters that begin at 0: the successes and failures that rates
// and alerts use. The other combinations appear when they are first counted: at 0 they
// would be a quarter of a connection's series.
func initialEvents() []model.EventKey {
	actions := []string{"create", "update", "delete", "disable"}
	initial := make([]model.EventKey, 0, 2*len(actions))
	for _, action := range actions {
		initial = append(initial, model.EventKey{Action: action, Status: "success"}, model.EventKey{Action: action, Status: "failure"})
	}
	return initial
}

func (m eventMetrics) collect(w *sampleWriter, t *target) {
	if t.Events == nil {
		return
	}
	for _, key := range m.initial {
		w.write(m.total, float64(t.Events.Events[key]), key.Action, key.Status)
	}
	for key, count := range t.Events.Events {
		if !slices.Contains(m.initial, key) {
			w.write(m.total, float64(count), key.Action, key.Status)
		}
	}
	for key, count := range t.Events.Errors {
		w.write(m.errors, float64(count), key.Category, key.Code)
	}
	for status, at := range t.Events.Last {
		w.writeTime(m.last, at, status)
	}
}
