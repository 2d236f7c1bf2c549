package app

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// mortal is a process's way to the clouds, which ends with it.
type mortal struct {
	next http.RoundTripper
	dead chan struct{}
}

// RoundTrip implements http.RoundTripper.
func (m *mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-m.dead:
		return nil, errKilled
	default:
		return m.next.RoundTrip(r)
	}
}

// An exporter that dies again and again, a minute or two after each start, for a part of
// the rotation: once it lives, the rotation ends done.
func TestACrashLoopInTheMiddle(t *testing.T) {
	furnish(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")}) // for its environment
	for _, begins := range []time.Duration{0, 20 * time.Minute, 100 * time.Minute, 115 * time.Minute} {
		for _, lives := range []time.Duration{40 * time.Second, 100 * time.Second} {
			t.Run(fmt.Sprintf("after %s, every %s", begins, lives), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { crashLoop(t, begins, lives) })
			})
		}
	}
}

func crashLoop(t *testing.T, begins, lives time.Duration) {
	w := clouds.New(clouds.Options{Seed: 1})
	w.Add(clouds.Expiring("expiring"))
	l := settleIn(t, w)
	l.edit(hasty, unhurried)
	var now *mortal
	l.around = func(next http.RoundTripper) http.RoundTripper {
		now = &mortal{next, make(chan struct{})}
		return now
	}
	l.start()
	time.Sleep(15 * time.Minute)
	if status, answer := l.alert(); status != http.StatusAccepted {
		t.Fatalf("%d %s", status, answer)
	}
	time.Sleep(begins)
	for until := time.Now().Add(40 * time.Minute); time.Now().Before(until); {
		close(now.dead)
		if err := os.Rename(l.path("state"), l.path("left behind")); err != nil {
			t.Fatal(err)
		}
		l.stop()
		if err := os.RemoveAll(l.path("state")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(l.path("left behind"), l.path("state")); err != nil {
			t.Fatal(err)
		}
		l.start()
		time.Sleep(lives)
	}
	record := l.ends("expiring")
	if record.Outcome != model.OutcomeDone {
		t.Errorf("it ended %s: %s", record.Outcome, record.Reason)
		for _, step := range record.Steps {
			t.Log(step.At.Format(time.TimeOnly), step.Phase, step.Text)
		}
	}
	l.With(func(now *clouds.Model) {
		for _, gap := range now.Outages() {
			t.Errorf("a gap: %s", gap)
		}
	})
}
