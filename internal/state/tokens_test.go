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

const tokenValue = "planted-token-value"

func TestTokenStore(t *testing.T) {
	directory, root := openTemp(t)
	tokens := directory.Tokens()
	expect := func(key, want string) {
		t.Helper()
		if found, err := tokens.Read(t.Context(), key); err != nil || found.Reveal() != want || found.IsZero() != (want == "") {
			t.Errorf("%s holds %q, %v; want %q", key, found.Reveal(), err, want)
		}
	}
	expectKeys := func(want ...string) {
		t.Helper()
		if keys, err := tokens.List(t.Context(), "b"); err != nil || cmp.Diff(want, keys) != "" {
			t.Errorf("keys %v, %v; want %v", keys, err, want)
		}
	}
	expectKeys()
	expect("b/1", "")
	for range 2 {
		if err := tokens.Reserve(t.Context(), "b/1"); err != nil {
			t.Fatal(err)
		}
	}
	expect("b/1", "")
	expectKeys("b/1")
	if err := tokens.Write(t.Context(), "b/1", model.NewSecret(tokenValue)); err != nil {
		t.Fatal(err)
	}
	for _, again := range []string{tokenValue, "another"} {
		if err := tokens.Write(t.Context(), "b/1", model.NewSecret(again)); !errors.Is(err, model.ErrExists) {
			t.Errorf("writing again: %v", err)
		}
	}
	if err := errors.Join(tokens.Reserve(t.Context(), "b/1"), tokens.Reserve(t.Context(), "b/0"), tokens.Reserve(t.Context(), "c/0")); err != nil {
		t.Fatal(err)
	}
	expect("b/1", tokenValue)
	expectKeys("b/0", "b/1")

	for _, bad := range []model.Secret{{}, model.NewSecret(""), model.NewSecret(strings.Repeat("x", maxValue+1))} {
		if err := tokens.Write(t.Context(), "b/0", bad); err == nil {
			t.Errorf("an entry of %d bytes was accepted", len(bad.Reveal()))
		}
	}
	if err := tokens.Write(t.Context(), "b/0", model.NewSecret(strings.Repeat("x", maxValue))); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"b/0", "b/1", "b/none"} {
		if err := tokens.Destroy(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		expect(key, "")
	}
	expectKeys()
	if containsText(t, root, tokenValue) {
		t.Error("a destroyed value is still in the directory")
	}
	if _, err := tokens.Read(t.Context(), "b/../c"); err == nil {
		t.Error("a key may contain ..")
	}
}

// containsText searches every file below root and checks that no other user can read it.
func containsText(t *testing.T, root, text string) bool {
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

func TestUnreadableEntriesAreLeftUnchanged(t *testing.T) {
	directory, root := openTemp(t)
	tokens, path := directory.Tokens(), filepath.Join(root, "tokens", "b", "1.token")
	if err := errors.Join(tokens.Reserve(t.Context(), "b/1"), tokens.Write(t.Context(), "b/1", model.NewSecret(tokenValue))); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	reservation := encode("token", entryHeader{Key: "b/1", Reserved: true}, nil, 0)
	for _, test := range []struct {
		name    string
		content []byte
		want    string
	}{
		{"corrupt", bytes.Replace(good, []byte(tokenValue), []byte("Planted-token-value"), 1), "unreadable: corrupt: wrong checksum"},
		{"of another program", []byte(tokenValue), "unreadable: not an entra-aws-exporter token, or corrupt"},
		{"newer", bytes.Replace(good, []byte(" 1 "), []byte(" 9 "), 1), "unreadable: it has schema 9, this version reads 1"},
		{"a reservation", reservation, "unreadable: corrupt: no value"},
	} {
		if err := os.WriteFile(path, test.content, 0o600); err != nil {
			t.Fatal(err)
		}
		want := path + ": " + test.want + "; the file is left unchanged"
		_, err := tokens.Read(t.Context(), "b/1")
		if !errors.Is(err, model.ErrUnreadable) || err.Error() != want {
			t.Errorf("%s: %v\nwant %s", test.name, err, want)
		}
		for _, err := range []error{tokens.Write(t.Context(), "b/1", model.NewSecret("x")), tokens.Reserve(t.Context(), "b/1")} {
			if !errors.Is(err, model.ErrUnreadable) {
				t.Errorf("%s: %v", test.name, err)
			}
		}
		if kept, err := os.ReadFile(path); err != nil || !bytes.Equal(kept, test.content) {
			t.Errorf("%s was changed: %v", test.name, err)
		}
	}
	if err := tokens.Destroy(t.Context(), "b/1"); err != nil {
		t.Errorf("destroying an unreadable entry: %v", err)
	}
}

func TestEncryptedTokens(t *testing.T) {
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
			rewrite("\xEF\xBB\xBF# a comment\n" + identity + "\n")
			directory, err := Open(root, Options{AgeIdentityFile: keys})
			if err != nil {
				t.Fatal(err)
			}
			tokens := directory.Tokens()
			long := strings.Repeat(tokenValue, maxValue/len(tokenValue))
			if err := errors.Join(
				directory.Check(t.Context()),
				tokens.Reserve(t.Context(), "b/1"), tokens.Write(t.Context(), "b/1", model.NewSecret(tokenValue)),
				tokens.Reserve(t.Context(), "b/2"), tokens.Write(t.Context(), "b/2", model.NewSecret(long)),
			); err != nil {
				t.Fatal(err)
			}
			if containsText(t, root, tokenValue) {
				t.Error("the value is on the disk unencrypted")
			}
			if info, err := os.Stat(filepath.Join(root, "tokens", "b", "2.token")); err != nil || info.Size() != entrySize {
				t.Errorf("the longest entry outgrew its reservation: %v %v", info.Size(), err)
			}
			other, _ := age.GenerateX25519Identity()
			rewrite(other.String() + "\n" + identity + "\n") // a new key before the old one
			if found, err := tokens.Read(t.Context(), "b/1"); err != nil || found.Reveal() != tokenValue {
				t.Errorf("after changing the key: %v", err)
			}
			rewrite(other.String() + "\n")
			if _, err := tokens.Read(t.Context(), "b/1"); !errors.Is(err, model.ErrUnreadable) || !strings.Contains(err.Error(), "no identity in "+keys+" decrypts it") {
				t.Errorf("without the key: %v", err)
			}
			plain, err := Open(root, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := plain.Tokens().Read(t.Context(), "b/1"); !errors.Is(err, model.ErrUnreadable) || !strings.Contains(err.Error(), "state.age_identity_file is not set") {
				t.Errorf("without age: %v", err)
			}
			rewrite("AGE-SECRET-KEY-1PLANTED")
			want := "reading the age identity: " + keys + " has no valid identity (AGE-SECRET-KEY-1…); create one with age-keygen"
			for _, err := range []error{tokens.Reserve(t.Context(), "b/3"), directory.Check(t.Context()), errorOf(Open(root, Options{AgeIdentityFile: keys}))} {
				if err == nil || err.Error() != want {
					t.Errorf("a bad key: %v", err)
				}
			}
		})
	}
}

func errorOf(_ *Directory, err error) error { return err }

func TestUnencryptedEntriesStayReadable(t *testing.T) {
	directory, root := openTemp(t)
	if err := directory.Tokens().Write(t.Context(), "b/1", model.NewSecret(tokenValue)); err != nil {
		t.Fatal(err)
	}
	identity, _ := age.GenerateX25519Identity()
	keys := filepath.Join(t.TempDir(), "age.key")
	if err := os.WriteFile(keys, []byte(identity.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	encrypted, err := Open(root, Options{AgeIdentityFile: keys})
	if err != nil {
		t.Fatal(err)
	}
	if found, err := encrypted.Tokens().Read(t.Context(), "b/1"); err != nil || found.Reveal() != tokenValue {
		t.Errorf("an entry from before the encryption: %v", err)
	}
}
