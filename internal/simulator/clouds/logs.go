package clouds

import (
	"net/http"
	"sort"
	"time"
)

const logRetention = 30 * 24 * time.Hour

// AuditActivity is the directory audit's name for a change of provisioning credentials.
const AuditActivity = "Update provisioning setting or credentials"

// LogEntry is an entry of the provisioning log, in Graph's words.
type LogEntry struct {
	ID                 string
	At                 time.Time
	JobID, CycleID     string
	ChangeID           string
	ServicePrincipalID string
	Action             string // other | create | delete | disable | update | stagedDelete
	Status             string // success | failure | skipped | warning
	ErrorCategory      string // failure | nonServiceFailure
	ErrorCode, Reason  string
	Duration           time.Duration
	SourceID           string // personal data from here on
	SourceName         string
	TargetID           string
}

// Audit is an entry of the directory audit log.
type Audit struct {
	ID        string
	At        time.Time
	Activity  string
	Initiator Actor
	TargetID  string // the service principal
}

// LogFilter selects entries; a zero field selects all.
type LogFilter struct {
	After, Before      time.Time // exclusive, as gt and lt
	JobID              string
	ServicePrincipalID string
	Status             string
}

// ProvisioningLog lists the visible entries, oldest first. Quirk: log_delay.
func (entra *Entra) ProvisioningLog(c Caller, tenantID string, filter LogFilter) ([]LogEntry, error) {
	t, err := entra.logsOf(c, ReadProvisioningLog, tenantID)
	if err != nil {
		return nil, err
	}
	from := sort.Search(len(t.entries), func(n int) bool { // they are written in the order of their times
		return filter.After.IsZero() || addSkew(t.entries[n].At, entra.skew.Entra).After(filter.After)
	})
	var list []LogEntry
	for n, e := range t.entries[from:] {
		at := addSkew(e.At, entra.skew.Entra)
		if !entra.appeared(e.At, from+n) || e.At.Before(entra.at.Add(-logRetention)) ||
			!filter.Before.IsZero() && !at.Before(filter.Before) ||
			filter.JobID != "" && filter.JobID != e.JobID ||
			filter.ServicePrincipalID != "" && filter.ServicePrincipalID != e.ServicePrincipalID ||
			filter.Status != "" && filter.Status != e.Status {
			continue
		}
		e.At = at
		list = append(list, e)
	}
	return list, nil
}

// DirectoryAudits lists the changes of provisioning credentials of an application, or
// of all, after a time, oldest first.
func (entra *Entra) DirectoryAudits(c Caller, tenantID, objectID string, after time.Time) ([]Audit, error) {
	t, err := entra.logsOf(c, ReadDirectoryAudits, tenantID)
	if err != nil {
		return nil, err
	}
	var list []Audit
	for n, a := range t.audits {
		at := addSkew(a.At, entra.skew.Entra)
		if entra.appeared(a.At, n) && at.After(after) && (objectID == "" || objectID == a.TargetID) {
			a.At = at
			list = append(list, a)
		}
	}
	return list, nil
}

func (entra *Entra) logsOf(c Caller, action Action, tenantID string) (*entraTenant, error) {
	t, err := entra.tenantFor(c, action, tenantID)
	if err != nil {
		return nil, err
	}
	if t.unlicensed {
		return nil, NewError(ServiceGraph, http.StatusForbidden, "Authentication_RequestFromNonPremiumTenantOrB2CTenant", "Neither tenant is B2C or tenant doesn't have premium license")
	}
	return t, nil
}

// appeared says whether the nth entry of a log is visible: after the whole delay, half of
// it, or at once.
func (entra *Entra) appeared(at time.Time, n int) bool {
	return !entra.at.Before(at.Add(entra.lag(entra.quirks.LogDelay) * time.Duration(2-n%3) / 2))
}

func (entra *Entra) logEvent(j *job, e LogEntry) {
	t := j.application.of
	e.ID, e.ChangeID, e.At, e.JobID, e.ServicePrincipalID = entra.newID(), entra.newID(), entra.at, j.id, j.application.ObjectID
	t.entries = append(t.entries, e)
}

func (entra *Entra) audit(sp *servicePrincipal, actor Actor) {
	sp.of.audits = append(sp.of.audits, Audit{ID: entra.newID(), At: entra.at, Activity: AuditActivity, Initiator: actor, TargetID: sp.ObjectID})
}
