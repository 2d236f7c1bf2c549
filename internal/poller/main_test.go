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

// logBuffer keeps log lines without their time.
type logBuffer struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (l *logBuffer) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(line)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.String()
}

func (l *logBuffer) logger(level slog.Level) *slog.Logger {
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

// stubClient is a stub of a client: what it answers can be changed while it is being read.
type stubClient struct {
	mu    sync.Mutex
	err   error
	hang  bool
	panic any
	date  time.Time
	reads []time.Time
}

func (j *stubClient) set(change func(*stubClient)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(j)
}

func (j *stubClient) readTimes() []time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]time.Time(nil), j.reads...)
}

// read answers with a job whose id is the number of the read.
func (j *stubClient) read(ctx context.Context) (model.Job, error) {
	j.mu.Lock()
	j.reads = append(j.reads, time.Now())
	answer, err, hang, cause := model.Job{ID: strconv.Itoa(len(j.reads)), Date: j.date}, j.err, j.hang, j.panic
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

// start runs a Poller in a bubble until the returned function is called.
func start(t *testing.T, options poller.Options, previous *poller.Poller) (*poller.Poller, func()) {
	t.Helper()
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	p := poller.New(options, previous)
	return p, run(t, p)
}

// run lets a poller run until the returned function is called.
func run(t *testing.T, p *poller.Poller) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// after lets time pass in a bubble and waits for what it sets off.
func advance(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// oneConnection is what a Poller is built from for a single connection, corp.
func oneConnection(sources ...poller.Source) poller.Options {
	return poller.Options{Connections: []poller.Connection{{Name: "corp", Tenant: "t", Sources: sources}}}
}

func status(t *testing.T, p *poller.Poller, place int, source model.Source) model.SourceStatus {
	t.Helper()
	status, found := p.Snapshots()[place].Status(source)
	if !found {
		t.Fatalf("snapshot %d has no source %s", place, source)
	}
	return status
}
