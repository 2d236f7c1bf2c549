package harness

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// CheckInvariants reads the truth of the world, never what the tool says of itself, and returns
// what was violated of the invariants (ROTATION §9).
func CheckInvariants(o Result) []string {
	l := o.Harness
	l.mu.Lock()
	defer l.mu.Unlock()
	j := &invariants{o: o, clouds: l.Clouds}
	j.outages()
	j.deletions()
	j.saves()
	j.starts()
	j.rateLimit()
	j.outcomes()
	j.values()
	if l.maxInFlight > 1 && len(l.ExtraProcesses) == 0 { // one that sleeps is not in flight; the witness looks at the leases
		j.add("I5: %d acts were in flight at once", l.maxInFlight)
	}
	if l.rateExceeded != "" {
		j.add("more than %d calls within a minute, the last of them %s", callsPerMinute, l.rateExceeded)
	}
	return j.violations
}

type invariants struct {
	o          Result
	clouds     *clouds.Model
	violations []string
}

func (j *invariants) add(format string, args ...any) {
	j.violations = append(j.violations, fmt.Sprintf(format, args...))
}

// outages is I1: nothing that we did made the token that Entra holds invalid. The one
// admitted exception must have been ended by the rescue.
func (j *invariants) outages() {
	for _, gap := range j.clouds.Outages() {
		if gap.CausedBy != clouds.ActorExporter {
			continue
		}
		if j.o.Harness.SaveMayBeDropped && gap.Cause == clouds.CauseDeleted && (!gap.Ended.IsZero() || j.o.Outcome == "blocked entra_holds_dead_token") {
			continue
		}
		if j.overwritten(gap.TokenID, gap.Began) && !gap.Ended.IsZero() && gap.Seconds(gap.Ended) <= 300 {
			continue
		}
		if gap.Cause == clouds.CauseSaved && j.recreated(gap.Began) {
			continue
		}
		if gap.Cause == clouds.CauseSaved && j.deletedByOther(gap.TokenID, gap.Began) && !gap.Ended.IsZero() {
			continue // a person deleted it between our last look and the save, and it was put right
		}
		j.add("I1: %s", gap)
	}
}

// deletions is I2: each has an intent in the journal, and leaves a valid token.
func (j *invariants) deletions() {
	for d := range clouds.EntriesOf[clouds.Deletion](j.clouds) {
		if d.Actor != clouds.ActorExporter {
			continue
		}
		if !slices.Contains(j.o.Harness.deletionIntents, d.TokenID) {
			j.add("I2: token %s was deleted without an intent", d.TokenID)
		}
		if d.Remaining == 0 && !d.Expired && !j.expired(time.Minute, d.At) && !j.anyDeletedByOther(d.At) {
			j.add("I2: token %s was the last valid one", d.TokenID)
		}
		if len(d.WasSaved)+len(d.WasCached) > 0 && !d.Expired && !j.o.Harness.SaveMayBeDropped && !j.overwritten(d.TokenID, d.At) {
			j.add("I1: %s", d)
		}
	}
}

// saves: the Tenant URL stays, no key comes or goes, and no dead token is saved.
func (j *invariants) saves() {
	for s := range clouds.EntriesOf[clouds.Save](j.clouds) {
		if s.Actor != clouds.ActorExporter {
			continue
		}
		if address, _, _ := strings.Cut(s.AddressAfter, "?"); s.AddressAfter != s.AddressBefore && j.clouds.Quirks().BaseAddress != clouds.AddressMasked || address != j.o.Harness.Connection.SCIMEndpoint {
			j.add("I7: the Tenant URL was changed from %q to %q", s.AddressBefore, s.AddressAfter)
		}
		if len(s.Added)+len(s.Overwritten) > 0 || (len(s.Lost) > 0) {
			j.add("I7: saving added %v, lost %v, masked %v", s.Added, s.Lost, s.Overwritten)
		}
	}
}

// starts is I7: a job is started only out of a quarantine for its credentials.
func (j *invariants) starts() {
	count := 0
	for s := range clouds.EntriesOf[clouds.Start](j.clouds) {
		if s.Actor != clouds.ActorExporter {
			continue
		}
		count++
		if s.StoppedBy != "" || s.Schedule != model.ScheduleActive || s.Quarantine == nil || s.Quarantine.Reason != model.QuarantineReasonException || s.ResetScope != "" {
			j.add("I7: %s", s)
		}
	}
	if count > 2 {
		j.add("I7: the job was started %d times", count)
	}
}

// rateLimit is I6.
func (j *invariants) rateLimit() {
	var at []time.Time
	for c := range clouds.EntriesOf[clouds.Creation](j.clouds) {
		if c.Actor == clouds.ActorExporter {
			at = append(at, c.At)
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
			j.add("I6: %d tokens were created within a day, %d within a week", day, week)
		}
	}
}

// outcomes is I3.
func (j *invariants) outcomes() {
	l := j.o.Harness
	listed := l.ListedTokens()
	saved := j.clouds.SavedToken(l.Connection.ServicePrincipalID)
	switch {
	case j.o.Outcome == "done" && j.tooLate():
	case j.o.Outcome == "done":
		if len(listed) != 1 || listed[0] != saved || j.clouds.TokenAccepted(saved) != clouds.AcceptedByAll {
			j.add("I3: done, but tokens %v are listed and Entra holds %q (accepted by %s)", listed, saved, j.clouds.TokenAccepted(saved))
		}
		j.exclusive()
	case j.o.Outcome == "aborted":
		own := slices.DeleteFunc(listed, func(id string) bool { return !slices.Contains(l.Connection.TokenIDs, id) && !j.ours(id) })
		if len(own) > l.initialTokens && !l.Adopted {
			j.add("I3: aborted with %d tokens, there were %d", len(own), l.initialTokens)
		}
	case strings.HasPrefix(j.o.Outcome, "blocked"), strings.HasPrefix(j.o.Outcome, "waiting"):
		if id := j.o.newToken(); j.ours(id) && !j.o.Harness.ValueLost && slices.Contains(listed, id) && !slices.Contains(l.Store.Values(), j.clouds.TokenValue(id)) {
			j.add("I3: %s, and the value of token %s is lost", j.o.Outcome, id)
		}
	case l.FaultLasts && strings.HasPrefix(j.o.Outcome, "running"):
	default:
		j.add("I3: it never ended: %s", j.o.Outcome)
	}
}

// ours tells whether the exporter created a token.
func (j *invariants) ours(id string) bool {
	for c := range clouds.EntriesOf[clouds.Creation](j.clouds) {
		if c.TokenID == id && c.Actor == clouds.ActorExporter {
			return true
		}
	}
	return false
}

func (o Result) newToken() string {
	if o.Rotation == nil {
		return ""
	}
	return o.Rotation.NewTokenID
}

// ListedTokens are the tokens that AWS would list to somebody without any lag.
func (l *Harness) ListedTokens() []string {
	deleted := map[string]bool{}
	for d := range clouds.EntriesOf[clouds.Deletion](l.Clouds) {
		deleted[d.TokenID] = true
	}
	ids := slices.Clone(l.Connection.TokenIDs)
	for c := range clouds.EntriesOf[clouds.Creation](l.Clouds) {
		if c.Tenant == l.Connection.ProvisioningTenantID {
			ids = append(ids, c.TokenID)
		}
	}
	return slices.DeleteFunc(ids, func(id string) bool { return deleted[id] })
}

// values is I4: no value outside of the vault.
func (j *invariants) values() {
	l := j.o.Harness
	places := map[string]string{"the log or story": l.timelineLocked()}
	for key, r := range l.Store.Records {
		places["the journal "+key] = string(r.Content)
	}
	for _, id := range append(l.ListedTokens(), l.Connection.TokenIDs...) {
		value := j.clouds.TokenValue(id)
		for place, text := range places {
			if value != "" && strings.Contains(text, value) {
				j.add("I4: the value of token %s is in %s", id, place)
			}
		}
	}
}

// exclusive is P4: after the last deletion a good cycle has begun and ended.
func (j *invariants) exclusive() {
	var last time.Time
	for d := range clouds.EntriesOf[clouds.Deletion](j.clouds) {
		if !d.Expired {
			last = d.At
		}
	}
	var ended time.Time // the rotation
	if j.o.Rotation != nil {
		ended = j.o.Rotation.Ended
	}
	for c := range clouds.EntriesOf[clouds.CycleEnded](j.clouds) {
		if c.Cycle.Began.After(last) && !c.At.After(ended) && c.Cycle.State != model.CycleFailed {
			return
		}
	}
	j.add("P4: done at %s, and no good cycle began after the last deletion at %s", ended.Format(time.TimeOnly), last.Format(time.TimeOnly))
}

// overwritten tells whether somebody else saved a token after we had saved another one for
// the last time before this moment. Nothing fences a person: then all that can be asked
// is that the rescue ends it at once.
func (j *invariants) overwritten(tokenID string, at time.Time) bool {
	by := clouds.Actor("")
	for s := range clouds.EntriesOf[clouds.Save](j.clouds) {
		if !s.At.After(at) && s.After == tokenID {
			by = s.Actor
		} else if !s.At.After(at) {
			by = ""
		}
	}
	return by != "" && by != clouds.ActorExporter && by != clouds.ActorSetup
}

// expired tells whether some token's life was cut short in so much time before this
// moment: then no list that was read before shows it.
func (j *invariants) expired(within time.Duration, at time.Time) bool {
	for note := range clouds.EntriesOf[clouds.Annotation](j.clouds) {
		if strings.HasPrefix(note.Text, "let token ") && !note.At.After(at) && at.Sub(note.At) <= within {
			return true
		}
	}
	return false
}

// tooLate tells whether somebody else changed something after the last look that a
// rotation takes before it ends as done, or afterwards.
func (j *invariants) tooLate() bool {
	if j.o.Rotation == nil {
		return false
	}
	lastLook := j.o.Rotation.Ended.Add(-2 * time.Minute)
	return slices.ContainsFunc(j.clouds.Timeline(), func(record clouds.Entry) bool {
		if record.Stamped().Actor == clouds.ActorExporter || record.Stamped().At.Before(lastLook) {
			return false
		}
		switch r := record.(type) {
		case clouds.Creation, clouds.Deletion, clouds.Save, clouds.TenantRecreated, clouds.JobReplaced:
			return true
		case clouds.Annotation:
			return strings.HasPrefix(r.Text, "let token ")
		default:
			return false
		}
	})
}

// recreated tells whether the provisioning tenant, and all its tokens with it, was replaced
// in the minute before this moment.
func (j *invariants) recreated(at time.Time) bool {
	for r := range clouds.EntriesOf[clouds.TenantRecreated](j.clouds) {
		if !r.At.After(at) && at.Sub(r.At) <= time.Minute {
			return true
		}
	}
	return false
}

// anyDeletedByOther tells whether somebody else took any token away in the minute before this moment:
// the lists on which a deletion rests may still show it.
func (j *invariants) anyDeletedByOther(at time.Time) bool {
	for d := range clouds.EntriesOf[clouds.Deletion](j.clouds) {
		if d.Actor != clouds.ActorExporter && !d.At.After(at) && at.Sub(d.At) <= listFresh {
			return true
		}
	}
	return false
}

// deletedByOther tells whether somebody else took a token away in the minute before this moment.
func (j *invariants) deletedByOther(tokenID string, at time.Time) bool {
	for d := range clouds.EntriesOf[clouds.Deletion](j.clouds) {
		if d.TokenID == tokenID && d.Actor != clouds.ActorExporter && at.Sub(d.At) <= time.Minute {
			return true
		}
	}
	return false
}
