package app

import (
	"context"
	"errors"
	"os"
	"os/signal"
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
		err = errors.Join(e.state.checkReload(next.config), checkPace(e.serveOptions.Pace, next.config))
	}
	if err != nil {
		e.lastReload.Store(&collector.Reload{Err: err, LastSuccess: e.lastReload.Load().LastSuccess})
		e.log.Error("configuration reload failed", "err", err)
		return err
	}
	e.swapRuntime(context.Background(), next) // it runs until the next swap, or until run stops it
	e.lastReload.Store(&collector.Reload{LastSuccess: time.Now()})
	logWarnings(e.log, next.config)
	e.log.Info("configuration reloaded", "connections", len(next.config.Connections))
	return nil
}
