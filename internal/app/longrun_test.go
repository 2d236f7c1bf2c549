package app

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// values returns the value of each series.
func (p seriesList) values(t *testing.T) map[string]float64 {
	t.Helper()
	values := make(map[string]float64, len(p))
	for _, line := range p {
		at := strings.LastIndexByte(line, ' ')
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatal(err)
		}
		values[line[:at]] = value
	}
	return values
}

// A day of throttling, DNS failures and slow responses: nothing accumulates, and whenever
// a poll fails, /metrics shows it. FLEET=N is a day of a fleet.
func TestDayOfFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("it measures memory")
	}
	synctest.Test(t, func(t *testing.T) {
		w := newModel()
		scenario, n := "demo", fleetSize(t, 0)
		if n > 0 {
			scenario = fmt.Sprint("fleet-", n)
		}
		if err := simulator.Seed(w, scenario); err != nil {
			t.Fatal(err)
		}
		h := newHarnessFor(t, w)
		h.edit(fastIntervals, "intervals: {tokens: 15m, scim: 15m, usage: 15m, job: 5m, events: 5m, certificates: 30m, app_credentials: 30m}")
		flapping := &faultingTransport{matches: func(*http.Request) bool { return true }}
		h.wrapTransport = flapping.wrap
		h.start()
		time.Sleep(time.Hour)
		synctest.Wait()
		// The heap first: until it is measured, a goroutine that has just ended still counts.
		heap, goroutines := heapInUse(), runtime.NumGoroutine()

		day := &metricsObserver{t: t, connections: h.Credentials.Connections, last: map[string]float64{}, errors: map[string]float64{}, changed: map[string]time.Time{}}
		day.observe(h.series())
		h.InjectFault(simulator.Fault{Operation: "*", Effect: simulator.EffectDelay, Delay: simulator.Duration(11 * time.Second), Probability: 0.2})
		h.InjectFault(simulator.Fault{Operation: "*", Effect: simulator.EffectHang, Probability: 0.03})
		h.InjectFault(simulator.Fault{Operation: "*", Effect: simulator.EffectTrickle, Probability: 0.02})
		h.InjectFault(simulator.Fault{Operation: "*", Status: 429, Code: "TooManyRequestsException", RetryAfter: "20", Probability: 0.1})
		random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // not a secret
		for began := time.Now(); time.Since(began) < 22*time.Hour; {
			flapping.failWith(nil)
			if random.IntN(3) == 0 {
				flapping.failWith(errDNS())
			}
			for range 1 + random.IntN(5) {
				time.Sleep(3 * time.Minute)
				day.observe(h.series())
			}
		}
		t.Logf("%d connections: %d intervals were missed, %d failures counted, in %v", len(h.Credentials.Connections), day.missed, int(h.series().matching("source_errors_total").sum(t)), day.reasons(h.series()))
		if day.missed == 0 || len(day.reasons(h.series())) < 3 {
			t.Error("there were too few faults")
		}

		flapping.failWith(nil)
		h.ClearFaults()
		time.Sleep(time.Hour)
		for _, line := range h.series().matching("source_up") {
			if !strings.HasSuffix(line, " 1") {
				t.Errorf("it does not heal: %s", line)
			}
		}
		synctest.Wait()
		// The simulator's log entries are in the same memory.
		if now := heapInUse(); now > heap+uint64(12+n)<<20 {
			t.Errorf("%d KiB more in use after the day", (now-heap)>>10)
		} else {
			t.Logf("%d KiB in use before the day and %d KiB after it, the simulator's included; %d goroutines, then %d", heap>>10, now>>10, goroutines, runtime.NumGoroutine())
		}
		if now := runtime.NumGoroutine(); now > goroutines {
			t.Errorf("%d goroutines after the day, %d before", now, goroutines)
		}
	})
}

// metricsObserver compares successive scrapes.
type metricsObserver struct {
	t           *testing.T
	connections []clouds.Connection
	last        map[string]float64 // the last success, by source and connection
	errors      map[string]float64
	changed     map[string]time.Time // when it changed last
	missed      int
}

// observe checks one scrape: a source whose last success is older than interval, jitter
// and deadline allow must be down, with its failures counted.
func (m *metricsObserver) observe(p seriesList) {
	m.t.Helper()
	now, values, allFailures := time.Now(), p.values(m.t), map[string]float64{}
	for series, value := range values {
		if labels, found := strings.CutPrefix(series, "entra_aws_source_errors_total"); found {
			before, rest, _ := strings.Cut(labels, `,reason="`)
			_, after, _ := strings.Cut(rest, `"`)
			allFailures[before+after] += value
		}
	}
	for _, connection := range m.connections {
		for _, source := range model.Sources() {
			labels := fmt.Sprintf(`{connection=%q,source=%q}`, connection.Name, source)
			interval, known := values["entra_aws_source_interval_seconds"+labels]
			success, succeeded := values["entra_aws_source_last_success_timestamp_seconds"+labels]
			up, tried := values["entra_aws_source_up"+labels]
			failures := allFailures[labels]
			if !known || !succeeded || !tried {
				m.t.Fatalf("%s is not on the page", labels)
			}
			if success != m.last[labels] {
				m.last[labels], m.errors[labels], m.changed[labels] = success, failures, now
				continue
			}
			deadline := min(max(interval, 60), 300)
			if float64(now.Unix())-success > 1.1*interval+deadline {
				m.missed++
				if up != 0 || failures <= m.errors[labels] {
					m.t.Errorf("%s: the last success is %s old, and the page says up %v, %v failures as before", labels,
						now.Sub(time.Unix(int64(success), 0)), up, failures)
				}
			}
		}
	}
}

func (m *metricsObserver) reasons(p seriesList) map[string]int {
	found := map[string]int{}
	for _, line := range p.matching("source_errors_total") {
		_, rest, _ := strings.Cut(line, `reason="`)
		reason, _, _ := strings.Cut(rest, `"`)
		value, err := strconv.Atoi(line[strings.LastIndexByte(line, ' ')+1:])
		if err != nil {
			m.t.Fatal(err)
		}
		found[reason] += value
	}
	return found
}
