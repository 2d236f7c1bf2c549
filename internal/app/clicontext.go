package app

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
	"entra-aws-exporter/internal/state"
	"entra-aws-exporter/rotate/token"
)

// cliContext is what the rotation commands work with: an engine on the server's own
// journal and token store. Leases keep the two from acting at the same time.
type cliContext struct {
	config   *config.Config
	clients  *clientSet
	rotation *rotationService
	poller   *poller.Poller
	state    *stateStore // nil: none is kept, so no rotation
	out      io.Writer
}

// newCLIContext builds the engine of a command. It makes no call.
func newCLIContext(options Options, pace int) (*cliContext, error) {
	c, err := config.Load(options.ConfigFile)
	if err != nil {
		return nil, err
	}
	if err := checkPace(pace, c); err != nil {
		return nil, err
	}
	cli := &cliContext{config: c, out: options.Stdout}
	requests := collector.NewRequests()
	if cli.state, err = options.openState(c, requests.Observe); err != nil {
		return nil, err
	}
	snapshot := func(connection string) (model.Snapshot, bool) { return cli.poller.Snapshot(connection) }
	clients, rotation, err := options.newClientsAndRotation(c, requests.Observe, cli.state, pace, snapshot)
	if err != nil {
		return nil, err
	}
	cli.clients, cli.rotation = clients, rotation
	cli.poller = poller.New(startSources(c, pollerOptions(c, clients, &state.Memory{}, rotation.replica, options.Logger)), nil)
	return cli, nil
}

// startSources keeps the sources that the start of a rotation depends on: tokens and
// jobs, of every connection. They show which application and identity store the other
// connections resolve to, since no two connections may share one. A rollover also depends
// on the certificates.
func startSources(c *config.Config, options poller.Options) poller.Options {
	options.Tenants = nil
	for i, connection := range options.Connections {
		needed := []model.Source{model.SourceTokens, model.SourceJob}
		if c.Connections[i].SAML.Rollover.Mode != model.RotationDisabled {
			needed = append(needed, model.SourceCertificates)
		}
		options.Connections[i].Sources = slices.DeleteFunc(connection.Sources, func(source poller.Source) bool {
			return !slices.Contains(needed, source.Name)
		})
	}
	return options
}

// Step prints a step of a running rotation.
func (c *cliContext) Step(connection string, step model.RotationStep) {
	fmt.Fprintf(c.out, "%s  %-8s %-8s %s\n", step.At.UTC().Format("15:04:05 UTC"), connection, step.Phase, step.Text)
}

// printResult prints the outcome of a rotation, or returns it as an error.
func (c *cliContext) printResult(record model.RotationRecord) error {
	switch {
	case record.Outcome != model.OutcomeDone:
	case record.Kind != model.ProcedureCertificate:
		fmt.Fprintf(c.out, "done: token %s is in use, proof %s\n", record.NewTokenID, record.Proof)
		return nil
	case record.Proof == "": // it imported what Entra signs with
		fmt.Fprintf(c.out, "done: AWS trusts certificate %s\n", record.NewCertificate)
		return nil
	default:
		fmt.Fprintf(c.out, "done: certificate %s is in use, proof %s\n", record.NewCertificate, record.Proof)
		return nil
	}
	if record.Reason == token.ReasonRetired {
		fmt.Fprintln(c.out, record.Reason)
		return nil
	}
	if message := c.rotation.statusOf(record.Connection, cmp.Or(record.Kind, model.ProcedureToken)).Message; message != "" {
		return errors.New(message)
	}
	return fmt.Errorf("rotation %s of %s: %s", record.ID, record.Connection, formatOutcome(record))
}

// readTokenValue reads a token's value from standard input, without echo on a terminal.
func readTokenValue(options Options) (model.Secret, error) {
	terminal, ok := options.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(terminal.Fd())) {
		return readLine(options.Stdin)
	}
	fmt.Fprint(options.Stdout, "token value (not echoed): ")
	line, err := term.ReadPassword(int(terminal.Fd()))
	fmt.Fprintln(options.Stdout)
	if err != nil {
		return model.Secret{}, fmt.Errorf("reading the token from the terminal: %w", err)
	}
	return readLine(bytes.NewReader(line))
}

func readLine(in io.Reader) (model.Secret, error) {
	line, err := bufio.NewReader(io.LimitReader(in, 1<<16)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return model.Secret{}, fmt.Errorf("reading the token from standard input: %w", err)
	}
	content, err := model.WithoutBOM("standard input", []byte(line))
	if err != nil {
		return model.Secret{}, fmt.Errorf("reading the token: %w", err)
	}
	value := strings.TrimSpace(string(content))
	if value == "" {
		return model.Secret{}, errors.New("reading the token from standard input: it is empty")
	}
	return model.NewSecret(value), nil
}
