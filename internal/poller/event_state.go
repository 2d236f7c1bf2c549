package poller

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// eventOverlap is how far each read goes back behind the newest entry seen: entries appear
// five to ten minutes late.
// https://learn.microsoft.com/entra/identity/monitoring-health/howto-analyze-provisioning-logs
const eventOverlap = 20 * time.Minute

// eventState is what was counted of a tenant's provisioning log.
//
// It holds for every entry later than readFrom: its id is in seen if and only if it was
// counted. Earlier entries are never read again.
type eventState struct {
	newest   time.Time // the time of the newest entry read
	settled  time.Time // up to here the ids within the overlap are forgotten; zero: none are
	seen     idSet
	counters map[string]eventCounters // by connection
}

// eventCounters are one connection's counters, with the ids that its entries carry.
type eventCounters struct {
	servicePrincipalID string
	jobID              string
	counts             model.EventCounts
	read               bool // at least one read was counted
}

func newEventState(begin time.Time) *eventState {
	return &eventState{newest: begin, seen: make(idSet), counters: make(map[string]eventCounters)}
}

// readFrom is where the next read begins.
func (s *eventState) readFrom() time.Time {
	return slices.MaxFunc([]time.Time{s.newest.Add(-eventOverlap), s.settled}, time.Time.Compare)
}

// maxEventRecord is how long a record may be. A little less than what fits into an item of
// DynamoDB, since the claim is added.
const maxEventRecord = 396 << 10

// fit returns the record. If it is too long, fit forgets the ids of the oldest minutes: in
// a flood of entries, the overlap is shorter. The minute that is being read stays.
func (s *eventState) fit() []byte {
	content := s.encode()
	for _, minute := range slices.Sorted(maps.Keys(s.seen)) {
		if len(content) <= maxEventRecord || minute >= minuteOf(nextPosition(s.newest)) {
			break // if it is too long, the store refuses it, and it is in memory until it is shorter
		}
		delete(s.seen, minute)
		s.settled = time.Unix(60*(minute+1), -1)
		content = s.encode()
	}
	return content
}

// updateBindings keeps the counters of the connections that there are, by what they
// resolve to now. One that does not resolve at the moment keeps what it resolved to. One
// that resolves to another application starts at zero.
func (s *eventState) updateBindings(targets []model.Snapshot) {
	updated := make(map[string]eventCounters, len(targets))
	for _, snapshot := range targets {
		counters, found := s.counters[snapshot.Connection]
		id := snapshot.Binding.ServicePrincipalID
		if id != "" && counters.servicePrincipalID != id {
			counters, found = eventCounters{servicePrincipalID: id, counts: newEventCounts()}, true
		}
		if job := snapshot.Binding.JobID; job != "" {
			counters.jobID = job
		}
		if found {
			updated[snapshot.Connection] = counters
		}
	}
	s.counters = updated
}

// eventWindow is a part of the log while it is being read. Nothing of it is in the state
// until it is committed.
type eventWindow struct {
	state         *eventState
	after, before time.Time
	newest        time.Time
	first, last   time.Time // of the entries in the order of the visits
	unordered     bool      // an entry was older than the one before it
	seen          idSet
	counters      map[string]eventCounters // those that changed
	connections   map[string][]string      // by service principal, in lower case
}

func newEventWindow(state *eventState, after, before time.Time) *eventWindow {
	w := &eventWindow{
		state: state, after: after, before: before, newest: state.newest,
		seen: make(idSet), counters: make(map[string]eventCounters), connections: make(map[string][]string),
	}
	for connection, counters := range state.counters {
		id := strings.ToLower(counters.servicePrincipalID)
		w.connections[id] = append(w.connections[id], connection)
	}
	return w
}

// visit counts an entry unless it was counted before. An entry of an application that no
// connection resolves to yet is left for later. The log does not keep the letter case of
// ids.
func (w *eventWindow) visit(event model.Event) error {
	if event.ID == "" || !event.At.After(w.after) || !event.At.Before(w.before) {
		return nil
	}
	if w.first.IsZero() {
		w.first = event.At
	}
	w.unordered = w.unordered || event.At.Before(w.last)
	w.last = event.At
	if event.At.After(w.newest) {
		w.newest = event.At
	}
	id := hashID(event.ID)
	if w.state.seen.has(event.At, id) || w.seen.has(event.At, id) {
		return nil
	}
	for _, connection := range w.connections[strings.ToLower(event.ServicePrincipalID)] {
		current, changed := w.counters[connection]
		if !changed {
			current = w.state.counters[connection]
		}
		if current.jobID != "" && event.JobID != "" && !strings.EqualFold(current.jobID, event.JobID) {
			continue
		}
		if !changed {
			current.counts = model.EventCounts{ // published counts never change
				Events: maps.Clone(current.counts.Events), Errors: maps.Clone(current.counts.Errors), Last: maps.Clone(current.counts.Last),
			}
			w.counters[connection] = current
		}
		countEvent(current.counts, event)
		if w.seen.add(event.At, id) {
			w.seen.forget(event.At, w.newest)
		}
	}
	return nil
}

// readInOrder returns the time up to which a window that could not be read to its end is
// complete. Two entries of different times show that the log comes oldest first.
func (w *eventWindow) readInOrder() (time.Time, bool) {
	return w.last, !w.unordered && w.first.Before(w.last)
}

// commit makes the window part of the state. Our clock bounds the newest time, so that one
// entry with a date in the far future does not end the reading.
func (w *eventWindow) commit(now time.Time) {
	s := w.state
	if w.newest.After(now) {
		w.newest = now
	}
	if w.newest.After(s.newest) {
		s.newest = w.newest
	}
	maps.Copy(s.counters, w.counters)
	for connection, counters := range s.counters {
		counters.read = true
		s.counters[connection] = counters
	}
	for minute, ids := range w.seen {
		if s.seen[minute] == nil {
			s.seen[minute] = ids
		} else {
			maps.Copy(s.seen[minute], ids)
		}
	}
	s.seen.prune(s.newest.Add(-eventOverlap))
}

const (
	// maxErrorCodes is how many pairs of category and code a connection counts by name.
	maxErrorCodes = 20
	// otherLabel is the category and code of all errors beyond that, and of an action that
	// Entra added later.
	otherLabel   = "other"
	unknownLabel = "unknown"
)

func newEventCounts() model.EventCounts {
	return model.EventCounts{
		Events: make(map[model.EventKey]uint64),
		Errors: make(map[model.EventErrorKey]uint64),
		Last:   make(map[string]time.Time),
	}
}

func countEvent(counts model.EventCounts, event model.Event) {
	key := model.EventKey{Action: event.Action, Status: event.Status}
	if !slices.Contains(model.EventActions(), key.Action) {
		key.Action = otherLabel
	}
	if !slices.Contains(model.EventStatuses(), key.Status) {
		key.Status = unknownLabel
	}
	counts.Events[key]++
	if event.At.After(counts.Last[key.Status]) {
		counts.Last[key.Status] = event.At
	}
	if key.Status != "failure" {
		return
	}
	failed := model.EventErrorKey{Category: labelValue(event.ErrorCategory), Code: labelValue(event.ErrorCode)}
	if _, known := counts.Errors[failed]; !known && len(counts.Errors) >= maxErrorCodes {
		failed = model.EventErrorKey{Category: otherLabel, Code: otherLabel}
	}
	counts.Errors[failed]++
}

// labelValue makes a metric label's value of what Entra sent.
func labelValue(s string) string {
	const maxBytes = 100
	if s == "" {
		return unknownLabel
	}
	if len(s) > maxBytes {
		s = s[:maxBytes]
	}
	return strings.ToValidUTF8(s, "")
}

// idSet holds hashed ids by the minute of their entry.
type idSet map[int64]map[uint64]struct{}

func minuteOf(t time.Time) int64 { return t.Unix() / 60 }

// hashID shortens an id to eight bytes: of a million ids, two are the same with a
// probability of less than one in ten million.
func hashID(id string) uint64 {
	sum := sha256.Sum256([]byte(id))
	return binary.BigEndian.Uint64(sum[:])
}

func (s idSet) has(at time.Time, id uint64) bool {
	_, found := s[minuteOf(at)][id]
	return found
}

// add reports whether it began a new minute.
func (s idSet) add(at time.Time, id uint64) bool {
	minute := minuteOf(at)
	ids, found := s[minute]
	if !found {
		ids = make(map[uint64]struct{})
		s[minute] = ids
	}
	ids[id] = struct{}{}
	return !found
}

// forget drops, while a window is being read, what is neither needed after it nor near the
// entry just visited: where pages meet, an entry may come twice.
func (s idSet) forget(visited, newest time.Time) {
	const overlap = int64(eventOverlap / time.Minute)
	oldest, near := minuteOf(newest)-overlap-1, minuteOf(visited)
	maps.DeleteFunc(s, func(minute int64, _ map[uint64]struct{}) bool {
		return minute < oldest && (minute < near-overlap || minute > near+overlap)
	})
}

func (s idSet) prune(before time.Time) {
	maps.DeleteFunc(s, func(minute int64, _ map[uint64]struct{}) bool { return minute < minuteOf(before) })
}
