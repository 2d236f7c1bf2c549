package rotate

import (
	"context"
	"time"
)

// Clock is how far a cloud's clock is from ours.
type Clock struct {
	Offset time.Duration
	Known  bool
}

// Set learns the offset from the Date of an answer.
func (c *Clock) Set(date time.Time) {
	if !date.IsZero() {
		c.Offset, c.Known = time.Until(date), true
	}
}

// Now is the time on that clock; zero: unknown.
func (c *Clock) Now() time.Time {
	if !c.Known {
		return time.Time{}
	}
	return time.Now().Add(c.Offset).UTC()
}

// Sleep waits without a journal record.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
