package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
	"entra-aws-exporter/internal/redact"
	"entra-aws-exporter/internal/state"
)

// openState opens the configured state directory; nil: none is configured.
func openState(c config.State) (*state.Directory, error) {
	if c.Directory == "" {
		return nil, nil //nolint:nilnil // an exporter may run without a state directory
	}
	return state.Open(string(c.Directory), state.Options{AgeIdentityFile: string(c.AgeIdentityFile)})
}

// exporterState is the state directory of a running exporter.
type exporterState struct {
	config   config.State     // where it was opened
	events   *state.Directory // for the event counters; nil: they are not persisted
	rotation *state.Directory // for journal and token store; nil: none is safe enough
}

// openExporterState opens and checks the state directory. Without rotation it is optional:
// if it cannot be written, a warning is logged.
func openExporterState(c *config.Config, log *slog.Logger) (exporterState, error) {
	s := exporterState{config: c.State}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	directory, err := openState(c.State)
	if directory != nil {
		err = directory.Check(ctx)
	}
	switch {
	case directory == nil && err == nil:
		return s, nil
	case err != nil && rotationEnabled(c):
		return s, fmt.Errorf("rotation needs a durable state directory: %w", err)
	case errors.Is(err, model.ErrUnsafe): // a lost lock costs no more than a miscount
		log.Warn("state directory unsafe for rotation", "err", err)
		s.events = directory
		return s, nil
	case err != nil:
		log.Warn("event counters not persisted", "err", err)
		return s, nil
	}
	if warning := directory.Warning(); warning != "" {
		log.Warn("state directory warning", "warning", warning)
	}
	s.events, s.rotation = directory, directory
	return s, nil
}

// checkReload refuses a reload that would move the state of a running exporter.
func (s exporterState) checkReload(next *config.Config) error {
	if next.State != s.config {
		return fmt.Errorf("a reload cannot change state: restart the exporter to move it from %q to %q",
			s.config.Directory, next.State.Directory)
	}
	if rotationEnabled(next) && s.rotation == nil {
		return errors.New("rotation needs a durable state directory: restart the exporter with one")
	}
	return nil
}

func (s exporterState) eventStore(redactor *redact.Redactor) poller.EventStore {
	if s.events == nil {
		return nil
	}
	return redactedRecords{s.events.Events(), redactor}
}

// rotationEnabled reports whether any connection may be rotated; a dry run writes nothing.
func rotationEnabled(c *config.Config) bool {
	return slices.ContainsFunc(c.Connections, func(c config.Connection) bool { return c.Rotation.Mode == model.RotationEnabled })
}
