package main

import (
	"bytes"
	"strings"
	"testing"
)

// The exit codes and the sentences of the command line.
func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		line string
		code int
		says string
	}{
		{"--help", exitOK, "check-config"},
		{"--version", exitOK, "entra-aws-exporter, version"},
		{"--no-such-flag", exitUsage, "unknown long flag '--no-such-flag', try --help"},
		{"no-such-command", exitUsage, "try --help"},
		{"rotation approve corp", exitUsage, "required argument 'token-id' not provided"},
		{"--rotation.pace=fast", exitUsage, "try --help"},
		{"--config.file=absent.yml check-config", exitFailed, "absent.yml"},
		{"--config.file=absent.yml --web.enable-lifecycle --web.listen-address=127.0.0.1:0", exitFailed, "absent.yml"}, // serve, unnamed
		{"rotation start corp --token-stdin", exitFailed, "--token-stdin and --token-id belong together"},
		{"rotation start corp --token-id=x", exitFailed, "--token-stdin and --token-id belong together"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), strings.Fields(test.line), strings.NewReader(""), &stdout, &stderr)
		if said := stdout.String() + stderr.String(); code != test.code || !strings.Contains(said, test.says) {
			t.Errorf("%s: exit code %d, want %d and %q:\n%s", test.line, code, test.code, test.says, said)
		}
	}
}
