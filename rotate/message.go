package rotate

import (
	"fmt"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// message is what an operator reads about a blocked rotation. inventory lists what there
// is to rotate, with dates.
func message(kind model.Procedure, connection string, phase model.Phase, reason model.BlockedReason, detail, inventory string) string {
	return messageWith(connection, phase, reason, detail, inventory, policy.Remediation(kind, reason, connection))
}

// messageWith is message with another next command than the reason's own.
func messageWith(connection string, phase model.Phase, reason model.BlockedReason, detail, inventory, command string) string {
	return fmt.Sprintf("%s is blocked in phase %s (%s): %s; %s; next: %s.", connection, phase, reason, detail, inventory, command)
}

// stalledMessage is what an operator reads while failures last.
func stalledMessage(failures journal.Failures, connection string, phase model.Phase) string {
	next := "doctor " + connection
	if failures.Store {
		next = "make the state, and the age identity if there is one, readable and writable (doctor tries it)"
	}
	return fmt.Sprintf("%s is stalled in phase %s since %s: %s; it retries automatically; next: %s.",
		connection, phase, FormatTime(failures.Since), failures.Text, next)
}

// stalledWaiting is the waiting reason that fits failures; none if AWS or Entra do not respond.
func stalledWaiting(failures journal.Failures) model.WaitingReason {
	if failures.Store {
		return model.WaitingStoreUnavailable
	}
	return ""
}

// FormatTime writes a time as every message does; zero is "unknown".
func FormatTime(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}
