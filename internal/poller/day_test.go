package poller_test

import (
	"context"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
)

func noTokens(context.Context) (model.TokenList, error) { return model.TokenList{}, nil }

// weather makes a client's method that is throttled, slow or cut off for a part of
// the time, and records when it was called and how the calls ended.
type weather struct {
	random  *rand.Rand
	last    time.Time
	longest time.Duration // between the beginnings of two calls
	endings map[model.Reason]uint64
	good    uint64
}

func under[T any](w *weather) func(context.Context) (T, error) {
	return func(ctx context.Context) (answer T, err error) {
		if now := time.Now(); w.last.IsZero() {
			w.last = now
		} else {
			w.longest, w.last = max(w.longest, now.Sub(w.last)), now
		}
		defer func() {
			if err == nil {
				w.good++
			} else {
				w.endings[model.ReasonOf(err)]++
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
		switch dice := w.random.IntN(10); {
		case dice < 2: // Retry-After, waited for by the client
			if wait(time.Duration(w.random.IntN(90))*time.Second) != nil {
				return answer, &model.Error{Reason: model.ReasonThrottled, Op: "reading", Status: 429}
			}
			return answer, nil
		case dice < 4:
			return answer, &model.Error{Reason: model.ReasonNetwork, Op: "reading", Detail: "no such host"}
		case dice < 6:
			return answer, wait(time.Duration(w.random.IntN(120)) * time.Second)
		default:
			return answer, wait(time.Duration(w.random.IntN(2000)) * time.Millisecond)
		}
	}
}

// TestABadDay holds, over a simulated day of throttling, flapping and slow answers:
// goroutines and memory stay flat, every source goes on, and everything that went
// wrong is in the counters.
func TestABadDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var options poller.Options
		var weathers []*weather
		fresh := func() *weather {
			w := &weather{random: rand.New(rand.NewPCG(1, uint64(len(weathers)))), endings: make(map[model.Reason]uint64)}
			weathers = append(weathers, w)
			return w
		}
		const connections = 20
		for i := range connections {
			options.Connections = append(options.Connections, poller.Connection{
				Name: string(rune('a' + i)), Tenant: "t", Sources: []poller.Source{
					poller.Tokens(15*time.Minute, under[model.TokenList](fresh())),
					poller.SCIM(time.Hour, under[model.Probe](fresh())),
					poller.Job(5*time.Minute, under[model.Job](fresh())),
				},
			})
		}
		options.Tenants = []poller.Tenant{{Name: "t", Sources: []poller.Source{
			poller.AppCredentials(time.Hour, under[[]model.AppCredential](fresh())),
		}}}
		w, stop := start(t, options, nil)
		defer stop()

		after(time.Hour)
		goroutines, heap := runtime.NumGoroutine(), liveHeap()
		after(23 * time.Hour)
		if now := runtime.NumGoroutine(); now > goroutines {
			t.Errorf("%d goroutines after a day, %d after an hour", now, goroutines)
		}
		if now := liveHeap(); now > heap+1<<20 {
			t.Errorf("%d bytes live after a day, %d after an hour", now, heap)
		}
		// What the stubs did is what the counters say.
		for i, snapshot := range w.Snapshots() {
			for j, source := range []model.Source{model.SourceTokens, model.SourceSCIM, model.SourceJob} {
				status, _ := snapshot.Status(source)
				did := weathers[3*i+j]
				if did.good == 0 || len(did.endings) < 2 {
					t.Errorf("%s %s: the day was not bad: %d good, %v", snapshot.Connection, source, did.good, did.endings)
				}
				if most := status.Interval + status.Interval/10; did.longest > most {
					t.Errorf("%s %s: silent for %s, at most %s is allowed", snapshot.Connection, source, did.longest, most)
				}
				for reason, times := range did.endings {
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
