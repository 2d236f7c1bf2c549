package app

import (
	"bytes"
	"context"
	"errors"
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
	"entra-aws-exporter/test/harness/wire"
)

func TestMain(m *testing.M) {
	// The runtime's goroutine for signals must start outside a bubble.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGUSR2)
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("os/signal.signal_recv"), goleak.IgnoreTopFunction("os/signal.loop"))
}

// harness is a whole exporter with the real clients, in front of the simulator in memory.
// Build it inside a bubble: its HTTP uses pipes, so the bubble's time advances.
type harness struct {
	*wire.Simulator
	t      *testing.T
	dir    string
	logs   *logBuffer
	client *http.Client
	stop   func()

	exporter      *Exporter                                 // the running one
	webConfig     string                                    // --web.config.file
	autoReload    time.Duration                             // --config.auto-reload-interval; 0: disabled
	healthAddress string                                    // --web.health-listen-address
	holderIsDead  func(holder string) bool                  // of leases; nil: the default
	state         *stateStore                               // instead of the directory; nil: the directory
	wrapTransport func(http.RoundTripper) http.RoundTripper // wraps the transport to the simulator; optional
	wrapCommand   func(http.RoundTripper) http.RoundTripper // the same for commands
}

// The simulator's configuration polls often; tests that take hours use slowIntervals.
const (
	fastIntervals  = "intervals: {tokens: 15s, scim: 30s, usage: 30s, job: 10s, events: 15s, certificates: 30s, app_credentials: 1m}"
	slowIntervals  = "intervals: {tokens: 5m, scim: 1h, usage: 1h, job: 5m, events: 1h, certificates: 1h, app_credentials: 1h}"
	eventIntervals = "intervals: {tokens: 5m, scim: 1h, usage: 1h, job: 5m, events: 5m, certificates: 1h, app_credentials: 1h}"
)

const simulatorURL = "https://127.0.0.1:10198"

func newModel(specs ...clouds.ConnectionSpec) *clouds.Model {
	return wire.NewModel(clouds.Options{Seed: 1}, specs...)
}

// newHarness builds a harness. Its exporter does not run yet, so that the test can still
// edit the configuration.
func newHarness(t *testing.T, specs []clouds.ConnectionSpec) *harness {
	t.Helper()
	return newHarnessFor(t, newModel(specs...))
}

func newHarnessFor(t *testing.T, w *clouds.Model) *harness {
	t.Helper()
	h := buildHarness(t, w)
	for name, value := range h.environment() {
		t.Setenv(name, value)
	}
	return h
}

// buildHarness is newHarnessFor without changes of the process's environment.
func buildHarness(t *testing.T, w *clouds.Model) *harness {
	t.Helper()
	h := &harness{t: t, dir: t.TempDir(), logs: &logBuffer{}}
	h.Simulator = wire.NewSimulator(t, w, simulator.Options{Seed: 1, URL: simulatorURL})
	if err := h.Credentials.WriteConfig(simulator.ConfigOptions{File: h.path("exporter.yml"), URL: simulatorURL}); err != nil {
		t.Fatal(err)
	}
	h.edit("http_client: {tls_config: {ca_file: \"\"}}\n", "")
	return h
}

// environment returns the variables with AWS credentials. Models of one seed share them.
func (h *harness) environment() map[string]string {
	values := map[string]string{}
	for _, line := range strings.Fields(h.read("environment")) {
		name, value, _ := strings.Cut(line, "=")
		values[name] = value
	}
	return values
}

func (h *harness) path(name string) string { return filepath.Join(h.dir, name) }

func (h *harness) read(name string) string {
	h.t.Helper()
	content, err := os.ReadFile(h.path(name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(content)
}

func (h *harness) write(name, content string) {
	h.t.Helper()
	if err := os.WriteFile(h.path(name), []byte(content), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// edit replaces text in the configuration, which must contain it.
func (h *harness) edit(before, after string) {
	h.t.Helper()
	text := h.read("exporter.yml")
	if !strings.Contains(text, before) {
		h.t.Fatalf("the config does not contain %q:\n%s", before, text)
	}
	h.write("exporter.yml", strings.ReplaceAll(text, before, after))
}

// start runs the exporter until the end of the test, or until stop is called.
func (h *harness) start() {
	h.t.Helper()
	listener := newPipeListener()
	exporter := newExporter(
		h.options(h.logs),
		ServeOptions{Web: &web.FlagConfig{WebConfigFile: &h.webConfig}, Lifecycle: true, Profiles: true, Pace: 1, Listeners: []net.Listener{listener},
			HealthAddress: h.healthAddress, AutoReload: h.autoReload > 0, AutoReloadInterval: h.autoReload})
	h.exporter = exporter
	transport := h.Transport()
	exporter.options.Transport, exporter.options.HolderIsDead, exporter.options.state = transport, h.holderIsDead, h.state
	if h.wrapTransport != nil {
		exporter.options.Transport = h.wrapTransport(transport)
	}
	h.client = &http.Client{Transport: &http.Transport{DialContext: listener.dial, DisableKeepAlives: true}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		err := exporter.run(ctx)
		_ = listener.Close() // nothing accepts connections any more
		ended <- err
	}()
	h.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Errorf("the exporter failed: %v", err)
		}
		transport.Wait()
	})
	h.t.Cleanup(h.stop)
}

// get returns the body of a page.
func (h *harness) get(path string) string {
	h.t.Helper()
	status, body := h.request(http.MethodGet, path, "")
	if status != http.StatusOK {
		h.t.Fatalf("%s answered %d: %s", path, status, body)
	}
	return body
}

func (h *harness) request(method, path, body string, header ...string) (int, string) {
	h.t.Helper()
	request, err := http.NewRequest(method, "http://exporter"+path, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := h.client.Do(request)
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return response.StatusCode, string(content)
}

// series returns the samples of the exporter's own metrics, "name{labels} value".
func (h *harness) series() seriesList {
	h.t.Helper()
	var list seriesList
	for line := range strings.Lines(h.get("/metrics")) {
		if strings.HasPrefix(line, "entra_aws_") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

// command runs a command of the program. It returns the output, the log and the error.
func (h *harness) command(run func(context.Context, Options) error) string {
	h.t.Helper()
	out := &logBuffer{}
	transport := h.Transport()
	options := h.options(out)
	options.Transport, options.HolderIsDead, options.state = transport, h.holderIsDead, h.state
	if h.wrapCommand != nil {
		options.Transport = h.wrapCommand(transport)
	}
	err := run(context.Background(), options)
	transport.Wait()
	if err != nil {
		_, _ = io.WriteString(options.Stderr, err.Error())
	}
	return out.String()
}

// options are those of the command line, with one place for output and log.
func (h *harness) options(out io.Writer) Options {
	options := NewOptions(nil, out, out)
	options.ConfigFile = h.path("exporter.yml")
	options.Logger = slog.New(slog.NewTextHandler(options.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return options
}

type seriesList []string

// matching returns the series that contain all the texts.
func (p seriesList) matching(texts ...string) seriesList {
	return slices.DeleteFunc(slices.Clone(p), func(line string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) })
	})
}

// expect fails the test for every line that is missing.
func (p seriesList) expect(t *testing.T, want ...string) {
	t.Helper()
	for _, line := range want {
		if !slices.Contains(p, line) {
			name, _, _ := strings.Cut(line, "{")
			t.Errorf("missing %s\nthere are:\n%s", line, strings.Join(p.matching(name), "\n"))
		}
	}
}

// logBuffer can be written and read at the same time.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (t *logBuffer) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *logBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// pipeListener is a listener in memory.
type pipeListener struct {
	calls  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{calls: make(chan net.Conn), closed: make(chan struct{})}
}

func (p *pipeListener) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.calls <- theirs:
		return sendingConn{ours}, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-p.calls:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipeListener) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// sendingConn sends into the void once the server has closed, as TCP does: a server that
// refuses a body unread has answered before.
type sendingConn struct{ net.Conn }

func (c sendingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if errors.Is(err, io.ErrClosedPipe) {
		return len(b), nil
	}
	return n, err
}

// firstPoll is enough time for the first poll of every source.
const firstPoll = 2 * time.Minute
