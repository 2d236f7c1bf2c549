package shared

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state"
)

// TokenStore keeps token values in entries that are reserved, written once, read and
// destroyed. A key is "BINDING/NAME". Each entry has a secret of its own, under a name that
// is never used again: a deleted secret blocks its name, and a value is never replaced.
type TokenStore struct {
	store *Store
	index *Records // by binding: which entry is in which secret
}

const (
	// maxValue is what the file store keeps, too.
	maxValue = 12 << 10
	// consistent is after which time a secret that is not found is taken for missing. It
	// includes the difference of two replicas' clocks.
	consistent = 10 * time.Minute
	// readAttempts is how often a new secret is read. With backoff, 12 seconds in all.
	readAttempts = 7
)

// tokenEntry is an entry as the index has it.
type tokenEntry struct {
	Secret   string    `json:"secret"`        // its name
	ARN      string    `json:"arn,omitempty"` // "": not known to exist
	Reserved time.Time `json:"reserved"`
	Written  time.Time `json:"written,omitzero"`
}

// version is the id of a secret's only version. Whoever knows the name knows it, so that
// creating a secret again, without an answer to the first call, changes nothing.
func version(secret string) string { return checksum([]byte(secret))[:32] }

func (e tokenEntry) id() string {
	if e.ARN != "" {
		return e.ARN
	}
	return e.Secret
}

// mayAppear tells whether a secret that is not found may be found soon.
func (e tokenEntry) mayAppear() bool {
	return time.Since(e.Reserved) < consistent || !e.Written.IsZero() && time.Since(e.Written) < consistent
}

// Reserve reserves a key. Reserving again is no error.
func (s *TokenStore) Reserve(ctx context.Context, key string) error {
	_, err := s.reserve(ctx, key)
	return err
}

func (s *TokenStore) reserve(ctx context.Context, key string) (reserved tokenEntry, err error) {
	err = s.change(ctx, key, func(entries map[string]tokenEntry, name string) bool {
		found, exists := entries[name]
		if !exists {
			found = tokenEntry{Secret: s.store.SecretPrefix + key + "." + strings.ToLower(rand.Text()[:16]), Reserved: time.Now().UTC()}
			entries[name] = found
		}
		reserved = found
		return !exists
	})
	return reserved, err
}

// Write stores a value under a key and returns once it was read back. model.ErrExists: the
// key already has a value.
func (s *TokenStore) Write(ctx context.Context, key string, value model.Secret) error {
	if size := len(value.Reveal()); size == 0 || size > maxValue {
		return fmt.Errorf("token entry %s: a token has 1 to %d bytes", key, maxValue)
	}
	entry, err := s.reserve(ctx, key)
	if err != nil {
		return err
	}
	if !entry.Written.IsZero() {
		return fmt.Errorf("token entry %s: %w", key, model.ErrExists)
	}
	err = retry(ctx, func() error {
		var err error
		entry.ARN, err = s.store.secrets.Create(ctx, entry.Secret, version(entry.Secret), value)
		return err
	})
	if err != nil {
		return storeError(err)
	}
	stored, err := s.await(ctx, entry)
	switch {
	case err != nil:
		return err
	case stored.IsZero():
		return fmt.Errorf("secret %s: it cannot be read back yet: %w", entry.Secret, model.ErrUnavailable)
	case !stored.Equal(value):
		return fmt.Errorf("secret %s: %w with another value", entry.Secret, model.ErrExists)
	}
	replaced, err := s.markWritten(ctx, key, entry)
	if err == nil && replaced {
		return errors.Join(fmt.Errorf("token entry %s: %w, by another process", key, model.ErrExists), s.deleteSecret(ctx, entry))
	}
	return err
}

// markWritten notes that an entry has its value, also if it was destroyed meanwhile: its
// secret exists. replaced: another process has reserved the key anew, for another secret.
func (s *TokenStore) markWritten(ctx context.Context, key string, entry tokenEntry) (replaced bool, err error) {
	err = s.change(ctx, key, func(entries map[string]tokenEntry, name string) bool {
		found, exists := entries[name]
		if replaced = exists && found.Secret != entry.Secret; replaced {
			return false
		}
		entry.Written = time.Now().UTC()
		entries[name] = entry
		return true
	})
	return replaced, err
}

// Read returns a value; a zero Secret without an error if the key has none.
// model.ErrUnreadable: its secret was deleted.
func (s *TokenStore) Read(ctx context.Context, key string) (model.Secret, error) {
	entry, exists, err := s.entry(ctx, key)
	if err != nil || !exists {
		return model.Secret{}, err
	}
	value, err := s.await(ctx, entry)
	switch {
	case err != nil:
		return model.Secret{}, err
	case !value.IsZero() && entry.Written.IsZero(): // by a process that ended before it noted so
		_, err := s.markWritten(ctx, key, entry)
		return value, err
	case !value.IsZero() || entry.Written.IsZero():
		return value, nil
	case entry.mayAppear():
		return model.Secret{}, fmt.Errorf("secret %s: it cannot be read yet: %w", entry.Secret, model.ErrUnavailable)
	default:
		return model.Secret{}, fmt.Errorf("%w: secret %s is gone: somebody deleted it", model.ErrUnreadable, entry.Secret)
	}
}

// await reads a secret, and for a while again if it is missing but may appear.
func (s *TokenStore) await(ctx context.Context, entry tokenEntry) (model.Secret, error) {
	for attempt := range readAttempts {
		value, err := s.store.secrets.Value(ctx, entry.id(), version(entry.Secret))
		if err != nil || !value.IsZero() || !entry.mayAppear() || attempt == readAttempts-1 {
			return value, storeError(err)
		}
		if err := sleep(ctx, backoff<<attempt); err != nil {
			return model.Secret{}, fmt.Errorf("secret %s: it cannot be read yet: %w: %w", entry.Secret, model.ErrUnavailable, err)
		}
	}
	return model.Secret{}, nil // not reached: the last attempt returns
}

// List returns the keys of a binding, reserved ones included, sorted.
func (s *TokenStore) List(ctx context.Context, binding string) ([]string, error) {
	entries, _, err := s.entries(ctx, binding)
	var keys []string
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		keys = append(keys, binding+"/"+name)
	}
	return keys, err
}

// Destroy deletes an entry's secret, also one that cannot be read, and then the entry. A
// missing key is no error.
func (s *TokenStore) Destroy(ctx context.Context, key string) error {
	entry, exists, err := s.entry(ctx, key)
	if err != nil || !exists {
		return err
	}
	if err := s.deleteSecret(ctx, entry); err != nil {
		return err
	}
	return s.change(ctx, key, func(entries map[string]tokenEntry, name string) bool {
		if entries[name].Secret != entry.Secret { // destroyed, and perhaps reserved anew, by another process
			return false
		}
		delete(entries, name)
		return true
	})
}

// deleteSecret deletes the secret of an entry, which may not be found at once.
func (s *TokenStore) deleteSecret(ctx context.Context, entry tokenEntry) error {
	for attempt := range readAttempts {
		var found bool
		err := retry(ctx, func() error {
			var err error
			found, err = s.store.secrets.Delete(ctx, entry.id())
			return err
		})
		if err != nil {
			return storeError(err)
		}
		if found || !entry.mayAppear() || attempt == readAttempts-1 {
			return nil
		}
		if err := sleep(ctx, backoff<<attempt); err != nil {
			return fmt.Errorf("deleting secret %s: %w: %w", entry.Secret, model.ErrUnavailable, err)
		}
	}
	return nil // not reached: the last attempt returns
}

// entry returns the entry of a key.
func (s *TokenStore) entry(ctx context.Context, key string) (found tokenEntry, exists bool, err error) {
	binding, name, err := split(key)
	if err != nil {
		return tokenEntry{}, false, err
	}
	entries, _, err := s.entries(ctx, binding)
	found, exists = entries[name]
	return found, exists, err
}

func split(key string) (binding, name string, err error) {
	binding, name, found := strings.Cut(key, "/")
	if !found || strings.Contains(name, "/") {
		return "", "", fmt.Errorf("invalid state key tokens/%q: it is BINDING/NAME", key)
	}
	return binding, name, state.CheckKey("tokens", key)
}

// entries reads the index of a binding.
func (s *TokenStore) entries(ctx context.Context, binding string) (entries map[string]tokenEntry, revision string, err error) {
	content, revision, err := s.index.Load(ctx, binding)
	entries = map[string]tokenEntry{}
	if err != nil || content == nil {
		return entries, revision, err
	}
	if err := json.Unmarshal(content, &entries); err != nil {
		return nil, "", s.index.describe(s.index.id(binding), fmt.Errorf("%w: corrupt: not a list of entries", model.ErrUnreadable))
	}
	return entries, revision, nil
}

// change applies an edit to the index of a binding, and again after another replica's. An
// edit that returns false changes nothing.
func (s *TokenStore) change(ctx context.Context, key string, edit func(entries map[string]tokenEntry, name string) bool) error {
	binding, name, err := split(key)
	if err != nil {
		return err
	}
	for range conflicts {
		entries, revision, err := s.entries(ctx, binding)
		if err != nil {
			return err
		}
		if !edit(entries, name) {
			return nil
		}
		content, err := json.Marshal(entries) //nolint:gosec // names of secrets, no values
		if err != nil {
			return err
		}
		if _, err = s.index.Save(ctx, binding, content, revision); !errors.Is(err, model.ErrConflict) {
			return err
		}
	}
	return s.index.describe(s.index.id(binding), model.ErrConflict)
}
