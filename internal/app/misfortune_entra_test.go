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

// register changes the exporter's own application in hit's tenant.
func (w *ward) register(change func(*clouds.AppRegistration)) {
	w.t.Helper()
	tenant := w.access.Tenants[0]
	w.With(func(now *clouds.Model) {
		if err := now.ChangeRegistration(tenant.TenantID, tenant.Registration.ClientID, change); err != nil {
			w.t.Error(err)
		}
	})
}

// act lets a hand do something to hit.
func (w *ward) act(do string) {
	w.t.Helper()
	if _, err := w.Perform(simulator.Action{Do: do, Connection: "hit"}); err != nil {
		w.t.Error(err)
	}
}

// without takes permissions away.
func without(roles ...string) func(*ward) {
	return func(w *ward) {
		w.register(func(r *clouds.AppRegistration) {
			r.Roles = slices.DeleteFunc(slices.Clone(r.Roles), func(role string) bool { return slices.Contains(roles, role) })
		})
	}
}

// What Entra does not allow is gone from the page, and nothing else is.
func TestEntraForbids(t *testing.T) {
	const grant = "grant the application permission "
	suffer(t, map[string]misfortune{
		"the log's permission": {
			happens: without(clouds.RoleProvisioningLog, clouds.RoleAuditLog), down: all(model.ReasonPermission, model.SourceEvents),
			says: []string{grant + clouds.RoleProvisioningLog, "with admin consent"},
		},
		"no P1 licence": {
			happens: func(w *ward) { w.act("take_licence") }, down: all(model.ReasonLicence, model.SourceEvents),
			says: []string{"Microsoft Entra ID P1"},
		},
		"the synchronization's permission": {
			happens: without(clouds.RoleSynchronization, clouds.RoleSynchronizationRead), down: all(model.ReasonPermission, model.SourceJob),
			says: []string{grant + "Synchronization."},
		},
		"the applications' permission": {
			happens: without(clouds.RoleApplicationRead), down: all(model.ReasonPermission, model.SourceCertificates, model.SourceAppCredentials),
			says: []string{grant + clouds.RoleApplicationRead}, half: "entra",
		},
		"consent missing": {
			exists: func(w *ward) { w.register(func(r *clouds.AppRegistration) { r.Roles = nil }) },
			down:   all(model.ReasonPermission, entraSources()...), says: []string{grant, "admin consent"}, half: "entra",
		},
	})
}

// The exporter's own way to sign in fails: all of Entra's side does, with the code that
// a person can look up and what to do.
func TestTheExporterMayNotSignIn(t *testing.T) {
	down := all(model.ReasonAuth, entraSources()...)
	refused := func(code, message string) func(*ward) {
		return func(w *ward) {
			w.strike(simulator.Fault{Operation: "POST token", Status: 400, Code: code, Message: message})
		}
	}
	suffer(t, map[string]misfortune{
		"wrong secret": {
			exists: func(w *ward) { w.write("client-secret-tenant-1", "mistyped") }, half: "entra",
			down: down, says: []string{"AADSTS7000215", "put the secret's value, not its id, into client_secret_file"},
		},
		"expired secret": {
			exists: func(w *ward) {
				w.register(func(r *clouds.AppRegistration) { r.Secrets[0].Expires = time.Now().Add(-time.Hour) })
			}, half: "entra",
			down: down, says: []string{"AADSTS7000222", "create a new one for the app registration"},
		},
		"it expires while the exporter runs": {
			happens: func(w *ward) {
				w.register(func(r *clouds.AppRegistration) { r.Secrets[0].Expires = time.Now() })
			}, half: "entra", lasts: 70 * time.Minute, // the access token that it has lives for an hour
			down: down, says: []string{"AADSTS7000222", "create a new one for the app registration"}, moves: true,
		},
		"no such tenant": {
			exists: func(w *ward) {
				w.edit("tenant_id: "+w.hit.EntraTenantID, "tenant_id: 99999999-9999-4999-8999-999999999999")
			}, half: "entra",
			down: down, says: []string{"AADSTS90002", "check tenant_id"},
		},
		"another tenant": {
			exists: func(w *ward) {
				w.edit("client_id: "+w.access.Tenants[0].Registration.ClientID, "client_id: 99999999-9999-4999-8999-999999999999")
			},
			half: "entra",
			down: down, says: []string{"AADSTS700016", "check client_id and tenant_id"},
		},
		"no consent at all": {
			exists: refused("AADSTS7000229", "The client application is missing service principal in the tenant."), half: "entra",
			down: down, says: []string{"AADSTS7000229", "let an administrator of the tenant consent"},
		},
		"Conditional Access": {
			exists: refused("AADSTS53003", "Access has been blocked by Conditional Access policies."), half: "entra",
			down: down, says: []string{"AADSTS53003", "exclude the workload identity"},
		},
		"no secret file": {
			exists: func(w *ward) { w.edit("client_secret_file: client-secret-tenant-1", "client_secret_file: nowhere") }, half: "entra",
			down: down, says: []string{"nowhere"},
		},
	})
}

// Whoever is throttled waits as long as it was told, or gives up at its deadline; it
// never asks more often than it would have anyway.
func TestThrottled(t *testing.T) {
	const looks = 20
	rows := map[string]misfortune{}
	for source, operation := range map[model.Source]string{
		model.SourceEvents: "GET provisioning", model.SourceJob: "GET job", model.SourceTokens: "ListBearerTokens", model.SourceUsage: "LookupEvents",
	} {
		onGraph := source == model.SourceEvents || source == model.SourceJob
		for name, test := range map[string]struct {
			retryAfter string
			date       time.Duration
			graph, aws int // calls that may come of twenty looks
		}{
			"30":       {"30", 0, 2 * looks, 2 * looks},
			"3600":     {"3600", 0, 1, looks}, // AWS's services never ask for as much: the next look is the next try
			"date":     {"", time.Hour, 1, looks},
			"no word":  {"", 0, 4 * looks, 3 * looks},
			"nonsense": {"soon", 0, 4 * looks, 3 * looks},
		} {
			fault := simulator.Fault{
				Operation: operation, Status: 429, Code: "TooManyRequests", RetryAfter: test.retryAfter, RetryAfterDate: simulator.Duration(test.date),
			}
			most := test.graph
			if !onGraph { // AWS's word for it is the code, not the status
				most, fault.Status, fault.Code = test.aws, 400, "ThrottlingException"
			}
			row := misfortune{faults: []simulator.Fault{fault}, down: all(model.ReasonThrottled, source), lasts: looks * time.Minute}
			if source == model.SourceJob {
				row.half = "entra"
				switch test.graph {
				case 1: // all of the tenant is to wait
					row.down = all(model.ReasonThrottled, model.SourceJob, model.SourceCertificates, model.SourceAppCredentials)
				case 2 * looks: // who waits for half a minute again and again may miss a deadline
					row.shaken = []model.Source{model.SourceCertificates}
				}
			}
			calls := 0
			row.happens = func(w *ward) { calls = w.Calls()[operation] }
			row.shows = func(t *testing.T, w *ward, _, _ page) {
				made := w.Calls()[operation] - calls - looks // safe makes one call for each look
				if made > most {
					t.Errorf("that is a storm: %d calls in %d looks, more than %d", made, looks, most)
				}
				w.ClearFaults()
				if most == 1 {
					time.Sleep(time.Hour)
				}
				time.Sleep(3 * time.Minute)
				w.series().holds(t, fmt.Sprintf(`entra_aws_source_up{connection="hit",source=%q} 1`, source))
			}
			rows[string(source)+"/"+name] = row
		}
	}
	// One 429 whose wait is shorter than the deadline costs nothing but the wait.
	for source, operation := range readBy() {
		if source != model.SourceSCIM { // a probe is told the status, whatever it is
			rows["once/"+string(source)] = misfortune{faults: []simulator.Fault{{
				Operation: operation, Status: 429, Code: "TooManyRequests", RetryAfter: "20", Times: 1,
			}}}
		}
	}
	suffer(t, rows)
}

// A person reads one sentence: what was found, and which key chooses.
func TestNothingToDiscoverOrTooMuch(t *testing.T) {
	second := func(w *ward) { w.act("second_application") }
	another := func(spec clouds.ConnectionSpec) func(*ward) {
		return func(w *ward) { w.With(func(now *clouds.Model) { now.Add(spec) }) }
	}
	entra := []model.Source{model.SourceJob, model.SourceCertificates}
	store := clouds.Healthy("another")
	store.TenantID = "33333333-3333-4333-8333-333333333333"
	suffer(t, map[string]misfortune{
		"two AWS applications": {
			exists: second, down: all(model.ReasonAmbiguous, entra...), half: "entra",
			says: []string{"2 ", "AWS IAM Identity Center (hit)", "AWS IAM Identity Center (another)", "service_principal_id"},
		},
		"no AWS application": {
			exists: func(w *ward) {
				w.With(func(now *clouds.Model) {
					if err := now.ChangeApplication(w.hit.EntraTenantID, w.hit.ServicePrincipalID, func(sp *clouds.ServicePrincipal) { sp.TemplateID = clouds.OldAWSTemplateID }); err != nil {
						w.t.Error(err)
					}
				})
			},
			down: all(model.ReasonNotFound, entra...), half: "entra", says: []string{"service_principal_id"},
		},
		"no job": {
			exists: func(w *ward) { w.strike(simulator.Fault{Operation: "GET jobs", Status: 200, Body: `{"value":[]}`}) },
			down:   all(model.ReasonNotFound, model.SourceJob), says: []string{"provisioning"},
		},
		"two jobs": {
			exists: func(w *ward) {
				w.strike(edited("GET jobs", "/value/-", `{"id":"aWSSingleSignon.other","templateId":"aWSSingleSignon"}`)[0])
			},
			down: all(model.ReasonAmbiguous, model.SourceJob), says: []string{"aWSSingleSignon.other", "job_id"},
		},
		"automatic provisioning is off": {
			exists: func(w *ward) {
				w.strike(simulator.Fault{Operation: "ListProvisioningTenants", Status: 200, Body: `{"ProvisioningTenants":[]}`})
			},
			down: all(model.ReasonNotFound, awsSources()[:3]...), says: []string{"has no provisioning tenant", "enable automatic provisioning"},
		},
		"two provisioning tenants": {
			exists: func(w *ward) {
				w.strike(edited("ListProvisioningTenants", "/ProvisioningTenants/-", `{"TenantId":"other","ScimEndpoint":"https://127.0.0.1/scim/other/scim/v2"}`)[0])
			},
			down: all(model.ReasonAmbiguous, awsSources()[:3]...), says: []string{"has 2 provisioning tenants", "aws.provisioning_tenant_id"},
		},
		"two identity stores": {
			exists: another(store), down: all(model.ReasonAmbiguous, awsSources()...), half: "aws",
			says: []string{"2 identity stores in eu-central-1", "aws.identity_store_id"},
		},
		"wrong region": {
			exists: func(w *ward) {
				part := section(w.read("exporter.yml"), "hit")
				w.edit(part, strings.Replace(part, "region: eu-central-1", "region: eu-west-1", 1))
			},
			down: all(model.ReasonNotFound, awsSources()...), half: "aws",
			says: []string{"no instance has its primary region in eu-west-1", "set aws.region: eu-central-1"},
		},
		"no identity store": {
			exists: func(w *ward) {
				w.strike(simulator.Fault{Operation: "ListInstances", Status: 200, Body: `{"Instances":[]}`})
			},
			down: all(model.ReasonNotFound, awsSources()...), half: "aws",
			says: []string{"these credentials see no instance in any region", "aws.profile or aws.role_arn"},
		},
	})
}
