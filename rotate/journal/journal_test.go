package journal_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
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
		{journal.Operation{Outcome: model.CallRefused, Reason: model.ReasonPermission, Unread: true}, false, true, false, false},
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
