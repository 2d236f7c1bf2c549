package simulator

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// Scenarios names what Seed can build; "fleet-N" has N connections.
func Scenarios() []string { return []string{"single", "demo", "fleet-N"} }

// Seed builds a scenario in an empty model.
//
// "single": one healthy connection. "demo": four connections over two Entra tenants,
// one healthy, one whose token expires in 20 days while an expired one occupies the
// other slot, one in quarantine with an expired active SAML certificate, one whose
// active SAML certificate expires in 40 days. "fleet-N": N healthy connections, up to a
// hundred in a tenant.
func Seed(m *clouds.Model, scenario string) error {
	var specs []clouds.ConnectionSpec
	count, isFleet := strings.CutPrefix(scenario, "fleet-")
	switch {
	case scenario == "single":
		specs = []clouds.ConnectionSpec{clouds.Healthy("corp")}
	case scenario == "demo":
		specs = []clouds.ConnectionSpec{clouds.Healthy("healthy"), clouds.Expiring("expiring"), clouds.Quarantined("quarantined"), clouds.ExpiringCertificate("signing")}
		for i, account := range []string{"111111111111", "222222222222", "333333333333", "444444444444"} {
			specs[i].Account = account
		}
		specs[2].TenantID, specs[2].Region = "22222222-2222-4222-8222-222222222222", "us-east-1"
	case isFleet:
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 {
			return fmt.Errorf("scenario %q: want fleet- and a number", scenario)
		}
		specs = clouds.Fleet(n, (n+99)/100)
	default:
		return fmt.Errorf("unknown scenario %q: known are %s", scenario, strings.Join(Scenarios(), ", "))
	}
	for _, spec := range specs {
		m.Add(spec)
	}
	return nil
}

// Credentials is what an exporter needs to sign in to AWS and Entra.
type Credentials struct {
	Tenants     []TenantCredentials  // one for each Entra tenant
	Accounts    []AccountCredentials // one for each AWS account
	Connections []clouds.Connection
	Values      map[string]string // the saved SCIM token of each connection, by its name
}

// TenantCredentials is an application to sign in to an Entra tenant by.
type TenantCredentials struct {
	Name, TenantID string
	Registration   clouds.AppRegistration
}

// AccountCredentials is a pair of keys of an AWS account.
type AccountCredentials struct {
	Account string
	Keys    clouds.Principal
}

// IssueCredentials gives an exporter its own credentials in every tenant and account that has a
// connection: an application whose client secret lives half a year, which owns the
// connections' applications, and a user.
func IssueCredentials(m *clouds.Model) (Credentials, error) {
	issued := Credentials{Connections: m.Connections(), Values: map[string]string{}}
	for _, connection := range issued.Connections {
		if !slices.ContainsFunc(issued.Tenants, func(t TenantCredentials) bool { return t.TenantID == connection.EntraTenantID }) {
			registration, err := m.AddRegistration(connection.EntraTenantID, clouds.ActorExporter, m.Now().Add(180*24*time.Hour),
				clouds.RoleApplicationRead, clouds.RoleApplicationOwned, clouds.RoleSynchronizationRead, clouds.RoleProvisioningLog, clouds.RoleAuditLog)
			if err != nil {
				return issued, fmt.Errorf("registering the exporter: %w", err)
			}
			issued.Tenants = append(issued.Tenants, TenantCredentials{
				Name: fmt.Sprintf("tenant-%d", len(issued.Tenants)+1), TenantID: connection.EntraTenantID, Registration: registration,
			})
		}
		if err := issued.own(m, connection); err != nil {
			return issued, fmt.Errorf("making the exporter an owner: %w", err)
		}
		if !slices.ContainsFunc(issued.Accounts, func(a AccountCredentials) bool { return a.Account == connection.Account }) {
			issued.Accounts = append(issued.Accounts, AccountCredentials{connection.Account, m.AddPrincipal(connection.Account, clouds.ActorExporter)})
		}
		if saved := m.SavedToken(connection.ServicePrincipalID); saved != "" {
			issued.Values[connection.Name] = m.TokenValue(saved)
		}
	}
	return issued, nil
}

// own makes the exporter an owner of a connection's application.
func (a Credentials) own(m *clouds.Model, connection clouds.Connection) error {
	at := slices.IndexFunc(a.Tenants, func(t TenantCredentials) bool { return t.TenantID == connection.EntraTenantID })
	return m.ChangeApplication(connection.EntraTenantID, connection.ServicePrincipalID, func(sp *clouds.ServicePrincipal) {
		sp.Owners = append(sp.Owners, a.Tenants[at].Registration.ClientID)
		sp.RegistrationOwners = append(sp.RegistrationOwners, a.Tenants[at].Registration.ClientID)
	})
}

// ConfigOptions say what WriteConfig writes beside the credentials.
type ConfigOptions struct {
	File   string // the exporter's config; every other file goes into its directory
	URL    string // of the simulator
	CAFile string // which the exporter must trust
	// Rollover enables the rollover of the SAML certificates, with short waits.
	Rollover bool
}

// WriteConfig writes a config with which an exporter reads, and may rotate, everything
// in the simulated AWS and Entra, and all the files that it names: credentials, SCIM
// tokens, a state directory, a webhook token. The file "environment" beside it holds the
// exporter's environment.
func (a Credentials) WriteConfig(o ConfigOptions) error {
	dir := filepath.Dir(o.File)
	var text strings.Builder
	if err := configTemplate.Execute(&text, a.configData(o)); err != nil {
		return fmt.Errorf("writing the exporter's config: %w", err)
	}
	files := map[string]string{
		filepath.Base(o.File): text.String(),
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

// configTemplate leaves out what the exporter can discover.
var configTemplate = template.Must(template.New("config").Parse(`# Written by entra-aws-simulator for its own clouds. Read the environment beside it first.
tenants:
{{- range .Tenants}}
  - name: {{.Name}}
    tenant_id: {{.TenantID}}
    client_id: {{.Registration.ClientID}}
    client_secret_file: client-secret-{{.Name}}
    endpoints: {login: "{{$.URL}}", graph: "{{$.URL}}{{$.GraphPrefix}}"}
{{- end}}
connections:
{{- range .Connections}}
  - name: {{.Name}}
    tenant: {{index $.TenantNames .EntraTenantID}}
{{- if gt (index $.InTenant .EntraTenantID) 1}}
    service_principal_id: {{.ServicePrincipalID}}
{{- end}}
    aws:
      region: {{.Region}}
      profile: account-{{.Account}}
{{- if gt (index $.InAccount .Account) 1}}
      identity_store_id: {{.IdentityStoreID}}
{{- end}}
      endpoints:
{{- range $.Endpoints}}
        {{.Key}}: "{{.URL}}"
{{- end}}
    tokens:
      usage: cloudtrail
      scim_allowed_hosts: [{{$.Hosts}}]
{{- if index $.Values .Name}}
      scim_token_file: scim-token-{{.Name}}
{{- end}}
    saml: {aws_certificates: console_api{{if $.Rollover}}, rollover: {mode: enabled, approval: never, retire_after: 1h}{{end}}}
    intervals: {tokens: 15s, scim: 30s, usage: 30s, job: 10s, events: 15s, certificates: 30s, app_credentials: 1m}
    rotation: {mode: enabled, approval: never, cooldown: 1h, retire_after: 10m}
{{- end}}
http_client: {tls_config: {ca_file: "{{.CAFile}}"}}
state: {directory: state}
webhook: {bearer_token_file: webhook-token}
`))

type configData struct {
	Credentials
	ConfigOptions
	GraphPrefix, Hosts  string
	Endpoints           []Endpoint
	TenantNames         map[string]string
	InTenant, InAccount map[string]int
}

func (a Credentials) configData(o ConfigOptions) configData {
	hosts := []string{"127.0.0.1", "localhost"}
	if u, err := url.Parse(o.URL); err == nil && u.Hostname() != "" {
		hosts = append(hosts, u.Hostname())
	}
	slices.Sort(hosts)
	data := configData{
		Credentials: a, ConfigOptions: o, GraphPrefix: graphPrefix, Hosts: strings.Join(slices.Compact(hosts), ", "), Endpoints: Endpoints(o.URL),
		TenantNames: map[string]string{}, InTenant: map[string]int{}, InAccount: map[string]int{},
	}
	for _, tenant := range a.Tenants {
		data.TenantNames[tenant.TenantID] = tenant.Name
	}
	for _, c := range a.Connections {
		data.InTenant[c.EntraTenantID]++
		data.InAccount[c.Account]++
	}
	return data
}

// Endpoint is where an exporter finds one of AWS's services, by its config key.
type Endpoint struct{ Key, URL string }

// SecretsManagerEndpoint is where an exporter finds the Secrets Manager of a simulator.
func SecretsManagerEndpoint(url string) string { return url + awsPrefix + "/secretsmanager" }

// Endpoints lists AWS's services of a simulator that belong to a connection.
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
