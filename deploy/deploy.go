// Package deploy contains what runs beside the exporter: rules, dashboards, manifests and
// permissions. Its tests compare these with each other and with the documentation.
package deploy
