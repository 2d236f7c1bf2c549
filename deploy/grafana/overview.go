package grafana

func jobStates() []state {
	return []state{
		{"active", "Active", "green"},
		{"not_run", "Never run", "orange"},
		{"not_configured", "Not configured", "orange"},
		{"paused", "Paused", "orange"},
		{"unknown", "Unknown", "purple"},
		{"quarantine", "Quarantine", "red"},
	}
}

// expiries is the time of everything that expires, by connection and what it is.
func expiries() string {
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

// Overview has every connection on one screen.
func Overview() Dashboard {
	daysLeft := "((" + expiries() + ") - time()) / 86400"
	toConnection := property("links", []object{{
		"title": "Open the connection", "url": "/d/" + ConnectionUID + "?var-connection=${__value.raw}&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}",
	}})
	return newDashboard(OverviewUID, "Entra to AWS / Overview",
		"Every connection on one screen: what expires next, how provisioning does, and what needs a person.",
		variables(false), links(ConnectionUID, "Connection"),
		[]*Panel{
			stat("Connections", "Connections that are exported, whatever their state.", "short", 4,
				last(`count(count by (connection) (entra_aws_connection_info`+selector()+`))`, "connections")),
			stat("Soonest expiry", "Days until the first token, certificate or credential expires; negative: it has expired.", "d", 4,
				last("min("+daysLeft+")", "days left")).daysLeft().
				explains("EntraAwsScimTokenExpiringSoon", "EntraAwsSamlCertificateExpiringSoon", "EntraAwsAppCredentialExpiringSoon"),
			stat("In quarantine", "Connections whose provisioning job Entra has put into quarantine.", "short", 4,
				last(`sum(max by (connection) (entra_aws_provisioning_job_status`+selector(`status="quarantine"`)+`))`, "connections")).
				coloured("green", step{1, "red"}).explains("EntraAwsProvisioningQuarantined"),
			stat("Sources failing", "Sources of any connection that no replica can read.", "short", 4,
				last(`count(max by (connection, source) (entra_aws_source_up`+selector()+`) == 0) or vector(0)`, "sources")).
				coloured("green", step{1, "orange"}).explains("EntraAwsSourceFailing"),
			stat("Rotations under way", "Connections whose rotation is between its plan and its end, blocked ones aside.", "short", 4,
				last(`count(max by (connection) (entra_aws_rotation_phase`+selector(`phase!~"idle|blocked"`)+`) == 1) or vector(0)`, "rotations")),
			stat("Exporters", "Exporters that were scraped, and whether each has loaded its config.", "short", 4,
				last(`count(entra_aws_config_last_reload_successful`+processSelector()+`)`, "scraped"),
				last(`count(entra_aws_config_last_reload_successful`+processSelector()+` == 0) or vector(0)`, "reload failed")).
				explains("EntraAwsExporterAbsent", "EntraAwsConfigReloadFailed"),

			table("What expires next", "Days until expiry, the soonest first; negative: expired. The exporter's own Entra credentials stand under the name of their tenant.",
				"d", "Days left", 10, []string{"connection", "what"}, rows(daysLeft)).
				sortBy("Days left").daysLeft().
				field("Days left", property("custom.cellOptions", object{"type": "color-background", "mode": "basic"})).
				field("connection", toConnection).
				explains("EntraAwsScimTokenExpiringSoon", "EntraAwsScimTokenExpiringCritical", "EntraAwsSamlCertificateExpiringSoon", "EntraAwsSamlCertificateExpiringCritical",
					"EntraAwsAppCredentialExpiringSoon", "EntraAwsAppCredentialExpiringCritical"),
			needsPerson(toConnection),

			timeseries("Days left over time", "Falls by one a day and leaps when something was renewed; below 60 and 14 days the alerts fire.", "d", 24,
				over(daysLeft, "{{connection}}: {{what}}")).daysLeft().withThresholdLines(),

			timeline("Provisioning jobs", "State of each connection's provisioning job; a gap means that it could not be read.", 12, 8, jobStates(),
				over(highestState("entra_aws_provisioning_job_status", "status", jobStates()), "{{connection}}")).
				explains("EntraAwsProvisioningQuarantined", "EntraAwsProvisioningStopped"),
			timeseries("Time since the last cycle ended", "A job runs about every 40 minutes; the alert fires after two hours.", "s", 12,
				over(`time() - max by (connection) (entra_aws_provisioning_last_cycle_end_timestamp_seconds`+selector()+`)`, "{{connection}}")).
				coloured("green", step{7200, "red"}).withThresholdLines().explains("EntraAwsProvisioningStale"),

			timeline("Rotations", "Phase of each connection's rotation; absent while rotation is off.", 12, 8, phaseStates(),
				over(highestState("entra_aws_rotation_phase", "phase", phaseStates()), "{{connection}}")).
				explains("EntraAwsRotationBlocked", "EntraAwsRotationNeedsApproval", "EntraAwsRotationOverdue"),
			bars("Alerts at the webhook", "What the exporter decided on the alerts that Alertmanager sent, from all connections.",
				over(`sum by (decision) (increase(entra_aws_webhook_alerts_total`+processSelector()+`[$__rate_interval]))`, "{{decision}}")),
		})
}

// needsPerson lists what does not go away by itself.
func needsPerson(toConnection object) *Panel {
	what := func(expr, text string) string {
		return `label_replace(` + expr + `, "what", "` + text + `", "", "")`
	}
	blocked := what(`max by (connection, reason) (entra_aws_rotation_blocked_info`+selector()+`)`, "rotation blocked")
	approval := what(`max by (connection, reason) (entra_aws_rotation_waiting_info`+selector(`reason="approval"`)+`)`, "rotation waits")
	quarantine := what(`max by (connection, reason) (entra_aws_provisioning_quarantine_info`+selector()+`)`, "provisioning in quarantine")
	stopped := what(`max by (connection, reason) (label_join(entra_aws_provisioning_job_status`+selector(`status=~"paused|not_configured|not_run"`)+` == 1, "reason", "", "status"))`, "provisioning stopped")
	failing := what(`max by (connection, reason) (label_join(entra_aws_source_up`+selector()+` == 0, "reason", "", "source"))`, "source not readable")
	return table("What needs a person", "Empty when nothing does: blocked rotations, approvals, quarantined or stopped jobs, sources that cannot be read.",
		"none", "", 10, []string{"connection", "what", "reason"},
		rows(blocked+" or "+approval+" or "+quarantine+" or "+stopped+" or "+failing)).
		field("Value", property("custom.hidden", true)).
		field("connection", toConnection).
		explains("EntraAwsRotationBlocked", "EntraAwsRotationNeedsApproval", "EntraAwsProvisioningQuarantined", "EntraAwsProvisioningStopped", "EntraAwsSourceFailing")
}
