package poller_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
)

func noTokens(context.Context) (model.TokenList, error) { return model.TokenList{}, nil }

// randomFailures is a client's method that is throttled, slow or unreachable for a part of the
// time. It records when it was called and how the calls ended.
type randomFailures struct {
	random    *rand.Rand
	last      time.Time
	longest   time.Duration // between the beginnings of two calls
	failures  map[model.Reason]uint64
	successes uint64
	calls     *atomic.Int64 // that are under way, of all stubs
}

func failingRead[T any](f *randomFailures) func(context.Context) (T, error) {
	return func(ctx context.Context) (answer T, err error) {
		if now := time.Now(); f.last.IsZero() {
			f.last = now
		} else {
			f.longest, f.last = max(f.longest, now.Sub(f.last)), now
		}
		f.calls.Add(1)
		defer func() {
			f.calls.Add(-1)
			if err == nil {
				f.successes++
			} else {
				f.failures[model.ReasonOf(err)]++
			}
		}()
		wait := func(d time.Duration) error {
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		switch roll := f.random.IntN(10); {
		case roll < 2: // Retry-After, waited for by the client
			if wait(time.Duration(f.random.IntN(90))*time.Second) != nil {
				return answer, &model.Error{Reason: model.ReasonThrottled, Op: "reading", Status: 429}
			}
			return answer, nil
		case roll < 4:
			return answer, &model.Error{Reason: model.ReasonNetwork, Op: "reading", Detail: "no such host"}
		case roll < 6:
			return answer, wait(time.Duration(f.random.IntN(120)) * time.Second)
		default:
			return answer, wait(time.Duration(f.random.IntN(2000)) * time.Millisecond)
		}
	}
}

// TestADayOfFailures checks, over a simulated day of throttling, flapping and slow answers:
// goroutines and memory stay flat, every source is still polled, and every failure is
// counted.
func TestADayOfFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var options poller.Options
		var stubs []*randomFailures
		var calls atomic.Int64
		fresh := func() *randomFailures {
			w := &randomFailures{calls: &calls, random: rand.New(rand.NewPCG(1, uint64(len(stubs)))), failures: make(map[model.Reason]uint64)}
			stubs = append(stubs, w)
			return w
		}
		const connections = 20
		for i := range connections {
			options.Connections = append(options.Connections, poller.Connection{
				Name: string(rune('a' + i)), Tenant: "t", Sources: []poller.Source{
					poller.Tokens(15*time.Minute, failingRead[model.TokenList](fresh())),
					poller.SCIM(time.Hour, failingRead[model.Probe](fresh())),
					poller.Job(5*time.Minute, failingRead[model.Job](fresh())),
				},
			})
		}
		options.Tenants = []poller.Tenant{{Name: "t", Sources: []poller.Source{
			poller.AppCredentials(time.Hour, failingRead[[]model.AppCredential](fresh())),
		}}}
		p, stop := start(t, options, nil)
		defer stop()

		advance(time.Hour)
		idle := func() int64 { return int64(runtime.NumGoroutine()) - calls.Load() }
		// The heap first: until it is measured, a goroutine that has just ended still counts.
		heap, goroutines := liveHeap(), idle()
		advance(23 * time.Hour)
		if now := liveHeap(); now > heap+1<<20 {
			t.Errorf("%d bytes live after a day, %d after an hour", now, heap)
		}
		if now := idle(); now > goroutines {
			t.Errorf("%d goroutines besides the reads after a day, %d after an hour", now, goroutines)
		}
		// The counters match what the stubs did.
		for i, snapshot := range p.Snapshots() {
			for j, source := range []model.Source{model.SourceTokens, model.SourceSCIM, model.SourceJob} {
				status, _ := snapshot.Status(source)
				stub := stubs[3*i+j]
				if stub.successes == 0 || len(stub.failures) < 2 {
					t.Errorf("%s %s: too few failures: %d successes, %v", snapshot.Connection, source, stub.successes, stub.failures)
				}
				if most := status.Interval + status.Interval/10; stub.longest > most {
					t.Errorf("%s %s: not polled for %s, at most %s is allowed", snapshot.Connection, source, stub.longest, most)
				}
				for reason, times := range stub.failures {
					if status.Errors[reason] != times {
						t.Errorf("%s %s: %d times %s, counted %d", snapshot.Connection, source, times, reason, status.Errors[reason])
					}
				}
			}
		}
	})
}

func liveHeap() uint64 {
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return memory.HeapAlloc
}
