package app

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// killingTransport carries no call once its process is dead.
type killingTransport struct {
	next http.RoundTripper
	dead chan struct{}
}

// RoundTrip implements http.RoundTripper.
func (m *killingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-m.dead:
		return nil, errKilled
	default:
		return m.next.RoundTrip(r)
	}
}

// The exporter dies again and again, a minute or two after each start, during a part of
// the rotation. Once it stays alive, the rotation ends done, or aborted if the process died
// just before it asked for a token.
func TestCrashLoopDuringRotation(t *testing.T) {
	newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")}) // sets the environment
	for _, startAfter := range []time.Duration{0, 20 * time.Minute, 100 * time.Minute, 115 * time.Minute} {
		for _, lifetime := range []time.Duration{40 * time.Second, 100 * time.Second} {
			t.Run(fmt.Sprintf("after %s, every %s", startAfter, lifetime), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { crashLoop(t, startAfter, lifetime) })
			})
		}
	}
}

func crashLoop(t *testing.T, startAfter, lifetime time.Duration) {
	w := newModel(clouds.Expiring("expiring"))
	h := buildHarness(t, w)
	h.edit(fastIntervals, slowIntervals)
	var now *killingTransport
	h.wrapTransport = func(next http.RoundTripper) http.RoundTripper {
		now = &killingTransport{next, make(chan struct{})}
		return now
	}
	h.start()
	time.Sleep(15 * time.Minute)
	if status, answer := h.alert(); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, answer)
	}
	time.Sleep(startAfter)
	for until := time.Now().Add(40 * time.Minute); time.Now().Before(until); {
		close(now.dead)
		if err := os.Rename(h.path("state"), h.path("state.aside")); err != nil {
			t.Fatal(err)
		}
		h.stop()
		if err := os.RemoveAll(h.path("state")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(h.path("state.aside"), h.path("state")); err != nil {
			t.Fatal(err)
		}
		h.start()
		time.Sleep(lifetime)
	}
	record := h.waitForOutcome("expiring")
	nothingCreated := record.Outcome == model.OutcomeAborted && record.NewTokenID == ""
	if record.Outcome != model.OutcomeDone && !nothingCreated {
		t.Errorf("the outcome is %s: %s", record.Outcome, record.Reason)
		for _, step := range record.Steps {
			t.Log(step.At.Format(time.TimeOnly), step.Phase, step.Text)
		}
	}
	h.With(func(now *clouds.Model) {
		c := h.Connection
		tokens, err := now.ListBearerTokens(clouds.CallerFor(clouds.ActorOperator), c.IdentityStoreID, c.ProvisioningTenantID)
		if err != nil {
			t.Error(err)
		}
		if len(tokens) != 1 || nothingCreated != slices.Contains(c.TokenIDs, tokens[0].ID) {
			t.Errorf("the rotation ended %s and left %+v", record.Outcome, tokens)
		}
		for _, outage := range now.Outages() {
			t.Errorf("an outage: %s", outage)
		}
	})
}
