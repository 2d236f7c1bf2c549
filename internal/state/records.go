package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"entra-aws-exporter/internal/model"
)

// Records are files that change, each as a whole and only by who knows its revision.
type Records struct {
	directory *Directory
	name      string
	unsafe    error
}

// recordHeader is what a record says of itself.
type recordHeader struct {
	Key      string `json:"key"`
	Number   uint64 `json:"number"`             // grows with every Save
	File     string `json:"file,omitempty"`     // the identity of the file it was written into
	Restored bool   `json:"restored,omitempty"` // it, or one before it, came from a copy
}

// record is a record as found.
type record struct {
	header   recordHeader
	content  []byte
	revision string // "": is not there
}

// Load returns a record and its revision; nil and "" without an error if it is not
// there. model.ErrUnreadable: it is corrupt, foreign or newer; it stays as it is.
func (r *Records) Load(ctx context.Context, key string) (content []byte, revision string, err error) {
	path, err := r.path(ctx, key)
	if err != nil {
		return nil, "", err
	}
	found, err := r.read(path, key)
	return found.content, found.revision, err
}

// Save replaces a record if it still has this revision ("": is not there) and returns
// once the new content would survive a power cut. model.ErrConflict: it has another
// revision; model.ErrUnreadable: what is there cannot be read; nothing was written.
// After any other error the old content is there or the new one, never a mixture.
func (r *Records) Save(ctx context.Context, key string, content []byte, revision string) (newRevision string, err error) {
	path, err := r.path(ctx, key)
	if err != nil {
		return "", err
	}
	unlock, err := r.directory.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	found, err := r.read(path, key)
	if err != nil {
		return "", err
	}
	if found.revision != revision {
		return "", fmt.Errorf("%s: %w", path, model.ErrConflict)
	}
	found.header.Number++
	if err := r.write(path, found.header, content); err != nil {
		return "", err
	}
	return revisionOf(found.header, content), nil
}

// Keys lists the records, in the order of their names.
func (r *Records) Keys(ctx context.Context) ([]string, error) {
	if err := errors.Join(ctx.Err(), r.unsafe); err != nil {
		return nil, err
	}
	names, err := r.directory.disk.List(filepath.Join(r.directory.root, r.name))
	if err != nil {
		return nil, r.directory.explain("listing the "+r.name, err)
	}
	var keys []string
	for _, name := range names {
		if key, ok := strings.CutSuffix(name, recordSuffix); ok {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Restored reports whether a record is, or descends from, a copy: a file that was put
// back by a person or a backup and may be older than what the clouds have seen since.
// A snapshot of a whole disk cannot be recognised. Save hands the finding on; only
// Accept ends it.
func (r *Records) Restored(ctx context.Context, key string) (bool, error) {
	path, err := r.path(ctx, key)
	if err != nil {
		return false, err
	}
	found, err := r.read(path, key)
	return found.header.Restored, err
}

// Accept makes a restored record a good one: a person has compared it with the clouds.
// The content and its revision stay.
func (r *Records) Accept(ctx context.Context, key string) error {
	path, err := r.path(ctx, key)
	if err != nil {
		return err
	}
	unlock, err := r.directory.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	found, err := r.read(path, key)
	if err != nil || !found.header.Restored {
		return err
	}
	found.header.Restored = false
	return r.write(path, found.header, found.content)
}

const recordSuffix = ".record"

func (r *Records) path(ctx context.Context, key string) (string, error) {
	if err := errors.Join(ctx.Err(), r.unsafe); err != nil {
		return "", err
	}
	return r.directory.file(r.name, key, recordSuffix)
}

func (r *Records) read(path, key string) (record, error) {
	raw, identity, err := r.directory.disk.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{header: recordHeader{Key: key}}, nil
	}
	if err != nil {
		return record{}, r.directory.explain("reading the "+r.name, err)
	}
	var header recordHeader
	content, err := decode("record", raw, &header)
	if err == nil && header.Key != key {
		err = fmt.Errorf("%w: foreign: it is the record of %s", model.ErrUnreadable, header.Key)
	}
	if err != nil {
		return record{}, fmt.Errorf("%s: %w; it is kept as it is", path, err)
	}
	header.Restored = header.Restored || header.File != identity
	return record{header, content, revisionOf(header, content)}, nil
}

func (r *Records) write(path string, header recordHeader, content []byte) error {
	var encoding error
	err := r.directory.replace(path, func(identity string) []byte {
		header.File = identity
		var raw []byte
		raw, encoding = encode("record", header, content, 0)
		return raw
	})
	if err = errors.Join(encoding, err); err != nil {
		return r.directory.explain("writing the "+r.name, err)
	}
	return nil
}

// revisionOf names a content: the number alone would not tell apart two contents if
// an older file was put back and went on.
func revisionOf(header recordHeader, content []byte) string {
	return fmt.Sprintf("%d-%.12s", header.Number, digest(content))
}
