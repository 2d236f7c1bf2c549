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
	directory, root := opened(t)
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

// What a person reads when state cannot be kept. Nothing is left half done.
func TestPlacesThatCannotKeepState(t *testing.T) {
	for _, test := range []struct {
		name string
		harm func(*faultyDisk)
		want string
	}{
		{"disk full", func(d *faultyDisk) { d.full = true },
			"checking the state directory: create /state/probe.new: no space left on device; make room under /state"},
		{"quota", func(d *faultyDisk) { d.fault = failing("Write", syscall.EDQUOT) },
			"checking the state directory: write /state/probe.new: disk quota exceeded; make room under /state"},
		{"read-only", func(d *faultyDisk) { d.fault = failing("Create", syscall.EROFS) },
			"checking the state directory: create /state/probe.new: read-only file system; /state must be mounted for writing"},
		{"not ours", func(d *faultyDisk) { d.fault = failing("Create", syscall.EACCES) },
			"checking the state directory: create /state/probe.new: permission denied; /state and all in it must be writable by the user that the exporter runs as (uid "},
		{"a broken disk", func(d *faultyDisk) { d.fault = failing("Sync", syscall.EIO) },
			"checking the state directory: sync /state/probe.new: input/output error"},
		{"locked", func(d *faultyDisk) { d.locked["/state/lock"] = true },
			"/state/lock: another process holds the lock: context deadline exceeded"},
		{"network", func(d *faultyDisk) { d.on = ground{name: "a network file system (NFS)", unsafe: true} },
			"/state: unsafe place for state: it is on a network file system (NFS); set state.directory to a local disk"},
	} {
		t.Run(test.name, func(t *testing.T) {
			disk := newFaultyDisk()
			if _, err := open("/state", Options{}, disk); err != nil {
				t.Fatal(err)
			}
			test.harm(disk)
			directory, err := open("/state", Options{}, disk)
			if err != nil {
				t.Fatal(err)
			}
			if err := directory.Check(t.Context()); err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("check: %v\nwant:  %s", err, test.want)
			}
			if err := directory.Vault().Reserve(t.Context(), "b/1"); err == nil {
				t.Error("a vault entry could be reserved")
			}
			if _, err := directory.Journal().Save(t.Context(), "a", []byte("x"), ""); err == nil {
				t.Error("a journal could be saved")
			}
			disk.cut(powerCut{true, 2})
			disk.full, disk.on = false, ground{}
			if directory, err = open("/state", Options{}, disk); err != nil {
				t.Fatal(err)
			}
			if content, _, err := directory.Journal().Load(t.Context(), "a"); content != nil || err != nil {
				t.Errorf("half done: %q %v", content, err)
			}
			if err := errors.Join(directory.Check(t.Context()), reserve(directory), save("x")(directory)); err != nil {
				t.Errorf("it does not heal: %v", err)
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

// The disk fills up between the reservation and the token's creation: its value still
// has its room.
func TestReservedRoomIsKept(t *testing.T) {
	disk := newFaultyDisk()
	directory, err := open("/state", Options{}, disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := reserve(directory); err != nil {
		t.Fatal(err)
	}
	disk.full = true
	if err := write(value)(directory); err != nil {
		t.Fatalf("writing into a reservation on a full disk: %v", err)
	}
	if err := keeps(value)(directory, true); err != nil {
		t.Error(err)
	}
	if err := directory.Vault().Write(t.Context(), "b/unreserved", model.NewSecret(value)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("writing without a reservation on a full disk: %v", err)
	}
}

func TestUnsafeGroundStillCounts(t *testing.T) {
	disk := newFaultyDisk()
	disk.on = ground{name: "NFS", unsafe: true, passing: "it may go"}
	directory, err := open("/state", Options{}, disk)
	if err != nil {
		t.Fatal(err)
	}
	journal, vault := directory.Journal(), directory.Vault()
	_, _, load := journal.Load(t.Context(), "a")
	_, saved := journal.Save(t.Context(), "a", nil, "")
	_, keys := journal.Keys(t.Context())
	_, restored := journal.Restored(t.Context(), "a")
	_, read := vault.Read(t.Context(), "b/1")
	_, list := vault.List(t.Context(), "b")
	for what, err := range map[string]error{
		"load": load, "save": saved, "keys": keys, "restored": restored, "accept": journal.Accept(t.Context(), "a"),
		"read": read, "list": list, "reserve": reserve(directory), "destroy": destroy(directory), "write": write("x")(directory),
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
	key := filepath.Join(root, "state", "key")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Mkdir(filepath.Join(root, "state"), 0o700), os.WriteFile(key, nil, 0o600),
		os.Symlink(filepath.Join(root, "state"), filepath.Join(root, "link"))); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ directory, key, want string }{
		{file, "", "making the state directory: " + file + " is not a directory"},
		{filepath.Join(file, "state"), "", "making the state directory: stat " + file + "/state: not a directory"},
		{filepath.Join(root, "state"), key, "the age identity " + key + " lies in the state directory, where a backup would hold lock and key; put it elsewhere"},
		{filepath.Join(root, "link"), key, "the age identity " + key + " lies in the state directory, where a backup would hold lock and key; put it elsewhere"},
		{filepath.Join(root, "state"), filepath.Join(root, "none"), "reading the age identity: open " + root + "/none: no such file or directory"},
	} {
		if _, err := Open(test.directory, Options{AgeIdentityFile: test.key}); err == nil || err.Error() != test.want {
			t.Errorf("%v\nwant %s", err, test.want)
		}
	}
}

func TestWhoMayWriteIsSaid(t *testing.T) {
	root := filepath.Join(t.TempDir(), "state")
	directory, err := Open(root, Options{})
	if err != nil || strings.Contains(directory.Warning(), "anybody") {
		t.Errorf("a directory that was made here: %v %s", err, directory.Warning())
	}
	if err := os.Chmod(root, 0o777); err != nil { //nolint:gosec // that is what is tested
		t.Fatal(err)
	}
	directory, err = Open(root, Options{})
	if want := "anybody may write into the state directory " + root + ": chmod 0700 it"; err != nil || !strings.HasSuffix(directory.Warning(), want) {
		t.Errorf("open to all: %v %s", err, directory.Warning())
	}
}

func TestGround(t *testing.T) {
	if found, err := (osDisk{}).Ground("/proc"); err != nil || found != (ground{}) {
		t.Errorf("/proc: %+v %v", found, err)
	}
	if _, err := (osDisk{}).Ground("/none"); err == nil {
		t.Error("no error for what is not there")
	}
	if stat, err := os.Stat("/dev/shm"); err != nil || !stat.IsDir() {
		t.Skip("no /dev/shm here")
	}
	if found, err := (osDisk{}).Ground("/dev/shm"); err != nil || found.unsafe || !strings.Contains(found.passing, "memory") {
		t.Errorf("/dev/shm: %+v %v", found, err)
	}
}
