package config

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
)

// smallestYAML is the smallest useful file. The cases add to it or replace parts.
const smallestYAML = `tenants:
  - tenant_id: 11111111-1111-1111-1111-111111111111
    client_id: 22222222-2222-2222-2222-222222222222
    client_secret_file: secrets/entra
connections:
  - name: corp
    aws: {region: eu-central-1}
`

func mustParse(t *testing.T, text string) *Config {
	t.Helper()
	config, err := parse("config.yml", "/etc/exporter", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func TestSmallestFileShowsEveryDefault(t *testing.T) {
	want := `tenants:
  - name: 11111111-1111-1111-1111-111111111111
    tenant_id: 11111111-1111-1111-1111-111111111111
    cloud: public
    client_id: 22222222-2222-2222-2222-222222222222
    client_secret_file: /etc/exporter/secrets/entra
connections:
  - name: corp
    tenant: 11111111-1111-1111-1111-111111111111
    aws:
      region: eu-central-1
      endpoints:
        token_service_json_version: "1.1"
        idp_certificates_json_version: "1.0"
    tokens:
      read_from: console_api
      usage: none
    saml:
      read_from: graph
      aws_certificates: none
      rollover:
        mode: disabled
        tenant: 11111111-1111-1111-1111-111111111111
        before: 60d
        approval: first
        retire_after: 1w
        aws_slots: 2
        certificate_use: SIGNING
        validity: 3y
        subject: entra-aws-exporter
    intervals:
      tokens: 15m
      scim: 1h
      usage: 15m
      job: 5m
      events: 5m
      certificates: 1h
      app_credentials: 1h
    rotation:
      mode: disabled
      trigger: alert
      issuer: console_api
      tenant: 11111111-1111-1111-1111-111111111111
      before: 60d
      max_age: 0s
      approval: first
      delete_expired_token: true
      verify_timeout: 1d
      retire_after: 1d
      cooldown: 1d
      max_attempts: 3
`
	config := mustParse(t, smallestYAML)
	if diff := cmp.Diff(want, config.String()); diff != "" {
		t.Errorf("effective configuration (-want +got):\n%s", diff)
	}
	again, err := parse("shown.yml", "/", []byte(config.String()))
	if err != nil {
		t.Fatalf("the effective configuration is not a configuration: %v", err)
	}
	if diff := cmp.Diff(config.String(), again.String()); diff != "" {
		t.Errorf("read again (-first +second):\n%s", diff)
	}
}

func TestByteOrderMark(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yml")
	for _, test := range []struct{ name, content, want string }{
		{"UTF-8", "\xEF\xBB\xBF" + smallestYAML, ""},
		{"UTF-8, wrong indentation", "\xEF\xBB\xBFtenants:\n  - name: a\n   cloud: public\n", file + ":3: is not YAML: did not find expected '-' indicator"},
		{"UTF-8, nothing else", "\xEF\xBB\xBF", file + ":1: the file is empty; at least tenants and connections are needed"},
		{"UTF-16", "\xFF\xFEt\x00", "reading the configuration: " + file + " is encoded in UTF-16; save it as UTF-8"},
	} {
		if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		got := ""
		if _, err := Load(file); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: got  %s\nwant %s", test.name, got, test.want)
		}
	}
}

func TestLoadResolvesPathsAgainstTheFile(t *testing.T) {
	directory := t.TempDir()
	file := filepath.Join(directory, "config.yml")
	text := smallestYAML + "state: {directory: state, age_identity_file: ../key.txt}\nhttp_client: {tls_config: {ca_file: /ca.pem}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	for what, paths := range map[string][2]string{
		"client_secret_file": {string(config.Tenants[0].ClientSecretFile), filepath.Join(directory, "secrets/entra")},
		"directory":          {string(config.State.Directory), filepath.Join(directory, "state")},
		"age_identity_file":  {string(config.State.AgeIdentityFile), filepath.Join(filepath.Dir(directory), "key.txt")},
		"ca_file":            {string(config.HTTPClient.TLSConfig.CAFile), "/ca.pem"},
	} {
		if paths[0] != paths[1] {
			t.Errorf("%s is %s, want %s", what, paths[0], paths[1])
		}
	}
	if _, err := Load(filepath.Join(directory, "none.yml")); err == nil || !strings.Contains(err.Error(), "none.yml: no such file or directory; set its path with --config.file") {
		t.Errorf("a missing file: %v", err)
	}
}

// The age identity must not be in the state directory, also behind a link.
func TestAgeIdentityOutsideTheStateDirectory(t *testing.T) {
	root := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(root, "state"), 0o700), os.WriteFile(filepath.Join(root, "state", "key"), nil, 0o600),
		os.Symlink(filepath.Join(root, "state"), filepath.Join(root, "link"))); err != nil {
		t.Fatal(err)
	}
	for key, inside := range map[string]bool{"state/key": true, "link/key": true, "link/missing": true, "key": false, "state.key": false} {
		_, err := parse("config.yml", root, []byte(smallestYAML+"state: {directory: state, age_identity_file: "+key+"}\n"))
		if got := err != nil && strings.Contains(err.Error(), "is inside the state directory"); got != inside || !inside && err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestReferencesAreResolved(t *testing.T) {
	config := mustParse(t, `tenants:
  - {name: reader, tenant_id: AAAAAAAA-1111-1111-1111-111111111111, client_id: 22222222-2222-2222-2222-222222222222, client_secret_file: a}
  - {name: rotator, tenant_id: aaaaaaaa-1111-1111-1111-111111111111, managed_identity: {}}
  - {name: gov, tenant_id: bbbbbbbb-1111-1111-1111-111111111111, cloud: usgov, client_id: 22222222-2222-2222-2222-222222222222, workload_identity: {}}
connections:
  - name: corp
    tenant: reader
    aws: {region: eu-central-1, role_arn: 'arn:aws:iam::111122223333:role/read', external_id: x}
    rotation: &careful {tenant: rotator, mode: enabled, approval: always}
    saml: {rollover: {role_arn: 'arn:aws:iam::111122223333:role/certificates'}}
  - name: gov
    tenant: gov
    aws: {region: us-gov-west-1}
    rotation: {<<: *careful, tenant: gov, mode: dry_run, retire_after: 2d}
    saml: {rollover: {tenant: gov}}
state: {directory: /var/lib/exporter}
`)
	corp, gov := config.Connection("corp"), config.Connection("gov")
	if corp.Rotation.Tenant != "rotator" || gov.Rotation.Tenant != "gov" || config.Connection("none") != nil {
		t.Errorf("rotation tenants: %q, %q", corp.Rotation.Tenant, gov.Rotation.Tenant)
	}
	if corp.Rotation.RoleARN != corp.AWS.RoleARN {
		t.Errorf("rotation.role_arn is %q, not the connection's", corp.Rotation.RoleARN)
	}
	corpRollover, govRollover := corp.SAML.Rollover, gov.SAML.Rollover
	if corpRollover.Tenant != "rotator" || corpRollover.RoleARN != "arn:aws:iam::111122223333:role/certificates" || govRollover.Tenant != "gov" || govRollover.RoleARN != "" {
		t.Errorf("rollovers: %+v, %+v", corpRollover, govRollover)
	}
	if gov.Rotation.Approval != model.ApprovalAlways || gov.Rotation.Mode != model.RotationDryRun || time.Duration(gov.Rotation.RetireAfter) != 48*time.Hour {
		t.Errorf("merged rotation: %+v", gov.Rotation)
	}
	if id := config.Tenant("reader").TenantID; id != "aaaaaaaa-1111-1111-1111-111111111111" {
		t.Errorf("tenant_id is %s, not in lower case as in Graph", id)
	}
	if got := config.Tenant("gov").WorkloadIdentity.TokenFile; got != "/var/run/secrets/azure/tokens/azure-identity-token" {
		t.Errorf("token file %s", got)
	}
}

func TestPublicEndpoint(t *testing.T) {
	config := mustParse(t, strings.Replace(smallestYAML, "{region: eu-central-1}", "{region: eu-central-1, role_arn: 'arn:aws:iam::111122223333:role/read'}", 1)+
		"    tokens: {usage: cloudtrail}\n    saml: {aws_certificates: console_api}\n    tenant_url: https://scim.eu-central-1.amazonaws.com/x/scim/v2?aadOptscim062020\n"+
		"state: {aws: {table: state, region: eu-central-1, role_arn: 'arn:aws:iam::111122223333:role/state'}}\n")
	expect := func(want string) {
		t.Helper()
		if got := config.PublicEndpoint(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	tenant, connection := &config.Tenants[0].Endpoints, &config.Connections[0]
	for _, each := range []struct {
		path     string
		endpoint *string
	}{
		{"tenants[0].endpoints.login", &tenant.Login},
		{"tenants[0].endpoints.graph", &tenant.Graph},
		{"connections[0].aws.endpoints.sso_admin", &connection.AWS.Endpoints.SSOAdmin},
		{"connections[0].aws.endpoints.token_service", &connection.AWS.Endpoints.TokenService},
		{"connections[0].aws.endpoints.cloudtrail", &connection.AWS.Endpoints.CloudTrail},
		{"connections[0].aws.endpoints.idp_certificates", &connection.AWS.Endpoints.IDPCertificates},
		{"connections[0].aws.endpoints.sts", &connection.AWS.Endpoints.STS},
		{"connections[0].tenant_url", &connection.TenantURL},
		{"state.aws.endpoints.dynamodb", &config.State.AWS.Endpoints.DynamoDB},
		{"state.aws.endpoints.secrets_manager", &config.State.AWS.Endpoints.SecretsManager},
		{"state.aws.endpoints.sts", &config.State.AWS.Endpoints.STS},
	} {
		expect(each.path)
		*each.endpoint = "https://localhost:10198/" + each.path
	}
	expect("")
	connection.AWS.Endpoints.TokenService = "https://UP.SSO.eu-central-1.amazonaws.com./identitystore/"
	expect("connections[0].aws.endpoints.token_service")
	connection.Tokens.ReadFrom, connection.SAML.AWSCertificates, connection.Tokens.Usage = model.OriginDeclared, model.AWSCertificatesNone, model.UsageNone
	connection.AWS.Endpoints.CloudTrail, connection.AWS.Endpoints.IDPCertificates = "", ""
	expect("") // they are not called
	config.Tenants[0].AWSWebIdentity = &AWSWebIdentity{Region: "eu-central-1"}
	expect("tenants[0].aws_web_identity") // its STS cannot be replaced
}

func TestIntervalsCoverEverySource(t *testing.T) {
	config := mustParse(t, smallestYAML)
	for _, source := range model.Sources() {
		if config.Connections[0].Intervals.Every(source) == 0 {
			t.Errorf("source %s has no interval", source)
		}
	}
}

func TestWebhook(t *testing.T) {
	const bearer = smallestYAML + "webhook:\n  bearer_token_file: bearer\n"
	const anonymous = smallestYAML + "webhook: {}\n"
	for _, test := range []struct{ name, text, web, want string }{
		{"no webhook", smallestYAML, "", ""},
		{"bearer", bearer, "", ""},
		{"bearer and client certificates", bearer, "tls_server_config: {client_auth_type: RequireAndVerifyClientCert}", ""},
		{"basic authentication", anonymous, "basic_auth_users: {alertmanager: $2y$10$x}", ""},
		{"no authentication", anonymous, "tls_server_config: {client_auth_type: VerifyClientCertIfGiven}",
			"config.yml:8: webhook.bearer_token_file: is missing; without it everyone can call the webhook (or authenticate callers in the web config: basic_auth_users or client_auth_type: RequireAndVerifyClientCert)"},
		{"bearer and basic authentication", bearer, "basic_auth_users: {alertmanager: $2y$10$x}",
			"config.yml:9: webhook.bearer_token_file: cannot be used together with basic_auth_users of the web config: a request has one Authorization header; keep one of them"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := ""
			if test.web != "" {
				file = filepath.Join(t.TempDir(), "web.yml")
				if err := os.WriteFile(file, []byte(test.web), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			web, err := ReadWebAuthentication(file)
			if err != nil {
				t.Fatal(err)
			}
			config := mustParse(t, test.text)
			got := ""
			if err := config.CheckWebhook(web); err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			if config.Webhook != nil && !maps.Equal(config.Webhook.MatchLabels, map[string]string{"alertname": "EntraAwsScimTokenRotationDue", "rotate": "scim-token"}) {
				t.Errorf("match_labels: %v", config.Webhook.MatchLabels)
			}
		})
	}
	file := filepath.Join(t.TempDir(), "web.yml")
	if err := os.WriteFile(file, []byte("basic_auth_users: [hunter2]"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadWebAuthentication(file); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a bad web config: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	directory := t.TempDir()
	for name, content := range map[string]string{"secret": "s3cr3t", "empty": "\xEF\xBB\xBF", "utf16": "\xFF\xFEx\x00"} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config, err := parse("config.yml", directory, []byte(`tenants:
  - {name: a, tenant_id: 11111111-1111-1111-1111-111111111111, client_id: 22222222-2222-2222-2222-222222222222, client_secret_file: secret}
  - {name: b, tenant_id: 11111111-1111-1111-1111-111111111111, client_id: 22222222-2222-2222-2222-222222222222, client_secret_file: missing}
connections:
  - name: corp
    tenant: a
    aws: {region: eu-central-1}
    tokens: {scim_token_file: empty}
webhook: {bearer_token_file: utf16}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := "config.yml:3: tenants[1].client_secret_file: cannot be read now: open " + directory + "/missing: no such file or directory\n" +
		"config.yml:3: tenants[1]: no connection uses tenant b\n" +
		"config.yml:8: connections[0].tokens.scim_token_file: " + directory + "/empty is empty\n" +
		"config.yml:9: webhook.bearer_token_file: cannot be read now: " + directory + "/utf16 is encoded in UTF-16; save it as UTF-8\n" +
		"config.yml:9: webhook: rotation.mode is disabled for every connection: the webhook cannot start a rotation"
	if diff := cmp.Diff(want, Problems(config.Warnings()).Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	config.Connections[0].Rotation.Mode, config.Webhook = model.RotationEnabled, nil
	if got := Problems(config.Warnings()).Error(); !strings.Contains(got, "config.yml:5: connections[0].rotation.mode: enabled without a webhook section") {
		t.Errorf("rotation without webhook: %s", got)
	}
	config.Tenants[0].Cloud, config.Connections[0].SAML.Rollover.Mode = model.CloudUSGov, model.RotationEnabled
	for _, want := range []string{
		"config.yml:5: connections[0].saml.rollover.mode: enabled without a webhook section: only the command rotation start starts a rollover; or set rotation.trigger: due",
		"config.yml:5: connections[0].saml.rollover.mode: enabled: Graph makes no certificates in cloud usgov; make each in Entra, and name it: rotation start CONNECTION --certificate SHA256",
	} {
		if got := Problems(config.Warnings()).Error(); !strings.Contains(got, want) {
			t.Errorf("a rollover in a national cloud without webhook: %s\nwant %s", got, want)
		}
	}
}

// Grafana's alerts about a failing query have the labels of the rule, but another name.
func TestWebhookMatchesTheAlertsName(t *testing.T) {
	for labels, want := range map[string]string{
		"{rotate: due}":                        "EntraAwsScimTokenRotationDue",
		"{rotate: due, alertname: TokenIsDue}": "TokenIsDue",
	} {
		config := mustParse(t, smallestYAML+"webhook: {match_labels: "+labels+"}\n")
		if got := config.Webhook.MatchLabels["alertname"]; got != want {
			t.Errorf("match_labels: %s requires alertname %q, want %q", labels, got, want)
		}
	}
}
