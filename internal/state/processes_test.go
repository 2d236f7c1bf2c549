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
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
)

// The test binary is also the other process: with this variable it works on that state
// directory and runs no tests.
const otherProcess = "STATE_TEST_DIRECTORY"

func TestMain(m *testing.M) {
	if root := os.Getenv(otherProcess); root != "" {
		if err := incrementAll(root); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// incrementAll increments the record "count" STATE_TEST_TIMES times (0: for ever). It
// prints each number once it is saved.
func incrementAll(root string) error {
	times, _ := strconv.Atoi(os.Getenv("STATE_TEST_TIMES"))
	directory, err := Open(root, Options{})
	if err != nil {
		return err
	}
	for i := 0; times == 0 || i < times; i++ {
		number, err := increment(context.Background(), directory.Journal())
		if err != nil {
			return err
		}
		fmt.Println(number)
	}
	return nil
}

func increment(ctx context.Context, journal *Records) (int, error) {
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

func incrementingProcess(t *testing.T, root string, times int) *exec.Cmd {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0])
	command.Env = append(os.Environ(), otherProcess+"="+root, "STATE_TEST_TIMES="+strconv.Itoa(times))
	command.Stderr = os.Stderr
	return command
}

// Two other processes and several goroutines on two Directories lose no update.
func TestProcessesShareADirectory(t *testing.T) {
	const times = 20
	directory, root := openTemp(t)
	second, err := Open(root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 2 {
		command := incrementingProcess(t, root, times)
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
				if _, err := increment(t.Context(), handle.Journal()); err != nil {
					t.Errorf("incrementing: %v", err)
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

// A killed process loses nothing that it has acknowledged. It leaves neither a lock nor
// half a file.
func TestKilledProcess(t *testing.T) {
	directory, root := openTemp(t)
	acknowledged := 0
	for kill := range 10 {
		command := incrementingProcess(t, root, 0)
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
		if _, err := increment(t.Context(), directory.Journal()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWaitingForTheLockEnds(t *testing.T) {
	directory, root := openTemp(t)
	other, err := Open(root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := other.lock(t.Context())
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

// The writers of one process have the lock in the order in which they came.
func TestWritersTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		directory, root := openTemp(t)
		unlock, err := directory.lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		want := filepath.Join(root, "lock") + ": other writes of this process are not done: context deadline exceeded"
		if _, err := directory.lock(ctx); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
		const writers = 50
		var all sync.WaitGroup
		ended := make(chan int, writers)
		for i := range writers {
			all.Go(func() {
				held, err := directory.lock(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				ended <- i
				held()
			})
			synctest.Wait() // until this one waits
		}
		unlock()
		all.Wait()
		close(ended)
		next := 0
		for i := range ended {
			if i != next {
				t.Errorf("writer %d had turn %d", i, next)
			}
			next++
		}
	})
}

// Of several writers of an entry one succeeds.
func TestOneWriterWins(t *testing.T) {
	directory, root := openTemp(t)
	second, err := Open(root, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	results := make([]error, 8)
	for i := range results {
		tokens := []*TokenStore{directory.Tokens(), second.Tokens()}[i%2]
		all.Go(func() {
			results[i] = errors.Join(tokens.Reserve(t.Context(), "b/1"), tokens.Write(t.Context(), "b/1", model.NewSecret(strconv.Itoa(i))))
		})
	}
	all.Wait()
	found, err := directory.Tokens().Read(t.Context(), "b/1")
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range results {
		if winner := found.Reveal() == strconv.Itoa(i); winner != (err == nil) || !winner && !errors.Is(err, model.ErrExists) {
			t.Errorf("writer %d: %v, the token store holds %s", i, err, found.Reveal())
		}
	}
}
