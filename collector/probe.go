package collector

import "entra-aws-exporter/internal/model"

// probeMetrics show the response of the SCIM endpoint. Without a response there is no
// sample: the failure of the source is source_up 0, not scim_probe_success 0.
type probeMetrics struct{ success, status, duration *typedDesc }

func newProbeMetrics(d *descriptions) probeMetrics {
	const cached = " Cached from the last probe. Absent if the probe got no response or is too old."
	return probeMetrics{
		success:  d.gauge("scim_probe_success", "Whether the SCIM endpoint accepted the probed token."+cached),
		status:   d.gauge("scim_probe_http_status_code", "HTTP status code of the SCIM endpoint's response."+cached),
		duration: d.gauge("scim_probe_duration_seconds", "Response time of the SCIM endpoint."+cached),
	}
}

func (m probeMetrics) collect(w *sampleWriter, t *target) {
	status, _ := t.Status(model.SourceSCIM)
	if t.Probe == nil || !status.Up() || !status.Fresh(w.now) {
		return
	}
	w.writeBool(m.success, t.Probe.Accepted())
	w.write(m.status, float64(t.Probe.StatusCode))
	w.write(m.duration, t.Probe.Duration.Seconds())
}
