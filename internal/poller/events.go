package poller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"entra-aws-exporter/internal/model"
)

// EventReader visits the entries of a tenant's provisioning log with after < time <
// before, in any order, and stops at the first error of visit.
type EventReader func(ctx context.Context, after, before time.Time, visit func(model.Event) error) error

// EventStore keeps one record: what has been counted, and up to where.
type EventStore interface {
	// Load returns the record and its revision; a record that is not there is nil
	// bytes with revision "" and no error.
	Load(ctx context.Context, key string) (content []byte, revision string, err error)
	// Save replaces the record, durably and as a whole, if it still has this revision
	// ("": is not there). model.ErrConflict: it has another one, nothing was written.
	Save(ctx context.Context, key string, content []byte, revision string) (newRevision string, err error)
}

const (
	// eventOverlap is how far every reading goes back behind the newest entry seen:
	// entries appear five to ten minutes late.
	// https://learn.microsoft.com/entra/identity/monitoring-health/howto-analyze-provisioning-logs
	eventOverlap = 20 * time.Minute
	// eventHorizon is how far a reading looks ahead of our clock, so that a clock that
	// is behind hides nothing.
	eventHorizon = 7 * 24 * time.Hour
	// narrowestWindow is the least that is asked for at once.
	narrowestWindow = time.Minute

	shortestEventDeadline = time.Minute
	longestEventDeadline  = 5 * time.Minute
	storeDeadline         = 10 * time.Second
	conflictRetries       = 3
)

// eventLog counts the entries of one tenant's provisioning log, each exactly once.
//
// It reads windows of the log: from the overlap behind the newest entry it has seen
// to now. A window's counts, its newest entry and the ids within the overlap are
// committed in one write, so that a crash at any moment repeats a window or does
// not, but never a part of one. What it goes by is the log's own clock; ours only
// begins the very first window.
type eventLog struct {
	read  EventReader
	store EventStore // nil: in memory only
	key   string
	log   *slog.Logger

	state    *eventState // nil: not loaded yet
	inherit  *eventState // from before a reload
	revision string
	failing  bool          // the last save failed
	span     time.Duration // width of a window while catching up; 0: all at once
	reached  time.Time     // up to where a long catching up has read; zero: it is not under way
}

// Events reads a tenant's provisioning log once for all of its connections, and
// assigns each entry by its service principal and job. The first reading ever
// begins 20 minutes back; then on, also after a restart, each continues where the
// last one ended. A store of nil, or one that cannot be used, is one warning, and
// the counters live in memory.
func Events(interval time.Duration, read EventReader, store EventStore, key string, log *slog.Logger) Source {
	l := &eventLog{read: read, store: store, key: key, log: log}
	return Source{
		Name: model.SourceEvents, Interval: interval,
		Deadline: deadline(interval, shortestEventDeadline, longestEventDeadline),
		Read:     l.look, log: l,
	}
}

// look reads what is new, and puts each connection's counters into its snapshot.
func (l *eventLog) look(ctx context.Context, of []model.Snapshot) (Result, error) {
	if l.state == nil {
		l.load(ctx)
	}
	err := l.catchUp(ctx, of)
	counts := l.state.counts()
	return Result{Put: func(s *model.Snapshot) {
		if count, known := counts[s.Connection]; known {
			s.Events = &count
		}
	}}, err
}

// catchUp reads window after window until now. One window is enough unless there is
// more to read than the deadline allows; then the windows become narrower until one
// fits, what was read of each is kept, and the next look goes on from there: a burst of
// entries may be longer than what can be read of the overlap at once.
func (l *eventLog) catchUp(ctx context.Context, of []model.Snapshot) error {
	l.state.bind(of)
	position := l.state.newest.Add(-eventOverlap)
	if l.reached.After(position) {
		position = l.reached
	}
	for conflicts, windows := 0, 0; ; windows++ {
		now := time.Now()
		end, last := now.Add(eventHorizon), true
		if l.span > 0 && position.Add(l.span).Before(now) {
			end, last = position.Add(l.span), false
		}
		window := l.state.window(position, end)
		if err := l.read(ctx, position, end, window.visit); err != nil {
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				width := min(end.Sub(position), now.Sub(position))
				l.span = max(width/2, narrowestWindow)
			}
			if windows > 0 {
				err = fmt.Errorf("read up to %s, the rest follows: %w", position.UTC().Format(time.RFC3339), err)
			}
			return err
		}
		window.commit(now)
		if err := l.save(ctx); err != nil {
			if conflicts++; conflicts > conflictRetries {
				return err
			}
			l.load(ctx)
			l.state.bind(of)
			position, l.reached = l.state.newest.Add(-eventOverlap), time.Time{}
			continue
		}
		if last {
			l.span, l.reached = 0, time.Time{}
			return nil
		}
		l.span *= 2
		position = end.Add(-time.Second)             // the bounds are exclusive, and the log's may be whole seconds
		if position.Before(now.Add(-eventOverlap)) { // nothing appears there any more
			l.reached = position
		}
	}
}

// load begins with what was committed last, by this process or the one before; after
// a conflict it takes what the other writer committed.
func (l *eventLog) load(ctx context.Context) {
	stored, revision, err := l.stored(ctx)
	if err != nil {
		l.store = nil // what cannot be used is kept as it is
		l.log.Warn("the counters of the provisioning log live in memory only and begin anew at a restart: give the exporter a state directory that it can write, without a foreign record",
			"record", l.key, "err", err)
	}
	l.revision = revision
	if stored != nil {
		l.state = stored
	}
	if l.inherit != nil && (l.state == nil || !l.inherit.newest.Before(l.state.newest)) {
		l.state = l.inherit
	}
	l.inherit = nil
	if l.state == nil {
		l.state = newEventState(time.Now())
	}
}

// stored reads the record; nil if there is none yet.
func (l *eventLog) stored(ctx context.Context) (*eventState, string, error) {
	if l.store == nil {
		return nil, "", errors.New("there is no state directory")
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeDeadline)
	defer cancel()
	content, revision, err := l.store.Load(ctx, l.key)
	if err != nil || content == nil {
		return nil, "", err
	}
	state, err := decodeEvents(content)
	if err == nil && state.newest.After(time.Now().Add(eventHorizon)) {
		err = fmt.Errorf("its newest entry is of %s, far in the future", state.newest.Format(time.RFC3339))
	}
	if err != nil {
		return nil, "", err
	}
	return state, revision, nil
}

// save commits the state; its only error is a conflict with another writer. If it
// cannot write, counting goes on in memory and the next save brings everything.
func (l *eventLog) save(ctx context.Context) error {
	if l.store == nil {
		return nil
	}
	// A window that was read is worth its record, even if the exporter is to stop.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeDeadline)
	defer cancel()
	revision, err := l.store.Save(ctx, l.key, l.state.encode(), l.revision)
	switch {
	case errors.Is(err, model.ErrConflict):
		return &model.Error{
			Reason: model.ReasonOther, Op: "saving the counters of the provisioning log", Err: err,
			Detail: "another process writes the same record",
			Advice: "give each exporter a state.directory of its own",
		}
	case err != nil && !l.failing:
		l.log.Warn("saving the counters of the provisioning log failed, they live in memory until it works", "err", err)
	case err == nil && l.failing:
		l.log.Info("saving the counters of the provisioning log works again")
	}
	l.failing = err != nil
	if err == nil {
		l.revision = revision
	}
	return nil
}

// continueFrom takes over the counters of the log before a reload, whose reading has
// ended; they may be ahead of the store's if that could not be written.
func (l *eventLog) continueFrom(old *eventLog) {
	l.span, l.reached, l.inherit = old.span, old.reached, old.state
	if l.inherit == nil { // it never looked
		l.inherit = old.inherit
	}
}
