package model

import "time"

// Event is one entry of Entra's provisioning log, without its personal data.
type Event struct {
	ID                 string
	At                 time.Time
	JobID              string
	CycleID            string
	ServicePrincipalID string
	Action             string // one of EventActions
	Status             string // one of EventStatuses
	ErrorCategory      string
	ErrorCode          string
}

// EventActions lists the actions of the provisioning log, in snake case. An action that
// Entra adds later is "other".
func EventActions() []string {
	return []string{"create", "update", "delete", "disable", "staged_delete", "other"}
}

// EventStatuses lists the results of an action. A status that Entra adds later is "unknown".
func EventStatuses() []string {
	return []string{"success", "failure", "skipped", "warning", "unknown"}
}

// EventKey counts events by action and status.
type EventKey struct {
	Action string `json:"action"`
	Status string `json:"status"`
}

// EventErrorKey counts failed events by Entra's category and code.
type EventErrorKey struct {
	Category string `json:"category"`
	Code     string `json:"code"`
}

// EventCounts are one connection's counters over the provisioning log, since the exporter
// first read it. They only grow.
type EventCounts struct {
	Events map[EventKey]uint64
	Errors map[EventErrorKey]uint64
	Last   map[string]time.Time // by status
}
