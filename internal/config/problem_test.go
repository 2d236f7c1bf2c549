package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tenantYAML and connectionYAML are valid. A case adds to them or replaces parts.
const (
	tenantYAML = `tenants:
  - tenant_id: 11111111-1111-1111-1111-111111111111
    client_id: 22222222-2222-2222-2222-222222222222
    client_secret_file: /run/secrets/entra
`
	connectionYAML = `connections:
  - name: corp
    aws: {region: eu-central-1}
`
	twoTenantsYAML = `tenants:
  - {name: a, tenant_id: 11111111-1111-1111-1111-111111111111, client_id: 22222222-2222-2222-2222-222222222222, client_secret_file: a}
  - {name: b, tenant_id: 33333333-3333-3333-3333-333333333333, client_id: 22222222-2222-2222-2222-222222222222, client_secret_file: b}
`
)

// badFiles are files and their problems, word for word. A secret has "planted" in its
// value, which no problem may repeat.
var badFiles = []struct{ name, text, want string }{
	// the file as a whole
	{"empty", "", `c.yml:1: the file is empty; at least tenants and connections are needed`},
	{"only a comment", "# nothing\n", `c.yml:1: the file is empty; at least tenants and connections are needed`},
	{"a list", "- a\n", `c.yml:1: must be keys with values, not a list`},
	{"a word", "planted\n", `c.yml:1: must be keys with values, not one value`},
	{"two documents", tenantYAML + connectionYAML + "---\n" + tenantYAML, `c.yml:8: a second YAML document begins here (---); the configuration is one document`},
	{"a tab", "tenants:\n\t- name: planted\n", `c.yml:2: a tab in the indentation; YAML requires spaces`},
	{"a tab after the indentation", tenantYAML + "connections:\n  -\tname: corp\n   aws: {}\n", `c.yml:6: is not YAML: found character that cannot start any token`},
	{"a key left of its list item", "tenants:\n  - tenant_id: a\n    client_id: b\n   client_secret_file: /x\nconnections:\n  - name: corp\n", `c.yml:4: is not YAML: did not find expected '-' indicator`},
	{"a key left of its section", tenantYAML + "state:\n  directory: /s\n age_identity_file: /k\nwebhook: {}\n", `c.yml:7: is not YAML: did not find expected key`},
	{"a key right of its section", tenantYAML + "state:\n  directory: /s\n    age_identity_file: /k\n", `c.yml:7: is not YAML: mapping values are not allowed in this context`},
	{"two keys on one line", tenantYAML + "state: directory: /s\nwebhook: {}\n", `c.yml:5: is not YAML: mapping values are not allowed in this context`},
	{"a list item between keys", tenantYAML + "state: {}\n- name: a\nwebhook: {}\n", `c.yml:6: is not YAML: did not find expected key`},
	{"text after a quoted text", "tenants:\n  - name: a\n\n    client_secret_file: '/x' y\n    client_id: b\n", `c.yml:4: is not YAML: did not find expected key`},
	{"lines that end as on Windows", "tenants:\r\n  - name: a\r\n   cloud: public\r\n", `c.yml:3: is not YAML: did not find expected '-' indicator`},
	{"an indented first line", "  tenants: []\nconnections: []\n", `c.yml:2: is not YAML: did not find expected <document start>`},
	{"an unclosed quote", tenantYAML + "state:\n  directory: '/s\nwebhook: {}\n", `c.yml:6: is not YAML: found unexpected end of stream`},
	{"an unclosed quote on the first line", "tenants: 'a\nconnections: []\nwebhook: {}\n", `c.yml:1: is not YAML: found unexpected end of stream`},
	{"an unclosed quote after a text of two lines", "tenants: 'a\n  b'\nconnections: 'c\nwebhook: {}\n", `c.yml:3: is not YAML: found unexpected end of stream`},
	{"an unclosed brace", tenantYAML + "state: {directory: /s\nwebhook: {}\nhttp_client: {}\n", `c.yml:5: is not YAML: did not find expected ',' or '}'`},
	{"an unclosed bracket", tenantYAML + "connections: [a,\n", `c.yml:5: is not YAML: did not find expected node content`},
	{"a bracket too many", tenantYAML + "connections: ]\nstate: {}\n", `c.yml:5: is not YAML: did not find expected node content`},
	{"a missing comma", tenantYAML + "state: {directory: /s age_identity_file: /k}\n", `c.yml:5: is not YAML: did not find expected ',' or '}'`},
	{"a word between keys", tenantYAML + "state\nwebhook: {}\n", `c.yml:5: is not YAML: could not find expected ':'`},
	{"a forbidden first character", tenantYAML + "state: @s\n", `c.yml:5: is not YAML: found character that cannot start any token`},
	{"not UTF-8", tenantYAML + "state: \xff\nwebhook: {}\n", `c.yml:5: is not YAML: invalid leading UTF-8 octet`},
	{"a control character", tenantYAML + "state: \x01\nwebhook: {}\n", `c.yml:5: is not YAML: control characters are not allowed`},
	{"an error in a second document", "tenants: []\n---\nstate:\n  directory: /s\n age_identity_file: /k\n", `c.yml:5: is not YAML: did not find expected key`},
	{"an unknown anchor that a comment names", "# *planted\n" + tenantYAML + "state: *planted\n", `c.yml:6: is not YAML: a value begins with * and refers to an unknown anchor; quote it if it is plain text`},
	{"no YAML", "tenants: [\n", `c.yml:1: is not YAML: did not find expected node content`},
	{"an unknown anchor", tenantYAML + "connections:\n  - name: *planted\n", `c.yml:6: is not YAML: a value begins with * and refers to an unknown anchor; quote it if it is plain text`},
	{"nothing needed", "state: {directory: /s}\n", `
c.yml:1: tenants: is missing; at least one is needed
c.yml:1: connections: is missing; at least one is needed`},
	{"empty lists", "tenants: []\nconnections: []\n", `
c.yml:1: tenants: is empty; at least one is needed
c.yml:2: connections: is empty; at least one is needed`},

	// keys
	{"a mistyped key", tenantYAML + connectionYAML + "    intervalss: {}\n", `c.yml:8: connections[0].intervalss: unknown key; did you mean intervals?`},
	{"a key at the wrong place", tenantYAML + "connections:\n  - name: corp\n    region: eu-central-1\n    aws: {region: eu-central-1}\n",
		`c.yml:7: connections[0].region: unknown key at this place; it belongs to connections[].aws.region`},
	{"an invented key", tenantYAML + connectionYAML + "state: {verbosity: 3}\n", `c.yml:8: state.verbosity: unknown key; known here: directory, aws, age_identity_file`},
	{"a value as key", tenantYAML + connectionYAML + "planted~secret: x\n", `c.yml:8: unknown key (not shown, it could be a secret)`},
	{"a key twice", tenantYAML + connectionYAML + "    aws: {region: eu-west-1}\n", `c.yml:8: connections[0]: "aws" is set twice, first on line 7; keep one`},
	{"a section without content", tenantYAML + connectionYAML + "webhook:\n", `c.yml:8: webhook: is empty; give it a value or remove the key`},
	{"a needed section without content", tenantYAML + "connections:\n  - name: corp\n    aws:\n", `c.yml:7: connections[0].aws: is empty; it needs region`},
	{"an optional section without its key", strings.Replace(tenantYAML, "client_secret_file: /run/secrets/entra", "aws_web_identity:", 1) + connectionYAML,
		`c.yml:4: tenants[0].aws_web_identity: is empty; it needs region, or remove the key`},
	{"a needed list without content", tenantYAML + "connections:\n", `c.yml:5: connections: is empty; at least one is needed`},
	{"an item without content", tenantYAML + "connections:\n  -\n", `c.yml:6: connections[0]: is empty; it needs name, aws`},
	{"a needed value without content", tenantYAML + "connections:\n  - name: corp\n    aws: {region: }\n", `c.yml:7: connections[0].aws.region: is empty; it is an AWS region such as eu-central-1`},
	{"a key that is a list", tenantYAML + connectionYAML + "? [a]\n: b\n", `c.yml:8: a key must be a word, not a list`},
	{"a merge of nothing", tenantYAML + connectionYAML + "    rotation: {<<: x}\n", `c.yml:8: connections[0].rotation: << must refer to a mapping (<<: *anchor)`},

	{"a merge of itself", tenantYAML + connectionYAML + "    rotation: {<<: &a [*a]}\n", `c.yml:1: the file has more than 100000 values; are there aliases within aliases?`},

	// secrets in the wrong place
	{"client secret inline", strings.Replace(tenantYAML, "client_secret_file: /run/secrets/entra", "client_secret: planted", 1) + connectionYAML,
		`c.yml:4: tenants[0].client_secret: a secret must not be written into the config; put it into a file and name that: client_secret_file: PATH`},
	{"bearer token inline", tenantYAML + connectionYAML + "webhook: {bearer_token: planted}\n",
		`c.yml:8: webhook.bearer_token: a secret must not be written into the config; put it into a file and name that: bearer_token_file: PATH`},
	{"SCIM token inline", tenantYAML + connectionYAML + "    tokens: {scim_token: planted}\n",
		`c.yml:8: connections[0].tokens.scim_token: a secret must not be written into the config; put it into a file and name that: scim_token_file: PATH`},
	{"Entra's secret instead of a path", strings.Replace(tenantYAML, "/run/secrets/entra", "abc8Q~planted.planted.planted.planted.pl", 1) + connectionYAML,
		`c.yml:4: tenants[0].client_secret_file: looks like the secret itself; put it into a file and give the path of that file`},
	{"a token instead of a path", tenantYAML + connectionYAML + "    tokens: {scim_token_file: " + strings.Repeat("planted/", 12) + "}\n",
		`c.yml:8: connections[0].tokens.scim_token_file: looks like the secret itself; put it into a file and give the path of that file`},
	{"a secret as client_id", strings.Replace(tenantYAML, "22222222-2222-2222-2222-222222222222", "abc8Q~planted", 1) + connectionYAML,
		`c.yml:3: tenants[0].client_id: the value is not a UUID such as 11111111-1111-1111-1111-111111111111`},
	{"a password in proxy_url", tenantYAML + connectionYAML + "http_client: {proxy_url: 'http://me:planted@proxy:3128'}\n",
		`c.yml:8: http_client.proxy_url: the value is not an http, https or socks5 URL without a user (the config must not have a password) such as http://proxy.example.com:3128`},

	// types and formats
	{"texts where keys belong", tenantYAML + "connections:\n  - name: corp\n    aws: eu-central-1\n", `c.yml:7: connections[0].aws: must be keys with values, not one value`},
	{"an unknown key beside another problem", strings.Replace(tenantYAML, "    client_id: 22222222-2222-2222-2222-222222222222\n", "", 1) + connectionYAML + "planted~: x\n", `
c.yml:2: tenants[0].client_id: is missing; it is the application (client) ID of the exporter's app registration, a UUID such as 11111111-1111-1111-1111-111111111111
c.yml:7: unknown key (not shown, it could be a secret)`},
	{"a text where a connection belongs", twoTenantsYAML + "connections: [planted]\n", `c.yml:4: connections[0]: must be keys with values, not one value`},
	{"lists where sections belong", tenantYAML + "connections:\n  - name: corp\n    aws: {region: eu-central-1}\n    tokens: []\n    saml: []\n    rotation: []\nstate: []\nwebhook: []\n", `
c.yml:8: connections[0].tokens: must be keys with values, not a list
c.yml:9: connections[0].saml: must be keys with values, not a list
c.yml:10: connections[0].rotation: must be keys with values, not a list
c.yml:11: state: must be keys with values, not a list
c.yml:12: webhook: must be keys with values, not a list`},
	{"keys where a list belongs", "tenants: {name: a}\n" + connectionYAML, `c.yml:1: tenants: must be a list (lines that begin with "- "), not keys with values`},
	{"a list where a text belongs", tenantYAML + "connections:\n  - name: [a]\n    aws: {region: eu-central-1}\n", `c.yml:6: connections[0].name: must be one value, not a list: a name of at most 63 letters, digits, ".", "_" and "-" that begins with a letter or digit such as corp`},
	{"lists where an enum, a duration, a path and a switch belong", tenantYAML + connectionYAML + "    rotation: {mode: [enabled], before: [60d], delete_expired_token: [true]}\n    tokens: {scim_token_file: [a]}\n", `
c.yml:8: connections[0].rotation.mode: must be one value, not a list: one of disabled, dry_run, enabled
c.yml:8: connections[0].rotation.before: must be one value, not a list: from 1d to 365d
c.yml:8: connections[0].rotation.delete_expired_token: must be one value, not a list: true or false
c.yml:9: connections[0].tokens.scim_token_file: must be one value, not a list: the path of a file`},
	{"an empty text", tenantYAML + "connections:\n  - name: ''\n    aws: {region: eu-central-1}\n", `c.yml:6: connections[0].name: is empty; it is a name of at most 63 letters, digits, ".", "_" and "-" that begins with a letter or digit such as corp`},
	{"a YAML tag", tenantYAML + "connections:\n  - name: !!binary Y29ycA==\n    aws: {region: eu-central-1}\n", `c.yml:6: connections[0].name: has a YAML tag (!…); write the plain value`},
	{"yes for true", tenantYAML + connectionYAML + "    rotation: {delete_expired_token: yes}\n", `c.yml:8: connections[0].rotation.delete_expired_token: "yes" must be true or false`},
	{"a fraction", tenantYAML + connectionYAML + "    rotation: {max_attempts: 1.5}\n", `c.yml:8: connections[0].rotation.max_attempts: "1.5" is not a whole number`},
	{"too many attempts", tenantYAML + connectionYAML + "    rotation: {max_attempts: 0}\n", `c.yml:8: connections[0].rotation.max_attempts: 0 is out of range; it must be from 1 to 10`},
	{"a bad choice", tenantYAML + connectionYAML + "    rotation: {mode: on}\n", `c.yml:8: connections[0].rotation.mode: "on" is not one of disabled, dry_run, enabled`},
	{"a bad cloud", strings.Replace(tenantYAML, "client_id", "cloud: germany\n    client_id", 1) + connectionYAML, `c.yml:3: tenants[0].cloud: "germany" is not one of public, usgov, usgov_dod, china`},
	{"no unit", tenantYAML + connectionYAML + "    intervals: {job: 300}\n", `c.yml:8: connections[0].intervals.job: "300" is not a duration; it is a number with a unit such as 30s, 15m, 24h, 60d, 2w or 1y`},
	{"a duration in words", tenantYAML + connectionYAML + "    intervals: {job: 5 minutes}\n", `c.yml:8: connections[0].intervals.job: "5 minutes" is not a duration; it is a number with a unit such as 30s, 15m, 24h, 60d, 2w or 1y`},
	{"a negative duration", tenantYAML + connectionYAML + "    intervals: {job: -5m}\n", `c.yml:8: connections[0].intervals.job: "-5m" is not a duration; it is a number with a unit such as 30s, 15m, 24h, 60d, 2w or 1y`},
	{"a decimal comma", tenantYAML + connectionYAML + "    intervals: {job: '1,5h'}\n    rotation: {max_attempts: '2,5'}\n", `
c.yml:8: connections[0].intervals.job: "1,5h" is not a duration; it is a number with a unit such as 30s, 15m, 24h, 60d, 2w or 1y
c.yml:9: connections[0].rotation.max_attempts: "2,5" is not a whole number`},
	{"a secret for a duration", tenantYAML + connectionYAML + "    intervals: {job: 7-planted~secret}\n", `c.yml:8: connections[0].intervals.job: the value is not a duration; it is a number with a unit such as 30s, 15m, 24h, 60d, 2w or 1y`},
	{"an interval too short", tenantYAML + connectionYAML + "    intervals: {job: 500ms}\n", `c.yml:8: connections[0].intervals.job: 500ms is out of range; it must be 0 or from 1s to 1d`},
	{"a rotation that sees nothing", tenantYAML + connectionYAML + "    intervals: {tokens: 0, job: 0}\n    rotation: {mode: dry_run}\n", `
c.yml:8: connections[0].intervals.tokens: 0 disables a source that a rotation needs; set an interval or rotation.mode: disabled
c.yml:8: connections[0].intervals.job: 0 disables a source that a rotation needs; set an interval or rotation.mode: disabled`},
	{"max_age too short", tenantYAML + connectionYAML + "    rotation: {max_age: 1d}\n", `c.yml:8: connections[0].rotation.max_age: 1d is out of range; it must be 0 or from 7d to 365d`},
	{"a bad UUID", strings.Replace(tenantYAML, "11111111-1111", "11111111", 1) + connectionYAML, `c.yml:2: tenants[0].tenant_id: "11111111-1111-1111-111111111111" is not a UUID such as 11111111-1111-1111-1111-111111111111`},
	{"a bad region", tenantYAML + "connections:\n  - name: corp\n    aws: {region: Frankfurt}\n", `c.yml:7: connections[0].aws.region: "Frankfurt" is not an AWS region such as eu-central-1`},
	{"no region", tenantYAML + "connections:\n  - name: corp\n", `c.yml:6: connections[0].aws.region: is missing; it is an AWS region such as eu-central-1`},
	{"a bad name", tenantYAML + "connections:\n  - name: corp/eu\n    aws: {region: eu-central-1}\n",
		`c.yml:6: connections[0].name: the value is not a name of at most 63 letters, digits, ".", "_" and "-" that begins with a letter or digit such as corp`},
	{"a user instead of a role", tenantYAML + "connections:\n  - name: corp\n    aws: {region: eu-central-1, role_arn: 'arn:aws:iam::111122223333:user/x'}\n",
		`c.yml:7: connections[0].aws.role_arn: the value is not the ARN of an IAM role such as arn:aws:iam::111122223333:role/NAME`},
	{"an endpoint without TLS", strings.TrimSuffix(tenantYAML, "\n") + "\n    endpoints: {login: 'http://login.example.com'}\n" + connectionYAML,
		`c.yml:5: tenants[0].endpoints.login: the value is not an https URL without a path (the sign-in adds the tenant) such as https://login.example.com`},
	{"a login endpoint with a path", strings.TrimSuffix(tenantYAML, "\n") + "\n    endpoints: {login: 'https://login.example.com/tenant', graph: 'http://127.0.0.1:10198/graph'}\n" + connectionYAML, `
c.yml:5: tenants[0].endpoints.login: the value is not an https URL without a path (the sign-in adds the tenant) such as https://login.example.com
c.yml:5: tenants[0].endpoints.graph: the value is not an https URL without user, query or fragment such as https://graph.example.com`},
	{"a suffix for everybody", tenantYAML + connectionYAML + "    tokens: {scim_allowed_hosts: [com]}\n",
		`c.yml:8: connections[0].tokens.scim_allowed_hosts[0]: "com" is not a domain with at least one dot, localhost or an IP address such as scim.example.com`},
	{"no labels", tenantYAML + connectionYAML + "webhook: {bearer_token_file: b, match_labels: {}}\n",
		`c.yml:8: webhook.match_labels: is empty, so every alert would match; it looks like {rotate: scim-token}`},
	{"labels that are no labels", tenantYAML + connectionYAML + "webhook: {bearer_token_file: b, match_labels: [planted]}\n",
		`c.yml:8: webhook.match_labels: must be labels with values (rotate: scim-token), not a list`},
	{"a label twice", tenantYAML + connectionYAML + "webhook: {bearer_token_file: b, match_labels: {rotate: a, rotate: planted}}\n",
		`c.yml:8: webhook.match_labels: "rotate" is set twice, first on line 8; keep one`},
	{"a bad label", tenantYAML + connectionYAML + "webhook: {bearer_token_file: b, match_labels: {'a b': c}}\n",
		`c.yml:8: webhook.match_labels: has a label that is not a name and a text; it looks like rotate: scim-token`},

	// between keys
	{"no way to sign in", strings.Replace(tenantYAML, "    client_secret_file: /run/secrets/entra\n", "", 1) + connectionYAML,
		`c.yml:2: tenants[0]: has no way to sign in; give it one of client_secret_file, client_certificate_file, workload_identity, managed_identity, aws_web_identity`},
	{"two ways to sign in", tenantYAML + "    workload_identity: {}\n" + connectionYAML,
		`c.yml:2: tenants[0]: has several ways to sign in (client_secret_file, workload_identity); keep one`},
	{"no client_id", strings.Replace(tenantYAML, "    client_id: 22222222-2222-2222-2222-222222222222\n", "", 1) + connectionYAML,
		`c.yml:2: tenants[0].client_id: is missing; it is the application (client) ID of the exporter's app registration, a UUID such as 11111111-1111-1111-1111-111111111111`},
	{"client_id with a managed identity", strings.Replace(tenantYAML, "client_secret_file: /run/secrets/entra", "managed_identity: {}", 1) + connectionYAML,
		`c.yml:3: tenants[0].client_id: has no effect with managed_identity; set managed_identity.client_id for a user-assigned identity`},
	{"no tenant_id", strings.Replace(tenantYAML, "tenant_id: 11111111-1111-1111-1111-111111111111\n    ", "", 1) + connectionYAML,
		`c.yml:2: tenants[0].tenant_id: is missing; it is a UUID such as 11111111-1111-1111-1111-111111111111`},
	{"a password for nothing", tenantYAML + "    client_certificate_password_file: p\n" + connectionYAML,
		`c.yml:5: tenants[0].client_certificate_password_file: has no effect without client_certificate_file`},
	{"a tenant twice", tenantYAML + strings.TrimPrefix(tenantYAML, "tenants:\n") + "connections:\n  - {name: a, tenant: 11111111-1111-1111-1111-111111111111, aws: {region: eu-central-1}}\n",
		`c.yml:5: tenants[1].name: is missing; tenants[0] has the same tenant_id, so both need a name`},
	{"a tenant's name twice", strings.Replace(twoTenantsYAML, "name: b", "name: a", 1) + "connections:\n  - {name: c, tenant: a, aws: {region: eu-central-1}}\n",
		`c.yml:3: tenants[1].name: is the name of tenants[0] already; give each its own`},
	{"which tenant", twoTenantsYAML + connectionYAML, `c.yml:5: connections[0].tenant: is missing; there are several tenants, it is one of a, b`},
	{"no such tenant", tenantYAML + "connections:\n  - {name: c, tenant: corp, aws: {region: eu-central-1}}\n",
		`c.yml:6: connections[0].tenant: "corp" is not the name of a tenant; it is one of 11111111-1111-1111-1111-111111111111`},
	{"a tenant mistyped", strings.ReplaceAll(twoTenantsYAML, "name: a", "name: corporate") + "connections:\n  - {name: c, tenant: corprate, aws: {region: eu-central-1}}\n",
		`c.yml:5: connections[0].tenant: "corprate" is not the name of a tenant; did you mean corporate?`},
	{"no such tenant for the rotation", tenantYAML + connectionYAML + "    rotation: {tenant: rotator}\n",
		`c.yml:8: connections[0].rotation.tenant: "rotator" is not the name of a tenant; it is one of 11111111-1111-1111-1111-111111111111`},
	{"a rotator in another tenant", twoTenantsYAML + "connections:\n  - {name: c, tenant: a, aws: {region: eu-central-1}, rotation: {tenant: b}}\n",
		`c.yml:5: connections[0].rotation.tenant: has another tenant_id than tenant "a"; the rotation needs an identity in the same Entra tenant`},
	{"no such tenant for the rollover", twoTenantsYAML + "connections:\n  - {name: c, tenant: a, aws: {region: eu-central-1}, saml: {rollover: {tenant: rotator}}}\n",
		`c.yml:5: connections[0].saml.rollover.tenant: "rotator" is not the name of a tenant; it is one of a, b`},
	{"a certificate rotator in another tenant", twoTenantsYAML + "connections:\n  - {name: c, tenant: a, aws: {region: eu-central-1}, saml: {rollover: {tenant: b}}}\n",
		`c.yml:5: connections[0].saml.rollover.tenant: has another tenant_id than tenant "a"; the rollover needs an identity in the same Entra tenant`},
	{"a connection's name twice", twoTenantsYAML + "connections:\n  - {name: c, tenant: a, aws: {region: eu-central-1}}\n  - {name: c, tenant: b, aws: {region: eu-west-1}}\n",
		`c.yml:6: connections[1].name: is the name of connections[0] already; give each its own`},
	{"one application, found twice", tenantYAML + "connections:\n  - {name: c, aws: {region: eu-central-1}}\n  - {name: d, aws: {region: eu-west-1}}\n",
		`c.yml:7: connections[1].service_principal_id: is missing; connections[0] (c) has none either, so both would find the same application of tenant 11111111-1111-1111-1111-111111111111`},
	{"an application id that nobody asks for", tenantYAML + connectionYAML + "    saml: {app_id: 66666666-6666-6666-6666-666666666666}\n",
		`c.yml:8: connections[0].saml.app_id: has no effect without read_from: federation_metadata`},
	{"one application, found twice by two identities", strings.Replace(twoTenantsYAML, "33333333-3333-3333-3333-333333333333", "11111111-1111-1111-1111-111111111111", 1) +
		"connections:\n  - {name: c, tenant: a, aws: {region: eu-central-1}}\n  - {name: d, tenant: b, aws: {region: eu-west-1}}\n",
		`c.yml:6: connections[1].service_principal_id: is missing; connections[0] (c) has none either, so both would find the same application of tenant b`},
	{"one application, named twice by two identities", twoTenantsYAML + "connections:\n  - {name: c, tenant: a, service_principal_id: aaaaaaaa-1111-1111-1111-111111111111, aws: {region: eu-central-1}}\n  - {name: d, tenant: b, service_principal_id: aaaaaaaa-1111-1111-1111-111111111111, aws: {region: eu-west-1}}\n",
		`c.yml:6: connections[1].service_principal_id: is the application of connections[0] (c) already; one application is one connection`},
	{"one application, named twice", tenantYAML + "connections:\n  - {name: c, service_principal_id: aaaaaaaa-1111-1111-1111-111111111111, aws: {region: eu-central-1}}\n  - {name: d, service_principal_id: AAAAAAAA-1111-1111-1111-111111111111, aws: {region: eu-west-1}}\n",
		`c.yml:7: connections[1].service_principal_id: is the application of connections[0] (c) already; one application is one connection`},
	{"one identity store, found twice", twoTenantsYAML + "connections:\n  - {name: c, tenant: a, aws: {region: eu-central-1}}\n  - {name: d, tenant: b, aws: {region: eu-central-1}}\n",
		`c.yml:6: connections[1].aws.identity_store_id: is missing; connections[0] (c) has the same region, profile and role, so both would find the same identity store`},
	{"one identity store, named twice", twoTenantsYAML + "connections:\n  - {name: c, tenant: a, aws: {region: eu-central-1, identity_store_id: d-1234567890}}\n  - {name: d, tenant: b, aws: {region: eu-west-1, identity_store_id: d-1234567890}}\n",
		`c.yml:6: connections[1].aws.identity_store_id: is the identity store of connections[0] (c) already; one identity store is one connection`},
	{"one provisioning tenant twice", twoTenantsYAML + "connections:\n  - {name: c, tenant: a, aws: {region: eu-central-1, provisioning_tenant_id: abc}}\n  - {name: d, tenant: b, aws: {region: eu-west-1, provisioning_tenant_id: abc}}\n",
		`c.yml:6: connections[1].aws.provisioning_tenant_id: is that of connections[0] (c) already`},
	{"an external id for nobody", tenantYAML + "connections:\n  - name: corp\n    aws: {region: eu-central-1, external_id: x}\n", `c.yml:7: connections[0].aws.external_id: has no effect without role_arn`},
	{"declared without tokens", tenantYAML + connectionYAML + "    tokens: {read_from: declared}\n",
		`c.yml:8: connections[0].tokens.declared: is missing; read_from: declared needs the tokens of the AWS console (token_id, created, expires)`},
	{"tokens for nothing", tenantYAML + connectionYAML + "    tokens: {declared: [{token_id: a, created: 2026-03-01, expires: 2027-03-01}]}\n",
		`c.yml:8: connections[0].tokens.declared: has no effect with read_from: console_api; set read_from: declared or remove it`},
	{"bad tokens", tenantYAML + connectionYAML + `    tokens:
      read_from: declared
      declared:
        - {token_id: a, created: 2026-03-01, expires: 2026-03-01}
        - {token_id: a, created: 2026-03-01T00:00:00Z, expires: 2072-03-01}
        - {created: yesterday}
`, `
c.yml:10: connections[0].tokens.declared: has 3 tokens, but an identity store holds at most 2
c.yml:11: connections[0].tokens.declared[0].expires: is not after created
c.yml:12: connections[0].tokens.declared[1].expires: is 16802 days after created; a SCIM token lives one year
c.yml:12: connections[0].tokens.declared[1].token_id: is declared[0] already
c.yml:13: connections[0].tokens.declared[2].token_id: is missing; it is the ID of a SCIM token (not its value) such as 11111111-1111-1111-1111-111111111111
c.yml:13: connections[0].tokens.declared[2].created: "yesterday" is not a time; it is written 2026-03-01T00:00:00Z or 2026-03-01
c.yml:13: connections[0].tokens.declared[2].expires: is missing; it is a time such as 2026-03-01T00:00:00Z`},
	{"a rollover without what it needs", tenantYAML + connectionYAML + "    saml: {read_from: federation_metadata, rollover: {mode: enabled, before: 20d, subject: 'CN=x', aws_slots: 1}}\n", `
c.yml:8: connections[0].saml.rollover.aws_slots: 1 is out of range; it must be from 2 to 10
c.yml:8: connections[0].saml.rollover.subject: the value is not a common name of at most 32 letters, digits, spaces, ".", "_" and "-" such as entra-aws-exporter
c.yml:8: connections[0].saml.read_from: federation_metadata does not say which certificate is active, and a rollover needs to know; set read_from: graph
c.yml:8: connections[0].saml.aws_certificates: none does not show what AWS trusts, and a rollover needs to see it; set aws_certificates: console_api
c.yml:8: connections[0].saml.rollover.before: 20d is too short: a rollover starts no later than 2w before the expiry, and takes retire_after = 1w
c.yml:8: connections[0].saml.rollover.mode: enabled needs a place for the journal; set state.directory or state.aws`},
	{"a rollover with bad values", tenantYAML + connectionYAML + "    saml:\n      aws_certificates: console_api\n      rollover:\n        mode: on\n        before: 2w\n        approval: sometimes\n" +
		"        retire_after: 30m\n        aws_slots: two\n        certificate_use: to sign\n        validity: 4y\n        subject: ''\n        role_arn: 'arn:aws:iam::111122223333:user/x'\n", `
c.yml:11: connections[0].saml.rollover.mode: "on" is not one of disabled, dry_run, enabled
c.yml:12: connections[0].saml.rollover.before: 2w is out of range; it must be from 15d to 365d
c.yml:13: connections[0].saml.rollover.approval: "sometimes" is not one of first, always, never
c.yml:14: connections[0].saml.rollover.retire_after: 30m is out of range; it must be from 1h to 90d
c.yml:15: connections[0].saml.rollover.aws_slots: "two" is not a whole number
c.yml:16: connections[0].saml.rollover.certificate_use: "to sign" is not one word without spaces
c.yml:17: connections[0].saml.rollover.validity: 4y is out of range; it must be from 90d to 3y
c.yml:18: connections[0].saml.rollover.subject: is empty; give it a value or remove the key
c.yml:19: connections[0].saml.rollover.role_arn: the value is not the ARN of an IAM role such as arn:aws:iam::111122223333:role/NAME`},
	{"a rollover with files", tenantYAML + connectionYAML + "    saml: {aws_certificates: files, aws_certificate_files: [a.pem], rollover: {mode: dry_run}}\n",
		`c.yml:8: connections[0].saml.aws_certificates: files does not show what AWS trusts, and a rollover needs to see it; set aws_certificates: console_api`},
	{"a rollover that sees nothing", tenantYAML + connectionYAML + "    saml: {aws_certificates: console_api, rollover: {mode: dry_run}}\n    intervals: {tokens: 0, job: 0, certificates: 0}\n", `
c.yml:9: connections[0].intervals.tokens: 0 disables a source that a rollover needs; set an interval or saml.rollover.mode: disabled
c.yml:9: connections[0].intervals.job: 0 disables a source that a rollover needs; set an interval or saml.rollover.mode: disabled
c.yml:9: connections[0].intervals.certificates: 0 disables a source that a rollover needs; set an interval or saml.rollover.mode: disabled`},
	{"a rollover beside declared tokens", tenantYAML + connectionYAML + "    tokens: {read_from: declared, declared: [{token_id: a, created: 2026-03-01, expires: 2027-03-01}]}\n    saml: {aws_certificates: console_api, rollover: {mode: dry_run}}\n",
		`c.yml:7: connections[0].aws.provisioning_tenant_id: is missing; with tokens.read_from: declared it is not looked up, and a rollover needs it; it is the part of the SCIM endpoint before /scim/v2`},
	{"certificates without files", tenantYAML + connectionYAML + "    saml: {aws_certificates: files}\n",
		`c.yml:8: connections[0].saml.aws_certificate_files: is missing; aws_certificates: files needs the PEM files of the certificates that AWS trusts`},
	{"files for nothing", tenantYAML + connectionYAML + "    saml: {aws_certificate_files: [a.pem]}\n",
		`c.yml:8: connections[0].saml.aws_certificate_files: has no effect without aws_certificates: files`},
	{"due too late", tenantYAML + connectionYAML + "    rotation: {before: 2d}\n",
		`c.yml:8: connections[0].rotation.before: 2d is too short: a rotation may take verify_timeout + retire_after = 2d, and the token would expire meanwhile`},
	{"due before the cooldown", tenantYAML + connectionYAML + "    rotation: {max_age: 10d, cooldown: 30d}\n", `c.yml:8: connections[0].rotation.max_age: 10d is shorter than cooldown (30d)`},
	{"a rotation without state", tenantYAML + connectionYAML + "    rotation: {mode: enabled}\n",
		`c.yml:8: connections[0].rotation.mode: enabled needs a place for the journal and the new token; set state.directory or state.aws`},
	{"a rotation of declared tokens", tenantYAML + connectionYAML + "    tokens: {read_from: declared, declared: [{token_id: a, created: 2026-03-01, expires: 2027-03-01}]}\n    rotation: {mode: dry_run}\n", `
c.yml:7: connections[0].aws.provisioning_tenant_id: is missing; with tokens.read_from: declared it is not looked up, and a rotation needs it; it is the part of the SCIM endpoint before /scim/v2
c.yml:9: connections[0].rotation.issuer: console_api creates tokens by the API that tokens.read_from: declared avoids; set issuer: operator (an operator creates the token) or tokens.read_from: console_api`},
	{"a key beside its lock", tenantYAML + connectionYAML + "state: {directory: /var/lib/x, age_identity_file: /var/lib/y/../x/key}\n",
		`c.yml:8: state.age_identity_file: is inside the state directory; a backup would contain the key and the encrypted tokens; move the key elsewhere`},
	{"a key without a lock", tenantYAML + connectionYAML + "state: {age_identity_file: /key}\n", `c.yml:8: state.age_identity_file: has no effect without directory`},
	{"state in two places", tenantYAML + connectionYAML + "state:\n  directory: /var/lib/x\n  aws: {table: x-y, region: eu-central-1, external_id: x}\n", `
c.yml:10: state.aws: is set together with directory; the state is in one place, keep one of them
c.yml:10: state.aws.external_id: has no effect without role_arn`},
	{"state nowhere in AWS", tenantYAML + connectionYAML + "state: {aws: {table: ab, secret_prefix: x, recovery_window: 5d}}\n", `
c.yml:8: state.aws.table: "ab" is not the name of a DynamoDB table (not its ARN): 3 to 255 letters, digits, "_", "." and "-" such as entra-aws-exporter
c.yml:8: state.aws.secret_prefix: "x" is not the beginning of the names of secrets: at most 128 letters, digits and /_+=.@-, with a "/" at its end such as entra-aws-exporter/
c.yml:8: state.aws.recovery_window: 5d is out of range; it must be 0 or from 7d to 30d
c.yml:8: state.aws.region: is missing; it is an AWS region such as eu-central-1`},

	// all problems at once, by line
	{"many", `tenants:
  - tenant_id: x
    clientid: y
connections:
  - name: a b
    aws: {region: 7}
    rotation: {mode: maybe, before: soon}
`, `
c.yml:2: tenants[0].tenant_id: "x" is not a UUID such as 11111111-1111-1111-1111-111111111111
c.yml:2: tenants[0]: has no way to sign in; give it one of client_secret_file, client_certificate_file, workload_identity, managed_identity, aws_web_identity
c.yml:3: tenants[0].clientid: unknown key; did you mean client_id?
c.yml:5: connections[0].name: "a b" is not a name of at most 63 letters, digits, ".", "_" and "-" that begins with a letter or digit such as corp
c.yml:6: connections[0].aws.region: "7" is not an AWS region such as eu-central-1
c.yml:7: connections[0].rotation.mode: "maybe" is not one of disabled, dry_run, enabled
c.yml:7: connections[0].rotation.before: "soon" is not a duration; it is a number with a unit such as 30s, 15m, 24h, 60d, 2w or 1y`},
}

func TestBadFiles(t *testing.T) {
	for _, test := range badFiles {
		t.Run(test.name, func(t *testing.T) {
			_, err := parse("c.yml", "/etc/exporter", []byte(test.text))
			if err == nil {
				t.Fatal("accepted")
			}
			if diff := cmp.Diff(strings.TrimPrefix(test.want, "\n"), err.Error()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if strings.Contains(err.Error(), "planted") {
				t.Error("the error has a secret")
			}
		})
	}
}
