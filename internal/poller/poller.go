package poller

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
)

// Options is what a Poller is built from.
type Options struct {
	Tenants     []Tenant
	Connections []Connection // in the order of the config
	Logger      *slog.Logger
}

// Tenant is an Entra tenant, with the sources that are read once for all of its connections.
type Tenant struct {
	Name     string
	Identity string // as Connection's
	Sources  []Source
}

// Connection is one connection, with the sources that are read for it alone.
type Connection struct {
	Name    string
	Tenant  string // the Tenant's name
	Binding model.Binding
	Sources []Source

	// ExcludedSources are the sources of its tenant that are not read for it.
	ExcludedSources []model.Source

	// Identity says what is read and how, in any form. After a reload, a connection whose
	// name and identity are unchanged keeps its results and error counters.
	Identity string
}

// Poller polls the sources while it runs. Its methods may be called at any time from any
// goroutine, Run once.
type Poller struct {
	store     *snapshotStore
	schedules map[sourceKey]*schedule
}

// The first polls are spread, so that a start is no burst.
const (
	spreadPerSource = 20 * time.Millisecond
	maxSpread       = 3 * time.Second
)

// New builds a Poller that has not polled yet. After a reload, previous is the Poller that
// it replaces, whose Run has returned: unchanged connections and sources continue from its
// state. At start, previous is nil.
func New(options Options, previous *Poller) *Poller {
	p := &Poller{store: newSnapshotStore(options.Connections), schedules: make(map[sourceKey]*schedule)}
	aws, entra := newCloudClock("AWS", options.Logger), newCloudClock("Entra", options.Logger)
	add := func(key sourceKey, source Source, targets []int, log *slog.Logger) *schedule {
		clock := entra
		if isAWS(source.Name) {
			clock = aws
		}
		key.source = source.Name
		s := newSchedule(p.store, key, source, targets, clock, log)
		p.schedules[key] = s
		return s
	}
	firstPolls := make(map[string][]<-chan struct{}) // by tenant, of its connections' sources
	for i, connection := range options.Connections {
		log := options.Logger.With("connection", connection.Name)
		for _, source := range connection.Sources {
			s := add(sourceKey{connection: connection.Name, identity: connection.Identity}, source, []int{i}, log)
			firstPolls[connection.Tenant] = append(firstPolls[connection.Tenant], s.polled)
		}
	}
	for _, tenant := range options.Tenants {
		log := options.Logger.With("entra_tenant", tenant.Name)
		for _, source := range tenant.Sources {
			if targets := targetsOf(options.Connections, tenant.Name, source.Name); len(targets) > 0 {
				s := add(sourceKey{tenant: tenant.Name, identity: tenant.Identity}, source, targets, log)
				s.waitFor = firstPolls[tenant.Name]
			}
		}
	}
	spread := min(time.Duration(len(p.schedules))*spreadPerSource, maxSpread)
	for key, s := range p.schedules {
		if previous != nil && previous.schedules[key] != nil {
			s.inheritState(previous.schedules[key])
		}
		s.setInitialDelay(spread)
	}
	return p
}

// targetsOf returns the indexes of the connections that a source of their tenant is read for.
func targetsOf(connections []Connection, tenant string, name model.Source) []int {
	var targets []int
	for i, connection := range connections {
		if connection.Tenant == tenant && !slices.Contains(connection.ExcludedSources, name) {
			targets = append(targets, i)
		}
	}
	return targets
}

// Run polls until the context is canceled, and returns when no poll runs any more.
func (p *Poller) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, s := range p.schedules {
		running.Go(func() { s.run(ctx) })
	}
	<-ctx.Done()
	running.Wait()
}

// Snapshots returns the snapshot of every connection, in the order of the config.
func (p *Poller) Snapshots() []model.Snapshot { return p.store.all() }

// Snapshot returns the snapshot of one connection; false when there is none of this name.
// Unlike Snapshots it costs the same for any number of connections.
func (p *Poller) Snapshot(connection string) (model.Snapshot, bool) {
	return p.store.byName(connection)
}

// Ready reports whether every source was polled at least once.
func (p *Poller) Ready() bool {
	for _, s := range p.schedules {
		if !s.wasPolled() {
			return false
		}
	}
	return true
}

// Refresh polls the connection's own sources now. A source that was throttled waits for
// its interval.
func (p *Poller) Refresh(connection string) {
	for key, s := range p.schedules {
		if key.connection != connection {
			continue
		}
		select {
		case s.refresh <- struct{}{}:
		default: // it was asked for already
		}
	}
}
