// Package state keeps in one local directory what must survive a restart: records that
// change (rotation journals, event counters) and a token store (token values).
//
//	lock                        held while a file is replaced, never longer
//	journal/KEY.record          one rotation journal per binding
//	events/KEY.record           watermark and counters of a provisioning log
//	tokens/BINDING/NAME.token   one token value, written once
//	….new                       a file being written, or a reserved token entry
//
// Files have mode 0600. A file is written under a temporary name, synced, renamed, and
// its directory is synced: after a power cut it has the old content or the new one.
// Several processes may share a directory. A file that is corrupt, from another program
// or from a newer version is reported with its path and left unchanged.
//
// Read directory.go first, then records.go and tokens.go, the two stores in it. Below
// them are envelope.go (the format of a file), encryptor.go (age encryption) and
// filesystem.go (the calls to the operating system). memory.go has the stores that
// need no directory.
package state

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"entra-aws-exporter/internal/model"
)

// Options are the optional settings of a Directory.
type Options struct {
	// AgeIdentityFile has the age identities that encrypt the token store; "" disables
	// encryption. It is read at every use. The configuration keeps it outside the directory.
	AgeIdentityFile string
}

// Directory is a state directory. It is safe for concurrent use, also by several
// processes, and keeps no file open.
type Directory struct {
	root      string
	encryptor encryptor
	fs        fileSystem
	unsafe    error // wraps model.ErrUnsafe; nil: the location is safe
	warning   string
	turn      chan struct{} // full while a goroutine of this process has the lock or waits for it
}

// Open creates the directory if needed (mode 0700) and inspects its location. It writes
// nothing into it; Check does.
func Open(path string, options Options) (*Directory, error) {
	return openOn(osFileSystem{}, path, options)
}

func openOn(fsys fileSystem, path string, options Options) (*Directory, error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", err)
	}
	d := &Directory{root: root, fs: fsys, encryptor: encryptor{options.AgeIdentityFile}, turn: make(chan struct{}, 1)}
	if err := d.fs.MakeDirectory(root); err != nil {
		return nil, d.annotate("creating the state directory", err)
	}
	_ = d.fs.SyncDirectory(filepath.Dir(root)) // not ours, so it may be unreadable
	if d.encryptor.enabled() {
		if _, err := d.encryptor.identities(); err != nil {
			return nil, err
		}
	}
	found, err := d.fs.Inspect(root)
	if err != nil {
		return nil, d.annotate("inspecting the state directory", err)
	}
	if found.unsafe {
		remedy := cmp.Or(found.remedy, "set state.directory to a local disk")
		d.unsafe = fmt.Errorf("%s: %w: it is on %s; %s", root, model.ErrUnsafe, found.name, remedy)
	}
	var warnings []string
	if found.volatile != "" {
		warnings = append(warnings, fmt.Sprintf("the state directory %s is on %s: %s", root, found.name, found.volatile))
	}
	if found.worldWritable {
		warnings = append(warnings, fmt.Sprintf("the state directory %s is world-writable: run chmod 0700 on it", root))
	}
	d.warning = strings.Join(warnings, "; ")
	return d, nil
}

// Warning describes what is questionable about the location without making it unsafe,
// such as a file system in memory; "": nothing.
func (d *Directory) Warning() string { return d.warning }

// Journal returns the records of the rotation. In an unsafe location each of its calls
// returns model.ErrUnsafe.
func (d *Directory) Journal() *Records {
	return &Records{dir: d, name: "journal", unsafe: d.unsafe}
}

// Events returns the records of the event counters. They also work in an unsafe
// location: there a lost lock costs no more than a wrong count.
func (d *Directory) Events() *Records { return &Records{dir: d, name: "events"} }

// Tokens returns the token store.
func (d *Directory) Tokens() *TokenStore { return &TokenStore{d} }

// probeSize is the free space that Check requires: more than one journal and one token.
const probeSize = 256 << 10

// Check proves that state can be kept: the location is safe, a file can be written,
// read back and removed, and the encryption works. It leaves nothing behind.
func (d *Directory) Check(ctx context.Context) error {
	if d.unsafe != nil {
		return d.unsafe
	}
	unlock, err := d.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	path := filepath.Join(d.root, "probe")
	content := bytes.Repeat([]byte("probe\n"), probeSize/6)
	if err := d.writeAtomic(path, func(string) []byte { return content }); err != nil {
		return d.annotate("checking the state directory", err)
	}
	found, _, err := d.fs.Read(path)
	if err == nil && !bytes.Equal(found, content) {
		err = fmt.Errorf("%s: reading it back returned other content", path)
	}
	if removeErr := d.remove(path); err == nil {
		err = removeErr
	}
	if err != nil {
		return d.annotate("checking the state directory", err)
	}
	return d.encryptor.check()
}

// lock takes the lock of the directory. The writers of this process take turns: the lock
// itself knows no order, so a thousand of them would starve each other.
func (d *Directory) lock(ctx context.Context) (unlock func(), err error) {
	path := filepath.Join(d.root, "lock")
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%s: other writes of this process are not done: %w", path, ctx.Err())
	}
	release, err := d.fs.Lock(ctx, path)
	if err == nil {
		return func() { release(); <-d.turn }, nil
	}
	<-d.turn
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil, fmt.Errorf("%s: another process holds the lock: %w", path, err)
	}
	return nil, d.annotate("locking the state directory", err)
}

// keyPart is a part of a key: a model.Binding.Key or the name of a token.
var keyPart = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// CheckKey refuses a key that is no path of names.
func CheckKey(kind, key string) error {
	for part := range strings.SplitSeq(key, "/") {
		if !keyPart.MatchString(part) {
			return fmt.Errorf("invalid state key %s/%q: use letters, digits, '.', '_' and '-'", kind, key)
		}
	}
	return nil
}

// path returns the path of a key's file below a subdirectory.
func (d *Directory) path(subdirectory, key, suffix string) (string, error) {
	if err := CheckKey(subdirectory, key); err != nil {
		return "", err
	}
	return filepath.Join(d.root, subdirectory, filepath.FromSlash(key)+suffix), nil
}

// writeAtomic replaces the content of a file durably, all of it or nothing. The content
// may depend on the ID of the file that it is written into. The lock must be held.
func (d *Directory) writeAtomic(path string, content func(fileID string) []byte) error {
	if err := d.makeDirectories(filepath.Dir(path)); err != nil {
		return err
	}
	temporary := path + ".new"
	if err := d.writeNew(temporary, content); err != nil {
		return err
	}
	return d.commit(temporary, path)
}

// makeDirectories creates the directories from the root down to path, durably.
func (d *Directory) makeDirectories(path string) error {
	if path == d.root {
		return d.fs.MakeDirectory(path)
	}
	parent := filepath.Dir(path)
	if err := d.makeDirectories(parent); err != nil {
		return err
	}
	if err := d.fs.MakeDirectory(path); err != nil {
		return err
	}
	return d.fs.SyncDirectory(parent)
}

// writeNew writes a new file and syncs it. After an error the file is removed: its
// space may be needed.
func (d *Directory) writeNew(path string, content func(fileID string) []byte) error {
	if err := d.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // left by a crash
		return err
	}
	f, err := d.fs.Create(path)
	if err == nil {
		var fileID string
		if fileID, err = f.ID(); err == nil {
			err = writeSynced(f, content(fileID))
		}
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		_ = d.fs.Remove(path)
	}
	return err
}

func writeSynced(f file, content []byte) error {
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}

// commit renames a synced file and makes the new name durable.
func (d *Directory) commit(from, to string) error {
	if err := d.fs.Rename(from, to); err != nil {
		return err
	}
	return d.fs.SyncDirectory(filepath.Dir(to))
}

// remove removes a file durably. A missing file is no error.
func (d *Directory) remove(path string) error {
	if err := d.fs.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return d.fs.SyncDirectory(filepath.Dir(path))
}

// annotate adds to an error of the file system what failed and what to do about it.
func (d *Directory) annotate(operation string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", operation, err)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w; free space under %s", err, d.root)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; mount %s read-write", err, d.root)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; make %s and everything in it writable by the exporter's user (uid %d)", err, d.root, os.Geteuid())
	}
	return err
}
