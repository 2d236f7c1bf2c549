package poller

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
)

// failingStore is a busyStore that cannot be read from this load on, and counts.
type failingStore struct {
	busyStore
	loads, failsFrom int
}

func (s *failingStore) Load(ctx context.Context, key string) ([]byte, string, error) {
	if s.loads++; s.loads == s.failsFrom {
		return nil, "", errNoStore
	}
	return s.busyStore.Load(ctx, key)
}

var errNoStore = errors.New("no answer")

// TestClaimIsTaken by one save. After a conflict the record is read again, three times.
func TestClaimIsTaken(t *testing.T) {
	for name, c := range map[string]struct {
		conflicts, saves int
		err              error
		held             bool
	}{
		"free":                 {0, 1, nil, true},
		"another one wrote":    {1, 2, nil, true},
		"another one writes":   {9, 4, nil, false},
		"it cannot be written": {0, 1, errNoStore, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			disk := &busyStore{conflicts: c.conflicts}
			l := &eventLog{store: disk, log: slog.New(slog.DiscardHandler), replica: Replica{ID: "one"}, state: stateUntil(noon, 1)}
			if c.err != nil {
				l.store = unwritableStore{disk}
			}
			reads, err := l.takeClaim(t.Context())
			if !reads || err != nil || disk.saves != c.saves || l.claim.isOf(l.replica) != c.held {
				t.Errorf("%s: %v %v after %d saves, with the claim %+v", name, reads, err, disk.saves, l.claim)
			}
			if c.held && !l.claim.Read.Equal(time.Now()) {
				t.Errorf("%s: read %s", name, l.claim.Read)
			}
		})
	}
}

type unwritableStore struct{ *busyStore }

func (s unwritableStore) Save(context.Context, string, []byte, string) (string, error) {
	s.saves++
	return "", errNoStore
}

// TestStoreThatDoesNotAnswer is the error of a poll, also after a conflict.
func TestStoreThatDoesNotAnswer(t *testing.T) {
	for failsFrom, disk := range map[int]*failingStore{
		1: {},
		2: {busyStore: busyStore{conflicts: 1}},
	} {
		synctest.Test(t, func(t *testing.T) {
			disk.failsFrom = failsFrom
			hours := &lastHours{begin: time.Now()}
			l := &eventLog{read: hours.read, store: disk, log: slog.New(slog.DiscardHandler), replica: Replica{ID: "one"}, interval: time.Minute, state: stateUntil(time.Now(), 1)}
			if _, err := l.poll(t.Context(), []model.Snapshot{{Connection: "corp"}}); !errors.Is(err, errNoStore) {
				t.Errorf("load %d fails: %v", failsFrom, err)
			}
		})
	}
}

// TestConflictWhileReading: the window is not counted if the record cannot be read again.
func TestConflictWhileReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &failingStore{busyStore: busyStore{conflicts: 1}, failsFrom: 1}
		hours := &lastHours{begin: time.Now()}
		l := &eventLog{read: hours.read, store: disk, log: slog.New(slog.DiscardHandler), state: stateUntil(time.Now(), 1)}
		if reads, err := l.readBacklog(t.Context(), nil); reads || !errors.Is(err, errNoStore) || len(hours.windows) != 1 {
			t.Errorf("%v %v after %d windows", reads, err, len(hours.windows))
		}
	})
}

// TestRecordThatIsGone does not take the counters with it.
func TestRecordThatIsGone(t *testing.T) {
	l := &eventLog{store: &recordStore{}, log: slog.New(slog.DiscardHandler), state: stateUntil(noon, 2), revision: "0"}
	if err := l.load(t.Context()); err != nil || l.countedCreations() != 2 {
		t.Errorf("counted %d: %v", l.countedCreations(), err)
	}
}

// TestRelease gives up what this replica holds, and nothing else.
func TestRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		expires := time.Now().Add(time.Hour)
		for name, c := range map[string]struct {
			holder string
			stored bool
			saves  int
		}{
			"held":            {"one", true, 1},
			"held by another": {"two", true, 0},
			"kept in memory":  {"one", false, 0},
		} {
			disk := &busyStore{}
			l := &eventLog{replica: Replica{ID: "one"}, state: stateUntil(noon, 1), claim: claim{Replica: c.holder, Expires: expires, Read: noon}}
			if c.stored {
				l.store = disk
			}
			l.release(t.Context())
			if disk.saves != c.saves {
				t.Errorf("%s: %d saves", name, disk.saves)
			}
			if free := claimOf(disk.content); c.saves > 0 && (free.Replica != "" || !free.Read.Equal(noon) || disk.deadline != storeTimeout) {
				t.Errorf("%s: released as %+v within %s", name, free, disk.deadline)
			}
		}
	})
}
