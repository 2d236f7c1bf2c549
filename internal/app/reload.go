package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
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

// reloadOnChange reloads when the configuration, or a file that it names, has changed. A
// reload that fails is tried again at the next interval.
func (e *Exporter) reloadOnChange(ctx context.Context) {
	ticker := time.NewTicker(e.serveOptions.AutoReloadInterval)
	defer ticker.Stop()
	loaded := e.checksum()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if found := e.checksum(); found != loaded {
			loaded = found
			if e.reload() != nil {
				loaded = ""
			}
		}
	}
}

// checksum changes with the content of the configuration and of every file that it names.
func (e *Exporter) checksum() string {
	sum := sha256.New()
	for _, file := range append([]string{e.options.ConfigFile}, e.current.Load().config.Files()...) {
		content, err := os.ReadFile(file) //nolint:gosec // the configuration names it
		fmt.Fprintf(sum, "%s %d %v\n%s", file, len(content), err, content)
	}
	return string(sum.Sum(nil))
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
