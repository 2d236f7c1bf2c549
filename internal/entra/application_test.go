package entra

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
)

const (
	principalsURL = "/v1.0/servicePrincipals"
	jobsURL       = "/v1.0/servicePrincipals/" + principal + "/synchronization/jobs"
)

func TestDiscovery(t *testing.T) {
	const one = `{"value":[null,{"id":"` + principal + `","displayName":"AWS"},{"displayName":"without id"}]}`
	for name, test := range map[string]struct {
		applications, jobs string
		options            ApplicationOptions
		want               string // "": the bound ones are found
	}{
		"one of each": {one, `{"value":[null,{"id":"Other.1","templateId":"other"},{"id":"` + jobID + `","templateId":"AWSSingleSignOn"}]}`, ApplicationOptions{}, ""},
		"no application": {`{"value":[]}`, ``, ApplicationOptions{},
			"looking for the AWS application: not_found: tenant corp has no application made from the gallery's AWS IAM Identity Center " +
				"(set service_principal_id to the object id of the enterprise application)"},
		"two applications": {`{"value":[{"id":"a","displayName":"AWS prod"},{"id":"b","displayName":null}]}`, ``, ApplicationOptions{},
			`looking for the AWS application: ambiguous: 2 applications made from the gallery's AWS IAM Identity Center: "AWS prod" (a), "" (b) ` +
				"(set service_principal_id to the object id of the enterprise application)"},
		"no job": {one, `{"value":[]}`, ApplicationOptions{},
			"looking for the provisioning job: not_found: application " + principal + " has no provisioning job for AWS " +
				"(set up automatic provisioning in Entra, or set job_id)"},
		"another job": {one, `{"value":[{"id":"scim.1","templateId":"scim"}]}`, ApplicationOptions{},
			"looking for the provisioning job: not_found: application " + principal + ` has no provisioning job for AWS, only scim.1 of template "scim" ` +
				"(set up automatic provisioning in Entra, or set job_id)"},
		"two jobs": {one, `{"value":[{"id":"j1","templateId":"aWSSingleSignon"},{"id":"j2","templateId":"aWSSingleSignon"}]}`, ApplicationOptions{},
			"looking for the provisioning job: ambiguous: 2 provisioning jobs for AWS in application " + principal + ": j1, j2 (set job_id to one of them)"},
		"application set": {``, `{"value":[{"id":"` + jobID + `","templateId":"aWSSingleSignon"}]}`, ApplicationOptions{ServicePrincipalID: principal}, ""},
		"job set":         {one, ``, ApplicationOptions{JobID: jobID}, ""},
		"an odd list": {`{"values":[]}`, ``, ApplicationOptions{},
			"looking for the AWS application: invalid_response: a list without its value"},
		"not allowed": {``, ``, ApplicationOptions{},
			"looking for the AWS application: permission: 403 Denied (grant the application permission Application.Read.All with admin consent, see deploy/permissions/entra.md)"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMicrosoft(t)
			m.serve["GET "+principalsURL] = always(200, test.applications)
			if name == "not allowed" {
				m.serve["GET "+principalsURL] = always(403, `{"error":{"code":"Denied"}}`)
			}
			m.serve["GET "+jobsURL] = always(200, test.jobs)
			application := m.tenant().Application(test.options)
			got, err := application.Binding(t.Context())
			if test.want != "" {
				wantError(t, err, test.want)
				return
			}
			if err != nil || got.ServicePrincipalID != principal || got.JobID != jobID {
				t.Fatalf("%+v, %v", got, err)
			}
			before := len(m.calls())
			if _, err := application.Binding(t.Context()); err != nil || len(m.calls()) != before {
				t.Errorf("asked again: %v, %v", m.calls()[before:], err)
			}
			if _, err := application.Rediscover(t.Context()); err != nil || len(m.calls()) != 2*before {
				t.Errorf("not asked anew: %v, %v", m.calls()[before:], err)
			}
		})
	}
}

func TestDiscoveryAsksForTheTemplate(t *testing.T) {
	m := newMicrosoft(t)
	m.serve["GET "+principalsURL] = always(200, `{"value":[]}`)
	_, _ = m.tenant().Application(ApplicationOptions{}).Binding(t.Context())
	want := "$filter=applicationTemplateId%20eq%20%2721ed01d2-ec13-4e9e-86c1-cd546719ebc4%27&$select=id%2CdisplayName"
	if got := m.seen[0].URL.RawQuery; got != want {
		t.Errorf("asked %s", got)
	}
}

// TestDeletedApplicationIsDiscoveredAgain deletes an application and creates a new one.
func TestDeletedApplicationIsDiscoveredAgain(t *testing.T) {
	m := newMicrosoft(t)
	m.serve["GET "+principalsURL] = always(200, `{"value":[{"id":"old"}]}`)
	m.serve["GET /v1.0/servicePrincipals/old/synchronization/jobs"] = always(200, `{"value":[{"id":"oldjob","templateId":"aWSSingleSignon"}]}`)
	m.serve["GET /v1.0/servicePrincipals/old/synchronization/jobs/oldjob"] = always(200, healthyJob)
	application := m.tenant().Application(ApplicationOptions{})
	if _, err := application.Job(t.Context()); err != nil {
		t.Fatal(err)
	}
	delete(m.serve, "GET /v1.0/servicePrincipals/old/synchronization/jobs/oldjob")
	m.serve["GET "+principalsURL] = always(200, `{"value":[{"id":"`+principal+`"}]}`)
	m.serve["GET "+jobsURL] = always(200, `{"value":[{"id":"`+jobID+`","templateId":"aWSSingleSignon"}]}`)
	m.serve["GET "+jobURL] = always(200, healthyJob)
	if _, err := application.Job(t.Context()); model.ReasonOf(err) != model.ReasonNotFound {
		t.Fatalf("got %v", err)
	}
	if job, err := application.Job(t.Context()); err != nil || job.ID != jobID {
		t.Errorf("%+v, %v", job, err)
	}
}

func TestJobIDsAreEscaped(t *testing.T) {
	m := newMicrosoft(t)
	_, _ = m.tenant().Application(ApplicationOptions{ServicePrincipalID: principal, JobID: "a/../../b?c"}).Job(t.Context())
	if got := m.seen[0].URL; !strings.HasSuffix(got.EscapedPath(), "/jobs/a%2F..%2F..%2Fb%3Fc") || got.RawQuery != "" {
		t.Errorf("asked %s", got)
	}
}

func TestNoRedirectIsFollowed(t *testing.T) {
	m := newMicrosoft(t)
	m.serve["PUT "+secretsURL] = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://elsewhere.test/", http.StatusTemporaryRedirect)
	}
	err := m.application().SaveCredentials(t.Context(), nil)
	if model.ReasonOf(err) != model.ReasonInvalidResponse || len(m.calls()) != 1 {
		t.Errorf("%v, asked %v", err, m.calls())
	}
}

// TestDiscoveryReadsEveryPage finds both candidates although the first page is empty, and
// although Graph takes the filter as an advanced query only.
func TestDiscoveryReadsEveryPage(t *testing.T) {
	const ambiguous = `looking for the AWS application: ambiguous: 2 applications made from the gallery's AWS IAM Identity Center: "AWS prod" (a), "AWS lab" (b) ` +
		"(set service_principal_id to the object id of the enterprise application)"
	for name, needsAdvanced := range map[string]bool{"plain": false, "advanced": true} {
		t.Run(name, func(t *testing.T) {
			m := newMicrosoft(t)
			m.serve["GET "+principalsURL] = func(w http.ResponseWriter, r *http.Request) {
				advanced := r.Header.Get("ConsistencyLevel") == "eventual" && r.URL.Query().Get("$count") == "true"
				page := r.URL.Query().Get("$skiptoken")
				next := `"@odata.nextLink":"https://graph.test` + principalsURL + "?$filter=applicationTemplateId%20eq%20'" + GalleryTemplate + "'&$count=" + r.URL.Query().Get("$count") + "&$skiptoken="
				switch {
				case needsAdvanced && !advanced:
					answerJSON(w, 400, `{"error":{"code":"Request_UnsupportedQuery","message":"Unsupported or invalid query filter clause specified for property 'applicationTemplateId' of resource 'ServicePrincipal'."}}`)
				case page == "":
					answerJSON(w, 200, `{`+next+`2","value":[]}`)
				case page == "2":
					answerJSON(w, 200, `{`+next+`3","value":[{"id":"a","displayName":"AWS prod"}]}`)
				default:
					answerJSON(w, 200, `{"value":[{"id":"b","displayName":"AWS lab"}]}`)
				}
			}
			_, err := m.tenant().Application(ApplicationOptions{}).Binding(t.Context())
			wantError(t, err, ambiguous)
		})
	}
}

func TestNextLinkLeadsAstray(t *testing.T) {
	for name, link := range map[string]string{"elsewhere": "https://elsewhere.test/v1.0/x", "the same": "https://graph.test" + principalsURL + "?again"} {
		t.Run(name, func(t *testing.T) {
			m := newMicrosoft(t)
			m.serve["GET "+principalsURL] = always(200, `{"value":[{"id":"a"}],"@odata.nextLink":"`+link+`"}`)
			_, err := m.tenant().Application(ApplicationOptions{}).Binding(t.Context())
			wantError(t, err, "looking for the AWS application: invalid_response: the next page is the same one, or lies outside of Graph")
		})
	}
}

// Sources that begin together share one discovery.
func TestSourcesDiscoverOnce(t *testing.T) {
	m := newMicrosoft(t)
	slowly := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			answerJSON(w, 200, body)
		}
	}
	m.serve["GET "+principalsURL] = slowly(`{"value":[{"id":"` + principal + `"}]}`)
	m.serve["GET "+jobsURL] = slowly(`{"value":[{"id":"` + jobID + `","templateId":"aWSSingleSignon"}]}`)
	m.serve["GET "+principalURL] = always(200, `{"appId":"`+samlAppID+`"}`)
	synctest.Test(t, func(t *testing.T) {
		application := m.tenant().Application(ApplicationOptions{})
		var running sync.WaitGroup
		for range 3 {
			running.Go(func() {
				if _, err := application.Binding(t.Context()); err != nil {
					t.Error(err)
				}
			})
			running.Go(func() {
				if _, err := application.PolledEntityIDs(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		running.Wait()
	})
	asked := map[string]int{}
	for _, call := range m.calls() {
		asked[call]++
	}
	if asked["GET "+principalsURL] != 1 || asked["GET "+jobsURL] != 1 {
		t.Errorf("asked %v", asked)
	}
}
