package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// Commands appear in backticks, on a line of a shell block, in the JSON of the status
	// page, and in the sentences about blocked rotations.
	inBackticks = regexp.MustCompile("`((?:bin/)?entra-aws-exporter [^`]+|rotation [a-z][^`]*)`")
	inJSON      = regexp.MustCompile(`"command": "entra-aws-exporter ([^"]+)"`)
	inSentences = regexp.MustCompile(`(?:[Nn]ext: |[Oo]r |run |then |[(])(rotation [a-z-]+ corp(?: --[a-z-]+ [A-Z]+)?)`)
	onALine     = regexp.MustCompile(`(?m)^\s*(?:\d+\. +)?(?:bin/)?entra-aws-exporter ([^|#>\n]+)`)
	configFile  = regexp.MustCompile(`--config\.file[= ]\S+`)
)

// documentedCommands are the command lines in a text, without the program's name.
func documentedCommands(text string) []string {
	text = strings.ReplaceAll(text, "{{ $labels.connection }}", "corp")
	var found []string
	for _, match := range inBackticks.FindAllStringSubmatch(text, -1) {
		line, whole := strings.CutPrefix(strings.TrimPrefix(match[1], "bin/"), "entra-aws-exporter ")
		if !whole && len(strings.Fields(line)) == 2 {
			line += " --help" // only the command's name, in a sentence
		}
		found = append(found, strings.TrimSpace(configFile.ReplaceAllString(line, "")))
	}
	for _, pattern := range []*regexp.Regexp{inJSON, inSentences} {
		for _, match := range pattern.FindAllStringSubmatch(text, -1) {
			found = append(found, match[1])
		}
	}
	for _, match := range onALine.FindAllStringSubmatch(text, -1) {
		found = append(found, strings.TrimSpace(configFile.ReplaceAllString(match[1], "")))
	}
	return found
}

// parses reports whether the command line accepts these arguments. Nothing runs, since the
// configuration file is absent and the context cancelled.
func parses(t *testing.T, line string) (bool, string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stdout, stderr bytes.Buffer
	arguments := append([]string{"--config.file=" + filepath.Join(t.TempDir(), "absent.yaml")}, strings.Fields(line)...)
	code := run(ctx, arguments, strings.NewReader(""), &stdout, &stderr)
	return code != exitUsage, stderr.String()
}

// TestDocumentedCommands: every command in the runbooks, the documentation, the alerts and
// the status page parses.
func TestDocumentedCommands(t *testing.T) {
	seen := map[string]bool{}
	for _, pattern := range []string{
		"../../README.md", "../../docs/*.md", "../../docs/runbooks/*.md", "../../deploy/*.md", "../../deploy/*/*.md",
		"../../deploy/prometheus/rules/*.yml",
		"../../internal/web/testdata/connections.json", "../../rotate/testdata/blocked.txt",
	} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range documentedCommands(string(content)) {
				seen[line] = true
				if ok, output := parses(t, line); !ok {
					t.Errorf("%s: entra-aws-exporter %s: %s", file, line, output)
				}
			}
		}
	}
	lines := make([]string, 0, len(seen))
	for line := range seen {
		lines = append(lines, line)
	}
	slices.Sort(lines)
	t.Logf("%d different command lines:\n%s", len(lines), strings.Join(lines, "\n"))
	for _, expected := range []string{"doctor", "rotation show CONNECTION", "rotation approve CONNECTION TOKEN_ID", "check-config", "rotation show retail", "rotation start corp --retire-token ID"} {
		if !seen[expected] {
			t.Errorf("%q is no longer found: the patterns are too narrow", expected)
		}
	}
}

func TestDocumentedCommandsAreFound(t *testing.T) {
	text := "Run `entra-aws-exporter rotation shew corp`, or `rotation reset corp --now`:\n\n```sh\nentra-aws-exporter --config.file=x doctor a b   # why\n```\n"
	want := []string{"rotation shew corp", "rotation reset corp --now", "doctor a b"}
	found := documentedCommands(text)
	if !slices.Equal(found, want) {
		t.Fatalf("found %q, want %q", found, want)
	}
	for _, line := range found {
		if ok, _ := parses(t, line); ok {
			t.Errorf("%q parses, but should not", line)
		}
	}
}
