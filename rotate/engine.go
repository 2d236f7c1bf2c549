package rotate

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// Options are what an Engine works with.
type Options struct {
	Store journal.Store
	// NewDryRunStore makes an empty journal that is discarded after a dry run.
	NewDryRunStore func() journal.Store
	// Codec knows the types of every procedure that a record may hold, configured or not.
	Codec journal.Codec
	// Holder names this process in leases; no two processes may have the same name.
	Holder string
	// HolderIsDead tells whether a holder has certainly ended, so that its lease need not
	// be waited out. Optional.
	HolderIsDead func(holder string) bool
	// Speedup divides every wait of a rotation; 0 and 1: no change.
	Speedup int
	// Snapshot returns the last poll of a connection. Decisions and the status rest on it.
	Snapshot func(connection string) (model.Snapshot, bool)
	// Changed is called when a rotation has changed something, so that it is polled again. Optional.
	Changed func(connection string)
	Logger  *slog.Logger
}

// Engine runs rotations to their outcome. Each process that may rotate has one: the
// server, which resumes what the journal shows as open, and the command line, which runs
// its own rotation. They share nothing but the journal.
type Engine struct {
	options Options
	wakeup  chan struct{} // a rotation was started: resume it

	operations chan struct{} // held by the one operation in flight

	mu          sync.Mutex
	changes     map[model.Procedure]chan struct{} // held by each rotation between a change and its proof (Procedure.Changing)
	connections map[string]Connection
	bindings    map[string]string         // binding keys by connection
	entries     map[string]*journal.Entry // by binding key
	running     map[string]chan struct{}  // wake-up channels of the rotations that run here, by binding key
	locks       map[string]chan struct{}  // one decision at a time, by connection
	dryRuns     map[dryRunKey]time.Time   // when a dry run last began; zero: it is due
	unlisted    error                     // why the journal could not be listed last; nil: it could

	failures repeatedFailures // of Run alone
}

// maxChanging is how many rotations of one kind and process may be between the creation of
// something new and the proof that it is stored, unless the policy says otherwise.
const maxChanging = 2

// pollInterval is how often the journal is searched for open rotations.
const pollInterval = 30 * time.Second

// New makes an engine for these connections.
func New(options Options, connections []Connection) *Engine {
	if options.Speedup < 1 {
		options.Speedup = 1
	}
	if options.Snapshot == nil {
		options.Snapshot = func(string) (model.Snapshot, bool) { return model.Snapshot{}, false }
	}
	e := &Engine{
		options: options, wakeup: make(chan struct{}, 1),
		operations: make(chan struct{}, 1), changes: map[model.Procedure]chan struct{}{},
		entries: map[string]*journal.Entry{}, running: map[string]chan struct{}{},
		locks: map[string]chan struct{}{}, dryRuns: map[dryRunKey]time.Time{}, failures: repeatedFailures{},
	}
	e.Configure(connections)
	return e
}

// Configure replaces the connections. A rotation that is running keeps the connection it
// began with.
func (e *Engine) Configure(connections []Connection) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.connections = map[string]Connection{}
	for _, c := range connections {
		e.connections[c.Name] = c
	}
	e.bindings = map[string]string{}
}

// shortened divides a wait by the speedup, down to a second.
func (e *Engine) shortened(d time.Duration) time.Duration {
	return max(d/time.Duration(e.options.Speedup), time.Second)
}

// Run resumes open rotations until ctx ends, then lets the operations in flight finish
// and be recorded.
func (e *Engine) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	ticker := time.NewTicker(e.shortened(pollInterval))
	defer ticker.Stop()
	for {
		e.startAllDue(ctx)
		for _, rotation := range e.findResumable(ctx) {
			workers.Go(func() {
				if err := e.run(ctx, rotation.entry, rotation.connection, runOptions{}); err != nil && ctx.Err() == nil {
					e.options.Logger.Info("rotation not resumed", "connection", rotation.connection.Name, "err", err)
				}
			})
		}
		for _, key := range e.takeDryRuns() {
			workers.Go(func() {
				if err := e.DryRun(ctx, key.connection, key.kind, StartOptions{}, nil); err != nil && ctx.Err() == nil {
					e.options.Logger.Warn("dry run failed", "connection", key.connection, "err", err)
				}
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.wakeup:
		case <-ticker.C:
		}
	}
}

// startAllDue starts what is due of the connections that wait for no alert.
func (e *Engine) startAllDue(ctx context.Context) {
	e.mu.Lock()
	connections := slices.Collect(maps.Values(e.connections))
	e.mu.Unlock()
	for _, c := range connections {
		for _, procedure := range c.Procedures {
			if procedure.Policy().Trigger != model.TriggerDue {
				continue
			}
			decision, _, err := e.StartIfDue(ctx, c.Name, procedure.Kind())
			switch {
			case err != nil && ctx.Err() != nil:
			case err != nil:
				if e.failures.isNew("start of "+c.Name, err) {
					e.options.Logger.Error("starting rotation failed", "connection", c.Name, "err", err)
				}
			case decision == model.DecisionStarted:
				e.options.Logger.Info("rotation started", "connection", c.Name, "trigger", model.TriggerDue)
				fallthrough
			default:
				e.failures.end("start of " + c.Name)
			}
		}
	}
}

// RunToCompletion runs the open rotation of a connection and reports each step. It
// returns what became of it, also when ctx ends first.
func (e *Engine) RunToCompletion(ctx context.Context, connection string, progress StepObserver) (model.RotationRecord, error) {
	return e.runOpen(ctx, connection, runOptions{observer: progress})
}

// RunUntilLongWait is RunToCompletion, but ends with ErrLongWait when the rotation waits
// for the retention time or for an operator.
func (e *Engine) RunUntilLongWait(ctx context.Context, connection string, progress StepObserver) (model.RotationRecord, error) {
	return e.runOpen(ctx, connection, runOptions{observer: progress, untilLongWait: true})
}

func (e *Engine) runOpen(ctx context.Context, connection string, options runOptions) (model.RotationRecord, error) {
	entry, err := e.Resolve(ctx, connection)
	if err != nil {
		return model.RotationRecord{}, err
	}
	record := entry.Record()
	if record.Rotation == nil {
		return model.RotationRecord{}, errNoOpenRotation(connection)
	}
	id := record.Rotation.ID
	c, found, _ := e.connectionOf(record)
	if !found {
		return model.RotationRecord{}, errUnknownConnection(connection)
	}
	err = e.run(ctx, entry, c, options)
	for _, shown := range e.Records() {
		if shown.ID == id {
			return shown, err
		}
	}
	return model.RotationRecord{}, err
}

// openRotation is a rotation that no process works on, as far as the journal shows.
type openRotation struct {
	entry      *journal.Entry
	connection Connection
}

// findResumable searches the journal.
func (e *Engine) findResumable(ctx context.Context) []openRotation {
	keys, err := e.options.Store.Keys(ctx)
	if err != nil && ctx.Err() != nil {
		return nil // the process ends, which is no failure of the store
	}
	e.noteListing(err)
	if err != nil {
		return nil
	}
	e.cacheKnownBindings()
	var found []openRotation
	for _, key := range keys {
		if e.isRunning(key) {
			continue
		}
		entry := e.entry(key)
		record, err := e.loadOrMarkRestored(ctx, entry)
		if err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if e.failures.isNew(key, err) {
				e.options.Logger.Error("journal record unusable", "err", err)
			}
			continue
		}
		e.failures.end(key)
		if !record.Active() || record.Lease.Held(entry.Unchanged(), e.options.HolderIsDead) {
			continue
		}
		c, configured, certain := e.findConnection(ctx, record)
		switch {
		case configured:
			found = append(found, openRotation{entry, c})
		case certain:
			e.blockRemoved(ctx, entry, record)
		}
	}
	return found
}

// noteListing notes whether the journal could be listed.
func (e *Engine) noteListing(err error) {
	e.mu.Lock()
	e.unlisted = err
	e.mu.Unlock()
	const subject = "listing"
	if err != nil {
		if e.failures.isNew(subject, err) {
			e.options.Logger.Error("listing journal failed", "err", err)
		}
	} else if streak := e.failures.end(subject); streak != nil {
		e.options.Logger.Info("journal listed again", "failed_for", time.Since(streak.Since).Round(time.Second).String(), "attempts", streak.Attempts)
	}
}

// loadOrMarkRestored reads a record, and blocks one that an older copy has replaced.
func (e *Engine) loadOrMarkRestored(ctx context.Context, entry *journal.Entry) (*journal.Record, error) {
	record, err := entry.Load(ctx)
	if errors.Is(err, journal.ErrRestored) {
		return record, e.markRestored(ctx, entry)
	}
	return record, err
}

// runOptions are how a rotation is run.
type runOptions struct {
	observer      StepObserver // optional
	untilLongWait bool         // leave a rotation that waits for hours to a later run
}

// run takes the lease of one open rotation and runs it to its outcome.
func (e *Engine) run(ctx context.Context, entry *journal.Entry, c Connection, options runOptions) error {
	wakeup, free := e.occupy(entry.Key())
	if !free {
		return nil
	}
	defer e.vacate(entry.Key(), c.Name)
	lease, err := journal.AcquireLease(ctx, entry, e.options.Holder, e.options.HolderIsDead)
	if err != nil {
		return err
	}
	rotation := entry.Record().Rotation
	if rotation == nil { // it has ended meanwhile
		return e.release(ctx, lease, nil)
	}
	procedure, known := c.procedure(rotation.Kind)
	if !known {
		return e.release(ctx, lease, errUnknownProcedure(c.Name, rotation.Kind))
	}
	session := &Session{
		Connection: c, procedure: procedure, entry: entry, lease: lease, speedup: time.Duration(e.options.Speedup),
		log: e.options.Logger, options: options, wakeup: wakeup, operations: e.operations, changes: e.changesOf(procedure),
	}
	defer session.leaveChanges()
	session.retry.failures = rotation.Failures
	session.runner = procedure.Run(session)
	err = session.run(ctx)
	if errors.Is(err, journal.ErrRestored) {
		return e.markRestored(ctx, entry)
	}
	return e.release(ctx, lease, err)
}

// changesOf returns the places of a procedure's rotations that change something.
func (e *Engine) changesOf(procedure Procedure) chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	places := e.changes[procedure.Kind()]
	if places == nil {
		places = make(chan struct{}, cmp.Or(procedure.Policy().MaxChanging, maxChanging))
		e.changes[procedure.Kind()] = places
	}
	return places
}

// release gives the lease back, even when the process is told to stop.
func (e *Engine) release(ctx context.Context, lease *journal.Holding, err error) error {
	final, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	lease.Release(final)
	return err
}

// occupy notes that a rotation runs here; false: it does already.
func (e *Engine) occupy(key string) (wakeup chan struct{}, free bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, busy := e.running[key]; busy {
		return nil, false
	}
	wakeup = make(chan struct{}, 1)
	e.running[key] = wakeup
	return wakeup, true
}

func (e *Engine) vacate(key, connection string) {
	e.mu.Lock()
	delete(e.running, key)
	e.mu.Unlock()
	if e.options.Changed != nil {
		e.options.Changed(connection)
	}
}

func (e *Engine) isRunning(key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, running := e.running[key]
	return running
}

// markRestored stops everything on a record that an older copy has replaced.
func (e *Engine) markRestored(ctx context.Context, entry *journal.Entry) error {
	_, err := entry.Change(ctx, func(r *journal.Record) error {
		r.Restored = journal.ErrRestored.Error()
		if r.Active() {
			snapshot, _ := e.options.Snapshot(r.Connection)
			text := message(r.Rotation.Kind, r.Connection, r.Rotation.Phase, model.BlockedStateRestored, r.Restored, e.inventory(snapshot, r))
			r.Block(model.BlockedStateRestored, text, time.Now().UTC())
		}
		return nil
	})
	return err
}

// blockRemoved blocks an open rotation whose connection is not configured any more.
func (e *Engine) blockRemoved(ctx context.Context, entry *journal.Entry, seen *journal.Record) {
	text := message(seen.Rotation.Kind, seen.Connection, seen.Rotation.Phase, model.BlockedConnectionRemoved,
		"its rotation is open, but the connection is no longer in the config", seen.Inventory())
	_, err := entry.Change(ctx, func(r *journal.Record) error {
		if !r.Active() || r.Lease.Held(entry.Unchanged(), e.options.HolderIsDead) {
			return journal.ErrLeased
		}
		r.Block(model.BlockedConnectionRemoved, text, time.Now().UTC())
		return nil
	})
	if err == nil {
		e.options.Logger.Error("rotation blocked", "connection", seen.Connection, "reason", model.BlockedConnectionRemoved, "message", text)
	}
}

// notifyRotation makes a rotation that runs here read its record.
func (e *Engine) notifyRotation(key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	notify(e.running[key])
	notify(e.wakeup)
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
