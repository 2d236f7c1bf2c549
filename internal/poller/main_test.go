package poller_test

import (
	"bytes"
	"context"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logbook keeps log lines without their time.
type logbook struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (l *logbook) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(line)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.String()
}

func (l *logbook) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
}

// variable is what a test changes while a stub reads it.
type variable[T any] struct {
	mu    sync.Mutex
	value T
}

func (v *variable[T]) get() T {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.value
}

func (v *variable[T]) set(value T) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.value = value
}

// jobs is a stub of a client: what it answers can be changed while it is being read.
type jobs struct {
	mu    sync.Mutex
	err   error
	hang  bool
	panic any
	date  time.Time
	looks []time.Time
}

func (j *jobs) set(change func(*jobs)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(j)
}

func (j *jobs) times() []time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]time.Time(nil), j.looks...)
}

// read answers with a job whose id is the number of the look.
func (j *jobs) read(ctx context.Context) (model.Job, error) {
	j.mu.Lock()
	j.looks = append(j.looks, time.Now())
	answer, err, hang, cause := model.Job{ID: strconv.Itoa(len(j.looks)), Date: j.date}, j.err, j.hang, j.panic
	j.mu.Unlock()
	if cause != nil {
		panic(cause)
	}
	if hang {
		<-ctx.Done()
		return model.Job{}, ctx.Err()
	}
	return answer, err
}

// start runs a Watch in a bubble until the returned function is called.
func start(t *testing.T, options poller.Options, previous *poller.Poller) (*poller.Poller, func()) {
	t.Helper()
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	w := poller.New(options, previous)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(ctx)
	}()
	return w, func() {
		cancel()
		<-ended
	}
}

// after lets time pass in a bubble and waits for what it sets off.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// one is a Watch of a single connection, corp.
func one(sources ...poller.Source) poller.Options {
	return poller.Options{Connections: []poller.Connection{{Name: "corp", Tenant: "t", Sources: sources}}}
}

func status(t *testing.T, w *poller.Poller, place int, source model.Source) model.SourceStatus {
	t.Helper()
	status, found := w.Snapshots()[place].Status(source)
	if !found {
		t.Fatalf("snapshot %d has no source %s", place, source)
	}
	return status
}
