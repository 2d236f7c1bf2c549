package app

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	exporterweb "github.com/prometheus/exporter-toolkit/web"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
)

// ServeOptions are the flags of serve.
type ServeOptions struct {
	Web       *exporterweb.FlagConfig
	Lifecycle bool // POST /-/reload
	Profiles  bool // GET /debug/pprof/
	Pace      int  // divides every wait of a rotation

	AutoReload         bool // reload when the configuration or a file that it names changes
	AutoReloadInterval time.Duration

	HealthAddress string // where health and readiness need no credentials; "": nowhere

	Listeners []net.Listener // instead of the addresses in Web
}

// Exporter is a running exporter: what outlives a reload, and the configuration in force.
type Exporter struct {
	options      Options
	serveOptions ServeOptions
	webConfig    string // the file of --web.config.file; "": none
	log          *slog.Logger

	registry *prometheus.Registry
	requests *collector.Requests
	state    exporterState
	rotation *rotationService

	started    time.Time
	reloading  sync.Mutex
	lastReload atomic.Pointer[collector.Reload]
	current    atomic.Pointer[configRuntime]
}

func newExporter(common Options, options ServeOptions) *Exporter {
	return &Exporter{
		options: common, serveOptions: options, webConfig: *options.Web.WebConfigFile, log: common.Logger,
		registry: prometheus.NewRegistry(), requests: collector.NewRequests(),
	}
}

// authenticated reports whether the web config authenticates callers at this moment.
// The server reads that file again at every request, and so does the webhook.
func (e *Exporter) authenticated() bool {
	authentication, err := config.ReadWebAuthentication(e.webConfig)
	return err == nil && (authentication.BasicAuth || authentication.ClientCertificates)
}

// configRuntime is what one version of the configuration built. A reload builds the next
// one completely before it stops the running one.
type configRuntime struct {
	config  *config.Config
	clients *clientSet
	poller  *poller.Poller
	stop    context.CancelFunc
	done    chan struct{} // closed when the poller has returned
}

// buildRuntime loads the configuration and builds the clients. It makes no call and
// changes nothing.
func (e *Exporter) buildRuntime() (*configRuntime, error) {
	c, err := loadChecked(e.options.ConfigFile, e.webConfig)
	if err != nil {
		return nil, err
	}
	clients, err := e.options.newClients(c, e.requests.Observe, e.tokenValue)
	if err != nil {
		return nil, err
	}
	return &configRuntime{config: c, clients: clients, done: make(chan struct{})}, nil
}

// swapRuntime stops the running configuration and starts the next, which inherits the
// snapshots.
func (e *Exporter) swapRuntime(ctx context.Context, next *configRuntime) {
	var previous *poller.Poller
	if running := e.current.Load(); running != nil {
		running.shutdown()
		previous = running.poller
	}
	next.poller = poller.New(pollerOptions(next.config, next.clients, e.state.eventStore(e.options.redactor), e.rotation.replica, e.log), previous)
	ctx, next.stop = context.WithCancel(ctx)
	go func() {
		defer close(next.done)
		next.poller.Run(ctx)
	}()
	e.current.Store(next)
	e.rotation.configure(next.config, next.clients)
}

// shutdown stops the poller and waits until it has returned.
func (r *configRuntime) shutdown() {
	r.stop()
	<-r.done
}

// poller is the running one; it exists before anything asks for it.
func (e *Exporter) poller() *poller.Poller { return e.current.Load().poller }

func (e *Exporter) snapshots() []model.Snapshot { return e.poller().Snapshots() }

// tokenValue returns the value of a connection's token in use. The clients call it only
// after e.rotation is set.
func (e *Exporter) tokenValue(ctx context.Context, connection string) (string, model.Secret, error) {
	return e.rotation.tokenValue(ctx, connection)
}
