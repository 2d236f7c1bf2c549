package poller

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"entra-aws-exporter/internal/model"
)

// UsageReader reads on in CloudTrail from where it was, and knows what it has learnt.
type UsageReader interface {
	Usage(ctx context.Context) (model.Usage, error)
	KnownUsage(ctx context.Context) (model.Usage, error) // without reading CloudTrail
	UsageState() []byte
	RestoreUsage(content []byte) error
}

// usageLog keeps a UsageReader's state in the store, so that neither a restart nor a reload
// reads CloudTrail again. Of several replicas with one store, one reads CloudTrail.
type usageLog struct {
	reader   UsageReader
	store    EventStore // nil: in memory only
	key      string
	replica  Replica
	interval time.Duration
	log      *slog.Logger
	revision string
	claim    claim // as stored
	failed   bool  // the store failed last
}

// Usage reads when each token was last used.
func Usage(interval time.Duration, reader UsageReader, store EventStore, key string, replica Replica, log *slog.Logger) Source {
	u := &usageLog{reader: reader, store: store, key: key, replica: replica, interval: interval, log: log}
	source := newSource(model.SourceUsage, interval, u.read,
		func(s *model.Snapshot, usage model.Usage) { s.Usage = &usage }, undated)
	source.release = u.release
	return source
}

func (u *usageLog) read(ctx context.Context) (model.Usage, error) {
	if u.store != nil && !u.claim.isOf(u.replica) {
		u.load(ctx)
		if u.claim.keepsOut(u.replica) {
			if err := u.claim.check(u.interval); err != nil {
				return model.Usage{}, err
			}
			return u.reader.KnownUsage(ctx)
		}
		u.save(ctx, u.claim.Read) // the others do not begin now
	}
	usage, err := u.reader.Usage(ctx)
	if err == nil && u.store != nil {
		u.save(ctx, time.Now())
	}
	return usage, err
}

// load continues from what was stored last.
func (u *usageLog) load(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	content, revision, err := u.store.Load(ctx, u.key)
	if err != nil && !errors.Is(err, model.ErrUnreadable) {
		u.noteStore("loading", err)
		return
	}
	if err == nil && content != nil && revision != u.revision {
		err = u.reader.RestoreUsage(content)
	}
	if err != nil {
		u.store = nil // a record that cannot be used is not overwritten
		u.log.Warn("usage is not persisted", "record", u.key, "err", err)
		return
	}
	u.revision, u.claim = revision, claimOf(content)
}

// save writes the state and renews the claim. Another replica that has written meanwhile
// knows as much.
func (u *usageLog) save(ctx context.Context, read time.Time) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	now := time.Now().UTC()
	if read.IsZero() {
		read = now
	}
	next := claim{Replica: u.replica.ID, Expires: now.Add(claimLength(u.interval)), Read: read.UTC()}
	revision, err := u.store.Save(ctx, u.key, next.in(u.reader.UsageState()), u.revision)
	switch {
	case err == nil:
		u.revision, u.claim = revision, next
	case errors.Is(err, model.ErrConflict):
		u.claim, err = claim{}, nil // the next poll loads what the other one has
	}
	u.noteStore("saving", err)
}

// noteStore warns once, until the store works again.
func (u *usageLog) noteStore(operation string, err error) {
	if err != nil && !u.failed {
		u.log.Warn("usage record failed", "operation", operation, "record", u.key, "err", err)
	}
	u.failed = err != nil
}

// release lets another replica read. This one has stopped.
func (u *usageLog) release(ctx context.Context) {
	if u.store == nil || !u.claim.isOf(u.replica) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	free := claim{Read: u.claim.Read}
	_, _ = u.store.Save(ctx, u.key, free.in(u.reader.UsageState()), u.revision) // if it fails, the claim expires
}
