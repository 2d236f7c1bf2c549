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

// edited is the true answer with some values put in.
func edited(operation string, pairs ...string) []simulator.Fault {
	return []simulator.Fault{{Operation: operation, Effect: simulator.EffectEdit, Set: set(pairs...)}}
}

// shows wants these series of hit, written without its label, and none of the others.
func shows(there []string, gone ...string) func(*testing.T, *ward, page, page) {
	return func(t *testing.T, _ *ward, _, after page) {
		t.Helper()
		for _, line := range there {
			name, rest, _ := strings.Cut(line, " ")
			name, labels, _ := strings.Cut(name, "{")
			after.holds(t, fmt.Sprintf(`entra_aws_%s{connection="hit"%s%s} %s`, name, comma(labels), strings.TrimSuffix(labels, "}"), rest))
		}
		for _, family := range gone {
			if left := after.with("entra_aws_"+family+"{", `"hit"`); len(left) > 0 {
				t.Errorf("that is not known: %v", left)
			}
		}
	}
}

func comma(labels string) string {
	if labels == "" {
		return ""
	}
	return ","
}

const yearOne = `"0001-01-01T00:00:00Z"`

// A list with a hole in it, a time that is none, a word that is new: no sample, or
// unknown, and never a panic.
func TestAnswersThatNobodyThoughtOf(t *testing.T) {
	rows := map[string]misfortune{
		"job/quarantine without its reasons": {
			faults: edited("GET job", "/status/code", `"Quarantine"`, "/status/quarantine", `null`),
			shows:  shows([]string{`provisioning_job_status{status="quarantine"} 1`}, "provisioning_quarantine_info", "provisioning_quarantine_began_timestamp_seconds"),
		},
		"job/quarantine without dates": {
			faults: edited("GET job", "/status/code", `"Quarantine"`, "/status/quarantine",
				`{"reason":"EncounteredQuarantineException","currentBegan":`+yearOne+`,"seriesBegan":`+yearOne+`,"nextAttempt":`+yearOne+`,"seriesCount":0,"error":null}`),
			shows: shows([]string{`provisioning_job_status{status="quarantine"} 1`, `provisioning_quarantine_info{error_code="",reason="EncounteredQuarantineException"} 1`},
				"provisioning_quarantine_began_timestamp_seconds", "provisioning_quarantine_disable_timestamp_seconds"),
		},
		"job/a quarantine of a new kind": {
			faults: edited("GET job", "/status/code", `"Quarantine"`, "/status/quarantine", `{"reason":"SomethingNew","currentBegan":"1999-12-31T00:00:00Z"}`),
			shows:  shows([]string{`provisioning_job_status{status="quarantine"} 1`, `provisioning_quarantine_info{error_code="",reason="unknown"} 1`}),
		},
		"job/zero dates": {
			faults: edited("GET job", "/status/lastExecution/timeBegan", yearOne, "/status/lastExecution/timeEnded", yearOne,
				"/status/lastSuccessfulExecution/timeEnded", yearOne, "/status/lastSuccessfulExecution/timeBegan", yearOne,
				"/status/lastSuccessfulExecutionWithExports", `null`),
			shows: shows(nil, "provisioning_last_cycle_begin_timestamp_seconds", "provisioning_last_cycle_end_timestamp_seconds",
				"provisioning_last_success_timestamp_seconds", "provisioning_last_export_timestamp_seconds"),
		},
		"job/new words": {
			faults: edited("GET job", "/status/code", `"Dreaming"`, "/schedule/state", `"Sleeping"`, "/status/lastExecution/state", `"Strange"`),
			shows: shows([]string{
				`provisioning_job_status{status="unknown"} 1`, `provisioning_job_status{status="active"} 0`,
				`provisioning_schedule_state{state="unknown"} 1`, `provisioning_schedule_state{state="active"} 0`,
				`provisioning_last_cycle_state{state="unknown"} 1`, `provisioning_last_cycle_state{state="succeeded"} 0`,
			}),
		},
		"job/no status": {
			faults: edited("GET job", "/status", `null`), down: all(model.ReasonInvalidResponse, model.SourceJob), says: []string{"a job without its status"},
		},
		"job/hardly a status": {
			faults: edited("GET job", "/status", `{}`, "/schedule", `null`),
			shows: shows([]string{`provisioning_job_status{status="unknown"} 1`, `provisioning_schedule_state{state="unknown"} 1`},
				"provisioning_interval_seconds", "provisioning_consecutive_failures", "provisioning_last_cycle_entries", "provisioning_synchronized_entries"),
		},
		"job/counts that are none": {
			faults: edited("GET job", "/status/countSuccessiveCompleteFailures", `-1`, "/status/lastExecution/countExported", `-1`,
				"/status/lastExecution/countImported", `null`, "/status/synchronizedEntryCountByType", `[null,{"key":null,"value":3},{"key":"User to User","value":-3}]`),
			shows: func(t *testing.T, w *ward, before, after page) {
				shows(nil, "provisioning_consecutive_failures", "provisioning_synchronized_entries")(t, w, before, after)
				for _, line := range after.with("last_cycle_entries", `"hit"`) {
					if strings.Contains(line, " -") {
						t.Errorf("fewer than none: %s", line)
					}
				}
			},
		},
		"job/disabled": {
			happens: func(w *ward) { w.act("disable") },
			shows:   shows([]string{`provisioning_schedule_state{state="disabled"} 1`}, "provisioning_interval_seconds"),
		},
		"job/an interval beyond all time": {
			faults: edited("GET job", "/schedule/interval", `"P10675199DT2H48M5.4775807S"`),
			shows:  shows([]string{`provisioning_schedule_state{state="active"} 1`}, "provisioning_interval_seconds"),
		},
		"tokens/zero dates": {
			faults: edited("ListBearerTokens", "/BearerTokens/0/CreationTime", `0`, "/BearerTokens/0/ExpirationTime", `0`),
			shows: shows([]string{`scim_tokens 1`}, "scim_token_created_timestamp_seconds", "scim_token_expiry_timestamp_seconds",
				"scim_token_age_seconds", "scim_active_token_expiry_timestamp_seconds"), forgets: true,
		},
		"tokens/the year one": {
			faults: edited("ListBearerTokens", "/BearerTokens/0/CreationTime", yearOne, "/BearerTokens/0/ExpirationTime", yearOne),
			shows: shows([]string{`scim_tokens 1`}, "scim_token_created_timestamp_seconds", "scim_token_expiry_timestamp_seconds",
				"scim_token_age_seconds", "scim_active_token_expiry_timestamp_seconds"), forgets: true,
		},
		"credentials/zero dates": {
			faults: edited("GET applications", "/value/0/passwordCredentials/0/endDateTime", yearOne),
			shows: func(t *testing.T, w *ward, _, after page) {
				if left := after.with("app_credential_expiry", `"tenant-1"`); len(left) > 0 {
					t.Errorf("that is not known: %v", left)
				}
			}, forgets: true,
		},
		"log/an entry of a new kind": {
			happens: entry(clouds.LogEntry{Action: "teleport", Status: "maybe", ErrorCode: "New", ErrorCategory: "new"}), lasts: 15 * time.Minute,
			shows: func(t *testing.T, _ *ward, _, after page) {
				if others := after.with("provisioning_events_total", `"hit"`, "other"); len(others) == 0 {
					t.Errorf("it is not counted as other: %v", after.with("provisioning_events_total", `"hit"`))
				}
				if wild := after.with("teleport"); len(wild) > 0 {
					t.Errorf("a label that anybody can make: %v", wild)
				}
			},
		},
		"log/zero dates": {
			happens: entry(clouds.LogEntry{Action: "create", Status: "success"}), lasts: 15 * time.Minute,
			faults: edited("GET provisioning", "/value/*/activityDateTime", yearOne),
			shows:  shows(nil, "provisioning_last_event_timestamp_seconds"), forgets: true,
		},
	}
	for operation, list := range map[string]string{
		"GET applications": "/value", "GET provisioning": "/value", "ListBearerTokens": "/BearerTokens",
		"ListExternalIdPCertificates": "/idPCertificates", "ListExternalIdPConfigurationsForDirectory": "/associations", "LookupEvents": "/Events",
	} {
		rows["a hole in the list/"+operation] = misfortune{faults: edited(operation, list+"/-", `null`)}
	}
	for operation, list := range map[string]string{
		"GET servicePrincipals": "/value", "GET jobs": "/value", "ListInstances": "/Instances", "ListProvisioningTenants": "/ProvisioningTenants",
	} {
		rows["a hole in the list/"+operation] = misfortune{exists: func(w *ward) { w.strike(edited(operation, list+"/-", `null`)[0]) }}
	}
	rows["a hole in the list/keyCredentials"] = misfortune{faults: edited("GET servicePrincipal", "/keyCredentials/-", `null`)}
	suffer(t, rows)
}

// entry puts an entry into hit's provisioning log.
func entry(e clouds.LogEntry) func(*ward) {
	return func(w *ward) {
		w.With(func(now *clouds.Model) {
			e.At = now.Now()
			if err := now.AddLogEntry(w.hit.EntraTenantID, w.hit.ServicePrincipalID, w.hit.JobID, e); err != nil {
				w.t.Error(err)
			}
		})
	}
}

// Errors in bodies that say little, or say it in the wrong place.
func TestErrorsThatSayLittle(t *testing.T) {
	body := func(status int, text string) []simulator.Fault {
		return []simulator.Fault{{Operation: "GET job", Status: status, Body: text}}
	}
	job := model.SourceJob
	suffer(t, map[string]misfortune{
		"{} 400":            {faults: body(400, `{}`), down: all(model.ReasonOther, job), says: []string{"answered 400"}},
		"{} 403":            {faults: body(403, `{}`), down: all(model.ReasonPermission, job), says: []string{"answered 403", "Synchronization"}},
		"{} 404":            {faults: body(404, `{}`), down: all(model.ReasonNotFound, job), says: []string{"answered 404", "job_id"}},
		"{} 500":            {faults: body(500, `{}`), down: all(model.ReasonOther, job), says: []string{"answered 500"}},
		"no body":           {faults: body(403, ``), down: all(model.ReasonPermission, job), says: []string{"answered 403"}},
		"a null error":      {faults: body(403, `{"error":null}`), down: all(model.ReasonPermission, job), says: []string{"answered 403"}},
		"a text as error":   {faults: body(403, `{"error":"no"}`), down: all(model.ReasonPermission, job), says: []string{"answered 403"}},
		"a null message":    {faults: body(403, `{"error":{"code":"Forbidden","message":null}}`), down: all(model.ReasonPermission, job), says: []string{"403 Forbidden"}},
		"no inner error":    {faults: body(403, `{"error":{"code":"UnknownError","message":"","innerError":null}}`), down: all(model.ReasonPermission, job), says: []string{"UnknownError"}},
		"JSON in a message": {faults: body(403, `{"error":{"code":"UnknownError","message":"{\"error\":{\"code\":\"Forbidden\",\"message\":\"Not for you.\"}}"}}`), down: all(model.ReasonPermission, job), says: []string{"403 Forbidden: Not for you."}},
		"half JSON in it":   {faults: body(403, `{"error":{"code":"UnknownError","message":"{\"error\":{\"co"}}`), down: all(model.ReasonPermission, job), says: []string{"UnknownError"}},
		"no JSON":           {faults: []simulator.Fault{{Operation: "GET job", Effect: simulator.EffectHTML, Status: 502}}, down: all(model.ReasonOther, job), says: []string{"answered 502 with text/html"}},
		"a page as answer":  {faults: []simulator.Fault{{Operation: "GET job", Effect: simulator.EffectHTML}}, down: all(model.ReasonInvalidResponse, job), says: []string{"answered 200 with text/html"}},
		"{} as answer":      {faults: body(200, `{}`), down: all(model.ReasonInvalidResponse, job), says: []string{"a job without its status"}},
		"null as answer":    {faults: body(200, `null`), down: all(model.ReasonInvalidResponse, job)},
		"cut off":           {faults: body(200, `{"id":"`), down: all(model.ReasonInvalidResponse, job)},
	})
}

// Whether somebody is mailed is an extra of the job's reading: without it the rest stays.
func TestSecretsThatCannotBeRead(t *testing.T) {
	rows := map[string]misfortune{}
	for name, fault := range map[string]simulator.Fault{
		"gone": {Status: 404, Body: `{}`}, "forbidden": {Status: 403, Code: "Authorization_RequestDenied"}, "HTML page": {Effect: simulator.EffectHTML},
		"null": {Status: 200, Body: `{"value":[null]}`}, "reset": {Effect: simulator.EffectReset}, "500": {Status: 500, Body: `{}`},
		"hang": {Effect: simulator.EffectHang}, "endless": {Effect: simulator.EffectHuge},
	} {
		fault.Operation = "GET secrets"
		rows[name] = misfortune{
			faults: []simulator.Fault{fault},
			shows:  shows([]string{`provisioning_job_status{status="active"} 1`}, "provisioning_notification_enabled"),
		}
	}
	suffer(t, rows)
}

// Certificates that are not as Entra makes them are counted rightly, or left out with
// one line in the log.
func TestOddCertificates(t *testing.T) {
	add := func(change func(*clouds.SigningCertificate, *clouds.Model)) func(*ward) {
		return func(w *ward) {
			w.With(func(now *clouds.Model) {
				one := clouds.SigningCertificate{
					Certificate: now.NewCertificate("uploaded", now.Now(), now.Now().AddDate(2, 0, 0)),
					SignKeyID:   "aaaaaaaa-0000-4000-8000-000000000001", VerifyKeyID: "aaaaaaaa-0000-4000-8000-000000000002",
				}
				change(&one, now)
				if err := now.ChangeApplication(w.hit.EntraTenantID, w.hit.ServicePrincipalID, func(sp *clouds.ServicePrincipal) {
					sp.Certificates = append(sp.Certificates, one)
				}); err != nil {
					w.t.Error(err)
				}
			})
		}
	}
	counted := func(holder string, want int, line string) func(*testing.T, *ward, page, page) {
		return func(t *testing.T, w *ward, _, after page) {
			t.Helper()
			if found := after.with("saml_certificate_expiry", `"hit"`, `holder="`+holder+`"`); len(found) != want {
				t.Errorf("%d certificates, want %d: %v", len(found), want, found)
			}
			said := 0
			for logged := range strings.Lines(w.logs.String()) {
				if line != "" && strings.Contains(logged, line) && strings.Contains(logged, "connection=hit") {
					said++
				}
			}
			if line != "" && said != 1 {
				t.Errorf("%d lines in the log about %q, want one:\n%s", said, line, w.logs)
			}
		}
	}
	suffer(t, map[string]misfortune{
		"without its Sign twin": {
			happens: add(func(c *clouds.SigningCertificate, _ *clouds.Model) { c.NoSign = true }), shows: counted("entra", 1, "it does not sign"),
		},
		"odd identifier": {
			happens: add(func(c *clouds.SigningCertificate, _ *clouds.Model) { c.CustomKeyIdentifier = []byte("my key") }), shows: counted("entra", 2, ""),
		},
		"an identifier that looks like a thumbprint": {
			happens: add(func(c *clouds.SigningCertificate, _ *clouds.Model) {
				c.CustomKeyIdentifier = []byte("twenty bytes exactly")
			}),
			shows: func(t *testing.T, w *ward, before, after page) {
				counted("entra", 2, "")(t, w, before, after)
				if wrong := after.with("7477656E7479"); len(wrong) > 0 {
					t.Errorf("the identifier is taken for the thumbprint: %v", wrong)
				}
			},
		},
		"garbage instead of DER": {
			happens: add(func(c *clouds.SigningCertificate, now *clouds.Model) {
				c.Certificate = clouds.BrokenCertificate([]byte("this is no certificate"), now.Now(), now.Now().AddDate(2, 0, 0))
			}), shows: counted("entra", 1, "it cannot be read"),
		},
		"garbage beside AWS's": {
			faults: edited("ListExternalIdPCertificates", "/idPCertificates/-", `{"certificateId":"odd","x509CertificateInPEM":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}`),
			shows: func(t *testing.T, w *ward, before, after page) {
				counted("aws", 1, "certificate")(t, w, before, after)
				if trusted := after.with("saml_certificate_trusted", `"hit"`, "} 1"); len(trusted) != 1 {
					t.Errorf("trusted: %v", after.with("saml_certificate_trusted", `"hit"`))
				}
			},
		},
		// Not one that can be read: then nothing is known of trust, and nobody is alarmed.
		"garbage from AWS": {
			faults: edited("ListExternalIdPCertificates", "/idPCertificates/0/x509CertificateInPEM", `"changed"`),
			down:   all(model.ReasonAPIChanged, model.SourceCertificates), says: []string{"saml.aws_certificates: files"}, half: "aws",
		},
	})
}
