package deploy

import (
	"encoding/json"
	"errors"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"entra-aws-exporter/internal/model"
)

// TestKubernetesPaths checks the paths in the manifest's header: they are inside its mounts,
// and its commands put the secret's files there.
func TestKubernetesPaths(t *testing.T) {
	text := read(t, "kubernetes/entra-aws-exporter.yaml")
	mounts := mounted(t, text)
	given := map[string]string{}
	for _, match := range regexp.MustCompile(`(?m)^#\s+(?:- )?([a-z_]+): (/\S+)$`).FindAllStringSubmatch(text, -1) {
		given[match[1]] = match[2]
	}
	for _, key := range []string{"client_secret_file", "age_identity_file", "bearer_token_file"} {
		if path.Dir(given[key]) != mounts["secrets"] {
			t.Errorf("the header says %s is %q, the secret is mounted at %q", key, given[key], mounts["secrets"])
		}
		if name := path.Base(given[key]); !strings.Contains(text, "--from-file="+name) {
			t.Errorf("no command of the header puts %s into the secret", name)
		}
	}
}

// TestKubernetesProbes checks that the probes ask where no credentials are needed.
func TestKubernetesProbes(t *testing.T) {
	text := read(t, "kubernetes/entra-aws-exporter.yaml")
	address := regexp.MustCompile(`--web\.health-listen-address=:(\d+)`).FindStringSubmatch(text)
	if address == nil || !strings.Contains(text, "{name: health, containerPort: "+address[1]+"}") {
		t.Errorf("%v is not the port \"health\"", address)
	}
	for probe, page := range map[string]string{"liveness": "healthy", "readiness": "ready"} {
		want := probe + "Probe:\n            httpGet:\n              path: /-/" + page + "\n              port: health\n"
		if !strings.Contains(text, want) {
			t.Errorf("no probe is\n%s", want)
		}
	}
}

// mounted returns the mount paths of the Deployment by volume.
func mounted(t *testing.T, text string) map[string]string {
	t.Helper()
	type deployment struct {
		Kind string
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						VolumeMounts []struct {
							Name string
							Path string `yaml:"mountPath"`
						} `yaml:"volumeMounts"`
					}
				}
			}
		}
	}
	paths := map[string]string{}
	for decoder := yaml.NewDecoder(strings.NewReader(text)); ; {
		var document deployment
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, container := range document.Spec.Template.Spec.Containers {
			for _, mount := range container.VolumeMounts {
				paths[mount.Name] = mount.Path
			}
		}
	}
	return paths
}

// TestSystemdCredentials checks that a path under /run/credentials, also in a comment, belongs
// to this unit and to a credential that it loads, also in a comment.
func TestSystemdCredentials(t *testing.T) {
	unit := read(t, "systemd/entra-aws-exporter.service")
	var loaded []string
	for _, match := range regexp.MustCompile(`(?m)^#?LoadCredential=([^:]+):/etc/entra-aws-exporter/(.+)$`).FindAllStringSubmatch(unit, -1) {
		loaded = append(loaded, match[1])
	}
	used := regexp.MustCompile(`/run/credentials/(\S+)/([a-z-]+)`).FindAllStringSubmatch(unit, -1)
	for _, match := range used {
		if match[1] != "entra-aws-exporter.service" || !slices.Contains(loaded, match[2]) {
			t.Errorf("%s is not one of %q", match[0], loaded)
		}
	}
	if len(used) < 2 || len(loaded) < 4 {
		t.Errorf("only %d credentials, %d uses", len(loaded), len(used))
	}
	if strings.Contains(unit, "example.com") {
		t.Error("the unit contains a placeholder")
	}
}

// TestPackagePaths checks that the page about the packages names only what they contain, or what
// the unit loads.
func TestPackagePaths(t *testing.T) {
	contents := read(t, "package/contents.txt") + read(t, "systemd/entra-aws-exporter.service")
	page := read(t, "../docs/install-linux.md")
	paths := regexp.MustCompile(`/(?:etc|usr|var)/[a-z./-]*[a-z]`).FindAllString(page, -1)
	for _, path := range paths {
		if !strings.Contains(contents, path) {
			t.Errorf("install-linux.md names %s, which is in no package", path)
		}
	}
	for _, unit := range regexp.MustCompile(`entra-aws-exporter[a-z-]*\.(?:service|timer)`).FindAllString(page, -1) {
		if !strings.Contains(contents, "/systemd/system/"+unit) {
			t.Errorf("install-linux.md names the unit %s, which is in no package", unit)
		}
	}
	if len(paths) < 6 {
		t.Errorf("only %d paths found", len(paths))
	}
}

// TestTaskDefinitions checks that the page about ECS shows JSON, with commands of the image.
func TestTaskDefinitions(t *testing.T) {
	page := read(t, "../docs/install-ecs.md")
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(page, -1)
	for _, block := range blocks {
		if !json.Valid([]byte(block[1])) {
			t.Errorf("install-ecs.md shows what is not JSON: %s", block[1])
		}
	}
	health := regexp.MustCompile(`CMD (\["/usr/local/bin/entra-aws-exporter", .*\])`).FindStringSubmatch(read(t, "../Dockerfile"))
	if len(blocks) < 2 || health == nil || !strings.Contains(page, strings.Replace(health[1], `[`, `["CMD", `, 1)) {
		t.Errorf("the task definition does not check the health as the image does: %v", health)
	}
}

// TestAudiences checks that the page lists each cloud's audience as the exporter sends it, and
// that the policy allows the public one.
func TestAudiences(t *testing.T) {
	page := read(t, "permissions/entra.md")
	for _, cloud := range model.Clouds() {
		if row := "| `" + string(cloud) + "` | `" + cloud.TokenExchange() + "` |\n"; !strings.Contains(page, row) {
			t.Errorf("entra.md lacks the row %s", row)
		}
	}
	if !strings.Contains(read(t, "permissions/aws-web-identity.json"), `"`+model.CloudPublic.TokenExchange()+`"`) {
		t.Error("aws-web-identity.json does not allow the public cloud's audience")
	}
}

// TestFirstBuildCost checks that README and CONTRIBUTING state the same cost.
func TestFirstBuildCost(t *testing.T) {
	const cost = "The first build compiles the Microsoft Graph SDK. On two cores this takes 90 seconds and up to 4.4 GB of memory."
	for _, page := range []string{"../README.md", "../CONTRIBUTING.md"} {
		if !strings.Contains(read(t, page), cost) {
			t.Errorf("%s does not say: %s", page, cost)
		}
	}
}

// TestOwnerIsExplained checks that a page with the placeholder OWNER says what it stands for.
func TestOwnerIsExplained(t *testing.T) {
	pages := 0
	for _, pattern := range []string{"../*.md", "../docs/*.md", "*.md", "*/*.md", "*/*/*.md"} {
		for _, page := range glob(t, pattern) {
			text := read(t, page)
			if !regexp.MustCompile(`\bOWNER/`).MatchString(text) {
				continue
			}
			pages++
			if !strings.Contains(text, "`OWNER` is the owner of this repository on GitHub") {
				t.Errorf("%s does not explain OWNER", page)
			}
		}
	}
	if pages < 5 {
		t.Errorf("only %d pages with OWNER found", pages)
	}
}
