package poller

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
)

// board holds the latest snapshot of every connection. A snapshot is replaced as a
// whole and never changed, so that whoever has got one may keep it.
type board struct {
	mu        sync.RWMutex
	snapshots []model.Snapshot
	places    map[string]int // of the snapshots, by connection; never changes
}

func newBoard(connections []Connection) *board {
	b := &board{snapshots: make([]model.Snapshot, 0, len(connections)), places: make(map[string]int, len(connections))}
	for i, connection := range connections {
		b.places[connection.Name] = i
		b.snapshots = append(b.snapshots, model.Snapshot{
			Connection: connection.Name, EntraTenant: connection.Tenant, Binding: connection.Binding,
		})
	}
	b.markAmbiguous()
	return b
}

// watch announces a source that is going to be read, before anything runs.
func (b *board) watch(places []int, source Source) {
	for _, i := range places {
		b.snapshots[i].Sources = append(b.snapshots[i].Sources, model.SourceStatus{
			Source: source.Name, Interval: source.Interval,
		})
	}
}

func (b *board) all() []model.Snapshot {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return slices.Clone(b.snapshots)
}

func (b *board) named(connection string) (model.Snapshot, bool) {
	place, found := b.places[connection]
	if !found {
		return model.Snapshot{}, false
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.snapshots[place], true
}

func (b *board) at(places []int) []model.Snapshot {
	b.mu.RLock()
	defer b.mu.RUnlock()
	snapshots := make([]model.Snapshot, 0, len(places))
	for _, i := range places {
		snapshots = append(snapshots, b.snapshots[i])
	}
	return snapshots
}

// change replaces the snapshots at these places and the status of one source there.
func (b *board) change(places []int, source model.Source, edit func(*model.Snapshot, *model.SourceStatus)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rebound := false
	for _, i := range places {
		next := b.snapshots[i]
		next.Sources = slices.Clone(next.Sources)
		at := slices.IndexFunc(next.Sources, func(s model.SourceStatus) bool { return s.Source == source })
		edit(&next, &next.Sources[at])
		rebound = rebound || next.Binding != b.snapshots[i].Binding
		b.snapshots[i] = next
	}
	if rebound {
		b.markAmbiguous()
	}
}

// publish records one look.
func (b *board) publish(places []int, source model.Source, reading Result, err error, at time.Time) {
	b.change(places, source, func(snapshot *model.Snapshot, status *model.SourceStatus) {
		if reading.Put != nil {
			reading.Put(snapshot)
		}
		status.LastAttempt, status.Err, status.Off = at, err, false
		if err == nil {
			status.LastSuccess = at
			return
		}
		status.Errors = maps.Clone(status.Errors)
		if status.Errors == nil {
			status.Errors = make(map[model.Reason]uint64)
		}
		status.Errors[model.ReasonOf(err)]++
	})
}

// switchOff records that there is nothing to read at the moment.
func (b *board) switchOff(places []int, source model.Source, reading Result) {
	b.change(places, source, func(snapshot *model.Snapshot, status *model.SourceStatus) {
		if reading.Put != nil {
			reading.Put(snapshot)
		}
		move(source, snapshot, model.Snapshot{})
		status.LastAttempt, status.LastSuccess, status.Err, status.Off = time.Time{}, time.Time{}, nil, true
	})
}

// shared is a thing that only one connection may resolve to, and the key by which
// the config tells one from another.
type shared struct{ kind, id, key string }

func sharedBy(binding model.Binding) []shared {
	return []shared{
		{"Entra application", binding.ServicePrincipalID, "service_principal_id"},
		{"identity store", binding.IdentityStoreID, "aws.identity_store_id, or the AWS account"},
	}
}

// markAmbiguous finds connections that resolve to one application or one identity
// store: what a rotation did to one of them, it would do to the other.
func (b *board) markAmbiguous() {
	places := make(map[shared][]int)
	for i, snapshot := range b.snapshots {
		for _, thing := range sharedBy(snapshot.Binding) {
			if thing.id != "" {
				places[thing] = append(places[thing], i)
			}
		}
	}
	for i, snapshot := range b.snapshots {
		var sentences []string
		for _, thing := range sharedBy(snapshot.Binding) {
			if len(places[thing]) > 1 {
				sentences = append(sentences, b.sentence(thing, places[thing]))
			}
		}
		b.snapshots[i].Ambiguous = strings.Join(sentences, "; ")
	}
}

func (b *board) sentence(thing shared, places []int) string {
	names := make([]string, 0, len(places))
	for _, i := range places {
		names = append(names, strconv.Quote(b.snapshots[i].Connection))
	}
	last := len(names) - 1
	return fmt.Sprintf("connections %s and %s resolve to the same %s %s: none of them is rotated until the others are removed or name their own (%s)",
		strings.Join(names[:last], ", "), names[last], thing.kind, thing.id, thing.key)
}
