package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"entra-aws-exporter/internal/model"
)

func TestCheckLeavesNothing(t *testing.T) {
	directory, root := openTemp(t)
	for range 2 {
		if err := directory.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(root)
	if err != nil || len(entries) != 1 || entries[0].Name() != "lock" {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

// What the operator reads when state cannot be kept. Nothing is left half written.
func TestUnusableLocations(t *testing.T) {
	for _, test := range []struct {
		name   string
		inject func(*faultyFS)
		want   string
	}{
		{"disk full", func(d *faultyFS) { d.full = true },
			"checking the state directory: create /state/probe.new: no space left on device; free space under /state"},
		{"quota", func(d *faultyFS) { d.before = failing("Write", syscall.EDQUOT) },
			"checking the state directory: write /state/probe.new: disk quota exceeded; free space under /state"},
		{"read-only", func(d *faultyFS) { d.before = failing("Create", syscall.EROFS) },
			"checking the state directory: create /state/probe.new: read-only file system; mount /state read-write"},
		{"owned by another user", func(d *faultyFS) { d.before = failing("Create", syscall.EACCES) },
			"checking the state directory: create /state/probe.new: permission denied; make /state and everything in it writable by the exporter's user (uid "},
		{"I/O error", func(d *faultyFS) { d.before = failing("Sync", syscall.EIO) },
			"checking the state directory: sync /state/probe.new: input/output error"},
		{"locked", func(d *faultyFS) { d.locked["/state/lock"] = true },
			"/state/lock: another process holds the lock: context deadline exceeded"},
		{"network file system", func(d *faultyFS) { d.location.fsType = fsType{name: "a network file system (NFS)", unsafe: true} },
			"/state: unsafe place for state: it is on a network file system (NFS); set state.directory to a local disk"},
		{"Windows", func(d *faultyFS) { d.location.fsType = fsType{name: "Windows", unsafe: true, remedy: "use Linux"} },
			"/state: unsafe place for state: it is on Windows; use Linux"},
	} {
		t.Run(test.name, func(t *testing.T) {
			fsys := newFaultyFS()
			if _, err := openOn(fsys, "/state", Options{}); err != nil {
				t.Fatal(err)
			}
			test.inject(fsys)
			directory, err := openOn(fsys, "/state", Options{})
			if err != nil {
				t.Fatal(err)
			}
			if err := directory.Check(t.Context()); err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("check: %v\nwant:  %s", err, test.want)
			}
			if err := directory.Tokens().Reserve(t.Context(), "b/1"); err == nil {
				t.Error("a token entry could be reserved")
			}
			if _, err := directory.Journal().Save(t.Context(), "a", []byte("x"), ""); err == nil {
				t.Error("a journal could be saved")
			}
			fsys.cut(powerCut{true, 2})
			fsys.full, fsys.location = false, location{}
			if directory, err = openOn(fsys, "/state", Options{}); err != nil {
				t.Fatal(err)
			}
			if content, _, err := directory.Journal().Load(t.Context(), "a"); content != nil || err != nil {
				t.Errorf("half written: %q %v", content, err)
			}
			if err := errors.Join(directory.Check(t.Context()), reserveToken(directory), saveRecord("x")(directory)); err != nil {
				t.Errorf("it does not recover: %v", err)
			}
		})
	}
}

func failing(operation string, with error) func(string) error {
	return func(op string) error {
		if op == operation {
			return with
		}
		return nil
	}
}

// The disk is full after the reservation: the value of the created token still fits.
func TestReservedSpaceIsKept(t *testing.T) {
	fsys := newFaultyFS()
	directory, err := openOn(fsys, "/state", Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := reserveToken(directory); err != nil {
		t.Fatal(err)
	}
	fsys.full = true
	if err := writeToken(tokenValue)(directory); err != nil {
		t.Fatalf("writing into a reservation on a full disk: %v", err)
	}
	if err := expectValue(tokenValue)(directory, true); err != nil {
		t.Error(err)
	}
	if err := directory.Tokens().Write(t.Context(), "b/unreserved", model.NewSecret(tokenValue)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing without a reservation on a full disk: %v", err)
	}
}

func TestUnsafeLocationKeepsEventsOnly(t *testing.T) {
	fsys := newFaultyFS()
	fsys.location.fsType = fsType{name: "NFS", unsafe: true, volatile: "it may go"}
	directory, err := openOn(fsys, "/state", Options{})
	if err != nil {
		t.Fatal(err)
	}
	journal, tokens := directory.Journal(), directory.Tokens()
	_, _, load := journal.Load(t.Context(), "a")
	_, saved := journal.Save(t.Context(), "a", nil, "")
	_, keys := journal.Keys(t.Context())
	_, restored := journal.Restored(t.Context(), "a")
	_, read := tokens.Read(t.Context(), "b/1")
	_, list := tokens.List(t.Context(), "b")
	for what, err := range map[string]error{
		"load": load, "save": saved, "keys": keys, "restored": restored, "accept": journal.Accept(t.Context(), "a"),
		"read": read, "list": list, "reserve": reserveToken(directory), "destroy": destroyToken(directory), "write": writeToken("x")(directory),
	} {
		if !errors.Is(err, model.ErrUnsafe) {
			t.Errorf("%s: %v", what, err)
		}
	}
	mustSave(t, directory.Events(), "a", "counted", "")
	if want := "the state directory /state is on NFS: it may go"; directory.Warning() != want {
		t.Errorf("warning: %s", directory.Warning())
	}
}

func TestOpen(t *testing.T) {
	root := t.TempDir()
	file := filepath.Join(root, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wide := filepath.Join(root, "wide")
	if err := os.WriteFile(wide, []byte("\xFF\xFEA\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ directory, key, want string }{
		{filepath.Join(root, "state"), wide, "reading the age identity: " + wide + " is encoded in UTF-16; save it as UTF-8"},
		{file, "", "creating the state directory: " + file + " is not a directory"},
		{filepath.Join(file, "state"), "", "creating the state directory: stat " + file + "/state: not a directory"},
		{filepath.Join(root, "state"), filepath.Join(root, "none"), "reading the age identity: open " + root + "/none: no such file or directory"},
	} {
		if _, err := Open(test.directory, Options{AgeIdentityFile: test.key}); err == nil || err.Error() != test.want {
			t.Errorf("%v\nwant %s", err, test.want)
		}
	}
}

func TestWarningOfAWorldWritableDirectory(t *testing.T) {
	root := filepath.Join(t.TempDir(), "state")
	directory, err := Open(root, Options{})
	if err != nil || strings.Contains(directory.Warning(), "world-writable") {
		t.Errorf("a directory that Open created: %v %s", err, directory.Warning())
	}
	if err := os.Chmod(root, 0o777); err != nil { //nolint:gosec // that is what is tested
		t.Fatal(err)
	}
	directory, err = Open(root, Options{})
	if want := "the state directory " + root + " is world-writable: run chmod 0700 on it"; err != nil || !strings.HasSuffix(directory.Warning(), want) {
		t.Errorf("mode 0777: %v %s", err, directory.Warning())
	}
}

func TestInspect(t *testing.T) {
	if found, err := (osFileSystem{}).Inspect("/proc"); err != nil || found != (location{}) {
		t.Errorf("/proc: %+v %v", found, err)
	}
	if _, err := (osFileSystem{}).Inspect("/none"); err == nil {
		t.Error("no error for a missing directory")
	}
	if stat, err := os.Stat("/dev/shm"); err != nil || !stat.IsDir() {
		t.Skip("no /dev/shm here")
	}
	if found, err := (osFileSystem{}).Inspect("/dev/shm"); err != nil || found.unsafe || !strings.Contains(found.volatile, "memory") {
		t.Errorf("/dev/shm: %+v %v", found, err)
	}
}
