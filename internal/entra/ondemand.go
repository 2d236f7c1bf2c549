package entra

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

// ProvisionUser provisions one user on demand, exactly once, and returns the userName at
// AWS. The user's other properties are neither logged nor kept.
// https://learn.microsoft.com/graph/api/synchronization-synchronizationjob-provisionondemand
func (a *Application) ProvisionUser(ctx context.Context, userObjectID string) (string, error) {
	values, err := a.discovery.jobParameters(ctx)
	if err != nil {
		return "", cloudhttp.NotSent(err)
	}
	rule, err := a.userRule(ctx, values)
	if err != nil {
		return "", cloudhttp.NotSent(err)
	}
	call := apiCall{
		op: "provisioning the canary user", permission: writeJobs, timeout: testTimeout,
		notFound: "check rotation.canary_user_object_id", sensitive: true,
	}
	subject := map[string]string{"objectId": userObjectID, "objectTypeName": "User"}
	body := map[string]any{"parameters": []any{map[string]any{"ruleId": rule, "subjects": []any{subject}}}}
	var response *struct{ Value string }
	x, err := a.tenant.graph.post(ctx, call, jobPath+"/provisionOnDemand", values, body, &response)
	if err != nil {
		return "", err
	}
	if response == nil {
		return "", call.invalid(x, "an empty response")
	}
	result, err := parseOnDemand(response.Value)
	if err != nil {
		return "", call.invalid(x, "an unreadable result")
	}
	if result.failed {
		return "", &model.Error{
			Reason: model.ReasonOther, Op: call.op, Status: http.StatusOK, Code: result.code,
			Detail: "Entra could not provision the user: " + result.code,
			Advice: "see the user in the application's provisioning logs",
		}
	}
	if result.userName != "" {
		return result.userName, nil
	}
	return a.userPrincipalName(ctx, userObjectID)
}

// jobSchema is what is read of a job's mapping.
type jobSchema struct {
	SynchronizationRules []*struct {
		ID             string
		ObjectMappings []*struct {
			Enabled          *bool
			SourceObjectName string
		}
	}
}

// userRule returns the id of the synchronization rule that maps users. It is read every
// time: an operator may have changed the mapping.
func (a *Application) userRule(ctx context.Context, job parameters) (string, error) {
	call := apiCall{op: "reading the job's mapping", permission: readJobs, notFound: "check service_principal_id and job_id"}
	var schema jobSchema
	if _, err := a.tenant.graph.get(ctx, call, jobPath+"/schema", job, &schema); err != nil {
		return "", a.discovery.forgetIfGone(err)
	}
	for _, rule := range schema.SynchronizationRules {
		if rule == nil || rule.ID == "" {
			continue
		}
		for _, mapping := range rule.ObjectMappings {
			if mapping != nil && strings.EqualFold(mapping.SourceObjectName, "User") && (mapping.Enabled == nil || *mapping.Enabled) {
				return rule.ID, nil
			}
		}
	}
	return "", &model.Error{
		Reason: model.ReasonNotFound, Op: call.op, Detail: "no rule of the job maps users",
		Advice: "enable the mapping of users in Entra, or remove rotation.canary_user_object_id",
	}
}

// userPrincipalName reads what the gallery's mapping makes the userName.
func (a *Application) userPrincipalName(ctx context.Context, userObjectID string) (string, error) {
	call := apiCall{op: "reading the canary user's name", permission: readUsers, notFound: "check rotation.canary_user_object_id", sensitive: true}
	var user struct{ UserPrincipalName string }
	x, err := a.tenant.graph.get(ctx, call, "/users/{id}{?%24select}", parameters{"id": userObjectID, "%24select": "userPrincipalName"}, &user)
	if err == nil && user.UserPrincipalName == "" {
		err = call.invalid(x, "a user without a name")
	}
	return user.UserPrincipalName, err
}

// onDemandResult is what is read of the result of provisioning on demand.
type onDemandResult struct {
	userName, code string
	failed         bool
}

// onDemandEntry has the shape of an early version of the provisioning log.
type onDemandEntry struct {
	ModifiedProperties []*struct{ DisplayName, NewValue string }
	ProvisioningSteps  []*struct{ Details map[string]any }
	StatusInfo         struct{ Status, ErrorCode string }
}

// parseOnDemand reads the result, which is JSON inside of the response's JSON: one entry,
// or a list of them.
func parseOnDemand(value string) (onDemandResult, error) {
	content := bytes.TrimSpace([]byte(value))
	if !bytes.HasPrefix(content, []byte("[")) {
		content = append(append([]byte("["), content...), ']')
	}
	var entries []onDemandEntry
	if err := json.Unmarshal(content, &entries); err != nil {
		return onDemandResult{}, err
	}
	var result onDemandResult
	for _, entry := range entries {
		if strings.EqualFold(entry.StatusInfo.Status, "Failure") {
			result.failed, result.code = true, labelValue(entry.StatusInfo.ErrorCode)
		}
	}
	for _, find := range []func(onDemandEntry) string{
		changedUserName,
		func(e onDemandEntry) string { return e.detail("userName") },
		func(e onDemandEntry) string { return e.detail("userPrincipalName") }, // what the gallery's mapping makes the userName
	} {
		for _, entry := range entries {
			if result.userName == "" {
				result.userName = strings.Trim(find(entry), `"`)
			}
		}
	}
	return result, nil
}

func changedUserName(e onDemandEntry) string {
	for _, property := range e.ModifiedProperties {
		if property != nil && property.DisplayName == "userName" && property.NewValue != "" {
			return property.NewValue
		}
	}
	return ""
}

// detail returns the first text with this name in a step.
func (e onDemandEntry) detail(name string) string {
	for _, step := range e.ProvisioningSteps {
		if step == nil {
			continue
		}
		if found, ok := step.Details[name].(string); ok && found != "" {
			return found
		}
	}
	return ""
}
