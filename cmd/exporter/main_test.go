package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Exit codes and messages of the command line.
func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		line string
		code int
		says string
	}{
		{"--help", exitOK, "check-config"},
		{"--help", exitOK, "--web.listen-address"}, // of serve, the default command
		{"--config.enable-auto-reload --config.auto-reload-interval=soon", exitUsage, `"soon" is not a duration of at least 1s`},
		{"--version", exitOK, "entra-aws-exporter, version"},
		{"--no-such-flag", exitUsage, "unknown long flag '--no-such-flag', try --help"},
		{"no-such-command", exitUsage, "try --help"},
		{"rotation approve corp", exitUsage, "required argument 'id' not provided"},
		{"--rotation.pace=fast", exitUsage, "try --help"},
		{"--config.file=absent.yml check-config", exitFailed, "absent.yml"},
		{"--config.file=absent.yml --web.enable-lifecycle --web.listen-address=127.0.0.1:0", exitFailed, "absent.yml"}, // serve is the default
		{"rotation start corp --token-stdin", exitUsage, "--token-stdin and --token-id must be used together"},
		{"rotation start corp --token-id=x", exitUsage, "--token-stdin and --token-id must be used together"},
		{"rotation start corp --rotation.pace=0", exitUsage, "--rotation.pace"},
		{"rotation start", exitUsage, "required argument 'connection' not provided"},
		{"rotation start --if-due --force", exitUsage, "--if-due cannot be used with"},
		{"--config.file=absent.yml rotation start --if-due", exitFailed, "absent.yml"},
		{"status --url localhost:10199", exitUsage, `--url: "localhost:10199" is not a URL such as http://localhost:10199`},
		{"doctor corp extra", exitUsage, "unexpected extra"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(test.line), strings.NewReader(""), &stdout, &stderr)
		if said := stdout.String() + stderr.String(); code != test.code || !strings.Contains(said, test.says) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s", test.line, code, test.code, test.says, said)
		}
	}
}

// Requested output goes to standard output, everything else to standard error.
func TestHelpAndVersionGoToStdout(t *testing.T) {
	for _, line := range []string{"--help", "--version", "rotation --help", "help rotation start"} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), strings.Fields(line), strings.NewReader(""), &stdout, &stderr); code != exitOK || stdout.Len() == 0 || stderr.Len() > 0 {
			t.Errorf("%s: exit code %d, output %q, error %q", line, code, stdout.String(), stderr.String())
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"--nonsense"}, strings.NewReader(""), &stdout, &stderr); code != exitUsage || stdout.Len() > 0 {
		t.Errorf("a usage error: exit code %d, output %q", code, stdout.String())
	}
}

// Configuration errors have no prefix: file:line: key.path: what is wrong.
func TestConfigErrorsHaveAPosition(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(file, []byte("tenants: []\nconnections: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"--config.file", file, "check-config"}, strings.NewReader(""), &stdout, &stderr)
	want := file + ":1: tenants: is empty; at least one is needed\n" + file + ":2: connections: is empty; at least one is needed\n"
	if code != exitFailed || stderr.String() != want {
		t.Errorf("exit code %d\ngot  %s\nwant %s", code, stderr.String(), want)
	}
}

// check-config rejects a missing or broken CA file, as serve does.
func TestCheckConfigReadsCAFile(t *testing.T) {
	directory := t.TempDir()
	file, ca := filepath.Join(directory, "config.yml"), filepath.Join(directory, "ca.pem")
	if err := os.WriteFile(file, []byte(`tenants:
  - tenant_id: 11111111-1111-1111-1111-111111111111
    client_id: 22222222-2222-2222-2222-222222222222
    client_secret_file: config.yml
connections:
  - name: corp
    aws: {region: eu-central-1}
http_client: {tls_config: {ca_file: ca.pem}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(command, want string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{"--config.file", file, command}, strings.NewReader(""), &stdout, &stderr); code != exitFailed || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: exit code %d: %s%s", command, code, stdout.String(), stderr.String())
		}
	}
	for _, command := range []string{"check-config", "serve"} {
		check(command, file+": http_client: unable to read CA cert: open "+ca)
	}
	if err := os.WriteFile(ca, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"check-config", "serve"} {
		check(command, file+": http_client: unable to use specified CA cert file "+ca)
	}
}

// The configuration and the web config together decide who may call the webhook.
func TestCheckConfigReadsWebConfig(t *testing.T) {
	directory := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(directory, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := write("config.yml", `tenants:
  - tenant_id: 11111111-1111-1111-1111-111111111111
    client_id: 22222222-2222-2222-2222-222222222222
    client_secret_file: config.yml
connections:
  - name: corp
    aws: {region: eu-central-1}
webhook: {}
`)
	web := write("web.yml", "basic_auth_users: {alertmanager: $2y$10$x}\n")
	for _, test := range []struct {
		line string
		code int
		says string
	}{
		{"check-config", exitFailed, config + ":8: webhook.bearer_token_file: is missing; without it everyone can call the webhook"},
		{"check-config --web.config.file " + web, exitOK, config + " is valid: 1 tenant, 1 connection\n"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"--config.file", config}, strings.Fields(test.line)...), strings.NewReader(""), &stdout, &stderr)
		if said := stdout.String() + stderr.String(); code != test.code || !strings.Contains(said, test.says) {
			t.Errorf("%s: exit code %d: %s", test.line, code, said)
		}
	}
}

// With --log.format=json every line on standard error is JSON, the last one too.
func TestFailuresAreJSONLogLines(t *testing.T) {
	invalid := filepath.Join(t.TempDir(), "config.yml")
	if err := os.WriteFile(invalid, []byte("tenants: []\nconnections: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		line     string
		code     int
		messages []string
		last     string
	}{
		{"--config.file=absent.yml serve", exitFailed, []string{"starting", "command failed"}, "absent.yml"},
		{"--config.file=" + invalid + " check-config", exitFailed, []string{"configuration invalid", "configuration invalid"}, ":2: connections: is empty"},
		{"--config.file=absent.yml rotation start corp --token-stdin", exitUsage, []string{"command failed"}, "--token-stdin and --token-id"},
		{"--log.level=error status --url http://127.0.0.1:1", exitFailed, []string{"command failed"}, "cannot reach the exporter"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), append([]string{"--log.format=json"}, strings.Fields(test.line)...), strings.NewReader(""), &stdout, &stderr)
		var messages []string
		last := ""
		for line := range strings.Lines(stderr.String()) {
			var record struct{ Msg, Err, Problem string }
			if err := json.Unmarshal([]byte(line), &record); err != nil {
				t.Errorf("%s: %v: %s", test.line, err, line)
			}
			messages, last = append(messages, record.Msg), record.Err+record.Problem
		}
		if code != test.code || !slices.Equal(messages, test.messages) || !strings.Contains(last, test.last) {
			t.Errorf("%s: exit code %d, messages %q, last %q", test.line, code, messages, last)
		}
	}
}
