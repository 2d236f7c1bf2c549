package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	exporterweb "github.com/prometheus/exporter-toolkit/web"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
	"entra-aws-exporter/internal/state"
)

// Exporter is a running exporter: what outlives a reload, and the generation in force.
type Exporter struct {
	options   Options
	webFlags  *exporterweb.FlagConfig
	listeners []net.Listener
	lifecycle bool
	webConfig string // the file of --web.config.file; "": none
	log       *slog.Logger

	registry *prometheus.Registry
	requests *collector.Requests
	reloads  reloads
	pace     int
	rotation *rotations
	state    *state.Directory // of the event counters; nil: nothing is kept
	journal  *state.Directory // of rotations; nil: there is no place that is safe enough
	keeps    config.State     // where the state was opened

	started   time.Time
	reloading sync.Mutex
	current   atomic.Pointer[generation]
}

func newExporter(common Options, options ServeOptions) (*Exporter, error) {
	var webConfig string
	if options.Web != nil && options.Web.WebConfigFile != nil {
		webConfig = *options.Web.WebConfigFile
	}
	if _, err := config.ReadWebAuthentication(webConfig); err != nil {
		return nil, err
	}
	e := &Exporter{
		options:   common,
		webFlags:  options.Web,
		listeners: options.Listeners,
		lifecycle: options.Lifecycle,
		webConfig: webConfig,
		log:       common.Logger,
		registry:  prometheus.NewRegistry(),
		requests:  collector.NewRequests(),
		pace:      options.Pace,
	}
	return e, nil
}

// authenticated reports whether the web config, as it is now, makes callers prove who
// they are. The server reads that file again at every request, and so do we.
func (e *Exporter) authenticated() bool {
	authentication, err := config.ReadWebAuthentication(e.webConfig)
	return err == nil && (authentication.BasicAuth || authentication.ClientCertificates)
}

// open opens the state directory. Without rotation an exporter needs none: then a
// directory that cannot be written is worth a warning and no more.
func (e *Exporter) open(c *config.Config) error {
	e.keeps = c.State
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	directory, err := openState(c.State)
	if directory != nil {
		err = directory.Check(ctx)
	}
	switch {
	case directory == nil && err == nil:
		return nil
	case err != nil && rotates(c):
		return fmt.Errorf("a rotation needs a state directory that keeps what is written: %w", err)
	case errors.Is(err, model.ErrUnsafe): // a lost lock costs no more than a miscount
		e.log.Warn("event counters are kept, but no rotation can be enabled", "err", err)
		e.state = directory
		return nil
	case err != nil:
		e.log.Warn("event counters will not survive a restart", "err", err)
		return nil
	}
	if warning := directory.Warning(); warning != "" {
		e.log.Warn("the state directory has a weakness", "weakness", warning)
	}
	e.state, e.journal = directory, directory
	return nil
}

// sameState refuses a reload that would move the state under a running rotation.
func (e *Exporter) sameState(next *config.Config) error {
	if next.State != e.keeps {
		return fmt.Errorf("state cannot be changed by a reload: restart the exporter to move it from %q to %q",
			e.keeps.Directory, next.State.Directory)
	}
	if rotates(next) && e.journal == nil {
		return fmt.Errorf("a rotation needs a state directory that keeps what is written: restart the exporter with one")
	}
	return nil
}

func (e *Exporter) events() poller.EventStore {
	if e.state == nil {
		return nil
	}
	return e.state.Events()
}

// rotates reports whether any connection may be rotated; a dry run keeps nothing.
func rotates(c *config.Config) bool {
	return slices.ContainsFunc(c.Connections, func(c config.Connection) bool { return c.Rotation.Mode == model.RotationEnabled })
}

// checkPace refuses to hurry a rotation in the real clouds: its waits are their times.
func checkPace(pace int, c *config.Config) error {
	if endpoint := c.CloudEndpoint(); pace > 1 && endpoint != "" {
		return fmt.Errorf("--rotation.pace=%d is for simulated clouds only, and %s is a real one", pace, endpoint)
	}
	return nil
}
