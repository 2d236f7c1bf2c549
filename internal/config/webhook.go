package config

import (
	"fmt"
	"os"

	"gopkg.in/yaml.v3"
)

// WebAuthentication is how the web config file (--web.config.file) authenticates callers.
type WebAuthentication struct {
	BasicAuth          bool // basic_auth_users
	ClientCertificates bool // client_auth_type: RequireAndVerifyClientCert
}

// ReadWebAuthentication reads it from a web config file. Without a file there is none.
// https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
func ReadWebAuthentication(path string) (WebAuthentication, error) {
	if path == "" {
		return WebAuthentication{}, nil
	}
	content, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if err != nil {
		return WebAuthentication{}, fmt.Errorf("reading the web config: %w", err)
	}
	var web struct {
		TLS struct {
			ClientAuth string `yaml:"client_auth_type"`
		} `yaml:"tls_server_config"`
		Users map[string]yaml.Node `yaml:"basic_auth_users"`
	}
	if err := yaml.Unmarshal(content, &web); err != nil { // its text could quote a hash
		return WebAuthentication{}, fmt.Errorf("reading the web config %s: it is not YAML with basic_auth_users and tls_server_config", path)
	}
	return WebAuthentication{
		BasicAuth:          len(web.Users) > 0,
		ClientCertificates: web.TLS.ClientAuth == "RequireAndVerifyClientCert",
	}, nil
}

// CheckWebhook reports, as Problems, a webhook without authentication or with two kinds:
// basic authentication and a bearer token share the Authorization header.
func (c *Config) CheckWebhook(web WebAuthentication) error {
	switch {
	case c.Webhook == nil:
		return nil
	case c.Webhook.BearerTokenFile != "" && web.BasicAuth:
		return Problems{c.source.problem("webhook.bearer_token_file",
			"cannot be used together with basic_auth_users of the web config: a request has one Authorization header; keep one of them")}
	case c.Webhook.BearerTokenFile == "" && !web.BasicAuth && !web.ClientCertificates:
		return Problems{c.source.problem("webhook.bearer_token_file",
			"is missing; without it everyone can call the webhook (or authenticate callers in the web config: basic_auth_users or client_auth_type: RequireAndVerifyClientCert)")}
	}
	return nil
}
