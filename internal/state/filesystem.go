package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// fileSystem is what a Directory needs of the operating system. Tests replace it by one
// that fails, tears files and forgets what was not synced.
type fileSystem interface {
	// MakeDirectory creates a directory unless it exists.
	MakeDirectory(path string) error
	SyncDirectory(path string) error
	// Inspect describes where a directory is.
	Inspect(path string) (location, error)
	// Lock waits for the exclusive lock on path until ctx ends.
	Lock(ctx context.Context, path string) (unlock func(), err error)
	// Read returns the content and ID of a regular file; fs.ErrNotExist: there is none.
	// Anything else, such as a link, reads as empty: it is not ours.
	Read(path string) (content []byte, fileID string, err error)
	// List returns the sorted names in a directory; none if it does not exist.
	List(directory string) ([]string, error)
	// Create opens a file that must not exist, Overwrite one that must.
	Create(path string) (file, error)
	Overwrite(path string) (file, error)
	Rename(from, to string) error
	Remove(path string) error
}

type file interface {
	io.Writer
	// ID identifies this file among all copies of it, as long as it exists; "": unknown.
	ID() (string, error)
	Sync() error
	Close() error
}

// location is where a directory is.
type location struct {
	fsType
	worldWritable bool
}

// fsType is a type of file system.
type fsType struct {
	name     string
	unsafe   bool   // locks or renames are not reliable
	remedy   string // what makes an unsafe one safe; "": a local disk
	volatile string // why its content does not last; "": it does
}

// maxFile is larger than any file of a state directory.
const maxFile = 32 << 20

// lockPoll is the interval of attempts to take a lock that another process holds.
const lockPoll = 10 * time.Millisecond

type osFileSystem struct{}

func (osFileSystem) MakeDirectory(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is not a directory", path)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return err
	}
	return chownToParent(path)
}

func (osFileSystem) SyncDirectory(path string) error { return syncDirectory(path) }

func (osFileSystem) Inspect(path string) (location, error) {
	info, err := os.Stat(path)
	if err != nil {
		return location{}, err
	}
	found, err := fsTypeOf(path)
	return location{found, info.Mode()&0o002 != 0}, err
}

func (osFileSystem) Lock(ctx context.Context, path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|noFollow, 0o600) //nolint:gosec // the path is from Directory.lock
	if err != nil {
		return nil, err
	}
	if err := chownToParent(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	for {
		locked, err := tryLock(f)
		if err != nil {
			return nil, errors.Join(&fs.PathError{Op: "flock", Path: path, Err: err}, f.Close())
		}
		if locked {
			return func() { _ = f.Close() }, nil // closing releases the lock
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(lockPoll):
		}
	}
}

func (osFileSystem) Read(path string) ([]byte, string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|noFollow|noWait, 0) //nolint:gosec // the path is from Directory.path
	if errors.Is(err, syscall.ELOOP) {
		return nil, "", nil // a link: not ours
	}
	if err != nil {
		return nil, "", err
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil {
		return nil, "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, "", nil
	}
	fileID, err := fileIDOf(f)
	if err != nil {
		return nil, "", err
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFile))
	return content, fileID, err
}

func (osFileSystem) List(directory string) ([]string, error) {
	entries, err := os.ReadDir(directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.Name()
	}
	return names, err
}

func (osFileSystem) Create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the path is from Directory.path
	if err != nil {
		return nil, err
	}
	if err := chownToParent(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return osFile{f}, nil
}

func (osFileSystem) Overwrite(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|noFollow, 0) //nolint:gosec // the path is from Directory.path
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFileSystem) Rename(from, to string) error {
	return os.Rename(from, to) //nolint:gosec // both are from Directory.path
}

func (osFileSystem) Remove(path string) error { return os.Remove(path) }

type osFile struct{ *os.File }

func (f osFile) ID() (string, error) { return fileIDOf(f.File) }
