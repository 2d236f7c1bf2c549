package statetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state/shared"
)

// Table is a table in memory, with conditional writes. It implements shared.Table.
type Table struct {
	mu      sync.Mutex
	ID      string // changes when a backup is restored
	Missing bool   // the table does not exist
	Items   map[string]shared.Item
}

// NewTable makes an empty table.
func NewTable() *Table { return &Table{ID: "table-1", Items: map[string]shared.Item{}} }

func (t *Table) missing(op string) error {
	if !t.Missing {
		return nil
	}
	return &model.Error{Op: op, Reason: model.ReasonNotFound, Status: 400, Code: "ResourceNotFoundException", Detail: "the table does not exist"}
}

// Describe implements shared.Table.
func (t *Table) Describe(context.Context) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ID, t.missing("describing the table")
}

// Get implements shared.Table.
func (t *Table) Get(_ context.Context, id string) (*shared.Item, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	found, exists := t.Items[id]
	if err := t.missing("reading an item"); err != nil || !exists {
		return nil, err
	}
	found.Content = slices.Clone(found.Content) // as over a network, a reader has its own
	return &found, nil
}

// Put implements shared.Table.
func (t *Table) Put(_ context.Context, item shared.Item, revision string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	found, exists := t.Items[item.ID]
	switch err := t.missing("writing an item"); {
	case err != nil:
		return err
	case exists != (revision != ""), found.Revision != revision:
		return fmt.Errorf("item %s: %w", item.ID, model.ErrConflict)
	case item.Origin == "":
		item.Origin = found.Origin
	}
	item.Content = slices.Clone(item.Content)
	t.Items[item.ID] = item
	return nil
}

// Secrets is a secret manager in memory: eventually consistent, a deleted secret blocks
// its name until its recovery window has passed. It implements shared.Secrets.
type Secrets struct {
	mu             sync.Mutex
	Lag            time.Duration // after which a created secret can be read
	RecoveryWindow time.Duration // 0: a secret is deleted at once
	Stored         map[string]StoredSecret
}

// StoredSecret is a secret by its name.
type StoredSecret struct {
	Version string
	Value   model.Secret
	Created time.Time
	Deleted time.Time // zero: it is not
}

// NewSecrets makes an empty secret manager.
func NewSecrets() *Secrets { return &Secrets{Stored: map[string]StoredSecret{}} }

// arnSuffix is what AWS appends to a name: six characters.
const arnPrefix, arnSuffix = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:", "-AbCdEf"

// find returns a secret by its name or ARN.
func (s *Secrets) find(secret string) (name string, found StoredSecret, exists bool) {
	name = secret
	if len(secret) > len(arnPrefix)+len(arnSuffix) && secret[:len(arnPrefix)] == arnPrefix {
		name = secret[len(arnPrefix) : len(secret)-len(arnSuffix)]
	}
	found, exists = s.Stored[name]
	if exists && !found.Deleted.IsZero() && time.Since(found.Deleted) >= s.RecoveryWindow {
		delete(s.Stored, name)
		return name, StoredSecret{}, false
	}
	return name, found, exists
}

// Create implements shared.Secrets.
func (s *Secrets) Create(_ context.Context, name, version string, value model.Secret) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, found, exists := s.find(name)
	switch {
	case exists && !found.Deleted.IsZero():
		return "", &model.Error{Op: "creating secret " + name, Reason: model.ReasonOther, Status: 400, Code: "InvalidRequestException", Detail: "it is scheduled for deletion"}
	case exists && (found.Version != version || !found.Value.Equal(value)):
		return "", fmt.Errorf("secret %s: %w", name, model.ErrExists)
	case !exists:
		s.Stored[name] = StoredSecret{Version: version, Value: value, Created: time.Now()}
	}
	return arnPrefix + name + arnSuffix, nil
}

// Value implements shared.Secrets.
func (s *Secrets) Value(_ context.Context, secret, version string) (model.Secret, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, found, exists := s.find(secret)
	switch {
	case !exists, found.Version != version, time.Since(found.Created) < s.Lag:
		return model.Secret{}, nil
	case !found.Deleted.IsZero():
		return model.Secret{}, fmt.Errorf("%w: secret %s is scheduled for deletion", model.ErrUnreadable, name)
	default:
		return found.Value, nil
	}
}

// Delete implements shared.Secrets.
func (s *Secrets) Delete(_ context.Context, secret string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, found, exists := s.find(secret)
	if !exists || time.Since(found.Created) < s.Lag {
		return s.RecoveryWindow == 0, nil // deleting for good reports no missing secret
	}
	if found.Deleted.IsZero() {
		found.Deleted = time.Now()
	}
	if s.Stored[name] = found; s.RecoveryWindow == 0 {
		delete(s.Stored, name)
	}
	return true, nil
}

// Live returns the values that can be read, by the secrets' names.
func (s *Secrets) Live() map[string]model.Secret {
	s.mu.Lock()
	defer s.mu.Unlock()
	live := map[string]model.Secret{}
	for name, secret := range s.Stored {
		if secret.Deleted.IsZero() {
			live[name] = secret.Value
		}
	}
	return live
}
