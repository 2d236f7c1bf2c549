package app

import (
	"context"
	"log/slog"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/poller"
)

// generation is what one version of the configuration built. A reload builds the next
// one whole before it touches the running one.
type generation struct {
	config *config.Config
	clouds *clientSet
	watch  *poller.Poller
	stop   context.CancelFunc
	done   chan struct{} // closed when the watch has returned
}

// prepare builds the clients; it makes no call, so that a bad file changes nothing.
func (e *Exporter) prepare() (*generation, error) {
	c, err := config.Load(e.options.ConfigFile)
	if err != nil {
		return nil, err
	}
	authentication, err := config.ReadWebAuthentication(e.webConfig)
	if err != nil {
		return nil, err
	}
	if err := c.CheckWebhook(authentication); err != nil {
		return nil, err
	}
	built, err := e.options.connect(c, e.requests.Observe, e.tokenValue)
	if err != nil {
		return nil, err
	}
	return &generation{config: c, clouds: built, done: make(chan struct{})}, nil
}

// replace stops the running generation and starts the next, which goes on with what
// the other has read.
func (e *Exporter) replace(ctx context.Context, next *generation) {
	var before *poller.Poller
	if running := e.current.Load(); running != nil {
		running.stop()
		<-running.done
		before = running.watch
	}
	next.watch = poller.New(readings(next.config, next.clouds, e.events(), e.log), before)
	ctx, next.stop = context.WithCancel(ctx)
	go func() {
		defer close(next.done)
		next.watch.Run(ctx)
	}()
	e.current.Store(next)
	e.rotation.configure(next.config, next.clouds)
}

func warn(log *slog.Logger, c *config.Config) {
	for _, problem := range c.Warnings() {
		log.Warn("the configuration is valid, but", "problem", problem.String())
	}
}
