package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/redact"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/token"
)

// addConfigured tells the redactor the secrets that the configuration names. Whoever uses
// a file reports that it cannot be read.
func (o Options) addConfigured(c *config.Config) {
	var files []model.SecretFile
	for _, tenant := range c.Tenants {
		files = append(files, tenant.ClientSecretFile, tenant.ClientCertificatePasswordFile)
	}
	for _, connection := range c.Connections {
		files = append(files, connection.Tokens.SCIMTokenFile)
	}
	if c.Webhook != nil {
		files = append(files, c.Webhook.BearerTokenFile)
	}
	for _, file := range files {
		if value, err := file.Read(); err == nil {
			o.redactor.Add(value)
		}
	}
	identities, _ := model.ReadFile(string(c.State.AgeIdentityFile))
	for line := range strings.Lines(string(identities)) {
		// Without the prefix, which is as long as the shortest part that is hidden, and which
		// an error's advice shows.
		if key, found := strings.CutPrefix(strings.TrimSpace(line), "AGE-SECRET-KEY-"); found {
			o.redactor.Add(model.NewSecret(key))
		}
	}
	o.redactor.Add(model.NewSecret(os.Getenv("AWS_SECRET_ACCESS_KEY")))
}

// addStored reads every entry of the token store once: an observed store reports them.
func addStored(journal journal.Store, tokens token.Store) {
	ctx, cancel := context.WithTimeout(context.Background(), checkStateTimeout)
	defer cancel()
	bindings, _ := journal.Keys(ctx) // whoever needs a record or an entry reports the error
	for _, binding := range bindings {
		keys, _ := tokens.List(ctx, binding)
		for _, key := range keys {
			_, _ = tokens.Read(ctx, key)
		}
	}
}

// sentValues tells the redactor the secrets in every request before it is sent: a service
// can echo them. So a value is known that was read from a file after the last reload.
type sentValues struct {
	redactor *redact.Redactor
	next     http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (s sentValues) RoundTrip(r *http.Request) (*http.Response, error) {
	if value, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); found {
		s.redactor.AddPassing(model.NewSecret(value))
	}
	s.redactor.AddPassing(model.NewSecret(r.Header.Get("X-Amz-Security-Token")))
	if r.Body != nil && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		content, err := io.ReadAll(r.Body)
		if err = errors.Join(err, r.Body.Close()); err != nil {
			return nil, fmt.Errorf("reading the request's form: %w", err)
		}
		s.addForm(string(content))
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(content))
	}
	return s.next.RoundTrip(r)
}

// addForm tells the redactor the secrets of a sign-in.
func (s sentValues) addForm(content string) {
	form, _ := url.ParseQuery(content) // the services parse it, too
	for _, name := range []string{"client_secret", "client_assertion", "WebIdentityToken"} {
		s.redactor.AddPassing(model.NewSecret(form.Get(name)))
	}
}

// redactedRecords hides live values in records.
type redactedRecords struct {
	records
	redactor *redact.Redactor
}

// Save implements journal.Store and poller.EventStore.
func (r redactedRecords) Save(ctx context.Context, key string, content []byte, revision string) (string, error) {
	return r.records.Save(ctx, key, r.redactor.JSON(content), revision)
}
