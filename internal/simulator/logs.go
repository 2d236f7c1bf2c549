package simulator

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

const logPage, logPageDefault = 1000, 100

// position is where a page ends: the last entry that was sent. Pages begin behind it,
// so entries that appear in the meantime shift nothing.
type position struct {
	At time.Time `json:"at"`
	ID string    `json:"id"`
}

func (p position) token() string {
	content, _ := json.Marshal(p) // a time within the years of RFC 3339
	return base64.RawURLEncoding.EncodeToString(content)
}

func parsePosition(token string) (position, error) {
	var p position
	if token == "" {
		return p, nil
	}
	content, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(content, &p)
	}
	if err != nil {
		return p, badRequest("The skip token is not valid.")
	}
	return p, nil
}

func (c *call) logOptions(filters map[string][]string) (options queryOptions, descending bool, err error) {
	if options, err = c.options(filters, logPageDefault, logPage); err != nil {
		return options, false, err
	}
	switch strings.Join(strings.Fields(options.order), " ") {
	case "", "activityDateTime desc":
		return options, true, nil
	case "activityDateTime", "activityDateTime asc":
		return options, false, nil
	default:
		return options, false, badRequest("The query parameter '$orderby' supports activityDateTime only.")
	}
}

// listProvisioning is the provisioning log: a page has up to 1,000 entries, and a log a
// million.
// https://learn.microsoft.com/graph/api/provisioningobjectsummary-list
func listProvisioning(c *call) (response, error) {
	options, descending, err := c.logOptions(map[string][]string{
		"activityDateTime": {"gt", "lt"}, "servicePrincipal/id": {"eq"}, "jobId": {"eq"}, "provisioningStatusInfo/status": {"eq"},
	})
	if err != nil {
		return response{}, err
	}
	from, err := parsePosition(options.skipToken)
	if err != nil {
		return response{}, err
	}
	filter, err := logFilter(options.filter)
	if err != nil {
		return response{}, err
	}
	if options.emptyFirst {
		return c.collection("auditLogs/provisioning", []object{}, c.nextLink(position{}.token()))
	}
	page, err := c.logEntries(filter, from, descending, options.top+1)
	if err != nil {
		return response{}, err
	}
	next := ""
	if len(page) > options.top {
		page = page[:options.top]
		last := page[len(page)-1]
		next = c.nextLink(position{last.At, last.ID}.token())
	}
	return c.collection("auditLogs/provisioning", objects(page, func(e clouds.LogEntry) object {
		return options.selectFrom(logEntity(c.tenant(), e))
	}), next)
}

func logFilter(conditions []condition) (clouds.LogFilter, error) {
	var filter clouds.LogFilter
	for _, f := range conditions {
		switch f.field {
		case "servicePrincipal/id":
			filter.ServicePrincipalID = f.value
		case "jobId":
			filter.JobID = f.value
		case "provisioningStatusInfo/status":
			filter.Status = f.value
		default:
			at, err := f.time()
			if err != nil {
				return filter, err
			}
			if f.operator == "gt" {
				filter.After = at
			} else {
				filter.Before = at
			}
		}
	}
	return filter, nil
}

// mayList tells whether an entry of this time can be listed, without making it.
func mayList(at time.Time, filter clouds.LogFilter, from position, descending bool) bool {
	return (filter.After.IsZero() || at.After(filter.After)) && at.Before(filter.Before) &&
		(from.ID == "" || at.Equal(from.At) || at.Before(from.At) == descending)
}

// logEntries returns at most limit entries behind a position, of the model's log and of
// the bulk events, in order.
func (c *call) logEntries(filter clouds.LogFilter, from position, descending bool, limit int) ([]clouds.LogEntry, error) {
	list, err := query(c, func(m *clouds.Model) ([]clouds.LogEntry, error) {
		return m.ProvisioningLog(c.caller, c.tenant(), filter)
	})
	if err != nil {
		return nil, err
	}
	compare := func(a, b clouds.LogEntry) int {
		order := a.At.Compare(b.At)
		if order == 0 {
			order = strings.Compare(a.ID, b.ID)
		}
		if descending {
			return -order
		}
		return order
	}
	behind := func(e clouds.LogEntry) bool {
		return from.ID == "" || compare(e, clouds.LogEntry{At: from.At, ID: from.ID}) > 0
	}
	list = slices.DeleteFunc(list, func(e clouds.LogEntry) bool { return !behind(e) })
	if now := c.now(); filter.Before.IsZero() || filter.Before.After(now) {
		filter.Before = now // bulk events of the future have not happened yet
	}
	for _, bulk := range c.sim.bulkEventsOf(c.tenant(), filter) {
		found := 0
		for n := 0; n < bulk.Count && found < limit; n++ {
			i := n
			if descending {
				i = bulk.Count - 1 - n
			}
			if !mayList(bulk.at(i), filter, from, descending) {
				continue
			}
			if entry := bulk.entry(i); behind(entry) && (filter.Status == "" || filter.Status == entry.Status) {
				list = append(list, entry)
				found++
			}
		}
	}
	slices.SortFunc(list, compare)
	return list[:min(len(list), limit)], nil
}

// logEntity words an entry; the personal data in it must never leave the client.
func logEntity(tenant string, e clouds.LogEntry) object {
	status := object{"status": e.Status, "errorInformation": nil}
	if e.ErrorCode != "" {
		status["errorInformation"] = object{
			"errorCode": e.ErrorCode, "errorCategory": e.ErrorCategory, "reason": e.Reason, "additionalDetails": nil,
			"recommendedAction": "https://learn.microsoft.com/entra/identity/app-provisioning/",
		}
	}
	return object{
		"id": e.ID, "activityDateTime": graphTime(e.At), "tenantId": tenant, "jobId": e.JobID, "cycleId": e.CycleID, "changeId": e.ChangeID,
		"provisioningAction": e.Action, "durationInMilliseconds": e.Duration.Milliseconds(), "provisioningStatusInfo": status,
		"servicePrincipal":   object{"id": e.ServicePrincipalID, "displayName": "AWS IAM Identity Center"},
		"sourceIdentity":     object{"id": e.SourceID, "displayName": e.SourceName, "identityType": "User", "details": object{"UserPrincipalName": e.SourceName}},
		"targetIdentity":     object{"id": e.TargetID, "displayName": e.SourceName, "identityType": "User"},
		"modifiedProperties": []object{{"displayName": "displayName", "oldValue": nil, "newValue": e.SourceName}},
	}
}

// listDirectoryAudits is the directory audit log, as far as it tells of changed
// provisioning credentials.
// https://learn.microsoft.com/graph/api/directoryaudit-list
func listDirectoryAudits(c *call) (response, error) {
	options, descending, err := c.logOptions(map[string][]string{
		"activityDateTime": {"eq", "ge", "le"}, "activityDisplayName": {"eq"}, "loggedByService": {"eq"}, "category": {"eq"},
		"targetResources/any/id": {"eq"},
	})
	if err != nil {
		return response{}, err
	}
	all, err := query(c, func(m *clouds.Model) ([]clouds.Audit, error) {
		return m.DirectoryAudits(c.caller, c.tenant(), "", time.Time{})
	})
	if err != nil {
		return response{}, err
	}
	slices.SortStableFunc(all, func(a, b clouds.Audit) int {
		if descending {
			return b.At.Compare(a.At)
		}
		return a.At.Compare(b.At)
	})
	found := []object{}
	for _, audit := range all {
		matches, err := auditMatches(audit, options.filter)
		if err != nil {
			return response{}, err
		}
		if matches {
			found = append(found, auditEntity(audit))
		}
	}
	return c.offsetPage("auditLogs/directoryAudits", options, found)
}

const (
	auditService  = "Account Provisioning"
	auditCategory = "ProvisioningManagement"
)

func auditMatches(audit clouds.Audit, conditions []condition) (bool, error) {
	values := map[string]string{
		"activityDisplayName": audit.Activity, "loggedByService": auditService, "category": auditCategory, "targetResources/any/id": audit.TargetID,
	}
	for _, f := range conditions {
		if f.field != "activityDateTime" {
			if values[f.field] != f.value {
				return false, nil
			}
			continue
		}
		at, err := f.time()
		if err != nil {
			return false, err
		}
		order := audit.At.Compare(at)
		if f.operator == "ge" && order < 0 || f.operator == "le" && order > 0 || f.operator == "eq" && order != 0 {
			return false, nil
		}
	}
	return true, nil
}

func auditEntity(audit clouds.Audit) object {
	var user, app any
	if audit.Initiator == clouds.ActorOperator {
		user = object{"id": "00000000-0000-4000-8000-00000000a0a0", "displayName": nil, "userPrincipalName": "admin@example.com", "ipAddress": ""}
	} else {
		app = object{"appId": nil, "displayName": string(audit.Initiator), "servicePrincipalId": nil, "servicePrincipalName": nil}
	}
	return object{
		"id": audit.ID, "activityDateTime": graphTime(audit.At), "activityDisplayName": audit.Activity, "category": auditCategory,
		"correlationId": audit.ID, "loggedByService": auditService, "operationType": "", "result": "success", "resultReason": "",
		"initiatedBy":     object{"user": user, "app": app},
		"targetResources": []object{{"id": audit.TargetID, "displayName": nil, "type": "ServicePrincipal", "userPrincipalName": nil, "groupType": nil, "modifiedProperties": []any{}}},
	}
}

// BulkEvents is a long stretch of the provisioning log that is computed when it is read: a
// million entries take no memory. An entry appears at its time, without delay.
type BulkEvents struct {
	TenantID           string
	ServicePrincipalID string
	JobID              string
	Count              int
	From               time.Time
	Every              Duration // between two entries; 0: all at once

	serial int // begins the ids
}

// AddBulkEvents adds entries to the provisioning log.
func (s *Simulator) AddBulkEvents(bulk BulkEvents) error {
	if bulk.TenantID == "" || bulk.JobID == "" || bulk.ServicePrincipalID == "" || bulk.Count <= 0 || bulk.From.IsZero() {
		return errors.New("bulk events need a tenant, a service principal, a job, a count and a time")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	bulk.serial = len(s.bulkEvents) + 1
	s.bulkEvents = append(s.bulkEvents, bulk)
	return nil
}

func (s *Simulator) bulkEventsOf(tenantID string, filter clouds.LogFilter) []BulkEvents {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.bulkEvents), func(bulk BulkEvents) bool {
		return bulk.TenantID != tenantID || filter.JobID != "" && filter.JobID != bulk.JobID ||
			filter.ServicePrincipalID != "" && filter.ServicePrincipalID != bulk.ServicePrincipalID
	})
}

func (b BulkEvents) at(i int) time.Time { return b.From.Add(time.Duration(i) * time.Duration(b.Every)) }

// entry computes the entry with this index. Of a hundred entries ninety succeed, five
// fail, three are skipped and two warn.
func (b BulkEvents) entry(i int) clouds.LogEntry {
	kinds := []string{"create", "update", "update", "update", "disable", "delete", "stagedDelete", "other"}
	entry := clouds.LogEntry{
		ID: fmt.Sprintf("f100d%03x-0000-4000-8000-%012x", b.serial%0x1000, i), At: b.at(i),
		JobID: b.JobID, ServicePrincipalID: b.ServicePrincipalID,
		CycleID: fmt.Sprintf("c1c1e000-0000-4000-8000-%012x", i/500), ChangeID: fmt.Sprintf("c4a17e00-0000-4000-8000-%012x", i),
		Action: kinds[i%len(kinds)], Status: "success", Duration: 100 * time.Millisecond,
		SourceID: fmt.Sprintf("05e40000-0000-4000-8000-%012x", i%10000), SourceName: fmt.Sprintf("bulk-%d@example.com", i%10000),
	}
	switch part := i % 100; {
	case part >= 98:
		entry.Status = "warning"
	case part >= 95:
		entry.Status = "skipped"
	case part >= 90:
		entry.Status, entry.ErrorCategory = "failure", "nonServiceFailure"
		entry.ErrorCode = fmt.Sprintf("SimulatedFailure%02d", i/100%30)
		entry.Reason = "The user " + entry.SourceName + " could not be created."
	}
	return entry
}
