package poller_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
)

// fleet are the connections of some tenants. It records the reads of their sources.
type fleet struct {
	mu       sync.Mutex
	begun    []fleetRead
	underWay map[string]int // by tenant
	most     map[string]int
	took     func(read fleetRead) time.Duration // that a read takes
}

type fleetRead struct {
	tenant string
	source model.Source
	at     time.Time
}

func newFleet(took func(fleetRead) time.Duration) *fleet {
	return &fleet{underWay: map[string]int{}, most: map[string]int{}, took: took}
}

// connections returns so many connections of a tenant, with these sources.
func (f *fleet) connections(tenant string, n int, interval time.Duration, names ...model.Source) []poller.Connection {
	var list []poller.Connection
	for i := range n {
		connection := poller.Connection{Name: fmt.Sprint(tenant, "-", i), Tenant: tenant}
		for _, name := range names {
			connection.Sources = append(connection.Sources, f.source(tenant, name, interval))
		}
		list = append(list, connection)
	}
	return list
}

func (f *fleet) source(tenant string, name model.Source, interval time.Duration) poller.Source {
	source := poller.Job(interval, func(ctx context.Context) (model.Job, error) {
		read := fleetRead{tenant, name, time.Now()}
		f.mu.Lock()
		f.begun = append(f.begun, read)
		f.underWay[tenant]++
		f.most[tenant] = max(f.most[tenant], f.underWay[tenant])
		f.mu.Unlock()
		defer func() {
			f.mu.Lock()
			f.underWay[tenant]--
			f.mu.Unlock()
		}()
		select {
		case <-time.After(f.took(read)):
			return model.Job{}, nil
		case <-ctx.Done():
			return model.Job{}, ctx.Err()
		}
	})
	source.Name = name
	return source
}

// A start reads all tenants side by side, a few connections of each at a time, and what
// expires first.
func TestStartIsBoundedAndInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(func(fleetRead) time.Duration { return 500 * time.Millisecond })
		var options poller.Options
		for tenant := range 5 {
			options.Connections = append(options.Connections, f.connections(fmt.Sprint("t", tenant), 40, time.Hour,
				model.SourceJob, model.SourceCertificates)...)
		}
		p, stop := start(t, options, nil)
		defer stop()
		advance(time.Minute)
		if !p.Ready() || len(f.begun) != 400 {
			t.Fatalf("%d reads", len(f.begun))
		}
		for tenant, most := range f.most {
			if most > 8 {
				t.Errorf("%d reads of %s at a time", most, tenant)
			}
		}
		early := 0
		for _, read := range f.begun[:200] {
			if read.source == model.SourceJob {
				early++
			}
		}
		if early > 10 { // the tenants need not be equally fast
			t.Errorf("%d jobs were read among the certificates", early)
		}
	})
}

// A tenant that hangs delays no other, and each of its own reads is tried and fails.
func TestHangingTenantDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(func(read fleetRead) time.Duration {
			if read.tenant == "hanging" {
				return time.Hour
			}
			return 200 * time.Millisecond
		})
		const connections = 100
		options := poller.Options{Connections: append(f.connections("hanging", connections, 5*time.Minute, model.SourceJob, model.SourceTokens),
			f.connections("other", connections, 5*time.Minute, model.SourceJob, model.SourceTokens)...)}
		p, stop := start(t, options, nil)
		defer stop()
		began := time.Now()
		advance(time.Hour)
		reads := map[string][]time.Time{}
		for _, read := range f.begun {
			reads[read.tenant] = append(reads[read.tenant], read.at)
		}
		// 200 reads of 200 ms, 8 at a time.
		if last := reads["other"][2*connections-1].Sub(began); last > 6*time.Second {
			t.Errorf("the last first read of the other tenant began after %s", last)
		}
		// Its interval has a tenth of jitter.
		if n := len(reads["other"]); n < 2*connections*10 {
			t.Errorf("the other tenant was read %d times in an hour", n)
		}
		for _, snapshot := range p.Snapshots() {
			for _, status := range snapshot.Sources {
				switch hangs := strings.HasPrefix(snapshot.Connection, "hanging"); {
				case hangs && (status.Errors[model.ReasonTimeout] < 5 || status.Up()):
					t.Fatalf("%s %s: %+v", snapshot.Connection, status.Source, status)
				case !hangs && (len(status.Errors) > 0 || !status.Up()):
					t.Fatalf("%s %s: %+v", snapshot.Connection, status.Source, status)
				}
			}
		}
	})
}

// The time in which a read waits for others is not part of its timeout.
func TestWaitForASlotIsNoTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(func(fleetRead) time.Duration { return 50 * time.Second }) // of the 60 that it may take
		options := poller.Options{Connections: f.connections("slow", 300, time.Hour, model.SourceJob)}
		p, stop := start(t, options, nil)
		defer stop()
		advance(5 * time.Minute)
		if failed := slices.IndexFunc(p.Snapshots(), func(s model.Snapshot) bool { return !s.Sources[0].Up() }); failed >= 0 {
			t.Errorf("%+v", p.Snapshots()[failed].Sources[0])
		}
		if last := f.begun[299].at.Sub(f.begun[0].at); last < time.Minute {
			t.Errorf("all reads began within %s, so none waited", last)
		}
	})
}
