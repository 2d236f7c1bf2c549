package entra

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

const (
	// secretsPath is read with GET, which Microsoft does not document, and written with PUT.
	// https://learn.microsoft.com/graph/api/synchronization-serviceprincipal-put-synchronization
	secretsPath = "/servicePrincipals/{id}/synchronization/secrets" //nolint:gosec // a path, not a secret

	testTimeout     = time.Minute      // Entra calls AWS meanwhile
	optionalTimeout = 10 * time.Second // of what is optional beside another read
)

// secretEntry is one of an application's provisioning credentials, as Graph spells it.
type secretEntry struct {
	Key   string  `json:"key"`
	Value *string `json:"value"`
}

func secretEntries(credentials []model.Credential) []secretEntry {
	entries := make([]secretEntry, 0, len(credentials))
	for _, credential := range credentials {
		value := credential.Value.Reveal()
		entries = append(entries, secretEntry{credential.Key, &value})
	}
	return entries
}

// Credentials reads the application's provisioning credentials. Secret values are
// masked. The keys are those that Entra sent, known or not.
func (a *Application) Credentials(ctx context.Context) ([]model.Credential, error) {
	principalID, err := a.discovery.principalID(ctx)
	if err != nil {
		return nil, err
	}
	credentials, err := a.readCredentials(ctx, principalID, 0)
	return credentials, a.discovery.forgetIfGone(err)
}

func (a *Application) readCredentials(ctx context.Context, principalID string, timeout time.Duration) ([]model.Credential, error) {
	call := apiCall{
		op: "reading the provisioning credentials", permission: readJobs, timeout: timeout,
		notFound: "check service_principal_id", undocumented: true, sensitive: true,
	}
	entries, x, err := getList[secretEntry](ctx, a.tenant.graph, call, secretsPath, parameters{"id": principalID})
	if err != nil {
		return nil, err
	}
	credentials := make([]model.Credential, 0, len(entries))
	for _, entry := range entries {
		if entry == nil || entry.Key == "" { // saving the others could erase it
			return nil, call.invalid(x, "a list with an entry without its key")
		}
		credentials = append(credentials, model.Credential{Key: entry.Key, Value: model.NewSecret(stringOf(entry.Value))})
	}
	return credentials, nil
}

// SaveCredentials replaces the application's provisioning credentials, exactly once,
// without any retry. A masked value is refused before anything is sent.
func (a *Application) SaveCredentials(ctx context.Context, credentials []model.Credential) error {
	call := apiCall{
		op: "saving the provisioning credentials", permission: writeJobs, timeout: writeTimeout,
		notFound: "check service_principal_id", sensitive: true,
	}
	for _, credential := range credentials {
		if credential.Masked() {
			return &model.Error{
				Reason: model.ReasonOther, Op: call.op, Unsent: true,
				Detail: "the value of " + credential.Key + " is masked; saving it would overwrite the real one",
			}
		}
	}
	principalID, err := a.discovery.principalID(ctx)
	if err != nil {
		return cloudhttp.NotSent(err)
	}
	body := map[string]any{"value": secretEntries(credentials)}
	_, err = a.tenant.graph.put(ctx, call, secretsPath, parameters{"id": principalID}, body)
	return err
}

// notificationEnabled tells whether Entra sends a mail when provisioning fails; nil when
// that cannot be read. The addresses stay here.
func (a *Application) notificationEnabled(ctx context.Context, principalID string) *bool {
	credentials, err := a.readCredentials(ctx, principalID, optionalTimeout)
	if err != nil {
		a.logger.DebugContext(ctx, "cannot read notification setting", "err", err)
		return nil
	}
	for _, credential := range credentials {
		if credential.Key != model.CredentialKeyNotificationSettings {
			continue
		}
		var setting struct {
			Enabled    bool
			Recipients string
		}
		if credential.Masked() || json.Unmarshal([]byte(credential.Value.Reveal()), &setting) != nil {
			return nil
		}
		enabled := setting.Enabled && strings.TrimSpace(setting.Recipients) != ""
		return &enabled
	}
	return new(bool) // never set up: no mail is sent
}

// TestConnection makes Entra call the SCIM endpoint with these credentials, or with the
// saved ones if inline is nil. Only Entra's statement that the credentials do not work
// is a failed test. A test that did not take place is unavailable. The error says why
// the result is not passed.
// https://learn.microsoft.com/graph/api/synchronization-synchronizationjob-validatecredentials
func (a *Application) TestConnection(ctx context.Context, inline []model.Credential) (model.TestResult, error) {
	values, err := a.discovery.jobParameters(ctx)
	if err != nil {
		return model.TestUnavailable, err
	}
	call := apiCall{
		op: "testing the saved provisioning credentials", permission: writeJobs, timeout: testTimeout,
		notFound: "check service_principal_id and job_id", sensitive: true,
	}
	template := a.discovery.cached().template
	if template == "" {
		template = jobTemplate
	}
	body := map[string]any{"useSavedCredentials": inline == nil, "templateId": template}
	if inline != nil {
		call.op = "testing provisioning credentials"
		body["credentials"] = secretEntries(inline)
	}
	x, err := a.tenant.graph.post(ctx, call, jobPath+"/validateCredentials", values, body, nil)
	switch {
	case err == nil:
		return model.TestPassed, nil
	case x.Status == http.StatusBadRequest && saysRefused(x.ErrorBody):
		return model.TestFailed, err
	default:
		return model.TestUnavailable, a.discovery.forgetIfGone(err)
	}
}

// saysRefused judges an error of validateCredentials by its code, its message, and the
// error that the message wraps.
func saysRefused(body []byte) bool {
	outer, message := errorBody(body)
	inner, nested := errorBody([]byte(message))
	return model.SaysRefused(outer, message, inner, nested)
}

// StartJob starts the job, exactly once, without any retry.
// https://learn.microsoft.com/graph/api/synchronization-synchronizationjob-start
func (a *Application) StartJob(ctx context.Context) error {
	values, err := a.discovery.jobParameters(ctx)
	if err != nil {
		return cloudhttp.NotSent(err)
	}
	call := apiCall{
		op: "starting the provisioning job", permission: writeJobs, timeout: writeTimeout,
		notFound: "check service_principal_id and job_id",
	}
	_, err = a.tenant.graph.post(ctx, call, jobPath+"/start", values, nil, nil)
	return err
}
