// Package collector shows what is known as Prometheus metrics: one file per family.
//
// Every metric is made from the latest snapshots at the moment of the scrape, so a
// scrape does no I/O, nothing can be left behind, and what is gone from the
// snapshot is gone from the page. docs/metrics.md is the reference.
package collector
