package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// disk is what the state asks of a file system. Tests put one beneath it that fails,
// tears files and forgets what was not synced.
type disk interface {
	// Read returns a regular file and what identifies it; fs.ErrNotExist: there is none.
	// Anything but a regular file reads as empty: it is nothing of ours.
	Read(path string) (content []byte, identity string, err error)
	// Create opens a file that must not exist yet, Overwrite one that does, at its beginning.
	Create(path string) (file, error)
	Overwrite(path string) (file, error)
	Rename(from, to string) error
	Remove(path string) error
	// List returns the names in a directory; none if it is not there.
	List(directory string) ([]string, error)
	// MakeDirectory makes a directory that may exist already.
	MakeDirectory(path string) error
	SyncDirectory(path string) error
	// Lock waits for the only lock on path, as long as ctx allows.
	Lock(ctx context.Context, path string) (unlock func(), err error)
	// Ground tells what a directory stands on.
	Ground(path string) (ground, error)
}

type file interface {
	io.Writer
	// Identity tells this file from any copy of it, for as long as it exists; "": unknown.
	Identity() (string, error)
	Sync() error
	Close() error
}

// ground is a kind of file system.
type ground struct {
	name    string
	unsafe  bool   // locks or renames cannot be relied on
	passing string // why it does not last; "": it does
	exposed bool   // anybody on the machine may write into the directory
}

// maxFile is more than any file here ever holds.
const maxFile = 32 << 20

// lockPoll is how often a lock that is taken is asked for again.
const lockPoll = 10 * time.Millisecond

type osDisk struct{}

// Ground implements disk.
func (osDisk) Ground(path string) (ground, error) {
	info, err := os.Stat(path)
	if err != nil {
		return ground{}, err
	}
	found, err := fileSystem(path)
	found.exposed = info.Mode()&0o002 != 0
	return found, err
}

func (osDisk) Read(path string) ([]byte, string, error) {
	// Not to wait for a pipe, nor to follow a link out of the directory.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0) //nolint:gosec // the path is from Directory.file
	if errors.Is(err, syscall.ELOOP) {
		return nil, "", nil // a link: nothing of ours
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
	identity, err := identityOf(f)
	if err != nil {
		return nil, "", err
	}
	content, err := io.ReadAll(io.LimitReader(f, maxFile))
	return content, identity, err
}

func (osDisk) Create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the path is from Directory.file
	if err != nil {
		return nil, err
	}
	if err := hand(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return osFile{f}, nil
}

func (osDisk) Overwrite(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW, 0) //nolint:gosec // the path is from Directory.file
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osDisk) Rename(from, to string) error {
	return os.Rename(from, to) //nolint:gosec // both come from Directory.file
}

func (osDisk) Remove(path string) error { return os.Remove(path) }

func (osDisk) List(directory string) ([]string, error) {
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

func (osDisk) MakeDirectory(path string) error {
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
	return hand(path)
}

func (osDisk) SyncDirectory(path string) error {
	f, err := os.Open(path) //nolint:gosec // a directory below the root
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (osDisk) Lock(ctx context.Context, path string) (func(), error) {
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|syscall.O_NOFOLLOW, 0o600) //nolint:gosec // the path is from Directory.lock
	if err != nil {
		return nil, err
	}
	if err := hand(path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil // closing gives the lock back
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(&fs.PathError{Op: "flock", Path: path, Err: err}, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(lockPoll):
		}
	}
}

// hand gives what root made to the owner of the directory it is in, so that a command
// run as root does not lock the exporter out of its own state.
func hand(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(filepath.Dir(path))
	if err != nil {
		return err
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && owner.Uid != 0 {
		return os.Lchown(path, int(owner.Uid), int(owner.Gid))
	}
	return nil
}

type osFile struct{ *os.File }

func (f osFile) Identity() (string, error) { return identityOf(f.File) }
