package app

import (
	"fmt"
	"strings"
	"time"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
)

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
