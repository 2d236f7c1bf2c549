package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// printed returns what a command line prints. Kingpin prints to the standard output.
func printed(t *testing.T, argument string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stdout")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func(standard *os.File) { os.Stdout = standard }(os.Stdout)
	os.Stdout = file
	var stderr bytes.Buffer
	code := run(t.Context(), []string{argument}, strings.NewReader(""), file, &stderr)
	content, err := os.ReadFile(path)
	if code != exitOK || err != nil || len(content) == 0 {
		t.Fatalf("%s: exit code %d, %v: %s", argument, code, err, stderr.String())
	}
	return content
}

// TestGeneratedFiles: the packages have the man page and the completions of this command
// line, and docs has its schema of the configuration. UPDATE=1 writes them.
func TestGeneratedFiles(t *testing.T) {
	for argument, path := range map[string]string{
		"--help-man":               "../../deploy/package/share/entra-aws-exporter.1",
		"--completion-script-bash": "../../deploy/package/share/completion.bash",
		"--completion-script-zsh":  "../../deploy/package/share/completion.zsh",
		"config-schema":            "../../docs/config.schema.json",
	} {
		want := printed(t, argument)
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(path, want, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if content, err := os.ReadFile(path); err != nil || !bytes.Equal(content, want) {
			t.Errorf("%s is not what %s prints; write it with UPDATE=1 go test ./cmd/exporter -run GeneratedFiles (%v)", path, argument, err)
		}
	}
}
