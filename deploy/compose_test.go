package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// composeFile contains the parts of compose.yml that refer to something else.
type composeFile struct {
	Services map[string]struct {
		Image     string            `yaml:"image"`
		Build     map[string]string `yaml:"build"`
		Volumes   []string          `yaml:"volumes"`
		Ports     []string          `yaml:"ports"`
		DependsOn map[string]any    `yaml:"depends_on"`
		Networks  map[string]struct {
			Aliases []string `yaml:"aliases"`
		} `yaml:"networks"`
	} `yaml:"services"`
	Volumes map[string]any `yaml:"volumes"`
}

func compose(t *testing.T) composeFile {
	t.Helper()
	var file composeFile
	if err := yaml.Unmarshal([]byte(read(t, "compose/compose.yml")), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Services) < 5 {
		t.Fatalf("only %d services", len(file.Services))
	}
	return file
}

// TestComposeReferences checks that mounts, builds and dependencies exist, that images have
// a version, and that no port is open to the network.
func TestComposeReferences(t *testing.T) {
	file := compose(t)
	for name, service := range file.Services {
		for _, volume := range service.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if _, declared := file.Volumes[source]; declared {
				continue
			}
			if _, err := os.Stat(filepath.Join("compose", source)); err != nil {
				t.Errorf("%s mounts %s: %v", name, source, err)
			}
		}
		for other := range service.DependsOn {
			if _, exists := file.Services[other]; !exists {
				t.Errorf("%s depends on %s, which is not a service", name, other)
			}
		}
		if dockerfile, built := service.Build["dockerfile"]; built {
			if _, err := os.Stat(filepath.Join("compose", service.Build["context"], dockerfile)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, tag, _ := strings.Cut(service.Image, ":"); tag == "" || tag == "latest" {
			t.Errorf("%s: the image %q has no version", name, service.Image)
		}
		for _, port := range service.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to the network", name, port)
			}
		}
	}
}

// TestComposeNames checks that every host in the mounted configurations is a service.
func TestComposeNames(t *testing.T) {
	names := map[string]bool{}
	for name, service := range compose(t).Services {
		names[name] = true
		for _, network := range service.Networks {
			for _, alias := range network.Aliases {
				names[alias] = true
			}
		}
	}
	host := regexp.MustCompile(`([a-z][a-z.-]+):(?:10199|10198|9090|9093|3000)\b`)
	for _, path := range []string{"prometheus/prometheus.yml", "compose/alertmanager.yml", "compose/compose.yml"} {
		found := host.FindAllStringSubmatch(read(t, path), -1)
		if len(found) == 0 {
			t.Errorf("%s names no host", path)
		}
		for _, match := range found {
			if !names[match[1]] {
				t.Errorf("%s names %s, which is not a service", path, match[0])
			}
		}
	}
}

// TestComposeAlertmanagerIsCurrent checks that the file is the example configuration with
// the demo's shorter waits.
func TestComposeAlertmanagerIsCurrent(t *testing.T) {
	directory := t.TempDir()
	script := exec.Command("demo/fast-config.sh", "alertmanager", directory, "http://entra-aws-exporter:10199/webhook/alertmanager", "/clouds/webhook-token")
	if output, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	want := "# Generated from deploy/alertmanager by go test ./deploy -update\n" + read(t, filepath.Join(directory, "alertmanager.yml"))
	const path = "compose/alertmanager.yml"
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, read(t, path)); diff != "" {
		t.Errorf("%s is not current; run go test ./deploy -update (-generated +committed):\n%s", path, diff)
	}
}
