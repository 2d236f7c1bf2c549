package app

import (
	"errors"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// sum adds up the values of series.
func (p page) sum(t *testing.T) (sum float64) {
	t.Helper()
	for _, line := range p {
		value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += value
	}
	return sum
}

// counted is how many entries of the provisioning log the page has seen.
func (l *lab) counted() int {
	l.t.Helper()
	return int(l.series().with("provisioning_events_total{").sum(l.t))
}

// happened is how many entries the provisioning log holds, floods aside.
func (l *lab) happened() (count int) {
	l.t.Helper()
	l.With(func(now *clouds.Model) {
		entries, err := now.ProvisioningLog(clouds.CallerFor(clouds.ActorOperator), l.access.Connections[0].EntraTenantID, clouds.LogFilter{})
		if err != nil {
			l.t.Fatal(err)
		}
		count = len(entries)
	})
	return count
}

// flood fills the provisioning log of the first connection from now on.
func (l *lab) flood(count int, every time.Duration) {
	l.t.Helper()
	c := l.access.Connections[0]
	if err := l.AddFlood(simulator.BulkEvents{
		TenantID: c.EntraTenantID, ServicePrincipalID: c.ServicePrincipalID, JobID: c.JobID,
		Count: count, From: time.Now(), Every: simulator.Duration(every),
	}); err != nil {
		l.t.Fatal(err)
	}
}

// reaper kills a process while it reads the nth page of the log: the first half of the
// answer has come, and from then on it can neither call anybody nor write anything.
type reaper struct {
	next  http.RoundTripper
	left  atomic.Int32 // pages until then
	dead  atomic.Bool
	stop  chan struct{}
	state func() // takes the state directory away
}

// RoundTrip implements http.RoundTripper.
func (p *reaper) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.dead.Load() {
		return nil, errKilled
	}
	response, err := p.next.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.URL.Path, "/auditLogs/provisioning") && p.left.Add(-1) == 0 {
		response.Body = &halfBody{ReadCloser: response.Body, reaper: p}
	}
	return response, err
}

type halfBody struct {
	io.ReadCloser
	reaper *reaper
	read   int
}

func (b *halfBody) Read(into []byte) (int, error) {
	const half = 200_000 // of a page of a thousand entries
	if b.read >= half {
		if b.reaper.dead.CompareAndSwap(false, true) {
			b.reaper.state()
			close(b.reaper.stop)
		}
		return 0, errKilled
	}
	n, err := b.ReadCloser.Read(into[:min(len(into), half)])
	b.read += n
	if errors.Is(err, io.EOF) {
		return n, errors.New("the page was shorter than the test thinks")
	}
	return n, err
}

// Killed three times in the middle of reading a long log, the exporter has counted every
// entry once in the end.
func TestKilledWhileReadingTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := furnish(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		l.edit("events: 15s", "events: 5m")
		l.start()
		time.Sleep(30 * time.Minute) // also what is written with a delay is counted by now
		first, own := l.counted(), l.happened()
		l.stop()

		const entries = 40_000
		l.flood(entries, 100*time.Millisecond)
		for n, name := range []string{"ann@example.com", "bob@example.com", "eve@example.com"} {
			if _, err := l.Perform(simulator.Action{Do: "add_user", UserName: name}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(n+1) * 20 * time.Minute)
		}
		for _, pages := range []int32{5, 16, 33} {
			p := &reaper{stop: make(chan struct{}), state: func() {
				if err := os.Rename(l.path("state"), l.path("left behind")); err != nil {
					t.Error(err)
				}
			}}
			p.left.Store(pages)
			l.around = func(next http.RoundTripper) http.RoundTripper { p.next = next; return p }
			l.start()
			<-p.stop
			l.stop()
			if err := os.Rename(l.path("left behind"), l.path("state")); err != nil {
				t.Fatal(err)
			}
		}
		l.around = nil
		l.start()
		time.Sleep(time.Hour)
		happened := entries + l.happened() - own
		if own == l.happened() {
			t.Error("the engine has written nothing of its own")
		}
		if counted := l.counted() - first; counted != happened {
			t.Errorf("counted %d entries, %d have happened", counted, happened)
		} else {
			t.Logf("%d entries, counted exactly", happened)
		}
	})
}

// A long log goes through the real client a page at a time: memory does not grow with
// it. MATRIX=full reads a million entries.
func TestALongLogIsStreamed(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures memory")
	}
	entries := 60_000
	if strings.HasPrefix(os.Getenv("MATRIX"), "full") {
		entries = 1_000_000
	}
	synctest.Test(t, func(t *testing.T) {
		l := furnish(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		l.edit("events: 15s", "events: 5m")
		l.start()
		time.Sleep(20 * time.Minute)
		first, own := l.counted(), l.happened()
		l.stop()
		l.flood(entries, 10*time.Millisecond)
		time.Sleep(time.Duration(entries) * 10 * time.Millisecond)
		l.start()
		time.Sleep(settle)
		floor, most := live(), uint64(0)
		looks := 0
		for l.counted()-first < entries && looks < 200 {
			time.Sleep(30 * time.Second)
			most = max(most, live())
			looks++
		}
		time.Sleep(20 * time.Minute)
		if counted, happened := l.counted()-first, entries+l.happened()-own; counted != happened {
			t.Errorf("counted %d entries, %d have happened", counted, happened)
		}
		pages := l.Calls()["GET provisioning"]
		t.Logf("%d entries in %d calls; at most %d KiB more in use than after the first pages", entries, pages, (int64(most)-int64(floor))>>10)
		if grown := int64(most) - int64(floor); grown > 24<<20 { // two pages, and what the engine of the clouds remembers
			t.Errorf("%d bytes more in use while reading", grown)
		}
	})
}

func live() uint64 {
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return memory.HeapAlloc
}
