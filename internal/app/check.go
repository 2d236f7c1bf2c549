package app

import (
	"fmt"
	"strings"

	"entra-aws-exporter/internal/config"
)

// CheckConfig checks the configuration file and what it names, without any call. webConfig
// is the file that serve is given, which may authenticate the webhook's callers; "": none.
func CheckConfig(options Options, webConfig string) error {
	c, err := config.Load(options.ConfigFile)
	if err != nil {
		return err
	}
	authentication, err := config.ReadWebAuthentication(webConfig)
	if err != nil {
		return err
	}
	if err := c.CheckWebhook(authentication); err != nil {
		return err
	}
	nothing := func(string, string) {}
	if _, err := options.connect(c, nothing, noValue); err != nil {
		return err
	}
	for _, warning := range c.Warnings() {
		fmt.Fprintln(options.Stdout, "warning:", warning.String())
	}
	fmt.Fprintf(options.Stdout, "%s is valid: %s, %s\n", options.ConfigFile,
		count(len(c.Tenants), "tenant"), count(len(c.Connections), "connection"))
	return nil
}

// noConnection says that a name is none of a connection, and which are.
func noConnection(c *config.Config, name string) error {
	names := make([]string, len(c.Connections))
	for i, connection := range c.Connections {
		names[i] = connection.Name
	}
	are := "there are "
	if len(names) == 1 {
		are = "there is "
	}
	return fmt.Errorf("no connection %q is configured; %s%s", name, are, strings.Join(names, ", "))
}

// count says how many there are of something.
func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
