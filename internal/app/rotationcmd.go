package app

import (
	"cmp"
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
	"entra-aws-exporter/rotate/certificate"
	"entra-aws-exporter/rotate/token"
)

// StartOptions are the flags of rotation start.
type StartOptions struct {
	Connection        string
	DryRun            bool
	Force             bool
	TokenStdin        bool
	TokenID           string
	RetireToken       string
	Kind              string // token | certificate
	Certificate       string // the SHA-256 fingerprint of a certificate to import
	RetireCertificate string
	IfDue             bool
	Pace              int
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
	if cli.state == nil && !start.DryRun {
		return state.ErrNoState
	}
	kind, procedureOptions, err := start.procedure(options)
	if err != nil {
		return err
	}
	engine, request := cli.rotation.engine, rotate.StartOptions{Force: start.Force, Procedure: procedureOptions}
	if err := pollOnce(ctx, cli.poller); err != nil {
		return err
	}
	if err := engine.Refresh(ctx); err != nil { // blocked rotations of other connections matter
		options.Logger.Warn("rotation state only partially readable", "err", err)
	}
	if start.DryRun {
		return engine.DryRun(ctx, start.Connection, kind, request, cli)
	}
	err = engine.Start(ctx, start.Connection, kind, request)
	switch {
	case errors.Is(err, rotate.ErrOpen) && start.TokenID == "" && start.RetireToken == "" && start.Certificate == "" && start.RetireCertificate == "":
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

// procedure returns what is rotated, and its own options.
func (s StartOptions) procedure(options Options) (model.Procedure, any, error) {
	forToken, forCertificate := s.TokenStdin || s.RetireToken != "", s.Certificate != "" || s.RetireCertificate != ""
	switch rollsOver := s.Kind == "certificate" || forCertificate; {
	case forToken && rollsOver:
		return "", nil, &UsageError{"--token-stdin, --token-id and --retire-token are about a token; they cannot be used with --kind certificate, --certificate or --retire-certificate"}
	case forCertificate && s.Kind == "token":
		return "", nil, &UsageError{"--certificate and --retire-certificate cannot be used with --kind token"}
	case rollsOver:
		return model.ProcedureCertificate, certificate.StartOptions{Certificate: s.Certificate, Unused: s.RetireCertificate}, nil
	}
	own := token.StartOptions{RetireToken: s.RetireToken, TokenID: s.TokenID}
	if s.TokenStdin {
		var err error
		if own.Value, err = readTokenValue(options); err != nil {
			return "", nil, err
		}
		options.redactor.Add(own.Value)
	}
	return model.ProcedureToken, own, nil
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
	fmt.Fprintln(table, "STARTED\tCONNECTION\tROTATION\tTRIGGER\tSTATE\tOLD\tNEW\tPROOF")
	for _, record := range records {
		if record.Outcome == "" {
			record.Outcome = model.Outcome("in " + string(record.Phase))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", formatTime(record.Started), record.Connection,
			record.ID, record.Trigger, formatOutcome(record),
			dash(cmp.Or(record.OldTokenID, shortFingerprint(record.OldCertificate))), dash(cmp.Or(record.NewTokenID, shortFingerprint(record.NewCertificate))), dash(string(record.Proof)))
	}
	return errors.Join(table.Flush(), refreshErr)
}

// shortFingerprint is enough of a certificate's fingerprint to recognise it in a table.
func shortFingerprint(sha256 string) string {
	if len(sha256) <= 36 {
		return sha256
	}
	return sha256[:35] + "…" // as wide as a token's id
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
	var shown string // both kinds have the message about a journal that cannot be used
	for _, status := range cli.rotation.statuses(connection) {
		if status.Message != "" && status.Message != shown {
			fmt.Fprintln(cli.out, status.Message)
			shown = status.Message
		}
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
	for _, status := range cli.rotation.statuses(connection) {
		if !status.Started.IsZero() && status.Blocked == "" && status.Waiting != model.WaitingOnHold {
			fmt.Fprintf(cli.out, "a running server continues the rotation; without one, run rotation start %s\n", connection)
		}
	}
	return nil
}

// RotationApprove allows the deletion of one old token or certificate.
func RotationApprove(ctx context.Context, options Options, connection, id string) error {
	return operatorCommand(options, connection, "approved: "+id+" may be deleted once it is proven unused",
		func(e *rotate.Engine) error { return e.Approve(ctx, connection, id) })
}

// RotationAdopt accepts the current state of AWS and Entra.
func RotationAdopt(ctx context.Context, options Options, connection, inUse string) error {
	return operatorCommand(options, connection, "adopted: what AWS and Entra have now is accepted",
		func(e *rotate.Engine) error { return e.Adopt(ctx, connection, inUse) })
}

// RotationReset unblocks a rotation.
func RotationReset(ctx context.Context, options Options, connection string) error {
	return operatorCommand(options, connection, "reset: attempt count cleared; rate limits unchanged",
		func(e *rotate.Engine) error { return e.Reset(ctx, connection) })
}

// RotationAbort cancels a rotation that has not changed Entra yet.
func RotationAbort(ctx context.Context, options Options, connection string) error {
	return operatorCommand(options, connection, "aborting: a new token that the exporter created will be deleted; a new certificate stays in Entra, inactive",
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
