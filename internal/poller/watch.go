package poller

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
)

// Options is what a Watch is built from.
type Options struct {
	Tenants     []Tenant
	Connections []Connection // in the order of the config
	Logger      *slog.Logger
}

// Tenant is an Entra tenant and what is read once for all of its connections.
type Tenant struct {
	Name     string
	Identity string // as Connection's
	Sources  []Source
}

// Connection is one connection and what is read for it alone.
type Connection struct {
	Name    string
	Tenant  string // the Tenant's name
	Binding model.Binding
	Sources []Source
	Without []model.Source // of its tenant's, those that are not read for it

	// Identity says what is read and how, in any form: after a reload a connection
	// whose name and identity are as before keeps its readings and error counters.
	Identity string
}

// Poller looks at the clouds while it runs. Its methods may be called at any time
// from any goroutine, Run once.
type Poller struct {
	board      *board
	schedules  []*schedule
	identities map[string]string // of the connections, by name
}

// How the first round is spread.
const (
	firstRoundPace  = 20 * time.Millisecond // per source
	firstRoundLimit = 3 * time.Second
)

// New builds a Watch that has not looked yet. After a reload, previous is the Watch
// that it replaces and whose Run has returned; connections and sources that did not
// change go on where that one stopped. At start previous is nil.
func New(options Options, previous *Poller) *Poller {
	w := &Poller{board: newBoard(options.Connections), identities: make(map[string]string)}
	skews := newSkews(options.Logger)
	resolved := make(map[string][]<-chan struct{}) // by tenant
	for i, connection := range options.Connections {
		w.identities[connection.Name] = connection.Identity
		log := options.Logger.With("connection", connection.Name)
		for _, source := range connection.Sources {
			s := newSchedule(w.board, source, []int{i}, skews, log)
			s.connection, s.identity = connection.Name, connection.Identity
			resolved[connection.Tenant] = append(resolved[connection.Tenant], s.tried)
			w.schedules = append(w.schedules, s)
		}
	}
	for _, tenant := range options.Tenants {
		log := options.Logger.With("entra_tenant", tenant.Name)
		for _, source := range tenant.Sources {
			feeds := readFor(options.Connections, tenant.Name, source.Name)
			if len(feeds) == 0 {
				continue // nobody would see it
			}
			s := newSchedule(w.board, source, feeds, skews, log)
			s.tenant, s.identity, s.after = tenant.Name, tenant.Identity, resolved[tenant.Name]
			w.schedules = append(w.schedules, s)
		}
	}
	if previous != nil {
		w.carryOver(previous)
	}
	spread := min(time.Duration(len(w.schedules))*firstRoundPace, firstRoundLimit)
	for _, s := range w.schedules {
		s.first = s.resumeAt(spread)
	}
	return w
}

// readFor returns the places of the connections that a source of their tenant is read for.
func readFor(connections []Connection, tenant string, source model.Source) []int {
	var places []int
	for i, connection := range connections {
		if connection.Tenant == tenant && !slices.Contains(connection.Without, source) {
			places = append(places, i)
		}
	}
	return places
}

// Run looks until the context is cancelled, and returns when nothing runs any more.
func (w *Poller) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, s := range w.schedules {
		running.Go(func() { s.run(ctx) })
	}
	<-ctx.Done()
	running.Wait()
}

// Snapshots returns what is known of every connection, in the order of the config.
// The snapshots never change.
func (w *Poller) Snapshots() []model.Snapshot { return w.board.all() }

// Snapshot returns what is known of one connection; false: there is none of this name.
// Unlike Snapshots it costs the same however many there are.
func (w *Poller) Snapshot(connection string) (model.Snapshot, bool) { return w.board.named(connection) }

// Ready reports whether every source was tried at least once.
func (w *Poller) Ready() bool {
	for _, s := range w.schedules {
		if !s.wasTried() {
			return false
		}
	}
	return true
}

// Refresh looks again now at all that is read for this connection alone. A source
// that was throttled keeps to its schedule.
func (w *Poller) Refresh(connection string) {
	for _, s := range w.schedules {
		if s.connection == connection {
			s.refresh()
		}
	}
}

// jitter returns a random part of d.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d) //nolint:gosec // spreads load, guards nothing
}
