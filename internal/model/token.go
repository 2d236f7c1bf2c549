package model

import "time"

// TokenSlots is how many SCIM access tokens an identity store can hold; an expired
// one still occupies its slot.
// https://docs.aws.amazon.com/singlesignon/latest/userguide/provision-automatically.html
const TokenSlots = 2

// Token describes a SCIM access token. Its value is never part of it.
type Token struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created,omitzero"` // zero: unknown
	Expires time.Time `json:"expires,omitzero"` // zero: unknown
}

// Expired reports whether the token has expired at t; false when its expiry is unknown.
func (t Token) Expired(at time.Time) bool { return !t.Expires.IsZero() && !at.Before(t.Expires) }

// TokenOrigin says where the dates of a token come from.
type TokenOrigin string

// The origins of a token's dates.
const (
	OriginConsoleAPI TokenOrigin = "console_api" // the API behind the AWS console
	OriginDeclared   TokenOrigin = "declared"    // the config
)

// TokenRole says what a token is used for, as far as it is known.
type TokenRole string

// The roles of a token.
const (
	RoleInUse    TokenRole = "in_use"
	RoleNew      TokenRole = "new"
	RolePrevious TokenRole = "previous"
	RoleUnknown  TokenRole = "unknown"
)

// TokenList is an identity store's tokens, as one read listed them.
type TokenList struct {
	Tokens []Token // oldest first
	Origin TokenOrigin
	Slots  int       // how many tokens there can be; 0: unknown
	Date   time.Time // the service's clock when it responded; zero: unknown
}

// Active returns the token whose expiry matters: the one in use; if that is unknown or not
// listed, the unexpired one that expires first; if all have expired, the one that expired
// last. It returns false when no token has a known expiry.
func (l TokenList) Active(inUse string, at time.Time) (Token, bool) {
	var earliest, latest Token
	for _, token := range l.Tokens {
		switch {
		case token.Expires.IsZero():
			continue
		case inUse != "" && token.ID == inUse:
			return token, true
		case !token.Expired(at) && (earliest.Expires.IsZero() || token.Expires.Before(earliest.Expires)):
			earliest = token
		}
		if token.Expires.After(latest.Expires) {
			latest = token
		}
	}
	if !earliest.Expires.IsZero() {
		return earliest, true
	}
	return latest, !latest.Expires.IsZero()
}

// IssuedToken is a token that was just created. AWS returns its value only then.
type IssuedToken struct {
	Token
	Value Secret
	Date  time.Time // the service's clock when it responded; zero: unknown
}

// Probe is the response of the SCIM endpoint to a call with a token.
type Probe struct {
	StatusCode int
	Duration   time.Duration
	Date       time.Time // the service's clock when it responded; zero: unknown
}

// Accepted reports whether the endpoint accepted the token.
func (p Probe) Accepted() bool { return p.StatusCode >= 200 && p.StatusCode <= 299 }

// Usage says when CloudTrail last saw each token in use. A token that CloudTrail does not
// tell apart from another is absent.
type Usage struct {
	LastUsed map[string]time.Time // by token id
}

// UsageSource says where the last use of a token is read.
type UsageSource string

// The sources of a token's last use.
const (
	UsageNone       UsageSource = "none"
	UsageCloudTrail UsageSource = "cloudtrail"
)

// SCIMCall is one call to the SCIM endpoint, as CloudTrail logged it.
type SCIMCall struct {
	At          time.Time
	AccessKeyID string
	UserAgent   string
	SourceIP    string
}
