package policy

import (
	"fmt"
	"math"
	"time"

	"entra-aws-exporter/internal/model"
)

// Certificate is the policy for the SAML signing certificate.
type Certificate struct {
	Policy
	Before      time.Duration // due when the active one expires within this time
	RetireAfter time.Duration // how long AWS trusts the old one after the proof that the new one is used
	Validity    time.Duration // of a new one
	Slots       int           // how many AWS takes
	Use         string        // what AWS is told that it is for
	Subject     string        // the common name of a new one, before the rotation's id
}

// What is allowed, besides what the configuration says.
const (
	// MinActiveLife is how long the active certificate must be valid when a rollover starts
	// by itself. When it expires, Entra signs with any other valid one.
	MinActiveLife = 14 * 24 * time.Hour
	// MinForcedLife is the same when an operator forces the start.
	MinForcedLife = 24 * time.Hour
	// MinNewLife is how long a certificate must be valid that is made active.
	MinNewLife = 30 * 24 * time.Hour
	// SignInsNeeded is how many sign-ins prove that a certificate is used.
	SignInsNeeded = 3

	maxCertificatesPerWeek  = 1
	maxCertificatesPerMonth = 2
)

// DueAt returns when a certificate must be replaced; zero: its expiry is unknown.
func (p Certificate) DueAt(active model.Certificate) time.Time {
	if active.NotAfter.IsZero() {
		return time.Time{}
	}
	return active.NotAfter.Add(-p.Before)
}

// CertificatesExceeded says which limit forbids another certificate now; "" if none.
// created are the times of the earlier requests.
func CertificatesExceeded(created []time.Time, now time.Time) string {
	var week, month int
	for _, at := range created {
		if at.After(now.Add(-7 * 24 * time.Hour)) {
			week++
		}
		if at.After(now.Add(-30 * 24 * time.Hour)) {
			month++
		}
	}
	switch {
	case week >= maxCertificatesPerWeek:
		return "a certificate was requested within the last week"
	case month >= maxCertificatesPerMonth:
		return fmt.Sprintf("%d certificates were requested within the last month", month)
	default:
		return ""
	}
}

// SignInBaseline is how users signed in before anything was changed.
type SignInBaseline struct {
	Successes int  `json:"successes"`
	Users     int  `json:"users"`
	Failures  int  `json:"failures"`
	Available bool `json:"available"`
}

// BaselineOf keeps of the counts what is compared later.
func BaselineOf(counts model.SignIns) SignInBaseline {
	return SignInBaseline{counts.Successes, counts.Users, counts.Failures, counts.Available}
}

// Failing tells whether so many sign-ins fail as the baseline does not explain: more than
// its share, by twice the usual deviation and two.
func (b SignInBaseline) Failing(now model.SignIns) bool {
	expected := 0.0
	if before := b.Successes + b.Failures; before > 0 {
		expected = float64(now.Successes+now.Failures) * float64(b.Failures) / float64(before)
	}
	return float64(now.Failures) > expected+2*math.Sqrt(expected)+2
}

// Proves tells whether enough users signed in: two, where there are two.
func (b SignInBaseline) Proves(now model.SignIns) bool {
	return now.Available && now.Successes >= SignInsNeeded && now.Users >= min(b.Users, 2) && !b.Failing(now)
}
