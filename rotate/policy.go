package rotate

import (
	"fmt"
	"time"

	"entra-aws-exporter/internal/model"
)

// Approval says who allows the deletion of the old token.
type Approval string

// The approvals.
const (
	ApproveFirst  Approval = "first"  // a person, until a rotation of this binding was proven to its end
	ApproveAlways Approval = "always" // a person, every time
	ApproveNever  Approval = "never"  // nobody: the risk is accepted, the rescue bounds it
)

// Policy says when and how a connection's token may be rotated.
type Policy struct {
	Mode               model.RotationMode
	Issuer             model.Issuer
	Before             time.Duration // due when the token in use expires within this time
	MaxAge             time.Duration // or is older than this; 0: never
	Approval           Approval
	DeleteExpiredToken bool
	VerifyTimeout      time.Duration
	CanaryUserObjectID string
	RetireAfter        time.Duration
	Cooldown           time.Duration
	MaxAttempts        int
}

// Connection is one connection that can be rotated.
type Connection struct {
	Name      string
	Policy    Policy
	Clouds    Clouds
	TenantURL string // the Tenant URL to save when Entra hides its own; "": AWS's SCIM endpoint
}

// What the policy allows, beside what the config says.
const (
	createsPerDay  = 2
	createsPerWeek = 4
	rescuesPerDay  = 2

	fleetLimit = 2 // blocked connections at which no other rotation starts

	// retireFloor is the shortest time between storing the new token and deleting the
	// old one: Entra's engine may use credentials that it read up to an hour ago.
	retireFloor = 75 * time.Minute

	// staysValid is how long the token that stays must still be valid.
	staysValid = 7 * 24 * time.Hour

	// readingsApart is how far apart two readings must be that both say: due.
	readingsApart = 10 * time.Minute
)

// dueAt returns when a token is to be replaced: a third of its lifetime before it
// expires, at most Before; or when it gets older than MaxAge. Zero: its dates are unknown.
func (p Policy) dueAt(token model.Token) time.Time {
	var due time.Time
	if !token.Expires.IsZero() {
		before := p.Before
		if !token.Created.IsZero() {
			before = min(before, token.Expires.Sub(token.Created)/3)
		}
		due = token.Expires.Add(-before)
	}
	if p.MaxAge > 0 && !token.Created.IsZero() {
		if aged := token.Created.Add(p.MaxAge); due.IsZero() || aged.Before(due) {
			due = aged
		}
	}
	return due
}

// shortestRotation is the lifetime below which a rotation would never come to rest.
func (p Policy) shortestRotation() time.Duration {
	return staysValid + p.VerifyTimeout + max(p.RetireAfter, retireFloor)
}

// spent tells what the budget forbids now, by AWS's clock; "" if nothing.
func (b budget) spent(now time.Time) string {
	var day, week int
	for _, create := range b.Creates {
		if create.From.After(now.Add(-24 * time.Hour)) {
			day++
		}
		if create.From.After(now.Add(-7 * 24 * time.Hour)) {
			week++
		}
	}
	switch {
	case day >= createsPerDay:
		return fmt.Sprintf("%d tokens were asked for within a day", day)
	case week >= createsPerWeek:
		return fmt.Sprintf("%d tokens were asked for within a week", week)
	default:
		return ""
	}
}

func (b budget) rescuesSpent(now time.Time) bool {
	count := 0
	for _, at := range b.Rescues {
		if at.After(now.Add(-24 * time.Hour)) {
			count++
		}
	}
	return count >= rescuesPerDay
}

// forget drops what is too old to count; unanswered creates stay a while longer, to
// tell an orphan of ours from a stranger.
func (b *budget) forget(now time.Time) {
	keep := b.Creates[:0]
	for _, create := range b.Creates {
		if create.From.After(now.Add(-30 * 24 * time.Hour)) {
			keep = append(keep, create)
		}
	}
	b.Creates = keep
	for len(b.Rescues) > 0 && b.Rescues[0].Before(now.Add(-7*24*time.Hour)) {
		b.Rescues = b.Rescues[1:]
	}
}
