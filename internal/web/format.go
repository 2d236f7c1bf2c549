package web

import (
	"fmt"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

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

// severityLabel names a severity, so that colour is never the only sign.
func severityLabel(severity Severity) string {
	switch severity {
	case Critical:
		return "Urgent"
	case Warning:
		return "Needs attention"
	case Info:
		return "For information"
	default:
		return "All good"
	}
}

// waitingSentence explains a waiting reason; docs/rotation-reasons.md has the details.
func waitingSentence(reason model.WaitingReason, phase model.Phase) string {
	if reason == model.WaitingSettling && phase == model.PhaseConfirm {
		return "The old token is deleted. The rotation checks that provisioning works without it."
	}
	return map[model.WaitingReason]string{
		model.WaitingJobStoppedBriefly: "The provisioning job is stopped, and so are the rotation's timers. Both continue when the job runs again.",
		model.WaitingQuarantineRetry:   "Entra retries the quarantined job soon. The rotation waits for the result.",
		model.WaitingProofPending:      "Entra has saved the new token. A provisioning cycle must still prove that Entra uses it.",
		model.WaitingRetireWait:        "The new token is proven. The old one is kept for a while, in case it is still needed.",
		model.WaitingSettling:          "The last change takes a while to become visible everywhere. The rotation then checks again.",
		model.WaitingStoreUnavailable:  "The journal or the token store cannot be written. Check the state directory. Nothing is changed meanwhile.",
		model.WaitingApproval:          "An operator must approve the deletion of the old token.",
		model.WaitingOnHold:            "The rotation is on hold. Resume it with rotation hold --release.",
	}[reason]
}
