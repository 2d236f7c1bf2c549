package poller

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
)

// snapshotStore holds the latest snapshot of every connection. A snapshot is replaced as a
// whole and never changed, so that a caller may keep it.
type snapshotStore struct {
	mu         sync.RWMutex
	snapshots  []model.Snapshot
	index      map[string]int    // of the snapshots, by connection; never changes
	identities map[string]string // by connection; never changes
	owners     map[resource]int  // how many connections resolve to it
}

func newSnapshotStore(connections []Connection) *snapshotStore {
	s := &snapshotStore{index: make(map[string]int), identities: make(map[string]string), owners: make(map[resource]int)}
	for i, connection := range connections {
		s.index[connection.Name], s.identities[connection.Name] = i, connection.Identity
		s.snapshots = append(s.snapshots, model.Snapshot{
			Connection: connection.Name, EntraTenant: connection.Tenant, Binding: connection.Binding,
		})
	}
	s.markAmbiguous()
	return s
}

// addSource adds the status of a source before its first poll.
func (s *snapshotStore) addSource(targets []int, source Source) {
	for _, i := range targets {
		s.snapshots[i].Sources = append(s.snapshots[i].Sources, model.SourceStatus{Source: source.Name, Interval: source.Interval})
	}
}

// inheritSource copies what a source gave the same connections before a reload.
func (s *snapshotStore) inheritSource(targets []int, name model.Source, old *snapshotStore) {
	s.update(targets, name, func(next *model.Snapshot, status *model.SourceStatus) {
		before, _ := old.byName(next.Connection)
		kept, found := before.Status(name)
		if !found || old.identities[next.Connection] != s.identities[next.Connection] {
			return
		}
		copySource(name, next, before)
		next.Binding = mergeBinding(before.Binding, next.Binding)
		kept.Interval = status.Interval
		*status = kept
	})
}

func (s *snapshotStore) all() []model.Snapshot {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.snapshots)
}

func (s *snapshotStore) byName(connection string) (model.Snapshot, bool) {
	i, found := s.index[connection]
	if !found {
		return model.Snapshot{}, false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.snapshots[i], true
}

func (s *snapshotStore) list(targets []int) []model.Snapshot {
	s.mu.RLock()
	defer s.mu.RUnlock()
	snapshots := make([]model.Snapshot, 0, len(targets))
	for _, i := range targets {
		snapshots = append(snapshots, s.snapshots[i])
	}
	return snapshots
}

// publish stores the result of one poll.
func (s *snapshotStore) publish(targets []int, name model.Source, result Result, err error, at time.Time) {
	s.update(targets, name, func(snapshot *model.Snapshot, status *model.SourceStatus) {
		if result.Apply != nil {
			result.Apply(snapshot)
		}
		status.LastAttempt, status.Err, status.Off = at, err, false
		switch {
		case err == nil:
			status.LastSuccess = cmp.Or(result.ReadAt, at)
		case errors.Is(err, model.ErrSourceOff):
			copySource(name, snapshot, model.Snapshot{})
			status.LastAttempt, status.LastSuccess, status.Err, status.Off = time.Time{}, time.Time{}, nil, true
		default:
			status.Errors = maps.Clone(status.Errors)
			if status.Errors == nil {
				status.Errors = make(map[model.Reason]uint64)
			}
			status.Errors[model.ReasonOf(err)]++
		}
	})
}

// update replaces the targets' snapshots, each with the status of one source.
func (s *snapshotStore) update(targets []int, name model.Source, edit func(*model.Snapshot, *model.SourceStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rebound := false
	for _, i := range targets {
		next := s.snapshots[i]
		next.Sources = slices.Clone(next.Sources)
		at := slices.IndexFunc(next.Sources, func(status model.SourceStatus) bool { return status.Source == name })
		edit(&next, &next.Sources[at])
		rebound = rebound || next.Binding != s.snapshots[i].Binding
		s.snapshots[i] = next
	}
	if rebound {
		s.markAmbiguous()
	}
}

// resource belongs to one connection only. key names the config key that tells the
// resources of two connections apart.
type resource struct{ kind, id, key string }

func resourcesOf(binding model.Binding) [2]resource {
	return [2]resource{
		{"Entra application", binding.ServicePrincipalID, "service_principal_id"},
		{"identity store", binding.IdentityStoreID, "aws.identity_store_id, or the AWS account"},
	}
}

// markAmbiguous finds connections that resolve to one application or one identity store:
// a rotation of one of them would change the other.
func (s *snapshotStore) markAmbiguous() {
	clear(s.owners)
	for i := range s.snapshots {
		for _, r := range resourcesOf(s.snapshots[i].Binding) {
			s.owners[r]++
		}
	}
	for i := range s.snapshots {
		var conflicts []string
		for _, r := range resourcesOf(s.snapshots[i].Binding) {
			if r.id != "" && s.owners[r] > 1 {
				names := s.namesOf(r)
				last := len(names) - 1
				conflicts = append(conflicts, fmt.Sprintf("connections %s and %s resolve to the same %s %s: none of them is rotated until the others are removed or name their own (%s)",
					strings.Join(names[:last], ", "), names[last], r.kind, r.id, r.key))
			}
		}
		s.snapshots[i].Ambiguous = strings.Join(conflicts, "; ")
	}
}

// namesOf lists the connections that resolve to a resource.
func (s *snapshotStore) namesOf(wanted resource) (names []string) {
	for i := range s.snapshots {
		for _, r := range resourcesOf(s.snapshots[i].Binding) {
			if r == wanted {
				names = append(names, strconv.Quote(s.snapshots[i].Connection))
			}
		}
	}
	return names
}

// copySource copies the result of one source between snapshots. An empty one clears it.
func copySource(name model.Source, to *model.Snapshot, from model.Snapshot) {
	switch name {
	case model.SourceTokens:
		to.Tokens = from.Tokens
	case model.SourceSCIM:
		to.Probe = from.Probe
	case model.SourceUsage:
		to.Usage = from.Usage
	case model.SourceJob:
		to.Job = from.Job
	case model.SourceEvents:
		to.Events = from.Events
	case model.SourceCertificates:
		to.Signing, to.Trusted = from.Signing, from.Trusted
	case model.SourceAppCredentials:
		to.AppCredentials = from.AppCredentials
	}
}
