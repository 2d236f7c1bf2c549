package model

import (
	"context"
	"errors"
	"net/http"
)

// Reason says why a read or a call failed. It is a metric label, and the first word of the
// error that an operator reads. The client that made the call decides it once.
type Reason string

// The reasons; docs/metrics.md explains each.
const (
	ReasonAuth            Reason = "auth"             // the exporter's own sign-in was refused
	ReasonPermission      Reason = "permission"       // signed in, but not allowed
	ReasonThrottled       Reason = "throttled"        // 429, or a throttling exception
	ReasonTimeout         Reason = "timeout"          // no response before the deadline
	ReasonNetwork         Reason = "network"          // DNS, connection or TLS
	ReasonNotFound        Reason = "not_found"        // there is no such application, job, store or tenant
	ReasonAmbiguous       Reason = "ambiguous"        // several candidates, a config key must choose
	ReasonWrongTarget     Reason = "wrong_target"     // the application belongs to another identity store
	ReasonAPIChanged      Reason = "api_changed"      // an undocumented API responds in an unknown way
	ReasonInvalidResponse Reason = "invalid_response" // a response that cannot be read
	ReasonLicence         Reason = "licence"          // the tenant's licence does not include the API
	ReasonOther           Reason = "other"            // none of the above
)

// Reasons lists the closed set in the order of the documentation.
func Reasons() []Reason {
	return []Reason{
		ReasonAuth, ReasonPermission, ReasonThrottled, ReasonTimeout, ReasonNetwork, ReasonNotFound,
		ReasonAmbiguous, ReasonWrongTarget, ReasonAPIChanged, ReasonInvalidResponse, ReasonLicence, ReasonOther,
	}
}

// Error is a failed call to AWS or Entra, classified by the client that made it.
type Error struct {
	Reason Reason
	Op     string // what was being done, "listing SCIM tokens"
	Detail string // what was found, in one sentence; never a secret or personal data
	Advice string // what to do about it: a permission to grant, a key to set
	Status int    // HTTP status; 0: no response was read
	Code   string // the service's own error code: "AccessDeniedException", "AADSTS7000222"
	Unsent bool   // the request certainly never reached the service
	Unread bool   // a reading right before a change failed, so the change was not sent
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

// CallOutcome says whether a call that changes something in AWS or Entra took effect.
type CallOutcome string

// The outcomes of a call.
const (
	CallDone    CallOutcome = "done"    // a 2xx that could be read
	CallRefused CallOutcome = "refused" // a 4xx of the service, or nothing was sent: it has no effect
	CallUnknown CallOutcome = "unknown" // everything else: it may have taken effect
)

// CallOutcomeOf returns the outcome of a call that returned this error.
func CallOutcomeOf(err error) CallOutcome {
	if err == nil {
		return CallDone
	}
	var classified *Error
	if !errors.As(err, &classified) {
		return CallUnknown
	}
	switch {
	case classified.Unsent:
		return CallRefused
	case classified.Reason == ReasonInvalidResponse, classified.Reason == ReasonAPIChanged && classified.Code == "":
		return CallUnknown // a page, of a proxy perhaps: the service itself has refused nothing
	case classified.Status >= http.StatusBadRequest && classified.Status < http.StatusInternalServerError:
		return CallRefused
	default:
		return CallUnknown
	}
}

// The errors of a store of state. They are wrapped with the operation and the file's name.
var (
	// ErrConflict: the record has another revision. Nothing was written; read it again.
	ErrConflict = errors.New("changed by another process")
	// ErrExists: an entry that is written once exists already.
	ErrExists = errors.New("exists already")
	// ErrUnreadable: the record is corrupt or cannot be decrypted. It is kept as it is.
	ErrUnreadable = errors.New("unreadable")
	// ErrUnsafe: the place loses what is written, such as a network file system.
	ErrUnsafe = errors.New("unsafe place for state")
	// ErrUnavailable: the store cannot be reached now. Waiting helps.
	ErrUnavailable = errors.New("unavailable")
)
