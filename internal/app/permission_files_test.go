package app

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"entra-aws-exporter/internal/simulator/clouds"
)

const deployed = "../../deploy/"

func readDeployed(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(deployed + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

var (
	namedAction  = regexp.MustCompile(`[a-z-]+:[A-Z*][A-Za-z*]*`)
	quotedAction = regexp.MustCompile(`"([a-z-]+:[A-Z*][A-Za-z*]*)"( =)?`)
	namedRole    = regexp.MustCompile(`\b[A-Z][A-Za-z]+\.[A-Z][A-Za-z]+\.[A-Z][A-Za-z]+`)
	inBackquotes = regexp.MustCompile("`[^`\n]+`")
)

// statement is one of a policy.
type statement struct {
	Effect string
	Action any // a text or a list
}

// allowedBy returns the actions that the statements of a policy allow.
func allowedBy(t *testing.T, name string, statements []statement) []string {
	t.Helper()
	var actions []string
	for _, s := range statements {
		if s.Effect != "Allow" {
			t.Errorf("%s has an effect %s", name, s.Effect)
		}
		switch action := s.Action.(type) {
		case string:
			actions = append(actions, action)
		case []any:
			for _, a := range action {
				actions = append(actions, fmt.Sprint(a))
			}
		default:
			t.Fatalf("%s: no action, but %v", name, s.Action)
		}
	}
	return actions
}

// policies returns what files of deploy/permissions allow together.
func policies(t *testing.T, names ...string) []string {
	t.Helper()
	var actions []string
	for _, name := range names {
		var document struct {
			Version   string
			Statement []statement
		}
		if err := json.Unmarshal([]byte(readDeployed(t, "permissions/"+name)), &document); err != nil || document.Version != "2012-10-17" {
			t.Fatalf("%s: version %q, %v", name, document.Version, err)
		}
		actions = append(actions, allowedBy(t, name, document.Statement)...)
	}
	return actions
}

// namedIn returns what a section of a page names between backquotes.
func namedIn(t *testing.T, page, section string) []string {
	t.Helper()
	text := readDeployed(t, page)
	found := regexp.MustCompile(`(?ms)^#+ ` + section + `$(.*?)(^#|\z)`).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("%s has no section %q", page, section)
	}
	var names []string
	for _, quoted := range inBackquotes.FindAllString(found[1], -1) {
		if name := strings.Trim(quoted, "`"); namedAction.FindString(name) == name || namedRole.FindString(name) == name {
			names = append(names, name)
		}
	}
	return names
}

// terraformActions returns what the policies of the module allow to each role.
func terraformActions(t *testing.T) map[clouds.Actor][]string {
	t.Helper()
	text := readDeployed(t, "terraform/aws/main.tf")
	granted := map[clouds.Actor][]string{}
	literals := func(expression string) (actions []string) {
		for _, match := range quotedAction.FindAllStringSubmatch(expression, -1) {
			if match[2] == "" { // not a key of a condition
				actions = append(actions, match[1])
			}
		}
		return actions
	}
	var resolve func(expression string) []string
	resolve = func(expression string) []string {
		actions := literals(expression)
		for _, file := range regexp.MustCompile(`aws-[a-z-]+\.json`).FindAllString(expression, -1) {
			actions = append(actions, policies(t, file)...)
		}
		for _, local := range regexp.MustCompile(`local\.([a-z_]+)`).FindAllStringSubmatch(expression, -1) {
			if value := regexp.MustCompile(`(?ms)^  ` + local[1] + ` += (.*?)(^  [a-z]|^\})`).FindStringSubmatch(text); value != nil && local[1] != "permissions" {
				actions = append(actions, resolve(value[1])...)
			}
		}
		return actions
	}
	attached := regexp.MustCompile(`(?ms)^resource "aws_iam_role_policy" "\w+" \{(.*?)^\}`).FindAllStringSubmatch(text, -1)
	for _, resource := range attached {
		role := regexp.MustCompile(`role += aws_iam_role\.(\w+)`).FindStringSubmatch(resource[1])
		policy := regexp.MustCompile(`policy += (.*)`).FindStringSubmatch(resource[1])
		if role == nil || policy == nil {
			t.Fatalf("a policy without a role or a document: %s", resource[1])
		}
		identity := clouds.Actor(strings.ReplaceAll(role[1], "_", "-"))
		granted[identity] = append(granted[identity], resolve(policy[1])...)
	}
	// Only trust policies name actions beside these.
	if stray := without(literals(text), []string{"sts:AssumeRole", "sts:TagSession", "sts:AssumeRoleWithWebIdentity"}); len(stray) > 0 {
		t.Errorf("terraform/aws names %v outside of the policy files", stray)
	}
	for _, other := range []string{"policy_attachment", "managed_policy", "inline_policy", "arn:aws:iam::aws:policy"} {
		if strings.Contains(text, other) {
			t.Errorf("terraform/aws grants by %s", other)
		}
	}
	return granted
}

// templateActions returns what the policies of the CloudFormation template allow to each role.
func templateActions(t *testing.T) map[clouds.Actor][]string {
	t.Helper()
	var template struct {
		Resources map[string]struct {
			Type       string `yaml:"Type"`
			Properties struct {
				RoleName          string `yaml:"RoleName"`
				ManagedPolicyArns any    `yaml:"ManagedPolicyArns"`
				Policies          any    `yaml:"Policies"`
				PolicyDocument    struct {
					Statement []struct {
						Effect string `yaml:"Effect"`
						Action any    `yaml:"Action"`
					} `yaml:"Statement"`
				} `yaml:"PolicyDocument"`
			} `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal([]byte(readDeployed(t, "cloudformation/permissions.yaml")), &template); err != nil {
		t.Fatal(err)
	}
	granted := map[clouds.Actor][]string{}
	for name, resource := range template.Resources {
		if resource.Properties.ManagedPolicyArns != nil || resource.Properties.Policies != nil {
			t.Errorf("%s grants by other means than a resource of its own", name)
		}
		if resource.Type != "AWS::IAM::RolePolicy" {
			continue
		}
		identity := clouds.Actor(strings.ToLower(regexp.MustCompile("([a-z])([A-Z])").ReplaceAllString(resource.Properties.RoleName, "$1-$2")))
		for _, s := range resource.Properties.PolicyDocument.Statement {
			granted[identity] = append(granted[identity], allowedBy(t, name, []statement{{s.Effect, s.Action}})...)
		}
	}
	return granted
}

// TestTemplateKeepsConditions checks that each statement of the policies is in the template,
// with the same resource and conditions.
func TestTemplateKeepsConditions(t *testing.T) {
	type policy struct {
		Statement []map[string]any `yaml:"Statement"`
	}
	var template struct {
		Resources map[string]struct {
			Properties struct {
				PolicyDocument           policy    `yaml:"PolicyDocument"`
				AssumeRolePolicyDocument yaml.Node `yaml:"AssumeRolePolicyDocument"`
			} `yaml:"Properties"`
		} `yaml:"Resources"`
	}
	if err := yaml.Unmarshal([]byte(readDeployed(t, "cloudformation/permissions.yaml")), &template); err != nil {
		t.Fatal(err)
	}
	inTemplate := map[string][]string{}
	for _, resource := range template.Resources {
		var trust policy
		_ = resource.Properties.AssumeRolePolicyDocument.Decode(&trust) // that of the exporter's own role is an expression
		for _, s := range append(trust.Statement, resource.Properties.PolicyDocument.Statement...) {
			inTemplate[fmt.Sprint(s["Sid"])] = append(inTemplate[fmt.Sprint(s["Sid"])], limits(s))
		}
	}
	for _, name := range []string{"aws-reader.json", "aws-rotator.json", "aws-certificate-rotator.json", "aws-kms.json", "aws-trust.json", "aws-web-identity.json", "aws-state.json", "aws-state-kms.json"} {
		var file struct{ Statement []map[string]any }
		if err := json.Unmarshal([]byte(readDeployed(t, "permissions/"+name)), &file); err != nil {
			t.Fatal(err)
		}
		for _, s := range file.Statement {
			found := inTemplate[fmt.Sprint(s["Sid"])]
			if len(found) == 0 || slices.ContainsFunc(found, func(other string) bool { return other != limits(s) }) {
				t.Errorf("%s: %v is limited to %q, in the template to %q", name, s["Sid"], limits(s), found)
			}
		}
	}
}

// limits says how a statement is limited: the keys of its conditions, and whether it is about
// every resource.
func limits(statement map[string]any) string {
	var keys []string
	conditions, _ := statement["Condition"].(map[string]any)
	for operator, condition := range conditions {
		of, _ := condition.(map[string]any)
		for key := range of {
			keys = append(keys, operator+" "+key)
		}
	}
	slices.Sort(keys)
	return fmt.Sprintf("all resources: %v, conditions: %v", statement["Resource"] == "*", keys)
}

// grantedByScript returns what grant-entra.sh grants in a tenant that lacks a permission.
func grantedByScript(t *testing.T, lacks string, arguments ...string) []string {
	t.Helper()
	output, calls, err := runGrantScript(t, lacks, arguments...)
	if err != nil {
		t.Fatalf("grant-entra.sh %v: %v\n%s", arguments, err, output)
	}
	var granted []string
	for _, match := range regexp.MustCompile(`"appRoleId": "([^"]+)"`).FindAllStringSubmatch(calls, -1) {
		granted = append(granted, match[1])
	}
	for path, want := range map[string]bool{"/servicePrincipals/OBJECT": slices.Contains(arguments, "OBJECT"), "/applications/OBJECT": arguments[0] == "certificate-rotator"} {
		if owns := strings.Contains(calls, path+"/owners/$ref"); owns != want {
			t.Errorf("grant-entra.sh %v: makes an owner of %s: %v", arguments, path, owns)
		}
	}
	return granted
}

// runGrantScript runs grant-entra.sh with an Azure CLI that knows every permission but one.
func runGrantScript(t *testing.T, lacks string, arguments ...string) (output, calls string, err error) {
	t.Helper()
	return runWithCloudCommands(t, []string{"AZ_LACKS=" + lacks}, "sh", append([]string{deployed + "permissions/grant-entra.sh"}, arguments...)...)
}

// runWithCloudCommands runs a command whose az and aws do nothing. It returns their calls. To
// az, an application, its principal and its registration have one id, and a role's id is its
// name.
func runWithCloudCommands(t *testing.T, environment []string, name string, arguments ...string) (output, calls string, err error) {
	t.Helper()
	directory := t.TempDir()
	const record = "#!/bin/sh\necho \"${0##*/} $*\" >>\"$CALLS\"\n"
	const azure = record + `case "$*" in
"cloud show "*) echo https://graph.example/ ;;
*"appRoles["*) echo "$*" | sed "s/.*value=='\([^']*\)'.*/\1/" | grep -vx "$AZ_LACKS" ;;
"ad "*" show "*) echo "$5" ;;
"rest "*applicationTemplateId*) echo "$AZ_FINDS" ;;
esac
exit 0
`
	for command, content := range map[string]string{"az": azure, "aws": record} {
		if err := os.WriteFile(filepath.Join(directory, command), []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	called := filepath.Join(directory, "calls")
	command := exec.CommandContext(t.Context(), name, arguments...)
	command.Env = append(os.Environ(), append(environment, "PATH="+directory+string(os.PathListSeparator)+os.Getenv("PATH"), "CALLS="+called)...)
	printed, err := command.CombinedOutput()
	log, _ := os.ReadFile(called) // none without a call
	return string(printed), string(log), err
}

// TestGrantScriptRefuses checks what the script does not grant.
func TestGrantScriptRefuses(t *testing.T) {
	const usage = `usage: grant-entra.sh reader  CLIENT_ID [AuditLog.Read.All]
       grant-entra.sh rotator CLIENT_ID AWS_APPLICATION_OBJECT_ID [AuditLog.Read.All] [User.Read.All]
       grant-entra.sh certificate-rotator CLIENT_ID AWS_APPLICATION_OBJECT_ID [AuditLog.Read.All]
`
	for arguments, want := range map[string]string{
		"": usage, "reader": usage, "rotator CLIENT": usage, "writer CLIENT": usage,
		"certificate-rotator CLIENT": usage, "certificate-rotator CLIENT OBJECT User.Read.All": usage,
		"reader CLIENT User.Read.All": usage, "rotator CLIENT OBJECT Directory.ReadWrite.All": usage,
		"reader CLIENT": "granted   Application.Read.All\ngranted   Synchronization.Read.All\n" +
			"unknown   ProvisioningLog.Read.All: this tenant does not have it\n          add AuditLog.Read.All to the arguments\n",
	} {
		if output, _, err := runGrantScript(t, clouds.RoleProvisioningLog, strings.Fields(arguments)...); err == nil || output != want {
			t.Errorf("%q: %v, %s", arguments, err, output)
		}
	}
}

// TestServiceControlPolicy checks that the example denies what the rotators alone may do.
func TestServiceControlPolicy(t *testing.T) {
	policy := readDeployed(t, "permissions/aws-scp.json")
	for _, action := range without(policies(t, "aws-rotator.json", "aws-certificate-rotator.json"), policies(t, "aws-reader.json")) {
		if !strings.Contains(policy, `"`+action+`"`) {
			t.Errorf("aws-scp.json does not deny %s", action)
		}
	}
	page := readDeployed(t, "permissions/aws.md")
	files, err := filepath.Glob(deployed + "permissions/aws-*.json")
	if err != nil || len(files) != 9 {
		t.Errorf("found %v, %v", files, err)
	}
	for _, file := range files {
		if name := filepath.Base(file); !strings.Contains(page, "]("+name+")") {
			t.Errorf("aws.md does not link %s", name)
		}
	}
}
