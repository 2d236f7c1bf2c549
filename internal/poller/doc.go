// Package poller polls AWS and Entra. It reads every source on its own interval, keeps the
// last good result of each, and publishes one immutable snapshot per connection.
//
// It gets what to read as functions (Source), so it knows neither cloud's client. It
// returns types of package model, so it knows no metric.
//
// Reading order: poller.go (what runs, and what a reload keeps), dispatcher.go (which polls
// begin when), schedule.go (one source, and what a poll does), source.go (the sources),
// snapshots.go (where results are published), skew.go (clocks). The source events has
// state of its own: event_log.go (which part of the provisioning log is read),
// event_state.go (what is counted), event_record.go (how the counters are stored).
package poller
