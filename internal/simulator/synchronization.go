package simulator

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// disabledInterval is TimeSpan.MaxValue, what Graph shows as the interval of a job that
// is disabled.
const disabledInterval = "P10675199DT2H48M5.4775807S"

func (c *call) jobPath() (tenant, servicePrincipal, job string) {
	return c.tenant(), c.path.PathValue("id"), c.path.PathValue("job")
}

func listJobs(c *call) (response, error) {
	tenant, id, _ := c.jobPath()
	jobs, err := query(c, func(m *clouds.Model) ([]clouds.Job, error) { return m.Jobs(c.caller, tenant, id) })
	if err != nil {
		return response{}, err
	}
	return c.collection(jobKind(id), objects(jobs, c.jobEntity), "")
}

func getJob(c *call) (response, error) {
	tenant, id, jobID := c.jobPath()
	job, err := query(c, func(m *clouds.Model) (clouds.Job, error) { return m.Job(c.caller, tenant, id, jobID) })
	if err != nil {
		return response{}, err
	}
	return c.entity(jobKind(id)+"/$entity", c.jobEntity(job))
}

func jobKind(servicePrincipal string) string {
	return "servicePrincipals('" + servicePrincipal + "')/synchronization/jobs"
}

func startJob(c *call) (response, error) {
	tenant, id, job := c.jobPath()
	return mutateOnly(c, func(m *clouds.Model) error { return m.StartJob(c.caller, tenant, id, job) })
}

func (c *call) jobEntity(job clouds.Job) object {
	entries := []object{}
	for _, kind := range []string{"User", "Group"} {
		if count, known := job.Synchronized[kind]; known {
			entries = append(entries, object{"key": kind + " to " + kind, "value": count})
		}
	}
	var failures int64
	if job.ConsecutiveFailures != nil {
		failures = *job.ConsecutiveFailures
	}
	entity := object{
		"id": job.ID, "templateId": job.TemplateID,
		"schedule": object{"expiration": nil, "interval": interval(job), "state": graphName(string(job.Schedule))},
		"status": object{
			"code": graphName(string(job.Status)), "countSuccessiveCompleteFailures": failures, "escrowsPruned": false,
			"lastExecution":                      execution(job.LastCycle),
			"lastSuccessfulExecution":            execution(job.LastSuccess),
			"lastSuccessfulExecutionWithExports": execution(job.LastExport),
			"quarantine":                         quarantineEntity(job),
			"synchronizedEntryCountByType":       entries,
		},
	}
	if c.quirks().JobStatus == clouds.StatusNull {
		entity["status"] = nil
	}
	return entity
}

// graphName turns the model's word for a state into Graph's: "not_configured" is
// "NotConfigured".
func graphName(word string) string {
	var name strings.Builder
	for part := range strings.SplitSeq(word, "_") {
		name.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return name.String()
}

func interval(job clouds.Job) string {
	switch {
	case job.Schedule == model.ScheduleDisabled:
		return disabledInterval
	case job.Interval >= time.Minute:
		return fmt.Sprintf("PT%dM", job.Interval/time.Minute)
	case job.Interval > 0: // at a high speed; the SDK ignores seconds without a fraction
		return fmt.Sprintf("PT%.3fS", job.Interval.Seconds())
	default:
		return fmt.Sprintf("PT%dM", clouds.CyclePeriod/time.Minute)
	}
}

func execution(cycle *model.Cycle) any {
	if cycle == nil {
		return nil
	}
	entity := object{
		"activityIdentifier": nil, "state": graphName(string(cycle.State)), "error": jobError(cycle.ErrorCode),
		"timeBegan": graphTime(cycle.Began), "timeEnded": graphTime(cycle.Ended), "countImportedReferenceDeltas": 0,
	}
	for kind, names := range map[model.EntryKind][]string{
		model.EntriesEntitled: {"countEntitled", "countEntitledForProvisioning"},
		model.EntriesEscrowed: {"countEscrowed", "countEscrowedRaw"},
		model.EntriesExported: {"countExported", "countExports"},
		model.EntriesImported: {"countImported", "countImportedDeltas"},
	} {
		for _, name := range names {
			entity[name] = cycle.Entries[kind]
		}
	}
	return entity
}

func jobError(code string) any {
	if code == "" {
		return nil
	}
	return object{"code": code, "message": "The operation failed.", "tenantActionable": true}
}

func quarantineEntity(job clouds.Job) any {
	q := job.Quarantine
	if q == nil {
		return nil
	}
	return object{
		"currentBegan": graphTime(q.CurrentBegan), "seriesBegan": graphTime(q.SeriesBegan), "nextAttempt": graphTime(q.NextAttempt),
		"reason": q.Reason, "seriesCount": job.QuarantineCount,
		"error": object{"code": q.ErrorCode, "message": job.QuarantineMessage, "tenantActionable": true},
	}
}

func getSchema(c *call) (response, error) {
	tenant, id, jobID := c.jobPath()
	job, err := query(c, func(m *clouds.Model) (clouds.Job, error) { return m.Job(c.caller, tenant, id, jobID) })
	if err != nil {
		return response{}, err
	}
	rule := func(id, kind string, priority int) object {
		return object{
			"id": id, "name": strings.ToUpper(kind) + "_OUTBOUND_" + strings.ToUpper(kind), "priority": priority, "editable": true, "groupFilter": nil,
			"objectMappings": []object{{
				"sourceObjectName": kind, "targetObjectName": kind, "attributeMappings": []any{}, "metadata": []any{},
			}},
		}
	}
	return c.entity(jobKind(id)+"('"+job.ID+"')/schema/$entity", object{
		"id": job.ID, "version": "1", "directories": []any{},
		// The rule for groups comes first: a client must read which one is for users.
		"synchronizationRules": []object{rule("03f7d90d-bf71-41b1-bda6-aaf0ddbee5d8", "Group", 1), rule(job.RuleID, "User", 2)},
	})
}

// keyValue is a synchronizationSecretKeyStringValuePair.
type keyValue struct {
	Key   string  `json:"key"`
	Value *string `json:"value"`
}

func getSecrets(c *call) (response, error) {
	tenant, id, _ := c.jobPath()
	secrets, err := query(c, func(m *clouds.Model) ([]clouds.Secret, error) { return m.Secrets(c.caller, tenant, id) })
	if err != nil {
		return response{}, err
	}
	return c.collection("Collection(microsoft.graph.synchronizationSecretKeyStringValuePair)", objects(secrets, func(secret clouds.Secret) object {
		if secret.Key == model.CredentialKeyBaseAddress {
			secret.Value = c.sim.publicAddress(secret.Value)
		}
		return object{"key": secret.Key, "value": secret.Value}
	}), "")
}

func (c *call) secrets(pairs []keyValue) []clouds.Secret {
	list := make([]clouds.Secret, 0, len(pairs))
	for _, p := range pairs {
		value := ""
		if p.Value != nil {
			value = *p.Value
		}
		if p.Key == model.CredentialKeyBaseAddress {
			value = c.sim.modelAddress(value)
		}
		list = append(list, clouds.Secret{Key: p.Key, Value: value})
	}
	return list
}

func putSecrets(c *call) (response, error) {
	var body struct {
		Value []keyValue `json:"value"`
	}
	if err := c.decode(&body); err != nil {
		return response{}, err
	}
	tenant, id, _ := c.jobPath()
	secrets := c.secrets(body.Value)
	return mutateOnly(c, func(m *clouds.Model) error { return m.PutSecrets(c.caller, tenant, id, secrets) })
}

// validateCredentials is the portal's "Test connection".
func validateCredentials(c *call) (response, error) {
	var body struct {
		UseSaved    bool       `json:"useSavedCredentials"`
		Credentials []keyValue `json:"credentials"`
	}
	if err := c.decode(&body); err != nil {
		return response{}, err
	}
	inline := c.secrets(body.Credentials)
	if body.UseSaved {
		inline = nil
	}
	tenant, id, job := c.jobPath()
	return mutateOnly(c, func(m *clouds.Model) error { return m.TestConnection(c.caller, tenant, id, job, inline) })
}

func provisionOnDemand(c *call) (response, error) {
	var body struct {
		Parameters []struct {
			RuleID   string `json:"ruleId"`
			Subjects []struct {
				ObjectID string `json:"objectId"`
			} `json:"subjects"`
		} `json:"parameters"`
	}
	if err := c.decode(&body); err != nil {
		return response{}, err
	}
	if len(body.Parameters) != 1 || len(body.Parameters[0].Subjects) != 1 {
		return response{}, badRequest("Exactly one rule and one subject can be provisioned on demand.")
	}
	rule, subject := body.Parameters[0].RuleID, body.Parameters[0].Subjects[0].ObjectID
	tenant, id, job := c.jobPath()
	outcome, err := mutate(c, func(m *clouds.Model) (clouds.LogEntry, error) {
		return m.ProvisionOnDemand(c.caller, tenant, id, job, rule, subject)
	})
	if err != nil {
		return response{}, err
	}
	return c.entity("microsoft.graph.stringKeyStringValuePair", onDemandEntity(c, subject, outcome))
}

// onDemandEntity packs the outcome as Graph does: two strings of JSON.
// https://learn.microsoft.com/graph/api/synchronization-synchronizationjob-provisionondemand
func onDemandEntity(c *call, objectID string, outcome clouds.LogEntry) object {
	result, details := "Success", object{}
	if outcome.Status != "success" {
		result, details = "Failure", object{"errorCode": outcome.ErrorCode, "errorMessage": outcome.Reason}
	}
	at := graphTime(c.now())
	step := func(name, kind, status, description string, details object) object {
		return object{"name": name, "type": kind, "status": status, "description": description, "timestamp": at, "details": details}
	}
	key, _ := json.Marshal(object{"result": result, "details": details}) // strings always encode
	value, _ := json.Marshal(object{
		"action": outcome.Action, "changeId": c.id, "startTime": at, "endTime": at, "reportableIdentifier": outcome.SourceName,
		"provisioningSteps": []object{
			step("EntryImport", "Import", "Success", "Retrieved User '"+outcome.SourceName+"' from Microsoft Entra ID",
				object{"objectId": objectID, "accountEnabled": "True", "userPrincipalName": outcome.SourceName, "IsSoftDeleted": "False"}),
			step("EntryExport", "Export", result, "User '"+outcome.SourceName+"' was processed in customappsso",
				object{"userName": outcome.SourceName, "id": outcome.TargetID, "ErrorCode": outcome.ErrorCode}),
		},
		"statusInfo": object{"status": result, "errorCode": outcome.ErrorCode, "reason": outcome.Reason},
	})
	return object{"key": string(key), "value": string(value)}
}
