package policy

import (
	"fmt"
	"time"
)

// The rate limits of one binding.
const (
	maxCreationsPerDay  = 2
	maxCreationsPerWeek = 4
	maxRecoveriesPerDay = 2
)

// RateLimit lists when tokens were requested and recoveries begun, by AWS's clock.
// Nothing but time empties it.
type RateLimit struct {
	Creations  []CallWindow `json:"creations,omitempty"`
	Recoveries []time.Time  `json:"recoveries,omitempty"`
}

// CallWindow is the span, by AWS's clock, in which a call can have taken effect.
type CallWindow struct {
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Resolved bool      `json:"resolved,omitempty"` // the outcome of the call is known
}

// WindowSlack is how far outside of a create call's window a token of ours may seem to
// have been created.
const WindowSlack = 5 * time.Second

// Contains tells whether a time lies in the window, give or take the slack.
func (w CallWindow) Contains(at time.Time) bool {
	return !at.Before(w.From.Add(-WindowSlack)) && !at.After(w.To.Add(WindowSlack))
}

// CreationsExceeded says which limit forbids another token now, by AWS's clock; "" if none.
func (l RateLimit) CreationsExceeded(now time.Time) string {
	var day, week int
	for _, creation := range l.Creations {
		if creation.From.After(now.Add(-24 * time.Hour)) {
			day++
		}
		if creation.From.After(now.Add(-7 * 24 * time.Hour)) {
			week++
		}
	}
	switch {
	case day >= maxCreationsPerDay:
		return fmt.Sprintf("%d tokens were requested within a day", day)
	case week >= maxCreationsPerWeek:
		return fmt.Sprintf("%d tokens were requested within a week", week)
	default:
		return ""
	}
}

// RecoveriesExceeded tells whether no further recovery may begin now.
func (l RateLimit) RecoveriesExceeded(now time.Time) bool {
	count := 0
	for _, at := range l.Recoveries {
		if at.After(now.Add(-24 * time.Hour)) {
			count++
		}
	}
	return count >= maxRecoveriesPerDay
}

// Prune drops what is too old to count. Creations stay a while longer, to tell an orphan
// of ours from a token that somebody else created.
func (l *RateLimit) Prune(now time.Time) {
	recent := l.Creations[:0]
	for _, creation := range l.Creations {
		if creation.From.After(now.Add(-30 * 24 * time.Hour)) {
			recent = append(recent, creation)
		}
	}
	l.Creations = recent
	for len(l.Recoveries) > 0 && l.Recoveries[0].Before(now.Add(-7*24*time.Hour)) {
		l.Recoveries = l.Recoveries[1:]
	}
}
