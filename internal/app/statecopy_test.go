package app

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/internal/state"
	"entra-aws-exporter/internal/state/shared"
	"entra-aws-exporter/internal/state/statetest"
)

// copyState runs state copy between two configurations of the harness.
func (h *harness) copyState(from, to string) string {
	h.t.Helper()
	return h.command(func(ctx context.Context, o Options) error { return StateCopy(ctx, o, h.path(from), h.path(to)) })
}

// A state that was copied continues where the other one ended: the exporter knows the
// token in use and has its value, and the event counters go on.
func TestStateCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
		h.edit(fastIntervals, strings.Replace(slowIntervals, "events: 1h", "events: 5m", 1))
		h.write("other.yml", strings.ReplaceAll(h.read("exporter.yml"), "directory: state", "directory: other"))
		h.start()
		time.Sleep(15 * time.Minute)
		h.alert()
		time.Sleep(time.Hour)
		if out := h.copyState("exporter.yml", "other.yml"); !strings.Contains(out, "of connection expiring runs: wait for its end, or abort it") {
			t.Errorf("while it runs: %s", out)
		}
		if out := h.copyState("other.yml", "exporter.yml"); !strings.Contains(out, "of connection expiring runs") {
			t.Errorf("over what runs: %s", out)
		}
		record := h.waitForOutcome("expiring")
		time.Sleep(2 * time.Hour)
		counted := h.eventsCounted()
		h.stop()

		first, again := h.copyState("exporter.yml", "other.yml"), h.copyState("exporter.yml", "other.yml")
		for _, want := range []string{"token    ", "journal  ", "counters tenant-1: copied\n", "copied 4, already there 0\n", h.path("state") + " keeps what it has"} {
			if !strings.Contains(first, want) {
				t.Errorf("it does not say %q:\n%s", want, first)
			}
		}
		if !strings.Contains(again, "copied 0, already there 4\n") {
			t.Errorf("the second time: %s", again)
		}
		if out := h.copyState("exporter.yml", "exporter.yml"); !strings.Contains(out, "in different places") {
			t.Errorf("onto itself: %s", out)
		}

		h.write("exporter.yml", h.read("other.yml"))
		h.start()
		time.Sleep(firstPoll)
		if list := h.rotations("expiring"); len(list) != 1 || list[0].ID != record.ID {
			t.Errorf("the other state shows %+v", list)
		}
		if now := h.eventsCounted(); now < counted {
			t.Errorf("%d events, %d before", now, counted)
		}
		h.series().expect(t, `entra_aws_scim_probe_success{connection="expiring"} 1`)
		if info := h.series().matching("scim_token_info", record.NewTokenID, `role="in_use"`); len(info) != 1 {
			t.Errorf("the token in use is not known: %v", h.series().matching("scim_token_info"))
		}
		time.Sleep(time.Hour)
		h.stop()
		h.write("old.yml", strings.ReplaceAll(h.read("other.yml"), "directory: other", "directory: state"))
		if out := h.copyState("old.yml", "other.yml"); !strings.Contains(out, "counters tenant-1: kept: they are newer there") {
			t.Errorf("over newer counters: %s", out)
		}
		if out := h.copyState("other.yml", "old.yml"); !strings.Contains(out, "copied 2, already there 2\n") {
			t.Errorf("back: %s", out)
		}
	})
}

// copyTest copies between any two stores.
type copyTest struct {
	stateCopy
	out bytes.Buffer
}

func newCopyTest(from, to *stateStore) *copyTest {
	c := &copyTest{stateCopy: stateCopy{from: copySide{from, "here"}, to: copySide{to, "there"}}}
	c.stateCopy.out = &c.out
	return c
}

func sharedStateStore() *stateStore {
	s := shared.New(statetest.NewTable(), statetest.NewSecrets(), shared.Options{Place: "a table", SecretPrefix: "p/"})
	return &stateStore{journal: s.Journal(), events: s.Events(), tokens: s.Tokens(), check: s.Check}
}

func newDirectoryStore(t *testing.T) (*stateStore, string) {
	t.Helper()
	root := t.TempDir()
	directory, err := state.Open(root, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return directoryStore(directory), root
}

func save(t *testing.T, to records, key, content string) {
	t.Helper()
	_, revision, err := to.Load(t.Context(), key)
	if err == nil {
		_, err = to.Save(t.Context(), key, []byte(content), revision)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func journalOf(write int) string { return fmt.Sprintf(`{"connection":"corp","sequence":%d}`, write) }

// From a directory to a shared store and back.
func TestStateCopyBetweenStores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		directory, root := newDirectoryStore(t)
		table := sharedStateStore()
		save(t, directory.journal, "b1", journalOf(7))
		save(t, directory.events, "default", `{"reader":{"read":"2026-11-01T12:00:00Z"}}`)
		save(t, directory.events, "usage.corp", `{"reader":{"read":"2026-11-01T12:00:00Z"}}`)
		if err := directory.tokens.Write(t.Context(), "b1/2", model.NewSecret("planted-value")); err != nil {
			t.Fatal(err)
		}
		if err := directory.tokens.Reserve(t.Context(), "b1/3"); err != nil {
			t.Fatal(err)
		}
		expect := func(c *copyTest, copied, present int, failure string) {
			t.Helper()
			err := c.run(t.Context())
			if (failure == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), failure) || c.copied != copied || c.present != present {
				t.Errorf("copied %d, %d were there, want %d and %d: %v\n%s", c.copied, c.present, copied, present, err, c.out.String())
			}
			if strings.Contains(c.out.String(), "planted-value") {
				t.Error("it shows a value")
			}
		}
		expect(newCopyTest(directory, table), 4, 0, "")
		expect(newCopyTest(directory, table), 0, 4, "")
		save(t, table.journal, "b1", journalOf(9))
		save(t, table.events, "usage.corp", `{"reader":{"read":"2026-11-01T13:00:00Z"}}`)
		expect(newCopyTest(directory, table), 0, 0, "journal b1 of connection corp: there has another one (write 9), which is not older than that of here (write 7)")
		expect(newCopyTest(table, directory), 2, 2, "")
		save(t, table.journal, "b1", `{"connection":"other","sequence":9}`)
		expect(newCopyTest(directory, table), 0, 0, "which is not older")

		save(t, directory.journal, "b1", journalOf(10))
		if _, err := table.tokens.List(t.Context(), "b1"); err != nil {
			t.Fatal(err)
		}
		if err := table.tokens.Destroy(t.Context(), "b1/2"); err != nil {
			t.Fatal(err)
		}
		if err := table.tokens.Write(t.Context(), "b1/2", model.NewSecret("another")); err != nil {
			t.Fatal(err)
		}
		expect(newCopyTest(directory, table), 0, 0, "token b1/2: there has another value for it")

		path := filepath.Join(root, "journal", "b1.record")
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path, path+".aside"); err != nil { // its file ID must not be used again
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		expect(newCopyTest(directory, table), 0, 0, "journal b1 of connection corp is a restored copy: run rotation adopt corp with here first")
	})
}
