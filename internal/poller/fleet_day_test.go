package poller_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
)

// dayRead is a source of the fleet over a day, and what its stub did.
type dayRead struct {
	*randomFailures
	connection int // in the order of the options
	source     model.Source
	healthy    bool
}

// TestFleetDay polls a fleet for a simulated day. The first tenant hangs, the second is
// throttled, the last one is healthy; calls of the others are throttled, slow or find no
// host. Memory and goroutines stay flat, each missed interval shows, and nothing delays
// the healthy tenant. FLEET is the number of connections.
func TestFleetDay(t *testing.T) {
	const tenants = 10
	connections, err := strconv.Atoi(os.Getenv("FLEET"))
	if err != nil {
		connections = 50
	}
	synctest.Test(t, func(t *testing.T) {
		var options poller.Options
		var reads []*dayRead
		var calls atomic.Int64
		for i := range connections {
			tenant := i % tenants
			c := poller.Connection{Name: fmt.Sprint("c", i), Tenant: fmt.Sprint("t", tenant)}
			add := func(source model.Source, interval time.Duration) {
				failures := &randomFailures{calls: &calls, random: rand.New(rand.NewPCG(1, uint64(len(reads)))), failures: make(map[model.Reason]uint64)}
				job := poller.Job(interval, dayOf(tenant, tenants, failures))
				job.Name = source
				c.Sources = append(c.Sources, job)
				reads = append(reads, &dayRead{failures, i, source, tenant == tenants-1})
			}
			add(model.SourceTokens, 15*time.Minute)
			add(model.SourceSCIM, time.Hour)
			add(model.SourceUsage, 15*time.Minute)
			add(model.SourceJob, 5*time.Minute)
			add(model.SourceCertificates, time.Hour)
			options.Connections = append(options.Connections, c)
		}
		p, stop := start(t, options, nil)
		defer stop()

		advance(time.Hour)
		measure := func() (goroutines int, kibibytes int64) {
			kibibytes = int64(liveHeap() >> 10)
			return runtime.NumGoroutine() - int(calls.Load()), kibibytes
		}
		goroutines, heap := measure()
		missed := 0
		for range 23 {
			advance(time.Hour)
			missed += checkMissed(t, p)
		}
		goroutinesAfter, heapAfter := measure()
		t.Logf("%d connections: %d goroutines besides the calls after an hour, %d after a day; %d KiB in use, then %d KiB; %d missed intervals at the full hours",
			connections, goroutines, goroutinesAfter, heap, heapAfter, missed)
		if goroutinesAfter > goroutines+5 || heapAfter > heap+1024+int64(connections) {
			t.Error("more than after an hour")
		}
		if missed == 0 {
			t.Error("no interval was missed, so this shows nothing")
		}
		snapshots := p.Snapshots()
		for _, read := range reads {
			status, _ := snapshots[read.connection].Status(read.source)
			for reason, times := range read.failures {
				if status.Errors[reason] != times {
					t.Errorf("%s %s: %d times %s, counted %d", snapshots[read.connection].Connection, read.source, times, reason, status.Errors[reason])
				}
			}
			// A hanging call keeps its slots for two seconds.
			most := status.Interval + status.Interval/10 + 2*time.Second
			if read.healthy && (len(status.Errors) > 0 || read.longest > most) {
				t.Errorf("%s %s of the healthy tenant: not polled for %s, %v", snapshots[read.connection].Connection, read.source, read.longest, status.Errors)
			}
		}
	})
}

// dayOf is what the calls of a tenant do.
func dayOf(tenant, tenants int, failures *randomFailures) func(context.Context) (model.Job, error) {
	random := failingRead[model.Job](failures)
	recorded := func(do func(ctx context.Context) error) func(context.Context) (model.Job, error) {
		return func(ctx context.Context) (model.Job, error) {
			if now := time.Now(); failures.last.IsZero() {
				failures.last = now
			} else {
				failures.longest, failures.last = max(failures.longest, now.Sub(failures.last)), now
			}
			failures.calls.Add(1)
			defer failures.calls.Add(-1)
			err := do(ctx)
			if err != nil {
				failures.failures[model.ReasonOf(err)]++
			}
			return model.Job{}, err
		}
	}
	switch tenant {
	case 0:
		return recorded(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	case 1:
		return recorded(func(context.Context) error {
			return &model.Error{Reason: model.ReasonThrottled, Op: "reading", Status: 429}
		})
	case tenants - 1:
		return recorded(func(context.Context) error { time.Sleep(300 * time.Millisecond); return nil })
	default:
		return random
	}
}

// checkMissed counts the sources whose last success is older than the interval, its
// jitter and a timeout. Each must be down, with its failures counted.
func checkMissed(t *testing.T, p *poller.Poller) (missed int) {
	t.Helper()
	for _, snapshot := range p.Snapshots() {
		for _, status := range snapshot.Sources {
			if time.Since(status.LastSuccess) <= status.Interval+status.Interval/10+time.Minute {
				continue
			}
			missed++
			if status.Up() || len(status.Errors) == 0 {
				t.Errorf("%s %s: the last success was at %s, but it is up: %+v", snapshot.Connection, status.Source, status.LastSuccess, status)
			}
		}
	}
	return missed
}
