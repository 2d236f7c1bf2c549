package app

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
	"go.uber.org/goleak"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

func TestMain(m *testing.M) {
	// The runtime's goroutine for signals must not be born inside a bubble.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGUSR2)
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("os/signal.signal_recv"), goleak.IgnoreTopFunction("os/signal.loop"))
}

// lab is a whole exporter with the real clients, before both clouds in memory. Build
// it inside a bubble: its HTTP goes through pipes, so time passes by itself.
type lab struct {
	*simulator.Simulator
	t      *testing.T
	access simulator.Credentials
	dir    string
	logs   *transcript
	client *http.Client
	stop   func()

	exporter *Exporter                                 // the one that runs
	gone     func(holder string) bool                  // of leases; nil: as the program thinks
	around   func(http.RoundTripper) http.RoundTripper // what stands before the clouds, if anything
}

// The simulator's config reads everything all the time; tests that need hours say less.
const (
	hasty     = "intervals: {tokens: 15s, scim: 30s, usage: 30s, job: 10s, events: 15s, certificates: 30s, app_credentials: 1m}"
	unhurried = "intervals: {tokens: 5m, scim: 1h, usage: 1h, job: 5m, events: 1h, certificates: 1h, app_credentials: 1h}"
)

const simulated = "https://127.0.0.1:10198"

// furnish is a lab whose exporter does not run yet; its config file can still be changed.
func furnish(t *testing.T, specs []clouds.ConnectionSpec) *lab {
	t.Helper()
	w := clouds.New(clouds.Options{Seed: 1})
	for _, spec := range specs {
		w.Add(spec)
	}
	return admit(t, w)
}

func admit(t *testing.T, w *clouds.Model) *lab {
	t.Helper()
	l := settleIn(t, w)
	for name, value := range l.environment() {
		t.Setenv(name, value)
	}
	return l
}

// settleIn is a lab that leaves the process's environment as it is.
func settleIn(t *testing.T, w *clouds.Model) *lab {
	t.Helper()
	access, err := simulator.IssueCredentials(w)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, access: access, dir: t.TempDir(), logs: &transcript{}}
	l.Simulator = simulator.New(w, simulator.Options{Seed: 1, URL: simulated})
	if err := access.WriteConfig(simulator.ConfigOptions{File: l.path("exporter.yml"), URL: simulated}); err != nil {
		t.Fatal(err)
	}
	l.edit("http_client: {tls_config: {ca_file: \"\"}}\n", "")
	return l
}

// environment tells AWS's SDK where the keys are. Worlds of one seed have the same keys.
func (l *lab) environment() map[string]string {
	values := map[string]string{}
	for _, line := range strings.Fields(l.read("environment")) {
		name, value, _ := strings.Cut(line, "=")
		values[name] = value
	}
	return values
}

func (l *lab) path(name string) string { return filepath.Join(l.dir, name) }

func (l *lab) read(name string) string {
	l.t.Helper()
	content, err := os.ReadFile(l.path(name))
	if err != nil {
		l.t.Fatal(err)
	}
	return string(content)
}

func (l *lab) write(name, content string) {
	l.t.Helper()
	if err := os.WriteFile(l.path(name), []byte(content), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

// edit replaces text in the config; what is not there is a mistake of the test.
func (l *lab) edit(before, after string) {
	l.t.Helper()
	text := l.read("exporter.yml")
	if !strings.Contains(text, before) {
		l.t.Fatalf("the config does not contain %q:\n%s", before, text)
	}
	l.write("exporter.yml", strings.ReplaceAll(text, before, after))
}

// start runs the exporter until the end of the test, or until stop is called.
func (l *lab) start() {
	l.t.Helper()
	listener := newPipes()
	exporter, err := newExporter(
		Options{ConfigFile: l.path("exporter.yml"), Logger: slog.New(slog.NewTextHandler(l.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))},
		ServeOptions{Web: &web.FlagConfig{WebConfigFile: new(string)}, Lifecycle: true, Pace: 1, Listeners: []net.Listener{listener}})
	if err != nil {
		l.t.Fatal(err)
	}
	l.exporter = exporter
	transport := simulator.Transport(l.Simulator)
	exporter.options.Transport, exporter.options.HolderIsDead = transport, l.gone
	if l.around != nil {
		exporter.options.Transport = l.around(transport)
	}
	l.client = &http.Client{Transport: &http.Transport{DialContext: listener.dial, DisableKeepAlives: true}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		err := exporter.run(ctx)
		_ = listener.Close() // nobody answers any more
		ended <- err
	}()
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			l.t.Errorf("the exporter ended with: %v", err)
		}
		transport.Wait()
	})
	l.t.Cleanup(l.stop)
}

// get returns the body of a page.
func (l *lab) get(path string) string {
	l.t.Helper()
	status, body := l.ask(http.MethodGet, path, "")
	if status != http.StatusOK {
		l.t.Fatalf("%s answered %d: %s", path, status, body)
	}
	return body
}

func (l *lab) ask(method, path, body string, header ...string) (int, string) {
	l.t.Helper()
	request, err := http.NewRequest(method, "http://exporter"+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := l.client.Do(request)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

// series are the samples of the exporter's own metrics, "name{labels} value".
func (l *lab) series() page {
	l.t.Helper()
	var list page
	for line := range strings.Lines(l.get("/metrics")) {
		if strings.HasPrefix(line, "entra_aws_") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

func (l *lab) fault(fault simulator.Fault) {
	l.t.Helper()
	if _, err := l.AddFault(fault); err != nil {
		l.t.Fatal(err)
	}
}

// command runs one of the program's commands and returns what it printed and logged,
// whatever became of it.
func (l *lab) command(run func(context.Context, Options) error) string {
	l.t.Helper()
	out := &transcript{}
	transport := simulator.Transport(l.Simulator)
	err := run(context.Background(), Options{
		ConfigFile: l.path("exporter.yml"), Stdout: out, Transport: transport, HolderIsDead: l.gone,
		Logger: slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	transport.Wait()
	if err != nil {
		return out.String() + err.Error()
	}
	return out.String()
}

type page []string

// with returns the series that contain all the texts.
func (p page) with(texts ...string) page {
	return slices.DeleteFunc(slices.Clone(p), func(line string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) })
	})
}

// holds fails the test for every wanted line that is not on the page.
func (p page) holds(t *testing.T, want ...string) {
	t.Helper()
	for _, line := range want {
		if !slices.Contains(p, line) {
			name, _, _ := strings.Cut(line, "{")
			t.Errorf("missing %s\nthere are:\n%s", line, strings.Join(p.with(name), "\n"))
		}
	}
}

// transcript is a log that is written and read at the same time.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// pipes is a listener in memory.
type pipes struct {
	calls  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipes() *pipes { return &pipes{calls: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.calls <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.calls:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// settle lets the first round of readings pass.
const settle = 2 * time.Minute
