// The command entra-aws-exporter publishes what can expire or fail silently between
// Microsoft Entra ID and AWS IAM Identity Center as Prometheus metrics, and rotates
// the SCIM access token when Alertmanager asks.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"entra-aws-exporter/internal/app"
	"entra-aws-exporter/internal/config"
)

// The exit codes, part of the command line's contract.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// command is what a subcommand does once the flags are parsed.
type command func(context.Context, app.Options) error

// run maps the command line to the app and its error to an exit code.
func run(ctx context.Context, arguments []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cli := kingpin.New("entra-aws-exporter",
		"Prometheus exporter for Microsoft Entra ID provisioning to AWS IAM Identity Center.")
	cli.Version(version.Print("entra-aws-exporter"))
	cli.HelpFlag.Short('h')
	cli.UsageWriter(stdout) // for --help and --version: what somebody asked for
	cli.ErrorWriter(stderr)

	options := app.Options{Stdin: stdin, Stdout: stdout}
	cli.Flag("config.file", "Path of the configuration file.").Default("config.yaml").StringVar(&options.ConfigFile)
	logging := promslog.Config{Writer: stderr}
	promslogflag.AddFlags(cli, &logging)

	commands := map[string]command{}
	addServe(cli, commands)
	addChecks(cli, commands)
	addRotation(cli, commands)

	terminated := false
	cli.Terminate(func(int) { terminated = true }) // --help and --version; the tests stay alive
	name, err := cli.Parse(arguments)
	switch {
	case terminated:
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "entra-aws-exporter: %v, try --help\n", err)
		return exitUsage
	}

	options.Logger = promslog.New(&logging)
	return report(stderr, commands[name](ctx, options))
}

// report says why a command failed, and returns its exit code.
func report(stderr io.Writer, err error) int {
	var problems config.Problems
	var usage *app.UsageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &problems):
		fmt.Fprintln(stderr, problems) // each line begins with file:line, for people and editors
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "entra-aws-exporter: %v, try --help\n", usage)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "entra-aws-exporter: %v\n", err)
	}
	return exitFailed
}

func addServe(cli *kingpin.Application, commands map[string]command) {
	serve := cli.Command("serve", "Serve metrics, the status page and the webhook (the default).").Default()
	options := app.ServeOptions{Web: kingpinflag.AddFlags(serve, ":10199")}
	serve.Flag("web.enable-lifecycle", "Enable reload by POST /-/reload.").BoolVar(&options.Lifecycle)
	paceFlag(serve, &options.Pace)
	commands[serve.FullCommand()] = func(ctx context.Context, common app.Options) error {
		return app.Serve(ctx, common, options)
	}
}

func addChecks(cli *kingpin.Application, commands map[string]command) {
	check := cli.Command("check-config", "Check the configuration file, without any call.")
	var webConfig string
	check.Flag("web.config.file", "The file that serve is given: it may authenticate the webhook's callers.").StringVar(&webConfig)
	commands[check.FullCommand()] = func(_ context.Context, common app.Options) error {
		return app.CheckConfig(common, webConfig)
	}

	doctor := cli.Command("doctor", "Try every call that the configuration needs, read-only, and say what is missing.")
	var only string
	doctor.Arg("connection", "Only this connection and its tenants.").StringVar(&only)
	commands[doctor.FullCommand()] = func(ctx context.Context, common app.Options) error {
		return app.Doctor(ctx, common, only)
	}

	metrics := cli.Command("metrics", "Read both clouds once and print the metrics.")
	commands[metrics.FullCommand()] = app.Metrics

	status := cli.Command("status", "Show what a running exporter knows.")
	var options app.StatusOptions
	serverFlags(status, &options.Server)
	status.Flag("json", "Print the answer of /api/v1/connections.").BoolVar(&options.JSON)
	commands[status.FullCommand()] = func(ctx context.Context, common app.Options) error {
		return app.Status(ctx, common, options)
	}
}

func serverFlags(command *kingpin.CmdClause, server *app.Server) {
	command.Flag("url", "Address of the running exporter.").Default("http://localhost:10199").StringVar(&server.URL)
	command.Flag("url.ca-file", "PEM file with the CA of its certificate.").StringVar(&server.CAFile)
	command.Flag("url.basic-auth-file", "File with user:password, if it asks for them.").StringVar(&server.BasicAuthFile)
}

func paceFlag(command *kingpin.CmdClause, pace *int) {
	command.Flag("rotation.pace",
		"Divide every wait of the rotation by N, for demonstrations; refused when an endpoint is AWS's or Microsoft's own.").
		Default("1").PlaceHolder("N").SetValue((*paceValue)(pace))
}

// paceValue is a whole number from 1; it implements kingpin.Value.
type paceValue int

func (p *paceValue) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return fmt.Errorf("--rotation.pace: %q is not a whole number from 1", text)
	}
	*p = paceValue(n)
	return nil
}

func (p *paceValue) String() string { return strconv.Itoa(int(*p)) }
