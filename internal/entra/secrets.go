package entra

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	kiota "github.com/microsoft/kiota-abstractions-go"

	"entra-aws-exporter/internal/model"
)

// secretsPath is read with GET, which Microsoft does not document, and written with
// PUT. The SDK has no method for the one and knows a closed set of keys for the other.
// https://learn.microsoft.com/graph/api/synchronization-serviceprincipal-put-synchronization
const secretsPath = "/servicePrincipals/{id}/synchronization/secrets" //nolint:gosec // a path, not a secret

// glanceLimit is for what is nice to have beside a reading.
const glanceLimit = 10 * time.Second

// secret is one entry of an application's provisioning credentials on the wire.
type secret struct {
	Key   string  `json:"key"`
	Value *string `json:"value"`
}

func wireSecrets(credentials []model.Credential) []secret {
	secrets := make([]secret, 0, len(credentials))
	for _, credential := range credentials {
		value := credential.Value.Reveal()
		secrets = append(secrets, secret{credential.Key, &value})
	}
	return secrets
}

// Credentials reads the application's provisioning credentials; secret values come
// masked. The keys are those that Entra sent, known or not.
func (a *Application) Credentials(ctx context.Context) ([]model.Credential, error) {
	servicePrincipal, err := a.servicePrincipal(ctx)
	if err != nil {
		return nil, err
	}
	credentials, err := a.credentials(ctx, servicePrincipal, 0)
	return credentials, a.notFound(err)
}

func (a *Application) credentials(ctx context.Context, servicePrincipal string, limit time.Duration) ([]model.Credential, error) {
	c := call{
		doing: "reading the provisioning credentials", needs: readJobs, limit: limit,
		missing: "check service_principal_id", undocumented: true, sensitive: true,
	}
	var answer struct{ Value []*secret }
	x, err := a.tenant.do(ctx, c, func(ctx context.Context) error {
		content, err := a.tenant.raw(ctx, kiota.GET, secretsPath, map[string]string{"id": servicePrincipal}, nil, nil)
		if err != nil {
			return err
		}
		return decode(content, &answer)
	})
	if err != nil {
		return nil, err
	}
	changed := func(what string) error {
		failed := invalid(c, x, what)
		failed.Reason = model.ReasonAPIChanged
		return failed
	}
	if answer.Value == nil {
		return nil, changed("a list without its value")
	}
	credentials := make([]model.Credential, 0, len(answer.Value))
	for _, entry := range answer.Value {
		if entry == nil || entry.Key == "" { // saving the others could erase it
			return nil, changed("a list with an entry without its key")
		}
		credentials = append(credentials, model.Credential{Key: entry.Key, Value: model.NewSecret(text(entry.Value))})
	}
	return credentials, nil
}

// SaveCredentials replaces the application's provisioning credentials, exactly once,
// without any retry. A masked value is refused before anything is sent.
func (a *Application) SaveCredentials(ctx context.Context, credentials []model.Credential) error {
	c := call{
		doing: "saving the provisioning credentials", needs: writeJobs, limit: actLimit,
		missing: "check service_principal_id", sensitive: true,
	}
	for _, credential := range credentials {
		if credential.Masked() {
			return &model.Error{
				Reason: model.ReasonOther, Op: c.doing, Unsent: true,
				Detail: "the value of " + credential.Key + " is masked and would be overwritten with the mask",
			}
		}
	}
	servicePrincipal, err := a.servicePrincipal(ctx)
	if err != nil {
		return notSent(err)
	}
	body := struct {
		Value []secret `json:"value"`
	}{wireSecrets(credentials)}
	_, err = a.tenant.do(ctx, c, func(ctx context.Context) error {
		_, err := a.tenant.raw(ctx, kiota.PUT, secretsPath, map[string]string{"id": servicePrincipal}, nil, body)
		return err
	})
	return err
}

// notificationEnabled tells whether Entra mails somebody when provisioning fails; nil
// when that cannot be read. The addresses stay here.
func (a *Application) notificationEnabled(ctx context.Context, servicePrincipal string) *bool {
	credentials, err := a.credentials(ctx, servicePrincipal, glanceLimit)
	if err != nil {
		a.logger.DebugContext(ctx, "the notification setting cannot be read", "err", err)
		return nil
	}
	for _, credential := range credentials {
		if credential.Key != model.CredentialKeyNotificationSettings {
			continue
		}
		if credential.Masked() {
			return nil
		}
		var setting struct {
			Enabled    bool
			Recipients string
		}
		if json.Unmarshal([]byte(credential.Value.Reveal()), &setting) != nil {
			return nil
		}
		enabled := setting.Enabled && strings.TrimSpace(setting.Recipients) != ""
		return &enabled
	}
	return new(bool) // never set up: nobody is told
}

// notSent marks what failed on the way to an act: the act itself was not begun.
func notSent(err error) error {
	var failed *model.Error
	if !errors.As(err, &failed) {
		return err
	}
	marked := *failed
	marked.Unsent = true
	return &marked
}
