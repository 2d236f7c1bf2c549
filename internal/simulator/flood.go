package simulator

import (
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// BulkEvents is a long stretch of the provisioning log that is computed when it is read: a
// million entries take no memory. An entry appears at its time, without delay.
type BulkEvents struct {
	TenantID           string    `json:"tenant_id"`
	ServicePrincipalID string    `json:"service_principal_id"`
	JobID              string    `json:"job_id"`
	Count              int       `json:"count"`
	From               time.Time `json:"from"`
	Every              Duration  `json:"every"` // between two entries; 0: all at once

	serial int // of the floods, for ids
}

// AddFlood lets the log hold a flood of entries.
func (s *Simulator) AddFlood(flood BulkEvents) error {
	switch {
	case flood.TenantID == "" || flood.JobID == "" || flood.ServicePrincipalID == "":
		return errors.New("flood: tenant_id, service_principal_id and job_id are required")
	case flood.Count <= 0:
		return errors.New("flood: count must be positive")
	case flood.From.IsZero():
		return errors.New("flood: from is missing, an RFC 3339 time")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	flood.serial = len(s.floods) + 1
	s.floods = append(s.floods, flood)
	return nil
}

func (s *Simulator) floodsOf(tenantID string) []BulkEvents {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []BulkEvents
	for _, flood := range s.floods {
		if flood.TenantID == tenantID {
			list = append(list, flood)
		}
	}
	return list
}

// idPrefix begins the id of every entry; the rest is its index.
func (f BulkEvents) idPrefix() string {
	return fmt.Sprintf("f100d%03x-0000-4000-8000-", f.serial%0x1000)
}

// Entry computes the entry with this index. Of a hundred entries ninety succeed, five
// fail, three are skipped and two warn.
func (f BulkEvents) Entry(i int) clouds.LogEntry {
	actions := []string{"create", "update", "update", "update", "disable", "delete", "stagedDelete", "other"}
	entry := clouds.LogEntry{
		ID: f.idPrefix() + fmt.Sprintf("%012x", i), At: f.From.Add(time.Duration(i) * time.Duration(f.Every)),
		JobID: f.JobID, ServicePrincipalID: f.ServicePrincipalID,
		CycleID: fmt.Sprintf("c1c1e000-0000-4000-8000-%012x", i/500), ChangeID: fmt.Sprintf("c4a17e00-0000-4000-8000-%012x", i),
		Action: actions[i%len(actions)], Status: "success", Duration: 100 * time.Millisecond,
		SourceID: fmt.Sprintf("05e40000-0000-4000-8000-%012x", i%10000), SourceName: fmt.Sprintf("flood-%d@example.com", i%10000),
	}
	switch part := i % 100; {
	case part >= 98:
		entry.Status = "warning"
	case part >= 95:
		entry.Status = "skipped"
	case part >= 90:
		entry.Status, entry.ErrorCategory = "failure", "nonServiceFailure"
		entry.ErrorCode = fmt.Sprintf("SimulatedFailure%02d", i/100%30)
		entry.Reason = "The user " + entry.SourceName + " could not be created."
	}
	return entry
}

func (f BulkEvents) concerns(filter clouds.LogFilter) bool {
	return (filter.JobID == "" || filter.JobID == f.JobID) &&
		(filter.ServicePrincipalID == "" || filter.ServicePrincipalID == f.ServicePrincipalID)
}

// entries yields those that a filter's times admit, beginning near a position. The
// caller holds every entry to the exact condition.
func (f BulkEvents) entries(filter clouds.LogFilter, from position, descending bool) iter.Seq[clouds.LogEntry] {
	first, last := f.bounds(filter, from, descending)
	return func(yield func(clouds.LogEntry) bool) {
		for n := range max(last-first+1, 0) {
			i := first + n
			if descending {
				i = last - n
			}
			entry := f.Entry(i)
			tooEarly := !filter.After.IsZero() && !entry.At.After(filter.After)
			tooLate := !filter.Before.IsZero() && !entry.At.Before(filter.Before)
			if !tooEarly && !tooLate && !yield(entry) {
				return
			}
		}
	}
}

// bounds finds the entries that can matter without computing the others.
func (f BulkEvents) bounds(filter clouds.LogFilter, from position, descending bool) (first, last int) {
	first, last = 0, f.Count-1
	reached := -1 // the index near which the page before ended
	if f.Every > 0 {
		index := func(at time.Time) int { return int(at.Sub(f.From) / time.Duration(f.Every)) }
		if !filter.After.IsZero() {
			first = max(first, index(filter.After)-1)
		}
		if !filter.Before.IsZero() {
			last = min(last, index(filter.Before)+1)
		}
		if from.ID != "" {
			reached = index(from.At)
		}
	} else if rest, ours := strings.CutPrefix(from.ID, f.idPrefix()); ours {
		if index, err := strconv.ParseInt(rest, 16, 64); err == nil {
			reached = int(index)
		}
	}
	switch {
	case reached < 0:
		return first, last
	case descending:
		return first, min(last, reached+1)
	default:
		return max(first, reached-1), last
	}
}
