package state

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// errKilled is what every call returns after killAt.
var errKilled = errors.New("killed")

// faultyFS is a file system in memory with a cache that a power cut loses: the content
// of a file and the entries of a directory are durable only once they are synced.
type faultyFS struct {
	mu      sync.Mutex
	visible map[string]*inode // by path; directories too
	durable map[string]*inode
	inodes  int
	locked  map[string]bool

	before   func(operation string) error // called before each change; an error prevents it
	after    func(operation string) error // called after each change; an error hides its success
	full     bool                         // no file may grow
	noSync   string                       // this operation does nothing: "Sync" or "SyncDirectory"
	location location
}

type inode struct {
	number        int
	directory     bool
	data, durable []byte
}

func newFaultyFS() *faultyFS {
	d := &faultyFS{visible: map[string]*inode{}, durable: map[string]*inode{}, locked: map[string]bool{}}
	root := &inode{directory: true}
	d.visible["/"], d.durable["/"] = root, root
	return d
}

// change applies one change, unless a fault prevents it.
func (d *faultyFS) change(operation, path string, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	wrap := func(err error) error {
		if err == nil {
			return nil
		}
		return &fs.PathError{Op: strings.ToLower(operation), Path: path, Err: err}
	}
	if d.before != nil {
		if err := d.before(operation); err != nil {
			return wrap(err)
		}
	}
	if err := do(); err != nil {
		return wrap(err)
	}
	if d.after != nil {
		return wrap(d.after(operation))
	}
	return nil
}

// powerCut is what a power cut leaves.
type powerCut struct {
	entries bool // of directories; false: what was synced, true: everything
	data    int  // of files; 0: what was synced, 1: half of the rest too, 2: everything
}

var powerCuts = []powerCut{{false, 0}, {false, 1}, {false, 2}, {true, 0}, {true, 1}, {true, 2}}

// cut simulates a power cut and a restart.
func (d *faultyFS) cut(how powerCut) {
	entries := d.durable
	if how.entries {
		entries = d.visible
	}
	d.visible, d.durable = map[string]*inode{}, map[string]*inode{}
	for path, node := range entries {
		switch how.data {
		case 0:
			node.data = node.durable
		case 1:
			half := len(node.data) / 2
			node.data = slices.Concat(node.data[:half], node.durable[min(half, len(node.durable)):])
		}
		node.data, node.durable = slices.Clone(node.data), slices.Clone(node.data)
		d.visible[path], d.durable[path] = node, node
	}
	for path := range d.visible { // a lost directory loses its entries
		if d.visible[filepath.Dir(path)] == nil {
			delete(d.visible, path)
			delete(d.durable, path)
		}
	}
	d.before, d.after, d.locked = nil, nil, map[string]bool{}
}

func (d *faultyFS) Read(path string) ([]byte, string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	node := d.visible[path]
	if node == nil {
		return nil, "", &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return slices.Clone(node.data), strconv.Itoa(node.number), nil
}

func (d *faultyFS) Create(path string) (file, error) {
	var node *inode
	return d.open(path, &node), d.change("Create", path, func() error {
		if d.visible[path] != nil {
			return fs.ErrExist
		}
		if d.visible[filepath.Dir(path)] == nil {
			return fs.ErrNotExist
		}
		if d.full {
			return syscall.ENOSPC
		}
		d.inodes++
		node = &inode{number: d.inodes}
		d.visible[path] = node
		return nil
	})
}

func (d *faultyFS) Overwrite(path string) (file, error) {
	var node *inode
	return d.open(path, &node), d.change("Overwrite", path, func() error {
		if node = d.visible[path]; node == nil {
			return fs.ErrNotExist
		}
		return nil
	})
}

func (d *faultyFS) open(path string, node **inode) file {
	return &faultyFile{fs: d, path: path, node: node}
}

func (d *faultyFS) Rename(from, to string) error {
	return d.change("Rename", from, func() error {
		if d.visible[from] == nil {
			return fs.ErrNotExist
		}
		d.visible[to] = d.visible[from]
		delete(d.visible, from)
		return nil
	})
}

func (d *faultyFS) Remove(path string) error {
	return d.change("Remove", path, func() error {
		if d.visible[path] == nil {
			return fs.ErrNotExist
		}
		delete(d.visible, path)
		return nil
	})
}

func (d *faultyFS) List(directory string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for path := range d.visible {
		if filepath.Dir(path) == directory && path != "/" {
			names = append(names, filepath.Base(path))
		}
	}
	slices.Sort(names)
	return names, nil
}

func (d *faultyFS) MakeDirectory(path string) error {
	return d.change("MakeDirectory", path, func() error {
		if d.visible[path] == nil {
			d.visible[path] = &inode{directory: true}
		}
		return nil
	})
}

func (d *faultyFS) SyncDirectory(path string) error {
	return d.change("SyncDirectory", path, func() error {
		if d.noSync == "SyncDirectory" {
			return nil
		}
		for _, list := range []map[string]*inode{d.durable, d.visible} {
			for entry := range list {
				if filepath.Dir(entry) != path || entry == "/" {
					continue
				}
				if node := d.visible[entry]; node != nil {
					d.durable[entry] = node
				} else {
					delete(d.durable, entry)
				}
			}
		}
		return nil
	})
}

func (d *faultyFS) Lock(ctx context.Context, path string) (func(), error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locked[path] {
		return nil, context.DeadlineExceeded
	}
	d.locked[path] = true
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.locked, path)
	}, ctx.Err()
}

func (d *faultyFS) Inspect(string) (location, error) { return d.location, nil }

type faultyFile struct {
	fs     *faultyFS
	path   string
	node   **inode
	offset int
}

func (f *faultyFile) ID() (string, error) { return strconv.Itoa((*f.node).number), nil }

func (f *faultyFile) Write(content []byte) (int, error) {
	return len(content), f.fs.change("Write", f.path, func() error {
		node := *f.node
		end := f.offset + len(content)
		if f.fs.full && end > len(node.data) {
			return syscall.ENOSPC
		}
		tail := node.data[min(end, len(node.data)):]
		node.data = slices.Concat(node.data[:f.offset], content, tail)
		f.offset = end
		return nil
	})
}

func (f *faultyFile) Sync() error {
	return f.fs.change("Sync", f.path, func() error {
		if f.fs.noSync != "Sync" {
			(*f.node).durable = slices.Clone((*f.node).data)
		}
		return nil
	})
}

func (f *faultyFile) Close() error { return nil }

// killAt kills the process at the n-th change from now: before it takes effect, or right
// after. killed reports whether that has happened.
func (d *faultyFS) killAt(n int, afterEffect bool) (killed func() bool) {
	count, dead := 0, false
	before := func(string) error {
		if !dead && count == n && !afterEffect {
			dead = true
		}
		if dead {
			return errKilled
		}
		return nil
	}
	after := func(string) error {
		if count == n && afterEffect {
			dead = true
		}
		count++
		if dead {
			return errKilled
		}
		return nil
	}
	d.before, d.after = before, after
	return func() bool { return dead }
}
