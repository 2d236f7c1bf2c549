package config

import (
	"fmt"
	"os"
	"reflect"
	"slices"

	"entra-aws-exporter/internal/model"
)

// Warnings lists what is valid but probably not meant, in the order of the file, and
// tries to read every file that the configuration names. A file that cannot be read
// is a warning, not an error: files are read at every use and may be mounted later, or
// on another machine than the one that checks.
func (c *Config) Warnings() []Problem {
	warnings := c.fileWarnings()
	warn := func(path, format string, args ...any) {
		warnings = append(warnings, c.source.problem(path, format, args...))
	}
	if os.Getenv("AWS_CA_BUNDLE") != "" {
		warn("http_client.tls_config.ca_file", "AWS_CA_BUNDLE is set in the environment: the exporter does not read it, and while it is set no call to AWS is made; name the bundle here and unset it")
	}
	rotates := false
	for i, connection := range c.Connections {
		rotates = rotates || connection.Rotation.Mode != model.RotationDisabled
		if connection.Rotation.Mode == model.RotationEnabled && c.Webhook == nil {
			warn(fmt.Sprintf("connections[%d].rotation.mode", i), "enabled, but there is no webhook section: only the command rotation start begins one")
		}
	}
	if c.Webhook != nil && !rotates {
		warn("webhook", "no connection has a rotation mode other than disabled: the webhook has nothing to start")
	}
	for i, tenant := range c.Tenants {
		if !slices.ContainsFunc(c.Connections, func(c Connection) bool {
			return c.Tenant == tenant.Name || c.Rotation.Tenant == tenant.Name
		}) {
			warn(fmt.Sprintf("tenants[%d]", i), "no connection uses tenant %s", tenant.Name)
		}
	}
	warnings.sort()
	return warnings
}

func (c *Config) fileWarnings() Problems {
	var warnings Problems
	eachFile(reflect.ValueOf(c).Elem(), "", func(key, path string) {
		if key == "state.directory" { // the state itself checks it, by writing
			return
		}
		content, err := os.ReadFile(path) //nolint:gosec // the operator names the file
		switch {
		case err != nil:
			warnings = append(warnings, c.source.problem(key, "cannot be read now: %v", err))
		case len(content) == 0:
			warnings = append(warnings, c.source.problem(key, "%s is empty", path))
		}
	})
	return warnings
}

// eachFile visits every path that is set.
func eachFile(value reflect.Value, at string, visit func(key, path string)) {
	switch value.Kind() {
	case reflect.Pointer:
		if !value.IsNil() {
			eachFile(value.Elem(), at, visit)
		}
	case reflect.Slice:
		for i := range value.Len() {
			eachFile(value.Index(i), fmt.Sprintf("%s[%d]", at, i), visit)
		}
	case reflect.Struct:
		for _, f := range fields(value.Type()) {
			eachFile(value.Field(f.index), join(at, f.key), visit)
		}
	case reflect.String:
		if kind := value.Type(); value.Len() > 0 && (kind == reflect.TypeFor[Path]() || kind == reflect.TypeFor[SecretFile]()) {
			visit(at, value.String())
		}
	default: // holds no path
	}
}
