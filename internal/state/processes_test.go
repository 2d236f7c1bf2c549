package state

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
)

// The test binary is also the other process: with this variable it works on the state
// directory named there instead of testing.
const otherProcess = "STATE_TEST_DIRECTORY"

func TestMain(m *testing.M) {
	if root := os.Getenv(otherProcess); root != "" {
		if err := work(root); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// work adds one to the record "count" as often as told, or for ever, and prints each
// number once it is saved.
func work(root string) error {
	times, _ := strconv.Atoi(os.Getenv("STATE_TEST_TIMES"))
	directory, err := Open(root, Options{})
	if err != nil {
		return err
	}
	for i := 0; times == 0 || i < times; i++ {
		number, err := add(context.Background(), directory.Journal())
		if err != nil {
			return err
		}
		fmt.Println(number)
	}
	return nil
}

func add(ctx context.Context, journal *Records) (int, error) {
	for {
		content, revision, err := journal.Load(ctx, "count")
		if err != nil {
			return 0, err
		}
		number, _ := strconv.Atoi(string(content))
		_, err = journal.Save(ctx, "count", []byte(strconv.Itoa(number+1)), revision)
		if !errors.Is(err, model.ErrConflict) {
			return number + 1, err
		}
	}
}

func other(t *testing.T, root string, times int) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), otherProcess+"="+root, "STATE_TEST_TIMES="+strconv.Itoa(times))
	command.Stderr = os.Stderr
	return command
}

// Two other processes and several goroutines over two handles lose no update.
func TestProcessesShareADirectory(t *testing.T) {
	const times = 20
	directory, root := opened(t)
	second, err := Open(root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 2 {
		command := other(t, root, times)
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			if err := command.Wait(); err != nil {
				t.Errorf("the other process: %v", err)
			}
		})
	}
	for _, handle := range []*Directory{directory, directory, second} {
		all.Go(func() {
			for range times {
				if _, err := add(t.Context(), handle.Journal()); err != nil {
					t.Errorf("adding: %v", err)
				}
			}
		})
	}
	all.Wait()
	if content, _, err := directory.Journal().Load(t.Context(), "count"); err != nil || string(content) != strconv.Itoa(5*times) {
		t.Errorf("the count is %s, %v; want %d", content, err, 5*times)
	}
	if restored, err := directory.Journal().Restored(t.Context(), "count"); restored || err != nil {
		t.Errorf("several writers look like a restored backup: %v", err)
	}
}

// A process that is killed at any moment loses nothing that it had acknowledged, and
// leaves neither a lock nor half a file.
func TestKilledProcess(t *testing.T) {
	directory, root := opened(t)
	acknowledged := 0
	for kill := range 10 {
		command := other(t, root, 0)
		output, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(output)
		for i := 0; lines.Scan(); i++ {
			acknowledged, err = strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatal(err)
			}
			if i == kill {
				if err := command.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = command.Wait() // it was killed
		content, _, err := directory.Journal().Load(t.Context(), "count")
		if err != nil {
			t.Fatal(err)
		}
		if number, _ := strconv.Atoi(string(content)); number < acknowledged || number > acknowledged+1 {
			t.Fatalf("the count is %d after %d was acknowledged", number, acknowledged)
		}
		if _, err := add(t.Context(), directory.Journal()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWaitingForTheLockEnds(t *testing.T) {
	directory, root := opened(t)
	unlock, err := directory.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = directory.Journal().Save(ctx, "a", nil, "")
	want := filepath.Join(root, "lock") + ": another process holds the lock: context deadline exceeded"
	if !errors.Is(err, context.DeadlineExceeded) || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	unlock()
	mustSave(t, directory.Journal(), "a", "content", "")
}

// A write-once entry is written once, whoever comes first.
func TestOneWriterWins(t *testing.T) {
	directory, root := opened(t)
	second, err := Open(root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		vault := []*TokenStore{directory.Vault(), second.Vault()}[i%2]
		all.Go(func() {
			results[i] = errors.Join(vault.Reserve(t.Context(), "b/1"), vault.Write(t.Context(), "b/1", model.NewSecret(strconv.Itoa(i))))
		})
	}
	all.Wait()
	found, err := directory.Vault().Read(t.Context(), "b/1")
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range results {
		if winner := found.Reveal() == strconv.Itoa(i); winner != (err == nil) || !winner && !errors.Is(err, model.ErrExists) {
			t.Errorf("writer %d: %v, the vault holds %s", i, err, found.Reveal())
		}
	}
}
