// Package app builds the exporter from its configuration. It is the only package that
// joins the clients, the poller, the collector, the rotation and the web pages.
//
// Read serve.go first: Serve runs an Exporter (exporter.go), which holds what one version
// of the configuration built; reload.go replaces that. Below are the parts that it is
// built from: clients.go over transport.go, sources.go for the poller, rotation.go for the
// engine, and state.go. livevalues.go tells the redactor which values to hide in all that
// leaves the process.
//
// The other commands have one file each: checkconfig.go, doctor.go (printed by
// doctorreport.go), metrics.go, status.go, and rotationcmd.go with its context in
// clicontext.go. What the commands share is in app.go: Options, and how they show things.
package app

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/redact"
)

// Options are common to all commands.
type Options struct {
	ConfigFile string
	Logger     *slog.Logger // writes to Stderr
	Stdin      io.Reader
	Stdout     io.Writer // hides live values
	Stderr     io.Writer // hides live values
	Terminal   io.Writer // where an operator may ask for a live value
	AWSBundle  string    // file of AWS_CA_BUNDLE; "": none

	Transport    http.RoundTripper        // of every outgoing call; nil: built from the configuration
	HolderIsDead func(holder string) bool // whether the holder of a lease has ended; nil: the kernel is asked

	state    *stateStore      // instead of the configured one; nil: as configured
	redactor *redact.Redactor // knows the live values
}

// NewOptions returns options whose outputs hide the live values. It reads the environment.
func NewOptions(stdin io.Reader, stdout, stderr io.Writer) Options {
	redactor := &redact.Redactor{}
	return Options{
		Stdin: stdin, Stdout: redactor.Writer(stdout), Stderr: redactor.Writer(stderr), Terminal: stdout, redactor: redactor,
		AWSBundle: os.Getenv("AWS_CA_BUNDLE"),
	}
}

// UsageError reports a command line that makes no sense; its exit code is 2.
type UsageError struct{ text string }

func (e *UsageError) Error() string { return e.text }

// checkPace refuses shortened waits with the real AWS and Entra.
func checkPace(pace int, c *config.Config) error {
	if endpoint := c.PublicEndpoint(); pace > 1 && endpoint != "" {
		return fmt.Errorf("--rotation.pace=%d is for simulated endpoints only; %s is a real one", pace, endpoint)
	}
	return nil
}

// unknownConnection reports a connection name that is not configured.
func unknownConnection(c *config.Config, name string) error {
	names := make([]string, len(c.Connections))
	for i, connection := range c.Connections {
		names[i] = connection.Name
	}
	return fmt.Errorf("unknown connection %q; configured: %s", name, strings.Join(names, ", "))
}

// count formats a number of things.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// formatOutcome is the outcome of a rotation, with its reason if there is one.
func formatOutcome(record model.RotationRecord) string {
	if record.Reason == "" {
		return string(record.Outcome)
	}
	return string(record.Outcome) + ": " + record.Reason
}

// formatTime is how every command shows a time.
func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// dash stands for an empty cell of a table.
func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
