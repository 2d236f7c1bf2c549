package poller

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// eventSchema is the version of the record below. A record of another version is not read
// and not overwritten.
const eventSchema = 1

// eventRecord is an eventState as it is stored. It holds no personal data: of an entry
// there is only the hash of its id.
type eventRecord struct {
	Schema      int                       `json:"schema"`
	Newest      time.Time                 `json:"newest"`
	Settled     time.Time                 `json:"settled,omitzero"`
	Connections map[string]countersRecord `json:"connections"`
	Seen        map[int64][]byte          `json:"seen"` // eight bytes per id, by minute since 1970
}

type countersRecord struct {
	ServicePrincipalID string               `json:"service_principal_id"`
	JobID              string               `json:"job_id,omitempty"`
	Events             []eventCountRecord   `json:"events"`
	Errors             []errorCountRecord   `json:"errors"`
	Last               map[string]time.Time `json:"last"` // by status
}

type eventCountRecord struct {
	model.EventKey
	Count uint64 `json:"count"`
}

type errorCountRecord struct {
	model.EventErrorKey
	Count uint64 `json:"count"`
}

const idBytes = 8

func (s *eventState) encode() []byte {
	record := eventRecord{
		Schema: eventSchema, Newest: s.newest.UTC(), Settled: s.settled.UTC(),
		Connections: make(map[string]countersRecord, len(s.counters)), Seen: make(map[int64][]byte, len(s.seen)),
	}
	for connection, counters := range s.counters {
		stored := countersRecord{ServicePrincipalID: counters.servicePrincipalID, JobID: counters.jobID, Last: counters.counts.Last}
		for key, count := range counters.counts.Events {
			stored.Events = append(stored.Events, eventCountRecord{key, count})
		}
		for key, count := range counters.counts.Errors {
			stored.Errors = append(stored.Errors, errorCountRecord{key, count})
		}
		record.Connections[connection] = stored
	}
	for minute, ids := range s.seen {
		packed := make([]byte, 0, idBytes*len(ids))
		for _, id := range slices.Sorted(maps.Keys(ids)) {
			packed = binary.BigEndian.AppendUint64(packed, id)
		}
		record.Seen[minute] = packed
	}
	content, err := json.Marshal(record)
	if err != nil {
		panic(err) // strings, numbers and times that were read from JSON
	}
	return content
}

// decodeEvents reads a record. An error means that it is not one of ours; nothing of it is
// used then.
func decodeEvents(content []byte) (*eventState, error) {
	var record eventRecord
	if err := json.Unmarshal(content, &record); err != nil {
		return nil, fmt.Errorf("not a record of event counters: %w", err)
	}
	if record.Schema != eventSchema {
		return nil, fmt.Errorf("record of event counters has schema %d, this version reads %d", record.Schema, eventSchema)
	}
	if record.Newest.IsZero() {
		return nil, errors.New("record of event counters does not say up to where it counted")
	}
	s := newEventState(record.Newest)
	s.settled = record.Settled
	for connection, stored := range record.Connections {
		counts, err := stored.decode()
		if err != nil {
			return nil, err
		}
		s.counters[connection] = eventCounters{
			servicePrincipalID: stored.ServicePrincipalID, jobID: stored.JobID, counts: counts, read: true,
		}
	}
	for minute, packed := range record.Seen {
		if len(packed)%idBytes != 0 {
			return nil, fmt.Errorf("record of event counters has %d bytes of ids, not a multiple of %d", len(packed), idBytes)
		}
		ids := make(map[uint64]struct{}, len(packed)/idBytes)
		for id := range slices.Chunk(packed, idBytes) {
			ids[binary.BigEndian.Uint64(id)] = struct{}{}
		}
		s.seen[minute] = ids
	}
	return s, nil
}

func (r countersRecord) decode() (model.EventCounts, error) {
	counts := newEventCounts()
	for _, row := range r.Events {
		if !slices.Contains(model.EventActions(), row.Action) || !slices.Contains(model.EventStatuses(), row.Status) {
			return counts, fmt.Errorf("record of event counters has action %q and status %q, which do not exist", row.Action, row.Status)
		}
		counts.Events[row.EventKey] = row.Count
	}
	for _, row := range r.Errors {
		counts.Errors[model.EventErrorKey{Category: labelValue(row.Category), Code: labelValue(row.Code)}] = row.Count
	}
	if len(counts.Errors) > maxErrorCodes+1 {
		return counts, fmt.Errorf("record of event counters has %d error codes, at most %d are kept", len(counts.Errors), maxErrorCodes+1)
	}
	for status, at := range r.Last {
		if slices.Contains(model.EventStatuses(), status) {
			counts.Last[status] = at
		}
	}
	return counts, nil
}
