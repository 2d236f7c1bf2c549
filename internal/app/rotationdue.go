package app

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
)

// startIfDue is rotation start --if-due, of one connection or of all. It resumes what is
// open, starts what is due, and leaves what waits for hours to its next run. An error
// means that a rotation is blocked or has failed.
func startIfDue(ctx context.Context, options Options, start StartOptions) error {
	if start.DryRun || start.Force || start.TokenStdin || start.RetireToken != "" || start.Certificate != "" || start.RetireCertificate != "" {
		return &UsageError{"--if-due cannot be used with --dry-run, --force, --token-stdin, --retire-token, --certificate or --retire-certificate"}
	}
	cli, err := newCLIContext(options, start.Pace)
	if err != nil {
		return err
	}
	var names []string
	for _, connection := range cli.config.Connections {
		if start.Connection == "" || start.Connection == connection.Name {
			names = append(names, connection.Name)
		}
	}
	switch {
	case len(names) == 0:
		return unknownConnection(cli.config, start.Connection)
	case cli.state == nil:
		return state.ErrNoState
	}
	if err := pollOnce(ctx, cli.poller); err != nil {
		return err
	}
	if err := cli.rotation.engine.Refresh(ctx); err != nil { // an unreadable record concerns its own connection
		options.Logger.Warn("rotation state only partially readable", "err", err)
	}
	failures := make([]error, len(names))
	var running sync.WaitGroup
	for i, name := range names {
		running.Go(func() { failures[i] = cli.startIfDue(ctx, name, start.kinds()) })
	}
	running.Wait()
	return errors.Join(failures...)
}

// kinds are what --if-due decides about.
func (s StartOptions) kinds() []model.Procedure {
	switch s.Kind {
	case "token":
		return []model.Procedure{model.ProcedureToken}
	case "certificate":
		return []model.Procedure{model.ProcedureCertificate}
	default:
		return []model.Procedure{model.ProcedureToken, model.ProcedureCertificate}
	}
}

// startIfDue decides about one connection, kind by kind, and runs its rotation if one is
// open. A rollover that is not configured is not mentioned beside the token's rotation.
func (c *cliContext) startIfDue(ctx context.Context, connection string, kinds []model.Procedure) error {
	var failures []error
	for _, kind := range kinds {
		if kind == model.ProcedureCertificate && len(kinds) > 1 && c.rotation.statusOf(connection, kind).Mode == model.RotationDisabled {
			continue
		}
		if err := c.startKindIfDue(ctx, connection, kind); err != nil {
			failures = append(failures, err)
		}
		if entry := c.rotation.engine.Lookup(connection); entry != nil && entry.IsOpen() {
			break // it goes before any other of the connection
		}
	}
	return errors.Join(failures...)
}

func (c *cliContext) startKindIfDue(ctx context.Context, connection string, kind model.Procedure) error {
	decision, why, err := c.rotation.engine.StartIfDue(ctx, connection, kind)
	switch {
	case err != nil:
		return fmt.Errorf("connection %s: %w", connection, err)
	case decision == model.DecisionStarted, decision == model.DecisionAlreadyRunning:
		return c.runUntilLongWait(ctx, connection)
	case decision == model.DecisionBlocked:
		return fmt.Errorf("connection %s: no rotation starts: %s", connection, why)
	case decision == model.DecisionNotDue && c.rotation.statusOf(connection, kind).Due.IsZero():
		return fmt.Errorf("connection %s: cannot tell whether a rotation is due: %s (doctor %s tries every call)", connection, why, connection)
	}
	fmt.Fprintf(c.out, "%s: %s; nothing started\n", connection, why)
	return nil
}

func (c *cliContext) runUntilLongWait(ctx context.Context, connection string) error {
	record, err := c.rotation.engine.RunUntilLongWait(ctx, connection, c)
	switch {
	case errors.Is(err, rotate.ErrLongWait):
		fmt.Fprintf(c.out, "%s: rotation %s waits in phase %s (%s); the next run continues it, or a running server\n",
			connection, record.ID, record.Phase, c.rotation.statusOf(connection, record.Kind).Waiting)
		return nil
	case errors.Is(err, journal.ErrLeased):
		fmt.Fprintf(c.out, "%s: rotation %s is in phase %s; %v\n", connection, record.ID, record.Phase, err)
		return nil
	case err != nil:
		return fmt.Errorf("connection %s: rotation %s was left in phase %s: %w", connection, record.ID, record.Phase, err)
	case record.Outcome == model.OutcomeAborted && record.Reason == rotate.ReasonNotDue:
		fmt.Fprintf(c.out, "%s: not due any more\n", connection)
		return nil
	}
	return c.printResult(record)
}
