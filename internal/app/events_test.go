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
func (p seriesList) sum(t *testing.T) (sum float64) {
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

// eventsCounted is how many entries of the provisioning log /metrics shows.
func (h *harness) eventsCounted() int {
	h.t.Helper()
	return int(h.series().matching("provisioning_events_total{").sum(h.t))
}

// eventsLogged is how many entries the provisioning log holds, bulk events not counted.
func (h *harness) eventsLogged() (count int) {
	h.t.Helper()
	h.With(func(now *clouds.Model) {
		entries, err := now.ProvisioningLog(clouds.CallerFor(clouds.ActorOperator), h.Connection.EntraTenantID, clouds.LogFilter{})
		if err != nil {
			h.t.Fatal(err)
		}
		count = len(entries)
	})
	return count
}

// addEvents adds bulk events to the provisioning log of the first connection.
func (h *harness) addEvents(count int, every time.Duration) {
	h.t.Helper()
	c := h.Connection
	if err := h.AddBulkEvents(simulator.BulkEvents{
		TenantID: c.EntraTenantID, ServicePrincipalID: c.ServicePrincipalID, JobID: c.JobID,
		Count: count, From: time.Now(), Every: simulator.Duration(every),
	}); err != nil {
		h.t.Fatal(err)
	}
}

// logReadKiller kills the process in the middle of the nth page of the log: half of the
// response has arrived, and from then on the process can neither call nor write.
type logReadKiller struct {
	next      http.RoundTripper
	pagesLeft atomic.Int32 // pages until then
	dead      atomic.Bool
	stop      chan struct{}
	moveState func() // moves the state directory away
}

// RoundTrip implements http.RoundTripper.
func (p *logReadKiller) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.dead.Load() {
		return nil, errKilled
	}
	response, err := p.next.RoundTrip(r)
	if err == nil && strings.HasSuffix(r.URL.Path, "/auditLogs/provisioning") && p.pagesLeft.Add(-1) == 0 {
		response.Body = &halfBody{ReadCloser: response.Body, killer: p}
	}
	return response, err
}

type halfBody struct {
	io.ReadCloser
	killer *logReadKiller
	read   int
}

func (b *halfBody) Read(into []byte) (int, error) {
	const half = 200_000 // of a page of a thousand entries
	if b.read >= half {
		if b.killer.dead.CompareAndSwap(false, true) {
			b.killer.moveState()
			close(b.killer.stop)
		}
		return 0, errKilled
	}
	n, err := b.ReadCloser.Read(into[:min(len(into), half)])
	b.read += n
	if errors.Is(err, io.EOF) {
		return n, errors.New("the page is shorter than the test expects")
	}
	return n, err
}

// Killed three times while it reads a long log, the exporter has counted every entry
// exactly once in the end.
func TestKilledWhileReadingTheProvisioningLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		h.edit(fastIntervals, eventIntervals)
		h.start()
		time.Sleep(30 * time.Minute) // by then delayed entries are counted, too
		first, own := h.eventsCounted(), h.eventsLogged()
		h.stop()

		const entries = 40_000
		h.addEvents(entries, 100*time.Millisecond)
		for n, name := range []string{"ann@example.com", "bob@example.com", "eve@example.com"} {
			if _, err := h.Perform(simulator.Action{Do: "add_user", UserName: name}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(n+1) * 20 * time.Minute)
		}
		for _, pages := range []int32{5, 16, 33} {
			p := &logReadKiller{stop: make(chan struct{}), moveState: func() {
				if err := os.Rename(h.path("state"), h.path("state.aside")); err != nil {
					t.Error(err)
				}
			}}
			p.pagesLeft.Store(pages)
			h.wrapTransport = func(next http.RoundTripper) http.RoundTripper { p.next = next; return p }
			h.start()
			<-p.stop
			h.stop()
			if err := os.Rename(h.path("state.aside"), h.path("state")); err != nil {
				t.Fatal(err)
			}
		}
		h.wrapTransport = nil
		h.start()
		time.Sleep(time.Hour)
		happened := entries + h.eventsLogged() - own
		if own == h.eventsLogged() {
			t.Error("the provisioning job has logged nothing")
		}
		if counted := h.eventsCounted() - first; counted != happened {
			t.Errorf("counted %d entries, %d have happened", counted, happened)
		} else {
			t.Logf("%d entries, counted exactly", happened)
		}
	})
}

// A long log is read page by page, so memory does not grow with it. MATRIX=full reads a
// million entries.
func TestALongLogIsStreamed(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures memory")
	}
	entries := 20_000
	if strings.HasPrefix(os.Getenv("MATRIX"), "full") {
		entries = 1_000_000
	}
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		h.edit(fastIntervals, eventIntervals)
		h.start()
		time.Sleep(20 * time.Minute)
		first, own := h.eventsCounted(), h.eventsLogged()
		h.stop()
		h.addEvents(entries, 10*time.Millisecond)
		time.Sleep(time.Duration(entries) * 10 * time.Millisecond)
		h.start()
		time.Sleep(firstPoll)
		floor, most := heapInUse(), uint64(0)
		polls := 0
		for h.eventsCounted()-first < entries && polls < 200 {
			time.Sleep(30 * time.Second)
			most = max(most, heapInUse())
			polls++
		}
		time.Sleep(20 * time.Minute)
		if counted, happened := h.eventsCounted()-first, entries+h.eventsLogged()-own; counted != happened {
			t.Errorf("counted %d entries, %d have happened", counted, happened)
		}
		pages := h.Calls()["GET provisioning"]
		t.Logf("%d entries in %d calls; at most %d KiB more in use than after the first pages", entries, pages, (int64(most)-int64(floor))>>10)
		if grown := int64(most) - int64(floor); grown > 24<<20 { // two pages, and the simulator's own memory
			t.Errorf("%d bytes more in use while reading", grown)
		}
	})
}

func heapInUse() uint64 {
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return memory.HeapAlloc
}
