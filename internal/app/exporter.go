package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
	"entra-aws-exporter/internal/state"
)

// Exporter is a running exporter: what outlives a reload, and the configuration in force.
type Exporter struct {
	options      Options
	serveOptions ServeOptions
	webConfig    string // the file of --web.config.file; "": none
	log          *slog.Logger

	registry          *prometheus.Registry
	requests          *collector.Requests
	rotation          *rotationService
	eventDirectory    *state.Directory // of the event counters; nil: they are not persisted
	rotationDirectory *state.Directory // of journal and token store; nil: none is safe enough
	stateConfig       config.State     // where the state directory was opened

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

// openState opens the state directory. Without rotation it is optional: if it cannot be
// written, a warning is logged.
func (e *Exporter) openState(c *config.Config) error {
	e.stateConfig = c.State
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	directory, err := openState(c.State)
	if directory != nil {
		err = directory.Check(ctx)
	}
	switch {
	case directory == nil && err == nil:
		return nil
	case err != nil && rotationEnabled(c):
		return fmt.Errorf("rotation needs a durable state directory: %w", err)
	case errors.Is(err, model.ErrUnsafe): // a lost lock costs no more than a miscount
		e.log.Warn("state directory unsafe for rotation", "err", err)
		e.eventDirectory = directory
		return nil
	case err != nil:
		e.log.Warn("event counters not persisted", "err", err)
		return nil
	}
	if warning := directory.Warning(); warning != "" {
		e.log.Warn("state directory warning", "warning", warning)
	}
	e.eventDirectory, e.rotationDirectory = directory, directory
	return nil
}

// checkStateUnchanged refuses a reload that would move the state of a running exporter.
func (e *Exporter) checkStateUnchanged(next *config.Config) error {
	if next.State != e.stateConfig {
		return fmt.Errorf("a reload cannot change state: restart the exporter to move it from %q to %q",
			e.stateConfig.Directory, next.State.Directory)
	}
	if rotationEnabled(next) && e.rotationDirectory == nil {
		return errors.New("rotation needs a durable state directory: restart the exporter with one")
	}
	return nil
}

func (e *Exporter) eventStore() poller.EventStore {
	if e.eventDirectory == nil {
		return nil
	}
	return e.eventDirectory.Events()
}

// rotationEnabled reports whether any connection may be rotated; a dry run writes nothing.
func rotationEnabled(c *config.Config) bool {
	return slices.ContainsFunc(c.Connections, func(c config.Connection) bool { return c.Rotation.Mode == model.RotationEnabled })
}

// checkPace refuses shortened waits with the real AWS and Entra.
func checkPace(pace int, c *config.Config) error {
	if endpoint := c.PublicEndpoint(); pace > 1 && endpoint != "" {
		return fmt.Errorf("--rotation.pace=%d is for simulated endpoints only; %s is a real one", pace, endpoint)
	}
	return nil
}
