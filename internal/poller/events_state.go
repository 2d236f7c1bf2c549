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

// eventState is what has been counted of a tenant's provisioning log.
//
// It holds for every entry later than newest − eventOverlap: its id is in seen if
// and only if it was counted. Earlier entries are never read again.
type eventState struct {
	newest  time.Time // the time of the newest entry read
	seen    idSet
	tallies map[string]tally // by connection
}

// tally is one connection's counters, and by what its entries are known.
type tally struct {
	servicePrincipalID string
	jobID              string
	counts             model.EventCounts
	read               bool // at least one reading has been counted
}

func newEventState(begin time.Time) *eventState {
	return &eventState{newest: begin, seen: make(idSet), tallies: make(map[string]tally)}
}

// bind brings the tallies in line with the connections there are and what they
// resolve to by now. One that does not resolve at the moment keeps what it resolved
// to; one that resolves to another application begins at zero.
func (s *eventState) bind(of []model.Snapshot) {
	bound := make(map[string]tally, len(of))
	for _, snapshot := range of {
		known, found := s.tallies[snapshot.Connection]
		id := snapshot.Binding.ServicePrincipalID
		if id != "" && known.servicePrincipalID != id {
			known, found = tally{servicePrincipalID: id, counts: emptyCounts()}, true
		}
		if job := snapshot.Binding.JobID; job != "" {
			known.jobID = job
		}
		if found {
			bound[snapshot.Connection] = known
		}
	}
	s.tallies = bound
}

// counts returns the counters of every connection that has been read; they never change.
func (s *eventState) counts() map[string]model.EventCounts {
	counts := make(map[string]model.EventCounts, len(s.tallies))
	for connection, tally := range s.tallies {
		if tally.read {
			counts[connection] = tally.counts
		}
	}
	return counts
}

// window is a part of the log while it is being read. Nothing of it is in the state
// until it is committed.
type window struct {
	state         *eventState
	after, before time.Time
	newest        time.Time
	seen          idSet
	tallies       map[string]tally    // those that changed
	connections   map[string][]string // by service principal, in lower case
}

func (s *eventState) window(after, before time.Time) *window {
	w := &window{
		state: s, after: after, before: before, newest: s.newest,
		seen: make(idSet), tallies: make(map[string]tally), connections: make(map[string][]string),
	}
	for connection, tally := range s.tallies {
		id := strings.ToLower(tally.servicePrincipalID)
		w.connections[id] = append(w.connections[id], connection)
	}
	return w
}

// visit counts an entry unless it was counted before. An entry of an application that
// no connection resolves to yet is left for later. The log does not keep to the
// letter case of ids.
func (w *window) visit(event model.Event) error {
	if event.ID == "" || !event.At.After(w.after) || !event.At.Before(w.before) {
		return nil
	}
	if event.At.After(w.newest) {
		w.newest = event.At
	}
	id := hashID(event.ID)
	if w.state.seen.has(event.At, id) || w.seen.has(event.At, id) {
		return nil
	}
	for _, connection := range w.connections[strings.ToLower(event.ServicePrincipalID)] {
		current, changed := w.tallies[connection]
		if !changed {
			current = w.state.tallies[connection]
		}
		if current.jobID != "" && event.JobID != "" && !strings.EqualFold(current.jobID, event.JobID) {
			continue
		}
		if !changed {
			current.counts = clone(current.counts)
			w.tallies[connection] = current
		}
		count(current.counts, event)
		if w.seen.add(event.At, id) {
			w.seen.forget(event.At, w.newest)
		}
	}
	return nil
}

// commit makes the window part of the state. Our clock bounds the newest time, so
// that one entry with a date in the far future does not end the reading.
func (w *window) commit(now time.Time) {
	s := w.state
	if w.newest.After(now) {
		w.newest = now
	}
	if w.newest.After(s.newest) {
		s.newest = w.newest
	}
	maps.Copy(s.tallies, w.tallies)
	for connection, tally := range s.tallies {
		tally.read = true
		s.tallies[connection] = tally
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

// errorCodes is how many pairs of category and code a connection counts by name.
const errorCodes = 20

// other is the category and code of all errors beyond that, and of an action that
// Entra added later.
const other = "other"

const unknown = "unknown"

func emptyCounts() model.EventCounts {
	return model.EventCounts{
		Events: make(map[model.EventKey]uint64),
		Errors: make(map[model.EventErrorKey]uint64),
		Last:   make(map[string]time.Time),
	}
}

func clone(counts model.EventCounts) model.EventCounts {
	return model.EventCounts{
		Events: maps.Clone(counts.Events), Errors: maps.Clone(counts.Errors), Last: maps.Clone(counts.Last),
	}
}

func count(counts model.EventCounts, event model.Event) {
	key := model.EventKey{Action: event.Action, Status: event.Status}
	if !slices.Contains(model.EventActions(), key.Action) {
		key.Action = other
	}
	if !slices.Contains(model.EventStatuses(), key.Status) {
		key.Status = unknown
	}
	counts.Events[key]++
	if event.At.After(counts.Last[key.Status]) {
		counts.Last[key.Status] = event.At
	}
	if key.Status != "failure" {
		return
	}
	failed := model.EventErrorKey{Category: word(event.ErrorCategory), Code: word(event.ErrorCode)}
	if _, known := counts.Errors[failed]; !known && len(counts.Errors) >= errorCodes {
		failed = model.EventErrorKey{Category: other, Code: other}
	}
	counts.Errors[failed]++
}

// word makes a label value of what Entra sent.
func word(s string) string {
	const longest = 100
	if s == "" {
		return unknown
	}
	if len(s) > longest {
		s = s[:longest]
	}
	return strings.ToValidUTF8(s, "")
}

// idSet holds hashed ids by the minute of their entry.
type idSet map[int64]map[uint64]struct{}

const overlapMinutes = int64(eventOverlap / time.Minute)

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

// forget drops, while a window is being read, what is neither needed after it nor
// near the entries that are being visited: where pages meet, an entry may come twice.
func (s idSet) forget(visited, newest time.Time) {
	oldest, near := minuteOf(newest)-overlapMinutes-1, minuteOf(visited)
	maps.DeleteFunc(s, func(minute int64, _ map[uint64]struct{}) bool {
		return minute < oldest && (minute < near-overlapMinutes || minute > near+overlapMinutes)
	})
}

func (s idSet) prune(before time.Time) {
	maps.DeleteFunc(s, func(minute int64, _ map[uint64]struct{}) bool { return minute < minuteOf(before) })
}
