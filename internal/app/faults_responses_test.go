package app

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// editedResponse is the real response with some values replaced.
func editedResponse(operation string, pairs ...string) []simulator.Fault {
	return []simulator.Fault{{Operation: operation, Effect: simulator.EffectEdit, Set: fieldEdits(pairs...)}}
}

// expectSeries expects series of the affected connection, given without its label, and
// no series of the missing families.
func expectSeries(there []string, gone ...string) func(*testing.T, *isolationTest, seriesList, seriesList) {
	return func(t *testing.T, _ *isolationTest, _, after seriesList) {
		t.Helper()
		for _, line := range there {
			name, rest, _ := strings.Cut(line, " ")
			name, labels, _ := strings.Cut(name, "{")
			after.expect(t, fmt.Sprintf(`entra_aws_%s{connection="affected"%s%s} %s`, name, withComma(labels), strings.TrimSuffix(labels, "}"), rest))
		}
		for _, family := range gone {
			if left := after.matching("entra_aws_"+family+"{", `"affected"`); len(left) > 0 {
				t.Errorf("that is not known: %v", left)
			}
		}
	}
}

func withComma(labels string) string {
	if labels == "" {
		return ""
	}
	return ","
}

const yearOne = `"0001-01-01T00:00:00Z"`

// A null in a list, an invalid time, an unknown word: no sample, or "unknown", and never
// a panic.
func TestUnexpectedResponses(t *testing.T) {
	rows := map[string]faultCase{
		"job/quarantine without its reasons": {
			faults: editedResponse("GET job", "/status/code", `"Quarantine"`, "/status/quarantine", `null`),
			check:  expectSeries([]string{`provisioning_job_status{status="quarantine"} 1`}, "provisioning_quarantine_info", "provisioning_quarantine_began_timestamp_seconds"),
		},
		"job/quarantine without dates": {
			faults: editedResponse("GET job", "/status/code", `"Quarantine"`, "/status/quarantine",
				`{"reason":"EncounteredQuarantineException","currentBegan":`+yearOne+`,"seriesBegan":`+yearOne+`,"nextAttempt":`+yearOne+`,"seriesCount":0,"error":null}`),
			check: expectSeries([]string{`provisioning_job_status{status="quarantine"} 1`, `provisioning_quarantine_info{error_code="",reason="EncounteredQuarantineException"} 1`},
				"provisioning_quarantine_began_timestamp_seconds", "provisioning_quarantine_disable_timestamp_seconds"),
		},
		"job/a quarantine of a new kind": {
			faults: editedResponse("GET job", "/status/code", `"Quarantine"`, "/status/quarantine", `{"reason":"SomethingNew","currentBegan":"1999-12-31T00:00:00Z"}`),
			check:  expectSeries([]string{`provisioning_job_status{status="quarantine"} 1`, `provisioning_quarantine_info{error_code="",reason="unknown"} 1`}),
		},
		"job/zero dates": {
			faults: editedResponse("GET job", "/status/lastExecution/timeBegan", yearOne, "/status/lastExecution/timeEnded", yearOne,
				"/status/lastSuccessfulExecution/timeEnded", yearOne, "/status/lastSuccessfulExecution/timeBegan", yearOne,
				"/status/lastSuccessfulExecutionWithExports", `null`),
			check: expectSeries(nil, "provisioning_last_cycle_begin_timestamp_seconds", "provisioning_last_cycle_end_timestamp_seconds",
				"provisioning_last_success_timestamp_seconds", "provisioning_last_export_timestamp_seconds"),
		},
		"job/new words": {
			faults: editedResponse("GET job", "/status/code", `"Dreaming"`, "/schedule/state", `"Sleeping"`, "/status/lastExecution/state", `"Strange"`),
			check: expectSeries([]string{
				`provisioning_job_status{status="unknown"} 1`, `provisioning_job_status{status="active"} 0`,
				`provisioning_schedule_state{state="unknown"} 1`, `provisioning_schedule_state{state="active"} 0`,
				`provisioning_last_cycle_state{state="unknown"} 1`, `provisioning_last_cycle_state{state="succeeded"} 0`,
			}),
		},
		"job/no status": {
			faults: editedResponse("GET job", "/status", `null`),
			check:  expectSeries([]string{`provisioning_job_status{status="unknown"} 1`, `provisioning_schedule_state{state="active"} 1`}),
		},
		"job/hardly a status": {
			faults: editedResponse("GET job", "/status", `{}`, "/schedule", `null`),
			check: expectSeries([]string{`provisioning_job_status{status="unknown"} 1`, `provisioning_schedule_state{state="unknown"} 1`},
				"provisioning_interval_seconds", "provisioning_consecutive_failures", "provisioning_last_cycle_entries", "provisioning_synchronized_entries"),
		},
		"job/counts that are none": {
			faults: editedResponse("GET job", "/status/countSuccessiveCompleteFailures", `-1`, "/status/lastExecution/countExported", `-1`,
				"/status/lastExecution/countImported", `null`, "/status/synchronizedEntryCountByType", `[null,{"key":null,"value":3},{"key":"User to User","value":-3}]`),
			check: func(t *testing.T, w *isolationTest, before, after seriesList) {
				expectSeries(nil, "provisioning_consecutive_failures", "provisioning_synchronized_entries")(t, w, before, after)
				for _, line := range after.matching("last_cycle_entries", `"affected"`) {
					if strings.Contains(line, " -") {
						t.Errorf("fewer than none: %s", line)
					}
				}
			},
		},
		"job/disabled": {
			inject: func(w *isolationTest) { w.performAction("disable") },
			check:  expectSeries([]string{`provisioning_schedule_state{state="disabled"} 1`}, "provisioning_interval_seconds"),
		},
		"job/an interval beyond all time": {
			faults: editedResponse("GET job", "/schedule/interval", `"P10675199DT2H48M5.4775807S"`),
			check:  expectSeries([]string{`provisioning_schedule_state{state="active"} 1`}, "provisioning_interval_seconds"),
		},
		"tokens/zero dates": {
			faults: editedResponse("ListBearerTokens", "/BearerTokens/0/CreationTime", `0`, "/BearerTokens/0/ExpirationTime", `0`),
			check: expectSeries([]string{`scim_tokens 1`}, "scim_token_created_timestamp_seconds", "scim_token_expiry_timestamp_seconds",
				"scim_token_age_seconds", "scim_active_token_expiry_timestamp_seconds"), datesMayVanish: true,
		},
		"tokens/the year one": {
			faults: editedResponse("ListBearerTokens", "/BearerTokens/0/CreationTime", yearOne, "/BearerTokens/0/ExpirationTime", yearOne),
			check: expectSeries([]string{`scim_tokens 1`}, "scim_token_created_timestamp_seconds", "scim_token_expiry_timestamp_seconds",
				"scim_token_age_seconds", "scim_active_token_expiry_timestamp_seconds"), datesMayVanish: true,
		},
		"credentials/zero dates": {
			faults: editedResponse("GET applications", "/value/0/passwordCredentials/0/endDateTime", yearOne),
			check: func(t *testing.T, w *isolationTest, _, after seriesList) {
				if left := after.matching("app_credential_expiry", `"tenant-1"`); len(left) > 0 {
					t.Errorf("that is not known: %v", left)
				}
			}, datesMayVanish: true,
		},
		"log/an entry of a new kind": {
			inject: logEntry(clouds.LogEntry{Action: "teleport", Status: "maybe", ErrorCode: "New", ErrorCategory: "new"}), duration: 15 * time.Minute,
			check: func(t *testing.T, _ *isolationTest, _, after seriesList) {
				if others := after.matching("provisioning_events_total", `"affected"`, "other"); len(others) == 0 {
					t.Errorf("it is not counted as other: %v", after.matching("provisioning_events_total", `"affected"`))
				}
				if wild := after.matching("teleport"); len(wild) > 0 {
					t.Errorf("a label with an uncontrolled value: %v", wild)
				}
			},
		},
		"log/zero dates": {
			inject: logEntry(clouds.LogEntry{Action: "create", Status: "success"}), duration: 15 * time.Minute,
			faults: editedResponse("GET provisioning", "/value/*/activityDateTime", yearOne),
			check:  expectSeries(nil, "provisioning_last_event_timestamp_seconds"), datesMayVanish: true,
		},
	}
	for operation, list := range map[string]string{
		"GET applications": "/value", "GET provisioning": "/value", "ListBearerTokens": "/BearerTokens",
		"ListExternalIdPCertificates": "/idPCertificates", "ListExternalIdPConfigurationsForDirectory": "/associations", "LookupEvents": "/Events",
	} {
		rows["a hole in the list/"+operation] = faultCase{faults: editedResponse(operation, list+"/-", `null`)}
	}
	for operation, list := range map[string]string{
		"GET servicePrincipals": "/value", "GET jobs": "/value", "ListInstances": "/Instances", "ListProvisioningTenants": "/ProvisioningTenants",
	} {
		rows["a hole in the list/"+operation] = faultCase{prepare: func(w *isolationTest) { w.injectFault(editedResponse(operation, list+"/-", `null`)[0]) }}
	}
	rows["a hole in the list/keyCredentials"] = faultCase{faults: editedResponse("GET servicePrincipal", "/keyCredentials/-", `null`)}
	runFaultCases(t, rows)
}

// logEntry adds an entry to the provisioning log of the affected tenant.
func logEntry(e clouds.LogEntry) func(*isolationTest) {
	return func(w *isolationTest) {
		w.With(func(now *clouds.Model) {
			e.At = now.Now()
			if err := now.AddLogEntry(w.affected.EntraTenantID, w.affected.ServicePrincipalID, w.affected.JobID, e); err != nil {
				w.t.Error(err)
			}
		})
	}
}

// Errors with bodies that say little, or say it in the wrong place.
func TestTerseErrors(t *testing.T) {
	body := func(status int, text string) []simulator.Fault {
		return []simulator.Fault{{Operation: "GET job", Status: status, Body: text}}
	}
	job := model.SourceJob
	runFaultCases(t, map[string]faultCase{
		"{} 400":            {faults: body(400, `{}`), wantDown: failing(model.ReasonOther, job), wantLog: []string{"HTTP status 400"}},
		"{} 403":            {faults: body(403, `{}`), wantDown: failing(model.ReasonPermission, job), wantLog: []string{"HTTP status 403", "Synchronization"}},
		"{} 404":            {faults: body(404, `{}`), wantDown: failing(model.ReasonNotFound, job), wantLog: []string{"HTTP status 404", "job_id"}},
		"{} 500":            {faults: body(500, `{}`), wantDown: failing(model.ReasonOther, job), wantLog: []string{"HTTP status 500"}},
		"no body":           {faults: body(403, ``), wantDown: failing(model.ReasonPermission, job), wantLog: []string{"HTTP status 403"}},
		"a null error":      {faults: body(403, `{"error":null}`), wantDown: failing(model.ReasonPermission, job), wantLog: []string{"HTTP status 403"}},
		"a text as error":   {faults: body(403, `{"error":"no"}`), wantDown: failing(model.ReasonPermission, job), wantLog: []string{"HTTP status 403"}},
		"a null message":    {faults: body(403, `{"error":{"code":"Forbidden","message":null}}`), wantDown: failing(model.ReasonPermission, job), wantLog: []string{"403 Forbidden"}},
		"no inner error":    {faults: body(403, `{"error":{"code":"UnknownError","message":"","innerError":null}}`), wantDown: failing(model.ReasonPermission, job), wantLog: []string{"UnknownError"}},
		"JSON in a message": {faults: body(403, `{"error":{"code":"UnknownError","message":"{\"error\":{\"code\":\"Forbidden\",\"message\":\"Not for you.\"}}"}}`), wantDown: failing(model.ReasonPermission, job), wantLog: []string{"403 Forbidden: Not for you."}},
		"half JSON in it":   {faults: body(403, `{"error":{"code":"UnknownError","message":"{\"error\":{\"co"}}`), wantDown: failing(model.ReasonPermission, job), wantLog: []string{"UnknownError"}},
		"no JSON":           {faults: []simulator.Fault{{Operation: "GET job", Effect: simulator.EffectHTML, Status: 502}}, wantDown: failing(model.ReasonOther, job), wantLog: []string{"HTTP status 502 with text/html"}},
		"a page as answer":  {faults: []simulator.Fault{{Operation: "GET job", Effect: simulator.EffectHTML}}, wantDown: failing(model.ReasonInvalidResponse, job), wantLog: []string{"HTTP status 200 with text/html"}},
		"{} as answer":      {faults: body(200, `{}`), wantDown: failing(model.ReasonInvalidResponse, job), wantLog: []string{"neither an id nor a status of the job"}},
		"null as answer":    {faults: body(200, `null`), wantDown: failing(model.ReasonInvalidResponse, job)},
		"cut off":           {faults: body(200, `{"id":"`), wantDown: failing(model.ReasonInvalidResponse, job)},
	})
}

// The notification setting is optional: the job is shown without it.
func TestUnreadableSecrets(t *testing.T) {
	rows := map[string]faultCase{}
	for name, fault := range map[string]simulator.Fault{
		"gone": {Status: 404, Body: `{}`}, "forbidden": {Status: 403, Code: "Authorization_RequestDenied"}, "HTML page": {Effect: simulator.EffectHTML},
		"null": {Status: 200, Body: `{"value":[null]}`}, "reset": {Effect: simulator.EffectReset}, "500": {Status: 500, Body: `{}`},
		"hang": {Effect: simulator.EffectHang}, "endless": {Effect: simulator.EffectHuge},
	} {
		fault.Operation = "GET secrets"
		rows[name] = faultCase{
			faults: []simulator.Fault{fault},
			check:  expectSeries([]string{`provisioning_job_status{status="active"} 1`}, "provisioning_notification_enabled"),
		}
	}
	runFaultCases(t, rows)
}

// Certificates of an unexpected kind are either counted correctly, or ignored with one
// line in the log.
func TestOddCertificates(t *testing.T) {
	add := func(change func(*clouds.SigningCertificate, *clouds.Model)) func(*isolationTest) {
		return func(w *isolationTest) {
			w.With(func(now *clouds.Model) {
				one := clouds.SigningCertificate{
					Certificate: now.NewCertificate("uploaded", now.Now(), now.Now().AddDate(2, 0, 0)),
					SignKeyID:   "aaaaaaaa-0000-4000-8000-000000000001", VerifyKeyID: "aaaaaaaa-0000-4000-8000-000000000002",
				}
				change(&one, now)
				if err := now.ChangeApplication(w.affected.EntraTenantID, w.affected.ServicePrincipalID, func(sp *clouds.ServicePrincipal) {
					sp.Certificates = append(sp.Certificates, one)
				}); err != nil {
					w.t.Error(err)
				}
			})
		}
	}
	counted := func(holder string, want int, line string) func(*testing.T, *isolationTest, seriesList, seriesList) {
		return func(t *testing.T, w *isolationTest, _, after seriesList) {
			t.Helper()
			if found := after.matching("saml_certificate_expiry", `"affected"`, `holder="`+holder+`"`); len(found) != want {
				t.Errorf("%d certificates, want %d: %v", len(found), want, found)
			}
			output := 0
			for logged := range strings.Lines(w.logs.String()) {
				if line != "" && strings.Contains(logged, line) && strings.Contains(logged, "connection=affected") {
					output++
				}
			}
			if line != "" && output != 1 {
				t.Errorf("%d lines in the log about %q, want one:\n%s", output, line, w.logs)
			}
		}
	}
	runFaultCases(t, map[string]faultCase{
		"without its Sign twin": {
			inject: add(func(c *clouds.SigningCertificate, _ *clouds.Model) { c.NoSign = true }), check: counted("entra", 1, "no signing key"),
		},
		"odd identifier": {
			inject: add(func(c *clouds.SigningCertificate, _ *clouds.Model) { c.CustomKeyIdentifier = []byte("my key") }), check: counted("entra", 2, ""),
		},
		"an identifier that looks like a thumbprint": {
			inject: add(func(c *clouds.SigningCertificate, _ *clouds.Model) {
				c.CustomKeyIdentifier = []byte("twenty bytes exactly")
			}),
			check: func(t *testing.T, w *isolationTest, before, after seriesList) {
				counted("entra", 2, "")(t, w, before, after)
				if wrong := after.matching("7477656E7479"); len(wrong) > 0 {
					t.Errorf("the identifier is taken for the thumbprint: %v", wrong)
				}
			},
		},
		// The dates that Graph gives still count.
		"garbage instead of DER": {
			inject: add(func(c *clouds.SigningCertificate, now *clouds.Model) {
				c.Certificate = clouds.BrokenCertificate([]byte("this is no certificate"), now.Now(), now.Now().AddDate(2, 0, 0))
			}), check: counted("entra", 2, ""),
		},
		"garbage beside AWS's": {
			faults: editedResponse("ListExternalIdPCertificates", "/idPCertificates/-", `{"certificateId":"odd","x509CertificateInPEM":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}`),
			check: func(t *testing.T, w *isolationTest, before, after seriesList) {
				counted("aws", 1, "certificate")(t, w, before, after)
				if trusted := after.matching("saml_certificate_trusted", `"affected"`, "} 1"); len(trusted) != 1 {
					t.Errorf("trusted: %v", after.matching("saml_certificate_trusted", `"affected"`))
				}
			},
		},
		// With no readable certificate, trust is unknown, and no alert fires.
		"garbage from AWS": {
			faults:   editedResponse("ListExternalIdPCertificates", "/idPCertificates/0/x509CertificateInPEM", `"changed"`),
			wantDown: failing(model.ReasonAPIChanged, model.SourceCertificates), wantLog: []string{"saml.aws_certificates: files"}, failedHolder: "aws",
		},
	})
}
