package grafana

import (
	"strconv"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// Overview is the dashboard of all connections.
func Overview() Dashboard {
	daysLeft := "((" + expiryDates() + ") - time()) / 86400"
	jobs := stateNumber("entra_aws_provisioning_job_status", "status", jobStates())
	cycleEnds := "max by (connection) (entra_aws_provisioning_last_cycle_end_timestamp_seconds" + selector() + ")"
	rotations := stateNumber("entra_aws_rotation_phase", "phase", phaseStates())
	toConnection := linkProperty("Open the connection",
		"/d/"+ConnectionUID+"?var-connection=${__value.raw}&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}")
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
			statPanel("Running rotations", "Connections with a running rotation or rollover, without the blocked ones.", "short", 4,
				lastQuery(`count(max by (connection) (entra_aws_rotation_phase`+selector(`phase!~"idle|blocked"`)+`) == 1) or vector(0)`, "rotations")),
			statPanel("Firing alerts", "Firing alerts that are critical or warnings.", "short", 4,
				lastQuery(`count(`+firingAlerts(`severity=~"critical|warning"`)+`) or vector(0)`, "alerts")).
				coloured("green", threshold{1, "red"}),

			firingAlertsPanel(toConnection),
			tablePanel("What expires next", "The 20 earliest expiry dates. Negative days: expired. What is not in use is left out.", "", 12, []string{"Value #A", "Value #B", "what", "connection", "entra_tenant"},
				tableQuery(lowest(daysLeft)), tableQuery(lowest("("+expiryDates()+") * 1000"))).
				joined(map[string]string{"Value #A": "Days left", "Value #B": "Expires"}).
				sortedBy("Days left").colouredByDaysLeft().
				withField("Days left", unitProperty("d"), colouredCells()).withField("Expires", unitProperty("dateTimeAsIso")).
				withField("connection", toConnection).
				forAlerts("EntraAwsScimTokenExpiringSoon", "EntraAwsScimTokenExpiringCritical", "EntraAwsSamlCertificateExpiringSoon", "EntraAwsSamlCertificateExpiringCritical",
					"EntraAwsAppCredentialExpiringSoon", "EntraAwsAppCredentialExpiringCritical"),

			linePanel("Days left over time", "The 20 that expire next. Falls by one a day and rises with a renewal. The alerts fire below 60 and 14 days.", "d", 24,
				rangeQuery(daysLeft+" and on (connection, entra_tenant, what) "+lowest(atEnd(expiryDates())), "{{connection}}{{entra_tenant}}: {{what}}")).colouredByDaysLeft().withThresholdLines(),

			timelinePanel("Provisioning jobs", "State of the provisioning jobs, of 20 connections at most, the worst ones. A gap means that polls failed.", 12, 8, mapStates(jobStates()...),
				rangeQuery(jobs+" and on (connection) "+highest(atEnd(jobs)), "{{connection}}")).
				forAlerts("EntraAwsProvisioningQuarantined", "EntraAwsProvisioningStopped"),
			linePanel("Time since the last cycle ended", "Of the 20 connections that wait longest. A cycle runs about every 40 minutes. The alert fires after two hours.", "s", 12,
				rangeQuery("time() - "+cycleEnds+" and on (connection) "+lowest(atEnd(cycleEnds)), "{{connection}}")).
				coloured("green", threshold{7200, "red"}).withThresholdLines().forAlerts("EntraAwsProvisioningStale"),

			timelinePanel("Rotations", "Phase of the rotation or rollover, of 20 connections at most, the furthest and the blocked ones. Absent while both are off.", 12, 8, mapStates(phaseStates()...),
				rangeQuery(rotations+" and on (connection) "+highest(atEnd(rotations)), "{{connection}}")).
				forAlerts("EntraAwsRotationBlocked", "EntraAwsRotationNeedsApproval", "EntraAwsRotationOverdue"),
		}},
		section{"Exporter", exporterPanels()})
}

// exporterPanels are about the exporter itself.
func exporterPanels() []panel {
	return []panel{
		statPanel("Exporters", "Scraped exporters, and those whose last config reload failed.", "short", 6,
			lastQuery(`count(entra_aws_config_last_reload_successful`+processSelector()+`)`, "scraped"),
			lastQuery(`count(entra_aws_config_last_reload_successful`+processSelector()+` == 0) or vector(0)`, "reload failed")).
			forAlerts("EntraAwsExporterAbsent", "EntraAwsConfigReloadFailed"),
		statPanel("Age of the configuration", "Time since the last successful reload.", "s", 6,
			lastQuery(`time() - max by (instance) (entra_aws_config_last_reload_success_timestamp_seconds`+processSelector()+`)`, "{{instance}}")).
			forAlerts("EntraAwsConfigReloadFailed"),
		statPanel("Memory", "Resident memory of each exporter.", "bytes", 6,
			lastQuery(`max by (instance) (process_resident_memory_bytes`+processSelector()+`)`, "{{instance}}")),
		statPanel("Uptime", "Time since the start of each exporter.", "s", 6,
			lastQuery(`time() - max by (instance) (process_start_time_seconds`+processSelector()+`)`, "{{instance}}")),
		barPanel("Failed polls", "Failed polls of all connections by source and reason. Empty without failures.",
			rangeQuery(`sum by (source, reason) (increase(entra_aws_source_errors_total`+selector()+`[$__rate_interval]))`, "{{source}} {{reason}}")).
			forAlerts("EntraAwsSourceFailing", "EntraAwsSourceStale"),
		barPanel("Requests to AWS and Entra", "Requests of all connections by service and HTTP status.",
			rangeQuery(`sum by (service, code) (increase(entra_aws_api_requests_total`+processSelector()+`[$__rate_interval]))`, "{{service}} {{code}}")),
		barPanel("Alerts at the webhook", "Alerts from Alertmanager by decision, of all connections.",
			rangeQuery(`sum by (decision) (increase(entra_aws_webhook_alerts_total`+processSelector()+`[$__rate_interval]))`, "{{decision}}")),
		barPanel("Webhook requests", "Requests to the webhook by HTTP status of the response.",
			rangeQuery(`sum by (code) (increase(entra_aws_webhook_requests_total`+processSelector()+`[$__rate_interval]))`, "{{code}}")),
	}
}

// expiryDates is the query for the expiry dates of what is in use, by connection or tenant,
// and kind.
func expiryDates() string {
	named := func(metric, what string) string {
		return `max by (connection, what) (label_replace(` + metric + selector() + `, "what", "` + what + `", "", ""))`
	}
	token := named("entra_aws_scim_active_token_expiry_timestamp_seconds", "SCIM access token")
	certificate := named("entra_aws_saml_active_certificate_expiry_timestamp_seconds", "SAML signing certificate")
	// As in the rules: an expired credential beside a valid one of the tenant is not in use.
	credentials := `entra_aws_app_credential_expiry_timestamp_seconds` + processSelector()
	credential := `max by (entra_tenant, what) (label_join(` + credentials + ` unless (` + credentials + ` <= time() and on (entra_tenant) max by (entra_tenant) (` +
		credentials + `) > time()), "what", " ", "kind", "key_id"))`
	return token + " or " + certificate + " or " + credential
}

// firingAlerts is the query for this project's firing alerts of the chosen connections.
// Three alerts report no problem.
func firingAlerts(matchers ...string) string {
	return `max by (alertname, severity, connection, entra_tenant, source, kind, reason) (ALERTS{` + strings.Join(append([]string{
		`alertstate="firing"`, `alertname=~"EntraAws.+"`, `alertname!~"EntraAwsScimTokenRotationDue|EntraAwsSamlCertificateRolloverDue|EntraAwsRotationSucceeded"`, `connection=~"$connection|"`,
	}, matchers...), ", ") + `})`
}

// The harms in the order of the status page, as the numbers of firingAlertsPanel.
func harms() []state {
	return []state{
		{"sign_in", "Sign-in", "dark-red"},
		{"provisioning", "Provisioning", "red"},
		{"expiry", "Expiry", "orange"},
		{"monitoring", "Monitoring", "purple"},
		{"information", "Information", "blue"},
	}
}

// firingAlertsPanel lists the firing alerts, the most harmful first.
func firingAlertsPanel(toConnection dashboard.DynamicConfigValue) panel {
	number := func(harm int, alerts string) string { return strconv.Itoa(harm) + " + 0 * " + alerts }
	expired := func(metric string) string {
		return ` and on (connection) max by (connection) (` + metric + selector() + `) <= time()`
	}
	query := strings.Join([]string{
		number(5, firingAlerts(`severity="info"`)),
		number(1, firingAlerts(`alertname=~"EntraAwsSamlCertificateNotTrusted|EntraAwsSamlUnexpectedSigner"`)),
		number(1, firingAlerts(`alertname="EntraAwsRotationBlocked"`, `reason="signer_not_trusted"`)),
		number(1, "("+firingAlerts(`alertname="EntraAwsSamlCertificateExpiringCritical"`)+expired("entra_aws_saml_active_certificate_expiry_timestamp_seconds")+")"),
		number(2, firingAlerts(`alertname=~"EntraAwsScimTokenRefused|EntraAwsProvisioning.+"`)),
		number(2, firingAlerts(`alertname="EntraAwsRotationBlocked"`, `severity="critical"`)),
		number(2, "("+firingAlerts(`alertname="EntraAwsScimTokenExpiringCritical"`)+expired("entra_aws_scim_active_token_expiry_timestamp_seconds")+")"),
		number(4, firingAlerts(`alertname=~"EntraAwsSource.+|EntraAwsExporterAbsent|EntraAwsConfigReloadFailed"`)),
		number(3, firingAlerts()),
	}, " or ")
	return tablePanel("Needs attention", "The 20 most harmful of the firing alerts, as on the exporter's status page. The alert's name leads to its runbook. Empty if none fires.", "Harm", 12, []string{"Value", "severity", "connection", "entra_tenant", "alertname", "source", "kind", "reason"}, tableQuery(lowest(query))).
		sortedBy("Harm").
		withField("Harm", dashboard.DynamicConfigValue{Id: "mappings", Value: mapStates(harms()...)}, colouredCells()).
		withField("connection", toConnection).
		withField("alertname", linkProperty("Open the runbook", Base+"/docs/runbooks/${__value.raw}.md"))
}

// colouredCells colours the cells of a column by their values.
func colouredCells() dashboard.DynamicConfigValue {
	return dashboard.DynamicConfigValue{Id: "custom.cellOptions", Value: common.TableColoredBackgroundCellOptions{
		Type: common.TableCellDisplayModeColorBackground, Mode: new(common.TableCellBackgroundDisplayModeBasic),
	}}
}

// dataLink is a link from a cell of a table.
type dataLink struct {
	Title string `json:"title"`
	URL   string `json:"url"`
}

func linkProperty(title, url string) dashboard.DynamicConfigValue {
	return dashboard.DynamicConfigValue{Id: "links", Value: []dataLink{{title, url}}}
}
