package rotate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/token"
)

// memory is a journal and a vault that survive the death of the engines that use them.
type memory struct {
	mu       sync.Mutex
	records  map[string]stored
	entries  map[string]storeEntry
	revision int
	past     []memory // after every write, for whoever puts an old backup back
	keepPast bool
}

type stored struct {
	content  []byte
	revision string
}

type storeEntry struct {
	content string
	filled  bool
	torn    bool
}

func newMemory() *memory {
	return &memory{records: map[string]stored{}, entries: map[string]storeEntry{}}
}

func (m *memory) remember() {
	if m.keepPast {
		m.past = append(m.past, memory{records: maps.Clone(m.records), entries: maps.Clone(m.entries)})
	}
}

// putBack restores the state as it was after its n-th write.
func (m *memory) putBack(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n >= len(m.past) {
		return
	}
	m.revision++
	m.records, m.entries = maps.Clone(m.past[n].records), maps.Clone(m.past[n].entries)
	for key, r := range m.records { // a file that was copied back is another file
		r.revision = "restored-" + strconv.Itoa(m.revision)
		m.records[key] = r
	}
}

// putBackTo restores the state as it was when this record last stood in the phase.
func (m *memory) putBackTo(key string, phase model.Phase) {
	m.mu.Lock()
	last := -1
	for n := range m.past {
		if rec, err := decodeRecord(m.past[n].records[key].content, key); err == nil && rec.Rotation != nil && rec.Rotation.Phase == phase {
			last = n
		}
	}
	m.mu.Unlock()
	if last < 0 {
		panic("it never stood in phase " + phase)
	}
	m.putBack(last)
}

func (m *memory) load(key string) ([]byte, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.records[key]
	return bytes.Clone(r.content), r.revision, nil
}

func (m *memory) save(key string, content []byte, revision string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records[key].revision != revision {
		return "", fmt.Errorf("saving %s: %w", key, model.ErrConflict)
	}
	m.revision++
	r := stored{bytes.Clone(content), strconv.Itoa(m.revision)}
	m.records[key] = r
	m.remember()
	return r.revision, nil
}

func (m *memory) keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.records))
}

func (m *memory) reserve(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.entries[key]; !ok {
		m.entries[key] = storeEntry{}
	}
}

func (m *memory) write(key string, entry model.Secret, torn bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.entries[key].filled {
		return fmt.Errorf("writing %s: %w", key, model.ErrExists)
	}
	content := entry.Reveal()
	if torn {
		content = content[:len(content)/2]
	}
	m.entries[key] = storeEntry{content: content, filled: true, torn: torn}
	m.remember()
	return nil
}

func (m *memory) read(key string) (model.Secret, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[key]
	if e.torn {
		return model.Secret{}, fmt.Errorf("reading %s: %w", key, model.ErrUnreadable)
	}
	if !e.filled {
		return model.Secret{}, nil
	}
	return model.NewSecret(e.content), nil
}

func (m *memory) list(binding string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for key := range m.entries {
		if strings.HasPrefix(key, binding+"/") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (m *memory) destroy(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, key)
	m.remember()
}

// has tells whether the store has the value of a token under a binding.
func (m *memory) has(binding, tokenID string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, e := range m.entries {
		if id, _, ok := storedValue(e.content); ok && id == tokenID && strings.HasPrefix(key, binding+"/") {
			return true
		}
	}
	return false
}

// values returns every token value that the vault holds.
func (m *memory) values() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []string
	for _, e := range m.entries {
		if _, value, ok := storedValue(e.content); ok && e.filled && !e.torn {
			list = append(list, value)
		}
	}
	return list
}

// The session's view of the memory is the store that an engine gets: each access goes
// through the session, which may be dead, and where faults lie in wait.

// Load implements Journal.
func (s *session) Load(ctx context.Context, key string) (content []byte, revision string, err error) {
	err = s.quietly(func() error {
		content, revision, err = s.lab.memory.load(key)
		return err
	})
	return content, revision, err
}

// Save implements Journal.
func (s *session) Save(ctx context.Context, key string, content []byte, revision string) (written string, err error) {
	err = s.access(ctx, "journal.save", func(fault) error {
		written, err = s.lab.memory.save(key, content, revision)
		if err != nil || !bytes.Contains(content, []byte(`"delete":[`)) {
			return err
		}
		if rec, unreadable := decodeRecord(content, key); unreadable == nil && rec.Rotation != nil {
			for _, deletion := range rec.Rotation.Operations[token.OperationDelete] {
				s.lab.intended = append(s.lab.intended, deletion.Target)
			}
		}
		return err
	})
	if err != nil {
		written = ""
	}
	return written, err
}

// Keys implements Journal.
func (s *session) Keys(context.Context) (keys []string, err error) {
	err = s.quietly(func() error {
		keys = s.lab.memory.keys()
		return nil
	})
	return keys, err
}

// Reserve implements Vault.
func (s *session) Reserve(ctx context.Context, key string) error {
	return s.access(ctx, "vault.reserve", func(fault) error {
		s.lab.memory.reserve(key)
		return nil
	})
}

// Write implements Vault.
func (s *session) Write(ctx context.Context, key string, entry model.Secret) error {
	return s.access(ctx, "vault.write", func(f fault) error {
		return s.lab.memory.write(key, entry, f == tornWrite)
	})
}

// seal makes the vault unreadable for a while.
func (l *lab) seal(sealed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sealed = sealed
}

func (l *lab) isSealed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sealed
}

// Read implements Vault.
func (s *session) Read(ctx context.Context, key string) (entry model.Secret, err error) {
	err = s.quietly(func() error {
		if s.lab.isSealed() {
			return errors.New("permission denied")
		}
		entry, err = s.lab.memory.read(key)
		return err
	})
	return entry, err
}

// List implements Vault.
func (s *session) List(ctx context.Context, binding string) (keys []string, err error) {
	err = s.quietly(func() error {
		keys = s.lab.memory.list(binding)
		return nil
	})
	return keys, err
}

// Destroy implements Vault.
func (s *session) Destroy(ctx context.Context, key string) error {
	return s.access(ctx, "vault.destroy", func(fault) error {
		s.lab.memory.destroy(key)
		return nil
	})
}
