// The command entra-aws-exporter publishes as Prometheus metrics what can expire or fail
// silently between Microsoft Entra ID and AWS IAM Identity Center. It rotates the SCIM
// access token when Alertmanager calls its webhook.
//
// It maps flags to options of internal/app, and errors to exit codes. commands.go has the
// general commands, rotation.go those that control rotation.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"

	"entra-aws-exporter/internal/app"
	"entra-aws-exporter/internal/config"
)

// The exit codes, which scripts rely on.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// flagsOfDefaultCommand adds the flags of serve to the general --help, because serve needs
// not be named.
const flagsOfDefaultCommand = `{{if not .Context.SelectedCommand}}{{range .App.Commands}}{{if .Default -}}
Flags of {{.Name}}:
{{.Flags|FlagsToTwoColumns|FormatTwoColumns}}
{{end}}{{end}}{{end}}`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run runs the command line and returns the exit code.
func run(ctx context.Context, arguments []string, stdin io.Reader, stdout, stderr io.Writer) int {
	cli := kingpin.New("entra-aws-exporter",
		"Prometheus exporter for Microsoft Entra ID provisioning to AWS IAM Identity Center.")
	printed := version.Print("entra-aws-exporter")
	if slices.Contains(arguments, "--help-man") {
		printed = version.Version // the title of a man page is one line
	}
	cli.Version(printed)
	cli.HelpFlag.Short('h')
	cli.UsageTemplate(kingpin.DefaultUsageTemplate + flagsOfDefaultCommand)
	cli.UsageWriter(stdout) // --help and --version are output that was asked for
	cli.ErrorWriter(stderr)

	options := app.NewOptions(stdin, stdout, stderr)
	cli.Flag("config.file", "Path of the configuration file.").Default("config.yaml").StringVar(&options.ConfigFile)
	logging := promslog.Config{Writer: options.Stderr}
	promslogflag.AddFlags(cli, &logging)

	commands := map[string]command{}
	addServe(cli, commands)
	addChecks(cli, commands)
	addRotation(cli, commands)
	addState(cli, commands)

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
	err = commands[name](ctx, options)
	if err != nil && logging.Format.String() == "json" {
		return logFailure(options.Logger, name, err)
	}
	return report(options.Stderr, err)
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

// logFailure is report for a log collector: all lines of standard error are JSON.
func logFailure(log *slog.Logger, name string, err error) int {
	var problems config.Problems
	var usage *app.UsageError
	if errors.As(err, &problems) {
		for _, problem := range problems {
			log.Error("configuration invalid", "command", name, "problem", problem.String())
		}
		return exitFailed
	}
	log.Error("command failed", "command", name, "err", err)
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}
