package grafana

// Connection is the dashboard about one connection.
func Connection() Dashboard {
	return newDashboard(ConnectionUID, "Entra to AWS / Connection",
		"One connection: its tokens, provisioning, certificates, the rotation of both, and the polls of its sources.",
		dashboardVariables(true), headerLinks(OverviewUID, "Overview"),
		section{"SCIM access tokens", tokenPanels()},
		section{"Provisioning", provisioningPanels()},
		section{"SAML certificates", certificatePanels()},
		section{"Rotation of the SCIM token", tokenRotation().panels()},
		section{"Rollover of the SAML certificate", certificateRollover().panels()},
		section{"Polls", sourcePanels()},
	)
}

func tokenPanels() []panel {
	by := "connection, token_id"
	isTime := unitProperty("dateTimeAsIso")
	return []panel{
		statPanel("Token expires in", "Days until the SCIM access token in use expires. If it is unknown, of the first token to expire. Negative: expired.", "d", 4,
			lastQuery(`(max by (connection) (entra_aws_scim_active_token_expiry_timestamp_seconds`+selector()+`) - time()) / 86400`, "{{connection}}")).
			colouredByDaysLeft().forAlerts("EntraAwsScimTokenExpiringSoon", "EntraAwsScimTokenExpiringCritical"),
		statPanel("Slots", "Existing tokens and their maximum number. An expired token still occupies a slot.", "short", 4,
			lastQuery(`max by (connection) (entra_aws_scim_tokens`+selector()+`)`, "taken"),
			lastQuery(`max by (connection) (entra_aws_scim_token_slots`+selector()+`)`, "slots")).
			forAlerts("EntraAwsScimTokenSlotsFull"),
		statPanel("Probe", "HTTP status of the SCIM endpoint's response to the token. Absent without a response or without a token value to probe with.", "none", 4,
			lastQuery(`max by (connection) (entra_aws_scim_probe_http_status_code`+selector()+`)`, "status")).
			coloured("green", threshold{300, "red"}).forAlerts("EntraAwsScimTokenRefused"),
		tablePanel("Tokens", "All SCIM access tokens at AWS. Last used needs the source usage. Roles come from the rotation.", "", 8, []string{"token_id", "role", "origin", "Value #A", "Value #B", "Value #C", "Value #D"},
			tableQuery(`max by (`+by+`) (entra_aws_scim_token_created_timestamp_seconds`+selector()+`) * 1000`),
			tableQuery(`max by (`+by+`) (entra_aws_scim_token_expiry_timestamp_seconds`+selector()+`) * 1000`),
			tableQuery(`max by (`+by+`) (entra_aws_scim_token_last_used_timestamp_seconds`+selector()+`) * 1000`),
			tableQuery(`max by (`+by+`, role, origin) (entra_aws_scim_token_info`+selector()+`)`)).
			joined(map[string]string{"Value #A": "Created", "Value #B": "Expires", "Value #C": "Last used", "Value #D": "info"}).
			withField("Created", isTime).withField("Expires", isTime).withField("Last used", isTime).
			withField("info", hiddenProperty()).withField("connection", hiddenProperty()).
			forAlerts("EntraAwsScimTokenInUseUnknown"),
		linePanel("Age of the tokens", "Grows by one a day. Each token has a line from its creation to its deletion.", "s", 12,
			rangeQuery(`max by (`+by+`) (entra_aws_scim_token_age_seconds`+selector()+`)`, "{{token_id}}")),
		linePanel("Response time of the SCIM endpoint", "Response time of the probe. A gap means no response.", "s", 12,
			rangeQuery(`max by (connection) (entra_aws_scim_probe_duration_seconds`+selector()+`)`, "{{connection}}")),
	}
}

func provisioningPanels() []panel {
	return []panel{
		timelinePanel("Job", "State of the provisioning job and result of its last cycle. A gap means that polls failed.", 12, 8, mapStates(append(jobStates(), cycleStates()...)...),
			rangeQuery(stateNumber("entra_aws_provisioning_job_status", "status", jobStates()), "Job"),
			rangeQuery(shiftedBy(len(jobStates()), stateNumber("entra_aws_provisioning_last_cycle_state", "state", cycleStates())), "Last cycle")).
			forAlerts("EntraAwsProvisioningQuarantined", "EntraAwsProvisioningStopped", "EntraAwsProvisioningFailing"),
		linePanel("Time since the last cycle, success and export", "Time since the end of the last cycle, of the last successful one, and of the last one that exported an entry. The last may be long if no user or group changes.", "s", 12,
			rangeQuery(`time() - max by (connection) (entra_aws_provisioning_last_cycle_end_timestamp_seconds`+selector()+`)`, "last cycle"),
			rangeQuery(`time() - max by (connection) (entra_aws_provisioning_last_success_timestamp_seconds`+selector()+`)`, "last success"),
			rangeQuery(`time() - max by (connection) (entra_aws_provisioning_last_export_timestamp_seconds`+selector()+`)`, "last export")).
			forAlerts("EntraAwsProvisioningStale"),
		barPanel("Events by action and status", "New entries of the provisioning log. They arrive up to ten minutes late. Flat without changes.",
			rangeQuery(`max by (action, status) (increase(entra_aws_provisioning_events_total`+selector()+`[$__rate_interval]))`, "{{action}} {{status}}")),
		barPanel("Errors by code", "Failed entries of the provisioning log by Entra's category and code. Empty without failures.",
			rangeQuery(`max by (category, error_code) (increase(entra_aws_provisioning_event_errors_total`+selector()+`[$__rate_interval]))`, "{{category}} {{error_code}}")).
			forAlerts("EntraAwsProvisioningFailing"),
		linePanel("Duration of the cycles", "Time from the start to the end of the last cycle.", "s", 8,
			rangeQuery(`max by (connection) (entra_aws_provisioning_last_cycle_end_timestamp_seconds`+selector()+`) - max by (connection) (entra_aws_provisioning_last_cycle_begin_timestamp_seconds`+selector()+`)`, "{{connection}}")),
		linePanel("Entries of the last cycle", "Entries that the last cycle imported from Entra, found entitled, exported to AWS, or escrowed (failed, retried later).", "short", 8,
			rangeQuery(`max by (kind) (entra_aws_provisioning_last_cycle_entries`+selector()+`)`, "{{kind}}")),
		linePanel("Users and groups in sync", "Entries that Entra reports as synchronised, by kind.", "short", 8,
			rangeQuery(`max by (kind) (entra_aws_provisioning_synchronized_entries`+selector()+`)`, "{{kind}}")),
		tablePanel("Quarantine", "Reason and start of the quarantine. Empty without a quarantine.", "", 6,
			[]string{"connection", "reason", "error_code", "Value #A", "Value #B", "Value #C"},
			tableQuery(`max by (connection, reason, error_code) (entra_aws_provisioning_quarantine_info`+selector()+`)`),
			tableQuery(`max by (connection) (entra_aws_provisioning_quarantine_began_timestamp_seconds`+selector()+`) * 1000`),
			tableQuery(`max by (connection) (entra_aws_provisioning_quarantine_disable_timestamp_seconds`+selector()+`) * 1000`)).
			joined(map[string]string{"Value #A": "info", "Value #B": "Began", "Value #C": "Job is disabled at"}).
			withField("Began", unitProperty("dateTimeAsIso")).withField("Job is disabled at", unitProperty("dateTimeAsIso")).withField("info", hiddenProperty()).
			forAlerts("EntraAwsProvisioningQuarantined", "EntraAwsProvisioningDisableImminent"),
		statPanel("Consecutive failures", "Consecutive failed provisioning cycles.", "short", 6,
			lastQuery(`max by (connection) (entra_aws_provisioning_consecutive_failures`+selector()+`)`, "cycles")).
			coloured("green", threshold{1, "orange"}, threshold{3, "red"}).forAlerts("EntraAwsProvisioningFailing"),
		statPanel("Mail on failure", "Whether Entra sends mail when provisioning fails.", "bool_yes_no", 6,
			lastQuery(`max by (connection) (entra_aws_provisioning_notification_enabled`+selector()+`)`, "mails")),
	}
}

func certificatePanels() []panel {
	yesNo := unitProperty("bool_yes_no")
	isTime := unitProperty("dateTimeAsIso")
	return []panel{
		statPanel("Certificate expires in", "Days until the active signing certificate expires. From federation metadata: the first one to expire. Negative: expired.", "d", 4,
			lastQuery(`(max by (connection) (entra_aws_saml_active_certificate_expiry_timestamp_seconds`+selector()+`) - time()) / 86400`, "{{connection}}")).
			colouredByDaysLeft().forAlerts("EntraAwsSamlCertificateExpiringSoon", "EntraAwsSamlCertificateExpiringCritical"),
		statPanel("Unexpected signer", "1 if the active certificate has expired and Entra signs with an inactive one.", "short", 4,
			lastQuery(`max by (connection) (entra_aws_saml_unexpected_signer`+selector()+`)`, "unexpected")).
			coloured("green", threshold{1, "red"}).forAlerts("EntraAwsSamlUnexpectedSigner"),
		statPanel("Notified", "Addresses that Entra notifies before the certificate expires.", "short", 4,
			lastQuery(`max by (connection) (entra_aws_saml_notification_addresses`+selector()+`)`, "addresses")).
			coloured("orange", threshold{1, "green"}).forAlerts("EntraAwsSamlNobodyNotified"),
		tablePanel("Certificates", "Certificates of both sides: entra signs, aws trusts. Trusted is known only if the exporter reads AWS's certificates.", "", 8, []string{"thumbprint", "holder", "Value #A", "Value #B", "Value #C", "Value #D"},
			tableQuery(`max by (thumbprint, holder) (entra_aws_saml_certificate_not_before_timestamp_seconds`+selector()+`) * 1000`),
			tableQuery(`max by (thumbprint, holder) (entra_aws_saml_certificate_expiry_timestamp_seconds`+selector()+`) * 1000`),
			tableQuery(`max by (thumbprint, holder) (label_replace(entra_aws_saml_certificate_active`+selector()+`, "holder", "entra", "", ""))`),
			tableQuery(`max by (thumbprint, holder) (label_replace(entra_aws_saml_certificate_trusted`+selector()+`, "holder", "entra", "", ""))`)).
			joined(map[string]string{"Value #A": "Valid from", "Value #B": "Expires", "Value #C": "Active", "Value #D": "Trusted by AWS"}).
			withField("Valid from", isTime).withField("Expires", isTime).withField("Active", yesNo).withField("Trusted by AWS", yesNo).
			forAlerts("EntraAwsSamlCertificateNotTrusted", "EntraAwsSamlSpareNotTrusted", "EntraAwsSamlActiveCertificateUnknown"),
	}
}

// rotationRow is a row about one kind of rotation.
type rotationRow struct {
	kind, noun, title, what string
	due, dueAlert           string // the metric with its due date, and the alert
	mode                    string // about its mode
	more                    []panel
}

func tokenRotation() rotationRow {
	return rotationRow{
		kind: "scim_token", noun: "rotation", title: "Rotation", what: "token",
		due: "entra_aws_scim_token_rotation_due_timestamp_seconds", dueAlert: "EntraAwsScimTokenRotationDue", mode: "Rotation mode and token issuer.",
		more: []panel{
			barPanel("Tokens created", "Tokens created by rotations. More than one per rotation means a retry.",
				rangeQuery(`max by (connection) (increase(entra_aws_rotation_tokens_created_total`+selector()+`[$__rate_interval]))`, "{{connection}}")),
		},
	}
}

func certificateRollover() rotationRow {
	return rotationRow{
		kind: "saml_certificate", noun: "rollover", title: "Rollover", what: "certificate",
		due: "entra_aws_saml_certificate_rollover_due_timestamp_seconds", dueAlert: "EntraAwsSamlCertificateRolloverDue", mode: "Rollover mode. None while the rollover is off.",
	}
}

func (r rotationRow) panels() []panel {
	of := func(metric string) string { return metric + selector(`kind="`+r.kind+`"`) }
	return append([]panel{
		timelinePanel(r.title+" phase", "Phase of the "+r.noun+". The annotations mark its start and success. Absent while the "+r.noun+" is off.", 24, 6, mapStates(phaseStates()...),
			rangeQuery(stateNumber("entra_aws_rotation_phase", "phase", phaseStates(), `kind="`+r.kind+`"`), "{{connection}}")).
			forAlerts("EntraAwsRotationBlocked", "EntraAwsRotationNeedsApproval", "EntraAwsRotationOverdue"),
		statPanel(r.title+" mode", r.mode, "short", 6,
			lastQuery(`max by (mode, issuer) (`+of("entra_aws_rotation_info")+`)`, "{{mode}} {{issuer}}")).withNames(),
		statPanel(r.title+" due in", "Time until the "+r.what+" is due for its "+r.noun+". Negative: it is due. None while the "+r.noun+" is off.", "s", 6,
			lastQuery(`min by (connection) (`+r.due+selector()+`) - time()`, "{{connection}}")).
			coloured("orange", threshold{0, "green"}).forAlerts(r.dueAlert, "EntraAwsRotationOverdue"),
		statPanel("Time since the last "+r.noun, "Time since the last successful "+r.noun+". None if there was none.", "s", 6,
			lastQuery(`time() - max by (connection) (`+of("entra_aws_rotation_last_success_timestamp_seconds")+`)`, "{{connection}}")).
			forAlerts("EntraAwsRotationSucceeded"),
		statPanel(r.title+": waiting, blocked, proof", "Reason why the running "+r.noun+" waits or is blocked, and its level of proof. None if no "+r.noun+" is running.", "short", 6,
			lastQuery(`max by (reason) (`+of("entra_aws_rotation_waiting_info")+`)`, "waiting: {{reason}}"),
			lastQuery(`max by (reason) (`+of("entra_aws_rotation_blocked_info")+`)`, "blocked: {{reason}}"),
			lastQuery(`max by (level) (`+of("entra_aws_rotation_proof_info")+`)`, "proof: {{level}}")).withNames().
			forAlerts("EntraAwsRotationBlocked", "EntraAwsRotationNeedsApproval"),
		barPanel(r.title+"s by outcome", "Finished "+r.noun+"s. Flat except for a few times a year.",
			rangeQuery(`max by (outcome) (increase(`+of("entra_aws_rotations_total")+`[$__rate_interval]))`, "{{outcome}}")),
	}, r.more...)
}

func sourcePanels() []panel {
	return []panel{
		timelinePanel("Sources", "Whether any replica's last poll of each source succeeded.", 12, 9, mapUp(),
			rangeQuery(`max by (source) (entra_aws_source_up`+selector()+`)`, "{{source}}")).
			forAlerts("EntraAwsSourceFailing", "EntraAwsSourceStale"),
		linePanel("Age in intervals", "Time since the last successful poll, divided by the source's interval. The alert fires above 3.", "short", 12,
			rangeQuery(`(time() - max by (source) (entra_aws_source_last_success_timestamp_seconds`+selector()+`)) / max by (source) (entra_aws_source_interval_seconds`+selector()+`)`, "{{source}}")).
			coloured("green", threshold{3, "red"}).withThresholdLines().forAlerts("EntraAwsSourceStale"),
		barPanel("Failed polls by reason", "Failed polls by source and reason. Empty without failures.",
			rangeQuery(`sum by (source, reason) (increase(entra_aws_source_errors_total`+selector()+`[$__rate_interval]))`, "{{source}} {{reason}}")).
			forAlerts("EntraAwsSourceFailing"),
		barPanel("Requests to AWS and Entra", "Requests of all connections by service and HTTP status.",
			rangeQuery(`sum by (service, code) (increase(entra_aws_api_requests_total`+processSelector()+`[$__rate_interval]))`, "{{service}} {{code}}")),
	}
}
