package simulator

import "entra-aws-exporter/internal/simulator/clouds"

// The parts of a provisioningObjectSummary. They are structs, not maps: there may be a
// million.
type (
	logItem struct {
		ID          string      `json:"id"`
		At          string      `json:"activityDateTime"`
		TenantID    string      `json:"tenantId"`
		JobID       string      `json:"jobId"`
		CycleID     string      `json:"cycleId"`
		ChangeID    string      `json:"changeId"`
		Action      string      `json:"provisioningAction"`
		Duration    int64       `json:"durationInMilliseconds"`
		Status      logStatus   `json:"provisioningStatusInfo"`
		Principal   logIdentity `json:"servicePrincipal"`
		From        logIdentity `json:"sourceSystem"`
		To          logIdentity `json:"targetSystem"`
		InitiatedBy logIdentity `json:"initiatedBy"`
		Source      logIdentity `json:"sourceIdentity"`
		Target      logIdentity `json:"targetIdentity"`
		Modified    []logChange `json:"modifiedProperties"`
		Steps       []logStep   `json:"provisioningSteps"`
	}
	logStatus struct {
		Status string    `json:"status"`
		Error  *logError `json:"errorInformation"`
	}
	logError struct {
		Code       string  `json:"errorCode"`
		Category   string  `json:"errorCategory"`
		Reason     string  `json:"reason"`
		Additional *string `json:"additionalDetails"`
		Action     string  `json:"recommendedAction"`
	}
	logIdentity struct {
		ID      *string           `json:"id"`
		Name    string            `json:"displayName"`
		Type    string            `json:"identityType,omitempty"`
		By      string            `json:"initiatorType,omitempty"`
		Details map[string]string `json:"details,omitempty"`
	}
	logChange struct {
		Name string  `json:"displayName"`
		Old  *string `json:"oldValue"`
		New  string  `json:"newValue"`
	}
	logStep struct {
		Name        string `json:"name"`
		Type        string `json:"provisioningStepType"`
		Status      string `json:"status"`
		Description string `json:"description"`
	}
)

// logEntity words an entry; the personal data in it must never leave the client.
func (c *call) logEntity(e clouds.LogEntry) logItem {
	item := logItem{
		ID: e.ID, At: graphTime(e.At), TenantID: c.tenant(), JobID: e.JobID, CycleID: e.CycleID, ChangeID: e.ChangeID,
		Action: e.Action, Duration: e.Duration.Milliseconds(), Status: logStatus{Status: e.Status},
		Principal: logIdentity{ID: &e.ServicePrincipalID, Name: "AWS IAM Identity Center"},
		From:      logIdentity{Name: "Microsoft Entra ID"}, To: logIdentity{Name: "customappsso"},
		InitiatedBy: logIdentity{Name: "Azure AD Provisioning Service", By: "system"},
		Source:      logIdentity{ID: &e.SourceID, Name: e.SourceName, Type: "User", Details: map[string]string{"UserPrincipalName": e.SourceName}},
		Target:      logIdentity{ID: &e.TargetID, Name: e.SourceName, Type: "User"},
		Modified:    []logChange{{Name: "displayName", New: e.SourceName}},
		Steps:       []logStep{{Name: "EntryExport", Type: "export", Status: e.Status}},
	}
	if e.ErrorCode != "" {
		item.Status.Error = &logError{
			Code: e.ErrorCode, Category: e.ErrorCategory, Reason: e.Reason,
			Action: "https://learn.microsoft.com/entra/identity/app-provisioning/",
		}
	}
	return item
}
