// The command entra-aws-simulator is Microsoft Entra ID and AWS IAM Identity Center on
// one port, for trying the exporter without any account, and for its tests.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// The exit codes, as the exporter's.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

type command func(ctx context.Context, logger *slog.Logger, stdout io.Writer) error

func run(ctx context.Context, arguments []string, stdout, stderr io.Writer) int {
	cli := kingpin.New("entra-aws-simulator", "Microsoft Entra ID and AWS IAM Identity Center, simulated on one port.")
	cli.Version(version.Print("entra-aws-simulator"))
	cli.HelpFlag.Short('h')
	cli.UsageWriter(stdout) // for --help and --version
	cli.ErrorWriter(stderr)
	logging := promslog.Config{Writer: stderr}
	promslogflag.AddFlags(cli, &logging)

	commands := map[string]command{}
	addServe(cli, commands)
	addControl(cli, commands)

	terminated := false
	cli.Terminate(func(int) { terminated = true })
	name, err := cli.Parse(arguments)
	switch {
	case terminated:
		return exitOK
	case err != nil:
		_, _ = fmt.Fprintf(stderr, "entra-aws-simulator: %v, try --help\n", err)
		return exitUsage
	}
	if err := commands[name](ctx, promslog.New(&logging), stdout); err != nil {
		_, _ = fmt.Fprintf(stderr, "entra-aws-simulator: %v\n", err)
		return exitFailed
	}
	return exitOK
}

type serveOptions struct {
	address, url, scenario, caFile, config string
	speed                                  float64
	seed                                   uint64
	quirks                                 map[string]string
}

// defaultCAFile is where serve and the control commands find the CA without a flag.
func defaultCAFile() string { return filepath.Join(os.TempDir(), "entra-aws-simulator-ca.pem") }

func addServe(cli *kingpin.Application, commands map[string]command) {
	options := serveOptions{quirks: map[string]string{}}
	serve := cli.Command("serve", "Serve AWS and Entra until interrupted (the default).").Default()
	serve.Flag("listen-address", "Address to listen on. There is no authentication.").Default("127.0.0.1:10198").StringVar(&options.address)
	serve.Flag("url", "URL at which clients reach the simulator; default: https:// and the address.").StringVar(&options.url)
	serve.Flag("scenario", "What AWS and Entra hold at first: single, demo, or fleet-N.").Default("demo").StringVar(&options.scenario)
	serve.Flag("speed", "Divide periods and lags by this number: cycles, retries, delays of the logs, propagation.").Default("1").Float64Var(&options.speed)
	serve.Flag("seed", "Seed of every id and token: the same seed gives the same ones.").Default("1").Uint64Var(&options.seed)
	serve.Flag("quirk", "NAME=VALUE, repeatable: how AWS and Entra behave where that is unconfirmed.").StringMapVar(&options.quirks)
	serve.Flag("ca-file", "File of the certificate authority, its key in FILE.key; clients must trust it.").Default(defaultCAFile()).StringVar(&options.caFile)
	serve.Flag("write-config", "Write an exporter's config to this file, and the files that it names beside it.").StringVar(&options.config)
	commands[serve.FullCommand()] = func(ctx context.Context, logger *slog.Logger, stdout io.Writer) error {
		return serveClouds(ctx, options, logger, stdout)
	}
}

func serveClouds(ctx context.Context, o serveOptions, logger *slog.Logger, stdout io.Writer) error {
	if o.speed < 1 {
		return fmt.Errorf("--speed=%v: want a number of at least 1", o.speed)
	}
	model := clouds.New(clouds.Options{Seed: o.seed, Speed: o.speed})
	if err := simulator.Seed(model, o.scenario); err != nil {
		return err
	}
	credentials, err := simulator.IssueCredentials(model)
	if err != nil {
		return err
	}
	authority, err := simulator.OpenAuthority(o.caFile)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.address)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	defer func() { _ = listener.Close() }()
	if o.url == "" {
		o.url = addressURL(listener.Addr())
	}
	server := simulator.New(model, simulator.Options{URL: strings.TrimSuffix(o.url, "/"), Seed: o.seed, Logger: logger})
	for name, value := range o.quirks {
		if err := server.SetQuirk(name, value); err != nil {
			return err
		}
	}
	if o.config != "" {
		if err := writeConfig(credentials, o, stdout); err != nil {
			return err
		}
	}
	logger.Info("simulator started", "url", o.url, "scenario", o.scenario, "speed", o.speed, "ca_file", o.caFile)
	if err := server.Serve(ctx, listener, authority); err != nil {
		return err
	}
	logger.Info("simulator stopped")
	return nil
}

func writeConfig(credentials simulator.Credentials, o serveOptions, stdout io.Writer) error {
	file, err := filepath.Abs(o.config)
	if err != nil {
		return fmt.Errorf("--write-config: %w", err)
	}
	ca, err := filepath.Abs(o.caFile)
	if err != nil {
		return fmt.Errorf("--ca-file: %w", err)
	}
	if err := credentials.WriteConfig(simulator.ConfigOptions{File: file, URL: strings.TrimSuffix(o.url, "/"), CAFile: ca, Rollover: true}); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(stdout, "config:      %s\nenvironment: %s\n", file, filepath.Join(filepath.Dir(file), "environment"))
	return nil
}

// addressURL is where clients on this machine reach a listener.
func addressURL(address net.Addr) string {
	host, port, err := net.SplitHostPort(address.String())
	if err != nil {
		return "https://" + address.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "localhost"
	}
	return "https://" + net.JoinHostPort(host, port)
}
