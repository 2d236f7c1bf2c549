package clouds

import (
	"errors"
	"net/http"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// cycleLength is how long a cycle takes.
const cycleLength = 90 * time.Second

// engineCache is how long quirk engine_reads=hourly uses what was once read.
const engineCache = time.Hour

// The codes by which Entra says that it cannot use the SCIM endpoint: refused, or not
// to be reached.
const (
	codeRefused     = model.QuarantineCodeBadCredentials
	codeUnavailable = "SystemForCrossDomainIdentityManagementCredentialValidationUnavailable"
)

// retries is when a quarantined job is tried again, each after the one before; the
// last one repeats.
// https://learn.microsoft.com/entra/identity/app-provisioning/application-provisioning-quarantine-status
var retries = []time.Duration{6 * time.Hour, 12 * time.Hour, 24 * time.Hour}

// execution is a cycle under way.
type execution struct {
	id          string
	began, ends time.Time
}

// work does what is due for a job at w.at: ends a cycle, gives the job up after 28
// days of quarantine, or begins a cycle.
func (w *Model) work(j *job) {
	switch {
	case j.running != nil:
		w.endCycle(j)
	case !j.disables.IsZero() && !j.disables.After(w.at):
		w.record(Stop{w.moment(ActorTime), j.application.ObjectID, j.id, model.ScheduleDisabled})
		j.schedule, j.stoppedBy = model.ScheduleDisabled, ActorTime
		j.nextCycle, j.disables, j.quarantine.nextAttempt = time.Time{}, time.Time{}, time.Time{}
	case j.quarantine != nil && j.quarantine.reason == model.QuarantineReasonDeletes:
		w.retryLater(j) // waits for an administrator's decision
	default:
		w.beginCycle(j)
	}
}

// beginCycle reads the secrets and, if there is anything to do or the connector is of
// the talkative kind, looks a random user up, which shows a wrong credential at once.
func (w *Model) beginCycle(j *job) {
	j.running = &execution{id: w.newID(), began: w.at, ends: w.at.Add(w.lag(cycleLength))}
	j.nextCycle = w.at.Add(w.lag(CyclePeriod))
	if w.quirks.EmptyCycles == EmptyCalls || j.quarantine != nil || len(w.pending(j)) > 0 {
		if _, err := w.entraCall(w.engineCredential(j), "ListUsers"); err != nil {
			w.failCycle(j, err)
		}
		return
	}
	w.engineCredential(j)
}

// endCycle exports what changed and settles what became of the cycle.
func (w *Model) endCycle(j *job) {
	cycle := model.Cycle{Began: j.running.began, Ended: w.at, State: model.CycleSucceeded, Entries: counted(0, len(j.scope))}
	for _, member := range w.pending(j) {
		cycle.Entries[model.EntriesImported]++
		err := w.export(j, w.engineCredential(j), member, j.running.id)
		if refused(err) {
			w.failCycle(j, err)
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
	j.steadyLast = w.at
	if j.steadyFirst.IsZero() {
		j.steadyFirst = w.at
	}
	w.record(CycleEnded{w.moment(ActorEngine), j.application.ObjectID, cycle})
	w.stopRunning(j)
	switch {
	case j.quarantine == nil:
		j.seriesBegan = time.Time{}
	case w.quirks.Recovery == RecoversAlone:
		j.status, j.quarantine, j.seriesBegan, j.disables = model.JobActive, nil, time.Time{}, time.Time{}
	default:
		w.retryLater(j)
	}
}

// counted is what a cycle counts: entries that were imported and exported, and all in scope.
func counted(exported, entitled int) map[model.EntryKind]int64 {
	return map[model.EntryKind]int64{
		model.EntriesImported: int64(exported), model.EntriesExported: int64(exported), model.EntriesEscrowed: 0,
		model.EntriesEntitled: int64(entitled),
	}
}

// failCycle ends a cycle whose credential was refused, and leads to quarantine.
func (w *Model) failCycle(j *job, err error) {
	code := credentialCode(err)
	cycle := model.Cycle{Began: j.running.began, Ended: w.at, State: model.CycleFailed, ErrorCode: code, Entries: counted(0, len(j.scope))}
	j.last = &cycle
	j.failures++
	w.logEvent(j, LogEntry{CycleID: j.running.id, Action: "other", Status: "failure", ErrorCategory: "failure", ErrorCode: code, Reason: err.Error()})
	w.record(SCIMFailure{w.moment(ActorEngine), j.application.ObjectID, code})
	w.record(CycleEnded{w.moment(ActorEngine), j.application.ObjectID, cycle})
	w.stopRunning(j)
	switch {
	case j.quarantine != nil:
		w.retryLater(j)
	case j.failures >= 3 || w.quirks.QuarantineAfter == AfterOne:
		w.enterQuarantine(j, model.QuarantineReasonException, code,
			"We are not able to connect to the target application with the credentials provided: "+err.Error())
	}
}

func (w *Model) enterQuarantine(j *job, reason, code, message string) {
	if j.seriesBegan.IsZero() {
		j.seriesBegan = w.at
	}
	j.status = model.JobQuarantine
	j.quarantine = &quarantine{reason: reason, code: code, message: message, began: w.at}
	j.disables = j.seriesBegan.Add(w.lag(model.QuarantineDisableAfter))
	w.record(QuarantineBegan{w.moment(ActorEngine), j.application.ObjectID, reason, code})
	w.retryLater(j)
}

func (w *Model) retryLater(j *job) {
	wait := retries[min(int(j.quarantine.count), len(retries)-1)]
	j.quarantine.count++
	j.quarantine.nextAttempt = w.at.Add(w.lag(wait))
	j.nextCycle = j.quarantine.nextAttempt
}

// abandon ends a running cycle without a result: its work stays to be done.
func (w *Model) abandon(j *job) {
	if j.running != nil {
		w.stopRunning(j)
	}
}

func (w *Model) stopRunning(j *job) {
	j.running = nil
	if j.cachedUntil.IsZero() {
		j.cached = nil
	}
}

// engineCredential is what the engine uses for a call now. Quirk: engine_reads.
func (w *Model) engineCredential(j *job) *credential {
	saved := j.application.saved
	if j.cached != nil && !j.cachedUntil.IsZero() && !w.at.Before(j.cachedUntil) {
		j.cached = nil
	}
	switch {
	case w.quirks.EngineReads == ReadsPerCall:
		j.cached = nil
		return &saved
	case j.cached == nil:
		j.cached, j.cachedUntil = &saved, time.Time{}
		if w.quirks.EngineReads == ReadsHourly {
			j.cachedUntil = w.at.Add(w.lag(engineCache))
		}
	}
	return j.cached
}

// entraCall is a call of Entra's to the SCIM endpoint that a credential leads to, by
// the same door as everybody else's.
func (w *Model) entraCall(c *credential, operation string) (*directory, error) {
	if c.tenant == nil {
		return nil, &Error{Service: ServiceSCIM, Code: "ConnectionFailure", Message: "The remote name could not be resolved."}
	}
	return w.scim(SCIMCall{
		Tenant: c.tenant.TenantID, Token: c.value, SourceIP: EntraAddress, UserAgent: EntraUserAgent,
	}, operation)
}

// refused tells a failure of the credential or the endpoint from one of an entry.
func refused(err error) bool {
	var answer *Error
	return errors.As(err, &answer) && slices.Contains([]int{0, http.StatusUnauthorized, http.StatusForbidden}, answer.Status)
}

func credentialCode(err error) string {
	var answer *Error
	if errors.As(err, &answer) && (answer.Status == http.StatusUnauthorized || answer.Status == http.StatusForbidden) {
		return codeRefused
	}
	return codeUnavailable
}
