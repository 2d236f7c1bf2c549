package rotate

import (
	"context"
	"errors"
	"log/slog"
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
	*registry // the connections, what they are bound to, and their records
	options   Options
	limits    *limits
	dryRuns   *dryRunQueue
	wakeup    chan struct{}    // something was started: resume it
	failures  repeatedFailures // of Run alone
}

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
		registry: &registry{
			store: options.Store, codec: options.Codec, snapshot: options.Snapshot, log: options.Logger, entries: map[string]*journal.Entry{},
		},
		options: options, limits: newLimits(), dryRuns: &dryRunQueue{interval: options.shortened(dryRunInterval), began: map[dryRunKey]time.Time{}},
		wakeup: make(chan struct{}, 1), failures: repeatedFailures{},
	}
	e.Configure(connections)
	return e
}

// shortened divides a wait by the speedup, down to a second.
func (o Options) shortened(d time.Duration) time.Duration {
	return max(d/time.Duration(o.Speedup), time.Second)
}

// Run resumes open rotations until ctx ends, then lets the operations in flight finish
// and be recorded.
func (e *Engine) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	ticker := time.NewTicker(e.options.shortened(pollInterval))
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
		for _, key := range e.dryRuns.take() {
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
	for _, c := range e.all() {
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
	e.logListing(err)
	if err != nil {
		return nil
	}
	e.cacheKnownBindings()
	var found []openRotation
	for _, key := range keys {
		if e.limits.isRunning(key) {
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

// logListing logs when the journal can no longer be listed, and when it can again.
func (e *Engine) logListing(err error) {
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
	wakeup, free := e.limits.occupy(entry.Key())
	if !free {
		return nil
	}
	defer func() {
		e.limits.vacate(entry.Key())
		if e.options.Changed != nil {
			e.options.Changed(c.Name)
		}
	}()
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
		log: e.options.Logger, options: options, wakeup: wakeup, operations: e.limits.operations, changes: e.limits.changesOf(procedure),
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

// release gives the lease back, even when the process is told to stop.
func (e *Engine) release(ctx context.Context, lease *journal.Holding, err error) error {
	final, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	lease.Release(final)
	return err
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
