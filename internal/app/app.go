// Package app builds the exporter from its configuration: it is the only place where
// the clients, the watch, the collector, the rotation and the web pages meet.
package app

import (
	"errors"
	"io"
	"log/slog"
)

// Options are common to all commands.
type Options struct {
	ConfigFile string
	Logger     *slog.Logger
	Stdin      io.Reader
	Stdout     io.Writer
}

// SilentError fails a command that has already said why.
type SilentError struct{}

// Error implements error.
func (SilentError) Error() string { return "failed" }

// errNotYet is the answer to whoever asks before the first round is over.
var errNotYet = errors.New("the first round of readings is not over yet")
