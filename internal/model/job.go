package model

import (
	"regexp"
	"slices"
	"strings"
	"time"
)

// JobStatus is the status of a provisioning job. A status that Entra adds later is
// JobUnknown.
type JobStatus string

// The states of a provisioning job.
const (
	JobNotConfigured JobStatus = "not_configured"
	JobNotRun        JobStatus = "not_run"
	JobActive        JobStatus = "active"
	JobPaused        JobStatus = "paused"
	JobQuarantine    JobStatus = "quarantine"
	JobUnknown       JobStatus = "unknown"
)

// JobStatuses lists the closed set.
func JobStatuses() []JobStatus {
	return []JobStatus{JobNotConfigured, JobNotRun, JobActive, JobPaused, JobQuarantine, JobUnknown}
}

// ScheduleState is the state of a job's schedule.
type ScheduleState string

// The states of a schedule.
const (
	ScheduleActive   ScheduleState = "active"
	ScheduleDisabled ScheduleState = "disabled"
	SchedulePaused   ScheduleState = "paused"
	ScheduleUnknown  ScheduleState = "unknown"
)

// ScheduleStates lists the closed set.
func ScheduleStates() []ScheduleState {
	return []ScheduleState{ScheduleActive, ScheduleDisabled, SchedulePaused, ScheduleUnknown}
}

// CycleState is the result of a provisioning cycle.
type CycleState string

// The results of a provisioning cycle.
const (
	CycleSucceeded        CycleState = "succeeded"
	CycleFailed           CycleState = "failed"
	CycleEntryLevelErrors CycleState = "entry_level_errors" // some users failed, the rest went through
	CycleUnknown          CycleState = "unknown"
)

// CycleStates lists the closed set.
func CycleStates() []CycleState {
	return []CycleState{CycleSucceeded, CycleFailed, CycleEntryLevelErrors, CycleUnknown}
}

// The quarantine reason and error code by which Entra says that the SCIM credentials
// are bad.
// https://learn.microsoft.com/entra/identity/app-provisioning/application-provisioning-quarantine-status
const (
	QuarantineReasonException    = "EncounteredQuarantineException"
	QuarantineReasonDeletes      = "TooManyDeletes"
	QuarantineCodeBadCredentials = "SystemForCrossDomainIdentityManagementCredentialValidationFailure"
)

// QuarantineDisableAfter is how long a quarantine lasts before Entra disables the job.
const QuarantineDisableAfter = 28 * 24 * time.Hour

// Quarantine is Entra's state of a job that it runs less often after failures.
type Quarantine struct {
	Reason       string // Entra's enum value as sent
	ErrorCode    string // Entra's error code; "" when it gave none
	CurrentBegan time.Time
	SeriesBegan  time.Time // start of this and the quarantines before it without recovery
	NextAttempt  time.Time // zero: unknown
}

// QuarantineCause is what a quarantine says about the SCIM credentials. Entra's reasons and
// codes are no closed set, so they are judged by family.
type QuarantineCause string

// The causes of a quarantine.
const (
	QuarantineCredentials QuarantineCause = "credentials" // AWS refuses them
	QuarantineUnreachable QuarantineCause = "unreachable" // Entra got no answer; a refused token is worded so, too
	QuarantineOther       QuarantineCause = "other"       // it needs an operator's decision in Entra
)

// Cause judges the quarantine by its reason and the family of its code.
func (q Quarantine) Cause() QuarantineCause {
	switch {
	case q.Reason != QuarantineReasonException && q.Reason != "":
		return QuarantineOther
	case q.ErrorCode == "" || IsCredentialCode(q.ErrorCode):
		return QuarantineCredentials
	case strings.Contains(q.ErrorCode, "CredentialValidationUnavailable"):
		return QuarantineUnreachable
	default:
		return QuarantineOther
	}
}

// Credentials reports whether Entra says that its SCIM credentials are refused.
func (q Quarantine) Credentials() bool { return q.Cause() == QuarantineCredentials }

// IsCredentialCode reports whether a code of Entra's is of the families that say that the
// SCIM credentials are refused. Seen are CredentialValidationFailure and
// InvalidCredentials, both with and without the prefix
// SystemForCrossDomainIdentityManagement.
// https://learn.microsoft.com/graph/api/resources/synchronization-synchronizationerror
func IsCredentialCode(code string) bool {
	return strings.HasSuffix(code, "CredentialValidationFailure") || strings.HasSuffix(code, "InvalidCredentials")
}

// refusedWords are how Entra quotes AWS's refusal in the codes and messages seen.
var refusedWords = regexp.MustCompile(`(?i)\b(unauthorized|forbidden|401|403|invalid ?credentials)\b`) //nolint:gochecknoglobals // compiled once, never changed

// SaysRefused reports whether Entra says that AWS refused the credentials, given the codes
// and messages of a failed test of the connection. Anything else says that the test did not
// take place: the code …CredentialValidationUnavailable alone means that Entra got no answer.
func SaysRefused(texts ...string) bool {
	return slices.ContainsFunc(texts, func(text string) bool { return IsCredentialCode(text) || refusedWords.MatchString(text) })
}

// Cycle is one run of a provisioning job.
type Cycle struct {
	Began     time.Time
	Ended     time.Time
	State     CycleState
	ErrorCode string              // "" when it gave none
	Entries   map[EntryKind]int64 // a kind that Entra did not count is absent
}

// EntryKind says what happened to entries in a cycle.
type EntryKind string

// The kinds of entries that Entra counts.
const (
	EntriesImported EntryKind = "imported" // read from Entra
	EntriesExported EntryKind = "exported" // written to AWS
	EntriesEscrowed EntryKind = "escrowed" // failed, to be tried again
	EntriesEntitled EntryKind = "entitled" // in the scope of the job
)

// Job is a provisioning job, as one read showed it. A nil pointer, a zero time or a zero
// interval means that Entra did not say.
type Job struct {
	ID                  string
	TemplateID          string
	Status              JobStatus
	Schedule            ScheduleState
	Interval            time.Duration
	Quarantine          *Quarantine
	LastCycle           *Cycle
	LastSuccess         *Cycle
	LastExport          *Cycle // the last successful cycle that exported something
	ConsecutiveFailures *int64
	Synchronized        map[string]int64 // entries in sync, by kind
	NotificationEnabled *bool            // whether Entra sends mail on failure; nil: not readable
	Date                time.Time        // Graph's clock when it responded; zero: unknown
}
