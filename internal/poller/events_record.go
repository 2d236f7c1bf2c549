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

// eventSchema is the version of the record below. A record of another version is
// left alone.
const eventSchema = 1

// eventRecord is an eventState as it is stored. It holds no personal data: of an
// entry there is only the hash of its id.
type eventRecord struct {
	Schema      int                    `json:"schema"`
	Newest      time.Time              `json:"newest"`
	Connections map[string]tallyRecord `json:"connections"`
	Seen        map[int64][]byte       `json:"seen"` // eight bytes per id, by minute since 1970
}

type tallyRecord struct {
	ServicePrincipalID string               `json:"service_principal_id"`
	JobID              string               `json:"job_id,omitempty"`
	Events             []eventCountRecord   `json:"events"`
	Errors             []errorCountRecord   `json:"errors"`
	Last               map[string]time.Time `json:"last"` // by status
}

type eventCountRecord struct {
	Action string `json:"action"`
	Status string `json:"status"`
	Count  uint64 `json:"count"`
}

type errorCountRecord struct {
	Category string `json:"category"`
	Code     string `json:"code"`
	Count    uint64 `json:"count"`
}

const idBytes = 8

func (s *eventState) encode() []byte {
	record := eventRecord{
		Schema: eventSchema, Newest: s.newest.UTC(),
		Connections: make(map[string]tallyRecord, len(s.tallies)), Seen: make(map[int64][]byte, len(s.seen)),
	}
	for connection, tally := range s.tallies {
		stored := tallyRecord{ServicePrincipalID: tally.servicePrincipalID, JobID: tally.jobID, Last: tally.counts.Last}
		for key, count := range tally.counts.Events {
			stored.Events = append(stored.Events, eventCountRecord{key.Action, key.Status, count})
		}
		for key, count := range tally.counts.Errors {
			stored.Errors = append(stored.Errors, errorCountRecord{key.Category, key.Code, count})
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

// decodeEvents reads a record; an error means that it is not one of ours, and then
// nothing of it is used.
func decodeEvents(content []byte) (*eventState, error) {
	var record eventRecord
	if err := json.Unmarshal(content, &record); err != nil {
		return nil, fmt.Errorf("not a record of provisioning events: %w", err)
	}
	if record.Schema != eventSchema {
		return nil, fmt.Errorf("record of provisioning events has schema %d, this version reads %d", record.Schema, eventSchema)
	}
	if record.Newest.IsZero() {
		return nil, errors.New("record of provisioning events does not say up to where it counted")
	}
	s := newEventState(record.Newest)
	for connection, stored := range record.Connections {
		counts := emptyCounts()
		for _, row := range stored.Events {
			if !slices.Contains(model.EventActions(), row.Action) || !slices.Contains(model.EventStatuses(), row.Status) {
				return nil, fmt.Errorf("record of provisioning events counts %q, %q, which do not exist", row.Action, row.Status)
			}
			counts.Events[model.EventKey{Action: row.Action, Status: row.Status}] = row.Count
		}
		for _, row := range stored.Errors {
			counts.Errors[model.EventErrorKey{Category: word(row.Category), Code: word(row.Code)}] = row.Count
		}
		if len(counts.Errors) > errorCodes+1 {
			return nil, fmt.Errorf("record of provisioning events has %d error codes, at most %d are kept", len(counts.Errors), errorCodes+1)
		}
		for status, at := range stored.Last {
			if slices.Contains(model.EventStatuses(), status) {
				counts.Last[status] = at
			}
		}
		s.tallies[connection] = tally{
			servicePrincipalID: stored.ServicePrincipalID, jobID: stored.JobID, counts: counts, read: true,
		}
	}
	for minute, packed := range record.Seen {
		if len(packed)%idBytes != 0 {
			return nil, fmt.Errorf("record of provisioning events has %d bytes of ids, not a multiple of %d", len(packed), idBytes)
		}
		ids := make(map[uint64]struct{}, len(packed)/idBytes)
		for id := range slices.Chunk(packed, idBytes) {
			ids[binary.BigEndian.Uint64(id)] = struct{}{}
		}
		s.seen[minute] = ids
	}
	return s, nil
}
