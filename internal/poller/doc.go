// Package watch decides when to look at the clouds. It reads every source on a
// schedule of its own, keeps the last good reading of each, and offers the whole
// as one immutable snapshot per connection.
//
// What to read is given to it as functions (Source), so that it knows neither
// cloud; what was read is a bridge type, so that it knows no metric.
package poller
