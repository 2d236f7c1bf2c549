package journal_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

func TestChangeRepeatsTheEditAfterAConflict(t *testing.T) {
	s := &store{}
	first, second := newEntry(t, s), newEntry(t, s)
	change(t, first, addKey("a"))
	edits := 0
	r := change(t, second, func(r *journal.Record) error {
		edits++
		return addKey("b")(r)
	})
	if got := keysOf(r).Inventory(); got != "keys: a, b" || r.Sequence != 2 || edits != 2 {
		t.Errorf("%s, sequence %d after %d edits", got, r.Sequence, edits)
	}
	if got := keysOf(first.Record()).Inventory(); got != "keys: a" {
		t.Errorf("the other entry changed without a read: %s", got)
	}
}

func TestChangeGivesUpAfterTenConflicts(t *testing.T) {
	s := &store{}
	entry := newEntry(t, s)
	change(t, entry, addKey("a"))
	s.beforeSave = func([]byte) (bool, error) { return false, model.ErrConflict }
	_, err := entry.Change(t.Context(), addKey("b"))
	if !errors.Is(err, model.ErrConflict) || s.saves != 1+10 {
		t.Errorf("%v after %d saves", err, s.saves)
	}
}

func TestChangeKeepsTheRecordIfTheEditFails(t *testing.T) {
	s := &store{}
	entry := newEntry(t, s)
	change(t, entry, addKey("a"))
	refused := errors.New("refused")
	if _, err := entry.Change(t.Context(), func(r *journal.Record) error { return errors.Join(addKey("b")(r), refused) }); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	if got := keysOf(entry.Record()).Inventory(); got != "keys: a" || s.saves != 1 {
		t.Errorf("%s after %d saves", got, s.saves)
	}
}

func TestFailedSave(t *testing.T) {
	failed := errors.New("no space left on device")
	for _, test := range []struct {
		name    string
		written bool
		keys    string
		err     error
	}{
		{"written, and the response is lost", true, "keys: a, b", nil},
		{"not written", false, "keys: a", failed},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &store{}
			entry := newEntry(t, s)
			change(t, entry, addKey("a"))
			s.beforeSave = func([]byte) (bool, error) { return test.written, failed }
			_, err := entry.Change(t.Context(), addKey("b"))
			if !errors.Is(err, test.err) || !errors.Is(entry.Err(), test.err) {
				t.Errorf("got %v, and the entry's error is %v", err, entry.Err())
			}
			if got := keysOf(entry.Record()).Inventory(); got != test.keys || s.saves != 2 {
				t.Errorf("%s after %d saves, want %s", got, s.saves, test.keys)
			}
			s.beforeSave = nil
			change(t, entry, addKey("c"))
			if entry.Err() != nil {
				t.Errorf("after a save that worked: %v", entry.Err())
			}
		})
	}
}

// What the metrics show must not depend on whether the record was read since.
func TestFailedSaveOutlastsReads(t *testing.T) {
	full := errors.New("no space left on device")
	start := func(r *journal.Record) error { r.Rotation = newRotation(); return nil }
	block := func(r *journal.Record) error {
		r.Block(model.BlockedPermission, "corp is blocked (permission)", time.Now())
		return nil
	}
	for _, test := range []struct {
		name  string
		edits []func(*journal.Record) error
		other bool // another process has written since
		want  error
	}{
		{"an active rotation waits for a write", []func(*journal.Record) error{start}, false, full},
		{"another process has written", []func(*journal.Record) error{start}, true, nil},
		{"a blocked rotation waits for an operator", []func(*journal.Record) error{start, block}, false, nil},
		{"nothing waits for a write", []func(*journal.Record) error{addKey("a")}, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &store{}
			entry := newEntry(t, s)
			for _, edit := range test.edits {
				change(t, entry, edit)
			}
			s.beforeSave = func([]byte) (bool, error) { return false, full }
			if _, err := entry.Change(t.Context(), addKey("b")); !errors.Is(err, full) {
				t.Fatalf("got %v", err)
			}
			s.beforeSave = nil
			if test.other {
				change(t, newEntry(t, s), addKey("c"))
			}
			if _, err := entry.Load(t.Context()); err != nil || !errors.Is(entry.Err(), test.want) {
				t.Errorf("got %v, and the entry's error is %v", err, entry.Err())
			}
		})
	}
}

func TestMissingRecord(t *testing.T) {
	s := &store{}
	entry := journal.NewEntry(s, codec, key)
	if r, err := entry.Load(t.Context()); r != nil || err != nil || entry.IsOpen() {
		t.Errorf("got %v, %v", r, err)
	}
	if _, err := entry.Change(t.Context(), addKey("a")); !errors.Is(err, journal.ErrUnreadable) {
		t.Errorf("changing what does not exist: %v", err)
	}
	if _, err := entry.LoadOrCreate(t.Context(), binding, "corp"); err != nil || s.saves != 0 {
		t.Errorf("%v after %d saves, want none before the first change", err, s.saves)
	}
}

func TestOlderRecordIsRestored(t *testing.T) {
	s := &store{}
	entry := newEntry(t, s)
	change(t, entry, addKey("a"))
	older := s.content
	change(t, entry, addKey("b"))
	s.content, s.revision = older, s.revision+1
	if _, err := entry.Load(t.Context()); !errors.Is(err, journal.ErrRestored) || !errors.Is(entry.Err(), journal.ErrRestored) {
		t.Errorf("got %v, and the entry's error is %v", err, entry.Err())
	}
	if _, err := newEntry(t, s).Load(t.Context()); err != nil {
		t.Errorf("a process that has not seen the newer record: %v", err)
	}
	s.content = nil
	if r, err := entry.Load(t.Context()); r != nil || !errors.Is(err, journal.ErrRestored) {
		t.Errorf("the record is gone: %v, %v", r, err)
	}
}

// detectingStore knows whether its record was restored.
type detectingStore struct {
	store
	restored bool
}

func (s *detectingStore) Restored(context.Context, string) (bool, error) { return s.restored, nil }
func (s *detectingStore) Accept(context.Context, string) error {
	s.restored = false
	return nil
}

func TestRestoredRecordIsAccepted(t *testing.T) {
	s := &detectingStore{}
	change(t, newEntry(t, s), addKey("a"))
	s.restored = true
	entry := journal.NewEntry(s, codec, key)
	for range 2 { // the second time it is cached
		if _, err := entry.Load(t.Context()); !errors.Is(err, journal.ErrRestored) {
			t.Errorf("got %v", err)
		}
	}
	if err := entry.Accept(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := entry.Load(t.Context()); err != nil {
		t.Errorf("after Accept: %v", err)
	}
}
