package poller

import "entra-aws-exporter/internal/model"

// carryOver takes from the Watch before a reload what is still true: readings, error
// counters and failure episodes of sources that are read for the same connection in
// the same way. What was edited, or is new, begins afresh.
func (w *Poller) carryOver(previous *Poller) {
	type subject struct {
		tenant, connection, identity string
		source                       model.Source
	}
	subjectOf := func(s *schedule) subject {
		return subject{tenant: s.tenant, connection: s.connection, identity: s.identity, source: s.source.Name}
	}
	unchanged := func(connection string) bool {
		identity, known := previous.identities[connection]
		return known && identity == w.identities[connection]
	}
	before := make(map[subject]*schedule, len(previous.schedules))
	for _, s := range previous.schedules {
		before[subjectOf(s)] = s
	}
	for _, s := range w.schedules {
		if old, found := before[subjectOf(s)]; found {
			s.continueFrom(old, unchanged)
		}
	}
}

// continueFrom takes over another schedule's results for the unchanged connections
// among those that it is read for.
func (s *schedule) continueFrom(old *schedule, unchanged func(connection string) bool) {
	results := make(map[string]model.Snapshot)
	for _, snapshot := range old.board.at(old.feeds) {
		results[snapshot.Connection] = snapshot
	}
	s.board.change(s.feeds, s.source.Name, func(next *model.Snapshot, status *model.SourceStatus) {
		result, found := results[next.Connection]
		if !found || !unchanged(next.Connection) {
			return
		}
		move(s.source.Name, next, result)
		next.Binding = merge(result.Binding, next.Binding)
		interval := status.Interval
		*status, _ = result.Status(s.source.Name)
		status.Interval = interval
	})
	if s.source.log != nil && old.source.log != nil {
		s.source.log.continueFrom(old.source.log)
	}
	if old.wasTried() {
		s.markTried()
	}
	log := s.failing.log
	s.failing = old.failing
	s.failing.log = log
	s.skew.continueFrom(old.skew, old, s)
}
