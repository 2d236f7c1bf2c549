package journal_test

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// The records of these tests belong to a procedure that rotates keys.
const procedureKey model.Procedure = "key"

type keyMemory struct {
	Keys []string `json:"keys,omitempty"`
}

func (m *keyMemory) Inventory() string { return "keys: " + strings.Join(m.Keys, ", ") }

type keyProgress struct {
	NewKey string `json:"new_key,omitempty"`
}

func (p *keyProgress) Check(*journal.Rotation) error {
	if p.NewKey == "unknown" {
		return errors.New("unknown new key")
	}
	return nil
}

func (p *keyProgress) Describe(shown *model.RotationRecord) { shown.NewTokenID = p.NewKey }

var codec = journal.Codec{procedureKey: {
	NewMemory:   func() journal.Memory { return &keyMemory{} },
	NewProgress: func() journal.Progress { return &keyProgress{} },
}}

var (
	binding = model.Binding{IdentityStoreID: "d-1234567890", JobID: "job"}
	key     = binding.Key()
)

// store keeps one record. The function beforeSave may change what a save does.
type store struct {
	content    []byte
	revision   int
	saves      int
	beforeSave func(content []byte) (written bool, err error)
}

func (s *store) Load(context.Context, string) ([]byte, string, error) {
	return s.content, s.current(), nil
}

// current is the revision of the record; "": there is none.
func (s *store) current() string {
	if s.content == nil {
		return ""
	}
	return strconv.Itoa(s.revision)
}

func (s *store) Save(_ context.Context, _ string, content []byte, revision string) (string, error) {
	s.saves++
	write := true
	var err error
	if s.beforeSave != nil {
		write, err = s.beforeSave(content)
	}
	if write && revision != s.current() {
		return "", model.ErrConflict
	}
	if write {
		s.content, s.revision = content, s.revision+1
	}
	return s.current(), err
}

func (*store) Keys(context.Context) ([]string, error) { return []string{key}, nil }

// newEntry is the entry of a new record in the store.
func newEntry(t *testing.T, s journal.Store) *journal.Entry {
	t.Helper()
	entry := journal.NewEntry(s, codec, key)
	if _, err := entry.LoadOrCreate(t.Context(), binding, "corp"); err != nil {
		t.Fatal(err)
	}
	return entry
}

// addKey is an edit that adds a key to the procedure's memory.
func addKey(name string) func(*journal.Record) error {
	return func(r *journal.Record) error {
		memory := keysOf(r)
		memory.Keys = append(memory.Keys, name)
		return nil
	}
}

func keysOf(r *journal.Record) *keyMemory { return r.Procedures[procedureKey].Memory.(*keyMemory) }

func change(t *testing.T, entry *journal.Entry, edit func(*journal.Record) error) *journal.Record {
	t.Helper()
	r, err := entry.Change(t.Context(), edit)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

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

func newRotation() *journal.Rotation {
	return &journal.Rotation{ID: "r-1", Kind: procedureKey, Phase: model.PhasePlan, Progress: &keyProgress{NewKey: "k-1"}}
}

func TestCodec(t *testing.T) {
	r := codec.NewRecord(binding, "corp")
	keysOf(r).Keys = []string{"k-0"}
	r.Rotation = newRotation()
	r.Rotation.SetOperation("delete", journal.Operation{Number: 1, Target: "k-0"})
	whole, err := codec.Encode(r)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := codec.Decode(whole, key)
	if err != nil || keysOf(decoded).Inventory() != "keys: k-0" || decoded.Rotation.Progress.(*keyProgress).NewKey != "k-1" {
		t.Fatalf("%+v, %v", decoded, err)
	}
	const prefix = "the journal cannot be read: "
	for _, test := range []struct{ name, old, replacement, want string }{
		{"unknown field", `"schema":2`, `"schema":2,"x":1`, `corrupt: json: unknown field "x"`},
		{"unknown field of a procedure", `"memory":`, `"x":1,"memory":`, `corrupt: json: unknown field "x"`},
		{"unknown field of the memory", `{"keys":`, `{"x":1,"keys":`, `corrupt: json: unknown field "x"`},
		{"unknown field of the progress", `{"new_key":`, `{"x":1,"new_key":`, `corrupt: json: unknown field "x"`},
		{"unknown procedure", `"procedures":{"key"`, `"procedures":{"lock"`, `corrupt: unknown procedure "lock"`},
		{"rotation of an unknown procedure", `"kind":"key"`, `"kind":"lock"`, "corrupt: json: cannot unmarshal object into Go struct field Rotation.rotation.progress of type journal.Progress"},
		{"other kind", `"kind":"entra-aws-exporter/rotation"`, `"kind":"other"`, `not a record of this program: its kind is "other", not "entra-aws-exporter/rotation"`},
		{"no kind", `"kind":"entra-aws-exporter/rotation"`, `"kind":""`, "not a record of this program: it has no kind"},
		{"older schema", `"schema":2`, `"schema":1`, "its schema is 1, this program knows 2"},
		{"unknown phase", `"phase":"plan"`, `"phase":"x"`, `corrupt: rotation "r-1" in phase "x"`},
		{"no rotation ID", `"id":"r-1"`, `"id":""`, `corrupt: rotation "" in phase "plan"`},
		{"operation out of order", `"number":1`, `"number":2`, "corrupt: delete operation 2 is at position 1"},
		{"refused by the procedure", `"new_key":"k-1"`, `"new_key":"unknown"`, "corrupt: unknown new key"},
	} {
		content := strings.Replace(string(whole), test.old, test.replacement, 1)
		if content == string(whole) {
			t.Errorf("%s: %s does not occur in %s", test.name, test.old, whole)
		}
		if _, err := codec.Decode([]byte(content), key); !errors.Is(err, journal.ErrUnreadable) || err.Error() != prefix+test.want {
			t.Errorf("%s:\ngot  %v\nwant %s", test.name, err, prefix+test.want)
		}
	}
	r.Rotation.Phase = model.PhaseIdle
	if _, err := codec.Encode(r); err == nil || err.Error() != `encoding the journal of corp: rotation "r-1" in phase "idle"` {
		t.Errorf("encoding what cannot be decoded: %v", err)
	}
}

func TestHistory(t *testing.T) {
	r := codec.NewRecord(binding, "corp")
	ended := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for range 21 {
		r.Rotation = newRotation()
		r.Finish(model.OutcomeDone, "", ended)
	}
	r.Rotation = newRotation()
	r.Block(model.BlockedTwoTokens, "…", ended)
	if r.Active() || !r.IsBlocked() || r.Describe(time.Time{}).Outcome != model.OutcomeBlocked {
		t.Errorf("a blocked rotation: %+v", r.Rotation)
	}
	r.Archive(model.OutcomeAborted, "by an operator", ended)
	last := r.History[len(r.History)-1]
	if len(r.History) != 20 || r.Rotation != nil || last.Outcome != model.OutcomeAborted || last.Reason != "by an operator" || last.NewTokenID != "k-1" {
		t.Errorf("%d rotations, the last one %+v", len(r.History), last)
	}
	counts := r.Procedures[procedureKey].AllOutcomes()
	if counts[model.OutcomeDone] != 21 || counts[model.OutcomeBlocked] != 1 || counts[model.OutcomeAborted] != 0 || len(counts) != len(model.Outcomes()) {
		t.Errorf("counts %v", counts)
	}
}

// A record stays below the 400 KiB of an item of DynamoDB, however many rotations fail in
// however many words. The newest steps are kept.
func TestRecordFitsIntoAnItem(t *testing.T) {
	const item, rotations, writes, steps = 398 << 10, 30, 4, 100
	r := codec.NewRecord(binding, "corp")
	largest := 0
	for range rotations {
		r.Rotation = newRotation()
		for range writes {
			var refused []model.RotationStep
			for step := range steps {
				refused = append(refused, model.RotationStep{Phase: model.PhasePlan, Text: strings.Repeat("<refused>", 150) + strconv.Itoa(step)})
			}
			r.Rotation.AppendSteps(refused)
			content, err := codec.Encode(r)
			if err != nil {
				t.Fatal(err)
			}
			largest = max(largest, len(content))
		}
		if last := r.Rotation.Steps[len(r.Rotation.Steps)-1].Text; !strings.HasSuffix(last, ">99") {
			t.Errorf("the last step is lost: %.20s", last)
		}
		r.Finish(model.OutcomeAborted, "no answer", time.Now())
	}
	if largest > item*3/4 { // the rest is for what else a rotation notes
		t.Errorf("a record had %d bytes, an item has room for %d", largest, item)
	}
	if newest := r.History[len(r.History)-1]; len(newest.Steps) < 20 || len(r.History) != 20 {
		t.Errorf("%d steps of the newest of %d rotations are left", len(newest.Steps), len(r.History))
	}
	t.Logf("the largest record had %d bytes", largest)
}

func TestOperations(t *testing.T) {
	rotation := newRotation()
	if _, ok := rotation.LastOperation("put"); ok {
		t.Error("an operation before the first one")
	}
	rotation.SetOperation("put", journal.Operation{Number: 1})
	if last, ok := rotation.LastOperation("put"); !ok || !last.Pending() || last.Done() || last.Refused() {
		t.Errorf("the intent: %+v", last)
	}
	for _, test := range []struct {
		operation                              journal.Operation
		done, refused, refusedForGood, pending bool
	}{
		{journal.Operation{Outcome: model.CallDone}, true, false, false, false},
		{journal.Operation{Outcome: model.CallUnknown}, false, false, false, true},
		{journal.Operation{Outcome: model.CallRefused, Reason: model.ReasonPermission}, false, true, true, false},
		{journal.Operation{Outcome: model.CallRefused, Reason: model.ReasonThrottled}, false, true, false, false},
		{journal.Operation{Outcome: model.CallRefused, Reason: model.ReasonTimeout}, false, true, false, false},
		{journal.Operation{Outcome: model.CallRefused, Reason: model.ReasonNetwork}, false, true, false, false},
		{journal.Operation{Outcome: model.CallRefused, Unsent: true}, false, true, false, false},
	} {
		test.operation.Number = 1
		rotation.SetOperation("put", test.operation)
		last, _ := rotation.LastOperation("put")
		if last.Done() != test.done || last.Refused() != test.refused || last.RefusedForGood() != test.refusedForGood || last.Pending() != test.pending {
			t.Errorf("%+v: done %t, refused %t, for good %t, pending %t", last, last.Done(), last.Refused(), last.RefusedForGood(), last.Pending())
		}
	}
	if n := len(rotation.Operations["put"]); n != 1 {
		t.Errorf("%d operations at one number", n)
	}
}
