package rotate_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/webhook"
	"entra-aws-exporter/test/harness"
)

// counters counts the decisions of a webhook.
type counters struct {
	mu        sync.Mutex
	decisions map[string]int
}

func (*counters) Request(int) {}

func (c *counters) Alerts(decision string, count int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decisions[decision] += count
}

// TestConcurrentAlerts: 500 callers start one rotation, and each gets its response.
func TestConcurrentAlerts(t *testing.T) {
	h := harness.New(harness.BaseScenario().Quirks, harness.DueConnection(), harness.DefaultPolicy())
	p := h.Open()
	counters := &counters{decisions: map[string]int{}}
	w := webhook.New(p.Engine.Engine, counters, webhook.Options{
		Wanted: func() []webhook.Wanted { return []webhook.Wanted{{Kind: model.ProcedureToken}} }, Logger: slog.New(slog.DiscardHandler),
	})
	const callers = 500
	const payload = `{"version":"4","alerts":[{"status":"firing","labels":{"connection":"corp"}}]}`
	var mu sync.Mutex
	var slowest time.Duration
	codes := map[int]int{}
	var callersDone sync.WaitGroup
	for range callers {
		callersDone.Go(func() {
			began := time.Now()
			request := httptest.NewRequest(http.MethodPost, "/webhook/alertmanager", strings.NewReader(payload))
			request.Header.Set("Content-Type", "application/json")
			response := httptest.NewRecorder()
			w.ServeHTTP(response, request)
			mu.Lock()
			defer mu.Unlock()
			codes[response.Code]++
			slowest = max(slowest, time.Since(began))
		})
	}
	callersDone.Wait()
	t.Logf("the slowest of %d responses took %s", callers, slowest)
	started, running := counters.decisions["started"], counters.decisions["already_running"]
	if codes[202] != callers || started != 1 || running != callers-1 {
		t.Errorf("codes %v, started %v, already running %v", codes, started, running)
	}
	if n := len(p.Engine.Records()); n != 1 {
		t.Errorf("%d rotations were started", n)
	}
}
