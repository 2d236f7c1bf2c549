package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/alecthomas/kingpin/v2"
	prommodel "github.com/prometheus/common/model"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"entra-aws-exporter/internal/app"
	"entra-aws-exporter/internal/config"
)

// command runs a subcommand once the flags are parsed.
type command func(context.Context, app.Options) error

// gcPercent is lower than Go's default of 100: the exporter allocates little but during a
// scrape, so a smaller heap costs little CPU.
const gcPercent = 25

func addServe(cli *kingpin.Application, commands map[string]command) {
	serve := cli.Command("serve", "Serve metrics, the status page and the webhook (the default).").Default()
	options := app.ServeOptions{Web: kingpinflag.AddFlags(serve, ":10199")}
	serve.Flag("web.enable-lifecycle", "Enable reload by POST /-/reload.").BoolVar(&options.Lifecycle)
	serve.Flag("web.enable-pprof", "Enable Go's profiles under /debug/pprof/.").BoolVar(&options.Profiles)
	serve.Flag("config.enable-auto-reload", "Reload when the configuration file or a file that it names changes.").BoolVar(&options.AutoReload)
	serve.Flag("config.auto-reload-interval", "How often to look for changes.").Default("30s").SetValue((*intervalValue)(&options.AutoReloadInterval))
	serve.Flag("web.health-listen-address", "Address on which /-/healthy and /-/ready need neither credentials nor TLS, for probes.").
		PlaceHolder("ADDRESS").StringVar(&options.HealthAddress)
	paceFlag(serve, &options.Pace)
	commands[serve.FullCommand()] = func(ctx context.Context, common app.Options) error {
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(gcPercent)
		}
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

	schema := cli.Command("config-schema", "Print the JSON Schema of the configuration file, for editors.")
	commands[schema.FullCommand()] = func(_ context.Context, common app.Options) error {
		content, err := config.JSONSchema()
		if err == nil {
			_, err = common.Stdout.Write(content)
		}
		return err
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
	urlFlags(status, &options)
	status.Flag("json", "Print the response of /api/v1/connections.").BoolVar(&options.JSON)
	status.Flag("name", "Show only connections whose name contains this.").StringVar(&options.Name)
	status.Flag("all", "Show every connection and cause, however many there are.").BoolVar(&options.All)
	commands[status.FullCommand()] = func(ctx context.Context, common app.Options) error {
		return app.Status(ctx, common, options)
	}

	healthcheck := cli.Command("healthcheck", "Ask a running exporter whether it is healthy; for the health check of a container.")
	var checked app.StatusOptions
	urlFlags(healthcheck, &checked)
	commands[healthcheck.FullCommand()] = func(ctx context.Context, common app.Options) error {
		return app.Healthcheck(ctx, common, checked)
	}
}

func addState(cli *kingpin.Application, commands map[string]command) {
	state := cli.Command("state", "Move what the exporter keeps.")
	clone := state.Command("copy", "Copy token values, journals and event counters to another place, while no rotation runs.")
	var from, to string
	clone.Flag("from", "Configuration file whose state is copied.").Required().PlaceHolder("FILE").StringVar(&from)
	clone.Flag("to", "Configuration file that names the other place.").Required().PlaceHolder("FILE").StringVar(&to)
	commands[clone.FullCommand()] = func(ctx context.Context, common app.Options) error {
		return app.StateCopy(ctx, common, from, to)
	}
}

func urlFlags(clause *kingpin.CmdClause, options *app.StatusOptions) {
	clause.Flag("url", "URL of the running exporter.").Default("http://localhost:10199").StringVar(&options.URL)
	clause.Flag("url.ca-file", "PEM file with the CA of its certificate.").StringVar(&options.CAFile)
	clause.Flag("url.basic-auth-file", "File with user:password, if the exporter requires basic authentication.").StringVar(&options.BasicAuthFile)
}

func paceFlag(clause *kingpin.CmdClause, pace *int) {
	clause.Flag("rotation.pace", "Divide rotation waits by N (demos only; rejected with real AWS or Microsoft endpoints).").
		Default("1").PlaceHolder("N").SetValue((*paceValue)(pace))
}

// intervalValue is a kingpin.Value: a duration in Prometheus's notation, at least a second.
type intervalValue time.Duration

func (v *intervalValue) Set(text string) error {
	d, err := prommodel.ParseDuration(text)
	if err != nil || time.Duration(d) < time.Second {
		return fmt.Errorf("--config.auto-reload-interval: %q is not a duration of at least 1s", text)
	}
	*v = intervalValue(d)
	return nil
}

func (v *intervalValue) String() string { return prommodel.Duration(*v).String() }

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
