package web

import (
	"fmt"
	"time"

	"entra-aws-exporter/internal/model"
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

// waiting says in a sentence what a rotation in a phase waits for; docs/rotation.md has more.
func waiting(reason model.WaitingReason, phase model.Phase) string {
	if reason == model.WaitingSettling && phase == model.PhaseConfirm {
		return "The old token is deleted; the rotation watches whether all goes well without it."
	}
	return map[model.WaitingReason]string{
		model.WaitingJobStoppedBriefly: "The provisioning job stands still, and with it the clock of the rotation; it goes on when the job does.",
		model.WaitingQuarantineRetry:   "Entra tries the quarantined job again soon; the rotation looks what comes of it.",
		model.WaitingProofPending:      "Entra has saved the new token; a provisioning cycle has yet to prove that it is used.",
		model.WaitingRetireWait:        "The new token is proved; the old one stays for a while in case it is still needed.",
		model.WaitingSettling:          "What was just done takes a while to show everywhere; the rotation looks again.",
		model.WaitingStoreUnavailable:  "The journal or the vault cannot be written: look at the state directory. Nothing is changed meanwhile.",
		model.WaitingApproval:          "A person must allow the deletion of the old token.",
		model.WaitingOnHold:            "A person holds it; rotation hold --release lets it go on.",
	}[reason]
}
