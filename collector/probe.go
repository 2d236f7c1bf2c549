package collector

import "entra-aws-exporter/internal/model"

// probe shows the answer of the SCIM endpoint. Without an answer there is nothing to
// show: that a source fails is source_up, not a success of 0.
type probe struct{ success, status, duration *metric }

func newProbe(c *catalogue) probe {
	const cached = " Cached: from the last probe, absent if that had no answer or is too long ago."
	return probe{
		success:  c.gauge("scim_probe_success", "Whether the SCIM endpoint accepted the token it was probed with."+cached),
		status:   c.gauge("scim_probe_http_status_code", "The HTTP status with which the SCIM endpoint answered."+cached),
		duration: c.gauge("scim_probe_duration_seconds", "How long the SCIM endpoint took to answer."+cached),
	}
}

func (f probe) collect(out *output, s *subject) {
	status, _ := s.Status(model.SourceSCIM)
	if s.Probe == nil || !status.Up() || !status.Fresh(out.now) {
		return
	}
	out.flag(f.success, s.Probe.Accepted())
	out.value(f.status, float64(s.Probe.StatusCode))
	out.value(f.duration, s.Probe.Duration.Seconds())
}
