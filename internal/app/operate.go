package app

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
	"entra-aws-exporter/internal/state"
	"entra-aws-exporter/rotate"
)

// StartOptions are the flags of rotation start.
type StartOptions struct {
	Connection  string
	DryRun      bool
	Force       bool
	TokenStdin  bool
	TokenID     string
	RetireToken string
	Pace        int
}

// RotationAct is a command on one connection's rotation.
type RotationAct func(ctx context.Context, options Options, connection string) error

// desk is what a person works at: an engine on the server's own journal and vault, so
// that both see the same and neither acts while the other does.
type desk struct {
	config    *config.Config
	engine    *rotate.Engine
	watch     *poller.Poller
	directory *state.Directory // nil: nothing was ever rotated, and nothing can be
	out       io.Writer
}

// openDesk builds the engine of a command. Nothing is called yet.
func openDesk(options Options, pace int) (*desk, error) {
	c, err := config.Load(options.ConfigFile)
	if err != nil {
		return nil, err
	}
	if err := checkPace(pace, c); err != nil {
		return nil, err
	}
	d := &desk{config: c, out: options.Stdout}
	if d.directory, err = openState(c.State); err != nil {
		return nil, err
	}
	built, err := options.connect(c, collector.NewRequests().Observe, noValue)
	if err != nil {
		return nil, err
	}
	log := quiet(options.Logger)
	d.watch = poller.New(decisive(readings(c, built, forgetful{}, log)), nil)
	r := options.newRotations(d.directory, pace, d.watch.Snapshot, nil, log)
	r.configure(c, built)
	d.engine = r.engine
	return d, nil
}

// decisive leaves of the readings what the beginning of a rotation rests on: tokens and
// jobs. Those of the other connections tell what these resolve to, for no two may share
// an application or an identity store.
func decisive(options poller.Options) poller.Options {
	options.Tenants = nil
	for i, connection := range options.Connections {
		options.Connections[i].Sources = slices.DeleteFunc(connection.Sources, func(source poller.Source) bool {
			return source.Name != model.SourceTokens && source.Name != model.SourceJob
		})
	}
	return options
}

// moment is how every command shows a time.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// Step prints a step of a rotation as it is taken.
func (d *desk) Step(connection string, step model.RotationStep) {
	fmt.Fprintf(d.out, "%s  %-8s %-8s %s\n", step.At.UTC().Format("15:04:05 UTC"), connection, step.Phase, step.Text)
}

// RotationStart rotates a token now, or prints what a rotation would do.
func RotationStart(ctx context.Context, options Options, start StartOptions) error {
	if start.TokenStdin != (start.TokenID != "") {
		return &UsageError{"--token-stdin and --token-id belong together: the value on standard input, and the id that AWS shows for it"}
	}
	d, err := openDesk(options, start.Pace)
	if err != nil {
		return err
	}
	if d.config.Connection(start.Connection) == nil {
		return noConnection(d.config, start.Connection)
	}
	if d.directory == nil && !start.DryRun {
		return errNoState
	}
	how := rotate.StartOptions{Force: start.Force, Retire: start.RetireToken, TokenID: start.TokenID}
	if start.TokenStdin {
		if how.Value, err = askSecret(options); err != nil {
			return err
		}
	}
	if err := once(ctx, d.watch); err != nil {
		return err
	}
	if err := d.engine.Look(ctx); err != nil { // whether other rotations are blocked
		options.Logger.Warn("not all that rotations have kept is seen", "err", err)
	}
	if start.DryRun {
		return d.engine.DryRun(ctx, start.Connection, how, d)
	}
	err = d.engine.Start(ctx, start.Connection, how)
	switch {
	case errors.Is(err, rotate.ErrOpen) && how.TokenID == "" && how.Retire == "":
		fmt.Fprintf(d.out, "going on with it: %v\n", err)
	case err != nil:
		return err
	}
	record, err := d.engine.Carry(ctx, start.Connection, d)
	if ctx.Err() != nil {
		return fmt.Errorf("rotation %s stands at %s and is not lost: a running server takes it up, or run rotation start %s again",
			record.ID, record.Phase, start.Connection)
	}
	if err != nil {
		return fmt.Errorf("connection %s: %w (rotation show %s tells how it stands)", start.Connection, err, start.Connection)
	}
	return d.conclude(record)
}

// conclude prints how a rotation ended.
func (d *desk) conclude(record model.RotationRecord) error {
	if record.Outcome == model.OutcomeDone {
		fmt.Fprintf(d.out, "done: token %s is in use, proof %s\n", record.NewTokenID, record.Proof)
		return nil
	}
	status := d.engine.Status(record.Connection)
	if status.Message != "" {
		return errors.New(status.Message)
	}
	return fmt.Errorf("rotation %s of %s: %s", record.ID, record.Connection, outcome(record))
}

// outcome is how a rotation ended, and why if there is a reason.
func outcome(record model.RotationRecord) string {
	if record.Reason == "" {
		return string(record.Outcome)
	}
	return string(record.Outcome) + ": " + record.Reason
}

// askSecret reads the token's value; from a terminal without showing it.
func askSecret(options Options) (model.Secret, error) {
	terminal, is := options.Stdin.(*os.File)
	if !is || !term.IsTerminal(int(terminal.Fd())) {
		return readSecret(options.Stdin)
	}
	fmt.Fprint(options.Stdout, "value of the token (it is not shown): ")
	line, err := term.ReadPassword(int(terminal.Fd()))
	fmt.Fprintln(options.Stdout)
	if err != nil {
		return model.Secret{}, fmt.Errorf("reading the token from the terminal: %w", err)
	}
	return readSecret(bytes.NewReader(line))
}

// readSecret reads one line.
func readSecret(in io.Reader) (model.Secret, error) {
	line, err := bufio.NewReader(io.LimitReader(in, 1<<16)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return model.Secret{}, fmt.Errorf("reading the token from standard input: %w", err)
	}
	if line = strings.TrimSpace(line); line == "" {
		return model.Secret{}, errors.New("reading the token from standard input: it is empty")
	}
	return model.NewSecret(line), nil
}

// RotationList prints one line per rotation, newest first.
func RotationList(ctx context.Context, options Options) error {
	d, err := openDesk(options, 1)
	if err != nil {
		return err
	}
	failed := d.engine.Look(ctx)
	records := d.engine.Records()
	if len(records) == 0 {
		fmt.Fprintln(options.Stdout, "no rotation is recorded")
		return failed
	}
	table := tabwriter.NewWriter(options.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "STARTED\tCONNECTION\tROTATION\tTRIGGER\tSTATE\tOLD TOKEN\tNEW TOKEN\tPROOF")
	for _, record := range records {
		stands := string(record.Outcome)
		if record.Outcome == "" {
			stands = "in " + string(record.Phase)
		}
		if record.Reason != "" {
			stands += ": " + record.Reason
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", moment(record.Started), record.Connection,
			record.ID, record.Trigger, stands, orNone(record.OldTokenID), orNone(record.NewTokenID), orNone(string(record.Proof)))
	}
	return errors.Join(table.Flush(), failed)
}

func orNone(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// RotationShow prints the story of a connection's rotations, oldest first.
func RotationShow(ctx context.Context, options Options, connection string) error {
	d, err := openDesk(options, 1)
	if err != nil {
		return err
	}
	failed := d.engine.Look(ctx)
	records := d.engine.Records()
	shown := false
	for i := len(records) - 1; i >= 0; i-- {
		record := records[i]
		if record.Connection != connection {
			continue
		}
		shown = true
		fmt.Fprintf(options.Stdout, "rotation %s, begun %s by %s\n", record.ID, moment(record.Started), record.Trigger)
		for _, step := range record.Steps {
			fmt.Fprintf(options.Stdout, "  %s  %-8s %s\n", step.At.UTC().Format("2006-01-02 15:04:05 UTC"), step.Phase, step.Text)
		}
		switch {
		case record.Outcome == "":
		case record.Ended.IsZero(): // blocked: it may go on
			fmt.Fprintf(options.Stdout, "  stopped: %s\n", outcome(record))
		default:
			fmt.Fprintf(options.Stdout, "  ended %s: %s\n", moment(record.Ended), outcome(record))
		}
	}
	if !shown && failed == nil && d.config.Connection(connection) == nil {
		return noConnection(d.config, connection)
	}
	if !shown {
		fmt.Fprintf(options.Stdout, "no rotation of %s is recorded\n", connection)
	}
	if sentence := d.engine.Status(connection).Message; sentence != "" {
		fmt.Fprintln(options.Stdout, sentence)
	}
	return failed
}

// operate runs one act of a person, says that it was done and, if a rotation is open then,
// who goes on with it.
func operate(options Options, connection, done string, act func(*rotate.Engine) error) error {
	d, err := openDesk(options, 1)
	if err != nil {
		return err
	}
	if err := act(d.engine); err != nil {
		return err
	}
	fmt.Fprintln(options.Stdout, done)
	if status := d.engine.Status(connection); !status.Started.IsZero() && status.Blocked == "" && status.Waiting != model.WaitingOnHold {
		fmt.Fprintf(options.Stdout, "a running server goes on with the rotation; without one, rotation start %s does\n", connection)
	}
	return nil
}

// RotationApprove allows the deletion of one old token.
func RotationApprove(ctx context.Context, options Options, connection, tokenID string) error {
	return operate(options, connection, "approved: token "+tokenID+" may be deleted once it is proven unused", func(e *rotate.Engine) error {
		return e.Approve(ctx, connection, tokenID)
	})
}

// RotationAdopt takes what the clouds hold for right.
func RotationAdopt(ctx context.Context, options Options, connection, inUse string) error {
	return operate(options, connection, "adopted: the tokens that AWS lists are known now", func(e *rotate.Engine) error {
		return e.Adopt(ctx, connection, inUse)
	})
}

// RotationReset lets a blocked rotation go on.
func RotationReset(ctx context.Context, options Options, connection string) error {
	return operate(options, connection, "reset: failed attempts are forgotten, the budget stays spent", func(e *rotate.Engine) error {
		return e.Reset(ctx, connection)
	})
}

// RotationAbort gives up a rotation that has saved nothing to Entra yet.
func RotationAbort(ctx context.Context, options Options, connection string) error {
	return operate(options, connection, "aborting: a new token that the exporter made is deleted again", func(e *rotate.Engine) error {
		return e.Abort(ctx, connection)
	})
}

// RotationHold stops every act for a connection, or with release lets them go on.
func RotationHold(ctx context.Context, options Options, connection string, release bool) error {
	done := "held: nothing is done until rotation hold --release"
	if release {
		done = "released"
	}
	return operate(options, connection, done, func(e *rotate.Engine) error { return e.Hold(ctx, connection, release) })
}

// RotationShowToken prints the value of the token in use, to a terminal only: so it
// ends in no log and no pipe.
func RotationShowToken(ctx context.Context, options Options, connection string) error {
	terminal, is := options.Stdout.(*os.File)
	if !is || !term.IsTerminal(int(terminal.Fd())) {
		return errors.New("show-token prints to a terminal only")
	}
	d, err := openDesk(options, 1)
	if err != nil {
		return err
	}
	id, value, err := d.engine.ShowToken(ctx, connection)
	if err != nil {
		return err
	}
	fmt.Fprintf(terminal, "token %s:\n%s\n", id, value.Reveal())
	return nil
}
