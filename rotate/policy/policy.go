package policy

import (
	"time"

	"entra-aws-exporter/internal/model"
)

// Policy says when rotations of one kind may start, and who approves a deletion.
type Policy struct {
	Section     string // of the configuration: "rotation"
	Mode        model.RotationMode
	Trigger     model.Trigger // due: the engine starts what is due, without an alert
	Approval    model.Approval
	Cooldown    time.Duration // after a rotation has ended
	MaxAttempts int           // failed rotations in a row at which an operator is needed
	MaxChanging int           // rotations of one process between a change and its proof; 0: two
}

// Token is the policy for SCIM access tokens.
type Token struct {
	Policy
	Issuer             model.Issuer
	Before             time.Duration // due when the token in use expires within this time
	MaxAge             time.Duration // or is older than this; 0: never
	DeleteExpiredToken bool
	VerifyTimeout      time.Duration
	CanaryUserObjectID string
	RetireAfter        time.Duration
}

// What is allowed, besides what the configuration says.
const (
	// MinRetireAfter is the shortest time between storing the new token and deleting the
	// old one: Entra's provisioning engine may use credentials that it read an hour ago.
	MinRetireAfter = 75 * time.Minute

	// MinRemainingValidity is how long the token that stays must still be valid.
	MinRemainingValidity = 7 * 24 * time.Hour

	// ExpiryGrace is how long after its expiry a token is still taken for valid.
	ExpiryGrace = time.Hour
)

// The lifetimes that a token can plausibly have; other dates count as unknown.
const (
	minLifetime = 24 * time.Hour
	maxLifetime = 400 * 24 * time.Hour
)

// DueAt returns when a token must be replaced: a third of its lifetime before it
// expires, at most Before; or when it gets older than MaxAge. Zero: its dates are unknown.
func (p Token) DueAt(token model.Token) time.Time {
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

// ActiveToken returns the token whose dates decide when a rotation is due: the one in
// use, else the one that TokenList.Active names. False: no date is known.
func ActiveToken(list model.TokenList, inUse string, now time.Time) (model.Token, bool) {
	if token, ok := list.Active(inUse, now); ok {
		return token, true
	}
	return FindToken(list.Tokens, inUse)
}

// RetentionTime is how long the old token stays after the proof that the new one is used.
func (p Token) RetentionTime() time.Duration { return max(p.RetireAfter, MinRetireAfter) }

// MinLifetime is the lifetime below which a token would not outlive a rotation.
func (p Token) MinLifetime() time.Duration {
	return MinRemainingValidity + p.VerifyTimeout + p.RetentionTime()
}

// Lifetime is how long a token is valid in all; false: that is not known.
func Lifetime(token model.Token) (time.Duration, bool) {
	return token.Expires.Sub(token.Created), !token.Expires.IsZero() && !token.Created.IsZero()
}

// Sanitize drops an expiry that is not plausible.
func Sanitize(token model.Token) model.Token {
	if lifetime := token.Expires.Sub(token.Created); token.Created.IsZero() || lifetime < minLifetime || lifetime > maxLifetime {
		token.Expires = time.Time{}
	}
	return token
}

// Approved tells whether the old token may be deleted: the operator approved it, the
// policy accepts the risk, the proof is strong enough, or this binding is trusted.
func (p Policy) Approved(byOperator bool, level model.ProofLevel, trusted bool) bool {
	switch {
	case byOperator:
		return true
	case p.Approval == model.ApprovalNever:
		return true
	case p.Approval == model.ApprovalAlways:
		return false
	default:
		return level.AtLeast(model.ProofAttributed) || trusted
	}
}

// FindToken returns the token with this id.
func FindToken(tokens []model.Token, id string) (model.Token, bool) {
	for _, token := range tokens {
		if token.ID == id {
			return token, true
		}
	}
	return model.Token{}, false
}
