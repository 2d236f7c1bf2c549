package state

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
)

func TestMemory(t *testing.T) {
	memory := &Memory{}
	if content, revision, err := memory.Load(t.Context(), "a"); content != nil || revision != "" || err != nil {
		t.Fatalf("a missing record: %q %q %v", content, revision, err)
	}
	first, err := memory.Save(t.Context(), "a", []byte("one"), "")
	if err != nil {
		t.Fatal(err)
	}
	second, err := memory.Save(t.Context(), "a", []byte("two"), first)
	if err != nil {
		t.Fatal(err)
	}
	for _, stale := range []string{"", first} {
		if _, err := memory.Save(t.Context(), "a", []byte("three"), stale); !errors.Is(err, model.ErrConflict) {
			t.Errorf("saving over revision %q: %v", stale, err)
		}
	}
	content, revision, err := memory.Load(t.Context(), "a")
	if string(content) != "two" || revision != second || err != nil {
		t.Errorf("after the conflicts: %q %q %v", content, revision, err)
	}
	content[0] = 'X'
	if content, _, _ := memory.Load(t.Context(), "a"); string(content) != "two" {
		t.Errorf("a caller can change the record: %q", content)
	}
	if _, err := memory.Save(t.Context(), "b", nil, "1"); !errors.Is(err, model.ErrConflict) {
		t.Errorf("saving over a missing record: %v", err)
	}
	if keys, err := memory.Keys(t.Context()); err != nil || cmp.Diff([]string{"a"}, keys) != "" {
		t.Errorf("keys: %v %v", keys, err)
	}
}

func TestNone(t *testing.T) {
	none := None{}
	_, saved := none.Save(t.Context(), "a", nil, "")
	for what, err := range map[string]error{
		"save": saved, "reserve": none.Reserve(t.Context(), "b/1"), "write": none.Write(t.Context(), "b/1", model.NewSecret(tokenValue)),
	} {
		if !errors.Is(err, model.ErrUnsafe) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, revision, load := none.Load(t.Context(), "a")
	records, keys := none.Keys(t.Context())
	found, read := none.Read(t.Context(), "b/1")
	tokens, list := none.List(t.Context(), "b")
	if err := errors.Join(load, keys, read, list, none.Destroy(t.Context(), "b/1")); err != nil {
		t.Error(err)
	}
	if revision != "" || len(records)+len(tokens) > 0 || !found.IsZero() {
		t.Errorf("%q %v %v %v", revision, records, tokens, found)
	}
}
