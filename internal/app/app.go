// Package app builds the exporter from its configuration. It is the only package that
// joins the clients, the poller, the collector, the rotation and the web pages.
//
// Read serve.go first: Serve starts an Exporter (exporter.go). A configRuntime
// (runtime.go) is what one version of the configuration built; reload.go swaps it.
// It is made of clients (clients.go, over transport.go) and of sources for the poller
// (sources.go). rotation.go connects the rotation engine, leaseholder.go names this
// process in its leases.
//
// The other commands have one file each: checkconfig.go, doctor.go, metrics.go,
// status.go, and rotationcmd.go with its context in clicontext.go.
package app

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state"
)

// Options are common to all commands.
type Options struct {
	ConfigFile string
	Logger     *slog.Logger
	Stdin      io.Reader
	Stdout     io.Writer

	Transport    http.RoundTripper        // of every outgoing call; nil: built from the configuration
	HolderIsDead func(holder string) bool // whether the holder of a lease has ended; nil: the kernel is asked
}

// newClients builds the clients that a configuration needs. It makes no call.
func (o Options) newClients(c *config.Config, observe func(service, code string), tokenValue tokenValueFunc) (*clientSet, error) {
	transport := o.Transport
	if transport == nil {
		var err error
		if transport, err = newTransport(c.HTTPClient); err != nil {
			return nil, fmt.Errorf("%s: http_client: %w", o.ConfigFile, err)
		}
	}
	clients, err := newClientSet(c, transport, observe, tokenValue, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.ConfigFile, err)
	}
	return clients, nil
}

// newClientsAndRotation builds what a command works with: clients that know the token
// values in a state directory (nil: none), and the rotations that it records.
func (o Options) newClientsAndRotation(c *config.Config, observe func(service, code string), directory *state.Directory,
	pace int, snapshot func(string) (model.Snapshot, bool),
) (*clientSet, *rotationService, error) {
	rotation := o.newRotationService(directory, pace, snapshot, nil)
	clients, err := o.newClients(c, observe, rotation.tokenValue)
	if err != nil {
		return nil, nil, err
	}
	rotation.configure(c, clients)
	return clients, rotation, nil
}

// openState opens the configured state directory; nil: none is configured.
func openState(c config.State) (*state.Directory, error) {
	if c.Directory == "" {
		return nil, nil //nolint:nilnil // an exporter may run without a state directory
	}
	return state.Open(string(c.Directory), state.Options{AgeIdentityFile: string(c.AgeIdentityFile)})
}

// errStarting is the answer of the readiness check during the first poll.
var errStarting = errors.New("starting: some sources have not been polled yet")

// UsageError reports a command line that makes no sense; its exit code is 2.
type UsageError struct{ text string }

func (e *UsageError) Error() string { return e.text }
