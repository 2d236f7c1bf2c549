package model

import (
	"context"
	"errors"
	"net/http"
)

// Reason says why a reading or an act failed. The set is closed: it is a metric
// label and the first word of what a person at 3 a.m. reads. A client decides it
// once, at its edge.
type Reason string

// The reasons, see docs/metrics.md.
const (
	ReasonAuth            Reason = "auth"             // our own sign-in was refused
	ReasonPermission      Reason = "permission"       // signed in, but not allowed
	ReasonThrottled       Reason = "throttled"        // 429, or a throttling exception
	ReasonTimeout         Reason = "timeout"          // no answer before the deadline
	ReasonNetwork         Reason = "network"          // DNS, connection or TLS
	ReasonNotFound        Reason = "not_found"        // the application, job, store or tenant is not there
	ReasonAmbiguous       Reason = "ambiguous"        // several candidates, a config key must choose
	ReasonAPIChanged      Reason = "api_changed"      // an undocumented API no longer answers as known
	ReasonInvalidResponse Reason = "invalid_response" // an answer that cannot be read
	ReasonLicence         Reason = "licence"          // the tenant's licence does not include the API
	ReasonOther           Reason = "other"            // none of the above
)

// Reasons lists the closed set in the order of the documentation.
func Reasons() []Reason {
	return []Reason{
		ReasonAuth, ReasonPermission, ReasonThrottled, ReasonTimeout, ReasonNetwork, ReasonNotFound,
		ReasonAmbiguous, ReasonAPIChanged, ReasonInvalidResponse, ReasonLicence, ReasonOther,
	}
}

// Error is a failed call to one of the clouds, classified by the client that made it.
type Error struct {
	Reason Reason
	Op     string // what was being done, "listing SCIM tokens"
	Detail string // what was found, in one sentence; never a secret or personal data
	Advice string // what to do about it: a permission to grant, a key to set
	Status int    // HTTP status; 0 when no answer was read
	Code   string // the service's own error code: "AccessDeniedException", "AADSTS7000222"
	Unsent bool   // the request certainly never reached the service
	Err    error  // the cause, if any; not printed when Detail is set
}

// Error implements error: "listing SCIM tokens: permission: AccessDeniedException: … (grant …)".
func (e *Error) Error() string {
	text := e.Op + ": " + string(e.Reason)
	switch {
	case e.Detail != "":
		text += ": " + e.Detail
	case e.Err != nil:
		text += ": " + e.Err.Error()
	}
	if e.Advice != "" {
		text += " (" + e.Advice + ")"
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ReasonOf returns the reason an error was classified with, timeout for an
// expired context, other for anything else and "" for nil.
func ReasonOf(err error) Reason {
	var classified *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &classified):
		return classified.Reason
	case errors.Is(err, context.DeadlineExceeded):
		return ReasonTimeout
	default:
		return ReasonOther
	}
}

// CallOutcome is what is known of an act: a call that changes something in a cloud.
type CallOutcome string

// The outcomes of an act (ROTATION: acts).
const (
	CallDone    CallOutcome = "done"    // a 2xx that could be read
	CallRefused CallOutcome = "refused" // a 4xx, or nothing was sent: it has no effect
	CallUnknown CallOutcome = "unknown" // everything else: it may have happened
)

// CallOutcomeOf tells from the error of an act whether it may have taken effect.
func CallOutcomeOf(err error) CallOutcome {
	if err == nil {
		return CallDone
	}
	var classified *Error
	if !errors.As(err, &classified) {
		return CallUnknown
	}
	if classified.Unsent || (classified.Status >= http.StatusBadRequest && classified.Status < http.StatusInternalServerError) {
		return CallRefused
	}
	return CallUnknown
}
