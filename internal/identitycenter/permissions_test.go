package identitycenter_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"entra-aws-exporter/internal/simulator/clouds"
)

const permissions = "../../deploy/permissions/"

// policy is what a policy file allows or denies.
func policy(t *testing.T, name string) []string {
	t.Helper()
	content, err := os.ReadFile(permissions + name)
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Version   string
		Statement []struct {
			Sid, Effect string
			Action      json.RawMessage
			Resource    string
			Principal   map[string]string
			Condition   map[string]map[string]any
		}
	}
	decoder := json.NewDecoder(strings.NewReader(string(content)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&document); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if document.Version != "2012-10-17" {
		t.Errorf("%s: version %s", name, document.Version)
	}
	actions := make([]string, 0, 2*len(document.Statement))
	for _, statement := range document.Statement {
		var several []string
		var one string
		if json.Unmarshal(statement.Action, &several) != nil {
			if err := json.Unmarshal(statement.Action, &one); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			several = []string{one}
		}
		actions = append(actions, several...)
	}
	slices.Sort(actions)
	return actions
}

// The policies allow what the simulated AWS can refuse to the exporter, and nothing else.
func TestPoliciesAllowWhatIsCalled(t *testing.T) {
	sorted := func(actions ...clouds.Action) []string {
		list := make([]string, 0, len(actions))
		for _, action := range actions {
			list = append(list, string(action))
		}
		slices.Sort(list)
		return list
	}
	for name, want := range map[string][]string{
		"aws-reader.json": sorted(clouds.ListInstancesAction, clouds.ListProvisioningTenantsAction, clouds.ListBearerTokensAction,
			clouds.ListIdPConfigurationsAction, clouds.ListIdPCertificatesAction, clouds.LookupEventsAction,
			clouds.DescribeIdentityStoreAction),
		"aws-rotator.json": sorted(clouds.ListInstancesAction, clouds.ListProvisioningTenantsAction, clouds.ListBearerTokensAction,
			clouds.CreateBearerTokenAction, clouds.DeleteBearerTokenAction, clouds.LookupEventsAction),
		"aws-trust.json":        sorted(clouds.AssumeRoleAction),
		"aws-web-identity.json": sorted(clouds.GetWebIdentityTokenAction),
		"aws-kms.json":          {"kms:Decrypt"},
	} {
		if got := policy(t, name); !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", name, got, want)
		}
	}
	denied := policy(t, "aws-scp.json")
	for _, action := range sorted(clouds.CreateBearerTokenAction, clouds.DeleteBearerTokenAction) {
		if !slices.Contains(denied, action) {
			t.Errorf("aws-scp.json does not deny %s", action)
		}
	}
}

// The page explains every action of the policies and links every file.
func TestPermissionsPage(t *testing.T) {
	page, err := os.ReadFile(permissions + "aws.md")
	if err != nil {
		t.Fatal(err)
	}
	bySource, err := os.ReadFile("../../docs/permissions.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"aws-reader.json", "aws-rotator.json"} {
		for _, action := range policy(t, name) {
			if !strings.Contains(string(page), "`"+action+"`") {
				t.Errorf("aws.md does not explain %s", action)
			}
			if !strings.Contains(string(bySource), "`"+action+"`") {
				t.Errorf("docs/permissions.md does not name %s", action)
			}
		}
	}
	files, err := filepath.Glob(permissions + "aws-*.json")
	if err != nil || len(files) != 6 {
		t.Errorf("found %v, %v", files, err)
	}
	for _, file := range files {
		if name := filepath.Base(file); !strings.Contains(string(page), "]("+name+")") {
			t.Errorf("aws.md does not link %s", name)
		}
	}
}
