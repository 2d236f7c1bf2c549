package app

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"entra-aws-exporter/collector"
)

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
			_ = e.reload() // it logs its error
		}
	}
}

// reload applies the configuration file, as a whole or not at all.
func (e *Exporter) reload() error {
	e.reloading.Lock()
	defer e.reloading.Unlock()
	next, err := e.buildRuntime()
	if err == nil {
		err = errors.Join(e.checkStateUnchanged(next.config), checkPace(e.pace, next.config))
	}
	if err != nil {
		e.reloads.failed()
		e.log.Error("configuration reload failed", "err", err)
		return err
	}
	e.swapRuntime(context.Background(), next) // it runs until the next swap, or until run stops it
	e.reloads.succeeded(time.Now())
	logWarnings(e.log, next.config)
	e.log.Info("configuration reloaded", "connections", len(next.config.Connections))
	return nil
}

// reloadStatus is what the gauges of the configuration show.
type reloadStatus struct {
	ok atomic.Bool
	at atomic.Pointer[time.Time]
}

func (r *reloadStatus) succeeded(at time.Time) { r.at.Store(&at); r.ok.Store(true) }
func (r *reloadStatus) failed()                { r.ok.Store(false) }

func (r *reloadStatus) last() collector.Reload {
	last := collector.Reload{Successful: r.ok.Load()}
	if at := r.at.Load(); at != nil {
		last.LastSuccess = *at
	}
	return last
}
