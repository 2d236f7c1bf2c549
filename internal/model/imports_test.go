package model_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "entra-aws-exporter/"

// sdks are the import path prefixes of the two clouds' SDKs.
var sdks = []string{"github.com/microsoftgraph/", "github.com/microsoft/kiota", "github.com/Azure/", "github.com/aws/"}

// layers holds what each package may import of this module, directly or through another
// package. Imports point downwards: cmd → app → {web, collector, rotate, poller} → model,
// and the clients → cloudhttp → model. Only app joins them.
func layers() map[string][]string {
	return map[string][]string{
		"internal/model":            {},
		"internal/config":           {"internal/model"},
		"internal/poller":           {"internal/model"},
		"internal/redact":           {"internal/model"},
		"internal/state":            {"internal/model"},
		"internal/state/shared":     {"internal/model", "internal/state"},
		"internal/state/statetest":  {"internal/model", "internal/state", "internal/state/shared"},
		"internal/state/awsstate":   {"internal/model", "internal/cloudhttp", "internal/identitycenter", "internal/state", "internal/state/shared"},
		"internal/web":              {"internal/model", "docs"},
		"internal/cloudhttp":        {"internal/model"},
		"internal/entra":            {"internal/model", "internal/cloudhttp"},
		"internal/identitycenter":   {"internal/model", "internal/cloudhttp"},
		"internal/simulator/clouds": {"internal/model"},
		"collector":                 {"internal/model"},
		"rotate":                    {"internal/model", "rotate/journal", "rotate/policy"},
		"rotate/journal":            {"internal/model"},
		"rotate/policy":             {"internal/model"},
		"rotate/webhook":            {"internal/model", "rotate/policy"},
		"rotate/token":              {"internal/model", "rotate", "rotate/journal", "rotate/policy"},
		"rotate/certificate":        {"internal/model", "rotate", "rotate/journal", "rotate/policy"},
	}
}

func TestImportsPointDownwards(t *testing.T) {
	for pkg, allowed := range layers() {
		for dependency := range dependencies(t, pkg) {
			inner, isOwn := strings.CutPrefix(dependency, module)
			if isOwn && inner != pkg && !slices.Contains(allowed, inner) {
				t.Errorf("%s imports %s; it may import %v only", pkg, inner, allowed)
			}
		}
	}
}

// TestModelIsStandardLibraryOnly keeps the types of the domain free of every dependency.
func TestModelIsStandardLibraryOnly(t *testing.T) {
	for dependency := range dependencies(t, "internal/model") {
		first, _, _ := strings.Cut(dependency, "/")
		vendored := first == "vendor" // inside the standard library
		if !vendored && (strings.Contains(first, ".") || strings.HasPrefix(dependency, module)) && dependency != module+"internal/model" {
			t.Errorf("internal/model compiles %s", dependency)
		}
	}
}

// TestNoSDKOutsideItsClient also covers the tests' own imports: what does not need an SDK
// does not compile one. That keeps the race, fuzz and matrix builds fast.
func TestNoSDKOutsideItsClient(t *testing.T) {
	clients := []string{"internal/entra", "internal/identitycenter", "internal/state/awsstate"}
	for pkg := range layers() {
		if slices.Contains(clients, pkg) {
			continue
		}
		for dependency := range dependencies(t, pkg, "-test") {
			for _, sdk := range sdks {
				if strings.HasPrefix(dependency, sdk) {
					t.Errorf("%s or its tests compile %s", pkg, dependency)
				}
			}
		}
	}
}

// TestNoRootSDK keeps the Graph SDK's root package and client-go out of the binary:
// each would add minutes to the build and megabytes to the binary.
func TestNoRootSDK(t *testing.T) {
	binary := dependencies(t, "cmd/exporter")
	for _, forbidden := range []string{"github.com/microsoftgraph/msgraph-sdk-go", "k8s.io/client-go"} {
		if binary[forbidden] {
			t.Errorf("the exporter imports %s", forbidden)
		}
	}
	for dependency := range binary {
		if strings.HasPrefix(dependency, "github.com/aws/") && strings.Contains(dependency, "/service/identitystore") {
			t.Errorf("the exporter imports %s, which it does not need", dependency)
		}
	}
}

// dependencies returns what a package of this module needs to build, itself included. A
// package that does not exist needs nothing.
func dependencies(t *testing.T, pkg string, flags ...string) map[string]bool {
	t.Helper()
	if _, err := os.Stat(filepath.Join("..", "..", pkg)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	arguments := append([]string{"list", "-deps"}, flags...)
	command := exec.CommandContext(t.Context(), "go", append(arguments, module+pkg)...)
	var stderr strings.Builder
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", pkg, err, stderr.String())
	}
	found := make(map[string]bool)
	for line := range strings.Lines(string(output)) {
		path, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		found[path] = true
	}
	return found
}
