package web

import (
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// Connections is the response of GET /api/v1/connections.
type Connections struct {
	Advice      []Advice     `json:"advice"`       // about the exporter itself
	Total       int          `json:"total"`        // of the connections that the filter selects, on all pages
	ExpiresNext []Expiry     `json:"expires_next"` // of all connections, earliest first
	Connections []Connection `json:"connections"`
}

// Rotations is the response of GET /api/v1/rotations, newest first.
type Rotations struct {
	Rotations []model.RotationRecord `json:"rotations"`
}

// Connection is the state of one connection. Times are RFC 3339 in UTC. Unknown values are
// omitted. It contains no secret.
type Connection struct {
	Name           string          `json:"name"`
	EntraTenant    string          `json:"entra_tenant"`
	Binding        model.Binding   `json:"binding"`
	Ambiguous      string          `json:"ambiguous,omitempty"` // why it cannot be rotated
	Tokens         *Tokens         `json:"tokens,omitempty"`
	Probe          *Probe          `json:"probe,omitempty"` // absent if stale, or if the last probe had no answer
	Job            *Job            `json:"job,omitempty"`   // absent if stale
	Events         *Events         `json:"events,omitempty"`
	Certificates   *Certificates   `json:"certificates,omitempty"`
	AppCredentials []AppCredential `json:"app_credentials,omitempty"`
	Sources        []Source        `json:"sources"`
	Rotation       Rotation        `json:"rotation"`
	Rollover       *Rotation       `json:"rollover,omitempty"` // of the SAML certificate; absent: off
	Advice         []Advice        `json:"advice"`             // most harmful first; empty: no action is needed
}

// Tokens are the SCIM access tokens.
type Tokens struct {
	Origin        model.TokenOrigin `json:"origin"`
	Slots         int               `json:"slots,omitempty"`
	ActiveTokenID string            `json:"active_token_id,omitempty"` // the one whose expiry matters
	ActiveExpires time.Time         `json:"active_expires,omitzero"`
	Tokens        []Token           `json:"tokens"` // oldest first
}

// Token is one SCIM access token, without its value.
type Token struct {
	model.Token
	Role     model.TokenRole `json:"role"`
	LastUsed time.Time       `json:"last_used,omitzero"`
}

// Probe is the result of the last call to the SCIM endpoint.
type Probe struct {
	Accepted        bool    `json:"accepted"`
	StatusCode      int     `json:"status_code"`
	DurationSeconds float64 `json:"duration_seconds"`
}

// Job is the provisioning job.
type Job struct {
	ID                  string              `json:"id"`
	Status              model.JobStatus     `json:"status"`
	Schedule            model.ScheduleState `json:"schedule"`
	IntervalSeconds     float64             `json:"interval_seconds,omitempty"`
	Quarantine          *Quarantine         `json:"quarantine,omitempty"`
	LastCycle           *Cycle              `json:"last_cycle,omitempty"`
	LastSuccess         *Cycle              `json:"last_success,omitempty"`
	LastExport          *Cycle              `json:"last_export,omitempty"`
	ConsecutiveFailures *int64              `json:"consecutive_failures,omitempty"`
	Synchronized        map[string]int64    `json:"synchronized,omitempty"` // entries by kind
	NotificationEnabled *bool               `json:"notification_enabled,omitempty"`
}

// Quarantine says why and since when Entra quarantines the job.
type Quarantine struct {
	Reason      string    `json:"reason"`
	ErrorCode   string    `json:"error_code,omitempty"`
	Began       time.Time `json:"began,omitzero"`
	SeriesBegan time.Time `json:"series_began,omitzero"`
	DisablesAt  time.Time `json:"disables_at,omitzero"` // when Entra disables the job
	NextAttempt time.Time `json:"next_attempt,omitzero"`
}

// Cycle is one execution of the job.
type Cycle struct {
	Began     time.Time                 `json:"began,omitzero"`
	Ended     time.Time                 `json:"ended,omitzero"`
	State     model.CycleState          `json:"state"`
	ErrorCode string                    `json:"error_code,omitempty"`
	Entries   map[model.EntryKind]int64 `json:"entries"` // imported, exported, escrowed, entitled; those that Entra reports
}

// Events are the counters of the provisioning log.
type Events struct {
	Counts []EventCount         `json:"counts"`
	Errors []EventError         `json:"errors"`
	Last   map[string]time.Time `json:"last,omitempty"` // by status
}

// EventCount counts events by action and status.
type EventCount struct {
	Action string `json:"action"`
	Status string `json:"status"`
	Count  uint64 `json:"count"`
}

// EventError counts failed events by Entra's category and code.
type EventError struct {
	Category string `json:"category"`
	Code     string `json:"code"`
	Count    uint64 `json:"count"`
}

// Certificates are the SAML signing certificates of both sides.
type Certificates struct {
	ActiveThumbprint      string        `json:"active_thumbprint,omitempty"`
	ActiveKnown           *bool         `json:"active_known,omitempty"` // whether the active one is listed; nil: the source does not name it
	ActiveExpires         time.Time     `json:"active_expires,omitzero"`
	UnexpectedSigner      string        `json:"unexpected_signer,omitempty"` // thumbprint
	NotificationAddresses *int          `json:"notification_addresses,omitempty"`
	Entra                 []Certificate `json:"entra"`
	AWS                   []Certificate `json:"aws,omitempty"`
}

// Certificate is one certificate.
type Certificate struct {
	Thumbprint string    `json:"thumbprint"`
	NotBefore  time.Time `json:"not_before,omitzero"`
	NotAfter   time.Time `json:"not_after,omitzero"`
	Active     bool      `json:"active"`
	Trusted    *bool     `json:"trusted,omitempty"` // by AWS; absent: unknown
}

// AppCredential is a credential by which the exporter signs in to Entra.
type AppCredential struct {
	EntraTenant string    `json:"entra_tenant"` // of the connection, or of its rotation
	Kind        string    `json:"kind"`
	KeyID       string    `json:"key_id"`
	Expires     time.Time `json:"expires,omitzero"`
}

// Source is the state of one source.
type Source struct {
	Source          model.Source            `json:"source"`
	Up              *bool                   `json:"up,omitempty"`  // absent: not polled yet, or off
	Off             bool                    `json:"off,omitempty"` // there is nothing to read now
	Fresh           bool                    `json:"fresh"`         // the last success is at most three intervals old
	IntervalSeconds float64                 `json:"interval_seconds"`
	LastAttempt     time.Time               `json:"last_attempt,omitzero"`
	LastSuccess     time.Time               `json:"last_success,omitzero"`
	Reason          model.Reason            `json:"reason,omitempty"`
	Error           string                  `json:"error,omitempty"`
	Errors          map[model.Reason]uint64 `json:"errors,omitempty"` // since the start, by reason
}

// Rotation is the status of the rotation of the token, or of the rollover of the certificate.
type Rotation struct {
	Mode          model.RotationMode       `json:"mode"`
	Issuer        model.Issuer             `json:"issuer,omitempty"`
	Phase         model.Phase              `json:"phase"`
	Due           time.Time                `json:"due,omitzero"`
	Started       time.Time                `json:"started,omitzero"`
	LastSuccess   time.Time                `json:"last_success,omitzero"`
	Proof         model.ProofLevel         `json:"proof,omitempty"`
	Blocked       model.BlockedReason      `json:"blocked,omitempty"`
	Waiting       model.WaitingReason      `json:"waiting,omitempty"`
	Message       string                   `json:"message,omitempty"`
	Outcomes      map[model.Outcome]uint64 `json:"outcomes,omitempty"`
	TokensCreated uint64                   `json:"tokens_created,omitempty"`
}

// Severity says how soon an operator must act, in the words of the alerts.
type Severity string

// The severities.
const (
	Critical Severity = "critical"
	Warning  Severity = "warning"
	Info     Severity = "info"
)

// rank orders severities, most urgent first. No severity ranks last.
func (s Severity) rank() int {
	if i := slices.Index([]Severity{Critical, Warning, Info}, s); i >= 0 {
		return i
	}
	return 3
}

// severity is the highest severity of the connection's advice; "" without any.
func (c Connection) severity() Severity {
	var highest Severity
	for _, advice := range c.Advice {
		if advice.Severity.rank() < highest.rank() {
			highest = advice.Severity
		}
	}
	return highest
}

// severityOf is the highest severity of the advice about one harm.
func (c Connection) severityOf(harm Harm) Severity {
	c.Advice = slices.DeleteFunc(slices.Clone(c.Advice), func(advice Advice) bool { return advice.Harm != harm })
	return c.severity()
}

// isPolled reports whether any source has been polled.
func (c Connection) isPolled() bool {
	return slices.ContainsFunc(c.Sources, func(source Source) bool { return source.Up != nil })
}

// needsAttention reports whether some advice is urgent or a warning.
func (c Connection) needsAttention() bool { return c.severity().rank() <= Warning.rank() }

// Harm says what a problem harms.
type Harm string

// The harms.
const (
	HarmSignIn       Harm = "sign_in"      // users cannot sign in
	HarmProvisioning Harm = "provisioning" // users are not provisioned
	HarmExpiry       Harm = "expiry"       // something expires, or its renewal needs an operator
	HarmMonitoring   Harm = "monitoring"   // the next problem can stay unseen
)

// rank orders harms, the worst first.
func (h Harm) rank() int {
	return slices.Index([]Harm{HarmSignIn, HarmProvisioning, HarmExpiry, HarmMonitoring}, h)
}

// Advice is one recommended action for a connection.
type Advice struct {
	Severity Severity            `json:"severity"`
	Harm     Harm                `json:"harm"`
	Cause    string              `json:"cause,omitempty"`   // advice of a connection with the same cause belongs together
	Message  string              `json:"message"`           // what is wrong and what to do
	Command  string              `json:"command,omitempty"` // the next command, if there is one
	Alert    string              `json:"alert,omitempty"`   // the alert for the same problem, and so its runbook
	Reason   model.BlockedReason `json:"reason,omitempty"`  // of a blocked rotation
}
