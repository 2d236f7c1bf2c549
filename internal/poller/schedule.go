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
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
)

// schedule polls one source on its interval, never twice at the same time.
type schedule struct {
	store   *snapshotStore
	source  Source
	key     sourceKey
	targets []int // the indexes of the connections it is read for
	log     *slog.Logger

	initialDelay time.Duration     // before the first poll
	waitFor      []<-chan struct{} // what the first poll comes after
	polled       chan struct{}     // closed after the first poll,
	markPolled   func()            // by this
	refresh      chan struct{}     // asks for a poll now
	failures     failureStreak
	clock        *cloudClock
}

const (
	// jitterFraction of the interval is the longest random delay that is added to it, so
	// that sources that started together drift apart.
	jitterFraction = 10

	// firstRetry is how soon a source is polled again after a network failure or timeout,
	// which pass sooner than other failures. The delay doubles up to the interval.
	firstRetry = time.Minute

	// startupDelay is how long a source of a tenant waits for the first polls of the
	// tenant's connections: an event of the provisioning log is counted only for a
	// connection whose binding is known.
	startupDelay = 10 * time.Second
)

func newSchedule(store *snapshotStore, key sourceKey, source Source, targets []int, clock *cloudClock, log *slog.Logger) *schedule {
	log = log.With("source_name", source.Name) // the logger uses "source" for the line of code
	store.addSource(targets, source)
	polled := make(chan struct{})
	return &schedule{
		store: store, source: source, key: key, targets: targets, log: log,
		polled: polled, markPolled: sync.OnceFunc(func() { close(polled) }), refresh: make(chan struct{}, 1),
		failures: failureStreak{log: log}, clock: clock,
	}
}

// inheritState copies what a reload keeps: results, error counters and failure streaks of
// a source that is read in the same way, for the unchanged connections among its targets.
func (s *schedule) inheritState(old *schedule) {
	s.store.inheritSource(s.targets, s.source.Name, old.store)
	if s.source.state != nil && old.source.state != nil {
		s.source.state.inheritState(old.source.state)
	}
	if old.wasPolled() {
		s.markPolled()
	}
	s.failures.FailureStreak, s.failures.reason = old.failures.FailureStreak, old.failures.reason
	s.clock.inheritState(old.clock, s.key)
}

// setInitialDelay keeps the rhythm of a source whose last poll, before a reload,
// succeeded. Any other first poll comes at a random moment within spread.
func (s *schedule) setInitialDelay(spread time.Duration) {
	s.initialDelay = jitter(spread)
	wait := s.initialDelay
	for _, snapshot := range s.store.list(s.targets) {
		status, _ := snapshot.Status(s.source.Name)
		if !status.Up() {
			return
		}
		wait = max(wait, time.Until(status.LastAttempt.Add(s.source.Interval)))
	}
	s.initialDelay = min(wait, s.source.Interval)
}

// run polls until the context is canceled.
func (s *schedule) run(ctx context.Context) {
	s.waitForOthers(ctx)
	timer := time.NewTimer(s.initialDelay)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.refresh:
			if s.failures.reason == model.ReasonThrottled {
				continue
			}
		}
		started := time.Now()
		s.poll(ctx)
		s.markPolled()
		timer.Reset(time.Until(started.Add(s.interval())))
	}
}

func (s *schedule) waitForOthers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, startupDelay)
	defer cancel()
	for _, done := range s.waitFor {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}

// wasPolled reports whether the first poll is over.
func (s *schedule) wasPolled() bool {
	select {
	case <-s.polled:
		return true
	default:
		return false
	}
}

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
	s.failures.record(err, now)
	s.clock.check(s.key, result.Date, started, now)
}

// read turns a panic into an error: an unexpected response must not stop the other sources.
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
	return s.source.Read(ctx, s.store.list(s.targets))
}

// failureStreak logs the failures of a source when they begin, when another failure
// appears, and when they are over; not at every attempt.
type failureStreak struct {
	model.FailureStreak
	log    *slog.Logger
	reason model.Reason // of the latest attempt; "": it succeeded
}

func (f *failureStreak) record(err error, at time.Time) {
	if err == nil {
		if f.Attempts > 0 {
			f.log.Info("source recovered", "failed_for", at.Sub(f.Since).Round(time.Second).String(), "attempts", f.Attempts)
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
		f.log.Warn("source read failed", "reason", f.reason, "err", err)
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
