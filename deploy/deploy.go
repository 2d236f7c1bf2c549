// Package deploy holds the files that go beside the exporter: rules, dashboards,
// manifests. Its tests hold them to one another and to the documentation.
package deploy
