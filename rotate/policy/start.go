package policy

import (
	"fmt"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// circuitBreakerLimit is the number of blocked connections at which no other rotation starts.
const circuitBreakerLimit = 2

// Halted says why no new rotation may start until an operator acts; "" if one may.
// attempts failed since the last success, lastReason is why the last one ended, blocked
// are the connections whose rotations are blocked.
func (p Policy) Halted(attempts int, lastReason string, blocked []string) (reason model.BlockedReason, detail string) {
	if attempts >= max(p.MaxAttempts, 1) {
		last := ""
		if lastReason != "" {
			last = "; the last one ended: " + lastReason
		}
		return model.BlockedAttemptsExhausted, fmt.Sprintf("unsuccessful rotations in a row: %d%s", attempts, last)
	}
	if len(blocked) >= circuitBreakerLimit {
		return model.BlockedFleetHalt, fmt.Sprintf("the rotations of %s are blocked, so no other rotation starts", strings.Join(blocked, " and "))
	}
	return "", ""
}

// InCooldown tells whether the last rotation ended too short a time ago. speedup divides
// the cooldown.
func (p Policy) InCooldown(lastEnd, now time.Time, speedup time.Duration) bool {
	return !lastEnd.IsZero() && now.Sub(lastEnd) < p.Cooldown/speedup
}
