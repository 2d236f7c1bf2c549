package grafana

import (
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Overview is the dashboard of all connections.
func Overview() Dashboard {
	daysLeft := "((" + expiryDates() + ") - time()) / 86400"
	toConnection := dashboard.DynamicConfigValue{Id: "links", Value: []dataLink{{
		"Open the connection", "/d/" + ConnectionUID + "?var-connection=${__value.raw}&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}",
	}}}
	colouredCells := dashboard.DynamicConfigValue{Id: "custom.cellOptions", Value: common.TableColoredBackgroundCellOptions{
		Type: common.TableCellDisplayModeColorBackground, Mode: new(common.TableCellBackgroundDisplayModeBasic),
	}}
	return newDashboard(OverviewUID, "Entra to AWS / Overview",
		"All connections: what expires next, provisioning, and what needs an operator.",
		dashboardVariables(false), headerLinks(ConnectionUID, "Connection"),
		section{panels: []panel{
			statPanel("Connections", "Exported connections in any state.", "short", 4,
				lastQuery(`count(count by (connection) (entra_aws_connection_info`+selector()+`))`, "connections")),
			statPanel("Soonest expiry", "Days until the first token, certificate or credential expires. Negative: expired.", "d", 4,
				lastQuery("min("+daysLeft+")", "days left")).colouredByDaysLeft().
				forAlerts("EntraAwsScimTokenExpiringSoon", "EntraAwsSamlCertificateExpiringSoon", "EntraAwsAppCredentialExpiringSoon"),
			statPanel("In quarantine", "Connections whose provisioning job is in quarantine.", "short", 4,
				lastQuery(`sum(max by (connection) (entra_aws_provisioning_job_status`+selector(`status="quarantine"`)+`))`, "connections")).
				coloured("green", threshold{1, "red"}).forAlerts("EntraAwsProvisioningQuarantined"),
			statPanel("Sources failing", "Sources of all connections that no replica can poll.", "short", 4,
				lastQuery(`count(max by (connection, source) (entra_aws_source_up`+selector()+`) == 0) or vector(0)`, "sources")).
				coloured("green", threshold{1, "orange"}).forAlerts("EntraAwsSourceFailing"),
			statPanel("Running rotations", "Connections with a running rotation, without the blocked ones.", "short", 4,
				lastQuery(`count(max by (connection) (entra_aws_rotation_phase`+selector(`phase!~"idle|blocked"`)+`) == 1) or vector(0)`, "rotations")),
			statPanel("Exporters", "Scraped exporters, and those whose last config reload failed.", "short", 4,
				lastQuery(`count(entra_aws_config_last_reload_successful`+processSelector()+`)`, "scraped"),
				lastQuery(`count(entra_aws_config_last_reload_successful`+processSelector()+` == 0) or vector(0)`, "reload failed")).
				forAlerts("EntraAwsExporterAbsent", "EntraAwsConfigReloadFailed"),

			tablePanel("What expires next", "Days until expiry, soonest first. Negative: expired. The exporter's own Entra credentials appear under the name of their tenant.",
				"d", "Days left", 10, []string{"connection", "what"}, tableQuery(daysLeft)).
				sortedBy("Days left").colouredByDaysLeft().
				withField("Days left", colouredCells).
				withField("connection", toConnection).
				forAlerts("EntraAwsScimTokenExpiringSoon", "EntraAwsScimTokenExpiringCritical", "EntraAwsSamlCertificateExpiringSoon", "EntraAwsSamlCertificateExpiringCritical",
					"EntraAwsAppCredentialExpiringSoon", "EntraAwsAppCredentialExpiringCritical"),
			needsOperatorPanel(toConnection),

			linePanel("Days left over time", "Falls by one a day and rises with a renewal. The alerts fire below 60 and 14 days.", "d", 24,
				rangeQuery(daysLeft, "{{connection}}: {{what}}")).colouredByDaysLeft().withThresholdLines(),

			timelinePanel("Provisioning jobs", "State of each connection's provisioning job. A gap means that polls failed.", 12, 8, mapStates(jobStates()...),
				rangeQuery(stateNumber("entra_aws_provisioning_job_status", "status", jobStates()), "{{connection}}")).
				forAlerts("EntraAwsProvisioningQuarantined", "EntraAwsProvisioningStopped"),
			linePanel("Time since the last cycle ended", "A cycle runs about every 40 minutes. The alert fires after two hours.", "s", 12,
				rangeQuery(`time() - max by (connection) (entra_aws_provisioning_last_cycle_end_timestamp_seconds`+selector()+`)`, "{{connection}}")).
				coloured("green", threshold{7200, "red"}).withThresholdLines().forAlerts("EntraAwsProvisioningStale"),

			timelinePanel("Rotations", "Phase of each connection's rotation. Absent while rotation is off.", 12, 8, mapStates(phaseStates()...),
				rangeQuery(stateNumber("entra_aws_rotation_phase", "phase", phaseStates()), "{{connection}}")).
				forAlerts("EntraAwsRotationBlocked", "EntraAwsRotationNeedsApproval", "EntraAwsRotationOverdue"),
			barPanel("Alerts at the webhook", "Alerts from Alertmanager by decision, of all connections.",
				rangeQuery(`sum by (decision) (increase(entra_aws_webhook_alerts_total`+processSelector()+`[$__rate_interval]))`, "{{decision}}")),
		}})
}

// expiryDates is the query for all expiry dates, by connection and kind.
func expiryDates() string {
	named := func(metric, what string) string {
		return `max by (connection, what) (label_replace(` + metric + selector() + `, "what", "` + what + `", "", ""))`
	}
	token := named("entra_aws_scim_active_token_expiry_timestamp_seconds", "SCIM access token")
	certificate := named("entra_aws_saml_active_certificate_expiry_timestamp_seconds", "SAML signing certificate")
	credential := `max by (connection, what) (label_join(label_join(` +
		`entra_aws_app_credential_expiry_timestamp_seconds` + processSelector() +
		`, "what", " ", "kind", "key_id"), "connection", "", "entra_tenant"))`
	return token + " or " + certificate + " or " + credential
}

// dataLink is a link from a cell of a table.
type dataLink struct {
	Title string `json:"title"`
	URL   string `json:"url"`
}

// needsOperatorPanel lists what only an operator can resolve.
func needsOperatorPanel(toConnection dashboard.DynamicConfigValue) panel {
	what := func(expr, text string) string {
		return `label_replace(` + expr + `, "what", "` + text + `", "", "")`
	}
	blocked := what(`max by (connection, reason) (entra_aws_rotation_blocked_info`+selector()+`)`, "rotation blocked")
	approval := what(`max by (connection, reason) (entra_aws_rotation_waiting_info`+selector(`reason="approval"`)+`)`, "rotation needs approval")
	quarantine := what(`max by (connection, reason) (entra_aws_provisioning_quarantine_info`+selector()+`)`, "provisioning in quarantine")
	stopped := what(`max by (connection, reason) (label_join(entra_aws_provisioning_job_status`+selector(`status=~"paused|not_configured|not_run"`)+` == 1, "reason", "", "status"))`, "provisioning stopped")
	failing := what(`max by (connection, reason) (label_join(entra_aws_source_up`+selector()+` == 0, "reason", "", "source"))`, "source failing")
	return tablePanel("What needs an operator", "Blocked rotations, approvals, quarantined or stopped jobs, failing sources. Empty if there are none.",
		"none", "", 10, []string{"connection", "what", "reason"},
		tableQuery(blocked+" or "+approval+" or "+quarantine+" or "+stopped+" or "+failing)).
		withField("Value", hiddenProperty()).
		withField("connection", toConnection).
		forAlerts("EntraAwsRotationBlocked", "EntraAwsRotationNeedsApproval", "EntraAwsProvisioningQuarantined", "EntraAwsProvisioningStopped", "EntraAwsSourceFailing")
}
