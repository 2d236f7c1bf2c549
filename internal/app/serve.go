package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/version"
	exporterweb "github.com/prometheus/exporter-toolkit/web"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/web"
)

// ServeOptions are the flags of serve.
type ServeOptions struct {
	Web       *exporterweb.FlagConfig
	Lifecycle bool // POST /-/reload
	Pace      int  // what every wait of the rotation is divided by

	Listeners []net.Listener // instead of the flags' addresses
}

const (
	// readyAfter is when an exporter is ready although not every source has answered:
	// what hangs must not keep the rest from being scraped.
	readyAfter = 30 * time.Second
	// shutdownTimeout is how long requests in flight may take once it stops.
	shutdownTimeout = 5 * time.Second
)

// Serve runs the exporter until the context is cancelled.
func Serve(ctx context.Context, common Options, options ServeOptions) error {
	exporter, err := newExporter(common, options)
	if err != nil {
		return err
	}
	return exporter.run(ctx)
}

// run starts what was built and stops it in reverse order.
func (e *Exporter) run(ctx context.Context) error {
	e.log.Info("starting", "version", version.Info(), "build", version.BuildContext())
	first, err := e.prepare()
	if err != nil {
		return err
	}
	if err := checkPace(e.pace, first.config); err != nil {
		return err
	}
	if err := e.open(first.config); err != nil {
		return err
	}
	e.rotation = e.options.newRotations(e.journal, e.pace, e.snapshot, e.refresh, e.log)
	e.rotation.authenticated = e.authenticated
	if err := e.register(); err != nil {
		return err
	}
	warn(e.log, first.config)

	handler, err := e.handler()
	if err != nil {
		return err
	}
	e.started = time.Now()
	e.replace(context.WithoutCancel(ctx), first)
	e.reloads.succeeded(time.Now())
	defer func() {
		running := e.current.Load()
		running.stop()
		<-running.done
	}()

	var background sync.WaitGroup
	stopping, stop := context.WithCancel(ctx)
	defer background.Wait()
	defer stop()
	background.Go(func() { e.rotate(stopping) })
	background.Go(func() { e.reloadOnHangup(stopping) })

	return e.listen(stopping, handler)
}

// listen serves HTTP until the context is cancelled or a listener fails.
func (e *Exporter) listen(ctx context.Context, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(e.log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() {
		if len(e.listeners) > 0 {
			failed <- exporterweb.ServeMultiple(e.listeners, server, e.webFlags, e.log)
			return
		}
		failed <- exporterweb.ListenAndServe(server, e.webFlags, e.log)
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serving HTTP: %w", err)
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

// handler joins the pages with the metrics, the reload and the webhook.
func (e *Exporter) handler() (http.Handler, error) {
	options := web.Options{
		Snapshots: e.snapshots,
		Rotation:  e.rotation.engine.Status,
		Records:   e.rotation.engine.Records,
		Ready:     e.ready,
		Config:    func() ([]byte, error) { return []byte(e.current.Load().config.String()), nil },
		Build:     web.Build{Version: version.Version, Revision: version.GetRevision()},
		Logger:    e.log,
		Metrics: promhttp.HandlerFor(e.registry, promhttp.HandlerOpts{
			ErrorLog: slog.NewLogLogger(e.log.Handler(), slog.LevelError), Registry: e.registry, EnableOpenMetrics: true,
		}),
		Webhook: e.rotation.webhook(),
	}
	if e.lifecycle {
		options.Reload = e.reload
	}
	return web.New(options)
}

// rotate takes up what stands open in the journal, and what alerts begin.
func (e *Exporter) rotate(ctx context.Context) {
	if err := e.rotation.engine.Run(ctx); err != nil {
		e.log.Error("the rotation has stopped", "err", err)
	}
}

// tokenValue is the value of a connection's token in use. Clients ask when they are
// used, and by then there is a rotation.
func (e *Exporter) tokenValue(ctx context.Context, connection string) (string, model.Secret, error) {
	return e.rotation.tokenValue(ctx, connection)
}

func (e *Exporter) snapshot(connection string) (model.Snapshot, bool) {
	if running := e.current.Load(); running != nil {
		return running.watch.Snapshot(connection)
	}
	return model.Snapshot{}, false
}

// refresh looks again at a connection that a rotation has changed.
func (e *Exporter) refresh(connection string) {
	if running := e.current.Load(); running != nil {
		running.watch.Refresh(connection)
	}
}

func (e *Exporter) snapshots() []model.Snapshot {
	if running := e.current.Load(); running != nil {
		return running.watch.Snapshots()
	}
	return nil
}

// ready: the configuration is loaded, the state open, and every source was tried or
// had its time.
func (e *Exporter) ready() error {
	if running := e.current.Load(); running == nil || (!running.watch.Ready() && time.Since(e.started) < readyAfter) {
		return errNotYet
	}
	return nil
}

// reloadOnHangup reloads at every SIGHUP.
func (e *Exporter) reloadOnHangup(ctx context.Context) {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
			_ = e.reload() // it has logged why
		}
	}
}

// reload puts the configuration file into force, as a whole or not at all.
func (e *Exporter) reload() error {
	e.reloading.Lock()
	defer e.reloading.Unlock()
	next, err := e.prepare()
	if err == nil {
		err = errors.Join(e.sameState(next.config), checkPace(e.pace, next.config))
	}
	if err != nil {
		e.reloads.failed()
		e.log.Error("the configuration was not reloaded, the running one stays in force", "err", err)
		return err
	}
	e.replace(context.Background(), next) // until it is replaced in its turn, or stopped
	e.reloads.succeeded(time.Now())
	warn(e.log, next.config)
	e.log.Info("the configuration was reloaded", "connections", len(next.config.Connections))
	return nil
}

// reloads is what the gauges of the configuration show.
type reloads struct {
	ok atomic.Bool
	at atomic.Pointer[time.Time]
}

func (r *reloads) succeeded(at time.Time) { r.at.Store(&at); r.ok.Store(true) }
func (r *reloads) failed()                { r.ok.Store(false) }

func (r *reloads) last() collector.Reload {
	last := collector.Reload{Successful: r.ok.Load()}
	if at := r.at.Load(); at != nil {
		last.LastSuccess = *at
	}
	return last
}
