package simulator

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// ConfigOptions say what WriteConfig writes beside the sign-ins.
type ConfigOptions struct {
	File   string // the exporter's config; every other file goes into its directory
	URL    string // of the simulator
	CAFile string // which the exporter must trust
}

// WriteConfig writes a config with which an exporter reads, and may rotate, everything
// in the simulated clouds, and all the files that it names: credentials, SCIM tokens,
// a state directory, a webhook token. The exporter's environment is to be read from
// the file "environment" beside it.
func (a Credentials) WriteConfig(o ConfigOptions) error {
	dir := filepath.Dir(o.File)
	files := map[string]string{
		filepath.Base(o.File): a.config(o),
		"aws-credentials":     a.awsCredentials(),
		"webhook-token":       "simulated-webhook-token\n",
		// A CA bundle of the surroundings would not trust the simulator.
		"environment": fmt.Sprintf("AWS_SHARED_CREDENTIALS_FILE=%s\nAWS_CONFIG_FILE=%s\nAWS_EC2_METADATA_DISABLED=true\nAWS_CA_BUNDLE=\n",
			filepath.Join(dir, "aws-credentials"), os.DevNull),
	}
	for _, tenant := range a.Tenants {
		files["client-secret-"+tenant.Name] = tenant.Registration.Secrets[0].Value + "\n"
	}
	for name, value := range a.Values {
		files["scim-token-"+name] = value + "\n"
	}
	if err := os.MkdirAll(filepath.Join(dir, "state"), 0o700); err != nil {
		return fmt.Errorf("writing the exporter's config: %w", err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("writing the exporter's config: %w", err)
		}
	}
	return nil
}

// awsCredentials has a profile for each account, the first one also as default.
func (a Credentials) awsCredentials() string {
	var text strings.Builder
	for i, account := range a.Accounts {
		profiles := []string{"account-" + account.Account}
		if i == 0 {
			profiles = append(profiles, "default")
		}
		for _, profile := range profiles {
			fmt.Fprintf(&text, "[%s]\naws_access_key_id = %s\naws_secret_access_key = %s\n\n", profile, account.Keys.AccessKeyID, account.Keys.SecretAccessKey)
		}
	}
	return text.String()
}

func (a Credentials) config(o ConfigOptions) string {
	var text strings.Builder
	write := func(format string, args ...any) { fmt.Fprintf(&text, format+"\n", args...) }
	hosts := []string{"127.0.0.1", "localhost"}
	if u, err := url.Parse(o.URL); err == nil && u.Hostname() != "" {
		hosts = append(hosts, u.Hostname())
	}
	slices.Sort(hosts)
	hosts = slices.Compact(hosts)
	write("# Written by entra-aws-simulator for its own clouds. Read the environment beside it first.")
	write("tenants:")
	// What can be discovered is left out.
	names, inTenant, inAccount := map[string]string{}, map[string]int{}, map[string]int{}
	for _, c := range a.Connections {
		inTenant[c.EntraTenantID]++
		inAccount[c.Account]++
	}
	for _, tenant := range a.Tenants {
		names[tenant.TenantID] = tenant.Name
		write("  - name: %s", tenant.Name)
		write("    tenant_id: %s", tenant.TenantID)
		write("    client_id: %s", tenant.Registration.ClientID)
		write("    client_secret_file: client-secret-%s", tenant.Name)
		write("    endpoints: {login: %q, graph: %q}", o.URL, o.URL+graphPrefix)
	}
	write("connections:")
	for _, c := range a.Connections {
		write("  - name: %s", c.Name)
		write("    tenant: %s", names[c.EntraTenantID])
		if inTenant[c.EntraTenantID] > 1 {
			write("    service_principal_id: %s", c.ServicePrincipalID)
		}
		write("    aws:")
		write("      region: %s", c.Region)
		write("      profile: account-%s", c.Account)
		if inAccount[c.Account] > 1 {
			write("      identity_store_id: %s", c.IdentityStoreID)
		}
		write("      endpoints:")
		for _, endpoint := range Endpoints(o.URL) {
			write("        %s: %q", endpoint.Key, endpoint.URL)
		}
		write("    tokens:")
		write("      usage: cloudtrail")
		write("      scim_allowed_hosts: [%s]", strings.Join(hosts, ", "))
		if _, known := a.Values[c.Name]; known {
			write("      scim_token_file: scim-token-%s", c.Name)
		}
		write("    saml: {aws_certificates: console_api}")
		write("    intervals: {tokens: 15s, scim: 30s, usage: 30s, job: 10s, events: 15s, certificates: 30s, app_credentials: 1m}")
		write("    rotation: {mode: enabled, approval: never, cooldown: 1h, retire_after: 10m}")
	}
	write("http_client: {tls_config: {ca_file: %q}}", o.CAFile)
	write("state: {directory: state}")
	write("webhook: {bearer_token_file: webhook-token}")
	return text.String()
}

// Endpoint is where an exporter finds one of AWS's services, by its config key.
type Endpoint struct{ Key, URL string }

// Endpoints lists AWS's services of a simulator.
func Endpoints(url string) []Endpoint {
	return []Endpoint{
		{"token_service", url + awsPrefix + "/identitystore/"},
		{"identity_store", url + awsPrefix + "/identitystore/"},
		{"idp_certificates", url + awsPrefix + "/appsauth/"},
		{"sso_admin", url + awsPrefix + "/sso"},
		{"sts", url + awsPrefix + "/sts"},
		{"cloudtrail", url + awsPrefix + "/cloudtrail"},
	}
}
