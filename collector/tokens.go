package collector

import (
	"cmp"

	"entra-aws-exporter/internal/model"
)

// tokens shows the SCIM access tokens. The last list stays when it cannot be read:
// an expiry does not move while nobody looks.
type tokens struct {
	created, expiry, age, info, lastUsed *metric
	activeExpiry, count, slots, due      *metric
}

func newTokens(c *catalogue) tokens {
	const cached = " Cached: from the last good list of tokens."
	return tokens{
		created:  c.gauge("scim_token_created_timestamp_seconds", "When the SCIM access token was created."+cached, "token_id"),
		expiry:   c.gauge("scim_token_expiry_timestamp_seconds", "When the SCIM access token expires or expired."+cached, "token_id"),
		age:      c.gauge("scim_token_age_seconds", "How old the SCIM access token is at the moment of the scrape.", "token_id"),
		info:     c.gauge("scim_token_info", "Where the token's dates come from, and what it is for as far as that is known. Always 1."+cached, "token_id", "origin", "role"),
		lastUsed: c.gauge("scim_token_last_used_timestamp_seconds", "When AWS's logs last saw the token in use; absent when they cannot tell it apart. Cached: from the last good reading of the logs.", "token_id"),
		activeExpiry: c.gauge("scim_active_token_expiry_timestamp_seconds",
			"When the token in use expires. Not known which: the earliest unexpired one; all expired: the latest."+cached),
		count: c.gauge("scim_tokens", "How many SCIM access tokens there are, expired ones included."+cached),
		slots: c.gauge("scim_token_slots", "How many SCIM access tokens there can be; an expired one occupies its slot."+cached),
		due:   c.gauge("scim_token_rotation_due_timestamp_seconds", "From when on the token is due for rotation. Absent while rotation is disabled or nothing is known. Cached: it follows from the last good readings."),
	}
}

func (f tokens) collect(out *output, s *subject) {
	if s.rotation != nil && s.rotation.Mode != model.RotationDisabled {
		out.time(f.due, s.rotation.Due)
	}
	if s.Tokens == nil {
		return
	}
	inUse, roles := "", map[string]model.TokenRole(nil)
	if s.rotation != nil {
		inUse, _ = s.rotation.InUse()
		roles = s.rotation.Roles
	}
	shown := make(map[string]bool, len(s.Tokens.Tokens)) // a list may repeat itself; a series must not
	for _, token := range s.Tokens.Tokens {
		if shown[token.ID] {
			continue
		}
		shown[token.ID] = true
		out.time(f.created, token.Created, token.ID)
		out.time(f.expiry, token.Expires, token.ID)
		if !token.Created.IsZero() {
			out.value(f.age, max(0, out.now.Sub(token.Created).Seconds()), token.ID)
		}
		out.value(f.info, 1, token.ID, string(s.Tokens.Origin), string(cmp.Or(roles[token.ID], model.RoleUnknown)))
		if s.Usage != nil {
			out.time(f.lastUsed, s.Usage.LastUsed[token.ID], token.ID)
		}
	}
	if active, found := s.Tokens.Active(inUse, out.now); found {
		out.time(f.activeExpiry, active.Expires)
	}
	out.value(f.count, float64(len(shown)))
	if s.Tokens.Slots > 0 {
		out.value(f.slots, float64(s.Tokens.Slots))
	}
}
