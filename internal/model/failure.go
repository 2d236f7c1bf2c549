package model

import "time"

// FailureStreak is a series of failures without a success in between. The zero value is
// no streak. The poller keeps one per source, and the journal one per rotation.
type FailureStreak struct {
	Since      time.Time `json:"since,omitzero"`       // the first failure
	Last       time.Time `json:"last,omitzero"`        // the latest failure
	Attempts   int       `json:"attempts,omitempty"`   // how many there were
	Text       string    `json:"text,omitempty"`       // the latest failure, for an operator
	LastLogged time.Time `json:"last_logged,omitzero"` // when the streak as a whole was last logged

	kinds map[string]bool // the kinds of failures so far; not stored
}

// maxFailureKinds limits how many kinds of failures one streak tells apart.
const maxFailureKinds = 20

// Active reports whether the streak continues at t. It ends when nothing has failed for
// longer than maxGap. The restart of a process does not end it.
func (s FailureStreak) Active(t time.Time, maxGap time.Duration) bool {
	return !s.Since.IsZero() && t.Sub(s.Last) <= maxGap
}

// Add counts a failure. It reports whether the streak had no failure of this kind yet,
// so that the caller logs each kind once.
func (s *FailureStreak) Add(t time.Time, kind, text string) (first bool) {
	if s.Since.IsZero() {
		s.Since = t
	}
	s.Last, s.Text = t, text
	s.Attempts++
	if s.kinds[kind] || len(s.kinds) >= maxFailureKinds {
		return false
	}
	if s.kinds == nil {
		s.kinds = make(map[string]bool)
	}
	s.kinds[kind] = true
	return true
}
