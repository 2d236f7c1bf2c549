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
//
// Of several replicas with one store, one reads, by the claim in the record. The others
// show what it has stored.
type eventLog struct {
	read     EventReader
	store    EventStore // nil: in memory only
	key      string
	replica  Replica
	interval time.Duration
	log      *slog.Logger

	state      *eventState // nil: not loaded yet
	shown      *eventState // what the last poll has returned
	revision   string
	claim      claim         // as stored
	saveFailed bool          // the last save failed
	shortened  bool          // the overlap is shorter than usual
	windowSize time.Duration // while there is a backlog; 0: all at once
	position   time.Time     // up to where a long backlog was read; zero: there is none
}

// Events reads a tenant's provisioning log once for all of its connections, and assigns
// each entry by its service principal and job. The very first read begins 20 minutes back.
// Each later one, also after a restart, continues where the last one ended. If store is nil
// or cannot be used, that is one warning, and the counters are kept in memory.
func Events(interval time.Duration, read EventReader, store EventStore, key string, replica Replica, log *slog.Logger) Source {
	l := &eventLog{read: read, store: store, key: key, replica: replica, interval: interval, log: log}
	return Source{
		Name: model.SourceEvents, Interval: interval,
		Timeout: min(max(interval, minEventTimeout), maxEventTimeout),
		Read:    l.poll, state: l, release: l.release,
	}
}

// inheritState continues the counters from before a reload. They may be ahead of the
// store's if that could not be written.
func (l *eventLog) inheritState(before sourceState) {
	old := before.(*eventLog)
	l.windowSize, l.position, l.state, l.shown, l.revision, l.claim = old.windowSize, old.position, old.state, old.shown, old.revision, old.claim
}

// poll reads what is new, unless another replica does, and returns the counters of each
// connection.
func (l *eventLog) poll(ctx context.Context, targets []model.Snapshot) (Result, error) {
	reads, err := l.takeClaim(ctx)
	if reads {
		reads, err = l.readBacklog(ctx, targets)
	}
	var result Result
	if err == nil && !reads {
		l.state.updateBindings(targets)
		result.ReadAt, err = l.claim.Read, l.claim.check(l.interval)
	}
	// What this replica could not store, the one that reads now may not have read yet.
	if l.state != nil && (l.shown == nil || !l.state.newest.Before(l.shown.newest)) {
		l.shown = l.state
	}
	if l.shown != nil {
		counters := maps.Clone(l.shown.counters)
		result.Apply = func(s *model.Snapshot) {
			if c := counters[s.Connection]; c.read {
				s.Events = &c.counts
			}
		}
	}
	return result, err
}

// takeClaim tells whether this replica reads the log: it does already, or no other one does.
// If the store cannot be written, it reads, too, and counts in memory.
func (l *eventLog) takeClaim(ctx context.Context) (reads bool, err error) {
	for conflicts := 0; ; conflicts++ {
		if l.state != nil && (l.store == nil || l.claim.isOf(l.replica)) {
			return true, nil
		}
		if err := l.load(ctx); err != nil {
			return false, err
		}
		if l.claim.keepsOut(l.replica) {
			return false, nil
		}
		if err := l.save(ctx, l.claim.Read); err == nil || conflicts == maxSaveConflicts {
			return true, nil //nolint:nilerr // the next save reports it
		}
	}
}

// release lets another replica read. This one has stopped.
func (l *eventLog) release(ctx context.Context) {
	if l.store == nil || !l.claim.isOf(l.replica) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	free := claim{Read: l.claim.Read}
	_, _ = l.store.Save(ctx, l.key, free.in(l.state.encode()), l.revision) // if it fails, the claim expires
}

// readBacklog reads window after window until now. One window is enough unless a page of it
// is refused, or there is more to read than the timeout allows. Entries that came oldest
// first are kept, and the next window begins behind them. Otherwise the windows become
// shorter until one fits. The next poll continues where this one ends: a burst of entries
// may be longer than what can be read of the overlap at once.
func (l *eventLog) readBacklog(ctx context.Context, targets []model.Snapshot) (reads bool, err error) {
	l.state.updateBindings(targets)
	position := l.position
	for conflicts, windows := 0, 0; ; windows++ {
		now := time.Now()
		window, last := l.nextWindow(position, now)
		end, failed := window.before, l.read(ctx, window.after, window.before, window.visit)
		if failed != nil {
			upTo, ordered := window.readInOrder()
			if !ordered || !nextPosition(upTo).After(window.after) {
				l.shortenWindows(ctx, window, now)
				return true, incomplete(failed, window.after, windows)
			}
			end, last = upTo, false
		}
		window.commit(now)
		if err := l.save(ctx, now); err != nil {
			if conflicts++; conflicts <= maxSaveConflicts {
				if err := l.load(ctx); err != nil || l.claim.keepsOut(l.replica) {
					return false, err
				}
				l.state.updateBindings(targets)
				position, l.position = time.Time{}, time.Time{}
				continue
			}
			l.notSaved(err) // the other process persists; this one counts in memory
		}
		if last {
			l.windowSize, l.position = 0, time.Time{}
			return true, nil
		}
		position = l.moveOn(end, now)
		if failed != nil && ctx.Err() != nil {
			return true, incomplete(failed, position, windows+1)
		}
	}
}

// nextWindow returns the window that begins there, or where everything before was read, and
// whether it is the last one.
func (l *eventLog) nextWindow(position, now time.Time) (window *eventWindow, last bool) {
	if from := l.state.readFrom(); from.After(position) {
		position = from
	}
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

// load takes what was committed last, by this replica, the one before it or another one.
// What this one could not store stays if nobody else has written. The only error is that of
// a store which may be readable later.
func (l *eventLog) load(ctx context.Context) error {
	stored, revision, err := l.loadRecord(ctx)
	switch {
	case stored != nil && revision != l.revision:
		l.state = stored
	case err != nil && l.store != nil && !errors.Is(err, model.ErrUnreadable):
		return err
	case err != nil:
		l.store = nil // a record that cannot be used is not overwritten
		l.log.Warn("event counters are not persisted", "record", l.key, "err", err,
			"advice", "give the exporter a writable state without another program's record; until then the counters start again at each restart")
	}
	l.revision = revision
	if l.state == nil {
		l.state = newEventState(time.Now())
	}
	return nil
}

// loadRecord reads the record and its claim; nil if there is none yet.
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
		return nil, "", fmt.Errorf("%w: %w", model.ErrUnreadable, err)
	}
	l.claim = claimOf(content)
	return state, revision, nil
}

// save commits the state, as of the time when it was read last, and renews the claim. Its
// only error is a conflict with another writer. If the store cannot be written, counting
// continues in memory, and the next save writes everything.
func (l *eventLog) save(ctx context.Context, read time.Time) error {
	if l.store == nil {
		return nil
	}
	// A window that was read is saved even if the exporter is to stop.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	now := time.Now().UTC()
	if read.IsZero() {
		read = now
	}
	next := claim{Replica: l.replica.ID, Expires: now.Add(claimLength(l.interval)), Read: read.UTC()}
	revision, err := l.store.Save(ctx, l.key, next.in(l.fit()), l.revision)
	switch {
	case errors.Is(err, model.ErrConflict):
		return &model.Error{
			Reason: model.ReasonOther, Op: "saving the event counters", Err: err,
			Detail: "another process writes the same record, although this one reads the log",
			Advice: "run the same version everywhere",
		}
	case err != nil:
		l.notSaved(err)
		return nil
	case l.saveFailed:
		l.log.Info("event counters saved again", "record", l.key)
	}
	l.saveFailed, l.revision, l.claim = false, revision, next
	return nil
}

// fit returns the record, and warns once when it has no room for the whole overlap.
func (l *eventLog) fit() []byte {
	content := l.state.fit()
	overlap := l.state.newest.Sub(l.state.readFrom())
	shortened := overlap != eventOverlap
	if shortened && !l.shortened {
		l.log.Warn("event overlap shortened", "record", l.key, "overlap", overlap.Round(time.Second).String(),
			"advice", "nothing to do: so many entries came at once that entries which appear later than this in the log are not counted")
	}
	l.shortened = shortened
	return content
}

// notSaved warns once, until a save works again.
func (l *eventLog) notSaved(err error) {
	if !l.saveFailed {
		l.log.Warn("saving event counters failed", "record", l.key, "err", err)
	}
	l.saveFailed = true
}
