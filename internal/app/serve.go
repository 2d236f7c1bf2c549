package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/version"
	exporterweb "github.com/prometheus/exporter-toolkit/web"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/web"
)

const (
	// readyAfter bounds the wait for the first poll of every source: a source that hangs
	// must not keep Prometheus from scraping the others.
	readyAfter = 30 * time.Second
	// shutdownTimeout bounds the wait for requests in flight, and that for the state to take
	// what other replicas need not wait for.
	shutdownTimeout = 5 * time.Second
)

// Serve runs the exporter until the context is cancelled.
func Serve(ctx context.Context, common Options, options ServeOptions) error {
	return newExporter(common, options).run(ctx)
}

// run starts every part and stops them in reverse order.
func (e *Exporter) run(ctx context.Context) error {
	e.log.Info("starting", "version", version.Info(), "build", version.BuildContext())
	first, err := e.buildRuntime()
	if err != nil {
		return err
	}
	if err := checkPace(e.serveOptions.Pace, first.config); err != nil {
		return err
	}
	if e.state, err = e.options.openExporterState(first.config, e.requests.Observe, e.log); err != nil {
		return err
	}
	snapshot := func(connection string) (model.Snapshot, bool) { return e.poller().Snapshot(connection) }
	refresh := func(connection string) { e.poller().Refresh(connection) }
	e.rotation = e.options.newRotationService(e.state.rotation, e.serveOptions.Pace, snapshot, refresh)
	e.rotation.authenticated = e.authenticated
	if err := e.registerMetrics(); err != nil {
		return err
	}
	logWarnings(e.log, first.config)

	handler, err := e.handler()
	if err != nil {
		return err
	}
	e.started = time.Now()
	e.swapRuntime(context.WithoutCancel(ctx), first)
	e.lastReload.Store(&collector.Reload{LastSuccess: e.started})
	defer func() {
		last := e.current.Load()
		last.shutdown()
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		last.poller.Release(bounded)
	}()

	var background sync.WaitGroup
	stopping, stop := context.WithCancel(ctx)
	defer background.Wait()
	defer stop()
	background.Go(func() { e.runRotations(stopping) })
	background.Go(func() { e.reloadOnHangup(stopping) })
	if e.serveOptions.AutoReload {
		background.Go(func() { e.reloadOnChange(stopping) })
	}

	return e.listen(stopping, handler)
}

// registerMetrics registers what /metrics shows.
func (e *Exporter) registerMetrics() error {
	reload := func() collector.Reload { return *e.lastReload.Load() }
	for _, each := range []prometheus.Collector{
		collector.New(collector.Options{Snapshots: e.snapshots, Rotation: e.rotation.statusOf, Reload: reload, Redactor: e.options.redactor}),
		e.requests,
		e.rotation.webhookMetrics,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		versioncollector.NewCollector("entra_aws_exporter"),
	} {
		if err := e.registry.Register(each); err != nil {
			return err
		}
	}
	return nil
}

// handler serves the pages, the metrics, the reload and the webhook.
func (e *Exporter) handler() (http.Handler, error) {
	options := web.Options{
		Snapshots: e.snapshots,
		Rotation:  e.rotation.statusOf,
		Records:   e.rotation.engine.Records,
		Ready:     e.ready,
		Reloaded:  func() error { return e.lastReload.Load().Err },
		Config:    func() ([]byte, error) { return []byte(e.current.Load().config.String()), nil },
		Build:     web.Build{Version: version.Version, Revision: version.GetRevision()},
		Logger:    e.log,
		Metrics: promhttp.HandlerFor(e.registry, promhttp.HandlerOpts{
			ErrorLog: slog.NewLogLogger(e.log.Handler(), slog.LevelError), Registry: e.registry, EnableOpenMetrics: true,
		}),
		Webhook:  e.rotation.webhookHandler(),
		Profiles: e.serveOptions.Profiles,
	}
	if e.serveOptions.Lifecycle {
		options.Reload = e.reload
	}
	pages, err := web.New(options)
	return e.options.redactor.Handler(pages), err
}

// runRotations resumes open rotations and runs those that alerts start.
func (e *Exporter) runRotations(ctx context.Context) {
	if err := e.rotation.engine.Run(ctx); err != nil {
		e.log.Error("rotation engine stopped", "err", err)
	}
}

// listen serves HTTP until the context is cancelled or a listener fails.
func (e *Exporter) listen(ctx context.Context, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(e.log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() {
		if len(e.serveOptions.Listeners) > 0 {
			failed <- exporterweb.ServeMultiple(e.serveOptions.Listeners, server, e.serveOptions.Web, e.log)
			return
		}
		failed <- exporterweb.ListenAndServe(server, e.serveOptions.Web, e.log)
	}()
	health := e.healthServer()
	defer health.Close() //nolint:errcheck // nothing depends on it
	healthFailed := make(chan error, 1)
	if health.Addr != "" {
		go func() { healthFailed <- health.ListenAndServe() }()
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serving HTTP: %w", err)
	case err := <-healthFailed:
		return errors.Join(fmt.Errorf("serving health checks: %w", err), server.Close())
	case <-ctx.Done():
	}
	e.log.Info("stopping")
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(grace)
	if served := <-failed; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// healthServer answers health and readiness without credentials: the web config does not
// apply to it.
func (e *Exporter) healthServer() *http.Server {
	return &http.Server{
		Addr: e.serveOptions.HealthAddress, Handler: web.NewHealth(e.ready, e.log),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(e.log.Handler(), slog.LevelWarn),
	}
}

// errStarting is the answer of the readiness check during the first poll.
var errStarting = errors.New("starting: some sources have not been polled yet")

// ready reports whether every source was polled once, or has had its time.
func (e *Exporter) ready() error {
	if !e.poller().Ready() && time.Since(e.started) < readyAfter {
		return errStarting
	}
	return nil
}
