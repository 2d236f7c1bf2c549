package poller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"entra-aws-exporter/internal/model"
)

// EventReader visits the entries of a tenant's provisioning log with after < time <
// before, in any order, and stops at the first error of visit.
type EventReader func(ctx context.Context, after, before time.Time, visit func(model.Event) error) error

// EventStore keeps one record: what was counted, and up to where.
type EventStore interface {
	// Load returns the record and its revision. If there is no record, it returns nil
	// bytes, revision "" and no error.
	Load(ctx context.Context, key string) (content []byte, revision string, err error)
	// Save replaces the record, durably and as a whole, if it still has this revision
	// ("": there is none). model.ErrConflict: it has another one, nothing was written.
	Save(ctx context.Context, key string, content []byte, revision string) (newRevision string, err error)
}

const (
	// eventLookahead is how far a read looks ahead of our clock, so that a clock that is
	// behind hides nothing.
	eventLookahead = 7 * 24 * time.Hour
	// minWindow is the shortest part of the log that is read at once.
	minWindow = time.Minute

	minEventTimeout  = time.Minute
	maxEventTimeout  = 5 * time.Minute
	storeTimeout     = 10 * time.Second
	maxSaveConflicts = 3
)

// eventLog counts the entries of one tenant's provisioning log, each exactly once.
//
// It reads the log in windows: from the overlap behind the newest entry it has seen to
// now. One write commits a window's counts, its newest entry and the ids within the
// overlap. A crash at any moment repeats a whole window or none, never a part of one. It
// relies on the log's own clock; ours only begins the very first window.
type eventLog struct {
	read  EventReader
	store EventStore // nil: in memory only
	key   string
	log   *slog.Logger

	state      *eventState // nil: not loaded yet
	inherited  *eventState // from before a reload
	revision   string
	saveFailed bool          // the last save failed
	windowSize time.Duration // while there is a backlog; 0: all at once
	position   time.Time     // up to where a long backlog was read; zero: there is none
}

// Events reads a tenant's provisioning log once for all of its connections, and assigns
// each entry by its service principal and job. The very first read begins 20 minutes back.
// Each later one, also after a restart, continues where the last one ended. If store is nil
// or cannot be used, that is one warning, and the counters are kept in memory.
func Events(interval time.Duration, read EventReader, store EventStore, key string, log *slog.Logger) Source {
	l := &eventLog{read: read, store: store, key: key, log: log}
	return Source{
		Name: model.SourceEvents, Interval: interval,
		Timeout: min(max(interval, minEventTimeout), maxEventTimeout),
		Read:    l.poll, state: l,
	}
}

// inheritState continues the counters from before a reload. They may be ahead of the
// store's if that could not be written.
func (l *eventLog) inheritState(before sourceState) {
	old := before.(*eventLog)
	l.windowSize, l.position, l.inherited = old.windowSize, old.position, old.state
	if l.inherited == nil { // it was never polled
		l.inherited = old.inherited
	}
}

// poll reads what is new, and returns the counters of each connection.
func (l *eventLog) poll(ctx context.Context, targets []model.Snapshot) (Result, error) {
	if l.state == nil {
		l.load(ctx)
	}
	err := l.readBacklog(ctx, targets)
	counters := maps.Clone(l.state.counters)
	return Result{Apply: func(s *model.Snapshot) {
		if c := counters[s.Connection]; c.read {
			s.Events = &c.counts
		}
	}}, err
}

// readBacklog reads window after window until now. One window is enough unless a page of it
// is refused, or there is more to read than the timeout allows. Entries that came oldest
// first are kept, and the next window begins behind them. Otherwise the windows become
// shorter until one fits. The next poll continues where this one ends: a burst of entries
// may be longer than what can be read of the overlap at once.
func (l *eventLog) readBacklog(ctx context.Context, targets []model.Snapshot) error {
	l.state.updateBindings(targets)
	position := l.state.newest.Add(-eventOverlap)
	if l.position.After(position) {
		position = l.position
	}
	for conflicts, windows := 0, 0; ; windows++ {
		now := time.Now()
		window, last := l.nextWindow(position, now)
		end, failed := window.before, l.read(ctx, window.after, window.before, window.visit)
		if failed != nil {
			upTo, ordered := window.readInOrder()
			if !ordered || !nextPosition(upTo).After(position) {
				l.shortenWindows(ctx, window, now)
				return incomplete(failed, position, windows)
			}
			end, last = upTo, false
		}
		window.commit(now)
		if err := l.save(ctx); err != nil {
			if conflicts++; conflicts <= maxSaveConflicts {
				l.load(ctx)
				l.state.updateBindings(targets)
				position, l.position = l.state.newest.Add(-eventOverlap), time.Time{}
				continue
			}
			l.notSaved(err) // the other process persists; this one counts in memory
		}
		if last {
			l.windowSize, l.position = 0, time.Time{}
			return nil
		}
		position = l.moveOn(end, now)
		if failed != nil && ctx.Err() != nil {
			return incomplete(failed, position, windows+1)
		}
	}
}

// nextWindow returns the window that begins there, and whether it is the last one.
func (l *eventLog) nextWindow(position, now time.Time) (window *eventWindow, last bool) {
	end := position.Add(l.windowSize)
	if l.windowSize == 0 || !end.Before(now) {
		end, last = now.Add(eventLookahead), true
	}
	return newEventWindow(l.state, position, end), last
}

// shortenWindows halves the windows if this one was too long: a part of it could be read,
// or the time ran out.
func (l *eventLog) shortenWindows(ctx context.Context, window *eventWindow, now time.Time) {
	if !window.last.IsZero() || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		l.windowSize = max(min(window.before.Sub(window.after), now.Sub(window.after))/2, minWindow)
	}
}

// moveOn returns where the window after one that ends there begins. The next poll begins
// there too, unless later entries may still appear before it.
func (l *eventLog) moveOn(end, now time.Time) time.Time {
	position := nextPosition(end)
	l.windowSize *= 2
	l.position = position
	if settled := now.Add(-eventOverlap); settled.Before(position) {
		l.position = settled
	}
	return position
}

// nextPosition is where the window after one that ends there begins. The bounds are
// exclusive, and the log's may be whole seconds.
func nextPosition(end time.Time) time.Time { return end.Add(-time.Second) }

// incomplete says up to where the log was read before an error.
func incomplete(err error, position time.Time, windows int) error {
	if windows == 0 {
		return err
	}
	return fmt.Errorf("read up to %s, the rest follows: %w", position.UTC().Format(time.RFC3339), err)
}

// load begins with what was committed last, by this process or the one before it. After a
// conflict it takes what the other writer committed.
func (l *eventLog) load(ctx context.Context) {
	stored, revision, err := l.loadRecord(ctx)
	if err != nil {
		l.store = nil // a record that cannot be used is not overwritten
		l.log.Warn("event counters are not persisted", "record", l.key, "err", err,
			"advice", "give the exporter a writable state directory without another program's record; until then the counters start again at each restart")
	}
	l.revision = revision
	if stored != nil {
		l.state = stored
	}
	if l.inherited != nil && (l.state == nil || !l.inherited.newest.Before(l.state.newest)) {
		l.state = l.inherited
	}
	l.inherited = nil
	if l.state == nil {
		l.state = newEventState(time.Now())
	}
}

// loadRecord reads the record; nil if there is none yet.
func (l *eventLog) loadRecord(ctx context.Context) (*eventState, string, error) {
	if l.store == nil {
		return nil, "", errors.New("there is no state directory")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	content, revision, err := l.store.Load(ctx, l.key)
	if err != nil || content == nil {
		return nil, "", err
	}
	state, err := decodeEvents(content)
	if err == nil && state.newest.After(time.Now().Add(eventLookahead)) {
		err = fmt.Errorf("its newest entry is of %s, far in the future", state.newest.Format(time.RFC3339))
	}
	if err != nil {
		return nil, "", err
	}
	return state, revision, nil
}

// save commits the state. Its only error is a conflict with another writer. If the store
// cannot be written, counting continues in memory, and the next save writes everything.
func (l *eventLog) save(ctx context.Context) error {
	if l.store == nil {
		return nil
	}
	// A window that was read is saved even if the exporter is to stop.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	revision, err := l.store.Save(ctx, l.key, l.state.encode(), l.revision)
	switch {
	case errors.Is(err, model.ErrConflict):
		return &model.Error{
			Reason: model.ReasonOther, Op: "saving the event counters", Err: err,
			Detail: "another process writes the same record",
			Advice: "give each exporter its own state.directory",
		}
	case err != nil:
		l.notSaved(err)
		return nil
	case l.saveFailed:
		l.log.Info("event counters saved again", "record", l.key)
	}
	l.saveFailed, l.revision = false, revision
	return nil
}

// notSaved warns once, until a save works again.
func (l *eventLog) notSaved(err error) {
	if !l.saveFailed {
		l.log.Warn("saving event counters failed", "record", l.key, "err", err)
	}
	l.saveFailed = true
}
