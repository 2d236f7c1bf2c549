package poller

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
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
	store      *snapshotStore
	schedules  map[sourceKey]*schedule
	dispatcher *dispatcher
}

// The first polls are spread, so that a start is no burst.
const (
	spreadPerSource = 3 * time.Millisecond
	maxSpread       = 30 * time.Second
)

// New builds a Poller that has not polled yet. After a reload, previous is the Poller that
// it replaces, whose Run has returned: unchanged connections and sources continue from its
// state. At start, previous is nil.
func New(options Options, previous *Poller) *Poller {
	p := &Poller{store: newSnapshotStore(options.Connections), schedules: make(map[sourceKey]*schedule), dispatcher: newDispatcher()}
	aws, entra := newCloudClock("AWS", options.Logger), newCloudClock("Entra", options.Logger)
	var all []*schedule
	add := func(key sourceKey, source Source, targets []int, of laneKey) *schedule {
		clock := entra
		if isAWS(source.Name) {
			clock = aws
		}
		key.source = source.Name
		s := newSchedule(p.store, key, source, targets, clock, options.Logger)
		s.lane = p.dispatcher.lane(of)
		if previous != nil && previous.schedules[key] != nil {
			s.inheritState(previous.schedules[key])
		}
		p.schedules[key] = s
		all = append(all, s)
		return s
	}
	rounds := make(map[string]*firstRound) // by tenant, of its connections' sources
	for i, connection := range options.Connections {
		round := rounds[connection.Tenant]
		if round == nil {
			round = &firstRound{}
			rounds[connection.Tenant] = round
		}
		for _, source := range connection.Sources {
			of := laneKey{connection.Tenant, ""}
			if isAWS(source.Name) {
				of.region = connection.Binding.Region
			}
			round.add(add(sourceKey{connection: connection.Name, identity: connection.Identity}, source, []int{i}, of))
		}
	}
	for _, tenant := range options.Tenants {
		for _, source := range tenant.Sources {
			if targets := targetsOf(options.Connections, tenant.Name, source.Name); len(targets) > 0 {
				s := add(sourceKey{tenant: tenant.Name, identity: tenant.Identity}, source, targets, laneKey{tenant.Name, ""})
				rounds[tenant.Name].follow(s)
			}
		}
	}
	spreadFirstPolls(all)
	p.dispatcher.schedules = all
	return p
}

// spreadFirstPolls lets the sources of all connections begin one after the other, first
// those that expire.
func spreadFirstPolls(all []*schedule) {
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] }) //nolint:gosec // no tenant comes first
	slices.SortStableFunc(all, func(a, b *schedule) int { return cmp.Compare(startRank(a.source.Name), startRank(b.source.Name)) })
	spread := min(time.Duration(len(all))*spreadPerSource, maxSpread)
	for i, s := range all {
		s.setInitialDelay(spread * time.Duration(i) / time.Duration(len(all)))
	}
}

// startRank is the place of a source in the first round.
func startRank(name model.Source) int {
	return slices.Index([]model.Source{
		model.SourceTokens, model.SourceCertificates, model.SourceJob, model.SourceSCIM,
		model.SourceUsage, model.SourceEvents, model.SourceAppCredentials,
	}, name)
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
func (p *Poller) Run(ctx context.Context) { p.dispatcher.run(ctx) }

// Release lets other replicas go on with what this one reads for all. Run has returned.
func (p *Poller) Release(ctx context.Context) {
	for _, s := range p.schedules {
		if s.source.release != nil && ctx.Err() == nil {
			s.source.release(ctx)
		}
	}
}

// Snapshots returns the snapshot of every connection, in the order of the config.
func (p *Poller) Snapshots() []model.Snapshot { return p.store.all() }

// Snapshot returns the snapshot of one connection; false when there is none of this name.
// Unlike Snapshots it costs the same for any number of connections.
func (p *Poller) Snapshot(connection string) (model.Snapshot, bool) {
	return p.store.byName(connection)
}

// Ready reports whether every source was polled at least once.
func (p *Poller) Ready() bool { return p.dispatcher.polledAll() }

// Refresh polls the connection's own sources now. A source that was throttled waits for
// its interval.
func (p *Poller) Refresh(connection string) {
	for key, s := range p.schedules {
		if key.connection == connection {
			p.dispatcher.refresh(s)
		}
	}
}
