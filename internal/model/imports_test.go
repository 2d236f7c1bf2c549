package model_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "entra-aws-exporter/"

// sdks are the import path prefixes of the two clouds' SDKs.
var sdks = []string{"github.com/microsoftgraph/", "github.com/microsoft/kiota", "github.com/Azure/", "github.com/aws/"}

// TestImportsPointDownwards holds the layering of the house: cmd → app → {web,
// collector, rotate, watch} → bridge, and clients → bridge. What does not need an
// SDK does not compile one, in its tests either; that keeps the race, fuzz and
// matrix builds fast.
func TestImportsPointDownwards(t *testing.T) {
	own := map[string][]string{
		"rotate":                    {"internal/model"},
		"collector":                 {"internal/model"},
		"internal/model":            {},
		"internal/config":           {"internal/model"},
		"internal/poller":           {"internal/model"},
		"internal/state":            {"internal/model"},
		"internal/web":              {"internal/model", "docs", "docs/runbooks"},
		"internal/entra":            {"internal/model"},
		"internal/identitycenter":   {"internal/model"},
		"internal/simulator/clouds": {"internal/model"},
	}
	for pkg, allowed := range own {
		for dependency := range dependencies(t, pkg) {
			inner, isOwn := strings.CutPrefix(dependency, module)
			if isOwn && inner != pkg && !slices.Contains(allowed, inner) {
				t.Errorf("%s imports %s; it may import %v only", pkg, inner, allowed)
			}
		}
	}
}

// TestNoSDKOutsideItsClient also covers the tests' own imports.
func TestNoSDKOutsideItsClient(t *testing.T) {
	for _, pkg := range []string{
		"rotate", "collector", "internal/poller", "internal/web", "internal/state", "internal/config", "internal/model",
	} {
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

// dependencies returns what a package of this module needs to build, itself included.
func dependencies(t *testing.T, pkg string, flags ...string) map[string]bool {
	t.Helper()
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
