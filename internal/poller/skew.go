package poller

import (
	"log/slog"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
)

// skew is the difference between one cloud's clock and ours, logged when it begins to
// matter and when it no longer does, once for all that is read of this cloud. Nothing is
// corrected by it: dates are shown as the services give them.
type skew struct {
	log *slog.Logger
	mu  sync.Mutex
	off map[*schedule]bool // by whose last look the clocks differ
}

// skews are those of both clouds.
type skews struct{ aws, entra *skew }

func newSkews(log *slog.Logger) skews {
	of := func(cloud string) *skew { return &skew{log: log.With("cloud", cloud), off: map[*schedule]bool{}} }
	return skews{aws: of("AWS"), entra: of("Entra")}
}

// of returns that of the cloud in which a source is.
func (s skews) of(source model.Source) *skew {
	if source == model.SourceTokens || source == model.SourceSCIM || source == model.SourceUsage {
		return s.aws
	}
	return s.entra
}

// toleratedSkew is well below what signatures and tokens bear (five minutes) and
// well above the second to which HTTP dates are exact.
const toleratedSkew = 2 * time.Minute

// check compares the service's date in an answer with the time of the look.
func (s *skew) check(by *schedule, date, started, ended time.Time) {
	if date.IsZero() {
		return
	}
	var difference time.Duration // how far the service is ahead
	switch {
	case date.After(ended):
		difference = date.Sub(ended)
	case date.Before(started):
		difference = date.Sub(started)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.off)
	if difference.Abs() > toleratedSkew {
		s.off[by] = true
	} else {
		delete(s.off, by)
	}
	switch after := len(s.off); {
	case before == 0 && after > 0:
		s.log.Warn("clocks differ, check this host's time synchronisation", "service_ahead", difference.Round(time.Second).String())
	case before > 0 && after == 0:
		s.log.Info("clocks agree again")
	}
}

// forget is for a schedule that has nothing to read any more.
func (s *skew) forget(by *schedule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.off, by)
}

// continueFrom lets a schedule stand where another one stood before a reload.
func (s *skew) continueFrom(before *skew, old, by *schedule) {
	if before.off[old] {
		s.off[by] = true
	}
}
