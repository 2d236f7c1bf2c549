package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"entra-aws-exporter/internal/model"
)

// TokenStore keeps token values in entries that are reserved, written once, read and
// destroyed. A key is "BINDING/NAME".
//
// Destroy unlinks a file. Only encryption (Options.AgeIdentityFile) makes unreadable what
// the disk keeps of it.
type TokenStore struct{ dir *Directory }

const (
	// entrySize is the size of every entry. A reservation already has it and is overwritten
	// in place, so a value fits even on a disk that is full by then (unless the file system
	// copies on write).
	entrySize = 16 << 10
	// maxValue is the longest value that leaves room for header and encryption.
	maxValue = 12 << 10

	entrySuffix    = ".token"
	reservedSuffix = ".new" // after entrySuffix: reserved, or a Write interrupted by a crash
)

// entryHeader is the header of an entry's file.
type entryHeader struct {
	Key       string `json:"key"`
	Reserved  bool   `json:"reserved,omitempty"` // it has no value yet
	Encrypted bool   `json:"encrypted,omitempty"`
	Length    int    `json:"length"` // of the value; padding follows
}

// tokenEntry is an entry as read from its file.
type tokenEntry struct {
	header entryHeader
	value  []byte
}

// Reserve reserves a key and proves that a value can be kept there: the location is
// safe, writable and has space, and the encryption works. Reserving again is no error.
func (s *TokenStore) Reserve(ctx context.Context, key string) error {
	return s.withLock(ctx, key, func(path string) error {
		if err := s.dir.encryptor.check(); err != nil {
			return err
		}
		found, err := s.find(path, key)
		if err != nil || found != nil {
			return err
		}
		return s.dir.annotate("reserving a token entry", s.createReservation(path, key))
	})
}

// Write stores a value under a key and returns once the value survives a power cut.
// model.ErrExists: the key already has a value.
func (s *TokenStore) Write(ctx context.Context, key string, value model.Secret) error {
	return s.withLock(ctx, key, func(path string) error {
		found, err := s.find(path, key)
		if err != nil {
			return err
		}
		if found != nil {
			return fmt.Errorf("%s: %w", path, model.ErrExists)
		}
		content := []byte(value.Reveal())
		if len(content) == 0 || len(content) > maxValue {
			return fmt.Errorf("%s: a token has 1 to %d bytes", path, maxValue)
		}
		if s.dir.encryptor.enabled() {
			if content, err = s.dir.encryptor.encrypt(value); err != nil {
				return err
			}
		}
		header := entryHeader{Key: key, Encrypted: s.dir.encryptor.enabled(), Length: len(content)}
		if err = s.createReservation(path, key); err == nil {
			err = s.overwriteReservation(path, encode("token", header, content, entrySize))
		}
		return s.dir.annotate("writing a token entry", err)
	})
}

// Read returns a value; a zero Secret without an error if the key has none.
// model.ErrUnreadable: the entry is corrupt, from another program or a newer version, or
// cannot be decrypted.
func (s *TokenStore) Read(ctx context.Context, key string) (model.Secret, error) {
	var value model.Secret
	err := s.withLock(ctx, key, func(path string) error {
		found, err := s.find(path, key)
		if err != nil || found == nil {
			return err
		}
		if !found.header.Encrypted {
			value = model.NewSecret(string(found.value))
		} else if value, err = s.dir.encryptor.decrypt(found.value); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	})
	return value, err
}

// List returns the keys of a binding, reserved ones included, sorted.
func (s *TokenStore) List(ctx context.Context, binding string) ([]string, error) {
	path, err := s.path(ctx, binding, "")
	if err != nil {
		return nil, err
	}
	names, err := s.dir.fs.List(path)
	if err != nil {
		return nil, s.dir.annotate("listing the token store", err)
	}
	var keys []string
	for _, name := range names {
		if entry, ok := strings.CutSuffix(strings.TrimSuffix(name, reservedSuffix), entrySuffix); ok {
			keys = append(keys, binding+"/"+entry)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

// Destroy removes an entry or a reservation, also one that cannot be read. A missing key
// is no error.
func (s *TokenStore) Destroy(ctx context.Context, key string) error {
	return s.withLock(ctx, key, func(path string) error {
		err := s.dir.remove(path + reservedSuffix)
		if err == nil {
			err = s.dir.remove(path)
		}
		return s.dir.annotate("destroying a token entry", err)
	})
}

func (s *TokenStore) withLock(ctx context.Context, key string, do func(path string) error) error {
	path, err := s.path(ctx, key, entrySuffix)
	if err != nil {
		return err
	}
	unlock, err := s.dir.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return do(path)
}

func (s *TokenStore) path(ctx context.Context, key, suffix string) (string, error) {
	if err := errors.Join(ctx.Err(), s.dir.unsafe); err != nil {
		return "", err
	}
	return s.dir.path("tokens", key, suffix)
}

// find returns the entry of a key, nil if it has no value.
func (s *TokenStore) find(path, key string) (*tokenEntry, error) {
	raw, _, err := s.dir.fs.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s.recoverWrite(path, key)
	}
	if err != nil {
		return nil, s.dir.annotate("reading the token store", err)
	}
	found, err := decodeEntry(raw, key)
	if err == nil && found.header.Reserved {
		err = fmt.Errorf("%w: corrupt: no value", model.ErrUnreadable)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; the file is left unchanged", path, err)
	}
	return found, nil
}

// recoverWrite completes a Write that was interrupted after its last byte: the value in
// it may be the only copy.
func (s *TokenStore) recoverWrite(path, key string) (*tokenEntry, error) {
	raw, _, err := s.dir.fs.Read(path + reservedSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, s.dir.annotate("reading the token store", err)
	}
	found, err := decodeEntry(raw, key)
	if err != nil || found.header.Reserved {
		return nil, nil //nolint:nilerr // torn: the value was never there as a whole
	}
	if err := s.overwriteReservation(path, nil); err != nil { // its bytes are there, but perhaps not synced
		return nil, s.dir.annotate("completing a token entry", err)
	}
	return found, nil
}

// createReservation reserves the space of an entry unless it is reserved already.
func (s *TokenStore) createReservation(path, key string) error {
	raw, _, err := s.dir.fs.Read(path + reservedSuffix)
	if err == nil {
		if _, err := decodeEntry(raw, key); err == nil {
			return nil
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := s.dir.makeDirectories(filepath.Dir(path)); err != nil {
		return err
	}
	reservation := encode("token", entryHeader{Key: key, Reserved: true}, nil, entrySize)
	if err := s.dir.writeNew(path+reservedSuffix, func(string) []byte { return reservation }); err != nil {
		return err
	}
	return s.dir.fs.SyncDirectory(filepath.Dir(path))
}

// overwriteReservation writes an entry over its reservation, syncs it and renames it.
func (s *TokenStore) overwriteReservation(path string, raw []byte) error {
	f, err := s.dir.fs.Overwrite(path + reservedSuffix)
	if err != nil {
		return err
	}
	if err := errors.Join(writeSynced(f, raw), f.Close()); err != nil {
		return err
	}
	return s.dir.commit(path+reservedSuffix, path)
}

func decodeEntry(raw []byte, key string) (*tokenEntry, error) {
	var header entryHeader
	content, err := decode("token", raw, &header)
	switch {
	case err != nil:
		return nil, err
	case header.Key != key:
		return nil, fmt.Errorf("%w: it is the entry of %s", model.ErrUnreadable, header.Key)
	case header.Length < 0 || header.Length > len(content):
		return nil, fmt.Errorf("%w: corrupt: wrong length", model.ErrUnreadable)
	}
	return &tokenEntry{header, content[:header.Length]}, nil
}
