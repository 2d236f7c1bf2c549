package config

import (
	"fmt"
	"slices"

	"entra-aws-exporter/internal/model"
)

// Warnings lists what is valid but probably a mistake, by line, and tries to read every
// file that the configuration names. An unreadable file is no error: files are read at
// every use, and may be mounted later or exist on another machine only.
func (c *Config) Warnings() []Problem {
	var warnings Problems
	warn := func(path, format string, args ...any) {
		warnings = append(warnings, c.source.problem(path, format, args...))
	}
	note := func(path, format string, args ...any) {
		warn(path, format, args...)
		warnings[len(warnings)-1].Harmless = true
	}
	for _, file := range c.source.files {
		if file.key == "state.directory" { // checked by the state itself, which writes to it
			continue
		}
		content, err := model.ReadFile(file.path)
		switch {
		case err != nil:
			warn(file.key, "cannot be read now: %v", err)
		case len(content) == 0:
			warn(file.key, "%s is empty", file.path)
		}
	}
	rotates := false
	for i, connection := range c.Connections {
		rotates = rotates || connection.Rotation.Mode != model.RotationDisabled || connection.SAML.Rollover.Mode != model.RotationDisabled
		if connection.Rotation.Mode == model.RotationEnabled && connection.Rotation.Trigger == model.TriggerAlert && c.Webhook == nil {
			note(fmt.Sprintf("connections[%d].rotation.mode", i), "enabled without a webhook section: only the command rotation start starts a rotation; or set trigger: due")
		}
		if connection.SAML.Rollover.Mode == model.RotationEnabled && connection.Rotation.Trigger == model.TriggerAlert && c.Webhook == nil {
			note(fmt.Sprintf("connections[%d].saml.rollover.mode", i), "enabled without a webhook section: only the command rotation start starts a rollover; or set rotation.trigger: due")
		}
		if cloud := c.Tenant(connection.Tenant).Cloud; connection.SAML.Rollover.Mode != model.RotationDisabled && cloud != model.CloudPublic {
			note(fmt.Sprintf("connections[%d].saml.rollover.mode", i), "%s: Graph makes no certificates in cloud %s; make each in Entra, and name it: rotation start CONNECTION --certificate SHA256", connection.SAML.Rollover.Mode, cloud)
		}
	}
	if c.Webhook != nil && !rotates {
		note("webhook", "rotation.mode is disabled for every connection: the webhook cannot start a rotation")
	}
	for i, tenant := range c.Tenants {
		if !slices.ContainsFunc(c.Connections, func(c Connection) bool {
			return c.Tenant == tenant.Name || c.Rotation.Tenant == tenant.Name || c.SAML.Rollover.Tenant == tenant.Name
		}) {
			note(fmt.Sprintf("tenants[%d]", i), "no connection uses tenant %s", tenant.Name)
		}
	}
	warnings.sort()
	return warnings
}
