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
	UsageState() []byte
	RestoreUsage(content []byte) error
}

// usageLog keeps a UsageReader's state in the store, so that neither a restart nor a reload
// reads CloudTrail again.
type usageLog struct {
	reader   UsageReader
	store    EventStore // nil: in memory only
	key      string
	log      *slog.Logger
	loaded   bool
	revision string
	failed   bool // the last save failed
}

// Usage reads when each token was last used.
func Usage(interval time.Duration, reader UsageReader, store EventStore, key string, log *slog.Logger) Source {
	u := &usageLog{reader: reader, store: store, key: key, log: log}
	return newSource(model.SourceUsage, interval, u.read,
		func(s *model.Snapshot, usage model.Usage) { s.Usage = &usage }, undated)
}

func (u *usageLog) read(ctx context.Context) (model.Usage, error) {
	if u.store != nil && !u.loaded {
		u.load(ctx)
	}
	usage, err := u.reader.Usage(ctx)
	if err == nil && u.store != nil {
		u.save(ctx)
	}
	return usage, err
}

func (u *usageLog) load(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	content, revision, err := u.store.Load(ctx, u.key)
	if err == nil && content != nil {
		err = u.reader.RestoreUsage(content)
	}
	u.loaded, u.revision = true, revision
	if err != nil {
		u.store = nil // a record that cannot be used is not overwritten
		u.log.Warn("usage is not persisted", "record", u.key, "err", err)
	}
}

// save writes the state. Another exporter that writes the same record knows as much.
func (u *usageLog) save(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	revision, err := u.store.Save(ctx, u.key, u.reader.UsageState(), u.revision)
	if errors.Is(err, model.ErrConflict) {
		_, revision, err = u.store.Load(ctx, u.key)
	}
	if err == nil {
		u.revision = revision
	} else if !u.failed {
		u.log.Warn("saving usage failed", "record", u.key, "err", err)
	}
	u.failed = err != nil
}
