package collector

import "entra-aws-exporter/internal/model"

// rotationMetrics show the rotation of the connection's SCIM access token, and the rollover
// of its SAML signing certificate.
type rotationMetrics struct {
	info, phase, started, lastSuccess, finished *typedDesc
	blocked, waiting, proof, tokensCreated      *typedDesc
}

func newRotationMetrics(d *descriptions) rotationMetrics {
	return rotationMetrics{
		info:          d.gauge("rotation_info", "Rotation mode and token issuer, with a constant value of 1.", "kind", "mode", "issuer"),
		phase:         d.gauge("rotation_phase", "Phase of the rotation: 1 for the current phase, 0 for the others. While no rotation is open, only the phase idle.", "kind", "phase"),
		started:       d.gauge("rotation_started_timestamp_seconds", "Timestamp of the start of the running rotation. Absent while no rotation is running.", "kind"),
		lastSuccess:   d.gauge("rotation_last_success_timestamp_seconds", "Timestamp of the last successful rotation.", "kind"),
		finished:      d.counter("rotations_total", "Total number of finished rotations, by outcome.", "kind", "outcome"),
		blocked:       d.gauge("rotation_blocked_info", "Reason why the rotation is blocked and needs an operator, with a constant value of 1. Absent while it is not blocked.", "kind", "reason"),
		waiting:       d.gauge("rotation_waiting_info", "Reason why the rotation waits, with a constant value of 1. Absent while it does not wait.", "kind", "reason"),
		proof:         d.gauge("rotation_proof_info", "Level of proof that the new token or certificate is used, with a constant value of 1. Absent while there is no proof.", "kind", "level"),
		tokensCreated: d.counter("rotation_tokens_created_total", "Total number of SCIM access tokens created by rotations.", "kind"),
	}
}

func (m rotationMetrics) collect(w *sampleWriter, t *target) {
	if t.token != nil {
		m.collectKind(w, model.ProcedureToken, *t.token)
	}
	if t.rollover != nil {
		m.collectKind(w, model.ProcedureCertificate, *t.rollover)
	}
}

func (m rotationMetrics) collectKind(w *sampleWriter, procedure model.Procedure, r model.RotationStatus) {
	kind := string(procedure)
	w.write(m.info, 1, kind, string(r.Mode), string(r.Issuer))
	w.writeTime(m.started, r.Started, kind)
	w.writeTime(m.lastSuccess, r.LastSuccess, kind)
	for _, info := range []struct {
		*typedDesc
		value string
	}{{m.blocked, string(r.Blocked)}, {m.waiting, string(r.Waiting)}, {m.proof, string(r.Proof)}} {
		if info.value != "" {
			w.write(info.typedDesc, 1, kind, info.value)
		}
	}
	phases, idle := model.PhasesOf(procedure), r.Phase == "" || r.Phase == model.PhaseIdle
	if idle {
		phases = []model.Phase{model.PhaseIdle} // the zeros of years would only add series
	}
	if idle && r.Off() {
		return
	}
	writeStateSet(w, m.phase, phases, r.Phase, model.PhaseIdle, kind)
	for _, outcome := range model.Outcomes() {
		w.write(m.finished, float64(r.Outcomes[outcome]), kind, string(outcome))
	}
	if procedure == model.ProcedureToken {
		w.write(m.tokensCreated, float64(r.TokensCreated), kind)
	}
}
