// Package state keeps in one local directory what must survive a crash: records that
// change (the rotation's journal, the event counters) and a vault of token values.
//
//	lock                       held while a file is exchanged, never longer
//	journal/KEY.record         one rotation journal per binding
//	events/KEY.record          watermark and counters of a provisioning log
//	vault/BINDING/NAME.token   one token value, written once
//	….new                      a file on its way, or a vault entry that is reserved
//
// Files are 0600. One is written under a new name, synced, renamed over the old one,
// and the directory synced, so that after a power cut there is the old content or the
// new one. Several processes may use a directory at once. What is corrupt, foreign or
// from a newer version is reported with its path and left as it is.
package state

import (
	"bytes"
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

// Options are what a Directory need not have.
type Options struct {
	// AgeIdentityFile holds the age identities that encrypt the vault; "": it is not
	// encrypted. It is read at every use and must lie outside the directory.
	AgeIdentityFile string
}

// Directory is a state directory. It is safe for concurrent use, by other processes
// too, and holds nothing open.
type Directory struct {
	root    string
	seal    seal
	disk    disk
	unsafe  error  // wraps model.ErrUnsafe; nil: the place is good
	warning string // what else there is to say about the place
}

// Open makes sure that the directory exists (0700 if it is made here) and looks at
// where it lies. It writes nothing into it: Check does.
func Open(directory string, options Options) (*Directory, error) {
	return open(directory, options, osDisk{})
}

func open(directory string, options Options, disk disk) (*Directory, error) {
	root, err := filepath.Abs(directory)
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", err)
	}
	d := &Directory{root: root, disk: disk, seal: seal{options.AgeIdentityFile}}
	if err := disk.MakeDirectory(root); err != nil {
		return nil, d.explain("making the state directory", err)
	}
	_ = disk.SyncDirectory(filepath.Dir(root)) // not ours, so it may be unreadable
	if d.seal.on() {
		if inside(root, options.AgeIdentityFile) {
			return nil, fmt.Errorf("the age identity %s lies in the state directory, where a backup would hold lock and key; put it elsewhere", options.AgeIdentityFile)
		}
		if _, err := d.seal.identities(); err != nil {
			return nil, err
		}
	}
	ground, err := disk.Ground(root)
	if err != nil {
		return nil, d.explain("looking at the state directory", err)
	}
	if ground.unsafe {
		d.unsafe = fmt.Errorf("%s: %w: it is on %s; set state.directory to a local disk", root, model.ErrUnsafe, ground.name)
	}
	var doubts []string
	if ground.passing != "" {
		doubts = append(doubts, fmt.Sprintf("the state directory %s is on %s: %s", root, ground.name, ground.passing))
	}
	if ground.exposed {
		doubts = append(doubts, fmt.Sprintf("anybody may write into the state directory %s: chmod 0700 it", root))
	}
	d.warning = strings.Join(doubts, "; ")
	return d, nil
}

// Warning says in one sentence what is doubtful about the place without making it
// unsafe, such as that it is kept in memory; "": nothing.
func (d *Directory) Warning() string { return d.warning }

// Journal is where the rotation keeps its records. On an unsafe place each of its
// calls answers model.ErrUnsafe.
func (d *Directory) Journal() *Records {
	return &Records{directory: d, name: "journal", unsafe: d.unsafe}
}

// Events is where event counters are kept, on an unsafe place too: a lost lock costs
// no more than a miscount there.
func (d *Directory) Events() *Records { return &Records{directory: d, name: "events"} }

// Vault is where the values of tokens are kept.
func (d *Directory) Vault() *TokenStore { return &TokenStore{directory: d} }

// probeSize is what Check wants to find room for: more than one journal and one entry.
const probeSize = 256 << 10

// Check proves that state can be kept: the place is safe, a file can be written, read
// back and removed, and the vault's encryption works. Nothing of it remains.
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
	if err := d.replace(path, func(string) []byte { return content }); err != nil {
		return d.explain("checking the state directory", err)
	}
	found, _, err := d.disk.Read(path)
	if err == nil && !bytes.Equal(found, content) {
		err = fmt.Errorf("%s: what was written did not come back", path)
	}
	if removed := d.remove(path); err == nil {
		err = removed
	}
	if err != nil {
		return d.explain("checking the state directory", err)
	}
	return d.seal.check()
}

func (d *Directory) lock(ctx context.Context) (unlock func(), err error) {
	path := filepath.Join(d.root, "lock")
	unlock, err = d.disk.Lock(ctx, path)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil, fmt.Errorf("%s: another process holds the lock: %w", path, err)
	}
	if err != nil {
		return nil, d.explain("locking the state directory", err)
	}
	return unlock, nil
}

// replace puts new content under path, all of it or none, durably. The content may
// name the file it stands in. The lock must be held.
func (d *Directory) replace(path string, content func(identity string) []byte) error {
	if err := d.ensure(filepath.Dir(path)); err != nil {
		return err
	}
	fresh := path + ".new"
	if err := d.fill(fresh, content); err != nil {
		_ = d.disk.Remove(fresh) // the room may be needed; the next attempt removes it too
		return err
	}
	return d.publish(fresh, path)
}

// fill writes a new file and syncs it.
func (d *Directory) fill(path string, content func(identity string) []byte) error {
	if err := d.disk.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // what a crash left
		return err
	}
	f, err := d.disk.Create(path)
	if err != nil {
		return err
	}
	identity, err := f.Identity()
	if err == nil {
		err = writeAll(f, content(identity))
	}
	return errors.Join(err, f.Close())
}

func writeAll(f file, content []byte) error {
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}

// publish renames a synced file and makes the new name durable.
func (d *Directory) publish(from, to string) error {
	if err := d.disk.Rename(from, to); err != nil {
		return err
	}
	return d.disk.SyncDirectory(filepath.Dir(to))
}

// remove removes a file durably; one that is not there is no error.
func (d *Directory) remove(path string) error {
	if err := d.disk.Remove(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return d.disk.SyncDirectory(filepath.Dir(path))
}

// ensure makes the directories between the root and path, durably.
func (d *Directory) ensure(path string) error {
	if path == d.root {
		return d.disk.MakeDirectory(path)
	}
	parent := filepath.Dir(path)
	if err := d.ensure(parent); err != nil {
		return err
	}
	if err := d.disk.MakeDirectory(path); err != nil {
		return err
	}
	return d.disk.SyncDirectory(parent)
}

// explain says what to do about an error of the file system.
func (d *Directory) explain(doing string, err error) error {
	err = fmt.Errorf("%s: %w", doing, err)
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w; make room under %s", err, d.root)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w; %s must be mounted for writing", err, d.root)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; %s and all in it must be writable by the user that the exporter runs as (uid %d)", err, d.root, os.Geteuid())
	}
	return err
}

// A part of a key, as model.Binding.Key and file names are.
var keyPart = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// file returns the path of a key's file below a sub-directory.
func (d *Directory) file(sub, key, suffix string) (string, error) {
	for part := range strings.SplitSeq(key, "/") {
		if !keyPart.MatchString(part) {
			return "", fmt.Errorf("%s/%q is not a key for state: letters, digits, '.', '_' and '-' only", sub, key)
		}
	}
	return filepath.Join(d.root, sub, filepath.FromSlash(key)+suffix), nil
}

// inside reports whether path lies in directory once links are followed.
func inside(directory, path string) bool {
	for _, p := range []*string{&directory, &path} {
		if followed, err := filepath.EvalSymlinks(*p); err == nil {
			*p = followed
		} else if absolute, err := filepath.Abs(*p); err == nil {
			*p = absolute
		}
	}
	relative, err := filepath.Rel(directory, path)
	return err == nil && filepath.IsLocal(relative)
}
