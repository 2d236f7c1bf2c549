package simulator

import (
	"fmt"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// disabledInterval is TimeSpan.MaxValue, what Graph shows as the interval of a job that
// is disabled.
const disabledInterval = "P10675199DT2H48M5.4775807S"

func listJobs(c *call) (answer, error) {
	jobs, err := read(c, func(w *clouds.Model) ([]clouds.Job, error) {
		return w.Jobs(c.caller, c.tenant(), c.path.PathValue("id"))
	})
	if err != nil {
		return answer{}, err
	}
	var page []map[string]any
	for _, job := range jobs {
		page = append(page, jobEntity(job))
	}
	return c.collection("servicePrincipals('"+c.path.PathValue("id")+"')/synchronization/jobs", page, "")
}

func getJob(c *call) (answer, error) {
	job, err := c.job()
	if err != nil {
		return answer{}, err
	}
	return c.entity("servicePrincipals('"+c.path.PathValue("id")+"')/synchronization/jobs/$entity", jobEntity(job))
}

func (c *call) job() (clouds.Job, error) {
	return read(c, func(w *clouds.Model) (clouds.Job, error) {
		return w.Job(c.caller, c.tenant(), c.path.PathValue("id"), c.path.PathValue("job"))
	})
}

func jobEntity(job clouds.Job) map[string]any {
	entries := []map[string]any{}
	for _, kind := range []string{"User", "Group"} {
		if count, known := job.Synchronized[kind]; known {
			entries = append(entries, map[string]any{"key": kind + " to " + kind, "value": count})
		}
	}
	var failures int64
	if job.ConsecutiveFailures != nil {
		failures = *job.ConsecutiveFailures
	}
	return map[string]any{
		"id": job.ID, "templateId": job.TemplateID,
		"schedule": map[string]any{"expiration": nil, "interval": interval(job), "state": scheduleState(job.Schedule)},
		"status": map[string]any{
			"code": statusCode(job.Status), "countSuccessiveCompleteFailures": failures, "escrowsPruned": false,
			"lastExecution":                      execution(job.LastCycle),
			"lastSuccessfulExecution":            execution(job.LastSuccess),
			"lastSuccessfulExecutionWithExports": execution(job.LastExport),
			"progress":                           []any{},
			"quarantine":                         quarantineEntity(job),
			"steadyStateFirstAchievedTime":       graphTime(job.SteadyFirst),
			"steadyStateLastAchievedTime":        graphTime(job.SteadyLast),
			"synchronizedEntryCountByType":       entries,
			"troubleshootingUrl":                 "",
		},
		"synchronizationJobSettings": []map[string]string{
			{"name": "QuarantineTooManyDeletesThreshold", "value": "500"},
			{"name": "AzureIngestionAttributeOptimization", "value": "False"},
		},
	}
}

func statusCode(status model.JobStatus) string {
	switch status {
	case model.JobNotConfigured:
		return "NotConfigured"
	case model.JobNotRun:
		return "NotRun"
	case model.JobActive:
		return "Active"
	case model.JobPaused:
		return "Paused"
	case model.JobQuarantine:
		return "Quarantine"
	default:
		return "Unknown"
	}
}

func scheduleState(state model.ScheduleState) string {
	switch state {
	case model.ScheduleActive:
		return "Active"
	case model.SchedulePaused:
		return "Paused"
	default:
		return "Disabled"
	}
}

func interval(job clouds.Job) string {
	switch {
	case job.Schedule == model.ScheduleDisabled:
		return disabledInterval
	case job.Interval >= time.Minute:
		return fmt.Sprintf("PT%dM", job.Interval/time.Minute)
	case job.Interval > 0: // of hurried clouds; the SDK passes over seconds without a fraction
		return fmt.Sprintf("PT%.3fS", job.Interval.Seconds())
	default:
		return fmt.Sprintf("PT%dM", clouds.CyclePeriod/time.Minute)
	}
}

func execution(cycle *model.Cycle) any {
	if cycle == nil {
		return nil
	}
	var failure any
	if cycle.ErrorCode != "" {
		failure = map[string]any{"code": cycle.ErrorCode, "message": "The operation failed.", "tenantActionable": true}
	}
	state := map[model.CycleState]string{
		model.CycleSucceeded: "Succeeded", model.CycleFailed: "Failed", model.CycleEntryLevelErrors: "EntryLevelErrors",
	}[cycle.State]
	return map[string]any{
		"activityIdentifier": nil, "state": state, "error": failure,
		"timeBegan": graphTime(cycle.Began), "timeEnded": graphTime(cycle.Ended),
		"countEntitled": cycle.Entries[model.EntriesEntitled], "countEntitledForProvisioning": cycle.Entries[model.EntriesEntitled],
		"countEscrowed": cycle.Entries[model.EntriesEscrowed], "countEscrowedRaw": cycle.Entries[model.EntriesEscrowed],
		"countExported": cycle.Entries[model.EntriesExported], "countExports": cycle.Entries[model.EntriesExported],
		"countImported": cycle.Entries[model.EntriesImported], "countImportedDeltas": cycle.Entries[model.EntriesImported], "countImportedReferenceDeltas": 0,
	}
}

func quarantineEntity(job clouds.Job) any {
	q := job.Quarantine
	if q == nil {
		return nil
	}
	var failure any
	if q.ErrorCode != "" || job.QuarantineMessage != "" {
		failure = map[string]any{"code": q.ErrorCode, "message": job.QuarantineMessage, "tenantActionable": true}
	}
	return map[string]any{
		"currentBegan": graphTime(q.CurrentBegan), "seriesBegan": graphTime(q.SeriesBegan), "nextAttempt": graphTime(q.NextAttempt),
		"reason": q.Reason, "seriesCount": job.QuarantineCount, "error": failure,
	}
}

// getSchema shows the rules of a job: one for users, one for groups.
func getSchema(c *call) (answer, error) {
	job, err := c.job()
	if err != nil {
		return answer{}, err
	}
	rule := func(id, kind string, priority int) map[string]any {
		return map[string]any{
			"id": id, "name": strings.ToUpper(kind) + "_OUTBOUND_" + strings.ToUpper(kind), "priority": priority, "editable": true, "groupFilter": nil,
			"sourceDirectoryName": "Microsoft Entra ID", "targetDirectoryName": "customappsso", "containerFilter": nil, "metadata": []any{},
			"objectMappings": []map[string]any{{
				"enabled": true, "flowTypes": "Add, Update, Delete", "name": "Provision Microsoft Entra ID " + kind + "s", "scope": nil,
				"sourceObjectName": kind, "targetObjectName": kind, "attributeMappings": []any{}, "metadata": []any{},
			}},
		}
	}
	return c.entity("servicePrincipals('"+c.path.PathValue("id")+"')/synchronization/jobs('"+job.ID+"')/schema/$entity", map[string]any{
		"id": job.ID, "version": "1", "directories": []any{},
		// The rule for groups comes first: which one is for users must be read.
		"synchronizationRules": []map[string]any{rule("03f7d90d-bf71-41b1-bda6-aaf0ddbee5d8", "Group", 1), rule(job.RuleID, "User", 2)},
	})
}

func startJob(c *call) (answer, error) {
	return done(act(c, func(w *clouds.Model) (struct{}, error) {
		return nothing(w.StartJob(c.caller, c.tenant(), c.path.PathValue("id"), c.path.PathValue("job")))
	}))
}

func pauseJob(c *call) (answer, error) {
	return done(act(c, func(w *clouds.Model) (struct{}, error) {
		return nothing(w.PauseJob(c.caller, c.tenant(), c.path.PathValue("id"), c.path.PathValue("job")))
	}))
}

func restartJob(c *call) (answer, error) {
	var body struct {
		Criteria struct {
			ResetScope string `json:"resetScope"`
		} `json:"criteria"`
	}
	if err := c.decode(&body); err != nil {
		return answer{}, err
	}
	return done(act(c, func(w *clouds.Model) (struct{}, error) {
		return nothing(w.RestartJob(c.caller, c.tenant(), c.path.PathValue("id"), c.path.PathValue("job"), body.Criteria.ResetScope))
	}))
}

func getUser(c *call) (answer, error) {
	options, err := c.queryOptions(nil, 0, 0)
	if err != nil {
		return answer{}, err
	}
	person, err := read(c, func(w *clouds.Model) (clouds.Person, error) {
		return w.Person(c.caller, c.tenant(), c.path.PathValue("id"))
	})
	if err != nil {
		return answer{}, err
	}
	return c.entity("users/$entity", options.selectFrom(map[string]any{
		"id": person.ObjectID, "userPrincipalName": person.UserName, "displayName": person.DisplayName,
		"givenName": person.GivenName, "surname": person.FamilyName, "mail": person.UserName,
	}))
}
