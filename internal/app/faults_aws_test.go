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

// The undocumented API has changed. Whatever it answers, the log names the alternative.
func TestTokenServiceAPIChanged(t *testing.T) {
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
		"no ids":   {Effect: simulator.EffectEdit, Set: fieldEdits("/BearerTokens/0/TokenId", `""`)},
		"no dates": {Effect: simulator.EffectEdit, Set: fieldEdits("/BearerTokens/0/CreationTime", `null`, "/BearerTokens/0/ExpirationTime", `null`)},
		"dates":    {Effect: simulator.EffectEdit, Set: fieldEdits("/BearerTokens/0/ExpirationTime", `{"seconds":1}`)},
	}
	says := []string{"tokens.read_from: declared"}
	rows := map[string]faultCase{
		"the list/cut off": {
			faults:   []simulator.Fault{{Operation: "ListBearerTokens", Status: 200, Body: `{"BearerTokens":[{"Tok`}},
			wantDown: failing(model.ReasonInvalidResponse, model.SourceTokens), wantLog: []string{"truncated"},
		},
		// Tokens cannot be read before the tenant of the token service is known.
		"from the start/unknown operation": {
			prepare: func(w *isolationTest) {
				w.injectFault(simulator.Fault{Operation: "ListProvisioningTenants", Status: 400, Code: "UnknownOperationException"})
			},
			wantDown: failing(model.ReasonAPIChanged, model.SourceTokens, model.SourceSCIM, model.SourceUsage), wantLog: says,
		},
		// The advice in the log works although no undocumented API answers any more.
		"declared instead": {
			prepare: func(w *isolationTest) {
				part := connectionSection(w.read("exporter.yml"), "affected")
				declared := strings.Replace(part, "    tokens:\n", fmt.Sprintf("    tokens:\n      read_from: declared\n      declared: [{token_id: %s, created: 1999-09-23T00:00:00Z, expires: 2000-09-22T00:00:00Z}]\n",
					w.affected.TokenIDs[0]), 1)
				declared = strings.Replace(declared, "rotation: {", "rotation: {issuer: operator, ", 1)
				declared = strings.Replace(declared, "    aws:\n", fmt.Sprintf("    tenant_url: %q\n    aws:\n      provisioning_tenant_id: %s\n",
					simulatorURL+"/scim/"+w.affected.ProvisioningTenantID+"/scim/v2", w.affected.ProvisioningTenantID), 1)
				w.edit(part, strings.Replace(declared, "saml: {aws_certificates: console_api}", "saml: {aws_certificates: none}", 1))
				for _, operation := range []string{"ListProvisioningTenants", "ListBearerTokens"} {
					w.injectFault(simulator.Fault{Operation: operation, Status: 400, Code: "UnknownOperationException"})
				}
			},
			check: func(t *testing.T, w *isolationTest, _, after seriesList) {
				after.expect(t, fmt.Sprintf(`entra_aws_scim_token_info{connection="affected",origin="declared",role="in_use",token_id=%q} 1`, w.affected.TokenIDs[0]),
					`entra_aws_scim_probe_success{connection="affected"} 1`)
			},
		},
	}
	for name, fault := range changes {
		fault.Operation = "ListBearerTokens"
		rows["the list/"+name] = faultCase{faults: []simulator.Fault{fault}, wantDown: failing(model.ReasonAPIChanged, model.SourceTokens), wantLog: says}
	}
	for name, fault := range inTheList {
		fault.Operation = "ListBearerTokens"
		rows["in the list/"+name] = faultCase{faults: []simulator.Fault{fault}, wantDown: failing(model.ReasonAPIChanged, model.SourceTokens), wantLog: says}
	}
	runFaultCases(t, rows)
}

// The other undocumented API takes away only the AWS side of the certificates.
func TestCertificatesAPIChanged(t *testing.T) {
	rows := map[string]faultCase{}
	for _, operation := range []string{"ListExternalIdPConfigurationsForDirectory", "ListExternalIdPCertificates"} {
		for name, fault := range map[string]simulator.Fault{
			"unknown operation": {Status: 400, Code: "UnknownOperationException"},
			"HTML page":         {Effect: simulator.EffectHTML},
			"404":               {Status: 404},
			"redirect":          {Effect: simulator.EffectRedirect},
			"another list":      {Status: 200, Body: `{"certificates":[]}`},
		} {
			fault.Operation = operation
			rows[operation+"/"+name] = faultCase{
				faults: []simulator.Fault{fault}, wantDown: failing(model.ReasonAPIChanged, model.SourceCertificates),
				wantLog: []string{"saml.aws_certificates: files"}, failedHolder: "aws",
			}
		}
	}
	runFaultCases(t, rows)
}

// fieldEdits are the fields that a fault with the effect edit sets in a response.
func fieldEdits(pairs ...string) map[string]json.RawMessage {
	values := map[string]json.RawMessage{}
	for i := 0; i+1 < len(pairs); i += 2 {
		values[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return values
}

// Policies that deny: the log names the action, and whether the deny is explicit.
func TestAWSPermissionsMissing(t *testing.T) {
	const who = "User: arn:aws:sts::111122223333:assumed-role/exporter/session is not authorized to perform: "
	rows := map[string]faultCase{}
	for source, call := range map[model.Source]struct{ operation, action string }{
		model.SourceTokens:       {"ListBearerTokens", "sso-directory:ListBearerTokens"},
		model.SourceUsage:        {"LookupEvents", "cloudtrail:LookupEvents"},
		model.SourceCertificates: {"ListExternalIdPCertificates", "sso-directory:ListExternalIdPCertificates"},
	} {
		for name, test := range map[string]struct{ message, says string }{
			"SCP":     {who + call.action + " with an explicit deny in a service control policy", "explicit deny"},
			"missing": {who + call.action + " because no identity-based policy allows the " + call.action + " action", "allow " + call.action},
		} {
			rows[name+"/"+string(source)] = faultCase{
				faults:   []simulator.Fault{{Operation: call.operation, Status: 400, Code: "AccessDeniedException", Message: test.message}},
				wantDown: failing(model.ReasonPermission, source), wantLog: []string{call.action, test.says, "deploy/permissions/aws.md"},
			}
		}
	}
	kms := failing(model.ReasonPermission, model.SourceTokens)
	const refused = "kms:Decrypt on the resource associated with this ciphertext because no identity-based policy allows the kms:Decrypt action"
	rows["KMS"] = faultCase{
		faults:   []simulator.Fault{{Operation: "ListBearerTokens", Status: 400, Code: "AccessDeniedException", Message: who + refused}},
		wantDown: kms, wantLog: []string{"kms:Decrypt", "KMS key", "deploy/permissions/aws.md"},
	}
	rows["KMS, another wording"] = faultCase{
		faults:   []simulator.Fault{{Operation: "ListBearerTokens", Status: 400, Code: "KMSAccessDeniedException"}},
		wantDown: kms, wantLog: []string{"kms:Decrypt", "KMS key"},
	}
	rows["KMS, explicit"] = faultCase{
		faults:   []simulator.Fault{{Operation: "ListBearerTokens", Status: 400, Code: "AccessDeniedException", Message: who + "kms:Decrypt with an explicit deny in a service control policy"}},
		wantDown: kms, wantLog: []string{"kms:Decrypt", "KMS key", "explicit deny"},
	}
	rows["SCP, from the start"] = faultCase{
		prepare: func(w *isolationTest) {
			w.injectFault(simulator.Fault{Operation: "ListInstances", Status: 400, Code: "AccessDeniedException", Message: who + "sso:ListInstances with an explicit deny in a service control policy"})
		},
		wantDown: failing(model.ReasonPermission, awsSources()...), wantLog: []string{"sso:ListInstances", "explicit deny"}, failedHolder: "aws",
	}
	runFaultCases(t, rows)
}

// A SCIM endpoint that rejects has answered: that is a result, and no source fails.
func TestSCIMRejects(t *testing.T) {
	answered := func(status int) func(*testing.T, *isolationTest, seriesList, seriesList) {
		return func(t *testing.T, _ *isolationTest, _, after seriesList) {
			t.Helper()
			after.expect(t, `entra_aws_scim_probe_success{connection="affected"} 0`,
				fmt.Sprintf(`entra_aws_scim_probe_http_status_code{connection="affected"} %d`, status), `entra_aws_scim_probe_success{connection="unaffected"} 1`)
			if len(after.matching("scim_probe_duration_seconds", `"affected"`)) != 1 {
				t.Error("an answer takes a time")
			}
		}
	}
	rows := map[string]faultCase{
		"a wrong token": {prepare: func(w *isolationTest) { w.write("scim-token-affected", "mistyped") }, check: answered(401)},
		"the exporter's address": {
			inject: func(w *isolationTest) {
				if _, err := w.Perform(simulator.Action{Do: "allow_sources", Connection: "affected", Sources: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}); err != nil {
					w.t.Error(err)
				}
			},
			check: answered(403),
		},
		"Retry-After of an hour": {
			faults: []simulator.Fault{{Status: 429, Code: "TooManyRequests", RetryAfter: "3600", Operation: "SCIM GET ServiceProviderConfig"}},
			check: func(t *testing.T, w *isolationTest, before, after seriesList) {
				answered(429)(t, w, before, after)
				if calls := w.Calls()["SCIM GET ServiceProviderConfig"]; calls > 2*9 {
					t.Errorf("%d probes in seven minutes", calls)
				}
			},
		},
	}
	for _, status := range []int{401, 403, 429, 500} {
		rows[strconv.Itoa(status)] = faultCase{
			faults: []simulator.Fault{{Status: status, Code: "Whatever", Operation: "SCIM GET ServiceProviderConfig"}}, check: answered(status),
		}
	}
	runFaultCases(t, rows)
}

// A proxy's login page in place of the SCIM endpoint neither accepts nor refuses the token.
func TestSCIMProbeReadsAPage(t *testing.T) {
	runFaultCases(t, map[string]faultCase{
		"HTML page": {
			faults:   []simulator.Fault{{Operation: "SCIM GET ServiceProviderConfig", Effect: simulator.EffectHTML}},
			wantDown: failing(model.ReasonInvalidResponse, model.SourceSCIM),
			wantLog:  []string{"HTTP status 200 with a web page, probably of a proxy or gateway"},
		},
	})
}

// A wrong clock breaks no signature and makes no value negative; the log reports it.
func TestClockSkew(t *testing.T) {
	rows := map[string]faultCase{}
	add := func(name string, skew clouds.Skew, jumps bool) {
		wrong := func(w *isolationTest) {
			w.With(func(now *clouds.Model) { now.SetSkew(skew) })
			// A clock that is ahead sees the token created in the future.
			if _, err := w.Perform(simulator.Action{Do: "create_token", Connection: "affected"}); err != nil {
				w.t.Error(err)
			}
		}
		rows[name+" from the start"] = faultCase{prepare: wrong, check: clocksDiffer, datesMove: true}
		if jumps {
			rows[name+" suddenly"] = faultCase{inject: wrong, check: clocksDiffer, datesMove: true, duration: 10 * time.Minute}
		}
	}
	for _, by := range []time.Duration{-48 * time.Hour, -5 * time.Minute, 5 * time.Minute, 48 * time.Hour} {
		add("AWS "+by.String(), clouds.Skew{AWS: by}, true)
		// An access token is valid for an hour, so it expires when the clock jumps two days.
		add("Entra "+by.String(), clouds.Skew{Entra: by}, by.Abs() < time.Hour)
		add("ours "+by.String(), clouds.Skew{AWS: by, Entra: by}, by.Abs() < time.Hour)
		add("apart "+by.String(), clouds.Skew{AWS: by, Entra: -by}, by.Abs() < time.Hour)
	}
	runFaultCases(t, rows)
}

func clocksDiffer(t *testing.T, w *isolationTest, _, after seriesList) {
	t.Helper()
	if !strings.Contains(w.logs.String(), "clock skew detected") {
		t.Errorf("the log does not report the clock skew:\n%s", w.logs)
	}
	if ages := after.matching("scim_token_age_seconds", `"affected"`); len(ages) != 2 {
		t.Errorf("the ages are %v", ages)
	}
	for _, line := range after {
		if _, value, _ := strings.Cut(line, "} "); strings.HasPrefix(value, "-") {
			t.Errorf("negative: %s", line)
		}
	}
}
