package entra

import (
	"context"
	"net/http"
	"strings"
	"time"

	kiota "github.com/microsoft/kiota-abstractions-go"

	"entra-aws-exporter/internal/model"
)

// testLimit leaves Entra the time to call AWS, and to wait for its answer.
const testLimit = time.Minute

// TestConnection makes Entra call the SCIM endpoint: with these credentials, or with
// the saved ones if inline is nil. Only Entra's word that the credentials do not work
// is a bad verdict; a test that did not take place is undecided. The error says why a
// verdict is not good.
// https://learn.microsoft.com/graph/api/synchronization-synchronizationjob-validatecredentials
func (a *Application) TestConnection(ctx context.Context, inline []model.Credential) (model.TestResult, error) {
	servicePrincipal, job, err := a.resolve(ctx)
	if err != nil {
		return model.TestUnavailable, err
	}
	c := call{
		doing: "testing the saved provisioning credentials", needs: writeJobs, limit: testLimit,
		missing: "check service_principal_id and job_id", sensitive: true,
	}
	body := struct {
		UseSaved    bool     `json:"useSavedCredentials"`
		TemplateID  string   `json:"templateId"`
		Credentials []secret `json:"credentials,omitempty"`
	}{inline == nil, a.template(), nil}
	if inline != nil {
		c.doing = "testing provisioning credentials"
		body.Credentials = wireSecrets(inline)
	}
	x, err := a.tenant.do(ctx, c, func(ctx context.Context) error {
		_, err := a.tenant.raw(ctx, kiota.POST, "/servicePrincipals/{id}/synchronization/jobs/{job}/validateCredentials",
			map[string]string{"id": servicePrincipal, "job": job}, nil, body)
		return err
	})
	switch {
	case err == nil:
		return model.TestPassed, nil
	case x.status == http.StatusBadRequest && strings.Contains(failureCodes(x.failure), "CredentialValidation"):
		return model.TestFailed, err
	default:
		return model.TestUnavailable, a.notFound(err)
	}
}

// failureCodes returns the code of an error and, if it wraps another, of that one.
func failureCodes(body []byte) string {
	outer, message := failureOf(body)
	inner, _ := failureOf([]byte(message))
	return outer + " " + inner
}

// StartJob starts the job, exactly once, without any retry.
// https://learn.microsoft.com/graph/api/synchronization-synchronizationjob-start
func (a *Application) StartJob(ctx context.Context) error {
	servicePrincipal, job, err := a.resolve(ctx)
	if err != nil {
		return notSent(err)
	}
	c := call{
		doing: "starting the provisioning job", needs: writeJobs, limit: actLimit,
		missing: "check service_principal_id and job_id",
	}
	_, err = a.tenant.do(ctx, c, func(ctx context.Context) error {
		return a.tenant.job(servicePrincipal, job).Start().Post(ctx, nil)
	})
	return err
}
