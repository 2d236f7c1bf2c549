package app

import (
	"context"
	"fmt"

	"entra-aws-exporter/internal/config"
)

// CheckConfig checks the configuration file and what it names, without any call.
func CheckConfig(_ context.Context, options Options) error {
	c, err := config.Load(options.ConfigFile)
	if err != nil {
		return err
	}
	nothing := func(string, string) {}
	if _, err := newClouds(c, nil, nothing, noValue, options.Logger); err != nil {
		return fmt.Errorf("%s: %w", options.ConfigFile, err)
	}
	for _, warning := range c.Warnings() {
		fmt.Fprintln(options.Stdout, "warning:", warning.String())
	}
	fmt.Fprintf(options.Stdout, "%s is valid: %d tenants, %d connections\n", options.ConfigFile, len(c.Tenants), len(c.Connections))
	return nil
}
