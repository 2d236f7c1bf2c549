package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"entra-aws-exporter/internal/model"
)

// Store keeps the values of tokens: entries that are written once, then read until they
// are destroyed. A key is "<binding key>/<name>".
type Store interface {
	// Reserve reserves a key and makes sure that an entry can be written there: that
	// the store is writable and has room. Reserving again is no error.
	Reserve(ctx context.Context, key string) error
	// Write fills a reserved key, durably. model.ErrExists: it is filled already.
	Write(ctx context.Context, key string, entry model.Secret) error
	// Read returns the entry; a zero Secret and no error if the key is not there or
	// reserved only. model.ErrUnreadable: it is there, but corrupt or not ours to decrypt.
	Read(ctx context.Context, key string) (model.Secret, error)
	// List returns the keys of a binding, reserved ones included, in any order.
	List(ctx context.Context, bindingKey string) ([]string, error)
	// Destroy removes an entry or a reservation for good. A missing key is no error.
	Destroy(ctx context.Context, key string) error
}

// Observed returns a store that reports every value before it writes it, and after it has
// read it.
func Observed(store Store, report func(value model.Secret)) Store {
	return observedStore{store, report}
}

type observedStore struct {
	Store
	report func(model.Secret)
}

// Write implements Store.
func (s observedStore) Write(ctx context.Context, key string, entry model.Secret) error {
	s.reportValue(entry)
	return s.Store.Write(ctx, key, entry)
}

// Read implements Store.
func (s observedStore) Read(ctx context.Context, key string) (model.Secret, error) {
	entry, err := s.Store.Read(ctx, key)
	s.reportValue(entry)
	return entry, err
}

func (s observedStore) reportValue(entry model.Secret) {
	var e storeEntry
	if json.Unmarshal([]byte(entry.Reveal()), &e) == nil {
		s.report(model.NewSecret(e.Value))
	}
}

// The kind and schema of an entry.
const (
	entryKind   = "entra-aws-exporter/token"
	entrySchema = 1
)

// errValueLost: the token store does not hold a readable value where it should.
var errValueLost = errors.New("the token store holds no readable value")

// errOtherValue: the entry holds another value already.
var errOtherValue = fmt.Errorf("%w: the entry has another value", errValueLost)

// storeEntry is what the token store keeps of a token.
type storeEntry struct {
	Kind    string `json:"kind"`
	Schema  int    `json:"schema"`
	Binding string `json:"binding"`
	TokenID string `json:"token_id"`
	Value   string `json:"value"`
}

func encodeEntry(binding, tokenID string, value model.Secret) (model.Secret, error) {
	content, err := json.Marshal(storeEntry{entryKind, entrySchema, binding, tokenID, value.Reveal()})
	if err != nil {
		return model.Secret{}, fmt.Errorf("encoding the token store entry of token %s: %w", tokenID, err)
	}
	return model.NewSecret(string(content)), nil
}

// decodeEntry reads what encodeEntry wrote for this binding. Its errors never show
// the content.
func decodeEntry(content model.Secret, binding string) (tokenID string, value model.Secret, err error) {
	var e storeEntry
	if json.Unmarshal([]byte(content.Reveal()), &e) != nil {
		return "", model.Secret{}, fmt.Errorf("%w: corrupt", errValueLost)
	}
	switch {
	case e.Kind != entryKind || e.Schema != entrySchema:
		return "", model.Secret{}, fmt.Errorf("%w: not an entry of this program, or of a newer version", errValueLost)
	case e.Binding != binding:
		return "", model.Secret{}, fmt.Errorf("%w: it belongs to another binding", errValueLost)
	case e.TokenID == "" || e.Value == "":
		return "", model.Secret{}, fmt.Errorf("%w: incomplete", errValueLost)
	}
	return e.TokenID, model.NewSecret(e.Value), nil
}

// tokenStore is one binding's part of the Store.
type tokenStore struct {
	store   Store
	binding string
}

func (s tokenStore) key(name string) string { return s.binding + "/" + name }

// reserve makes sure that save will succeed under this name.
func (s tokenStore) reserve(ctx context.Context, name string) error {
	if err := s.store.Reserve(ctx, s.key(name)); err != nil {
		return fmt.Errorf("reserving the token store entry %s: %w", name, err)
	}
	return nil
}

// save stores a value and reads it back. Saving the same value again is no error.
func (s tokenStore) save(ctx context.Context, name, tokenID string, value model.Secret) error {
	content, err := encodeEntry(s.binding, tokenID, value)
	if err != nil {
		return err
	}
	if err := s.store.Write(ctx, s.key(name), content); err != nil && !errors.Is(err, model.ErrExists) {
		return fmt.Errorf("writing the token store entry %s: %w", name, err)
	}
	id, stored, err := s.get(ctx, name)
	if err != nil {
		return err
	}
	if id != tokenID || !stored.Equal(value) {
		return fmt.Errorf("%w: entry %s", errOtherValue, name)
	}
	return nil
}

// get returns what save stored. errValueLost: there is nothing, or nothing readable; any
// other error is the store's, and may pass.
func (s tokenStore) get(ctx context.Context, name string) (tokenID string, value model.Secret, err error) {
	content, err := s.store.Read(ctx, s.key(name))
	switch {
	case errors.Is(err, model.ErrUnreadable):
		return "", model.Secret{}, fmt.Errorf("%w: entry %s: %w", errValueLost, name, err)
	case err != nil:
		return "", model.Secret{}, fmt.Errorf("reading the token store entry %s: %w", name, err)
	case content.IsZero():
		return "", model.Secret{}, fmt.Errorf("%w: entry %s is empty", errValueLost, name)
	}
	tokenID, value, err = decodeEntry(content, s.binding)
	if err != nil {
		return "", model.Secret{}, fmt.Errorf("entry %s: %w", name, err)
	}
	return tokenID, value, nil
}

// find returns the value of a token, whichever entry holds it; a zero Secret if none does.
func (s tokenStore) find(ctx context.Context, tokenID string) (model.Secret, error) {
	keys, err := s.store.List(ctx, s.binding)
	if err != nil {
		return model.Secret{}, fmt.Errorf("listing the token store: %w", err)
	}
	for _, key := range keys {
		id, value, err := s.get(ctx, strings.TrimPrefix(key, s.binding+"/"))
		if err != nil && !errors.Is(err, errValueLost) {
			return model.Secret{}, err
		}
		if err == nil && id == tokenID {
			return value, nil
		}
	}
	return model.Secret{}, nil
}

// idUnder returns the id of the token whose value is stored under a name, or under one
// derived from it; "": none is.
func (s tokenStore) idUnder(ctx context.Context, name string) (string, error) {
	keys, err := s.store.List(ctx, s.binding)
	if err != nil {
		return "", fmt.Errorf("listing the token store: %w", err)
	}
	slices.Sort(keys)
	for _, key := range keys {
		candidate := strings.TrimPrefix(key, s.binding+"/")
		if candidate != name && !strings.HasPrefix(candidate, name+"-") {
			continue
		}
		id, _, err := s.get(ctx, candidate)
		if err == nil {
			return id, nil
		}
		if !errors.Is(err, errValueLost) {
			return "", err
		}
	}
	return "", nil
}

// destroy removes the value of a token.
func (s tokenStore) destroy(ctx context.Context, tokenID string) error {
	return s.destroyWhere(ctx, func(id string) bool { return id == tokenID })
}

// destroyAllExcept removes every value except this token's, and the entries in which no value
// can be read.
func (s tokenStore) destroyAllExcept(ctx context.Context, tokenID string) error {
	return s.destroyWhere(ctx, func(id string) bool { return id != tokenID })
}

// destroyWhere destroys the entries whose token id matches; "": the value cannot be read.
func (s tokenStore) destroyWhere(ctx context.Context, match func(tokenID string) bool) error {
	keys, err := s.store.List(ctx, s.binding)
	if err != nil {
		return fmt.Errorf("listing the token store: %w", err)
	}
	for _, key := range keys {
		id, _, err := s.get(ctx, strings.TrimPrefix(key, s.binding+"/"))
		if err != nil && !errors.Is(err, errValueLost) {
			return err
		}
		if !match(id) {
			continue
		}
		if err := s.store.Destroy(ctx, key); err != nil {
			return fmt.Errorf("destroying a token store entry: %w", err)
		}
	}
	return nil
}

// roundTrip checks that values can be stored and destroyed. What an interrupted check has
// left goes first.
func (s tokenStore) roundTrip(ctx context.Context, name string) error {
	if err := s.store.Destroy(ctx, s.key(name)); err != nil {
		return fmt.Errorf("destroying a token store entry: %w", err)
	}
	if err := s.reserve(ctx, name); err != nil {
		return err
	}
	if err := s.save(ctx, name, "round-trip", model.NewSecret("round-trip")); err != nil {
		return err
	}
	if err := s.store.Destroy(ctx, s.key(name)); err != nil {
		return fmt.Errorf("destroying a token store entry: %w", err)
	}
	return nil
}
