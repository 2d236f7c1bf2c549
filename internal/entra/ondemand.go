package entra

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	kiota "github.com/microsoft/kiota-abstractions-go"
	"github.com/microsoftgraph/msgraph-sdk-go/models"
	"github.com/microsoftgraph/msgraph-sdk-go/serviceprincipals"

	"entra-aws-exporter/internal/model"
)

// ProvisionUser provisions one user on demand, exactly once, and returns its userName
// at AWS. What the answer tells of the person is neither logged nor kept.
// https://learn.microsoft.com/graph/api/synchronization-synchronizationjob-provisionondemand
func (a *Application) ProvisionUser(ctx context.Context, userObjectID string) (string, error) {
	servicePrincipal, job, err := a.resolve(ctx)
	if err != nil {
		return "", notSent(err)
	}
	rule, err := a.userRule(ctx, servicePrincipal, job)
	if err != nil {
		return "", notSent(err)
	}
	c := call{
		doing: "provisioning the canary user", needs: writeJobs, limit: testLimit,
		missing: "check rotation.canary_user_object_id", sensitive: true,
	}
	kind := "User"
	subject := models.NewSynchronizationJobSubject()
	subject.SetObjectId(&userObjectID)
	subject.SetObjectTypeName(&kind)
	parameters := models.NewSynchronizationJobApplicationParameters()
	parameters.SetRuleId(&rule)
	parameters.SetSubjects([]models.SynchronizationJobSubjectable{subject})
	body := serviceprincipals.NewItemSynchronizationJobsItemProvisionOnDemandPostRequestBody()
	body.SetParameters([]models.SynchronizationJobApplicationParametersable{parameters})

	answer, x, err := ask(ctx, a.tenant, c, func(ctx context.Context) (models.StringKeyStringValuePairable, error) {
		return a.tenant.job(servicePrincipal, job).ProvisionOnDemand().Post(ctx, body, nil)
	})
	if err != nil {
		return "", err
	}
	outcome, err := onDemandOf(text(answer.GetValue()))
	if err != nil {
		return "", invalid(c, x, "an outcome that cannot be read")
	}
	if outcome.failed {
		return "", &model.Error{
			Reason: model.ReasonOther, Op: c.doing, Status: http.StatusOK, Code: outcome.code,
			Detail: "Entra could not provision the user: " + outcome.code,
			Advice: "see the user in the application's provisioning logs",
		}
	}
	if outcome.userName != "" {
		return outcome.userName, nil
	}
	return a.userPrincipalName(ctx, userObjectID)
}

// userRule returns the id of the synchronization rule that maps users. It is read anew
// each time: a person may have changed the mapping since.
func (a *Application) userRule(ctx context.Context, servicePrincipal, job string) (string, error) {
	c := call{doing: "reading the job's mapping", needs: readJobs, missing: "check service_principal_id and job_id"}
	schema, _, err := ask(ctx, a.tenant, c, func(ctx context.Context) (models.SynchronizationSchemaable, error) {
		return a.tenant.job(servicePrincipal, job).Schema().Get(ctx, nil)
	})
	if err != nil {
		return "", a.notFound(err)
	}
	for _, rule := range schema.GetSynchronizationRules() {
		if rule == nil || text(rule.GetId()) == "" {
			continue
		}
		for _, mapping := range rule.GetObjectMappings() {
			if mapping != nil && strings.EqualFold(text(mapping.GetSourceObjectName()), "User") &&
				(mapping.GetEnabled() == nil || *mapping.GetEnabled()) {
				return text(rule.GetId()), nil
			}
		}
	}
	return "", &model.Error{
		Reason: model.ReasonNotFound, Op: c.doing, Detail: "no rule of the job maps users",
		Advice: "enable the mapping of users in Entra, or remove rotation.canary_user_object_id",
	}
}

// userPrincipalName asks Graph for what the gallery's mapping makes the userName.
func (a *Application) userPrincipalName(ctx context.Context, userObjectID string) (string, error) {
	c := call{doing: "reading the canary user's name", needs: readUsers, missing: "check rotation.canary_user_object_id", sensitive: true}
	var answer struct{ UserPrincipalName string }
	x, err := a.tenant.do(ctx, c, func(ctx context.Context) error {
		content, err := a.tenant.raw(ctx, kiota.GET, "/users/{id}{?%24select}", map[string]string{"id": userObjectID},
			map[string]string{"%24select": "userPrincipalName"}, nil)
		if err != nil {
			return err
		}
		return decode(content, &answer)
	})
	if err == nil && answer.UserPrincipalName == "" {
		err = invalid(c, x, "a user without a name")
	}
	return answer.UserPrincipalName, err
}

// onDemand is what we take from the outcome of provisioning on demand.
type onDemand struct {
	userName, code string
	failed         bool
}

// onDemandEntry has the shape of the provisioning log's beginnings.
type onDemandEntry struct {
	ModifiedProperties []*struct{ DisplayName, NewValue string }
	ProvisioningSteps  []*struct{ Details map[string]any }
	StatusInfo         struct{ Status, ErrorCode string }
}

// onDemandOf reads the outcome, which is JSON inside of the answer's JSON: one entry,
// or a list of them.
func onDemandOf(value string) (onDemand, error) {
	content := bytes.TrimSpace([]byte(value))
	if !bytes.HasPrefix(content, []byte("[")) {
		content = append(append([]byte("["), content...), ']')
	}
	var entries []onDemandEntry
	if err := json.Unmarshal(content, &entries); err != nil {
		return onDemand{}, err
	}
	var outcome onDemand
	for _, entry := range entries {
		if strings.EqualFold(entry.StatusInfo.Status, "Failure") {
			outcome.failed, outcome.code = true, label(entry.StatusInfo.ErrorCode)
		}
	}
	for _, find := range []func(onDemandEntry) string{
		changedUserName,
		func(e onDemandEntry) string { return e.detail("userName") },
		func(e onDemandEntry) string { return e.detail("userPrincipalName") }, // what the gallery's mapping makes the userName
	} {
		for _, entry := range entries {
			if outcome.userName == "" {
				outcome.userName = strings.Trim(find(entry), `"`)
			}
		}
	}
	return outcome, nil
}

func changedUserName(e onDemandEntry) string {
	for _, property := range e.ModifiedProperties {
		if property != nil && property.DisplayName == "userName" && property.NewValue != "" {
			return property.NewValue
		}
	}
	return ""
}

// detail returns the first text by this name that a step tells.
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
