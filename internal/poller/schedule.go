package poller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"entra-aws-exporter/internal/model"
)

// schedule looks at one source again and again, never twice at the same time.
type schedule struct {
	board      *board
	source     Source
	feeds      []int  // the connections it is read for, as places on the board
	connection string // the only one it is read for, or
	tenant     string // the tenant for whose connections it is read
	identity   string // of that connection or tenant
	log        *slog.Logger

	first   time.Duration // how long the first look waits
	after   []<-chan struct{}
	tried   chan struct{} // closed after the first look
	again   chan struct{} // asks for a look out of turn
	failing episode
	skew    *skew
}

// Every gap between two looks is longer than the interval by up to this part of it,
// so that what started together drifts apart.
const jitterPart = 10

// What the network did passes sooner than other failures: the first look after one
// comes after this time, then after twice that and so on up to the interval.
const firstRetry = time.Minute

// A source of a tenant waits this long for the tenant's connections: the provisioning
// log can be assigned only to those that are resolved.
const patience = 10 * time.Second

func newSchedule(board *board, source Source, feeds []int, skews skews, log *slog.Logger) *schedule {
	log = log.With("reading", source.Name) // "source" is the line of code, to the logger
	board.watch(feeds, source)
	return &schedule{
		board: board, source: source, feeds: feeds, log: log,
		tried: make(chan struct{}), again: make(chan struct{}, 1),
		failing: episode{log: log}, skew: skews.of(source.Name),
	}
}

// run looks until the context is cancelled.
func (s *schedule) run(ctx context.Context) {
	s.await(ctx)
	timer := time.NewTimer(s.first)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.again:
			if s.failing.reason() == model.ReasonThrottled {
				continue
			}
		}
		started := time.Now()
		s.look(ctx)
		s.markTried()
		timer.Reset(time.Until(started.Add(s.gap())))
	}
}

// wasTried reports whether the first look is over.
func (s *schedule) wasTried() bool {
	select {
	case <-s.tried:
		return true
	default:
		return false
	}
}

// markTried is called by the one goroutine that runs the schedule, or before it starts.
func (s *schedule) markTried() {
	if !s.wasTried() {
		close(s.tried)
	}
}

// await waits until what the first look comes after has been tried.
func (s *schedule) await(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, other := range s.after {
		select {
		case <-other:
		case <-ctx.Done():
			return
		}
	}
}

// refresh asks for a look now; several wishes before it happens are one.
func (s *schedule) refresh() {
	select {
	case s.again <- struct{}{}:
	default:
	}
}

// gap is the time from the start of one look to the start of the next.
func (s *schedule) gap() time.Duration {
	gap := s.source.Interval
	if reason := s.failing.reason(); reason == model.ReasonNetwork || reason == model.ReasonTimeout {
		const doublings = 10 // beyond any interval
		gap = min(gap, firstRetry<<min(s.failing.attempts-1, doublings))
	}
	return gap + jitter(gap/jitterPart)
}

// resumeAt says how long the first look waits. What was read without a failure
// before a reload keeps its rhythm, everything else is spread over a moment.
func (s *schedule) resumeAt(spread time.Duration) time.Duration {
	wait := jitter(spread)
	for _, snapshot := range s.board.at(s.feeds) {
		status, _ := snapshot.Status(s.source.Name)
		if !status.Up() {
			return jitter(spread)
		}
		wait = max(wait, time.Until(status.LastAttempt.Add(s.source.Interval)))
	}
	return min(wait, s.source.Interval)
}

// look reads once and publishes the result. A look that was cut short because the
// exporter stops is no result.
func (s *schedule) look(ctx context.Context) {
	started := time.Now()
	limited, cancel := context.WithTimeout(ctx, s.source.Deadline)
	defer cancel()
	reading, err := s.read(limited)
	now := time.Now()
	switch {
	case errors.Is(err, model.ErrSourceOff):
		s.board.switchOff(s.feeds, s.source.Name, reading)
		s.failing.over()
		s.skew.forget(s)
		return
	case err != nil && ctx.Err() != nil:
		return
	}
	s.board.publish(s.feeds, s.source.Name, reading, err, now)
	s.failing.record(err, now)
	s.skew.check(s, reading.Date, started, now)
}

// read contains a panic: an answer that nobody thought of must not take the other
// sources away.
func (s *schedule) read(ctx context.Context) (_ Result, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.log.Debug("panic while reading", "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			err = &model.Error{
				Reason: model.ReasonOther, Op: "reading " + string(s.source.Name),
				Detail: fmt.Sprintf("panic: %v", cause),
				Advice: "this is a bug of the exporter, --log.level=debug logs the stack",
			}
		}
	}()
	return s.source.Read(ctx, s.board.at(s.feeds))
}
