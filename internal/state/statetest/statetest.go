// Package statetest has what every state store must pass: one suite of contract tests. It
// also has a table and a secret manager in memory with the semantics of DynamoDB and
// Secrets Manager (memory.go), for tests on virtual time.
package statetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"entra-aws-exporter/internal/model"
)

// Records are what a store has of journals or of event counters.
type Records interface {
	Load(ctx context.Context, key string) (content []byte, revision string, err error)
	Save(ctx context.Context, key string, content []byte, revision string) (newRevision string, err error)
	Keys(ctx context.Context) ([]string, error)
	Restored(ctx context.Context, key string) (bool, error)
	Accept(ctx context.Context, key string) error
}

// Tokens is a token store.
type Tokens interface {
	Reserve(ctx context.Context, key string) error
	Write(ctx context.Context, key string, value model.Secret) error
	Read(ctx context.Context, key string) (model.Secret, error)
	List(ctx context.Context, binding string) ([]string, error)
	Destroy(ctx context.Context, key string) error
}

// Store is a state store as one process has opened it.
type Store struct {
	Journal, Events Records
	Tokens          Tokens
	Check           func(context.Context) error
}

// Contract runs the suite. open returns an empty state, and from then on the same one
// again, as another process opens it. A test runs within in, such as synctest.Test.
func Contract(t *testing.T, in func(*testing.T, func(*testing.T)), open func(t *testing.T) (another func() Store)) {
	for name, test := range map[string]func(*testing.T, func() Store){
		"check": testCheck, "records": testRecords, "conflicts": testConflicts, "increments": testIncrements, "creations": testCreations,
		"kinds": testKinds, "sizes": testSizes, "invalid keys": testInvalidKeys, "tokens": testTokens, "write once": testWriteOnce, "destroyed": testDestroyed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in(t, func(t *testing.T) { test(t, open(t)) })
		})
	}
}

// RealTime runs a test as it is.
func RealTime(t *testing.T, test func(*testing.T)) { test(t) }

func testCheck(t *testing.T, open func() Store) {
	for range 2 {
		if err := open().Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if keys, err := open().Journal.Keys(t.Context()); len(keys) != 0 || err != nil {
		t.Errorf("records after a check: %v %v", keys, err)
	}
}

func testRecords(t *testing.T, open func() Store) {
	ctx, records := t.Context(), open().Journal
	if content, revision, err := records.Load(ctx, "b"); content != nil || revision != "" || err != nil {
		t.Errorf("a missing record: %q %q %v", content, revision, err)
	}
	revisions := map[string]bool{}
	revision := ""
	for i, content := range []string{"one", "two", "two", "\x00\xff", "one"} {
		written, err := records.Save(ctx, "b", []byte(content), revision)
		if err != nil || written == "" || revisions[written] {
			t.Fatalf("write %d: revision %q, %v", i, written, err)
		}
		revision, revisions[written] = written, true
		found, stored, err := open().Journal.Load(ctx, "b")
		if string(found) != content || stored != revision || err != nil {
			t.Fatalf("write %d: %q %q %v", i, found, stored, err)
		}
	}
	if _, err := records.Save(ctx, "a", nil, ""); err != nil {
		t.Errorf("an empty record: %v", err)
	}
	if keys, err := open().Journal.Keys(ctx); !slices.Equal(keys, []string{"a", "b"}) || err != nil {
		t.Errorf("keys: %v %v", keys, err)
	}
	for _, key := range []string{"b", "missing"} {
		if restored, err := records.Restored(ctx, key); restored || err != nil {
			t.Errorf("restored %s: %v %v", key, restored, err)
		}
		if err := records.Accept(ctx, key); err != nil {
			t.Errorf("accepting %s: %v", key, err)
		}
	}
	if found, stored, err := records.Load(ctx, "b"); string(found) != "one" || stored != revision || err != nil {
		t.Errorf("accepted: %q %q %v", found, stored, err)
	}
}

func testConflicts(t *testing.T, open func() Store) {
	ctx, records := t.Context(), open().Journal
	first, err := records.Save(ctx, "a", []byte("1"), "")
	if err != nil {
		t.Fatal(err)
	}
	second, err := open().Journal.Save(ctx, "a", []byte("2"), first)
	if err != nil {
		t.Fatal(err)
	}
	for what, revision := range map[string]string{"none": "", "old": first, "invented": "x"} {
		if _, err := records.Save(ctx, "a", []byte("3"), revision); !errors.Is(err, model.ErrConflict) {
			t.Errorf("%s revision: %v", what, err)
		}
	}
	if _, err := records.Save(ctx, "missing", []byte("3"), second); !errors.Is(err, model.ErrConflict) {
		t.Errorf("a missing record: %v", err)
	}
	if content, revision, err := records.Load(ctx, "a"); string(content) != "2" || revision != second || err != nil {
		t.Errorf("after conflicts: %q %q %v", content, revision, err)
	}
}

// Increments by several processes: none is lost, none is counted twice.
func testIncrements(t *testing.T, open func() Store) {
	const processes, each = 4, 8
	var running sync.WaitGroup
	for range processes {
		running.Go(func() {
			records := open().Events
			for done := 0; done < each; {
				content, revision, err := records.Load(t.Context(), "counter")
				if err != nil {
					t.Error(err)
					return
				}
				content = append(content, make([]byte, 8-min(8, len(content)))...)
				binary.BigEndian.PutUint64(content, binary.BigEndian.Uint64(content)+1)
				switch _, err := records.Save(t.Context(), "counter", content, revision); {
				case err == nil:
					done++
				case !errors.Is(err, model.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	content, _, err := open().Events.Load(t.Context(), "counter")
	if err != nil || len(content) != 8 || binary.BigEndian.Uint64(content) != processes*each {
		t.Errorf("%x, want %d %v", content, processes*each, err)
	}
}

// Several processes create records at the same time: one wins each, and all are listed.
func testCreations(t *testing.T, open func() Store) {
	var running sync.WaitGroup
	won := make([]int, 5)
	var mu sync.Mutex
	for range 3 {
		running.Go(func() {
			records := open().Journal
			for i := range won {
				switch _, err := records.Save(t.Context(), fmt.Sprint("key", i), []byte("x"), ""); {
				case err == nil:
					mu.Lock()
					won[i]++
					mu.Unlock()
				case !errors.Is(err, model.ErrConflict):
					t.Error(err)
				}
			}
		})
	}
	running.Wait()
	keys, err := open().Journal.Keys(t.Context())
	if !slices.Equal(won, []int{1, 1, 1, 1, 1}) || !slices.Equal(keys, []string{"key0", "key1", "key2", "key3", "key4"}) || err != nil {
		t.Errorf("creations %v, keys %v %v", won, keys, err)
	}
}

func testKinds(t *testing.T, open func() Store) {
	ctx, store := t.Context(), open()
	if _, err := store.Events.Save(ctx, "a", []byte("events"), ""); err != nil {
		t.Fatal(err)
	}
	if content, _, err := store.Journal.Load(ctx, "a"); content != nil || err != nil {
		t.Errorf("a journal under the key of event counters: %q %v", content, err)
	}
	if keys, err := store.Journal.Keys(ctx); len(keys) != 0 || err != nil {
		t.Errorf("journals: %v %v", keys, err)
	}
	if keys, err := store.Events.Keys(ctx); !slices.Equal(keys, []string{"a"}) || err != nil {
		t.Errorf("event counters: %v %v", keys, err)
	}
}

// LargestRecord is more than any record has: see the tests of what is written.
const LargestRecord = 398 << 10

func testSizes(t *testing.T, open func() Store) {
	ctx, store := t.Context(), open()
	large := bytes.Repeat([]byte("0123456789abcdef"), LargestRecord/16)
	if _, err := store.Journal.Save(ctx, "large", large, ""); err != nil {
		t.Errorf("%d bytes: %v", len(large), err)
	}
	if content, _, err := store.Journal.Load(ctx, "large"); !bytes.Equal(content, large) || err != nil {
		t.Errorf("%d of %d bytes: %v", len(content), len(large), err)
	}
	value := model.NewSecret(strings.Repeat("t", 12<<10))
	if err := store.Tokens.Write(ctx, "b/large", value); err != nil {
		t.Errorf("a token of 12 KiB: %v", err)
	}
	if found, err := store.Tokens.Read(ctx, "b/large"); !found.Equal(value) || err != nil {
		t.Errorf("a token of 12 KiB: %d bytes, %v", len(found.Reveal()), err)
	}
	for _, size := range []int{0, 12<<10 + 1} {
		if err := store.Tokens.Write(ctx, "b/size", model.NewSecret(strings.Repeat("t", size))); err == nil {
			t.Errorf("a token of %d bytes was accepted", size)
		}
	}
}

func testInvalidKeys(t *testing.T, open func() Store) {
	ctx, store := t.Context(), open()
	for _, key := range []string{"", "..", "a/../b", "/a", "a b", "-a", strings.Repeat("a", 129)} {
		_, _, load := store.Journal.Load(ctx, key)
		_, save := store.Journal.Save(ctx, key, []byte("x"), "")
		_, read := store.Tokens.Read(ctx, key+"/1")
		for what, err := range map[string]error{
			"load": load, "save": save, "read": read, "reserve": store.Tokens.Reserve(ctx, key+"/1"),
			"write": store.Tokens.Write(ctx, "b/"+key, model.NewSecret("x")), "destroy": store.Tokens.Destroy(ctx, "b/"+key),
		} {
			if err == nil || !strings.Contains(err.Error(), "invalid state key") {
				t.Errorf("%s %q: %v", what, key, err)
			}
		}
	}
}

func testTokens(t *testing.T, open func() Store) {
	ctx, store := t.Context(), open()
	if value, err := store.Tokens.Read(ctx, "b/1"); !value.IsZero() || err != nil {
		t.Errorf("a missing token: %v %v", value, err)
	}
	if keys, err := store.Tokens.List(ctx, "b"); len(keys) != 0 || err != nil {
		t.Errorf("an empty store: %v %v", keys, err)
	}
	if err := errors.Join(store.Tokens.Reserve(ctx, "b/2"), store.Tokens.Reserve(ctx, "b/2"), store.Tokens.Reserve(ctx, "c/1")); err != nil {
		t.Fatal(err)
	}
	if value, err := open().Tokens.Read(ctx, "b/2"); !value.IsZero() || err != nil {
		t.Errorf("a reserved key: %v %v", value, err)
	}
	if err := errors.Join(store.Tokens.Write(ctx, "b/2", model.NewSecret("two")), store.Tokens.Write(ctx, "b/1", model.NewSecret("one"))); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"b/1": "one", "b/2": "two", "d/1": ""} {
		if value, err := open().Tokens.Read(ctx, key); value.Reveal() != want || err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if keys, err := open().Tokens.List(ctx, "b"); !slices.Equal(keys, []string{"b/1", "b/2"}) || err != nil {
		t.Errorf("keys: %v %v", keys, err)
	}
	if keys, err := open().Tokens.List(ctx, "c"); !slices.Equal(keys, []string{"c/1"}) || err != nil {
		t.Errorf("reserved keys: %v %v", keys, err)
	}
}

func testWriteOnce(t *testing.T, open func() Store) {
	ctx := t.Context()
	if err := open().Tokens.Write(ctx, "b/1", model.NewSecret("first")); err != nil {
		t.Fatal(err)
	}
	if err := open().Tokens.Reserve(ctx, "b/1"); err != nil {
		t.Errorf("reserving a key that has a value: %v", err)
	}
	for _, value := range []string{"first", "second"} {
		if err := open().Tokens.Write(ctx, "b/1", model.NewSecret(value)); !errors.Is(err, model.ErrExists) {
			t.Errorf("writing again: %v", err)
		}
	}
	if value, err := open().Tokens.Read(ctx, "b/1"); value.Reveal() != "first" || err != nil {
		t.Errorf("written once: %v", err)
	}
	var running sync.WaitGroup
	results := make([]error, 4)
	if err := open().Tokens.Reserve(ctx, "b/2"); err != nil {
		t.Fatal(err)
	}
	for i := range results {
		running.Go(func() { results[i] = open().Tokens.Write(ctx, "b/2", model.NewSecret(fmt.Sprint("value ", i))) })
	}
	running.Wait()
	value, err := open().Tokens.Read(ctx, "b/2")
	for i, result := range results {
		if won := value.Reveal() == fmt.Sprint("value ", i); err != nil || won != (result == nil) || !won && !errors.Is(result, model.ErrExists) {
			t.Errorf("process %d: stored %v, %v %v", i, won, result, err)
		}
	}
}

func testDestroyed(t *testing.T, open func() Store) {
	ctx, tokens := t.Context(), open().Tokens
	if err := errors.Join(tokens.Destroy(ctx, "b/1"), tokens.Reserve(ctx, "b/1"), tokens.Write(ctx, "b/2", model.NewSecret("x"))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := errors.Join(tokens.Destroy(ctx, "b/1"), tokens.Destroy(ctx, "b/2")); err != nil {
			t.Fatal(err)
		}
	}
	if keys, err := open().Tokens.List(ctx, "b"); len(keys) != 0 || err != nil {
		t.Errorf("destroyed: %v %v", keys, err)
	}
	if err := tokens.Write(ctx, "b/2", model.NewSecret("again")); err != nil {
		t.Errorf("writing under the key of a destroyed entry: %v", err)
	}
	if value, err := open().Tokens.Read(ctx, "b/2"); value.Reveal() != "again" || err != nil {
		t.Errorf("written again: %v", err)
	}
}
