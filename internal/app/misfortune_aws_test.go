package app

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// The undocumented API is no longer what it was: whatever it answers, the log says how
// to live without it.
func TestTheTokenServiceHasChanged(t *testing.T) {
	changes := map[string]simulator.Fault{
		"unknown operation": {Status: 400, Code: "UnknownOperationException"},
		"HTML page":         {Effect: simulator.EffectHTML},
		"404":               {Status: 404},
		"404 with a page":   {Status: 404, Effect: simulator.EffectHTML},
		"redirect":          {Effect: simulator.EffectRedirect, Location: "https://moved.example/"},
		"another list":      {Status: 200, Body: `{"Tokens":[]}`},
		"a bare list":       {Status: 200, Body: `[]`},
	}
	inTheList := map[string]simulator.Fault{
		"no ids":   {Effect: simulator.EffectEdit, Set: set("/BearerTokens/0/TokenId", `""`)},
		"no dates": {Effect: simulator.EffectEdit, Set: set("/BearerTokens/0/CreationTime", `null`, "/BearerTokens/0/ExpirationTime", `null`)},
		"dates":    {Effect: simulator.EffectEdit, Set: set("/BearerTokens/0/ExpirationTime", `{"seconds":1}`)},
	}
	says := []string{"tokens.read_from: declared"}
	rows := map[string]misfortune{
		"the list/cut off": {
			faults: []simulator.Fault{{Operation: "ListBearerTokens", Status: 200, Body: `{"BearerTokens":[{"Tok`}},
			down:   all(model.ReasonInvalidResponse, model.SourceTokens), says: []string{"cut off"},
		},
		// Until it is known which token service's tenant it is, nothing of it can be read.
		"from the start/unknown operation": {
			exists: func(w *ward) {
				w.strike(simulator.Fault{Operation: "ListProvisioningTenants", Status: 400, Code: "UnknownOperationException"})
			},
			down: all(model.ReasonAPIChanged, model.SourceTokens, model.SourceSCIM, model.SourceUsage), says: says,
		},
		// What the log line says helps, although nothing undocumented answers any more.
		"declared instead": {
			exists: func(w *ward) {
				part := section(w.read("exporter.yml"), "hit")
				declared := strings.Replace(part, "    tokens:\n", fmt.Sprintf("    tokens:\n      read_from: declared\n      declared: [{token_id: %s, created: 1999-09-23T00:00:00Z, expires: 2000-09-22T00:00:00Z}]\n",
					w.hit.TokenIDs[0]), 1)
				declared = strings.Replace(declared, "rotation: {", "rotation: {issuer: operator, ", 1)
				declared = strings.Replace(declared, "    aws:\n", fmt.Sprintf("    tenant_url: %q\n    aws:\n      provisioning_tenant_id: %s\n",
					simulated+"/scim/"+w.hit.ProvisioningTenantID+"/scim/v2", w.hit.ProvisioningTenantID), 1)
				w.edit(part, strings.Replace(declared, "saml: {aws_certificates: console_api}", "saml: {aws_certificates: none}", 1))
				for _, operation := range []string{"ListProvisioningTenants", "ListBearerTokens"} {
					w.strike(simulator.Fault{Operation: operation, Status: 400, Code: "UnknownOperationException"})
				}
			},
			shows: func(t *testing.T, w *ward, _, after page) {
				after.holds(t, fmt.Sprintf(`entra_aws_scim_token_info{connection="hit",origin="declared",role="in_use",token_id=%q} 1`, w.hit.TokenIDs[0]),
					`entra_aws_scim_probe_success{connection="hit"} 1`)
			},
		},
	}
	for name, fault := range changes {
		fault.Operation = "ListBearerTokens"
		rows["the list/"+name] = misfortune{faults: []simulator.Fault{fault}, down: all(model.ReasonAPIChanged, model.SourceTokens), says: says}
	}
	for name, fault := range inTheList {
		fault.Operation = "ListBearerTokens"
		rows["in the list/"+name] = misfortune{faults: []simulator.Fault{fault}, down: all(model.ReasonAPIChanged, model.SourceTokens), says: says}
	}
	suffer(t, rows)
}

// The other undocumented API takes nothing but AWS's side of the certificates away.
func TestTheCertificatesAPIHasChanged(t *testing.T) {
	rows := map[string]misfortune{}
	for _, operation := range []string{"ListExternalIdPConfigurationsForDirectory", "ListExternalIdPCertificates"} {
		for name, fault := range map[string]simulator.Fault{
			"unknown operation": {Status: 400, Code: "UnknownOperationException"},
			"HTML page":         {Effect: simulator.EffectHTML},
			"404":               {Status: 404},
			"redirect":          {Effect: simulator.EffectRedirect},
			"another list":      {Status: 200, Body: `{"certificates":[]}`},
		} {
			fault.Operation = operation
			rows[operation+"/"+name] = misfortune{
				faults: []simulator.Fault{fault}, down: all(model.ReasonAPIChanged, model.SourceCertificates),
				says: []string{"saml.aws_certificates: files"}, half: "aws",
			}
		}
	}
	suffer(t, rows)
}

// set is what a fault of the effect edit puts into an answer.
func set(pairs ...string) map[string]json.RawMessage {
	values := map[string]json.RawMessage{}
	for i := 0; i+1 < len(pairs); i += 2 {
		values[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return values
}

// Policies that forbid: the log names the action, and that it is no mere omission.
func TestAWSForbids(t *testing.T) {
	const who = "User: arn:aws:sts::111122223333:assumed-role/exporter/session is not authorized to perform: "
	rows := map[string]misfortune{}
	for source, call := range map[model.Source]struct{ operation, action string }{
		model.SourceTokens:       {"ListBearerTokens", "sso-directory:ListBearerTokens"},
		model.SourceUsage:        {"LookupEvents", "cloudtrail:LookupEvents"},
		model.SourceCertificates: {"ListExternalIdPCertificates", "sso-directory:ListExternalIdPCertificates"},
	} {
		for name, test := range map[string]struct{ message, says string }{
			"SCP":     {who + call.action + " with an explicit deny in a service control policy", "explicit deny"},
			"missing": {who + call.action + " because no identity-based policy allows the " + call.action + " action", "allow " + call.action},
		} {
			rows[name+"/"+string(source)] = misfortune{
				faults: []simulator.Fault{{Operation: call.operation, Status: 400, Code: "AccessDeniedException", Message: test.message}},
				down:   all(model.ReasonPermission, source), says: []string{call.action, test.says, "deploy/permissions/aws.md"},
			}
		}
	}
	kms := all(model.ReasonPermission, model.SourceTokens)
	const refused = "kms:Decrypt on the resource associated with this ciphertext because no identity-based policy allows the kms:Decrypt action"
	rows["KMS"] = misfortune{
		faults: []simulator.Fault{{Operation: "ListBearerTokens", Status: 400, Code: "AccessDeniedException", Message: who + refused}},
		down:   kms, says: []string{"kms:Decrypt", "KMS key", "deploy/permissions/aws.md"},
	}
	rows["KMS, another wording"] = misfortune{
		faults: []simulator.Fault{{Operation: "ListBearerTokens", Status: 400, Code: "KMSAccessDeniedException"}},
		down:   kms, says: []string{"kms:Decrypt", "KMS key"},
	}
	rows["KMS, explicit"] = misfortune{
		faults: []simulator.Fault{{Operation: "ListBearerTokens", Status: 400, Code: "AccessDeniedException", Message: who + "kms:Decrypt with an explicit deny in a service control policy"}},
		down:   kms, says: []string{"kms:Decrypt", "KMS key", "explicit deny"},
	}
	rows["SCP, from the start"] = misfortune{
		exists: func(w *ward) {
			w.strike(simulator.Fault{Operation: "ListInstances", Status: 400, Code: "AccessDeniedException", Message: who + "sso:ListInstances with an explicit deny in a service control policy"})
		},
		down: all(model.ReasonPermission, awsSources()...), says: []string{"sso:ListInstances", "explicit deny"}, half: "aws",
	}
	suffer(t, rows)
}

// A SCIM endpoint that refuses has answered: that is a reading, and nobody else's fault.
func TestSCIMRefuses(t *testing.T) {
	answered := func(status int) func(*testing.T, *ward, page, page) {
		return func(t *testing.T, _ *ward, _, after page) {
			t.Helper()
			after.holds(t, `entra_aws_scim_probe_success{connection="hit"} 0`,
				fmt.Sprintf(`entra_aws_scim_probe_http_status_code{connection="hit"} %d`, status), `entra_aws_scim_probe_success{connection="safe"} 1`)
			if len(after.with("scim_probe_duration_seconds", `"hit"`)) != 1 {
				t.Error("an answer takes a time")
			}
		}
	}
	rows := map[string]misfortune{
		"a wrong token": {exists: func(w *ward) { w.write("scim-token-hit", "mistyped") }, shows: answered(401)},
		"the exporter's address": {
			happens: func(w *ward) {
				if _, err := w.Perform(simulator.Action{Do: "allow_sources", Connection: "hit", Sources: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}); err != nil {
					w.t.Error(err)
				}
			},
			shows: answered(403),
		},
		"Retry-After of an hour": {
			faults: []simulator.Fault{{Status: 429, Code: "TooManyRequests", RetryAfter: "3600", Operation: "SCIM GET ServiceProviderConfig"}},
			shows: func(t *testing.T, w *ward, before, after page) {
				answered(429)(t, w, before, after)
				if calls := w.Calls()["SCIM GET ServiceProviderConfig"]; calls > 2*9 {
					t.Errorf("%d probes in seven minutes", calls)
				}
			},
		},
	}
	for _, status := range []int{401, 403, 429, 500} {
		rows[strconv.Itoa(status)] = misfortune{
			faults: []simulator.Fault{{Status: status, Code: "Whatever", Operation: "SCIM GET ServiceProviderConfig"}}, shows: answered(status),
		}
	}
	suffer(t, rows)
}

// A clock that is wrong breaks no signature and makes nothing negative; the log says it.
func TestClocksApart(t *testing.T) {
	rows := map[string]misfortune{}
	add := func(name string, skew clouds.Skew, jumps bool) {
		wrong := func(w *ward) {
			w.With(func(now *clouds.Model) { now.SetSkew(skew) })
			// By a clock that is ahead, it comes from the future.
			if _, err := w.Perform(simulator.Action{Do: "create_token", Connection: "hit"}); err != nil {
				w.t.Error(err)
			}
		}
		rows[name+" from the start"] = misfortune{exists: wrong, shows: clocksDiffer, moves: true}
		if jumps {
			rows[name+" suddenly"] = misfortune{happens: wrong, shows: clocksDiffer, moves: true, lasts: 10 * time.Minute}
		}
	}
	for _, by := range []time.Duration{-48 * time.Hour, -5 * time.Minute, 5 * time.Minute, 48 * time.Hour} {
		add("AWS "+by.String(), clouds.Skew{AWS: by}, true)
		// An access token that lives for an hour does not survive a leap of two days.
		add("Entra "+by.String(), clouds.Skew{Entra: by}, by.Abs() < time.Hour)
		add("ours "+by.String(), clouds.Skew{AWS: by, Entra: by}, by.Abs() < time.Hour)
		add("apart "+by.String(), clouds.Skew{AWS: by, Entra: -by}, by.Abs() < time.Hour)
	}
	suffer(t, rows)
}

func clocksDiffer(t *testing.T, w *ward, _, after page) {
	t.Helper()
	if !strings.Contains(w.logs.String(), "clock skew detected") {
		t.Errorf("the log says nothing of the clocks:\n%s", w.logs)
	}
	if ages := after.with("scim_token_age_seconds", `"hit"`); len(ages) != 2 {
		t.Errorf("the ages are %v", ages)
	}
	for _, line := range after {
		if _, value, _ := strings.Cut(line, "} "); strings.HasPrefix(value, "-") {
			t.Errorf("negative: %s", line)
		}
	}
}
