package poller

import (
	"log/slog"
	"time"

	"entra-aws-exporter/internal/model"
)

// episode is the time in which a source fails without a success in between. It is
// logged when it begins, when a reason appears that it did not have yet, and when
// it is over, not at every attempt.
type episode struct {
	log      *slog.Logger
	began    time.Time
	attempts int
	seen     map[model.Reason]bool
	last     model.Reason
}

// reason is why the last attempt failed; "": it did not.
func (e *episode) reason() model.Reason { return e.last }

func (e *episode) record(err error, at time.Time) {
	if err == nil {
		if e.attempts > 0 {
			e.log.Info("reading works again", "failed_for", at.Sub(e.began).Round(time.Second).String(), "attempts", e.attempts)
		}
		e.over()
		return
	}
	if e.attempts == 0 {
		e.began, e.seen = at, make(map[model.Reason]bool)
	}
	e.attempts++
	e.last = model.ReasonOf(err)
	if !e.seen[e.last] {
		e.seen[e.last] = true
		e.log.Warn("reading failed, the last good values stay", "reason", e.last, "err", err)
	}
}

// over ends the episode, if there is one, without a word.
func (e *episode) over() { e.attempts, e.last = 0, "" }
