package journal_test

import (
	"context"
	"errors"
	"regexp"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/rotate/journal"
)

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{}
		first, second := newEntry(t, s), newEntry(t, s)
		dead := ""
		isDead := func(holder string) bool { return holder == dead }
		held, err := journal.AcquireLease(t.Context(), first, "first", isDead)
		if err != nil || held.Remaining() != journal.LeaseLength {
			t.Fatalf("%s, %v", held.Remaining(), err)
		}
		if _, err := journal.AcquireLease(t.Context(), second, "second", isDead); !errors.Is(err, journal.ErrLeased) ||
			err.Error() != "another process works on it: first, until 2000-01-01T00:05:00Z" {
			t.Errorf("while it is held: %v", err)
		}
		time.Sleep(journal.LeaseLength - time.Second)
		if _, err := held.Write(t.Context(), addKey("a")); err != nil || held.Remaining() != journal.LeaseLength {
			t.Errorf("%v, and a write renews it to %s", err, held.Remaining())
		}

		time.Sleep(journal.LeaseLength + journal.MaxClockSkew)
		taken, err := journal.AcquireLease(t.Context(), second, "second", isDead)
		if err != nil {
			t.Fatalf("after its expiry: %v", err)
		}
		if _, err := held.Write(t.Context(), addKey("b")); !errors.Is(err, journal.ErrLeaseLost) || err.Error() != "the lease is lost to second" {
			t.Errorf("its former holder writes: %v", err)
		}
		held.Release(t.Context()) // has no effect
		if held.Remaining() != 0 || taken.Remaining() != journal.LeaseLength {
			t.Errorf("%s and %s remain", held.Remaining(), taken.Remaining())
		}

		dead = "second"
		again, err := journal.AcquireLease(t.Context(), first, "first", isDead)
		if err != nil {
			t.Fatalf("after its holder's death: %v", err)
		}
		if epoch := first.Record().Lease.Epoch; epoch != 3 {
			t.Errorf("epoch %d after three holders", epoch)
		}
		if _, err := second.Load(t.Context()); err != nil {
			t.Error(err)
		}
		again.Release(t.Context()) // which the second entry has not read
		if _, err := journal.AcquireLease(t.Context(), second, "third", nil); err != nil {
			t.Errorf("after its release: %v", err)
		}
	})
}

// skewedStore is a store as a process sees it whose clock is ahead by this.
type skewedStore struct {
	journal.Store
	ahead time.Duration
}

func (s skewedStore) Load(ctx context.Context, key string) ([]byte, string, error) {
	content, revision, err := s.Store.Load(ctx, key)
	return shiftLease(content, -s.ahead), revision, err
}

func (s skewedStore) Save(ctx context.Context, key string, content []byte, revision string) (string, error) {
	return s.Store.Save(ctx, key, shiftLease(content, s.ahead), revision)
}

var leaseExpires = regexp.MustCompile(`"expires":"([^"]+)"`)

func shiftLease(content []byte, by time.Duration) []byte {
	return leaseExpires.ReplaceAllFunc(content, func(field []byte) []byte {
		at, err := time.Parse(time.RFC3339, string(leaseExpires.FindSubmatch(field)[1]))
		if err != nil {
			panic(err)
		}
		return []byte(`"expires":"` + at.Add(by).Format(time.RFC3339Nano) + `"`)
	})
}

// TestLeaseOfSkewedClocks: a holder that lives keeps its lease, whatever the clocks of other
// processes say. When it is dead, they take over, and it cannot write any more.
func TestLeaseOfSkewedClocks(t *testing.T) {
	const poll = 30 * time.Second
	for _, ahead := range []time.Duration{-journal.MaxClockSkew, 0, journal.MaxClockSkew} {
		for _, watches := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				s := &store{}
				held, err := journal.AcquireLease(t.Context(), newEntry(t, s), "holder", nil)
				if err != nil {
					t.Fatal(err)
				}
				other := skewedStore{s, ahead}
				entry := newEntry(t, other)
				takeOver := func() bool {
					time.Sleep(poll)
					if !watches { // a command sees the record for the first time
						entry = newEntry(t, other)
					}
					if _, err := entry.Load(t.Context()); err != nil {
						t.Fatal(err)
					}
					_, err := journal.AcquireLease(t.Context(), entry, "other", nil)
					if err != nil && !errors.Is(err, journal.ErrLeased) {
						t.Fatal(err)
					}
					return err == nil
				}
				for range 30 {
					for range journal.Heartbeat / poll {
						if takeOver() {
							t.Fatalf("%s ahead: the lease of a holder that lives was taken", ahead)
						}
					}
					if _, err := held.Write(t.Context(), addKey("a")); err != nil {
						t.Fatal(err)
					}
				}
				died, longest := time.Now(), journal.LeaseLength+journal.MaxClockSkew-ahead
				if watches {
					longest = journal.LeaseLength + poll
				}
				for !takeOver() {
				}
				if waited := time.Since(died); waited < journal.LeaseLength || waited > longest {
					t.Errorf("%s ahead: it took over after %s, not after %s to %s", ahead, waited, journal.LeaseLength, longest)
				}
				if _, err := held.Write(t.Context(), addKey("b")); !errors.Is(err, journal.ErrLeaseLost) {
					t.Errorf("%s ahead: its former holder writes: %v", ahead, err)
				}
			})
		}
	}
}

// The writer's clock may be behind: what a process has watched, it dates by its own.
func TestJournalGap(t *testing.T) {
	const watched = 30 * time.Second // before the change is seen
	for _, test := range []struct {
		name    string
		watches bool // this process has seen the record before
		missing bool // it was missing when it was seen last
		writes  bool // this process wrote it last
		want    time.Duration
	}{
		{"seen for the first time", false, false, false, 10 * time.Minute},
		{"it changed while it was watched", true, false, false, watched},
		{"it was missing meanwhile", true, true, false, 10 * time.Minute},
		{"the process wrote it last", true, false, true, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &store{}
				change(t, newEntry(t, s), func(r *journal.Record) error {
					r.Rotation = newRotation()
					r.Rotation.Started.Local = time.Now()
					return nil
				})
				entry := journal.NewEntry(s, codec, key) // of another process
				load := func(want error) {
					t.Helper()
					if _, err := entry.Load(t.Context()); !errors.Is(err, want) {
						t.Fatal(err)
					}
				}
				if test.watches {
					load(nil)
				}
				before := *s
				change(t, newEntry(t, s), addKey("a"))
				behind := *s // becomes visible later, as if by a clock that is behind
				*s = before
				time.Sleep(10*time.Minute - watched)
				switch {
				case test.missing:
					*s = store{}
					load(journal.ErrRestored)
				case test.watches:
					load(nil)
				}
				time.Sleep(watched)
				*s = behind
				load(nil)
				if test.writes {
					change(t, entry, addKey("b"))
				}
				if _, err := journal.AcquireLease(t.Context(), entry, "second", nil); err != nil {
					t.Fatal(err)
				}
				if gap := entry.Record().Rotation.JournalGap; gap != test.want {
					t.Errorf("gap %s, want %s", gap, test.want)
				}
			})
		})
	}
}
