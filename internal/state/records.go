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

// Records are files that are replaced as a whole, and only by a writer that knows the
// current revision.
type Records struct {
	dir    *Directory
	name   string // of the subdirectory
	unsafe error
}

const recordSuffix = ".record"

// recordHeader is the header of a record's file.
type recordHeader struct {
	Key      string `json:"key"`
	Number   uint64 `json:"number"`             // grows with every Save
	FileID   string `json:"file_id,omitempty"`  // of the file that it was written into
	Restored bool   `json:"restored,omitempty"` // it, or a predecessor, came from a copy
}

// record is a record as read from its file.
type record struct {
	header   recordHeader
	content  []byte
	revision string // "": there is none
}

// Load returns a record and its revision; nil and "" without an error if there is none.
// model.ErrUnreadable: it is corrupt, from another program or from a newer version.
func (r *Records) Load(ctx context.Context, key string) (content []byte, revision string, err error) {
	path, err := r.path(ctx, key)
	if err != nil {
		return nil, "", err
	}
	found, err := r.read(path, key)
	return found.content, found.revision, err
}

// Save replaces a record if it still has this revision ("": there is none yet). It
// returns once the new content survives a power cut. model.ErrConflict: the record has
// another revision; model.ErrUnreadable: it cannot be read; nothing was written then.
// After any other error the record has the old content or the new one.
func (r *Records) Save(ctx context.Context, key string, content []byte, revision string) (newRevision string, err error) {
	err = r.update(ctx, key, func(path string, found record) error {
		if found.revision != revision {
			return fmt.Errorf("%s: %w", path, model.ErrConflict)
		}
		found.header.Number++
		newRevision = revisionOf(found.header, content)
		return r.write(path, found.header, content)
	})
	if err != nil {
		return "", err
	}
	return newRevision, nil
}

// Keys lists the keys of the records, sorted.
func (r *Records) Keys(ctx context.Context) ([]string, error) {
	if err := errors.Join(ctx.Err(), r.unsafe); err != nil {
		return nil, err
	}
	names, err := r.dir.fs.List(filepath.Join(r.dir.root, r.name))
	if err != nil {
		return nil, r.dir.annotate("listing the "+r.name, err)
	}
	var keys []string
	for _, name := range names {
		if key, ok := strings.CutSuffix(name, recordSuffix); ok {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Restored reports whether a record is, or descends from, a copy: an operator or a
// backup restored the file, so it may be older than what AWS and Entra know. A restored
// snapshot of a whole disk is not recognised. Save keeps the mark, Accept clears it.
func (r *Records) Restored(ctx context.Context, key string) (bool, error) {
	path, err := r.path(ctx, key)
	if err != nil {
		return false, err
	}
	found, err := r.read(path, key)
	return found.header.Restored, err
}

// Accept clears the mark of a restored record, once an operator has compared it with AWS
// and Entra. Its content and revision do not change.
func (r *Records) Accept(ctx context.Context, key string) error {
	return r.update(ctx, key, func(path string, found record) error {
		if !found.header.Restored {
			return nil
		}
		found.header.Restored = false
		return r.write(path, found.header, found.content)
	})
}

func (r *Records) path(ctx context.Context, key string) (string, error) {
	if err := errors.Join(ctx.Err(), r.unsafe); err != nil {
		return "", err
	}
	return r.dir.path(r.name, key, recordSuffix)
}

// update reads a record and lets change write it, under one lock.
func (r *Records) update(ctx context.Context, key string, change func(path string, found record) error) error {
	path, err := r.path(ctx, key)
	if err != nil {
		return err
	}
	unlock, err := r.dir.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	found, err := r.read(path, key)
	if err != nil {
		return err
	}
	return change(path, found)
}

func (r *Records) read(path, key string) (record, error) {
	raw, fileID, err := r.dir.fs.Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{header: recordHeader{Key: key}}, nil
	}
	if err != nil {
		return record{}, r.dir.annotate("reading the "+r.name, err)
	}
	var header recordHeader
	content, err := decode("record", raw, &header)
	if err == nil && header.Key != key {
		err = fmt.Errorf("%w: it is the record of %s", model.ErrUnreadable, header.Key)
	}
	if err != nil {
		return record{}, fmt.Errorf("%s: %w; the file is left unchanged", path, err)
	}
	header.Restored = header.Restored || header.FileID != fileID
	return record{header, content, revisionOf(header, content)}, nil
}

func (r *Records) write(path string, header recordHeader, content []byte) error {
	err := r.dir.writeAtomic(path, func(fileID string) []byte {
		header.FileID = fileID
		return encode("record", header, content, 0)
	})
	return r.dir.annotate("writing the "+r.name, err)
}

// revisionOf includes the content: the number alone does not distinguish two contents
// after an older file was restored and saved again.
func revisionOf(header recordHeader, content []byte) string {
	return fmt.Sprintf("%d-%.12s", header.Number, digest(content))
}
