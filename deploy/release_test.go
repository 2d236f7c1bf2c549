package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestActionsArePinned checks that a workflow runs no action that can change under its name.
func TestActionsArePinned(t *testing.T) {
	uses := 0
	for _, file := range glob(t, "../.github/workflows/*.yml") {
		for _, match := range regexp.MustCompile(`(?m)^\s*(?:- )?uses: (.*)$`).FindAllStringSubmatch(read(t, file), -1) {
			uses++
			if !regexp.MustCompile(`^[a-z-]+/[a-z/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`).MatchString(match[1]) {
				t.Errorf("%s: %s is not pinned by commit with its version", file, match[1])
			}
		}
	}
	if uses < 10 {
		t.Errorf("only %d uses found", uses)
	}
}

// TestDockerfile checks that the bases are pinned, that the compiler is the one of go.mod, that
// what is copied exists, and that the targets which others build exist.
func TestDockerfile(t *testing.T) {
	text := read(t, "../Dockerfile")
	stages := map[string]bool{"scratch": true, "": true}
	for _, match := range regexp.MustCompile(`(?m)^FROM (?:--platform=\S+ )?(\S+)(?: AS (\S+))?$`).FindAllStringSubmatch(text, -1) {
		if !stages[match[1]] && !regexp.MustCompile(`@sha256:[0-9a-f]{64}$`).MatchString(match[1]) {
			t.Errorf("the base %s has no digest", match[1])
		}
		stages[match[2]] = true
	}
	from := ""
	for _, match := range regexp.MustCompile(`(?m)^(?:FROM .*?(?: AS (\S+))?|COPY (.*) \S+)$`).FindAllStringSubmatch(text, -1) {
		if match[2] == "" {
			from = match[1]
			continue
		}
		sources := strings.Fields(match[2])
		if stage, ok := strings.CutPrefix(sources[0], "--from="); ok {
			if !stages[stage] {
				t.Errorf("COPY %s: no such stage", match[2])
			}
			continue
		}
		for _, source := range sources {
			// GoReleaser's context has a folder for each platform, and nothing else.
			if built := strings.HasPrefix(source, "$TARGETPLATFORM/"); built != (from == "release") {
				t.Errorf("the stage %s copies %s", from, source)
			} else if _, err := os.Stat(filepath.Join("..", source)); err != nil && !built {
				t.Errorf("COPY %s: %v", match[2], err)
			}
		}
	}
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "../go.mod"))
	if !strings.Contains(text, " golang:"+version[1]+"-") {
		t.Errorf("the Dockerfile does not compile with Go %s, as go.mod says", version[1])
	}
	for _, user := range []string{"compose/compose.yml", "../.goreleaser.yaml"} {
		target := regexp.MustCompile(`target[:=] ?([a-z-]+)`).FindStringSubmatch(read(t, user))
		if target == nil || !stages[target[1]] {
			t.Errorf("%s builds the target %v, which the Dockerfile lacks", user, target)
		}
	}
}

// TestVersions checks that the chart has the version of the changelog's latest section.
func TestVersions(t *testing.T) {
	latest := regexp.MustCompile(`(?m)^## (\S+) / `).FindStringSubmatch(read(t, "../CHANGELOG.md"))
	chart := read(t, "kubernetes/chart/Chart.yaml")
	if latest == nil || !strings.Contains(chart, "\nversion: "+latest[1]+"\nappVersion: "+latest[1]+"\n") {
		t.Errorf("the latest version of the changelog is %v, the chart is\n%s", latest, chart)
	}
}

// TestReleaseNotes checks that a version is released with its section of the changelog, and not
// before the section has a date.
func TestReleaseNotes(t *testing.T) {
	directory := t.TempDir()
	for name, content := range map[string]string{
		".ci/release-notes": read(t, "../.ci/release-notes"),
		"CHANGELOG.md":      "# Changelog\n\n## 0.2.0 / unreleased\n\n* new\n\n## 0.1.1 / 2026-12-01\n\n* fixed\n\n## 0.1.0 / 2026-11-28\n\n* first\n",
	} {
		path := filepath.Join(directory, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for version, want := range map[string]string{
		"0.1.1": "\n* fixed\n\n",
		"0.1.0": "\n* first\n",
		"0.2.0": `CHANGELOG.md has no section "## 0.2.0 / YYYY-MM-DD"` + "\n",
		"0x1.0": `CHANGELOG.md has no section "## 0x1.0 / YYYY-MM-DD"` + "\n",
	} {
		output, err := exec.CommandContext(t.Context(), filepath.Join(directory, ".ci/release-notes"), version).CombinedOutput()
		if failed := strings.HasPrefix(want, "CHANGELOG"); string(output) != want || (err != nil) != failed {
			t.Errorf("%s: %v, %q, want %q", version, err, output, want)
		}
	}
}
