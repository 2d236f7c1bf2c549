package state

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
)

const value = "planted-token-value"

func TestVault(t *testing.T) {
	directory, root := opened(t)
	vault := directory.Vault()
	expect := func(key, want string) {
		t.Helper()
		if found, err := vault.Read(t.Context(), key); err != nil || found.Reveal() != want || found.IsZero() != (want == "") {
			t.Errorf("%s holds %q, %v; want %q", key, found.Reveal(), err, want)
		}
	}
	expectKeys := func(want ...string) {
		t.Helper()
		if keys, err := vault.List(t.Context(), "b"); err != nil || cmp.Diff(want, keys) != "" {
			t.Errorf("keys %v, %v; want %v", keys, err, want)
		}
	}
	expectKeys()
	expect("b/1", "")
	for range 2 {
		if err := vault.Reserve(t.Context(), "b/1"); err != nil {
			t.Fatal(err)
		}
	}
	expect("b/1", "")
	expectKeys("b/1")
	if err := vault.Write(t.Context(), "b/1", model.NewSecret(value)); err != nil {
		t.Fatal(err)
	}
	for _, again := range []string{value, "another"} {
		if err := vault.Write(t.Context(), "b/1", model.NewSecret(again)); !errors.Is(err, model.ErrExists) {
			t.Errorf("writing again: %v", err)
		}
	}
	if err := errors.Join(vault.Reserve(t.Context(), "b/1"), vault.Reserve(t.Context(), "b/0"), vault.Reserve(t.Context(), "c/0")); err != nil {
		t.Fatal(err)
	}
	expect("b/1", value)
	expectKeys("b/0", "b/1")

	for _, bad := range []model.Secret{{}, model.NewSecret(""), model.NewSecret(strings.Repeat("x", maxValue+1))} {
		if err := vault.Write(t.Context(), "b/0", bad); err == nil {
			t.Errorf("an entry of %d bytes was accepted", len(bad.Reveal()))
		}
	}
	if err := vault.Write(t.Context(), "b/0", model.NewSecret(strings.Repeat("x", maxValue))); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"b/0", "b/1", "b/none"} {
		if err := vault.Destroy(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		expect(key, "")
	}
	expectKeys()
	if holdsAnywhere(t, root, value) {
		t.Error("a destroyed value is still in the directory")
	}
	if _, err := vault.Read(t.Context(), "b/../c"); err == nil {
		t.Error("a key may climb")
	}
}

// holdsAnywhere searches every file below root, and checks that each is ours alone.
func holdsAnywhere(t *testing.T, root, text string) bool {
	t.Helper()
	found := false
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		if entry.IsDir() {
			return nil
		}
		content, err := os.ReadFile(path)
		found = found || bytes.Contains(content, []byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestVaultKeepsWhatItCannotRead(t *testing.T) {
	directory, root := opened(t)
	vault, path := directory.Vault(), filepath.Join(root, "vault", "b", "1.token")
	if err := errors.Join(vault.Reserve(t.Context(), "b/1"), vault.Write(t.Context(), "b/1", model.NewSecret(value))); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	reservation, err := encode("entry", entryHeader{Key: "b/1", Reserved: true}, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"corrupt", bytes.Replace(good, []byte(value), []byte("Planted-token-value"), 1), "unreadable: corrupt: its checksum is wrong"},
		{"foreign", []byte(value), "unreadable: foreign or corrupt: it is no entry of this program"},
		{"newer", bytes.Replace(good, []byte(" 1 "), []byte(" 9 "), 1), "unreadable: newer: it has schema 9, this program knows 1"},
		{"a reservation", reservation, "unreadable: corrupt: it has no value"},
	} {
		if err := os.WriteFile(path, test.content, 0o600); err != nil {
			t.Fatal(err)
		}
		want := path + ": " + test.want + "; it is kept as it is"
		_, err := vault.Read(t.Context(), "b/1")
		if !errors.Is(err, model.ErrUnreadable) || err.Error() != want {
			t.Errorf("%s: %v\nwant %s", test.name, err, want)
		}
		for _, err := range []error{vault.Write(t.Context(), "b/1", model.NewSecret("x")), vault.Reserve(t.Context(), "b/1")} {
			if !errors.Is(err, model.ErrUnreadable) {
				t.Errorf("%s: %v", test.name, err)
			}
		}
		if kept, err := os.ReadFile(path); err != nil || !bytes.Equal(kept, test.content) {
			t.Errorf("%s was not kept: %v", test.name, err)
		}
	}
	if err := vault.Destroy(t.Context(), "b/1"); err != nil {
		t.Errorf("destroying what cannot be read: %v", err)
	}
}

func TestSealedVault(t *testing.T) {
	x25519, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for name, identity := range map[string]string{"X25519": x25519.String(), "post-quantum": hybrid.String()} {
		t.Run(name, func(t *testing.T) {
			root, keys := filepath.Join(t.TempDir(), "state"), filepath.Join(t.TempDir(), "age.key")
			rewrite := func(content string) {
				t.Helper()
				if err := os.WriteFile(keys, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			rewrite("# a comment\n" + identity + "\n")
			directory, err := Open(root, Options{AgeIdentityFile: keys})
			if err != nil {
				t.Fatal(err)
			}
			vault := directory.Vault()
			long := strings.Repeat(value, maxValue/len(value))
			if err := errors.Join(
				directory.Check(t.Context()),
				vault.Reserve(t.Context(), "b/1"), vault.Write(t.Context(), "b/1", model.NewSecret(value)),
				vault.Reserve(t.Context(), "b/2"), vault.Write(t.Context(), "b/2", model.NewSecret(long)),
			); err != nil {
				t.Fatal(err)
			}
			if holdsAnywhere(t, root, value) {
				t.Error("the value is in clear on the disk")
			}
			if info, err := os.Stat(filepath.Join(root, "vault", "b", "2.token")); err != nil || info.Size() != entrySize {
				t.Errorf("the longest entry outgrew its reservation: %v %v", info.Size(), err)
			}
			other, _ := age.GenerateX25519Identity()
			rewrite(other.String() + "\n" + identity + "\n") // a new key before the old one
			if found, err := vault.Read(t.Context(), "b/1"); err != nil || found.Reveal() != value {
				t.Errorf("after the change of key: %v", err)
			}
			rewrite(other.String() + "\n")
			if _, err := vault.Read(t.Context(), "b/1"); !errors.Is(err, model.ErrUnreadable) || !strings.Contains(err.Error(), "no identity in "+keys+" decrypts it") {
				t.Errorf("without the key: %v", err)
			}
			plain, err := Open(root, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := plain.Vault().Read(t.Context(), "b/1"); !errors.Is(err, model.ErrUnreadable) || !strings.Contains(err.Error(), "state.age_identity_file is not set") {
				t.Errorf("without age: %v", err)
			}
			rewrite("AGE-SECRET-KEY-1PLANTED")
			want := "reading the age identity: " + keys + " has no identity as age-keygen makes them (AGE-SECRET-KEY-1…)"
			for _, err := range []error{vault.Reserve(t.Context(), "b/3"), directory.Check(t.Context()), second(Open(root, Options{AgeIdentityFile: keys}))} {
				if err == nil || err.Error() != want {
					t.Errorf("a bad key: %v", err)
				}
			}
		})
	}
}

func second(_ *Directory, err error) error { return err }

func TestUnsealedEntriesStayReadable(t *testing.T) {
	directory, root := opened(t)
	if err := directory.Vault().Write(t.Context(), "b/1", model.NewSecret(value)); err != nil {
		t.Fatal(err)
	}
	identity, _ := age.GenerateX25519Identity()
	keys := filepath.Join(t.TempDir(), "age.key")
	if err := os.WriteFile(keys, []byte(identity.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	sealed, err := Open(root, Options{AgeIdentityFile: keys})
	if err != nil {
		t.Fatal(err)
	}
	if found, err := sealed.Vault().Read(t.Context(), "b/1"); err != nil || found.Reveal() != value {
		t.Errorf("an entry from before the encryption: %v", err)
	}
}
