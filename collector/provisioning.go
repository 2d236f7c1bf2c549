package collector

import (
	"time"

	"entra-aws-exporter/internal/model"
)

// jobMetrics show the provisioning job. All of them end three intervals after the last
// successful poll: an old state would look like the current one.
type jobMetrics struct {
	status, schedule, interval                                 *typedDesc
	quarantine, quarantineBegan, quarantineDisable             *typedDesc
	failures, cycleBegin, cycleEnd, cycleState, cycleEntries   *typedDesc
	lastSuccess, lastExport, synchronized, notificationEnabled *typedDesc
}

func newJobMetrics(d *descriptions) jobMetrics {
	const cached = " Cached from the last successful poll of the job. Absent after three missed intervals."
	return jobMetrics{
		status:              d.gauge("provisioning_job_status", "State of the provisioning job: 1 for the current state, 0 for the others."+cached, "status"),
		schedule:            d.gauge("provisioning_schedule_state", "State of the job's schedule: 1 for the current state, 0 for the others."+cached, "state"),
		interval:            d.gauge("provisioning_interval_seconds", "Interval between two provisioning cycles."+cached),
		quarantine:          d.gauge("provisioning_quarantine_info", "Reason and error code of the quarantine as reported by Entra, with a constant value of 1. Absent without a quarantine."+cached, "reason", "error_code"),
		quarantineBegan:     d.gauge("provisioning_quarantine_began_timestamp_seconds", "Timestamp of the start of the current quarantine."+cached),
		quarantineDisable:   d.gauge("provisioning_quarantine_disable_timestamp_seconds", "Timestamp at which Entra disables the job if the quarantine lasts: 28 days after the first quarantine of the series."+cached),
		failures:            d.gauge("provisioning_consecutive_failures", "Number of consecutive failed cycles."+cached),
		cycleBegin:          d.gauge("provisioning_last_cycle_begin_timestamp_seconds", "Timestamp of the start of the last cycle."+cached),
		cycleEnd:            d.gauge("provisioning_last_cycle_end_timestamp_seconds", "Timestamp of the end of the last cycle."+cached),
		cycleState:          d.gauge("provisioning_last_cycle_state", "Result of the last cycle: 1 for this result, 0 for the others."+cached, "state"),
		cycleEntries:        d.gauge("provisioning_last_cycle_entries", "Number of entries that the last cycle imported, exported, escrowed (failed, retried later) or found entitled."+cached, "kind"),
		lastSuccess:         d.gauge("provisioning_last_success_timestamp_seconds", "Timestamp of the end of the last successful cycle."+cached),
		lastExport:          d.gauge("provisioning_last_export_timestamp_seconds", "Timestamp of the end of the last successful cycle that exported at least one entry."+cached),
		synchronized:        d.gauge("provisioning_synchronized_entries", "Number of entries in sync, by the kind that Entra reports."+cached, "kind"),
		notificationEnabled: d.gauge("provisioning_notification_enabled", "Whether Entra sends mail when the job fails."+cached),
	}
}

func (m jobMetrics) collect(w *sampleWriter, t *target) {
	status, _ := t.Status(model.SourceJob)
	if t.Job == nil || !status.Fresh(w.now) {
		return
	}
	current := t.Job
	writeStateSet(w, m.status, model.JobStatuses(), current.Status, model.JobUnknown)
	writeStateSet(w, m.schedule, model.ScheduleStates(), current.Schedule, model.ScheduleUnknown)
	if current.Interval > 0 {
		w.write(m.interval, current.Interval.Seconds())
	}
	if quarantine := current.Quarantine; quarantine != nil && *quarantine != (model.Quarantine{}) {
		w.write(m.quarantine, 1, quarantine.Reason, quarantine.ErrorCode)
		w.writeTime(m.quarantineBegan, quarantine.CurrentBegan)
		if !quarantine.SeriesBegan.IsZero() {
			w.writeTime(m.quarantineDisable, quarantine.SeriesBegan.Add(model.QuarantineDisableAfter))
		}
	}
	if current.ConsecutiveFailures != nil {
		w.write(m.failures, float64(*current.ConsecutiveFailures))
	}
	if cycle := current.LastCycle; cycle != nil {
		m.collectCycle(w, cycle)
	}
	w.writeTime(m.lastSuccess, endOf(current.LastSuccess))
	w.writeTime(m.lastExport, endOf(current.LastExport))
	for kind, entries := range current.Synchronized {
		w.write(m.synchronized, float64(entries), kind)
	}
	if current.NotificationEnabled != nil {
		w.writeBool(m.notificationEnabled, *current.NotificationEnabled)
	}
}

func (m jobMetrics) collectCycle(w *sampleWriter, cycle *model.Cycle) {
	w.writeTime(m.cycleBegin, cycle.Began)
	w.writeTime(m.cycleEnd, cycle.Ended)
	writeStateSet(w, m.cycleState, model.CycleStates(), cycle.State, model.CycleUnknown)
	for kind, entries := range cycle.Entries {
		w.write(m.cycleEntries, float64(entries), string(kind))
	}
}

// endOf returns the end of a cycle; zero if Entra does not report one.
func endOf(cycle *model.Cycle) time.Time {
	if cycle == nil {
		return time.Time{}
	}
	return cycle.Ended
}
