package web

import (
	"fmt"
	"time"
)

// span says how long something lasts or lasted, in the largest unit that reads well.
func span(d time.Duration) string {
	d = d.Abs()
	switch {
	case d >= 48*time.Hour:
		return count(int(d/day), "day")
	case d >= 2*time.Hour:
		return count(int(d/time.Hour), "hour")
	case d >= time.Minute:
		return count(int(d/time.Minute), "minute")
	default:
		return count(int(d/time.Second), "second")
	}
}

func count(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// due says when something that is left for d expires: "expires in 20 days".
func due(left time.Duration) string {
	if left <= 0 {
		return "expired " + span(left) + " ago"
	}
	return "expires in " + span(left)
}

// remaining is the short form of due, beside a bar.
func remaining(left time.Duration) string {
	if left <= 0 {
		return "expired " + span(left) + " ago"
	}
	return span(left) + " left"
}

func date(t time.Time) string { return t.UTC().Format("2 January 2006") }

func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// ago says how long t is past, or how long it is ahead.
func ago(t, now time.Time) string {
	if t.After(now) {
		return "in " + span(t.Sub(now))
	}
	return span(now.Sub(t)) + " ago"
}
