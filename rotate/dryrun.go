package rotate

import (
	"context"
	"fmt"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// dryRunInterval is how often alerts may cause a dry run: the plan that it logs changes slowly.
const dryRunInterval = time.Hour

type dryRunKey struct {
	connection string
	kind       model.Procedure
}

// dryRunQueue is what alerts ask Run to do.
type dryRunQueue struct {
	interval time.Duration

	mu    sync.Mutex
	began map[dryRunKey]time.Time // when one last began; zero: it is due
}

// request asks for a dry run; false: there was one lately.
func (q *dryRunQueue) request(connection string, kind model.Procedure) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := dryRunKey{connection, kind}
	if last, known := q.began[key]; known && time.Since(last) < q.interval {
		return false
	}
	q.began[key] = time.Time{}
	return true
}

// take takes the dry runs that are due.
func (q *dryRunQueue) take() (due []dryRunKey) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for key, began := range q.began {
		if began.IsZero() {
			due = append(due, key)
			q.began[key] = time.Now()
		}
	}
	return due
}

// DryRun reads everything that a rotation would read and logs what it would do. It
// changes nothing at AWS, in Entra, in the journal or in the token store.
func (e *Engine) DryRun(ctx context.Context, connection string, kind model.Procedure, options StartOptions, observer StepObserver) error {
	c, procedure, err := e.configured(connection, kind)
	if err != nil {
		return err
	}
	binding, err := e.bindingOf(ctx, c)
	if err != nil {
		return err
	}
	record, err := e.entry(binding.Key()).LoadOrCreate(ctx, binding, connection)
	if err != nil {
		return err
	}
	session, err := e.dryRunSession(ctx, c, procedure, record, options, observer)
	if err != nil {
		return err
	}
	if record.Rotation != nil {
		session.LogStep("dry run: rotation %s is open already, in phase %s", record.Rotation.ID, record.Rotation.Phase)
		return nil
	}
	return procedure.DryRun(ctx, session, options.Procedure)
}

// dryRunSession makes a session whose journal is discarded.
func (e *Engine) dryRunSession(ctx context.Context, c Connection, procedure Procedure, record *journal.Record, options StartOptions, observer StepObserver) (*Session, error) {
	content, err := e.options.Codec.Encode(record)
	if err != nil {
		return nil, err
	}
	store, key := e.options.NewDryRunStore(), record.Binding.Key()
	if _, err := store.Save(ctx, key, content, ""); err != nil {
		return nil, fmt.Errorf("copying the journal of %s for a dry run: %w", c.Name, err)
	}
	entry := journal.NewEntry(store, e.options.Codec, key)
	if _, err := entry.Load(ctx); err != nil {
		return nil, err
	}
	progress, _ := procedure.NewProgress(model.Snapshot{}, options.Procedure)
	if _, err := entry.Change(ctx, func(r *journal.Record) error {
		r.Rotation = &journal.Rotation{ID: "dry-run", Kind: procedure.Kind(), Trigger: model.TriggerOperator, Forced: options.Force, Phase: model.PhasePlan, Progress: progress}
		r.Lease, r.OnHold = journal.Lease{}, time.Time{}
		return nil
	}); err != nil {
		return nil, err
	}
	lease, err := journal.AcquireLease(ctx, entry, "dry run", nil)
	if err != nil {
		return nil, err
	}
	return &Session{
		Connection: c, procedure: procedure, entry: entry, lease: lease, speedup: time.Duration(e.options.Speedup),
		log: e.options.Logger, options: runOptions{observer: observer}, operations: e.limits.operations, changes: e.limits.changesOf(procedure),
	}, nil
}
