package poller

import (
	"log/slog"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
)

// cloudClock compares one cloud's clock with ours. It logs when the difference begins to
// matter and when it no longer does, once for all sources of the cloud. It corrects
// nothing: dates are shown as the services give them.
type cloudClock struct {
	log    *slog.Logger
	mu     sync.Mutex
	skewed map[sourceKey]bool // the sources whose last poll saw a skew
}

func newCloudClock(cloud string, log *slog.Logger) *cloudClock {
	return &cloudClock{log: log.With("cloud", cloud), skewed: make(map[sourceKey]bool)}
}

// isAWS reports whether a source is AWS's. The others are Entra's; the source certificates
// reads both, but gives no date.
func isAWS(name model.Source) bool {
	return name == model.SourceTokens || name == model.SourceSCIM || name == model.SourceUsage
}

// toleratedSkew is well below what signatures and tokens bear (five minutes) and well
// above the second to which HTTP dates are exact.
const toleratedSkew = 2 * time.Minute

// check compares the date of a response with the time in which it was read.
func (c *cloudClock) check(key sourceKey, date, started, ended time.Time) {
	if date.IsZero() {
		return
	}
	var ahead time.Duration // how far the service's clock is ahead of ours
	switch {
	case date.After(ended):
		ahead = date.Sub(ended)
	case date.Before(started):
		ahead = date.Sub(started)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before := len(c.skewed)
	if ahead.Abs() > toleratedSkew {
		c.skewed[key] = true
	} else {
		delete(c.skewed, key)
	}
	switch after := len(c.skewed); {
	case before == 0 && after > 0:
		c.log.Warn("clock skew detected", "service_ahead", ahead.Round(time.Second).String(),
			"advice", "check this host's time synchronization")
	case before > 0 && after == 0:
		c.log.Info("clock skew resolved")
	}
}

// forget is for a source that has nothing to read any more.
func (c *cloudClock) forget(key sourceKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.skewed, key)
}

// inheritState keeps a skew that was logged before a reload.
func (c *cloudClock) inheritState(before *cloudClock, key sourceKey) {
	if before.skewed[key] {
		c.skewed[key] = true
	}
}
