package simulator

import (
	"slices"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// listDirectoryAudits is the directory audit log, as far as it tells of changed
// provisioning credentials.
// https://learn.microsoft.com/graph/api/directoryaudit-list
func listDirectoryAudits(c *call) (answer, error) {
	return c.limited("reports", func() (answer, error) {
		options, err := c.queryOptions(map[string][]string{
			"activityDateTime": {"eq", "ge", "le"}, "activityDisplayName": {"eq"}, "loggedByService": {"eq"}, "category": {"eq"},
			"targetResources/any/id": {"eq"},
		}, logPageDefault, logPage)
		if err != nil {
			return answer{}, err
		}
		descending, err := options.descending()
		if err != nil {
			return answer{}, err
		}
		all, err := read(c, func(w *clouds.Model) ([]clouds.Audit, error) {
			return w.DirectoryAudits(c.caller, c.tenant(), "", time.Time{})
		})
		if err != nil {
			return answer{}, err
		}
		slices.SortStableFunc(all, func(a, b clouds.Audit) int {
			if descending {
				return b.At.Compare(a.At)
			}
			return a.At.Compare(b.At)
		})
		var found []map[string]any
		for _, audit := range all {
			matches, err := auditMatches(audit, options.filter)
			if err != nil {
				return answer{}, err
			}
			if matches {
				found = append(found, options.selectFrom(auditEntity(audit)))
			}
		}
		return c.offsetPage("auditLogs/directoryAudits", found, options)
	})
}

const (
	auditService  = "Account Provisioning"
	auditCategory = "ProvisioningManagement"
)

func auditMatches(audit clouds.Audit, conditions []condition) (bool, error) {
	for _, condition := range conditions {
		values := map[string]string{
			"activityDisplayName": audit.Activity, "loggedByService": auditService, "category": auditCategory, "targetResources/any/id": audit.TargetID,
		}
		if condition.field != "activityDateTime" {
			if values[condition.field] != condition.value {
				return false, nil
			}
			continue
		}
		at, err := condition.time()
		if err != nil {
			return false, err
		}
		order := audit.At.Compare(at)
		if (condition.operator == "ge" && order < 0) || (condition.operator == "le" && order > 0) || (condition.operator == "eq" && order != 0) {
			return false, nil
		}
	}
	return true, nil
}

func auditEntity(audit clouds.Audit) map[string]any {
	var user, app any
	if audit.Initiator == clouds.ActorOperator {
		user = map[string]any{"id": "00000000-0000-4000-8000-00000000a0a0", "displayName": nil, "userPrincipalName": "admin@example.com", "ipAddress": ""}
	} else {
		app = map[string]any{"appId": nil, "displayName": string(audit.Initiator), "servicePrincipalId": nil, "servicePrincipalName": nil}
	}
	return map[string]any{
		"id": audit.ID, "activityDateTime": graphTime(audit.At), "activityDisplayName": audit.Activity, "category": auditCategory,
		"correlationId": audit.ID, "loggedByService": auditService, "operationType": "", "result": "success", "resultReason": "",
		"initiatedBy":       map[string]any{"user": user, "app": app},
		"targetResources":   []map[string]any{{"id": audit.TargetID, "displayName": nil, "type": "ServicePrincipal", "userPrincipalName": nil, "groupType": nil, "modifiedProperties": []any{}}},
		"additionalDetails": []any{},
	}
}
