// The command entra-aws-exporter publishes as Prometheus metrics what can expire or fail
// silently between Microsoft Entra ID and AWS IAM Identity Center. It rotates the SCIM
// access token when Alertmanager calls its webhook.
//
// It maps flags to options of internal/app, and errors to exit codes. main.go has the
// program and its general commands, rotation.go those that control rotation.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"entra-aws-exporter/internal/app"
	"entra-aws-exporter/internal/config"
)

// The exit codes, which scripts rely on.
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

// command runs a subcommand once the flags are parsed.
type command func(context.Context, app.Options) error

// run runs the command line and returns the exit code.
func run(ctx context.Context, arguments []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cli := kingpin.New("entra-aws-exporter",
		"Prometheus exporter for Microsoft Entra ID provisioning to AWS IAM Identity Center.")
	cli.Version(version.Print("entra-aws-exporter"))
	cli.HelpFlag.Short('h')
	cli.UsageWriter(stdout) // --help and --version are output that was asked for
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
	cli.Terminate(func(int) { terminated = true }) // --help and --version must not end the tests
	name, err := cli.Parse(arguments)
	switch {
	case terminated:
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "entra-aws-exporter: %v, try --help\n", err)
		return exitUsage
	}

	if strings.HasPrefix(name, "rotation ") && logging.Level.Level() == slog.LevelInfo {
		_ = logging.Level.Set("warn") // these commands print what they do
	}
	options.Logger = promslog.New(&logging)
	return report(stderr, commands[name](ctx, options))
}

// report prints why a command failed and returns its exit code.
func report(stderr io.Writer, err error) int {
	var problems config.Problems
	var usage *app.UsageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &problems):
		fmt.Fprintln(stderr, problems) // each line begins with file:line, which editors understand
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
	check := cli.Command("check-config", "Validate the configuration file. Makes no network calls.")
	var webConfig string
	check.Flag("web.config.file", "Web config file used by serve; needed here if it authenticates webhook callers.").StringVar(&webConfig)
	commands[check.FullCommand()] = func(_ context.Context, common app.Options) error {
		return app.CheckConfig(common, webConfig)
	}

	doctor := cli.Command("doctor", "Make every read-only call that the configuration needs, and report what is missing.")
	var only string
	doctor.Arg("connection", "Only this connection and its tenants.").StringVar(&only)
	commands[doctor.FullCommand()] = func(ctx context.Context, common app.Options) error {
		return app.Doctor(ctx, common, only)
	}

	metrics := cli.Command("metrics", "Poll AWS and Entra once and print the metrics.")
	commands[metrics.FullCommand()] = app.Metrics

	status := cli.Command("status", "Show the status of a running exporter.")
	var options app.StatusOptions
	status.Flag("url", "URL of the running exporter.").Default("http://localhost:10199").StringVar(&options.URL)
	status.Flag("url.ca-file", "PEM file with the CA of its certificate.").StringVar(&options.CAFile)
	status.Flag("url.basic-auth-file", "File with user:password, if the exporter requires basic authentication.").StringVar(&options.BasicAuthFile)
	status.Flag("json", "Print the response of /api/v1/connections.").BoolVar(&options.JSON)
	commands[status.FullCommand()] = func(ctx context.Context, common app.Options) error {
		return app.Status(ctx, common, options)
	}
}

func paceFlag(clause *kingpin.CmdClause, pace *int) {
	clause.Flag("rotation.pace", "Divide rotation waits by N (demos only; rejected with real AWS or Microsoft endpoints).").
		Default("1").PlaceHolder("N").SetValue((*paceValue)(pace))
}

// paceValue is a kingpin.Value: a whole number, at least 1.
type paceValue int

func (p *paceValue) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		return fmt.Errorf("--rotation.pace: %q is not a whole number of at least 1", text)
	}
	*p = paceValue(n)
	return nil
}

func (p *paceValue) String() string { return strconv.Itoa(int(*p)) }
