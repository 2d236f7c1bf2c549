package rotate

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// crowd is an engine with many due connections, each with a binding of its own.
func crowd(l *lab, size int) (*session, []string) {
	s := l.open()
	var connections []Connection
	var names []string
	for i := range size {
		c := s.connection()
		c.Name = fmt.Sprintf("connection-%03d", i)
		connections, names = append(connections, c), append(names, c.Name)
	}
	s.engine = New(Options{
		Journal: s, Vault: s, Holder: "process", Logger: l.log,
		Snapshot: func(connection string) (model.Snapshot, bool) {
			snapshot, ok := l.snapshot(l.at.Name)
			snapshot.Connection, snapshot.Binding.JobID = connection, connection
			return snapshot, ok
		},
	}, connections)
	return s, names
}

// TestOneRotationAtATime: however many connections are due in one payload, one rotation
// begins, also before the engine has taken it up.
func TestOneRotationAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, names := crowd(newLab(clouds.Quirks{}, dueSpec(), defaultPolicy()), 20)
		var all sync.WaitGroup
		var mu sync.Mutex
		decisions := map[Decision]int{}
		for _, name := range names {
			all.Go(func() {
				decision, _, err := s.engine.Alert(t.Context(), name)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				decisions[decision]++
			})
		}
		all.Wait()
		if decisions[DecisionStarted] != 1 || decisions[DecisionAlreadyRunning] != len(names)-1 {
			t.Errorf("decisions: %v, want one started and the rest already_running", decisions)
		}
	})
}

// TestThePlaceIsFreeAgain: a rotation that could not be written, or that another process
// took up, keeps nobody waiting.
func TestThePlaceIsFreeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(clouds.Quirks{}, dueSpec(), defaultPolicy())
		s, names := crowd(l, 2)
		l.named = map[string]fault{"journal.save": refused}
		if _, _, err := s.engine.Alert(t.Context(), names[0]); err == nil {
			t.Fatal("a rotation began that could not be written")
		}
		l.named = nil
		if decision, text, err := s.engine.Alert(t.Context(), names[0]); decision != DecisionStarted {
			t.Fatalf("%s (%s), %v", decision, text, err)
		}
		// Another process is faster and holds it.
		snapshot, _ := s.engine.options.Snapshot(names[0])
		other := newBook(s, snapshot.Binding.Key())
		if _, err := other.open(t.Context(), snapshot.Binding, names[0]); err != nil {
			t.Fatal(err)
		}
		if _, err := seize(t.Context(), other, "another process", nil); err != nil {
			t.Fatal(err)
		}
		if decision, _, _ := s.engine.Alert(t.Context(), names[1]); decision != DecisionAlreadyRunning {
			t.Errorf("%s before the journal was looked at", decision)
		}
		s.engine.giveUpClaims(s.engine.writtenClaims(), s.engine.takeable(t.Context()))
		if decision, text, err := s.engine.Alert(t.Context(), names[1]); decision != DecisionStarted {
			t.Errorf("%s (%s), %v", decision, text, err)
		}
	})
}
