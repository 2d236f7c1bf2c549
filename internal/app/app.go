// Package app builds the exporter from its configuration: it is the only place where
// the clients, the watch, the collector, the rotation and the web pages meet.
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
	"entra-aws-exporter/rotate"
)

// Options are common to all commands.
type Options struct {
	ConfigFile string
	Logger     *slog.Logger
	Stdin      io.Reader
	Stdout     io.Writer

	Transport http.RoundTripper        // of every outgoing call; nil: made from the configuration
	Gone      func(holder string) bool // whether the holder of a lease is no more; nil: the kernel is asked
}

// connect builds the clients that a configuration needs; it makes no call.
func (o Options) connect(c *config.Config, observe func(service, code string), values tokenValues) (*clientSet, error) {
	transport := o.Transport
	if transport == nil {
		var err error
		if transport, err = newTransport(c.HTTPClient); err != nil {
			return nil, fmt.Errorf("%s: http_client: %w", o.ConfigFile, err)
		}
	}
	built, err := newClouds(c, transport, observe, values, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.ConfigFile, err)
	}
	return built, nil
}

// connectWithVault is connect with the values that rotations have put into the vault of
// a state directory (nil: none), and with the engine that knows their journals.
func (o Options) connectWithVault(c *config.Config, observe func(service, code string), directory *state.Directory,
	snapshot func(string) (model.Snapshot, bool),
) (*clientSet, *rotate.Engine, error) {
	r := o.newRotations(directory, 1, snapshot, nil, o.Logger)
	built, err := o.connect(c, observe, r.tokenValue)
	if err != nil {
		return nil, nil, err
	}
	r.configure(c, built)
	return built, r.engine, nil
}

// openState opens the configured state directory; nil: none is configured.
func openState(c config.State) (*state.Directory, error) {
	if c.Directory == "" {
		return nil, nil //nolint:nilnil // nothing is kept, and that is all right
	}
	return state.Open(string(c.Directory), state.Options{AgeIdentityFile: string(c.AgeIdentityFile)})
}

// errNotYet is the answer to whoever asks before the first round is over.
var errNotYet = errors.New("the first round of readings is not over yet")

// UsageError is a command line that cannot be meant; its exit code is 2.
type UsageError struct{ text string }

func (e *UsageError) Error() string { return e.text }
