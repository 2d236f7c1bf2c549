package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// terraformRun runs Terraform without providers; the test is skipped where it is not installed.
func terraformRun(t *testing.T, directory string, arguments ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("terraform")
	if err != nil {
		t.Skip("terraform is not installed")
	}
	command := exec.CommandContext(t.Context(), path, arguments...)
	command.Dir = directory
	command.Env = append(os.Environ(), "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_CLI_CONFIG_FILE="+os.DevNull)
	output, err := command.CombinedOutput()
	return string(output), err
}

func TestTerraformFormat(t *testing.T) {
	if output, err := terraformRun(t, "terraform", "fmt", "-check", "-diff", "-recursive"); err != nil {
		t.Errorf("terraform fmt would change:\n%s", output)
	}
}

// TestTerraformInputs plans with the modules' variables alone. A missing or wrong input says
// what it is for.
func TestTerraformInputs(t *testing.T) {
	const (
		role = `exporter = { role_arn = "arn:aws:iam::111122223333:role/exporter" }` + "\n"
		id   = `external_id = "corp"` + "\n"
		app  = `aws_application_object_ids = ["11111111-1111-4111-8111-111111111111"]` + "\n"
	)
	for _, test := range []struct{ module, inputs, want string }{
		{"aws", role + id, ""},
		{"aws", id + `exporter = { irsa = { oidc_provider_arn = "arn:aws:iam::111122223333:oidc-provider/oidc.example/id/1" } }`, ""},
		{"aws", id + `exporter = { pod_identity = { cluster = "main" } }`, ""},
		{"aws", role + id + "rotation = true\n" + `kms_key_arn = "arn:aws:kms:eu-central-1:111122223333:key/1"` + "\n" + `web_identity_audience = "api://AzureADTokenExchange"`, ""},
		{"aws", role + id + "rollover = true", ""},
		{"aws", role + id + `state = {}`, ""},
		{"aws", role + id + `state = { secret_prefix = "tokens" }`, "state.secret_prefix is the beginning of the secrets' names"},
		{"aws", role + id + `state = { kms_key_arn = "alias/x" }`, "state.kms_key_arn is the key that encrypts the secrets"},
		{"aws", id, "exporter says which identity may assume the roles: set exactly one of role_arn"},
		{"aws", id + `exporter = { role_arn = "arn:aws:iam::111122223333:role/x", pod_identity = { cluster = "main" } }`, "set exactly one of role_arn"},
		{"aws", id + `exporter = { role_arn = "exporter" }`, "exporter.role_arn is the ARN of the role that the exporter runs with"},
		{"aws", id + `exporter = { irsa = { oidc_provider_arn = "https://oidc.example" } }`, "exporter.irsa.oidc_provider_arn is the ARN of the cluster's IAM OIDC provider"},
		{"aws", role, "external_id is the text that the exporter sends when it assumes the roles"},
		{"aws", role + `external_id = "a b"`, "external_id is the text that the exporter sends"},
		{"aws", role + id + `kms_key_arn = "alias/x"`, "kms_key_arn is the key that encrypts the Identity Center instance"},
		{"aws", role + id + `web_identity_audience = "sts.amazonaws.com"`, "web_identity_audience is the audience of the Entra tenant's cloud"},
		{"aws", role + id + `name = ""`, "name is the prefix of the roles' names"},
		{"entra", "", ""},
		{"entra", "rotation = true\n" + app + `optional_permissions = ["AuditLog.Read.All"]`, ""},
		{"entra", "rollover = true\n" + app, ""},
		{"entra", "rotation = true", "aws_application_object_ids are the enterprise applications that the rotators become owners of"},
		{"entra", "rollover = true", "aws_application_object_ids are the enterprise applications that the rotators become owners of"},
		{"entra", app, "set at least one with rotation = true or rollover = true, and none without"},
		{"entra", "rotation = true\n" + `aws_application_object_ids = ["AWS"]`, "aws_application_object_ids are the object ids on the overview pages"},
		{"entra", `optional_permissions = ["Directory.Read.All"]`, "optional_permissions are what the rotators can use beside what they need"},
		{"entra", `provisioning_log_permission = "Directory.Read.All"`, "provisioning_log_permission is ProvisioningLog.Read.All, or AuditLog.Read.All"},
		{"entra", `federated_credential = { issuer = "oidc.example", subject = "s" }`, "federated_credential.issuer is the URL of whoever issues the exporter's tokens"},
		{"entra", `federated_credential = { issuer = "https://oidc.example", subject = "s", audience = "a" }`, "federated_credential.audience is that of the tenant's cloud"},
		{"entra", `graph_endpoint = "graph.microsoft.com"`, "graph_endpoint is Microsoft Graph of the tenant's cloud"},
		{"entra", `name = ""`, "name is the prefix of the applications' names"},
	} {
		directory := t.TempDir()
		for name, content := range map[string]string{"variables.tf": read(t, "terraform/"+test.module+"/variables.tf"), "terraform.tfvars": test.inputs} {
			if err := os.WriteFile(filepath.Join(directory, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		output, err := terraformRun(t, directory, "plan", "-input=false", "-no-color")
		said := strings.Join(strings.Fields(strings.ReplaceAll(output, "│", "")), " ")
		if (err == nil) != (test.want == "") || !strings.Contains(said, test.want) {
			t.Errorf("%s with %q: %v, %s\nwant %q", test.module, test.inputs, err, output, test.want)
		}
	}
}

// TestTerraformVariables checks that every input and output of the modules is described, and
// that the state gets no secret.
func TestTerraformVariables(t *testing.T) {
	described := 0
	for _, path := range glob(t, "terraform/*/*.tf") {
		text := read(t, path)
		for _, block := range regexp.MustCompile(`(?ms)^(variable|output) "(\w+)" \{\n(.*?)^\}`).FindAllStringSubmatch(text, -1) {
			described++
			if !strings.HasPrefix(block[3], "  description = ") {
				t.Errorf("%s: %s %s has no description", path, block[1], block[2])
			}
		}
		if secret := regexp.MustCompile(`_password"|_secret"|_certificate"|aws_iam_access_key|private_key`).FindString(text); secret != "" {
			t.Errorf("%s puts a secret into the state: %s", path, secret)
		}
	}
	if described < 15 {
		t.Errorf("only %d variables and outputs found", described)
	}
}
