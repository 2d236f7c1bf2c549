package collector

// configMetrics show the result of the last config reload.
type configMetrics struct{ successful, lastSuccess *typedDesc }

func newConfigMetrics(d *descriptions) configMetrics {
	return configMetrics{
		successful:  d.globalGauge("config_last_reload_successful", "Whether the last configuration reload attempt was successful."),
		lastSuccess: d.globalGauge("config_last_reload_success_timestamp_seconds", "Timestamp of the last successful configuration reload."),
	}
}

func (m configMetrics) collect(w *sampleWriter, reload Reload) {
	w.writeBool(m.successful, reload.Err == nil)
	w.writeTime(m.lastSuccess, reload.LastSuccess)
}
