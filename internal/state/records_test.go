package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
)

func openTemp(t *testing.T) (*Directory, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "state")
	directory, err := Open(root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return directory, root
}

func mustSave(t *testing.T, records *Records, key, content, revision string) string {
	t.Helper()
	next, err := records.Save(t.Context(), key, []byte(content), revision)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestRecords(t *testing.T) {
	directory, root := openTemp(t)
	journal := directory.Journal()
	if content, revision, err := journal.Load(t.Context(), "a"); content != nil || revision != "" || err != nil {
		t.Fatalf("a missing record: %q %q %v", content, revision, err)
	}
	first := mustSave(t, journal, "a", "one", "")
	second := mustSave(t, journal, "a", "two", first)
	mustSave(t, directory.Events(), "a", "elsewhere", "")
	mustSave(t, journal, "b.c-d", "", "")

	for _, stale := range []string{"", first, "3-000000000000"} {
		if _, err := journal.Save(t.Context(), "a", []byte("three"), stale); !errors.Is(err, model.ErrConflict) {
			t.Errorf("saving over revision %q: %v", stale, err)
		}
	}
	if content, revision, err := journal.Load(t.Context(), "a"); string(content) != "two" || revision != second || err != nil {
		t.Errorf("after the conflicts: %q %q %v", content, revision, err)
	}
	if content, revision, err := journal.Load(t.Context(), "b.c-d"); content == nil || len(content) != 0 || revision == "" || err != nil {
		t.Errorf("an empty record: %#v %q %v", content, revision, err)
	}
	if keys, err := journal.Keys(t.Context()); err != nil || cmp.Diff([]string{"a", "b.c-d"}, keys) != "" {
		t.Errorf("keys: %v %v", keys, err)
	}
	if keys, err := (&Records{dir: directory, name: "none"}).Keys(t.Context()); err != nil || len(keys) != 0 {
		t.Errorf("keys of a missing directory: %v %v", keys, err)
	}
	for _, key := range []string{"", "../a", ".a", "a/../../b", "a b", strings.Repeat("a", 200)} {
		if _, err := journal.Save(t.Context(), key, nil, ""); err == nil || !strings.Contains(err.Error(), "invalid state key") {
			t.Errorf("key %q: %v", key, err)
		}
	}
	info, err := os.Stat(filepath.Join(root, "journal", "a.record"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(root); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestUnreadableRecordsAreLeftUnchanged(t *testing.T) {
	directory, root := openTemp(t)
	journal := directory.Journal()
	revision := mustSave(t, journal, "a", "content", "")
	path := filepath.Join(root, "journal", "a.record")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(good)
	for _, test := range []struct{ name, content, want string }{
		{"empty", "", "unreadable: not an entra-aws-exporter record, or corrupt"},
		{"of another program", "{\"hello\": \"world\"}\n", "unreadable: not an entra-aws-exporter record, or corrupt"},
		{"an entry of the token store", strings.Replace(text, " record ", " token ", 1), "unreadable: not an entra-aws-exporter record, or corrupt"},
		{"newer", strings.Replace(text, " record 1 ", " record 2 ", 1), "unreadable: it has schema 2, this version reads 1"},
		{"cut off", text[:len(text)-1], "unreadable: corrupt: wrong checksum"},
		{"a flipped bit", strings.Replace(text, "content", "Content", 1), "unreadable: corrupt: wrong checksum"},
		{"of another key", string(encode("record", recordHeader{Key: "b"}, []byte("content"), 0)), "unreadable: it is the record of b"},
		{"with an unknown field in its header", string(encode("record", map[string]any{"key": "a", "colour": "red"}, []byte("content"), 0)), "unreadable: corrupt: invalid header"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			want := path + ": " + test.want + "; the file is left unchanged"
			if _, _, err := journal.Load(t.Context(), "a"); !errors.Is(err, model.ErrUnreadable) || err.Error() != want {
				t.Errorf("load: %v\nwant: %s", err, want)
			}
			for _, revision := range []string{"", revision} {
				if _, err := journal.Save(t.Context(), "a", []byte("over it"), revision); !errors.Is(err, model.ErrUnreadable) {
					t.Errorf("save: %v", err)
				}
			}
			if kept, err := os.ReadFile(path); err != nil || string(kept) != test.content {
				t.Errorf("it was changed: %q %v", kept, err)
			}
		})
	}
	t.Run("not a file", func(t *testing.T) {
		if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := journal.Load(t.Context(), "a"); !errors.Is(err, model.ErrUnreadable) {
			t.Errorf("a pipe: %v", err)
		}
		if err := errors.Join(os.Remove(path), os.Symlink("/etc/passwd", path)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := journal.Load(t.Context(), "a"); !errors.Is(err, model.ErrUnreadable) {
			t.Errorf("a link: %v", err)
		}
	})
}

// However a backup is restored, the record is recognised until it is accepted.
func TestRestoredRecords(t *testing.T) {
	for name, restore := range map[string]func(path string, backup []byte) error{
		"over the file": func(path string, backup []byte) error { return os.WriteFile(path, backup, 0o600) },
		"as a new file": func(path string, backup []byte) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, backup, 0o600))
		},
		"by a rename": func(path string, backup []byte) error {
			return errors.Join(os.WriteFile(path+"~", backup, 0o600), os.Rename(path+"~", path))
		},
		"several saves on": func(path string, backup []byte) error { return os.WriteFile(path, backup, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			directory, root := openTemp(t)
			journal, path := directory.Journal(), filepath.Join(root, "journal", "a.record")
			revision := mustSave(t, journal, "a", "old", "")
			backup, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, content := range []string{"newer", "newer still", "newest"} {
				revision = mustSave(t, journal, "a", content, revision)
			}
			expect := func(want bool) {
				t.Helper()
				if restored, err := journal.Restored(t.Context(), "a"); restored != want || err != nil {
					t.Errorf("restored: %v, %v; want %v", restored, err, want)
				}
			}
			expect(false)
			if err := restore(path, backup); err != nil {
				t.Fatal(err)
			}
			expect(true)
			if _, err := journal.Save(t.Context(), "a", []byte("lost update"), revision); !errors.Is(err, model.ErrConflict) {
				t.Errorf("saving over a restored record: %v", err)
			}
			_, revision, _ = journal.Load(t.Context(), "a")
			revision = mustSave(t, journal, "a", "continued", revision)
			expect(true)
			if err := journal.Accept(t.Context(), "a"); err != nil {
				t.Fatal(err)
			}
			expect(false)
			mustSave(t, journal, "a", "accepted", revision)
			expect(false)
		})
	}
	directory, _ := openTemp(t)
	if err := directory.Journal().Accept(t.Context(), "none"); err != nil {
		t.Errorf("accepting a missing record: %v", err)
	}
}
