package app

import (
	"fmt"
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
		fmt.Fprintln(options.Stdout, "warning:", warning.String())
	}
	fmt.Fprintf(options.Stdout, "%s is valid: %s, %s\n", options.ConfigFile,
		count(len(c.Tenants), "tenant"), count(len(c.Connections), "connection"))
	return nil
}
