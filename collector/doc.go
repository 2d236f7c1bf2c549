// Package collector turns what the exporter knows into Prometheus metrics.
//
// A scrape makes every metric from the latest snapshots, with the labels of the last
// scrape where they are still the same. It does no I/O, and a series ends as soon as its
// token, certificate or connection is no longer in a snapshot.
// docs/metrics.md is the reference; a test compares it with this package.
//
// Read collector.go first: it goes through the connections. metric.go declares metrics
// and makes their samples. Each other file holds one group of metrics: connection,
// tokens, probe, provisioning, events, saml, sources, rotation, app_credentials, config.
// counters.go is apart: its counters outlive a reload of the config.
package collector
