package simulator

import (
	"encoding/json"
	"net/http"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// pair is a synchronizationSecretKeyStringValuePair.
type pair struct {
	Key   string  `json:"key"`
	Value *string `json:"value"`
}

func getSecrets(c *call) (answer, error) {
	secrets, err := read(c, func(w *clouds.Model) ([]clouds.Secret, error) {
		return w.Secrets(c.caller, c.tenant(), c.path.PathValue("id"))
	})
	if err != nil {
		return answer{}, err
	}
	pairs := make([]pair, len(secrets))
	for i, secret := range secrets {
		value := secret.Value
		if secret.Key == model.CredentialKeyBaseAddress {
			value = c.sim.shown(value)
		}
		pairs[i] = pair{secret.Key, &value}
	}
	return asJSON(http.StatusOK, graphContentType, map[string]any{
		"@odata.context": c.context("Collection(microsoft.graph.synchronizationSecretKeyStringValuePair)"), "value": pairs,
	}), nil
}

// secrets turns pairs from the wire into the world's.
func (c *call) secrets(pairs []pair) []clouds.Secret {
	list := make([]clouds.Secret, 0, len(pairs))
	for _, p := range pairs {
		value := ""
		if p.Value != nil {
			value = *p.Value
		}
		if p.Key == model.CredentialKeyBaseAddress {
			value = c.sim.meant(value)
		}
		list = append(list, clouds.Secret{Key: p.Key, Value: value})
	}
	return list
}

func putSecrets(c *call) (answer, error) {
	var body struct {
		Value []pair `json:"value"`
	}
	if err := c.decode(&body); err != nil {
		return answer{}, err
	}
	secrets := c.secrets(body.Value)
	return done(act(c, func(w *clouds.Model) (struct{}, error) {
		return nothing(w.PutSecrets(c.caller, c.tenant(), c.path.PathValue("id"), secrets))
	}))
}

// validateCredentials is the portal's "Test connection". Without a job in the path, the
// application's only job is meant.
func validateCredentials(c *call) (answer, error) {
	var body struct {
		UseSaved    bool   `json:"useSavedCredentials"`
		Credentials []pair `json:"credentials"`
	}
	if err := c.decode(&body); err != nil {
		return answer{}, err
	}
	inline := c.secrets(body.Credentials)
	if body.UseSaved {
		inline = nil
	}
	jobID, id := c.path.PathValue("job"), c.path.PathValue("id")
	return done(act(c, func(w *clouds.Model) (struct{}, error) {
		if jobID == "" {
			jobs, err := w.Jobs(c.caller, c.tenant(), id)
			if err != nil || len(jobs) == 0 {
				return struct{}{}, err
			}
			jobID = jobs[0].ID
		}
		return nothing(w.TestConnection(c.caller, c.tenant(), id, jobID, inline))
	}))
}

func provisionOnDemand(c *call) (answer, error) {
	return c.limited("provisionOnDemand", func() (answer, error) {
		var body struct {
			Parameters []struct {
				RuleID   string `json:"ruleId"`
				Subjects []struct {
					ObjectID string `json:"objectId"`
					Type     string `json:"objectTypeName"`
				} `json:"subjects"`
			} `json:"parameters"`
		}
		if err := c.decode(&body); err != nil {
			return answer{}, err
		}
		if len(body.Parameters) != 1 || len(body.Parameters[0].Subjects) != 1 {
			return answer{}, badRequest("Exactly one rule and one subject can be provisioned on demand.")
		}
		rule, subject := body.Parameters[0].RuleID, body.Parameters[0].Subjects[0]
		outcome, err := act(c, func(w *clouds.Model) (clouds.OnDemand, error) {
			return w.ProvisionOnDemand(c.caller, c.tenant(), c.path.PathValue("id"), c.path.PathValue("job"), rule, subject.ObjectID)
		})
		if err != nil {
			return answer{}, err
		}
		return c.entity("microsoft.graph.stringKeyStringValuePair", onDemandResult(c, subject.ObjectID, outcome))
	})
}

// onDemandResult packs the outcome as Graph does: two strings of JSON.
// https://learn.microsoft.com/graph/api/synchronization-synchronizationjob-provisionondemand
func onDemandResult(c *call, objectID string, outcome clouds.OnDemand) map[string]any {
	result, details := "Success", map[string]any{}
	if outcome.Status != "success" {
		result, details = "Failure", map[string]any{"errorCode": outcome.ErrorCode, "errorMessage": outcome.Reason}
	}
	at := graphTime(c.now())
	step := func(name, kind, status, description string, details map[string]any) map[string]any {
		return map[string]any{"name": name, "type": kind, "status": status, "description": description, "timestamp": at, "details": details}
	}
	key, _ := json.Marshal(map[string]any{"result": result, "details": details}) // strings always encode
	value, _ := json.Marshal(map[string]any{
		"action": outcome.Action, "changeId": c.id, "startTime": at, "endTime": at, "reportableIdentifier": outcome.UserName,
		"provisioningSteps": []map[string]any{
			step("EntryImport", "Import", "Success", "Retrieved User '"+outcome.UserName+"' from Microsoft Entra ID",
				map[string]any{"objectId": objectID, "accountEnabled": "True", "userPrincipalName": outcome.UserName, "IsSoftDeleted": "False"}),
			step("EntrySynchronizationScoping", "Scoping", "Success", "Determine if User in scope by evaluating against each scoping filter",
				map[string]any{"Active": "True", "Assigned": "True", "IsEffectivelyEntitledForProvisioning": "True"}),
			step("EntryExport", "Export", result, "User '"+outcome.UserName+"' was processed in customappsso",
				map[string]any{"userName": outcome.UserName, "id": outcome.TargetID, "ErrorCode": outcome.ErrorCode}),
		},
		"sourceIdentity": map[string]any{"id": objectID, "type": "User", "displayName": nil},
		"targetIdentity": map[string]any{"id": outcome.TargetID, "type": "User", "displayName": nil},
		"statusInfo":     map[string]any{"status": result, "errorCode": outcome.ErrorCode, "reason": outcome.Reason},
	})
	return map[string]any{"key": string(key), "value": string(value)}
}
