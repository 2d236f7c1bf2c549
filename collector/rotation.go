package collector

import "entra-aws-exporter/internal/model"

// rotation shows the rotation of the connection's SCIM access token.
type rotation struct {
	info, phase, started, lastSuccess, ended *metric
	blocked, waiting, proof, tokensCreated   *metric
}

func newRotation(c *catalogue) rotation {
	return rotation{
		info:          c.gauge("rotation_info", "What an alert may set off, and who creates the new token. Always 1.", "mode", "issuer"),
		phase:         c.gauge("rotation_phase", "Where the rotation stands: 1 for the current phase, 0 for the others.", "phase"),
		started:       c.gauge("rotation_started_timestamp_seconds", "When the running rotation started. Absent while none is running."),
		lastSuccess:   c.gauge("rotation_last_success_timestamp_seconds", "When a rotation was last done."),
		ended:         c.counter("rotations_total", "Rotations by how they ended.", "outcome"),
		blocked:       c.gauge("rotation_blocked_info", "Why the rotation is blocked and needs a person. Always 1, absent while it is not blocked.", "reason"),
		waiting:       c.gauge("rotation_waiting_info", "What the rotation waits for. Always 1, absent while it does not wait.", "reason"),
		proof:         c.gauge("rotation_proof_info", "How sure it is that Entra uses the new token. Always 1, absent while there is no proof.", "level"),
		tokensCreated: c.counter("rotation_tokens_created_total", "SCIM access tokens that rotations have created."),
	}
}

func (f rotation) collect(out *output, s *subject) {
	if s.rotation == nil {
		return
	}
	r := s.rotation
	out.value(f.info, 1, string(r.Mode), string(r.Issuer))
	out.time(f.started, r.Started)
	out.time(f.lastSuccess, r.LastSuccess)
	for _, info := range []struct {
		*metric
		value string
	}{{f.blocked, string(r.Blocked)}, {f.waiting, string(r.Waiting)}, {f.proof, string(r.Proof)}} {
		if info.value != "" {
			out.value(info.metric, 1, info.value)
		}
	}
	idle := r.Phase == "" || r.Phase == model.PhaseIdle
	if r.Mode == model.RotationDisabled && idle && r.TokensCreated == 0 && !anyEnded(r) {
		return // it does not rotate and never did: a row of zeros would say nothing
	}
	states(out, f.phase, model.Phases(), r.Phase, model.PhaseIdle)
	for _, ending := range model.Outcomes() {
		out.value(f.ended, float64(r.Outcomes[ending]), string(ending))
	}
	out.value(f.tokensCreated, float64(r.TokensCreated))
}

// anyEnded does not count the keys: a status names every ending, with 0 for what never happened.
func anyEnded(r *model.RotationStatus) bool {
	for _, count := range r.Outcomes {
		if count > 0 {
			return true
		}
	}
	return false
}
