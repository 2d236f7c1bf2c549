package collector

import "entra-aws-exporter/internal/model"

// rotationMetrics show the rotation of the connection's SCIM access token.
type rotationMetrics struct {
	info, phase, started, lastSuccess, finished *typedDesc
	blocked, waiting, proof, tokensCreated      *typedDesc
}

func newRotationMetrics(d *descriptions) rotationMetrics {
	return rotationMetrics{
		info:          d.gauge("rotation_info", "Rotation mode and token issuer, with a constant value of 1.", "mode", "issuer"),
		phase:         d.gauge("rotation_phase", "Phase of the rotation: 1 for the current phase, 0 for the others.", "phase"),
		started:       d.gauge("rotation_started_timestamp_seconds", "Timestamp of the start of the running rotation. Absent while no rotation is running."),
		lastSuccess:   d.gauge("rotation_last_success_timestamp_seconds", "Timestamp of the last successful rotation."),
		finished:      d.counter("rotations_total", "Total number of finished rotations, by outcome.", "outcome"),
		blocked:       d.gauge("rotation_blocked_info", "Reason why the rotation is blocked and needs an operator, with a constant value of 1. Absent while it is not blocked.", "reason"),
		waiting:       d.gauge("rotation_waiting_info", "Reason why the rotation waits, with a constant value of 1. Absent while it does not wait.", "reason"),
		proof:         d.gauge("rotation_proof_info", "Level of proof that Entra uses the new token, with a constant value of 1. Absent while there is no proof.", "level"),
		tokensCreated: d.counter("rotation_tokens_created_total", "Total number of SCIM access tokens created by rotations."),
	}
}

func (m rotationMetrics) collect(w *sampleWriter, t *target) {
	if t.rotation == nil {
		return
	}
	r := t.rotation
	w.write(m.info, 1, string(r.Mode), string(r.Issuer))
	w.writeTime(m.started, r.Started)
	w.writeTime(m.lastSuccess, r.LastSuccess)
	for _, info := range []struct {
		*typedDesc
		value string
	}{{m.blocked, string(r.Blocked)}, {m.waiting, string(r.Waiting)}, {m.proof, string(r.Proof)}} {
		if info.value != "" {
			w.write(info.typedDesc, 1, info.value)
		}
	}
	idle := r.Phase == "" || r.Phase == model.PhaseIdle
	if r.Mode == model.RotationDisabled && idle && r.TokensCreated == 0 && !anyFinished(r) {
		return // it does not rotate and never did: zeros would only add series
	}
	writeStateSet(w, m.phase, model.Phases(), r.Phase, model.PhaseIdle)
	for _, outcome := range model.Outcomes() {
		w.write(m.finished, float64(r.Outcomes[outcome]), string(outcome))
	}
	w.write(m.tokensCreated, float64(r.TokensCreated))
}

// anyFinished reports whether a rotation has finished. A status holds every outcome, with
// 0 for those that never happened.
func anyFinished(r *model.RotationStatus) bool {
	for _, count := range r.Outcomes {
		if count > 0 {
			return true
		}
	}
	return false
}
