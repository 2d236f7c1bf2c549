package poller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// schedule is one source and when it is polled, never twice at the same time.
type schedule struct {
	store    *snapshotStore
	source   Source
	key      sourceKey
	targets  []int // the indexes of the connections it is read for
	log      *slog.Logger
	failures failureStreak
	clock    *cloudClock

	// The dispatcher's lock guards the following while it runs.
	lane         *lane
	round        *firstRound // that the first poll belongs to; nil: to none
	follows      bool        // the first poll is after a round's
	initialDelay time.Duration
	first, due   time.Time // first: the earliest time of the first poll
	place        int       // in the dispatcher's heap
	running      bool      // a poll is
	begun        bool      // the first poll has
	polled       bool      // the first poll is over
	again        bool      // polled once more after this poll
}

const (
	// jitterFraction of the interval is the longest random delay that is added to it, so
	// that sources that started together drift apart.
	jitterFraction = 10

	// firstRetry is how soon a source is polled again after a network failure or timeout,
	// which pass sooner than other failures. The delay doubles up to the interval.
	firstRetry = time.Minute
)

func newSchedule(store *snapshotStore, key sourceKey, source Source, targets []int, clock *cloudClock, log *slog.Logger) *schedule {
	store.addSource(targets, source)
	return &schedule{store: store, source: source, key: key, targets: targets, log: log, clock: clock, place: notWaiting}
}

// logger is made for each line: most sources write none.
func (s *schedule) logger() *slog.Logger {
	log := s.log.With("entra_tenant", s.key.tenant)
	if s.key.tenant == "" {
		log = s.log.With("connection", s.key.connection)
	}
	return log.With("source_name", s.source.Name) // the logger uses "source" for the line of code
}

// inheritState copies what a reload keeps: results, error counters and failure streaks of
// a source that is read in the same way, for the unchanged connections among its targets.
func (s *schedule) inheritState(old *schedule) {
	s.store.inheritSource(s.targets, s.source.Name, old.store)
	if s.source.state != nil && old.source.state != nil {
		s.source.state.inheritState(old.source.state)
	}
	s.begun, s.polled = old.polled, old.polled
	s.failures.FailureStreak, s.failures.reason = old.failures.FailureStreak, old.failures.reason
	s.clock.inheritState(old.clock, s.key)
}

// setInitialDelay keeps the rhythm of a source whose last poll, before a reload,
// succeeded.
func (s *schedule) setInitialDelay(delay time.Duration) {
	s.initialDelay = delay
	wait := delay
	for _, snapshot := range s.store.list(s.targets) {
		status, _ := snapshot.Status(s.source.Name)
		if !status.Up() {
			return
		}
		wait = max(wait, time.Until(status.LastAttempt.Add(s.source.Interval)))
	}
	s.initialDelay = min(wait, s.source.Interval)
}

// throttled reports whether the latest poll was.
func (s *schedule) throttled() bool { return s.failures.reason == model.ReasonThrottled }

// interval is the time from the start of one poll to the start of the next.
func (s *schedule) interval() time.Duration {
	interval := s.source.Interval
	if reason := s.failures.reason; reason == model.ReasonNetwork || reason == model.ReasonTimeout {
		const maxDoublings = 10 // beyond any interval
		interval = min(interval, firstRetry<<min(s.failures.Attempts-1, maxDoublings))
	}
	return interval + jitter(interval/jitterFraction)
}

// poll reads the source once and publishes the result. A read that was cut short because
// the exporter stops gives no result.
func (s *schedule) poll(ctx context.Context) {
	started := time.Now()
	limited, cancel := context.WithTimeout(ctx, s.source.Timeout)
	defer cancel()
	result, err := s.read(limited)
	now := time.Now()
	off := errors.Is(err, model.ErrSourceOff)
	if err != nil && !off && ctx.Err() != nil {
		return
	}
	s.store.publish(s.targets, s.source.Name, result, err, now)
	if off {
		s.failures.end()
		s.clock.forget(s.key)
		return
	}
	s.failures.record(err, now, s.logger)
	s.clock.check(s.key, result.Date, started, now)
}

// read turns a panic into an error: an unexpected response must not stop the other sources.
func (s *schedule) read(ctx context.Context) (_ Result, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.logger().Debug("panic while reading", "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			err = &model.Error{
				Reason: model.ReasonOther, Op: "reading " + string(s.source.Name),
				Detail: fmt.Sprintf("panic: %v", cause),
				Advice: "this is a bug of the exporter, --log.level=debug logs the stack",
			}
		}
	}()
	return s.source.Read(ctx, s.store.list(s.targets))
}

// failureStreak logs the failures of a source when they begin, when another failure
// appears, and when they are over; not at every attempt.
type failureStreak struct {
	model.FailureStreak
	reason model.Reason // of the latest attempt; "": it succeeded
}

func (f *failureStreak) record(err error, at time.Time, log func() *slog.Logger) {
	if err == nil {
		if f.Attempts > 0 {
			log().Info("source recovered", "failed_for", at.Sub(f.Since).Round(time.Second).String(), "attempts", f.Attempts)
		}
		f.end()
		return
	}
	f.reason = model.ReasonOf(err)
	kind := string(f.reason)
	if f.reason != model.ReasonThrottled && f.reason != model.ReasonTimeout { // other words for the same
		kind += ": " + withoutNumbers(err.Error())
	}
	if f.Add(at, kind, err.Error()) {
		log().Warn("source read failed", "reason", f.reason, "err", err)
	}
}

// withoutNumbers leaves out the words that contain a digit. Request ids, ports and times
// differ at every attempt of the same failure.
func withoutNumbers(text string) string {
	hasDigit := func(word string) bool { return strings.ContainsAny(word, "0123456789") }
	return strings.Join(slices.DeleteFunc(strings.Fields(text), hasDigit), " ")
}

// end forgets the streak without logging.
func (f *failureStreak) end() { f.FailureStreak, f.reason = model.FailureStreak{}, "" }

// jitter returns a random part of d.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d) //nolint:gosec // spreads load, guards nothing
}
