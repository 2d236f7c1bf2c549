package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"

	"golang.org/x/term"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/entra"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/token"
)

// StartOptions are the flags of rotation start.
type StartOptions struct {
	Connection  string
	DryRun      bool
	Force       bool
	TokenStdin  bool
	TokenID     string
	RetireToken string
	IfDue       bool
	Pace        int
}

// RotationCommand is a command on one connection's rotation.
type RotationCommand func(ctx context.Context, options Options, connection string) error

// RotationStart rotates a token now, or prints what a rotation would do.
func RotationStart(ctx context.Context, options Options, start StartOptions) error {
	if start.TokenStdin != (start.TokenID != "") {
		return &UsageError{"--token-stdin and --token-id must be used together: the value on standard input, and the ID that AWS shows for it"}
	}
	switch {
	case start.IfDue:
		return startIfDue(ctx, options, start)
	case start.Connection == "":
		return &UsageError{"required argument 'connection' not provided"}
	}
	cli, err := newCLIContext(options, start.Pace)
	if err != nil {
		return err
	}
	if cli.config.Connection(start.Connection) == nil {
		return unknownConnection(cli.config, start.Connection)
	}
	if cli.directory == nil && !start.DryRun {
		return state.ErrNoDirectory
	}
	tokenOptions := token.StartOptions{RetireToken: start.RetireToken, TokenID: start.TokenID}
	if start.TokenStdin {
		if tokenOptions.Value, err = readTokenValue(options); err != nil {
			return err
		}
		options.redactor.Add(tokenOptions.Value)
	}
	engine, request := cli.rotation.engine, rotate.StartOptions{Force: start.Force, Procedure: tokenOptions}
	if err := pollOnce(ctx, cli.poller); err != nil {
		return err
	}
	if err := engine.Refresh(ctx); err != nil { // blocked rotations of other connections matter
		options.Logger.Warn("rotation state only partially readable", "err", err)
	}
	if start.DryRun {
		return engine.DryRun(ctx, start.Connection, model.ProcedureToken, request, cli)
	}
	err = engine.Start(ctx, start.Connection, model.ProcedureToken, request)
	switch {
	case errors.Is(err, rotate.ErrOpen) && start.TokenID == "" && start.RetireToken == "":
		fmt.Fprintf(cli.out, "resuming: %v\n", err)
	case err != nil:
		return err
	}
	record, err := engine.RunToCompletion(ctx, start.Connection, cli)
	if ctx.Err() != nil {
		return fmt.Errorf("rotation %s interrupted in phase %s: a running server resumes it, or run rotation start %s",
			record.ID, record.Phase, start.Connection)
	}
	if err != nil {
		return fmt.Errorf("connection %s: %w (for its state, run rotation show %s)", start.Connection, err, start.Connection)
	}
	return cli.printResult(record)
}

// RotationList prints one line per rotation, newest first.
func RotationList(ctx context.Context, options Options) error {
	cli, err := newCLIContext(options, 1)
	if err != nil {
		return err
	}
	refreshErr := cli.rotation.engine.Refresh(ctx)
	records := cli.rotation.engine.Records()
	if len(records) == 0 {
		fmt.Fprintln(cli.out, "no rotations recorded")
		return refreshErr
	}
	table := tabwriter.NewWriter(cli.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "STARTED\tCONNECTION\tROTATION\tTRIGGER\tSTATE\tOLD TOKEN\tNEW TOKEN\tPROOF")
	for _, record := range records {
		if record.Outcome == "" {
			record.Outcome = model.Outcome("in " + string(record.Phase))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", formatTime(record.Started), record.Connection,
			record.ID, record.Trigger, formatOutcome(record), dash(record.OldTokenID), dash(record.NewTokenID), dash(string(record.Proof)))
	}
	return errors.Join(table.Flush(), refreshErr)
}

// RotationShow prints the step log of a connection's rotations, oldest first.
func RotationShow(ctx context.Context, options Options, connection string) error {
	cli, err := newCLIContext(options, 1)
	if err != nil {
		return err
	}
	refreshErr := cli.rotation.engine.Refresh(ctx)
	found := false
	for _, record := range slices.Backward(cli.rotation.engine.Records()) {
		if record.Connection != connection {
			continue
		}
		found = true
		fmt.Fprintf(cli.out, "rotation %s, started %s by %s\n", record.ID, formatTime(record.Started), record.Trigger)
		for _, step := range record.Steps {
			fmt.Fprintf(cli.out, "  %s  %-8s %s\n", step.At.UTC().Format("2006-01-02 15:04:05 UTC"), step.Phase, step.Text)
		}
		switch {
		case record.Outcome == "":
		case record.Ended.IsZero(): // blocked: it may continue
			fmt.Fprintf(cli.out, "  stopped: %s\n", formatOutcome(record))
		default:
			fmt.Fprintf(cli.out, "  ended %s: %s\n", formatTime(record.Ended), formatOutcome(record))
		}
	}
	if !found {
		if refreshErr == nil && cli.config.Connection(connection) == nil {
			return unknownConnection(cli.config, connection)
		}
		fmt.Fprintf(cli.out, "no rotations recorded for %s\n", connection)
	}
	if message := cli.rotation.status(connection).Message; message != "" {
		fmt.Fprintln(cli.out, message)
	}
	return refreshErr
}

// operatorCommand records one decision of an operator, confirms it and, if a rotation
// is open afterwards, prints how it continues.
func operatorCommand(options Options, connection, confirmation string, decide func(*rotate.Engine) error) error {
	cli, err := newCLIContext(options, 1)
	if err != nil {
		return err
	}
	if err := decide(cli.rotation.engine); err != nil {
		return err
	}
	fmt.Fprintln(cli.out, confirmation)
	if status := cli.rotation.status(connection); !status.Started.IsZero() && status.Blocked == "" && status.Waiting != model.WaitingOnHold {
		fmt.Fprintf(cli.out, "a running server continues the rotation; without one, run rotation start %s\n", connection)
	}
	return nil
}

// RotationApprove allows the deletion of one old token.
func RotationApprove(ctx context.Context, options Options, connection, tokenID string) error {
	return operatorCommand(options, connection, "approved: token "+tokenID+" may be deleted once it is proven unused",
		func(e *rotate.Engine) error { return e.Approve(ctx, connection, tokenID) })
}

// RotationAdopt accepts the current state of AWS and Entra.
func RotationAdopt(ctx context.Context, options Options, connection, inUse string) error {
	return operatorCommand(options, connection, "adopted: all tokens listed by AWS are now accepted",
		func(e *rotate.Engine) error { return e.Adopt(ctx, connection, inUse) })
}

// RotationReset unblocks a rotation.
func RotationReset(ctx context.Context, options Options, connection string) error {
	return operatorCommand(options, connection, "reset: attempt count cleared; rate limits unchanged",
		func(e *rotate.Engine) error { return e.Reset(ctx, connection) })
}

// RotationAbort cancels a rotation that has not changed Entra yet.
func RotationAbort(ctx context.Context, options Options, connection string) error {
	return operatorCommand(options, connection, "aborting: a new token created by the exporter will be deleted",
		func(e *rotate.Engine) error { return e.Abort(ctx, connection) })
}

// RotationHold pauses rotation of a connection, or with release resumes it.
func RotationHold(ctx context.Context, options Options, connection string, release bool) error {
	confirmation := "on hold: nothing changes until rotation hold --release"
	if release {
		confirmation = "released: rotation may continue"
	}
	return operatorCommand(options, connection, confirmation, func(e *rotate.Engine) error { return e.Hold(ctx, connection, release) })
}

const (
	shownFailures = 20  // failed entries that are printed
	textLimit     = 300 // bytes of each of their texts
)

// RotationFailures prints the newest failures of the provisioning log: which users and
// groups, and why. It prints only to a terminal, since they are personal data.
func RotationFailures(ctx context.Context, options Options, connection string) error {
	if !isTerminal(options.Terminal) {
		return errors.New("failures prints only to a terminal, because it shows personal data")
	}
	cli, err := newCLIContext(options, 1)
	if err != nil {
		return err
	}
	clients, known := cli.clients.readers[connection]
	if !known {
		return unknownConnection(cli.config, connection)
	}
	failures, err := clients.application.Failures(ctx, shownFailures)
	if err != nil {
		return fmt.Errorf("connection %s: %w", connection, err)
	}
	return printFailures(options.Terminal, connection, failures)
}

func printFailures(out io.Writer, connection string, failures []entra.Failure) error {
	if len(failures) == 0 {
		_, err := fmt.Fprintf(out, "the provisioning log of %s has no failure\n", connection)
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "TIME\tACTION\tOBJECT\tCODE\tREASON")
	for _, failure := range failures {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", formatTime(failure.At), dash(failure.Action),
			dash(cloudhttp.Truncate(failure.Object, textLimit)), dash(failure.Code), dash(cloudhttp.Truncate(failure.Reason, textLimit)))
	}
	return table.Flush()
}

func isTerminal(out io.Writer) bool {
	terminal, ok := out.(*os.File)
	return ok && term.IsTerminal(int(terminal.Fd()))
}

// RotationShowToken prints the value of the token in use. It prints only to a terminal,
// so that the value ends up in no log and no pipe.
func RotationShowToken(ctx context.Context, options Options, connection string) error {
	if !isTerminal(options.Terminal) {
		return errors.New("show-token prints only to a terminal")
	}
	cli, err := newCLIContext(options, 1)
	if err != nil {
		return err
	}
	id, value, err := token.Show(ctx, cli.rotation.engine, cli.rotation.tokens, connection)
	if err != nil {
		return err
	}
	fmt.Fprintf(options.Terminal, "token %s:\n%s\n", id, value.Reveal())
	return nil
}
