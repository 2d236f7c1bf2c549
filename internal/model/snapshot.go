package model

import (
	"errors"
	"time"
)

// Source is one thing that is polled for a connection. It is a metric label.
type Source string

// The sources.
const (
	SourceTokens         Source = "tokens"
	SourceSCIM           Source = "scim"
	SourceUsage          Source = "usage"
	SourceJob            Source = "job"
	SourceEvents         Source = "events"
	SourceCertificates   Source = "certificates"
	SourceAppCredentials Source = "app_credentials"
)

// Sources lists all sources in the order of the documentation.
func Sources() []Source {
	return []Source{SourceTokens, SourceSCIM, SourceUsage, SourceJob, SourceEvents, SourceCertificates, SourceAppCredentials}
}

// ErrSourceOff means that there is nothing to read at the moment: for example, no value of
// a token is known with which the SCIM endpoint could be probed. It is not a failure. The
// source counts as switched off until the next poll.
var ErrSourceOff = errors.New("nothing to read")

// SourceStatus says how the polls of one source ended.
type SourceStatus struct {
	Source      Source
	Interval    time.Duration
	LastAttempt time.Time // when the last attempt ended; zero: not polled yet, or Off
	LastSuccess time.Time // zero: never
	Err         error     // why the last attempt failed; nil: it did not
	Errors      map[Reason]uint64
	Off         bool // the last attempt found nothing to read
}

// Up reports whether the last attempt succeeded.
func (s SourceStatus) Up() bool { return !s.LastAttempt.IsZero() && s.Err == nil }

// Fresh reports whether the last success is at most three intervals old at the given time.
// Values that mislead when they are old are shown only while they are fresh.
func (s SourceStatus) Fresh(at time.Time) bool {
	return !s.LastSuccess.IsZero() && at.Sub(s.LastSuccess) <= 3*s.Interval
}

// Snapshot is the last good result of every source of a connection. It is immutable. A nil
// pointer means that the source is off or was never read with success.
type Snapshot struct {
	Connection  string
	EntraTenant string // the tenant's name in the config
	Binding     Binding
	Ambiguous   string // why no rotation may touch this connection; "": it may
	Sources     []SourceStatus

	Tokens         *TokenList
	Probe          *Probe
	Usage          *Usage
	Job            *Job
	Events         *EventCounts
	Signing        *SigningCertificates
	Trusted        *[]Certificate // what AWS trusts
	AppCredentials []AppCredential
}

// Status returns the status of a source; false when it is not polled.
func (s Snapshot) Status(source Source) (SourceStatus, bool) {
	for _, status := range s.Sources {
		if status.Source == source {
			return status, true
		}
	}
	return SourceStatus{}, false
}

// TrustedByAWS reports whether AWS trusts the certificate with this thumbprint; known is
// false when AWS's certificates were never read.
func (s Snapshot) TrustedByAWS(thumbprint string) (trusted, known bool) {
	if s.Trusted == nil {
		return false, false
	}
	for _, certificate := range *s.Trusted {
		if certificate.Thumbprint == thumbprint {
			return true, true
		}
	}
	return false, true
}
