package app

import (
	"context"
	"log/slog"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/poller"
)

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

// loadChecked loads the configuration and checks it together with the web config, which
// may authenticate the webhook's callers.
func loadChecked(configFile, webConfig string) (*config.Config, error) {
	c, err := config.Load(configFile)
	if err != nil {
		return nil, err
	}
	authentication, err := config.ReadWebAuthentication(webConfig)
	if err != nil {
		return nil, err
	}
	return c, c.CheckWebhook(authentication)
}

// swapRuntime stops the running configuration and starts the next, which inherits the
// snapshots.
func (e *Exporter) swapRuntime(ctx context.Context, next *configRuntime) {
	var previous *poller.Poller
	if running := e.current.Load(); running != nil {
		running.shutdown()
		previous = running.poller
	}
	next.poller = poller.New(pollerOptions(next.config, next.clients, e.eventStore(), e.log), previous)
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

func logWarnings(log *slog.Logger, c *config.Config) {
	for _, problem := range c.Warnings() {
		log.Warn("configuration warning", "problem", problem.String())
	}
}
