package clouds

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

const cycleLength = 90 * time.Second

// engineCache is how long quirk engine_reads=hourly uses what was once read.
const engineCache = time.Hour

// retryWaits is when a quarantined job is tried again, each after the one before; the
// last one repeats.
// https://learn.microsoft.com/entra/identity/app-provisioning/application-provisioning-quarantine-status
var retryWaits = []time.Duration{6 * time.Hour, 12 * time.Hour, 24 * time.Hour}

type runningCycle struct {
	id          string
	began, ends time.Time
}

func (engine *Engine) runJob(j *job) {
	switch {
	case j.running != nil:
		engine.endCycle(j)
	case !j.disables.IsZero() && !j.disables.After(engine.at):
		engine.annotate(ActorTime, "stopped job of %s: schedule %s", j.application.ObjectID, model.ScheduleDisabled)
		j.schedule, j.stoppedBy = model.ScheduleDisabled, ActorTime
		j.nextCycle, j.disables, j.quarantine.nextAttempt = time.Time{}, time.Time{}, time.Time{}
	case j.quarantine != nil && j.quarantine.reason != model.QuarantineReasonException:
		engine.retryAfter(j, engine.at) // only an operator's start lifts it
	default:
		engine.beginCycle(j)
	}
}

// beginCycle reads the secrets and, if there is anything to do or the connector is of
// the talkative kind, looks a random user up, which shows a wrong credential at once.
func (engine *Engine) beginCycle(j *job) {
	j.running = &runningCycle{id: engine.newID(), began: engine.at, ends: engine.at.Add(engine.lag(cycleLength))}
	j.nextCycle = engine.at.Add(engine.lag(CyclePeriod))
	if engine.quirks.EmptyCycles == EmptyCalls || j.quarantine != nil || len(engine.pending(j)) > 0 {
		if _, err := engine.entraCall(engine.engineCredential(j), "ListUsers"); err != nil {
			engine.failCycle(j, err)
		}
		return
	}
	engine.engineCredential(j)
}

func (engine *Engine) endCycle(j *job) {
	cycle := model.Cycle{Began: j.running.began, Ended: engine.at, State: model.CycleSucceeded, Entries: cycleCounts(0, len(j.scope))}
	for _, member := range engine.pending(j) {
		cycle.Entries[model.EntriesImported]++
		err := engine.export(j, engine.engineCredential(j), member, j.running.id)
		if isConnectionFailure(err) {
			engine.failCycle(j, err)
			return
		}
		if err != nil {
			cycle.Entries[model.EntriesEscrowed]++
			cycle.State = model.CycleEntryLevelErrors
			continue
		}
		cycle.Entries[model.EntriesExported]++
	}
	j.last, j.failures = &cycle, 0
	if cycle.State == model.CycleSucceeded {
		j.lastSuccess = &cycle
	}
	if cycle.Entries[model.EntriesExported] > 0 {
		j.lastExport = &cycle
	}
	engine.record(CycleEnded{engine.stamp(ActorEngine), j.application.ObjectID, cycle})
	j.stopRunning()
	switch {
	case j.quarantine == nil:
		j.seriesBegan = time.Time{}
	case engine.quirks.Recovery == RecoversAlone:
		j.status, j.quarantine, j.seriesBegan, j.disables = model.JobActive, nil, time.Time{}, time.Time{}
	default:
		engine.retryAfter(j, engine.at)
	}
}

// cycleCounts is what a cycle counts: entries that were imported and exported, and all in scope.
func cycleCounts(exported, entitled int) map[model.EntryKind]int64 {
	return map[model.EntryKind]int64{
		model.EntriesImported: int64(exported), model.EntriesExported: int64(exported), model.EntriesEscrowed: 0,
		model.EntriesEntitled: int64(entitled),
	}
}

func (engine *Engine) failCycle(j *job, err error) {
	code, _ := engine.credentialCode(err)
	cycle := model.Cycle{Began: j.running.began, Ended: engine.at, State: model.CycleFailed, ErrorCode: code, Entries: cycleCounts(0, len(j.scope))}
	j.last = &cycle
	j.failures++
	engine.entra.logEvent(j, LogEntry{CycleID: j.running.id, Action: "other", Status: "failure", ErrorCategory: "failure", ErrorCode: code, Reason: err.Error()})
	engine.annotate(ActorEngine, "SCIM refused %s: %s", j.application.ObjectID, code)
	engine.record(CycleEnded{engine.stamp(ActorEngine), j.application.ObjectID, cycle})
	j.stopRunning()
	switch {
	case j.quarantine != nil:
		engine.retryAfter(j, engine.at)
	case j.failures >= 3 || engine.quirks.QuarantineAfter == AfterOne:
		engine.enterQuarantine(j, model.QuarantineReasonException, code,
			"We are not able to connect to the target application with the credentials provided: "+err.Error())
	}
}

func (engine *Engine) enterQuarantine(j *job, reason, code, message string) {
	if j.seriesBegan.IsZero() {
		j.seriesBegan = engine.at
	}
	j.status = model.JobQuarantine
	j.quarantine = &quarantine{reason: reason, code: code, message: message, began: engine.at}
	j.disables = j.seriesBegan.Add(engine.lag(model.QuarantineDisableAfter))
	engine.annotate(ActorEngine, "quarantine of %s: %s %s", j.application.ObjectID, reason, code)
	engine.retryAfter(j, engine.at)
}

func (engine *Engine) retryAfter(j *job, attempt time.Time) {
	wait := retryWaits[min(int(j.quarantine.count), len(retryWaits)-1)]
	j.quarantine.count++
	j.quarantine.nextAttempt = attempt.Add(engine.lag(wait))
	j.nextCycle = j.quarantine.nextAttempt
}

func (j *job) stopRunning() {
	j.running = nil
	if j.cachedUntil.IsZero() {
		j.cached = nil
	}
}

// engineCredential is what the engine uses for a call now. Quirk: engine_reads.
func (engine *Engine) engineCredential(j *job) *credential {
	saved := j.application.saved
	if j.cached != nil && !j.cachedUntil.IsZero() && !engine.at.Before(j.cachedUntil) {
		j.cached = nil
	}
	switch {
	case engine.quirks.EngineReads == ReadsPerCall:
		j.cached = nil
		return &saved
	case j.cached == nil:
		j.cached, j.cachedUntil = &saved, time.Time{}
		if engine.quirks.EngineReads == ReadsHourly {
			j.cachedUntil = engine.at.Add(engine.lag(engineCache))
		}
	}
	return j.cached
}

func (engine *Engine) entraCall(c *credential, operation string) (*directory, error) {
	if c.tenant == nil {
		return nil, &Error{Service: ServiceSCIM, Code: "ConnectionFailure", Message: "The remote name could not be resolved."}
	}
	return engine.aws.authorizeSCIM(SCIMCall{
		Tenant: c.tenant.TenantID, Token: c.value, SourceIP: EntraAddress, UserAgent: EntraUserAgent,
	}, operation)
}

// isConnectionFailure tells a failure of the credential or the endpoint from one of an entry.
func isConnectionFailure(err error) bool {
	var answer *Error
	return errors.As(err, &answer) && slices.Contains([]int{0, http.StatusUnauthorized, http.StatusForbidden}, answer.Status)
}

// credentialCode is the code by which Entra says that it cannot use the SCIM endpoint, and
// how its message quotes the reason. Quirks: refused_code, unreachable_code.
func (engine *Engine) credentialCode(err error) (code, reason string) {
	var answer *Error
	if errors.As(err, &answer) && (answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden) {
		return engine.quirks.RefusedCode, http.StatusText(answer.Status)
	}
	return engine.quirks.UnreachableCode, "the endpoint gave no answer"
}

// assignedUser is a user in the scope of a job, whose ExternalID is its object id in Entra.
type assignedUser struct {
	*User
	todo     string // an action of the provisioning log; "": in sync
	targetID string // at AWS; "": not there yet
}

// failingUser is the user of quirk failing_user: AWS refuses users without a family name.
var failingUser = User{ExternalID: "00000000-0000-4000-8000-00000000f411", UserName: "no-family-name@example.com", DisplayName: "Mononym", GivenName: "Mononym", Active: true}

// AddUser makes a user and assigns it to an application, so that the next cycle exports
// it; it returns the object id.
func (engine *Engine) AddUser(actor Actor, tenantID, objectID, userName string) (string, error) {
	sp, err := engine.entra.application(CallerFor(actor), WriteApplications, tenantID, objectID)
	if err != nil {
		return "", err
	}
	given, _, _ := strings.Cut(userName, "@")
	user := &User{ExternalID: engine.newID(), UserName: userName, DisplayName: given, GivenName: given, FamilyName: "Example", Active: true}
	for _, j := range sp.jobs {
		j.scope = append(j.scope, &assignedUser{User: user, todo: "create"})
	}
	return user.ExternalID, nil
}

func (engine *Engine) pending(j *job) []*assignedUser {
	var list []*assignedUser
	if engine.quirks.FailingUser == OneUserFails {
		list = append(list, &assignedUser{User: &failingUser, todo: "create"})
	}
	for _, m := range j.scope {
		if m.todo != "" {
			list = append(list, m)
		}
	}
	return list
}

func (j *job) synchronized() map[string]int64 {
	var users int64
	for _, m := range j.scope {
		if m.targetID != "" {
			users++
		}
	}
	return map[string]int64{"User": users, "Group": 0}
}

func (engine *Engine) export(j *job, c *credential, m *assignedUser, cycleID string) error {
	entry := LogEntry{
		CycleID: cycleID, Action: m.todo, Status: "success", SourceID: m.ExternalID, SourceName: m.UserName, Duration: 450 * time.Millisecond,
	}
	err := engine.exportUser(c, m)
	if isConnectionFailure(err) {
		return err
	}
	if err != nil {
		entry.Status, entry.ErrorCategory = "failure", "nonServiceFailure"
		entry.ErrorCode, entry.Reason = "SystemForCrossDomainIdentityManagementUnrecognizedResponse", err.Error()
	} else {
		entry.TargetID, m.todo = m.targetID, ""
		if entry.Action == "delete" {
			m.targetID = ""
			j.scope = slices.DeleteFunc(j.scope, func(other *assignedUser) bool { return other == m })
		}
		engine.annotate(ActorEngine, "%s exported by %s", entry.Action, j.application.ObjectID)
	}
	engine.entra.logEvent(j, entry)
	return err
}

func (engine *Engine) exportUser(c *credential, m *assignedUser) error {
	d, err := engine.entraCall(c, "ListUsers")
	if err != nil {
		return err
	}
	existing, operation := d.byName[strings.ToLower(m.UserName)], "PatchUser"
	switch {
	case existing == nil && m.todo == "delete":
		return nil
	case existing == nil:
		operation = "CreateUser"
	case m.todo == "delete":
		operation = "DeleteUser"
	}
	if d, err = engine.entraCall(c, operation); err != nil {
		return err
	}
	switch operation {
	case "CreateUser":
		created, err := engine.aws.createUser(d, *m.User)
		m.targetID = created.ID
		return err
	case "DeleteUser":
		d.deleteUser(existing)
	default:
		m.targetID, existing.DisplayName = existing.ID, m.DisplayName
	}
	return nil
}

// ProvisionOnDemand provisions one user at once, with the saved credential read
// afresh: it proves nothing about what the engine holds. Even a failure is an answer.
func (engine *Engine) ProvisionOnDemand(c Caller, tenantID, objectID, jobID, ruleID, userObjectID string) (LogEntry, error) {
	j, err := engine.job(c, WriteSynchronization, tenantID, objectID, jobID)
	if err != nil {
		return LogEntry{}, err
	}
	if ruleID != j.ruleID {
		return LogEntry{}, engine.entra.synchronizationError(http.StatusBadRequest, "InvalidRuleId", "The synchronization rule '"+ruleID+"' was not found.")
	}
	at := slices.IndexFunc(j.scope, func(m *assignedUser) bool { return m.ExternalID == userObjectID })
	if at < 0 {
		return LogEntry{}, notFound(ServiceGraph, "Resource '%s' does not exist or one of its queried reference-property objects are not present.", userObjectID)
	}
	m := j.scope[at]
	if m.todo == "" {
		m.todo = "update"
	}
	outcome := LogEntry{SourceName: m.UserName, Action: m.todo, Status: "success"}
	held := j.application.saved
	err = engine.export(j, &held, m, engine.newID())
	outcome.TargetID = m.targetID
	if err != nil {
		outcome.Status, outcome.Reason, outcome.ErrorCode = "failure", err.Error(), "SystemForCrossDomainIdentityManagementUnrecognizedResponse"
		if isConnectionFailure(err) {
			outcome.ErrorCode, _ = engine.credentialCode(err)
			engine.annotate(c.Actor, "SCIM refused %s: %s", objectID, outcome.ErrorCode)
		}
	}
	engine.afterChange()
	return outcome, nil
}
