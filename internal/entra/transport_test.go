package entra

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
)

// retryAfter refuses the first times, then serves a job.
func retryAfter(times int, value func() string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if times--; times >= 0 {
			w.Header().Set("Retry-After", value())
			answerJSON(w, 429, `{"error":{"code":"TooManyRequests","message":"Too many requests"}}`)
			return
		}
		answerJSON(w, 200, healthyJob)
	}
}

func fixedValue(value string) func() string { return func() string { return value } }

func TestRetryAfter(t *testing.T) {
	inHalfAMinute := func() string { return time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat) }
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		took   time.Duration
		calls  int
		want   string // "": it is read in the end
	}{
		"30 seconds":        {retryAfter(1, fixedValue("30")), 30 * time.Second, 2, ""},
		"30 seconds, twice": {retryAfter(2, fixedValue("30")), 60 * time.Second, 3, ""},
		"a date":            {retryAfter(1, inHalfAMinute), 30 * time.Second, 2, ""},
		"a fraction":        {retryAfter(1, fixedValue("0.2")), time.Second, 2, ""},
		"a date gone by":    {retryAfter(1, fixedValue("Thu, 01 Jan 1998 00:00:00 GMT")), time.Second, 2, ""},
		"nonsense":          {retryAfter(1, fixedValue("soon")), time.Second, 2, ""},
		"NaN":               {retryAfter(1, fixedValue("NaN")), time.Second, 2, ""},
		"3600 seconds": {
			retryAfter(9, fixedValue("3600")), 0, 1, "reading the provisioning job: throttled: 429 TooManyRequests: Too many requests, retry after 10m0s",
		},
		"for ever": {
			retryAfter(99, fixedValue("1")), 3 * time.Second, 4, "reading the provisioning job: throttled: 429 TooManyRequests: Too many requests, retry after 1s",
		},
		"an eternity": {
			retryAfter(9, fixedValue("1e300")), 0, 1, "reading the provisioning job: throttled: 429 TooManyRequests: Too many requests, retry after 10m0s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				m := newMicrosoft(t)
				m.serve["GET "+jobURL] = test.answer
				m.serve["GET "+secretsURL] = always(403, `{}`)
				began := time.Now()
				_, err := m.application().Job(t.Context())
				if took := time.Since(began); took != test.took {
					t.Errorf("took %s, want %s", took, test.took)
				}
				if calls := strings.Count(strings.Join(m.calls(), " "), jobURL); calls != test.calls {
					t.Errorf("asked %d times, want %d", calls, test.calls)
				}
				if test.want != "" {
					wantError(t, err, test.want)
				} else if err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestRetryAfterDateUsesTheServicesClock lets the service's clock be two days ahead.
func TestRetryAfterDateUsesTheServicesClock(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMicrosoft(t)
		cloud := func() time.Time { return time.Now().Add(48 * time.Hour).UTC() }
		answer := retryAfter(1, func() string { return cloud().Add(20 * time.Second).Format(http.TimeFormat) })
		m.serve["GET "+jobURL] = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Date", cloud().Format(http.TimeFormat))
			answer(w, r)
		}
		began := time.Now()
		if _, err := m.application().Job(t.Context()); err != nil || time.Since(began) != 20*time.Second {
			t.Errorf("%v after %s", err, time.Since(began))
		}
	})
}

// Test429PausesTheTenant: later requests wait until the time is over, and
// those to the other service continue.
func Test429PausesTheTenant(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMicrosoft(t)
		m.serve["GET /v1.0/auditLogs/provisioning"] = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "600")
			answerJSON(w, 429, `{}`)
		}
		m.serve["GET "+jobURL] = always(200, healthyJob)
		a := m.application()
		read := func() error {
			return a.tenant.Events(within(t, time.Minute), time.Time{}, time.Time{}, func(model.Event) error { return nil })
		}
		if err := read(); model.ReasonOf(err) != model.ReasonThrottled {
			t.Fatalf("got %v", err)
		}
		time.Sleep(100 * time.Second)
		before := len(m.calls())
		err := read()
		wantError(t, err, "reading the provisioning log: throttled: Graph asked this tenant to wait another 8m20s")
		if _, err := a.Exports(within(t, time.Minute), time.Now()); model.ReasonOf(err) != model.ReasonThrottled {
			t.Errorf("got %v", err)
		}
		if !isUnsent(err) || len(m.calls()) != before {
			t.Error("Graph was asked in the pause")
		}
		if _, err := a.Job(t.Context()); err != nil {
			t.Errorf("the job's reading fails with the log's: %v", err)
		}
		m.serve["GET /v1.0/auditLogs/provisioning"] = always(200, `{"value":[]}`)
		time.Sleep(450 * time.Second)
		if err := read(); err != nil { // fifty seconds to wait, within its minute
			t.Error(err)
		}
	})
}

// Test429OfOneJob: a job's 429 asks for a wait that is absurd. It delays the tenant's jobs
// for ten minutes, and neither the directory nor the log.
func Test429OfOneJob(t *testing.T) {
	for _, asked := range []string{"3600", "31536000"} {
		inBubble(t, func(t *testing.T) {
			m := newMicrosoft(t)
			m.serve["GET "+jobURL] = retryAfter(1, fixedValue(asked))
			m.serve["GET /v1.0/auditLogs/provisioning"] = always(200, `{"value":[]}`)
			m.serve["GET /v1.0/applications"] = always(200, `{"value":[]}`)
			a := m.application()
			_, err := a.Job(t.Context())
			wantError(t, err, "reading the provisioning job: throttled: 429 TooManyRequests: Too many requests, retry after 10m0s")
			if err := a.tenant.Events(within(t, time.Minute), time.Time{}, time.Time{}, nil); err != nil {
				t.Errorf("the log's reading fails with the job's: %v", err)
			}
			if _, err := a.tenant.AppCredentials(within(t, time.Minute)); model.ReasonOf(err) == model.ReasonThrottled {
				t.Errorf("the directory's reading fails with the job's: %v", err)
			}
			time.Sleep(5 * time.Minute)
			_, err = a.Job(within(t, time.Minute))
			wantError(t, err, "reading the provisioning job: throttled: Graph asked this tenant to wait another 5m0s")
			time.Sleep(5 * time.Minute)
			if _, err := a.Job(within(t, time.Minute)); err != nil {
				t.Errorf("after ten minutes: %v", err)
			}
		})
	}
}

// TestAuditLogRateLimit sends many requests at once and checks every window of ten seconds.
func TestAuditLogRateLimit(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMicrosoft(t)
		var times []time.Time
		m.serve["GET /v1.0/auditLogs/provisioning"] = func(w http.ResponseWriter, _ *http.Request) {
			m.mu.Lock()
			times = append(times, time.Now())
			m.mu.Unlock()
			answerJSON(w, 200, `{"value":[]}`)
		}
		tenant := m.tenant()
		var readings sync.WaitGroup
		for range 40 {
			readings.Go(func() {
				if err := tenant.Events(t.Context(), time.Time{}, time.Time{}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		readings.Wait()
		for i := 5; i < len(times); i++ {
			if window := times[i].Sub(times[i-5]); window <= 10*time.Second {
				t.Errorf("six requests in %s", window)
			}
		}
		if len(times) != 40 {
			t.Errorf("%d requests", len(times))
		}
	})
}
