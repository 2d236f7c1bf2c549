package collector

import (
	"time"

	"entra-aws-exporter/internal/model"
)

// job shows the provisioning job. All of it vanishes when it has not been read for
// three intervals: an old state would pass for the present one.
type job struct {
	status, schedule, interval                               *metric
	quarantine, quarantineBegan, quarantineDisable           *metric
	failures, cycleBegin, cycleEnd, cycleState, cycleEntries *metric
	lastSuccess, lastExport, inSync, notificationToggle      *metric
}

func newJob(c *catalogue) job {
	const cached = " Cached: from the last good reading of the job, absent after three missed intervals."
	return job{
		status:             c.gauge("provisioning_job_status", "The state of Entra's provisioning job: 1 for the current one, 0 for the others."+cached, "status"),
		schedule:           c.gauge("provisioning_schedule_state", "The state of the job's schedule: 1 for the current one, 0 for the others."+cached, "state"),
		interval:           c.gauge("provisioning_interval_seconds", "How often the job runs."+cached),
		quarantine:         c.gauge("provisioning_quarantine_info", "Why the job is in quarantine, in Entra's words. Always 1, absent without a quarantine."+cached, "reason", "error_code"),
		quarantineBegan:    c.gauge("provisioning_quarantine_began_timestamp_seconds", "When the current quarantine began."+cached),
		quarantineDisable:  c.gauge("provisioning_quarantine_disable_timestamp_seconds", "When Entra disables the job if the quarantine lasts: 28 days after the first of the series."+cached),
		failures:           c.gauge("provisioning_consecutive_failures", "How many cycles in a row have failed."+cached),
		cycleBegin:         c.gauge("provisioning_last_cycle_begin_timestamp_seconds", "When the last cycle began."+cached),
		cycleEnd:           c.gauge("provisioning_last_cycle_end_timestamp_seconds", "When the last cycle ended."+cached),
		cycleState:         c.gauge("provisioning_last_cycle_state", "How the last cycle ended: 1 for that, 0 for the others."+cached, "state"),
		cycleEntries:       c.gauge("provisioning_last_cycle_entries", "How many entries the last cycle imported, exported, escrowed (failed, to be tried again) and found entitled."+cached, "kind"),
		lastSuccess:        c.gauge("provisioning_last_success_timestamp_seconds", "When the last successful cycle ended."+cached),
		lastExport:         c.gauge("provisioning_last_export_timestamp_seconds", "When the last successful cycle ended that exported something."+cached),
		inSync:             c.gauge("provisioning_synchronized_entries", "How many entries are in sync, by Entra's name of their kind."+cached, "kind"),
		notificationToggle: c.gauge("provisioning_notification_enabled", "Whether Entra mails somebody when the job fails."+cached),
	}
}

func (f job) collect(out *output, s *subject) {
	status, _ := s.Status(model.SourceJob)
	if s.Job == nil || !status.Fresh(out.now) {
		return
	}
	read := s.Job
	states(out, f.status, model.JobStatuses(), read.Status, model.JobUnknown)
	states(out, f.schedule, model.ScheduleStates(), read.Schedule, model.ScheduleUnknown)
	if read.Interval > 0 {
		out.value(f.interval, read.Interval.Seconds())
	}
	if quarantine := read.Quarantine; quarantine != nil && *quarantine != (model.Quarantine{}) {
		out.value(f.quarantine, 1, quarantine.Reason, quarantine.ErrorCode)
		out.time(f.quarantineBegan, quarantine.CurrentBegan)
		if !quarantine.SeriesBegan.IsZero() {
			out.time(f.quarantineDisable, quarantine.SeriesBegan.Add(model.QuarantineDisableAfter))
		}
	}
	if read.ConsecutiveFailures != nil {
		out.value(f.failures, float64(*read.ConsecutiveFailures))
	}
	if cycle := read.LastCycle; cycle != nil {
		f.collectCycle(out, cycle)
	}
	out.time(f.lastSuccess, endOf(read.LastSuccess))
	out.time(f.lastExport, endOf(read.LastExport))
	for kind, entries := range read.Synchronized {
		out.value(f.inSync, float64(entries), kind)
	}
	if read.NotificationEnabled != nil {
		out.flag(f.notificationToggle, *read.NotificationEnabled)
	}
}

func (f job) collectCycle(out *output, cycle *model.Cycle) {
	out.time(f.cycleBegin, cycle.Began)
	out.time(f.cycleEnd, cycle.Ended)
	states(out, f.cycleState, model.CycleStates(), cycle.State, model.CycleUnknown)
	for kind, entries := range cycle.Entries {
		out.value(f.cycleEntries, float64(entries), string(kind))
	}
}

// endOf is when a cycle ended, or began if Entra did not say; zero without a cycle.
func endOf(cycle *model.Cycle) time.Time {
	if cycle == nil {
		return time.Time{}
	}
	if cycle.Ended.IsZero() {
		return cycle.Began
	}
	return cycle.Ended
}
