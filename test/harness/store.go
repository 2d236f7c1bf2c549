package harness

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

// MemoryStore is a journal and a vault that survive the death of the engines that use them.
type MemoryStore struct {
	mu          sync.Mutex
	Records     map[string]StoredRecord
	Entries     map[string]StoreEntry
	revision    int
	History     []MemoryStore // after every write, for whoever puts an old backup back
	KeepHistory bool
}

type StoredRecord struct {
	Content  []byte
	Revision string
}

type StoreEntry struct {
	content string
	filled  bool
	torn    bool
}

func newMemory() *MemoryStore {
	return &MemoryStore{Records: map[string]StoredRecord{}, Entries: map[string]StoreEntry{}}
}

func (m *MemoryStore) remember() {
	if m.KeepHistory {
		m.History = append(m.History, MemoryStore{Records: maps.Clone(m.Records), Entries: maps.Clone(m.Entries)})
	}
}

// Restore restores the state as it was after its n-th write.
func (m *MemoryStore) Restore(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n >= len(m.History) {
		return
	}
	m.revision++
	m.Records, m.Entries = maps.Clone(m.History[n].Records), maps.Clone(m.History[n].Entries)
	for key, r := range m.Records { // a file that was copied back is another file
		r.Revision = "restored-" + strconv.Itoa(m.revision)
		m.Records[key] = r
	}
}

// RestoreToPhase restores the state as it was when this record last stood in the phase.
func (m *MemoryStore) RestoreToPhase(key string, phase model.Phase) {
	m.mu.Lock()
	last := -1
	for n := range m.History {
		if rec, err := DecodeRecord(m.History[n].Records[key].Content, key); err == nil && rec.Rotation != nil && rec.Rotation.Phase == phase {
			last = n
		}
	}
	m.mu.Unlock()
	if last < 0 {
		panic("it never stood in phase " + phase)
	}
	m.Restore(last)
}

func (m *MemoryStore) Load(key string) ([]byte, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.Records[key]
	return bytes.Clone(r.Content), r.Revision, nil
}

func (m *MemoryStore) Save(key string, content []byte, revision string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Records[key].Revision != revision {
		return "", fmt.Errorf("saving %s: %w", key, model.ErrConflict)
	}
	m.revision++
	r := StoredRecord{bytes.Clone(content), strconv.Itoa(m.revision)}
	m.Records[key] = r
	m.remember()
	return r.Revision, nil
}

func (m *MemoryStore) Keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.Records))
}

func (m *MemoryStore) Reserve(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.Entries[key]; !ok {
		m.Entries[key] = StoreEntry{}
	}
}

func (m *MemoryStore) Write(key string, entry model.Secret, torn bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Entries[key].filled {
		return fmt.Errorf("writing %s: %w", key, model.ErrExists)
	}
	content := entry.Reveal()
	if torn {
		content = content[:len(content)/2]
	}
	m.Entries[key] = StoreEntry{content: content, filled: true, torn: torn}
	m.remember()
	return nil
}

func (m *MemoryStore) Read(key string) (model.Secret, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.Entries[key]
	if e.torn {
		return model.Secret{}, fmt.Errorf("reading %s: %w", key, model.ErrUnreadable)
	}
	if !e.filled {
		return model.Secret{}, nil
	}
	return model.NewSecret(e.content), nil
}

func (m *MemoryStore) List(binding string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for key := range m.Entries {
		if strings.HasPrefix(key, binding+"/") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (m *MemoryStore) Destroy(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.Entries, key)
	m.remember()
}

// Has tells whether the store has the value of a token under a binding.
func (m *MemoryStore) Has(binding, tokenID string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, e := range m.Entries {
		if id, _, ok := storedValue(e.content); ok && id == tokenID && strings.HasPrefix(key, binding+"/") {
			return true
		}
	}
	return false
}

// Values returns every token value that the vault holds.
func (m *MemoryStore) Values() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []string
	for _, e := range m.Entries {
		if _, value, ok := storedValue(e.content); ok && e.filled && !e.torn {
			list = append(list, value)
		}
	}
	return list
}

// The session's view of the memory is the store that an engine gets: each access goes
// through the session, which may be dead, and where faults lie in wait.

// Load implements Journal.
func (s *Process) Load(ctx context.Context, key string) (content []byte, revision string, err error) {
	err = s.quietly(func() error {
		content, revision, err = s.Harness.Store.Load(key)
		return err
	})
	return content, revision, err
}

// Save implements Journal.
func (s *Process) Save(ctx context.Context, key string, content []byte, revision string) (written string, err error) {
	err = s.access(ctx, "journal.save", func(Fault) error {
		written, err = s.Harness.Store.Save(key, content, revision)
		if err != nil || !bytes.Contains(content, []byte(`"delete":[`)) {
			return err
		}
		if rec, unreadable := DecodeRecord(content, key); unreadable == nil && rec.Rotation != nil {
			for _, deletion := range rec.Rotation.Operations[token.OperationDelete] {
				s.Harness.deletionIntents = append(s.Harness.deletionIntents, deletion.Target)
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
func (s *Process) Keys(context.Context) (keys []string, err error) {
	err = s.quietly(func() error {
		keys = s.Harness.Store.Keys()
		return nil
	})
	return keys, err
}

// Reserve implements Vault.
func (s *Process) Reserve(ctx context.Context, key string) error {
	return s.access(ctx, "vault.reserve", func(Fault) error {
		s.Harness.Store.Reserve(key)
		return nil
	})
}

// Write implements Vault.
func (s *Process) Write(ctx context.Context, key string, entry model.Secret) error {
	return s.access(ctx, "vault.write", func(f Fault) error {
		return s.Harness.Store.Write(key, entry, f == TornWrite)
	})
}

// SetTokensUnreadable makes the vault unreadable for a while.
func (l *Harness) SetTokensUnreadable(sealed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tokensUnreadable = sealed
}

func (l *Harness) isSealed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tokensUnreadable
}

// Read implements Vault.
func (s *Process) Read(ctx context.Context, key string) (entry model.Secret, err error) {
	err = s.quietly(func() error {
		if s.Harness.isSealed() {
			return errors.New("permission denied")
		}
		entry, err = s.Harness.Store.Read(key)
		return err
	})
	return entry, err
}

// List implements Vault.
func (s *Process) List(ctx context.Context, binding string) (keys []string, err error) {
	err = s.quietly(func() error {
		keys = s.Harness.Store.List(binding)
		return nil
	})
	return keys, err
}

// Destroy implements Vault.
func (s *Process) Destroy(ctx context.Context, key string) error {
	return s.access(ctx, "vault.destroy", func(Fault) error {
		s.Harness.Store.Destroy(key)
		return nil
	})
}
