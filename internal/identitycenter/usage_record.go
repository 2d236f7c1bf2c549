package identitycenter

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// usageSchema is the version of the record below.
const usageSchema = 1

// usageRecord is a usageTracker as it is stored: ids of tokens and access keys, and times.
type usageRecord struct {
	Schema   int                  `json:"schema"`
	Read     time.Time            `json:"read"`
	Backlog  span                 `json:"backlog"`
	LastSeen map[string]time.Time `json:"last_seen"` // by access key id
	Probes   []probeRecord        `json:"probes"`
}

type probeRecord struct {
	TokenID string    `json:"token_id"`
	At      time.Time `json:"at"`
	KeyID   string    `json:"key_id,omitempty"`
	Unclear bool      `json:"unclear,omitempty"`
}

// UsageState returns what RestoreUsage continues from.
func (i *Instance) UsageState() []byte {
	u := &i.usage
	u.mu.Lock()
	defer u.mu.Unlock()
	record := usageRecord{Schema: usageSchema, Read: u.read, Backlog: u.backlog, LastSeen: u.lastSeen}
	for _, probe := range u.probes {
		record.Probes = append(record.Probes, probeRecord{probe.tokenID, probe.at, probe.keyID, probe.unclear})
	}
	content, err := json.Marshal(record)
	if err != nil {
		panic(err) // strings and times that were read from JSON
	}
	return content
}

// RestoreUsage continues from the state of another process, or from before a reload.
func (i *Instance) RestoreUsage(content []byte) error {
	var record usageRecord
	if err := json.Unmarshal(content, &record); err != nil || record.Schema != usageSchema {
		return fmt.Errorf("not a record of the tokens' usage of schema %d", usageSchema)
	}
	now, u := i.http.now(), &i.usage
	u.mu.Lock()
	defer u.mu.Unlock()
	if record.Read.After(now) || now.Sub(record.Read) > usageLookback {
		record.Read, record.Backlog = time.Time{}, span{} // as at the first poll
	}
	u.read, u.backlog, u.lastSeen = record.Read, record.Backlog, record.LastSeen
	var probes []ownProbe
	for _, probe := range record.Probes {
		probes = append(probes, ownProbe{probe.TokenID, probe.At, probe.KeyID, probe.Unclear})
	}
	for _, known := range u.probes { // those of this process that are not stored follow
		same := func(stored ownProbe) bool { return stored.tokenID == known.tokenID && stored.at.Equal(known.at) }
		if !slices.ContainsFunc(probes, same) {
			probes = append(probes, known)
		}
	}
	u.probes = probes[max(0, len(probes)-maxProbes):]
	return nil
}
