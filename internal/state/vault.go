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

// TokenStore keeps the values of tokens: entries that are reserved, written once, read and
// destroyed. A key is "BINDING/NAME".
//
// Destroying unlinks a file; what the disk keeps of it until it is overwritten only
// encryption makes unreadable (Options.AgeIdentityFile).
type TokenStore struct{ directory *Directory }

// entrySize is the size of every entry. A reservation already occupies it, and is
// overwritten in place: on a disk that has filled up since, a value still finds its
// room (unless the file system copies on write).
const entrySize = 16 << 10

// maxValue is the longest value with room for header and encryption.
const maxValue = 12 << 10

// entryHeader is what an entry says of itself.
type entryHeader struct {
	Key      string `json:"key"`
	Reserved bool   `json:"reserved,omitempty"` // no value yet
	Sealed   bool   `json:"sealed,omitempty"`   // the value is encrypted
	Length   int    `json:"length"`             // of the value; padding follows
}

const (
	entrySuffix    = ".token"
	reservedSuffix = entrySuffix + ".new" // reserved, or a Write that a crash cut short
)

// Reserve claims a key and proves that a value can be kept there: the place is safe,
// writable and has room, and the encryption works. Reserving again is no error.
func (v *TokenStore) Reserve(ctx context.Context, key string) error {
	return v.locked(ctx, key, func(path string) error {
		if err := v.directory.seal.check(); err != nil {
			return err
		}
		present, err := v.find(path, key)
		if err != nil || present != nil {
			return err
		}
		if err := v.claim(path, key); err != nil {
			return v.directory.explain("reserving a vault entry", err)
		}
		return nil
	})
}

// claim makes the reservation unless there is one.
func (v *TokenStore) claim(path, key string) error {
	raw, _, err := v.directory.disk.Read(path + ".new")
	if _, damage := decodeEntry(raw, key); err == nil && damage == nil {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	raw, err = encode("entry", entryHeader{Key: key, Reserved: true}, nil, entrySize)
	if err != nil {
		return err
	}
	if err := v.directory.ensure(filepath.Dir(path)); err != nil {
		return err
	}
	if err := v.directory.fill(path+".new", func(string) []byte { return raw }); err != nil {
		_ = v.directory.disk.Remove(path + ".new")
		return err
	}
	return v.directory.disk.SyncDirectory(filepath.Dir(path))
}

// Write fills a reserved key and returns once the value would survive a power cut.
// model.ErrExists: it is filled already, with whatever value.
func (v *TokenStore) Write(ctx context.Context, key string, value model.Secret) error {
	return v.locked(ctx, key, func(path string) error {
		present, err := v.find(path, key)
		if err != nil {
			return err
		}
		if present != nil {
			return fmt.Errorf("%s: %w", path, model.ErrExists)
		}
		if value.IsZero() || len(value.Reveal()) > maxValue {
			return fmt.Errorf("%s: a vault entry has 1 to %d bytes", path, maxValue)
		}
		sealed, err := v.directory.seal.close(value)
		if err != nil {
			return err
		}
		raw, err := encode("entry", entryHeader{Key: key, Sealed: v.directory.seal.on(), Length: len(sealed)}, sealed, entrySize)
		if err != nil {
			return err
		}
		if err = v.claim(path, key); err == nil {
			err = v.overwrite(path, raw)
		}
		if err != nil {
			return v.directory.explain("writing a vault entry", err)
		}
		return nil
	})
}

// overwrite puts an entry in the place of its reservation, and gives it its name once
// it is durable.
func (v *TokenStore) overwrite(path string, raw []byte) error {
	f, err := v.directory.disk.Overwrite(path + ".new")
	if err != nil {
		return err
	}
	if err := errors.Join(writeAll(f, raw), f.Close()); err != nil {
		return err
	}
	return v.directory.publish(path+".new", path)
}

// Read returns a value; a zero Secret without an error if the key is not there or only
// reserved. model.ErrUnreadable: it is there, but corrupt, foreign, newer or not ours
// to decrypt; it stays as it is.
func (v *TokenStore) Read(ctx context.Context, key string) (model.Secret, error) {
	var value model.Secret
	err := v.locked(ctx, key, func(path string) error {
		found, err := v.find(path, key)
		if err != nil || found == nil {
			return err
		}
		if value, err = v.directory.seal.open(found.header.Sealed, found.value); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return nil
	})
	return value, err
}

// List returns the keys of a binding, reserved ones included, in the order of their names.
func (v *TokenStore) List(ctx context.Context, binding string) ([]string, error) {
	if err := errors.Join(ctx.Err(), v.directory.unsafe); err != nil {
		return nil, err
	}
	path, err := v.directory.file("vault", binding, "")
	if err != nil {
		return nil, err
	}
	names, err := v.directory.disk.List(path)
	if err != nil {
		return nil, v.directory.explain("listing the vault", err)
	}
	var keys []string
	for _, name := range names {
		name = strings.TrimSuffix(name, ".new")
		if entry, ok := strings.CutSuffix(name, entrySuffix); ok {
			keys = append(keys, binding+"/"+entry)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

// Destroy removes an entry or a reservation, whatever it holds. A missing key is no error.
func (v *TokenStore) Destroy(ctx context.Context, key string) error {
	return v.locked(ctx, key, func(path string) error {
		err := v.directory.remove(path + ".new")
		if err == nil {
			err = v.directory.remove(path)
		}
		if err != nil {
			return v.directory.explain("destroying a vault entry", err)
		}
		return nil
	})
}

func (v *TokenStore) locked(ctx context.Context, key string, do func(path string) error) error {
	if err := errors.Join(ctx.Err(), v.directory.unsafe); err != nil {
		return err
	}
	path, err := v.directory.file("vault", key, entrySuffix)
	if err != nil {
		return err
	}
	unlock, err := v.directory.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return do(path)
}

// entry is a filled entry as found.
type entry struct {
	header entryHeader
	value  []byte
}

// find returns the filled entry, nil if there is none. A Write that a crash cut short
// after its last byte is finished first: the value it holds may be the only one.
func (v *TokenStore) find(path, key string) (*entry, error) {
	raw, _, err := v.directory.disk.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return v.finish(path, key)
	}
	if err != nil {
		return nil, v.directory.explain("reading the vault", err)
	}
	found, err := decodeEntry(raw, key)
	if err == nil && found.header.Reserved {
		err = fmt.Errorf("%w: corrupt: it has no value", model.ErrUnreadable)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; it is kept as it is", path, err)
	}
	return found, nil
}

func (v *TokenStore) finish(path, key string) (*entry, error) {
	raw, _, err := v.directory.disk.Read(path + ".new")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, v.directory.explain("reading the vault", err)
	}
	found, err := decodeEntry(raw, key)
	if err != nil || found.header.Reserved {
		return nil, nil //nolint:nilerr // torn: the value never was there as a whole
	}
	if err := v.overwrite(path, nil); err != nil { // its bytes are there, but perhaps not synced
		return nil, v.directory.explain("finishing a vault entry", err)
	}
	return found, nil
}

func decodeEntry(raw []byte, key string) (*entry, error) {
	var header entryHeader
	content, err := decode("entry", raw, &header)
	switch {
	case err != nil:
		return nil, err
	case header.Key != key:
		return nil, fmt.Errorf("%w: foreign: it is the entry of %s", model.ErrUnreadable, header.Key)
	case header.Length < 0 || header.Length > len(content):
		return nil, fmt.Errorf("%w: corrupt: its length is wrong", model.ErrUnreadable)
	}
	return &entry{header, content[:header.Length]}, nil
}
