package collector

// sources shows how the reading itself goes.
type sources struct{ up, lastSuccess, interval, errors *metric }

func newSources(c *catalogue) sources {
	return sources{
		up:          c.gauge("source_up", "Whether the last attempt to read the source succeeded. Absent when the source is off or was not tried yet.", "source"),
		lastSuccess: c.gauge("source_last_success_timestamp_seconds", "When the source was last read with success.", "source"),
		interval:    c.gauge("source_interval_seconds", "How often the source is read.", "source"),
		errors:      c.counter("source_errors_total", "Failed attempts to read the source; a reason appears when it first occurs.", "source", "reason"),
	}
}

func (f sources) collect(out *output, s *subject) {
	for _, status := range s.Sources {
		source := string(status.Source)
		if !status.LastAttempt.IsZero() {
			out.flag(f.up, status.Up(), source)
		}
		out.time(f.lastSuccess, status.LastSuccess, source)
		out.value(f.interval, status.Interval.Seconds(), source)
		for reason, count := range status.Errors {
			out.value(f.errors, float64(count), source, string(reason))
		}
	}
}
