package rotate_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// judge reads the truth of the world, never what the tool says of itself, and returns
// what was violated of the invariants (ROTATION §9).
func judge(o outcome) []string {
	l := o.lab
	l.mu.Lock()
	defer l.mu.Unlock()
	j := &verdicts{o: o, world: l.world}
	j.gaps()
	j.deletions()
	j.saves()
	j.starts()
	j.budget()
	j.endings()
	j.values()
	if l.together > 1 && len(l.extra) == 0 { // one that sleeps is not in flight; the witness looks at the leases
		j.say("I5: %d acts were in flight at once", l.together)
	}
	if l.hammered != "" {
		j.say("more than %d calls within a minute, the last of them %s", callsPerMinute, l.hammered)
	}
	return j.list
}

type verdicts struct {
	o     outcome
	world *clouds.Model
	list  []string
}

func (j *verdicts) say(format string, args ...any) {
	j.list = append(j.list, fmt.Sprintf(format, args...))
}

// gaps is I1: nothing that we did made the token that Entra holds invalid. The one
// admitted exception must have been ended by the rescue.
func (j *verdicts) gaps() {
	for _, gap := range j.world.Outages() {
		if gap.CausedBy != clouds.ActorExporter {
			continue
		}
		if j.o.lab.dropped && gap.Cause == clouds.CauseDeleted && (!gap.Ended.IsZero() || j.o.ending == "blocked entra_holds_dead_token") {
			continue
		}
		if j.overtaken(gap.TokenID, gap.Began) && !gap.Ended.IsZero() && gap.Seconds(gap.Ended) <= 300 {
			continue
		}
		if gap.Cause == clouds.CauseSaved && j.recreated(gap.Began) {
			continue
		}
		if gap.Cause == clouds.CauseSaved && j.vanished(gap.TokenID, gap.Began) && !gap.Ended.IsZero() {
			continue // a person deleted it between our last look and the save, and it was put right
		}
		j.say("I1: %s", gap)
	}
}

// deletions is I2: each has an intent in the journal, and leaves a valid token.
func (j *verdicts) deletions() {
	for d := range clouds.EntriesOf[clouds.Deletion](j.world) {
		if d.Actor != clouds.ActorExporter {
			continue
		}
		if !slices.Contains(j.o.lab.intended, d.TokenID) {
			j.say("I2: token %s was deleted without an intent", d.TokenID)
		}
		if d.Remaining == 0 && !d.Expired && !j.expired(time.Minute, d.At) && !j.taken(d.At) {
			j.say("I2: token %s was the last valid one", d.TokenID)
		}
		if len(d.WasSaved)+len(d.WasCached) > 0 && !d.Expired && !j.o.lab.dropped && !j.overtaken(d.TokenID, d.At) {
			j.say("I1: %s", d)
		}
	}
}

// saves: the Tenant URL stays, no key comes or goes, and no dead token is saved.
func (j *verdicts) saves() {
	for s := range clouds.EntriesOf[clouds.Save](j.world) {
		if s.Actor != clouds.ActorExporter {
			continue
		}
		if address, _, _ := strings.Cut(s.AddressAfter, "?"); s.AddressAfter != s.AddressBefore && j.world.Quirks().BaseAddress != clouds.AddressMasked || address != j.o.lab.at.SCIMEndpoint {
			j.say("I7: the Tenant URL was changed from %q to %q", s.AddressBefore, s.AddressAfter)
		}
		if len(s.Added)+len(s.Overwritten) > 0 || (len(s.Lost) > 0) {
			j.say("I7: saving added %v, lost %v, masked %v", s.Added, s.Lost, s.Overwritten)
		}
	}
}

// starts is I7: a job is started only out of a quarantine for its credentials.
func (j *verdicts) starts() {
	count := 0
	for s := range clouds.EntriesOf[clouds.Start](j.world) {
		if s.Actor != clouds.ActorExporter {
			continue
		}
		count++
		if s.StoppedBy != "" || s.Schedule != model.ScheduleActive || s.Quarantine == nil || s.Quarantine.Reason != model.QuarantineReasonException || s.ResetScope != "" {
			j.say("I7: %s", s)
		}
	}
	if count > 2 {
		j.say("I7: the job was started %d times", count)
	}
}

// budget is I6.
func (j *verdicts) budget() {
	var at []time.Time
	for c := range clouds.EntriesOf[clouds.Creation](j.world) {
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
			j.say("I6: %d tokens were created within a day, %d within a week", day, week)
		}
	}
}

// endings is I3.
func (j *verdicts) endings() {
	l := j.o.lab
	listed := l.listed()
	saved := j.world.SavedToken(l.at.ServicePrincipalID)
	switch {
	case j.o.ending == "done" && j.tooLate():
	case j.o.ending == "done":
		if len(listed) != 1 || listed[0] != saved || j.world.TokenAccepted(saved) != clouds.AcceptedByAll {
			j.say("I3: done, but tokens %v are listed and Entra holds %q (accepted by %s)", listed, saved, j.world.TokenAccepted(saved))
		}
		j.exclusive()
	case j.o.ending == "aborted":
		own := slices.DeleteFunc(listed, func(id string) bool { return !slices.Contains(l.at.TokenIDs, id) && !j.ours(id) })
		if len(own) > l.atStart && !l.adopted {
			j.say("I3: aborted with %d tokens, there were %d", len(own), l.atStart)
		}
	case strings.HasPrefix(j.o.ending, "blocked"), strings.HasPrefix(j.o.ending, "waiting"):
		if id := j.o.newToken(); j.ours(id) && !j.o.lab.valueLost && slices.Contains(listed, id) && !slices.Contains(l.memory.values(), j.world.TokenValue(id)) {
			j.say("I3: %s, and the value of token %s is lost", j.o.ending, id)
		}
	case l.lasting && strings.HasPrefix(j.o.ending, "running"):
	default:
		j.say("I3: it never ended: %s", j.o.ending)
	}
}

// ours tells whether the exporter created a token.
func (j *verdicts) ours(id string) bool {
	for c := range clouds.EntriesOf[clouds.Creation](j.world) {
		if c.TokenID == id && c.Actor == clouds.ActorExporter {
			return true
		}
	}
	return false
}

func (o outcome) newToken() string {
	if o.last == nil {
		return ""
	}
	return o.last.NewTokenID
}

// listed are the tokens that AWS would list to somebody without any lag.
func (l *lab) listed() []string {
	deleted := map[string]bool{}
	for d := range clouds.EntriesOf[clouds.Deletion](l.world) {
		deleted[d.TokenID] = true
	}
	ids := slices.Clone(l.at.TokenIDs)
	for c := range clouds.EntriesOf[clouds.Creation](l.world) {
		if c.Tenant == l.at.ProvisioningTenantID {
			ids = append(ids, c.TokenID)
		}
	}
	return slices.DeleteFunc(ids, func(id string) bool { return deleted[id] })
}

// values is I4: no value outside of the vault.
func (j *verdicts) values() {
	l := j.o.lab
	places := map[string]string{"the log or story": l.storyLocked()}
	for key, r := range l.memory.records {
		places["the journal "+key] = string(r.content)
	}
	for _, id := range append(l.listed(), l.at.TokenIDs...) {
		value := j.world.TokenValue(id)
		for place, text := range places {
			if value != "" && strings.Contains(text, value) {
				j.say("I4: the value of token %s is in %s", id, place)
			}
		}
	}
}

// exclusive is P4: after the last deletion a good cycle has begun and ended.
func (j *verdicts) exclusive() {
	var last time.Time
	for d := range clouds.EntriesOf[clouds.Deletion](j.world) {
		if !d.Expired {
			last = d.At
		}
	}
	var ended time.Time // the rotation
	if j.o.last != nil {
		ended = j.o.last.Ended
	}
	for c := range clouds.EntriesOf[clouds.CycleEnded](j.world) {
		if c.Cycle.Began.After(last) && !c.At.After(ended) && c.Cycle.State != model.CycleFailed {
			return
		}
	}
	j.say("P4: done at %s, and no good cycle began after the last deletion at %s", ended.Format(time.TimeOnly), last.Format(time.TimeOnly))
}

// overtaken tells whether somebody else saved a token after we had saved another one for
// the last time before this moment. Nothing fences a person: then all that can be asked
// is that the rescue ends it at once.
func (j *verdicts) overtaken(tokenID string, at time.Time) bool {
	by := clouds.Actor("")
	for s := range clouds.EntriesOf[clouds.Save](j.world) {
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
func (j *verdicts) expired(within time.Duration, at time.Time) bool {
	for note := range clouds.EntriesOf[clouds.Annotation](j.world) {
		if strings.HasPrefix(note.Text, "let token ") && !note.At.After(at) && at.Sub(note.At) <= within {
			return true
		}
	}
	return false
}

// tooLate tells whether somebody else changed something after the last look that a
// rotation takes before it ends as done, or afterwards.
func (j *verdicts) tooLate() bool {
	if j.o.last == nil {
		return false
	}
	lastLook := j.o.last.Ended.Add(-2 * time.Minute)
	return slices.ContainsFunc(j.world.Timeline(), func(record clouds.Entry) bool {
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
func (j *verdicts) recreated(at time.Time) bool {
	for r := range clouds.EntriesOf[clouds.TenantRecreated](j.world) {
		if !r.At.After(at) && at.Sub(r.At) <= time.Minute {
			return true
		}
	}
	return false
}

// taken tells whether somebody else took any token away in the minute before this moment:
// the lists on which a deletion rests may still show it.
func (j *verdicts) taken(at time.Time) bool {
	for d := range clouds.EntriesOf[clouds.Deletion](j.world) {
		if d.Actor != clouds.ActorExporter && !d.At.After(at) && at.Sub(d.At) <= listFresh {
			return true
		}
	}
	return false
}

// vanished tells whether somebody else took a token away in the minute before this moment.
func (j *verdicts) vanished(tokenID string, at time.Time) bool {
	for d := range clouds.EntriesOf[clouds.Deletion](j.world) {
		if d.TokenID == tokenID && d.Actor != clouds.ActorExporter && at.Sub(d.At) <= time.Minute {
			return true
		}
	}
	return false
}
