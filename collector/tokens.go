package collector

import (
	"cmp"

	"entra-aws-exporter/internal/model"
)

// tokenMetrics show the SCIM access tokens. The last list stays when a poll fails: an
// expiry date does not change meanwhile.
type tokenMetrics struct {
	created, expiry, age, info, lastUsed *typedDesc
	activeExpiry, count, slots, due      *typedDesc
}

func newTokenMetrics(d *descriptions) tokenMetrics {
	const cached = " Cached from the last successful poll of the tokens."
	return tokenMetrics{
		created:  d.gauge("scim_token_created_timestamp_seconds", "Timestamp of the creation of the SCIM access token."+cached, "token_id"),
		expiry:   d.gauge("scim_token_expiry_timestamp_seconds", "Timestamp at which the SCIM access token expires or has expired."+cached, "token_id"),
		age:      d.gauge("scim_token_age_seconds", "Age of the SCIM access token at the time of the scrape.", "token_id"),
		info:     d.gauge("scim_token_info", "Origin of the token's dates and known role of the token, with a constant value of 1."+cached, "token_id", "origin", "role"),
		lastUsed: d.gauge("scim_token_last_used_timestamp_seconds", "Timestamp of the token's last use in CloudTrail. Absent if CloudTrail does not identify the token. Cached from the last successful poll of CloudTrail.", "token_id"),
		activeExpiry: d.gauge("scim_active_token_expiry_timestamp_seconds",
			"Timestamp at which the token in use expires. If it is unknown, of the unexpired token that expires first; if all have expired, of the last one."+cached),
		count: d.gauge("scim_tokens", "Number of SCIM access tokens, including expired ones."+cached),
		slots: d.gauge("scim_token_slots", "Maximum number of SCIM access tokens. An expired token still occupies a slot."+cached),
		due:   d.gauge("scim_token_rotation_due_timestamp_seconds", "Timestamp at which the token becomes due for rotation. Absent while rotation is disabled or the time is unknown. Cached from the last successful polls."),
	}
}

func (m tokenMetrics) collect(w *sampleWriter, t *target) {
	if t.token != nil && t.token.Mode != model.RotationDisabled {
		w.writeTime(m.due, t.token.Due)
	}
	if t.Tokens == nil {
		return
	}
	inUse, roles := "", map[string]model.TokenRole(nil)
	if t.token != nil {
		inUse, _ = t.token.InUse()
		roles = t.token.Roles
	}
	sent := make(map[string]bool, len(t.Tokens.Tokens)) // a list may name a token twice, a series may not repeat
	for _, token := range t.Tokens.Tokens {
		if sent[token.ID] {
			continue
		}
		sent[token.ID] = true
		w.writeTime(m.created, token.Created, token.ID)
		w.writeTime(m.expiry, token.Expires, token.ID)
		if !token.Created.IsZero() {
			w.write(m.age, max(0, w.now.Sub(token.Created).Seconds()), token.ID)
		}
		w.write(m.info, 1, token.ID, string(t.Tokens.Origin), string(cmp.Or(roles[token.ID], model.RoleUnknown)))
		if t.Usage != nil {
			w.writeTime(m.lastUsed, t.Usage.LastUsed[token.ID], token.ID)
		}
	}
	if active, found := t.Tokens.Active(inUse, w.now); found {
		w.writeTime(m.activeExpiry, active.Expires)
	}
	w.write(m.count, float64(len(sent)))
	if t.Tokens.Slots > 0 {
		w.write(m.slots, float64(t.Tokens.Slots))
	}
}
