package rotate_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/test/harness"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/token"
)

// manyDueConnections is an engine with many due connections, each with a binding of its own.
func manyDueConnections(l *harness.Harness, size int) (*harness.Process, []string) {
	s := l.Open()
	var connections []token.Options
	var names []string
	for i := range size {
		c := s.ConnectionOptions()
		c.Connection = fmt.Sprintf("connection-%03d", i)
		connections, names = append(connections, c), append(names, c.Connection)
	}
	s.Engine = harness.NewEngine(rotate.Options{Store: s, Holder: "process", Logger: l.Log,
		Snapshot: func(connection string) (model.Snapshot, bool) {
			snapshot, ok := l.Snapshot(l.Connection.Name)
			snapshot.Connection, snapshot.Binding.JobID = connection, connection
			return snapshot, ok
		},
	}, s, connections)
	return s, names
}

// TestOneRotationAtATime: however many connections are due in one payload, one rotation
// begins, also before the engine has taken it up.
func TestOneRotationAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, names := manyDueConnections(harness.New(clouds.Quirks{}, harness.DueConnection(), harness.DefaultPolicy()), 20)
		var all sync.WaitGroup
		var mu sync.Mutex
		decisions := map[model.Decision]int{}
		for _, name := range names {
			all.Go(func() {
				decision, _, err := s.Engine.Alert(t.Context(), name)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				decisions[decision]++
			})
		}
		all.Wait()
		if decisions[model.DecisionStarted] != 1 || decisions[model.DecisionAlreadyRunning] != len(names)-1 {
			t.Errorf("decisions: %v, want one started and the rest already_running", decisions)
		}
	})
}

// TestThePlaceIsFreeAgain: a rotation that could not be written, or that another process
// took up, keeps nobody waiting.
func TestThePlaceIsFreeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := harness.New(clouds.Quirks{}, harness.DueConnection(), harness.DefaultPolicy())
		s, names := manyDueConnections(l, 2)
		l.FaultsByName = map[string]harness.Fault{"journal.save": harness.Refused}
		if _, _, err := s.Engine.Alert(t.Context(), names[0]); err == nil {
			t.Fatal("a rotation began that could not be written")
		}
		l.FaultsByName = nil
		if decision, text, err := s.Engine.Alert(t.Context(), names[0]); decision != model.DecisionStarted {
			t.Fatalf("%s (%s), %v", decision, text, err)
		}
		// Another process is faster and holds it.
		snapshot, _ := l.Snapshot(l.Connection.Name)
		snapshot.Binding.JobID = names[0]
		other := journal.NewEntry(s, harness.Codec, snapshot.Binding.Key())
		if _, err := other.LoadOrCreate(t.Context(), snapshot.Binding, names[0]); err != nil {
			t.Fatal(err)
		}
		if _, err := journal.AcquireLease(t.Context(), other, "another process", nil); err != nil {
			t.Fatal(err)
		}
		if decision, _, _ := s.Engine.Alert(t.Context(), names[1]); decision != model.DecisionAlreadyRunning {
			t.Errorf("%s before the journal was looked at", decision)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_ = s.Engine.Run(ctx)
		cancel()
		if decision, text, err := s.Engine.Alert(t.Context(), names[1]); decision != model.DecisionStarted {
			t.Errorf("%s (%s), %v", decision, text, err)
		}
	})
}
