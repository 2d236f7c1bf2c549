package state

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"

	"entra-aws-exporter/internal/model"
)

// Memory keeps records in memory: of a dry run, or of a command that keeps no state.
type Memory struct {
	mu      sync.Mutex
	records map[string]memoryRecord
}

type memoryRecord struct {
	content []byte
	number  int
}

// Load returns a record and its revision, nil and "" if there is none.
func (m *Memory) Load(_ context.Context, key string) (content []byte, revision string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := m.records[key]
	return bytes.Clone(found.content), found.revision(), nil
}

// Save replaces a record that has this revision. model.ErrConflict: it has another one.
func (m *Memory) Save(_ context.Context, key string, content []byte, revision string) (newRevision string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := m.records[key]
	if revision != found.revision() {
		return "", fmt.Errorf("%s: %w", key, model.ErrConflict)
	}
	if m.records == nil {
		m.records = map[string]memoryRecord{}
	}
	saved := memoryRecord{bytes.Clone(content), found.number + 1}
	m.records[key] = saved
	return saved.revision(), nil
}

// Keys lists the keys of the records, sorted.
func (m *Memory) Keys(context.Context) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.records)), nil
}

func (r memoryRecord) revision() string {
	if r.number == 0 {
		return ""
	}
	return strconv.Itoa(r.number)
}

// ErrNoState is what None returns for every write. It is a model.ErrUnsafe.
var ErrNoState error = noStateError{}

type noStateError struct{}

func (noStateError) Error() string {
	return "rotation needs a place for its journal and the new token: set state.directory or state.aws"
}

func (noStateError) Is(target error) bool { return target == model.ErrUnsafe }

// None stands for the records and the token store where no state is kept: it
// is empty, and nothing can be written.
type None struct{}

// Load finds no record.
func (None) Load(context.Context, string) ([]byte, string, error) { return nil, "", nil }

// Save returns ErrNoState.
func (None) Save(context.Context, string, []byte, string) (string, error) {
	return "", ErrNoState
}

// Keys lists no record.
func (None) Keys(context.Context) ([]string, error) { return nil, nil }

// Reserve returns ErrNoState.
func (None) Reserve(context.Context, string) error { return ErrNoState }

// Write returns ErrNoState.
func (None) Write(context.Context, string, model.Secret) error { return ErrNoState }

// Read finds no token.
func (None) Read(context.Context, string) (model.Secret, error) { return model.Secret{}, nil }

// List lists no token.
func (None) List(context.Context, string) ([]string, error) { return nil, nil }

// Destroy has nothing to remove.
func (None) Destroy(context.Context, string) error { return nil }
