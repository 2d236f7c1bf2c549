package app

import (
	"fmt"
	"log/slog"

	"entra-aws-exporter/internal/config"
)

// CheckConfig validates the configuration file and the files that it names. It makes no
// call. webConfig is the web config file of serve; "": none.
func CheckConfig(options Options, webConfig string) error {
	c, err := loadChecked(options.ConfigFile, webConfig)
	if err != nil {
		return err
	}
	if _, err := options.newClients(c, func(string, string) {}, nil); err != nil {
		return err
	}
	for _, warning := range c.Warnings() {
		kind := "warning:"
		if warning.Harmless {
			kind = "note:"
		}
		fmt.Fprintln(options.Stdout, kind, warning.String())
	}
	fmt.Fprintf(options.Stdout, "%s is valid: %s, %s\n", options.ConfigFile,
		count(len(c.Tenants), "tenant"), count(len(c.Connections), "connection"))
	return nil
}

// loadChecked loads the configuration and checks it together with the web config, which
// may authenticate the webhook's callers.
func loadChecked(configFile, webConfig string) (*config.Config, error) {
	c, err := config.Load(configFile)
	if err != nil {
		return nil, err
	}
	authentication, err := config.ReadWebAuthentication(webConfig)
	if err != nil {
		return nil, err
	}
	return c, c.CheckWebhook(authentication)
}

// logWarnings leaves out what is harmless: check-config prints it, and a start need not repeat it.
func logWarnings(log *slog.Logger, c *config.Config) {
	for _, problem := range c.Warnings() {
		if problem.Harmless {
			log.Debug("configuration key without effect", "problem", problem.String())
			continue
		}
		log.Warn("configuration warning", "problem", problem.String())
	}
}
