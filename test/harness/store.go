package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/token"
)

// MemoryStore is a journal and a token store that survive the processes that use them.
type MemoryStore struct {
	mu          sync.Mutex
	Records     map[string]StoredRecord // by the binding's key
	entries     map[string]storeEntry   // by the entry's key
	revision    int
	History     []MemoryStore // the state after each write, if KeepHistory
	KeepHistory bool
}

// StoredRecord is a journal record as it is stored.
type StoredRecord struct {
	Content  []byte
	Revision string
}

type storeEntry struct {
	content string
	filled  bool // false: space is reserved, nothing was written
	torn    bool // only a part was written
}

func newMemoryStore() *MemoryStore {
	return &MemoryStore{Records: map[string]StoredRecord{}, entries: map[string]storeEntry{}}
}

func (m *MemoryStore) recordHistory() {
	if m.KeepHistory {
		m.History = append(m.History, MemoryStore{Records: maps.Clone(m.Records), entries: maps.Clone(m.entries)})
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
	m.Records, m.entries = maps.Clone(m.History[n].Records), maps.Clone(m.History[n].entries)
	for key, r := range m.Records { // a restored file is another file
		r.Revision = "restored-" + strconv.Itoa(m.revision)
		m.Records[key] = r
	}
}

// RestoreToPhase restores the state as it was when the record's rotation was last in the
// phase.
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
		panic("the rotation was never in phase " + phase)
	}
	m.Restore(last)
}

// Load returns a record and its revision.
func (m *MemoryStore) Load(key string) ([]byte, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.Records[key]
	return bytes.Clone(r.Content), r.Revision, nil
}

// Save writes a record over the given revision.
func (m *MemoryStore) Save(key string, content []byte, revision string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Records[key].Revision != revision {
		return "", fmt.Errorf("saving %s: %w", key, model.ErrConflict)
	}
	m.revision++
	r := StoredRecord{bytes.Clone(content), strconv.Itoa(m.revision)}
	m.Records[key] = r
	m.recordHistory()
	return r.Revision, nil
}

// Replace puts another record in the place of one, as an operator does; nil: none.
func (m *MemoryStore) Replace(key string, content []byte) (before []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before = m.Records[key].Content
	m.revision++
	if m.Records[key] = (StoredRecord{content, "replaced-" + strconv.Itoa(m.revision)}); content == nil {
		delete(m.Records, key)
	}
	return before
}

// Keys lists the keys of the records.
func (m *MemoryStore) Keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.Records))
}

// Reserve reserves the space of an entry.
func (m *MemoryStore) Reserve(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.entries[key]; !ok {
		m.entries[key] = storeEntry{}
	}
}

// Write writes an entry; torn: only half of it.
func (m *MemoryStore) Write(key string, entry model.Secret, torn bool) error {
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
	m.recordHistory()
	return nil
}

// Read returns an entry; the zero Secret: nothing was written.
func (m *MemoryStore) Read(key string) (model.Secret, error) {
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

// List lists the keys of a binding's entries.
func (m *MemoryStore) List(binding string) []string {
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

// Destroy removes an entry.
func (m *MemoryStore) Destroy(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.entries, key)
	m.recordHistory()
}

// Has reports whether the store has the value of a token under a binding.
func (m *MemoryStore) Has(binding, tokenID string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, e := range m.entries {
		if id, _, ok := storedValue(e.content); ok && id == tokenID && strings.HasPrefix(key, binding+"/") {
			return true
		}
	}
	return false
}

// Values returns every token value that the token store holds.
func (m *MemoryStore) Values() []string {
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

// A process implements the engine's stores on the memory store. Its writes are calls,
// which may get a fault.

// Load implements journal.Store.
func (p *Process) Load(ctx context.Context, key string) (content []byte, revision string, err error) {
	if p.state != nil {
		content, revision, err = p.state.Journal().Load(ctx, key)
		return shiftLocalTimes(content, -p.ClockAhead), revision, err
	}
	err = p.readStore(func() error {
		content, revision, err = p.Harness.Store.Load(key)
		content = shiftLocalTimes(content, -p.ClockAhead)
		return err
	})
	return content, revision, err
}

// Save implements journal.Store.
func (p *Process) Save(ctx context.Context, key string, content []byte, revision string) (written string, err error) {
	if p.state != nil {
		return p.state.Journal().Save(ctx, key, shiftLocalTimes(content, p.ClockAhead), revision)
	}
	err = p.writeStore(ctx, "journal.save", func(Fault) error {
		written, err = p.Harness.Store.Save(key, shiftLocalTimes(content, p.ClockAhead), revision)
		if err == nil {
			p.Harness.noteDeletionIntents(key, content)
		}
		return err
	})
	if err != nil {
		written = ""
	}
	return written, err
}

// noteDeletionIntents notes the deletions of tokens that a record intends.
func (h *Harness) noteDeletionIntents(key string, content []byte) {
	if h.Rolls != nil || !bytes.Contains(content, []byte(`"delete":[`)) {
		return
	}
	if rec, err := DecodeRecord(content, key); err == nil && rec.Rotation != nil {
		for _, deletion := range rec.Rotation.Operations[token.OperationDelete] {
			h.deletionIntents = append(h.deletionIntents, deletion.Target)
		}
	}
}

// localTimes are the times in a record that come from the clock of the process that wrote
// them.
var localTimes = regexp.MustCompile(`"(local|updated|on_hold|last_end|last_success|at|began|since|last|last_logged|job_stopped|due_since|test_failed_since)":"([^"]+)"|("lease":{"holder":"[^"]*","epoch":\d+,"expires":")([^"]+)"`)

// shiftLocalTimes shows a record as a process reads it whose clock is elsewhere.
func shiftLocalTimes(content []byte, by time.Duration) []byte {
	if by == 0 {
		return content
	}
	return localTimes.ReplaceAllFunc(content, func(field []byte) []byte {
		at := bytes.LastIndexByte(field[:len(field)-1], '"') + 1
		t, err := time.Parse(time.RFC3339, string(field[at:len(field)-1]))
		if err != nil || t.IsZero() {
			return field
		}
		return fmt.Appendf(nil, `%s%s"`, field[:at], t.Add(by).Format(time.RFC3339Nano))
	})
}

// Restored implements journal.RestoreDetector.
func (p *Process) Restored(ctx context.Context, key string) (bool, error) {
	if p.state == nil {
		return false, nil
	}
	return p.state.Journal().Restored(ctx, key)
}

// Accept implements journal.RestoreDetector.
func (p *Process) Accept(ctx context.Context, key string) error {
	if p.state == nil {
		return nil
	}
	return p.state.Journal().Accept(ctx, key)
}

// Keys implements journal.Store.
func (p *Process) Keys(ctx context.Context) (keys []string, err error) {
	if p.state != nil {
		return p.state.Journal().Keys(ctx)
	}
	err = p.readStore(func() error {
		keys = p.Harness.Store.Keys()
		return nil
	})
	return keys, err
}

// Reserve implements token.Store.
func (p *Process) Reserve(ctx context.Context, key string) error {
	if p.state != nil {
		return p.state.Tokens().Reserve(ctx, key)
	}
	return p.writeStore(ctx, "tokens.reserve", func(Fault) error {
		p.Harness.Store.Reserve(key)
		return nil
	})
}

// Write implements token.Store.
func (p *Process) Write(ctx context.Context, key string, entry model.Secret) error {
	if p.state != nil {
		return p.state.Tokens().Write(ctx, key, entry)
	}
	return p.writeStore(ctx, "tokens.write", func(f Fault) error {
		return p.Harness.Store.Write(key, entry, f == TornWrite)
	})
}

// SetTokensUnreadable makes the token store unreadable, or readable again.
func (h *Harness) SetTokensUnreadable(unreadable bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tokensUnreadable = unreadable
}

func (h *Harness) areTokensUnreadable() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tokensUnreadable
}

// Read implements token.Store.
func (p *Process) Read(ctx context.Context, key string) (entry model.Secret, err error) {
	if p.state != nil {
		return p.state.Tokens().Read(ctx, key)
	}
	err = p.readStore(func() error {
		if p.Harness.areTokensUnreadable() {
			return errors.New("permission denied")
		}
		entry, err = p.Harness.Store.Read(key)
		return err
	})
	return entry, err
}

// List implements token.Store.
func (p *Process) List(ctx context.Context, binding string) (keys []string, err error) {
	if p.state != nil {
		return p.state.Tokens().List(ctx, binding)
	}
	err = p.readStore(func() error {
		keys = p.Harness.Store.List(binding)
		return nil
	})
	return keys, err
}

// Destroy implements token.Store.
func (p *Process) Destroy(ctx context.Context, key string) error {
	if p.state != nil {
		return p.state.Tokens().Destroy(ctx, key)
	}
	return p.writeStore(ctx, "tokens.destroy", func(Fault) error {
		p.Harness.Store.Destroy(key)
		return nil
	})
}
