package rotate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"entra-aws-exporter/internal/model"
)

// The kind and schema of a vault entry.
const (
	entryKind   = "entra-aws-exporter/token"
	entrySchema = 1
)

// errValueLost: the vault does not hold a readable value where it should.
var errValueLost = errors.New("the vault holds no readable value")

// errAnother: the entry that was to be written holds another value already.
var errAnother = fmt.Errorf("%w: another one is there", errValueLost)

// entry is what the vault keeps of a token.
type entry struct {
	Kind    string `json:"kind"`
	Schema  int    `json:"schema"`
	Binding string `json:"binding"`
	TokenID string `json:"token_id"`
	Value   string `json:"value"`
}

func encodeEntry(binding, tokenID string, value model.Secret) (model.Secret, error) {
	content, err := json.Marshal(entry{entryKind, entrySchema, binding, tokenID, value.Reveal()})
	if err != nil {
		return model.Secret{}, fmt.Errorf("encoding the vault entry of token %s: %w", tokenID, err)
	}
	return model.NewSecret(string(content)), nil
}

// decodeEntry reads what encodeEntry wrote for this binding. Its errors never show
// the content.
func decodeEntry(content model.Secret, binding string) (tokenID string, value model.Secret, err error) {
	var e entry
	if json.Unmarshal([]byte(content.Reveal()), &e) != nil {
		return "", model.Secret{}, fmt.Errorf("%w: corrupt", errValueLost)
	}
	switch {
	case e.Kind != entryKind || e.Schema != entrySchema:
		return "", model.Secret{}, fmt.Errorf("%w: foreign or newer", errValueLost)
	case e.Binding != binding:
		return "", model.Secret{}, fmt.Errorf("%w: it belongs to another binding", errValueLost)
	case e.TokenID == "" || e.Value == "":
		return "", model.Secret{}, fmt.Errorf("%w: incomplete", errValueLost)
	}
	return e.TokenID, model.NewSecret(e.Value), nil
}

// safe is one binding's part of the vault.
type safe struct {
	vault   Vault
	binding string
}

func (s safe) key(name string) string { return s.binding + "/" + name }

// reserve makes sure that put will succeed under this name.
func (s safe) reserve(ctx context.Context, name string) error {
	if err := s.vault.Reserve(ctx, s.key(name)); err != nil {
		return fmt.Errorf("reserving the vault entry %s: %w", name, err)
	}
	return nil
}

// put keeps a value and reads it back. Putting the same value again is no error.
func (s safe) put(ctx context.Context, name, tokenID string, value model.Secret) error {
	content, err := encodeEntry(s.binding, tokenID, value)
	if err != nil {
		return err
	}
	if err := s.vault.Write(ctx, s.key(name), content); err != nil && !errors.Is(err, model.ErrExists) {
		return fmt.Errorf("writing the vault entry %s: %w", name, err)
	}
	id, kept, err := s.get(ctx, name)
	if err != nil {
		return err
	}
	if id != tokenID || !kept.Equal(value) {
		return fmt.Errorf("%w: entry %s", errAnother, name)
	}
	return nil
}

// get returns what put kept. errValueLost: there is nothing, or nothing readable; any
// other error is the vault's, and may pass.
func (s safe) get(ctx context.Context, name string) (tokenID string, value model.Secret, err error) {
	content, err := s.vault.Read(ctx, s.key(name))
	switch {
	case errors.Is(err, model.ErrUnreadable):
		return "", model.Secret{}, fmt.Errorf("%w: entry %s: %w", errValueLost, name, err)
	case err != nil:
		return "", model.Secret{}, fmt.Errorf("reading the vault entry %s: %w", name, err)
	case content.IsZero():
		return "", model.Secret{}, fmt.Errorf("%w: entry %s is empty", errValueLost, name)
	}
	tokenID, value, err = decodeEntry(content, s.binding)
	if err != nil {
		return "", model.Secret{}, fmt.Errorf("entry %s: %w", name, err)
	}
	return tokenID, value, nil
}

// of returns the value of a token, whichever entry holds it; a zero Secret if none does.
func (s safe) of(ctx context.Context, tokenID string) (model.Secret, error) {
	keys, err := s.vault.List(ctx, s.binding)
	if err != nil {
		return model.Secret{}, fmt.Errorf("listing the vault: %w", err)
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

// destroy removes the value of a token.
func (s safe) destroy(ctx context.Context, tokenID string) error {
	return s.clear(ctx, func(id string) bool { return id == tokenID })
}

// destroyAllBut removes every value but this token's, and the entries in which no value
// can be read.
func (s safe) destroyAllBut(ctx context.Context, tokenID string) error {
	return s.clear(ctx, func(id string) bool { return id != tokenID })
}

// clear destroys the entries that are chosen by the id of their token; "": no value can be read.
func (s safe) clear(ctx context.Context, chosen func(tokenID string) bool) error {
	keys, err := s.vault.List(ctx, s.binding)
	if err != nil {
		return fmt.Errorf("listing the vault: %w", err)
	}
	for _, key := range keys {
		id, _, err := s.get(ctx, strings.TrimPrefix(key, s.binding+"/"))
		if err != nil && !errors.Is(err, errValueLost) {
			return err
		}
		if !chosen(id) {
			continue
		}
		if err := s.vault.Destroy(ctx, key); err != nil {
			return fmt.Errorf("destroying a vault entry: %w", err)
		}
	}
	return nil
}

// roundTrip proves that values can be kept and destroyed. What a proof that was cut
// short has left goes first.
func (s safe) roundTrip(ctx context.Context, name string) error {
	if err := s.vault.Destroy(ctx, s.key(name)); err != nil {
		return fmt.Errorf("destroying a vault entry: %w", err)
	}
	if err := s.reserve(ctx, name); err != nil {
		return err
	}
	if err := s.put(ctx, name, "round-trip", model.NewSecret("round-trip")); err != nil {
		return err
	}
	if err := s.vault.Destroy(ctx, s.key(name)); err != nil {
		return fmt.Errorf("destroying a vault entry: %w", err)
	}
	return nil
}
