package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"entra-aws-exporter/internal/model"
)

const (
	exampleFile = "../../config.example.yaml"
	docsFile    = "../../docs/configuration.md"
)

func TestExampleLoads(t *testing.T) {
	config, err := Load(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(mustParse(t, strings.Replace(smallestYAML, "secrets/entra", "/run/secrets/entra-client-secret", 1)).String(), config.String()); diff != "" {
		t.Errorf("the example is not the smallest file (-smallest +example):\n%s", diff)
	}
}

// TestPagesShowValidConfigurations loads every whole configuration on the pages.
func TestPagesShowValidConfigurations(t *testing.T) {
	shown := 0
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../deploy/*/*.md"} {
		pages, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, page := range pages {
			content, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			for _, block := range regexp.MustCompile("(?ms)^( *)```yaml\n( *tenants:\n.*?)^ *```").FindAllStringSubmatch(string(content), -1) {
				shown++
				if _, err := parse(page, "/", []byte(strings.ReplaceAll("\n"+block[2], "\n"+block[1], "\n"))); err != nil {
					t.Error(err)
				}
			}
		}
	}
	if shown < 6 {
		t.Errorf("only %d configurations found", shown)
	}
}

// With all comments removed, the example has exactly the keys of the schema. Each value
// is valid, and is the default where there is one.
func TestExampleHasEveryKey(t *testing.T) {
	content, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`(?m)^( *)#([^ \n].*)$`).ReplaceAllString(string(content), "$1$2")
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(all), &document); err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	collectValues(document.Content[0], "", documented)
	for _, key := range schemaKeys() {
		value, ok := documented[key.path]
		if !ok {
			t.Errorf("config.example.yaml lacks %s", key.path)
		}
		if key.defaultValue != "" && value != "" && value != strings.Trim(key.defaultValue, "'") {
			t.Errorf("config.example.yaml shows %s: %s, the default is %s", key.path, value, key.defaultValue)
		}
		delete(documented, key.path)
	}
	delete(documented, "webhook.match_labels.alertname")
	delete(documented, "webhook.match_labels.rotate")
	for path := range documented {
		t.Errorf("config.example.yaml has the unknown key %s", path)
	}

	// Its only problems are keys that exclude each other.
	want := `x:12: tenants[0]: has several ways to sign in (client_secret_file, client_certificate_file, workload_identity, managed_identity, aws_web_identity); keep one
x:62: connections[0].tokens.declared: has no effect with read_from: console_api; set read_from: declared or remove it
x:72: connections[0].saml.app_id: has no effect without read_from: federation_metadata
x:75: connections[0].saml.aws_certificate_files: has no effect without aws_certificates: files
x:124: state.aws: is set together with directory; the state is in one place, keep one of them`
	_, err = parse("x", "/", []byte(all))
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// collectValues collects the scalar values, and "" for the rest, of all keys below a node.
func collectValues(node *yaml.Node, at string, into map[string]string) {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i < len(node.Content); i += 2 {
			path := joinPath(at, node.Content[i].Value)
			into[path] = node.Content[i+1].Value
			collectValues(node.Content[i+1], path, into)
		}
	case yaml.SequenceNode:
		for _, item := range node.Content {
			collectValues(item, at+"[]", into)
		}
	default: // a scalar: its key has it
	}
}

// docs/configuration.md has one row per key, with the default and the allowed values,
// and no other row.
func TestDocumentationHasEveryKey(t *testing.T) {
	content, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|([^|]*)\\|(.*)\\|$").FindAllStringSubmatch(string(content), -1) {
		rows[row[1]] = row[2:]
	}
	for _, key := range schemaKeys() {
		row, ok := rows[key.path]
		if !ok {
			t.Errorf("docs/configuration.md lacks %s", key.path)
			continue
		}
		delete(rows, key.path)
		if value := strings.Trim(key.defaultValue, "'"); value != "" && !strings.Contains(row[0], "`"+value+"`") {
			t.Errorf("%s: the default is %s, docs/configuration.md says%s", key.path, value, row[0])
		}
		if key.hasCheck("required") != strings.Contains(row[0], "required") && key.path != "tenants[].client_id" {
			t.Errorf("%s: required is %v, docs/configuration.md says%s", key.path, key.hasCheck("required"), row[0])
		}
		for _, word := range key.checks {
			for _, right := range strings.Split(word, "|") {
				isRange := strings.Contains(word, "..") && !strings.HasPrefix(key.path, "connections[].intervals.")
				if (strings.Contains(word, "|") || isRange) && !strings.Contains(row[1], "`"+right+"`") {
					t.Errorf("%s: docs/configuration.md does not name %s", key.path, right)
				}
			}
		}
	}
	for path := range rows {
		t.Errorf("docs/configuration.md has the unknown key %s", path)
	}
}

func TestDocumentationHasTheEndpointsOfEveryCloud(t *testing.T) {
	content, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, cloud := range model.Clouds() {
		login, graph := cloud.Endpoints()
		if row := "| " + string(cloud) + " | " + login + " | " + graph + " |"; !strings.Contains(string(content), row) {
			t.Errorf("docs/configuration.md lacks %s", row)
		}
	}
}

// A misspelt word in a check tag would check nothing.
func TestSchemaTagsAreKnown(t *testing.T) {
	for _, key := range schemaKeys() {
		for _, word := range key.checks {
			_, known := rules[word]
			if !known && !strings.ContainsAny(word, "|") && !strings.Contains(word, "..") && !slices.Contains([]string{"required", "zero"}, word) {
				t.Errorf("%s: unknown rule %s", key.path, word)
			}
		}
	}
}
