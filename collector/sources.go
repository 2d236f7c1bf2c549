package collector

// sourceMetrics show whether the polls of the sources succeed.
type sourceMetrics struct{ up, lastSuccess, interval, errors *typedDesc }

func newSourceMetrics(d *descriptions) sourceMetrics {
	return sourceMetrics{
		up:          d.gauge("source_up", "Whether the last poll of the source succeeded. Absent while the source is off or not polled yet.", "source"),
		lastSuccess: d.gauge("source_last_success_timestamp_seconds", "Timestamp of the last successful poll of the source.", "source"),
		interval:    d.gauge("source_interval_seconds", "Interval between two polls of the source.", "source"),
		errors:      d.counter("source_errors_total", "Total number of failed polls of the source, by reason. A reason appears with its first failure.", "source", "reason"),
	}
}

func (m sourceMetrics) collect(w *sampleWriter, t *target) {
	for _, status := range t.Sources {
		source := string(status.Source)
		if !status.LastAttempt.IsZero() {
			w.writeBool(m.up, status.Up(), source)
		}
		w.writeTime(m.lastSuccess, status.LastSuccess, source)
		w.write(m.interval, status.Interval.Seconds(), source)
		for reason, count := range status.Errors {
			w.write(m.errors, float64(count), source, string(reason))
		}
	}
}
