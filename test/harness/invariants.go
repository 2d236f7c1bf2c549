package harness

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// CheckInvariants returns what was violated of the invariants I1 to I7 (see
// docs/rotation-proof.md). It reads what the model recorded, never what the engine reports.
func CheckInvariants(r Result) []string {
	h := r.Harness
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &invariantCheck{result: r, clouds: h.Clouds}
	c.outages()
	c.deletions()
	c.saves()
	c.starts()
	c.rateLimit()
	c.outcomes()
	c.values()
	if h.maxInFlight > 1 && len(h.ExtraProcesses) == 0 { // with several processes, the observer checks the leases
		c.add("I5: %d operations were in flight at once", h.maxInFlight)
	}
	if h.rateExceeded != "" {
		c.add("more than %d calls within a minute, the last of them %s", callsPerMinute, h.rateExceeded)
	}
	return c.violations
}

type invariantCheck struct {
	result     Result
	clouds     *clouds.Model
	violations []string
}

func (c *invariantCheck) add(format string, args ...any) {
	c.violations = append(c.violations, fmt.Sprintf(format, args...))
}

// outages is I1: the exporter never invalidated the token that Entra holds. Where a
// scenario admits it, a recovery must have ended the outage.
func (c *invariantCheck) outages() {
	for _, outage := range c.clouds.Outages() {
		if outage.CausedBy != clouds.ActorExporter {
			continue
		}
		if c.result.Harness.SaveMayBeDropped && outage.Cause == clouds.CauseDeleted && (!outage.Ended.IsZero() || c.result.Outcome == "blocked entra_holds_dead_token") {
			continue
		}
		if c.overwrittenByOther(outage.TokenID, outage.Began) && !outage.Ended.IsZero() && outage.Seconds(outage.Ended) <= 300 {
			continue
		}
		if outage.Cause == clouds.CauseSaved && c.tenantRecreated(outage.Began) {
			continue
		}
		if outage.Cause == clouds.CauseSaved && c.deletedByOther(outage.TokenID, outage.Began) && !outage.Ended.IsZero() {
			continue // an operator deleted it right before the save, and the engine recovered
		}
		c.add("I1: %s", outage)
	}
}

// deletions is I2: each has an intent in the journal and leaves a valid token.
func (c *invariantCheck) deletions() {
	for d := range clouds.EntriesOf[clouds.Deletion](c.clouds) {
		if d.Actor != clouds.ActorExporter {
			continue
		}
		if !slices.Contains(c.result.Harness.deletionIntents, d.TokenID) {
			c.add("I2: token %s was deleted without an intent", d.TokenID)
		}
		if d.Remaining == 0 && !d.Expired && !c.expiredEarly(time.Minute, d.At) && !c.anyDeletedByOther(d.At) {
			c.add("I2: token %s was the last valid one", d.TokenID)
		}
		if len(d.WasSaved)+len(d.WasCached) > 0 && !d.Expired && !c.result.Harness.SaveMayBeDropped && !c.overwrittenByOther(d.TokenID, d.At) {
			c.add("I1: %s", d)
		}
	}
}

// saves is I7: the Tenant URL stays, and no key is added, lost or masked.
func (c *invariantCheck) saves() {
	for s := range clouds.EntriesOf[clouds.Save](c.clouds) {
		if s.Actor != clouds.ActorExporter {
			continue
		}
		if address, _, _ := strings.Cut(s.AddressAfter, "?"); s.AddressAfter != s.AddressBefore && c.clouds.Quirks().BaseAddress != clouds.AddressMasked || address != c.result.Harness.Connection.SCIMEndpoint {
			c.add("I7: the Tenant URL was changed from %q to %q", s.AddressBefore, s.AddressAfter)
		}
		if len(s.Added)+len(s.Overwritten) > 0 || (len(s.Lost) > 0) {
			c.add("I7: saving added %v, lost %v, masked %v", s.Added, s.Lost, s.Overwritten)
		}
	}
}

// starts is I7: the exporter starts a job only out of a quarantine for its credentials.
func (c *invariantCheck) starts() {
	count := 0
	for s := range clouds.EntriesOf[clouds.Start](c.clouds) {
		if s.Actor != clouds.ActorExporter {
			continue
		}
		count++
		if s.StoppedBy != "" || s.Schedule != model.ScheduleActive || s.Quarantine == nil || s.Quarantine.Reason != model.QuarantineReasonException || s.ResetScope != "" {
			c.add("I7: %s", s)
		}
	}
	if count > 2 {
		c.add("I7: the job was started %d times", count)
	}
}

// rateLimit is I6: only so many tokens are created in a day and in a week.
func (c *invariantCheck) rateLimit() {
	var at []time.Time
	for creation := range clouds.EntriesOf[clouds.Creation](c.clouds) {
		if creation.Actor == clouds.ActorExporter {
			at = append(at, creation.At)
		}
	}
	for i, first := range at {
		day, week := 0, 0
		for _, other := range at[i:] {
			if other.Sub(first) < 24*time.Hour {
				day++
			}
			if other.Sub(first) < 7*24*time.Hour {
				week++
			}
		}
		if day > createsPerDay || week > createsPerWeek {
			c.add("I6: %d tokens were created within a day, %d within a week", day, week)
		}
	}
}

// outcomes is I3: done leaves one token that Entra holds, aborted no new one, and a
// rotation that waits for an operator keeps the new value.
func (c *invariantCheck) outcomes() {
	h := c.result.Harness
	listed := h.ListedTokens()
	saved := c.clouds.SavedToken(h.Connection.ServicePrincipalID)
	switch {
	case c.result.Outcome == "done" && c.changedTooLate():
	case c.result.Outcome == "done":
		if len(listed) != 1 || listed[0] != saved || c.clouds.TokenAccepted(saved) != clouds.AcceptedByAll {
			c.add("I3: done, but tokens %v are listed and Entra holds %q (accepted by %s)", listed, saved, c.clouds.TokenAccepted(saved))
		}
		c.exclusive()
	case c.result.Outcome == "aborted":
		own := slices.DeleteFunc(listed, func(id string) bool { return !slices.Contains(h.Connection.TokenIDs, id) && !c.createdByExporter(id) })
		if len(own) > h.initialTokens && !h.Adopted {
			c.add("I3: aborted with %d tokens, there were %d", len(own), h.initialTokens)
		}
	case strings.HasPrefix(c.result.Outcome, "blocked"), strings.HasPrefix(c.result.Outcome, "waiting"):
		if id := c.result.newTokenID(); c.createdByExporter(id) && !c.result.Harness.ValueLost && slices.Contains(listed, id) && !slices.Contains(h.Store.Values(), c.clouds.TokenValue(id)) {
			c.add("I3: %s, and the value of token %s is lost", c.result.Outcome, id)
		}
	case h.FaultLasts && strings.HasPrefix(c.result.Outcome, "running"):
	default:
		c.add("I3: no outcome in time: %s", c.result.Outcome)
	}
}

// createdByExporter reports whether the exporter created a token.
func (c *invariantCheck) createdByExporter(id string) bool {
	for creation := range clouds.EntriesOf[clouds.Creation](c.clouds) {
		if creation.TokenID == id && creation.Actor == clouds.ActorExporter {
			return true
		}
	}
	return false
}

func (r Result) newTokenID() string {
	if r.Rotation == nil {
		return ""
	}
	return r.Rotation.NewTokenID
}

// ListedTokens are the tokens that AWS lists, without any lag.
func (h *Harness) ListedTokens() []string {
	deleted := map[string]bool{}
	for d := range clouds.EntriesOf[clouds.Deletion](h.Clouds) {
		deleted[d.TokenID] = true
	}
	ids := slices.Clone(h.Connection.TokenIDs)
	for c := range clouds.EntriesOf[clouds.Creation](h.Clouds) {
		if c.Tenant == h.Connection.ProvisioningTenantID {
			ids = append(ids, c.TokenID)
		}
	}
	return slices.DeleteFunc(ids, func(id string) bool { return deleted[id] })
}

// values is I4: no token value is anywhere but in the token store.
func (c *invariantCheck) values() {
	h := c.result.Harness
	texts := map[string]string{"the log or the timeline": h.timelineLocked()}
	for key, r := range h.Store.Records {
		texts["the journal "+key] = string(r.Content)
	}
	if h.InAWS != nil {
		for id, text := range h.InAWS.written {
			texts["what was written to the item "+id] = text.String()
		}
		for _, name := range h.leftSecrets() {
			if strings.Contains(name, "-check.") && len(h.ExtraProcesses) > 0 {
				continue // the test value of a process that was suspended in its check, while another one destroyed the entry
			}
			c.add("I4: no entry names the secret %s", name)
		}
	}
	for _, id := range append(h.ListedTokens(), h.Connection.TokenIDs...) {
		value := c.clouds.TokenValue(id)
		for where, text := range texts {
			if value != "" && strings.Contains(text, value) {
				c.add("I4: the value of token %s is in %s", id, where)
			}
		}
	}
}

// exclusive is P4: a good cycle began and ended after the last deletion.
func (c *invariantCheck) exclusive() {
	var last time.Time
	for d := range clouds.EntriesOf[clouds.Deletion](c.clouds) {
		if !d.Expired {
			last = d.At
		}
	}
	var ended time.Time // the rotation
	if c.result.Rotation != nil {
		ended = c.result.Rotation.Ended
	}
	for cycle := range clouds.EntriesOf[clouds.CycleEnded](c.clouds) {
		if cycle.Cycle.Began.After(last) && !cycle.At.After(ended) && cycle.Cycle.State != model.CycleFailed {
			return
		}
	}
	c.add("P4: done at %s, and no good cycle began after the last deletion at %s", ended.Format(time.TimeOnly), last.Format(time.TimeOnly))
}

// overwrittenByOther reports whether an operator or another tool saved the token after the
// exporter's last save before this time. Entra has no lock against that. Then all that
// can be demanded is that the recovery ends the outage at once.
func (c *invariantCheck) overwrittenByOther(tokenID string, at time.Time) bool {
	by := clouds.Actor("")
	for s := range clouds.EntriesOf[clouds.Save](c.clouds) {
		if !s.At.After(at) && s.After == tokenID {
			by = s.Actor
		} else if !s.At.After(at) {
			by = ""
		}
	}
	return by != "" && by != clouds.ActorExporter && by != clouds.ActorSetup
}

// expiredEarly reports whether the model let a token expire early, so shortly before this
// time. Then no list that was read before shows it.
func (c *invariantCheck) expiredEarly(within time.Duration, at time.Time) bool {
	for note := range clouds.EntriesOf[clouds.Annotation](c.clouds) {
		if strings.HasPrefix(note.Text, expiryNote) && !note.At.After(at) && at.Sub(note.At) <= within {
			return true
		}
	}
	return false
}

// changedTooLate reports whether a third party changed something after the rotation's last
// reads, which it makes before it ends as done.
func (c *invariantCheck) changedTooLate() bool {
	if c.result.Rotation == nil {
		return false
	}
	lastRead := c.result.Rotation.Ended.Add(-2 * time.Minute)
	return slices.ContainsFunc(c.clouds.Timeline(), func(record clouds.Entry) bool {
		if record.Stamped().Actor == clouds.ActorExporter || record.Stamped().At.Before(lastRead) {
			return false
		}
		switch r := record.(type) {
		case clouds.Creation, clouds.Deletion, clouds.Save, clouds.TenantRecreated, clouds.JobReplaced:
			return true
		case clouds.Annotation:
			return strings.HasPrefix(r.Text, expiryNote)
		default:
			return false
		}
	})
}

// tenantRecreated reports whether the provisioning tenant was replaced, with all its
// tokens, in the minute before this time.
func (c *invariantCheck) tenantRecreated(at time.Time) bool {
	for r := range clouds.EntriesOf[clouds.TenantRecreated](c.clouds) {
		if !r.At.After(at) && at.Sub(r.At) <= time.Minute {
			return true
		}
	}
	return false
}

// anyDeletedByOther reports whether a third party deleted any token in the minute before
// this time. The lists on which a deletion is based may still show it.
func (c *invariantCheck) anyDeletedByOther(at time.Time) bool {
	for d := range clouds.EntriesOf[clouds.Deletion](c.clouds) {
		if d.Actor != clouds.ActorExporter && !d.At.After(at) && at.Sub(d.At) <= listFresh {
			return true
		}
	}
	return false
}

// deletedByOther reports whether a third party deleted the token in the minute before
// this time.
func (c *invariantCheck) deletedByOther(tokenID string, at time.Time) bool {
	for d := range clouds.EntriesOf[clouds.Deletion](c.clouds) {
		if d.TokenID == tokenID && d.Actor != clouds.ActorExporter && at.Sub(d.At) <= time.Minute {
			return true
		}
	}
	return false
}
