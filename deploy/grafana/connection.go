package grafana

func phaseStates() []state {
	return []state{
		{"idle", "Idle", "text"},
		{"plan", "Plan", "super-light-blue"},
		{"create", "Create", "light-blue"},
		{"test", "Test", "blue"},
		{"switch", "Switch", "semi-dark-blue"},
		{"resume", "Resume", "dark-blue"},
		{"verify", "Verify", "light-purple"},
		{"retire", "Retire", "purple"},
		{"confirm", "Confirm", "green"},
		{"undo", "Undo", "orange"},
		{"blocked", "Blocked", "red"},
	}
}

func cycleStates() []state {
	return []state{
		{"succeeded", "Succeeded", "green"},
		{"entry_level_errors", "Errors for some entries", "yellow"},
		{"unknown", "Unknown", "purple"},
		{"failed", "Failed", "red"},
	}
}

// upStates are those of a source; 0 and 1 are its values.
func upStates() []object {
	return []object{{"type": "value", "options": object{
		"0": object{"text": "Fails", "color": "red", "index": 0},
		"1": object{"text": "Up", "color": "green", "index": 1},
	}}}
}

// Connection has everything about one connection.
func Connection() Dashboard {
	panels := tokenPanels()
	panels = append(panels, provisioningPanels()...)
	panels = append(panels, certificatePanels()...)
	panels = append(panels, rotationPanels()...)
	panels = append(panels, sourcePanels()...)
	return newDashboard(ConnectionUID, "Entra to AWS / Connection",
		"Everything about one connection: tokens, provisioning, certificates, rotation, and how reading them goes.",
		variables(true), links(OverviewUID, "Overview"), panels)
}

func tokenPanels() []*Panel {
	by := "connection, token_id"
	milliseconds := []object{property("unit", "dateTimeAsIso")}
	return []*Panel{
		row("SCIM access tokens"),
		stat("Token expires in", "Days until the SCIM access token in use expires; where it is not known which that is, the first one. Negative: expired.", "d", 4,
			last(`(max by (connection) (entra_aws_scim_active_token_expiry_timestamp_seconds`+selector()+`) - time()) / 86400`, "{{connection}}")).
			daysLeft().explains("EntraAwsScimTokenExpiringSoon", "EntraAwsScimTokenExpiringCritical"),
		stat("Slots", "Tokens that exist and that there can be; an expired one takes its slot, too.", "short", 4,
			last(`max by (connection) (entra_aws_scim_tokens`+selector()+`)`, "taken"),
			last(`max by (connection) (entra_aws_scim_token_slots`+selector()+`)`, "slots")).
			explains("EntraAwsScimTokenSlotsFull"),
		stat("Probe", "HTTP status of the SCIM endpoint's answer to the token; absent if there was no answer or no value to probe with.", "none", 4,
			last(`max by (connection) (entra_aws_scim_probe_http_status_code`+selector()+`)`, "status")).
			coloured("green", step{300, "red"}).explains("EntraAwsScimTokenRefused"),
		table("Tokens", "Every SCIM access token at AWS. Last used is known only with the source usage; the role only as far as the rotation can tell.",
			"none", "", 8, []string{"token_id", "role", "origin", "Value #A", "Value #B", "Value #C", "Value #D"},
			rows(`max by (`+by+`) (entra_aws_scim_token_created_timestamp_seconds`+selector()+`) * 1000`),
			rows(`max by (`+by+`) (entra_aws_scim_token_expiry_timestamp_seconds`+selector()+`) * 1000`),
			rows(`max by (`+by+`) (entra_aws_scim_token_last_used_timestamp_seconds`+selector()+`) * 1000`),
			rows(`max by (`+by+`, role, origin) (entra_aws_scim_token_info`+selector()+`)`)).
			merged(map[string]string{"Value #A": "Created", "Value #B": "Expires", "Value #C": "Last used", "Value #D": "info"}).
			field("Created", milliseconds...).field("Expires", milliseconds...).field("Last used", milliseconds...).
			field("info", property("custom.hidden", true)).field("connection", property("custom.hidden", true)),
		timeseries("Age of the tokens", "Grows by one a day; a new line begins with each new token and ends with its deletion.", "s", 12,
			over(`max by (`+by+`) (entra_aws_scim_token_age_seconds`+selector()+`)`, "{{token_id}}")),
		timeseries("Answer time of the SCIM endpoint", "How long the probe's answer took; a gap where there was none.", "s", 12,
			over(`max by (connection) (entra_aws_scim_probe_duration_seconds`+selector()+`)`, "{{connection}}")),
	}
}

func provisioningPanels() []*Panel {
	return []*Panel{
		row("Provisioning"),
		timeline("Job", "State of the provisioning job and how its last cycle ended; a gap means that it could not be read.", 12, 8, append(jobStates(), cycleStates()...),
			over(highestState("entra_aws_provisioning_job_status", "status", jobStates()), "Job"),
			over(shifted(len(jobStates()), highestState("entra_aws_provisioning_last_cycle_state", "state", cycleStates())), "Last cycle")).
			explains("EntraAwsProvisioningQuarantined", "EntraAwsProvisioningStopped", "EntraAwsProvisioningFailing"),
		timeseries("Since the last cycle, success and export", "Time since a cycle ended, since one ended without an error, and since one changed something in AWS. The last may be long where nobody joins or leaves.", "s", 12,
			over(`time() - max by (connection) (entra_aws_provisioning_last_cycle_end_timestamp_seconds`+selector()+`)`, "last cycle"),
			over(`time() - max by (connection) (entra_aws_provisioning_last_success_timestamp_seconds`+selector()+`)`, "last success"),
			over(`time() - max by (connection) (entra_aws_provisioning_last_export_timestamp_seconds`+selector()+`)`, "last export")).
			explains("EntraAwsProvisioningStale"),
		bars("Events by action and status", "Entries of Entra's provisioning log in each interval; they arrive up to ten minutes late. Flat when nothing changed.",
			over(`max by (action, status) (increase(entra_aws_provisioning_events_total`+selector()+`[$__rate_interval]))`, "{{action}} {{status}}")),
		bars("Errors by code", "Failed entries of the provisioning log by Entra's category and code. Empty when nothing failed.",
			over(`max by (category, error_code) (increase(entra_aws_provisioning_event_errors_total`+selector()+`[$__rate_interval]))`, "{{category}} {{error_code}}")).
			explains("EntraAwsProvisioningFailing"),
		timeseries("Duration of the cycles", "From the beginning to the end of the last cycle.", "s", 8,
			over(`max by (connection) (entra_aws_provisioning_last_cycle_end_timestamp_seconds`+selector()+`) - max by (connection) (entra_aws_provisioning_last_cycle_begin_timestamp_seconds`+selector()+`)`, "{{connection}}")),
		timeseries("Entries of the last cycle", "What the last cycle imported from Entra, was entitled to, exported to AWS, and put aside after a failure (escrowed).", "short", 8,
			over(`max by (kind) (entra_aws_provisioning_last_cycle_entries`+selector()+`)`, "{{kind}}")),
		timeseries("Users and groups in sync", "Entries that Entra counts as synchronised, by kind.", "short", 8,
			over(`max by (kind) (entra_aws_provisioning_synchronized_entries`+selector()+`)`, "{{kind}}")),
		table("Quarantine", "Why and since when. Empty when the job is not in quarantine.", "none", "", 6,
			[]string{"connection", "reason", "error_code", "Value #A", "Value #B", "Value #C"},
			rows(`max by (connection, reason, error_code) (entra_aws_provisioning_quarantine_info`+selector()+`)`),
			rows(`max by (connection) (entra_aws_provisioning_quarantine_began_timestamp_seconds`+selector()+`) * 1000`),
			rows(`max by (connection) (entra_aws_provisioning_quarantine_disable_timestamp_seconds`+selector()+`) * 1000`)).
			merged(map[string]string{"Value #A": "info", "Value #B": "Began", "Value #C": "Job is disabled at"}).
			field("Began", property("unit", "dateTimeAsIso")).field("Job is disabled at", property("unit", "dateTimeAsIso")).field("info", property("custom.hidden", true)).
			explains("EntraAwsProvisioningQuarantined", "EntraAwsProvisioningDisableImminent"),
		stat("Failures in a row", "Provisioning cycles that have failed one after another.", "short", 6,
			last(`max by (connection) (entra_aws_provisioning_consecutive_failures`+selector()+`)`, "cycles")).
			coloured("green", step{1, "orange"}, step{3, "red"}).explains("EntraAwsProvisioningFailing"),
		stat("Entra mails on failure", "Whether Entra is set to mail somebody when provisioning fails.", "bool_yes_no", 6,
			last(`max by (connection) (entra_aws_provisioning_notification_enabled`+selector()+`)`, "mails")),
	}
}

func certificatePanels() []*Panel {
	yesNo := []object{property("unit", "bool_yes_no")}
	milliseconds := []object{property("unit", "dateTimeAsIso")}
	return []*Panel{
		row("SAML certificates"),
		stat("Certificate expires in", "Days until the certificate that Entra signs with expires; from federation metadata, the first one listed. Negative: expired.", "d", 4,
			last(`(max by (connection) (entra_aws_saml_active_certificate_expiry_timestamp_seconds`+selector()+`) - time()) / 86400`, "{{connection}}")).
			daysLeft().explains("EntraAwsSamlCertificateExpiringSoon", "EntraAwsSamlCertificateExpiringCritical"),
		stat("Unexpected signer", "1 when the active certificate has expired and Entra signs with another by itself.", "short", 4,
			last(`max by (connection) (entra_aws_saml_unexpected_signer`+selector()+`)`, "unexpected")).
			coloured("green", step{1, "red"}).explains("EntraAwsSamlUnexpectedSigner"),
		stat("Notified", "Addresses that Entra mails before the certificate expires.", "short", 4,
			last(`max by (connection) (entra_aws_saml_notification_addresses`+selector()+`)`, "addresses")).
			coloured("orange", step{1, "green"}).explains("EntraAwsSamlNobodyNotified"),
		table("Certificates", "Both sides: entra signs with it, aws trusts it. Trusted is known only when AWS's certificates are read.",
			"none", "", 8, []string{"thumbprint", "holder", "Value #A", "Value #B", "Value #C", "Value #D"},
			rows(`max by (thumbprint, holder) (entra_aws_saml_certificate_not_before_timestamp_seconds`+selector()+`) * 1000`),
			rows(`max by (thumbprint, holder) (entra_aws_saml_certificate_expiry_timestamp_seconds`+selector()+`) * 1000`),
			rows(`max by (thumbprint, holder) (label_replace(entra_aws_saml_certificate_active`+selector()+`, "holder", "entra", "", ""))`),
			rows(`max by (thumbprint, holder) (label_replace(entra_aws_saml_certificate_trusted`+selector()+`, "holder", "entra", "", ""))`)).
			merged(map[string]string{"Value #A": "Valid from", "Value #B": "Expires", "Value #C": "Active", "Value #D": "Trusted by AWS"}).
			field("Valid from", milliseconds...).field("Expires", milliseconds...).field("Active", yesNo...).field("Trusted by AWS", yesNo...).
			explains("EntraAwsSamlCertificateNotTrusted"),
	}
}

func rotationPanels() []*Panel {
	return []*Panel{
		row("Rotation"),
		timeline("Phase", "Where the rotation stands; the marks show when one began and was done. Absent while rotation is off.", 24, 6, phaseStates(),
			over(highestState("entra_aws_rotation_phase", "phase", phaseStates()), "{{connection}}")).
			explains("EntraAwsRotationBlocked", "EntraAwsRotationNeedsApproval", "EntraAwsRotationOverdue"),
		stat("Mode", "What an alert may set off, and who creates the token.", "short", 6,
			last(`max by (mode, issuer) (entra_aws_rotation_info`+selector()+`)`, "{{mode}} {{issuer}}")).named(),
		stat("Due in", "Time until the token is due for rotation; negative: it is due. None while rotation is off.", "s", 6,
			last(`min by (connection) (entra_aws_scim_token_rotation_due_timestamp_seconds`+selector()+`) - time()`, "{{connection}}")).
			coloured("orange", step{0, "green"}).explains("EntraAwsScimTokenRotationDue", "EntraAwsRotationOverdue"),
		stat("Since the last success", "Time since a rotation was last done. None if never.", "s", 6,
			last(`time() - max by (connection) (entra_aws_rotation_last_success_timestamp_seconds`+selector()+`)`, "{{connection}}")).
			explains("EntraAwsRotationSucceeded"),
		stat("Waits for, blocked by, proof", "What the rotation under way waits for or is blocked by, and how sure it is of the new token. None when no rotation is under way.", "short", 6,
			last(`max by (reason) (entra_aws_rotation_waiting_info`+selector()+`)`, "waits: {{reason}}"),
			last(`max by (reason) (entra_aws_rotation_blocked_info`+selector()+`)`, "blocked: {{reason}}"),
			last(`max by (level) (entra_aws_rotation_proof_info`+selector()+`)`, "proof: {{level}}")).named().
			explains("EntraAwsRotationBlocked", "EntraAwsRotationNeedsApproval"),
		bars("Rotations by outcome", "Rotations that ended in each interval. Flat but for a few times a year.",
			over(`max by (outcome) (increase(entra_aws_rotations_total`+selector()+`[$__rate_interval]))`, "{{outcome}}")),
		bars("Tokens created", "Tokens that rotations have created; more than one per rotation means that something was tried again.",
			over(`max by (connection) (increase(entra_aws_rotation_tokens_created_total`+selector()+`[$__rate_interval]))`, "{{connection}}")),
	}
}

func sourcePanels() []*Panel {
	up := timeline("Sources", "Whether the last attempt to read each source succeeded in any replica.", 12, 9, nil,
		over(`max by (source) (entra_aws_source_up`+selector()+`)`, "{{source}}")).
		explains("EntraAwsSourceFailing", "EntraAwsSourceStale")
	up.FieldConfig.Defaults.Mappings = upStates()
	return []*Panel{
		row("Readings"),
		up,
		timeseries("Age in intervals", "Time since the last success, divided by the source's interval; the alert fires above 3.", "short", 12,
			over(`(time() - max by (source) (entra_aws_source_last_success_timestamp_seconds`+selector()+`)) / max by (source) (entra_aws_source_interval_seconds`+selector()+`)`, "{{source}}")).
			coloured("green", step{3, "red"}).withThresholdLines().explains("EntraAwsSourceStale"),
		bars("Failed readings by reason", "Attempts that failed, by source and reason. Empty when none did.",
			over(`sum by (source, reason) (increase(entra_aws_source_errors_total`+selector()+`[$__rate_interval]))`, "{{source}} {{reason}}")).
			explains("EntraAwsSourceFailing"),
		bars("Requests to the clouds", "Every answered request of the exporter, of all connections, by service and HTTP status.",
			over(`sum by (service, code) (increase(entra_aws_api_requests_total`+processSelector()+`[$__rate_interval]))`, "{{service}} {{code}}")),
	}
}
