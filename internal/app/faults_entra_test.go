package app

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// changeRegistration changes the exporter's application in the affected tenant.
func (w *isolationTest) changeRegistration(change func(*clouds.AppRegistration)) {
	w.t.Helper()
	tenant := w.Credentials.Tenants[0]
	w.With(func(now *clouds.Model) {
		if err := now.ChangeRegistration(tenant.TenantID, tenant.Registration.ClientID, change); err != nil {
			w.t.Error(err)
		}
	})
}

// performAction performs an operator's action on the affected connection.
func (w *isolationTest) performAction(do string) {
	w.t.Helper()
	if _, err := w.Perform(simulator.Action{Do: do, Connection: "affected"}); err != nil {
		w.t.Error(err)
	}
}

// withoutRoles removes permissions.
func withoutRoles(roles ...string) func(*isolationTest) {
	return func(w *isolationTest) {
		w.changeRegistration(func(r *clouds.AppRegistration) {
			r.Roles = slices.DeleteFunc(slices.Clone(r.Roles), func(role string) bool { return slices.Contains(roles, role) })
		})
	}
}

// What Entra denies is missing in /metrics, and nothing else is.
func TestEntraPermissionsMissing(t *testing.T) {
	const grant = "grant the application permission "
	runFaultCases(t, map[string]faultCase{
		"the log's permission": {
			inject: withoutRoles(clouds.RoleProvisioningLog, clouds.RoleAuditLog), wantDown: failing(model.ReasonPermission, model.SourceEvents),
			wantLog: []string{grant + clouds.RoleProvisioningLog, "with admin consent"},
		},
		"no P1 licence": {
			inject: func(w *isolationTest) { w.performAction("take_licence") }, wantDown: failing(model.ReasonLicence, model.SourceEvents),
			wantLog: []string{"Microsoft Entra ID P1"},
		},
		"the synchronization's permission": {
			inject: withoutRoles(clouds.RoleSynchronization, clouds.RoleSynchronizationRead), wantDown: failing(model.ReasonPermission, model.SourceJob),
			wantLog: []string{grant + "Synchronization."},
		},
		"the applications' permission": {
			inject: withoutRoles(clouds.RoleApplicationRead), wantDown: failing(model.ReasonPermission, model.SourceCertificates, model.SourceAppCredentials),
			wantLog: []string{grant + clouds.RoleApplicationRead}, failedHolder: "entra",
		},
		"consent missing": {
			prepare:  func(w *isolationTest) { w.changeRegistration(func(r *clouds.AppRegistration) { r.Roles = nil }) },
			wantDown: failing(model.ReasonPermission, entraSources()...), wantLog: []string{grant, "admin consent"}, failedHolder: "entra",
		},
	})
}

// The exporter cannot sign in: every Entra source fails, and the log has the code to look
// up and the advice.
func TestSignInFails(t *testing.T) {
	down := failing(model.ReasonAuth, entraSources()...)
	refused := func(code, message string) func(*isolationTest) {
		return func(w *isolationTest) {
			w.injectFault(simulator.Fault{Operation: "POST token", Status: 400, Code: code, Message: message})
		}
	}
	runFaultCases(t, map[string]faultCase{
		"wrong secret": {
			prepare: func(w *isolationTest) { w.write("client-secret-tenant-1", "mistyped") }, failedHolder: "entra",
			wantDown: down, wantLog: []string{"AADSTS7000215", "put the secret's value, not its id, into client_secret_file"},
		},
		"expired secret": {
			prepare: func(w *isolationTest) {
				w.changeRegistration(func(r *clouds.AppRegistration) { r.Secrets[0].Expires = time.Now().Add(-time.Hour) })
			}, failedHolder: "entra",
			wantDown: down, wantLog: []string{"AADSTS7000222", "create a new one for the app registration"},
		},
		"it expires while the exporter runs": {
			inject: func(w *isolationTest) {
				w.changeRegistration(func(r *clouds.AppRegistration) { r.Secrets[0].Expires = time.Now() })
			}, failedHolder: "entra", duration: 70 * time.Minute, // its access token is valid for an hour
			wantDown: down, wantLog: []string{"AADSTS7000222", "create a new one for the app registration"}, datesMove: true,
		},
		"no such tenant": {
			prepare: func(w *isolationTest) {
				w.edit("tenant_id: "+w.affected.EntraTenantID, "tenant_id: 99999999-9999-4999-8999-999999999999")
			}, failedHolder: "entra",
			wantDown: down, wantLog: []string{"AADSTS90002", "check tenant_id"},
		},
		"another tenant": {
			prepare: func(w *isolationTest) {
				w.edit("client_id: "+w.Credentials.Tenants[0].Registration.ClientID, "client_id: 99999999-9999-4999-8999-999999999999")
			},
			failedHolder: "entra",
			wantDown:     down, wantLog: []string{"AADSTS700016", "check client_id and tenant_id"},
		},
		"no consent at all": {
			prepare: refused("AADSTS7000229", "The client application is missing service principal in the tenant."), failedHolder: "entra",
			wantDown: down, wantLog: []string{"AADSTS7000229", "let an administrator of the tenant consent"},
		},
		"Conditional Access": {
			prepare: refused("AADSTS53003", "Access has been blocked by Conditional Access policies."), failedHolder: "entra",
			wantDown: down, wantLog: []string{"AADSTS53003", "exclude the workload identity"},
		},
		"no secret file": {
			prepare: func(w *isolationTest) {
				w.edit("client_secret_file: client-secret-tenant-1", "client_secret_file: nowhere")
			}, failedHolder: "entra",
			wantDown: down, wantLog: []string{"nowhere"},
		},
	})
}

// A throttled client waits as long as it was told, or gives up at its deadline. It never
// makes more calls than its polls do.
func TestThrottled(t *testing.T) {
	const (
		polls  = 20 // one a minute
		capped = polls/10 + 1
	)
	rows := map[string]faultCase{}
	for source, operation := range map[model.Source]string{
		model.SourceEvents: "GET provisioning", model.SourceJob: "GET job", model.SourceTokens: "ListBearerTokens", model.SourceUsage: "LookupEvents",
	} {
		onGraph := source == model.SourceEvents || source == model.SourceJob
		for name, test := range map[string]struct {
			retryAfter string
			date       time.Duration
			graph, aws int // allowed calls during twenty polls
		}{
			"30":       {"30", 0, 2 * polls, 2 * polls},
			"3600":     {"3600", 0, capped, polls}, // as ten minutes; AWS never asks for that long: the next poll is the next attempt
			"date":     {"", time.Hour, capped, polls},
			"absent":   {"", 0, 4 * polls, 3 * polls},
			"nonsense": {"soon", 0, 4 * polls, 3 * polls},
		} {
			fault := simulator.Fault{
				Operation: operation, Status: 429, Code: "TooManyRequests", RetryAfter: test.retryAfter, RetryAfterDate: simulator.Duration(test.date),
			}
			most := test.graph
			if !onGraph { // AWS signals it by the code, not the status
				most, fault.Status, fault.Code = test.aws, 400, "ThrottlingException"
			}
			row := faultCase{faults: []simulator.Fault{fault}, wantDown: failing(model.ReasonThrottled, source), duration: polls * time.Minute}
			if source == model.SourceJob {
				row.failedHolder = "entra"
			}
			calls := 0
			row.inject = func(w *isolationTest) { calls = w.Calls()[operation] }
			row.check = func(t *testing.T, w *isolationTest, _, _ seriesList) {
				made := w.Calls()[operation] - calls - polls // unaffected makes one call for each poll
				if made > most {
					t.Errorf("%d calls in %d polls, more than %d", made, polls, most)
				}
				w.ClearFaults()
				if most == capped {
					time.Sleep(10 * time.Minute)
				}
				time.Sleep(3 * time.Minute)
				w.series().expect(t, fmt.Sprintf(`entra_aws_source_up{connection="affected",source=%q} 1`, source))
			}
			rows[string(source)+"/"+name] = row
		}
	}
	// A single 429 with a wait below the deadline costs only that wait.
	for source, operation := range operationOf() {
		if source != model.SourceSCIM { // the probe reports any status
			rows["once/"+string(source)] = faultCase{faults: []simulator.Fault{{
				Operation: operation, Status: 429, Code: "TooManyRequests", RetryAfter: "20", Times: 1,
			}}}
		}
	}
	runFaultCases(t, rows)
}

// The log has one sentence: what was found, and which key selects one of them.
func TestDiscoveryFindsNoneOrSeveral(t *testing.T) {
	second := func(w *isolationTest) { w.performAction("second_application") }
	another := func(spec clouds.ConnectionSpec) func(*isolationTest) {
		return func(w *isolationTest) { w.With(func(now *clouds.Model) { now.Add(spec) }) }
	}
	entra := []model.Source{model.SourceJob, model.SourceCertificates}
	store := clouds.Healthy("another")
	store.TenantID = "33333333-3333-4333-8333-333333333333"
	runFaultCases(t, map[string]faultCase{
		"two AWS applications": {
			prepare: second, wantDown: failing(model.ReasonAmbiguous, entra...), failedHolder: "entra",
			wantLog: []string{"2 ", "AWS IAM Identity Center (affected)", "AWS IAM Identity Center (another)", "service_principal_id"},
		},
		"no AWS application": {
			prepare: func(w *isolationTest) {
				w.With(func(now *clouds.Model) {
					if err := now.ChangeApplication(w.affected.EntraTenantID, w.affected.ServicePrincipalID, func(sp *clouds.ServicePrincipal) { sp.TemplateID = clouds.OldAWSTemplateID }); err != nil {
						w.t.Error(err)
					}
				})
			},
			wantDown: failing(model.ReasonNotFound, entra...), failedHolder: "entra", wantLog: []string{"service_principal_id"},
		},
		"no job": {
			prepare: func(w *isolationTest) {
				w.injectFault(simulator.Fault{Operation: "GET jobs", Status: 200, Body: `{"value":[]}`})
			},
			wantDown: failing(model.ReasonNotFound, model.SourceJob), wantLog: []string{"provisioning"},
		},
		"two jobs": {
			prepare: func(w *isolationTest) {
				w.injectFault(editedResponse("GET jobs", "/value/-", `{"id":"aWSSingleSignon.other","templateId":"aWSSingleSignon"}`)[0])
			},
			wantDown: failing(model.ReasonAmbiguous, model.SourceJob), wantLog: []string{"aWSSingleSignon.other", "job_id"},
		},
		"automatic provisioning is off": {
			prepare: func(w *isolationTest) {
				w.injectFault(simulator.Fault{Operation: "ListProvisioningTenants", Status: 200, Body: `{"ProvisioningTenants":[]}`})
			},
			wantDown: failing(model.ReasonNotFound, awsSources()[:3]...), wantLog: []string{"has no provisioning tenant", "enable automatic provisioning"},
		},
		"two provisioning tenants": {
			prepare: func(w *isolationTest) {
				w.injectFault(editedResponse("ListProvisioningTenants", "/ProvisioningTenants/-", `{"TenantId":"other","ScimEndpoint":"https://127.0.0.1/scim/other/scim/v2"}`)[0])
			},
			wantDown: failing(model.ReasonAmbiguous, awsSources()[:3]...), wantLog: []string{"has 2 provisioning tenants", "aws.provisioning_tenant_id"},
		},
		"two identity stores": {
			prepare: another(store), wantDown: failing(model.ReasonAmbiguous, awsSources()...), failedHolder: "aws",
			wantLog: []string{"2 identity stores in eu-central-1", "aws.identity_store_id"},
		},
		"wrong region": {
			prepare: func(w *isolationTest) {
				part := connectionSection(w.read("exporter.yml"), "affected")
				w.edit(part, strings.Replace(part, "region: eu-central-1", "region: eu-west-1", 1))
			},
			wantDown: failing(model.ReasonNotFound, awsSources()...), failedHolder: "aws",
			wantLog: []string{"no instance has its primary region in eu-west-1", "set aws.region: eu-central-1"},
		},
		"no identity store": {
			prepare: func(w *isolationTest) {
				w.injectFault(simulator.Fault{Operation: "ListInstances", Status: 200, Body: `{"Instances":[]}`})
			},
			wantDown: failing(model.ReasonNotFound, awsSources()...), failedHolder: "aws",
			wantLog: []string{"these credentials see no instance in any region", "aws.profile or aws.role_arn"},
		},
	})
}
