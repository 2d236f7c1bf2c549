package web

import (
	"fmt"
	"strings"
	"time"
)

const day = 24 * time.Hour

// formatDuration rounds down to the largest unit of which there are at least two:
// "47 hours", "2 days". The sign is dropped.
func formatDuration(d time.Duration) string {
	d = d.Abs()
	switch {
	case d >= 48*time.Hour:
		return formatCount(int(d/day), "day")
	case d >= 2*time.Hour:
		return formatCount(int(d/time.Hour), "hour")
	case d >= time.Minute:
		return formatCount(int(d/time.Minute), "minute")
	default:
		return formatCount(int(d/time.Second), "second")
	}
}

func formatCount(n int, unit string) string {
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// expiresIn returns "expires in 20 days" or "expired 2 days ago".
func expiresIn(left time.Duration) string {
	if left > 0 {
		return "expires in " + formatDuration(left)
	}
	return "expired " + formatDuration(left) + " ago"
}

// relativeTime returns "2 days ago" or "in 20 days".
func relativeTime(t, now time.Time) string {
	if t.After(now) {
		return "in " + formatDuration(t.Sub(now))
	}
	return formatDuration(now.Sub(t)) + " ago"
}

func formatDate(t time.Time) string { return t.UTC().Format("2 January 2006") }

func formatTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// spaced turns an identifier such as two_tokens into words.
func spaced(identifier any) string { return strings.ReplaceAll(fmt.Sprint(identifier), "_", " ") }
