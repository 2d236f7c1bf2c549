package config

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// invalidAt returns the first path at which a value does not match a JSON Schema; "": it
// does. It knows the keywords that JSONSchema writes.
func invalidAt(schema map[string]any, value any, at string) string {
	types, _ := schema["type"].([]any)
	if one, ok := schema["type"].(string); ok {
		types = []any{one}
	}
	kind := map[string]string{"map[string]interface {}": "object", "[]interface {}": "array", "bool": "boolean", "int": "integer"}[fmt.Sprintf("%T", value)]
	if kind == "" {
		kind = "string"
	}
	allowed, _ := schema["enum"].([]any)
	if types != nil && !slices.Contains(types, any(kind)) || allowed != nil && !slices.Contains(allowed, value) {
		return at
	}
	switch value := value.(type) {
	case map[string]any:
		known, _ := schema["properties"].(map[string]any)
		for _, key := range asList(schema["required"]) {
			if _, ok := value[key.(string)]; !ok {
				return joinPath(at, key.(string))
			}
		}
		for key, item := range value {
			property, ok := known[key].(map[string]any)
			if !ok {
				property, ok = schema["additionalProperties"].(map[string]any)
			}
			if !ok {
				return joinPath(at, key)
			}
			if found := invalidAt(property, item, joinPath(at, key)); found != "" {
				return found
			}
		}
	case []any:
		if least, ok := schema["minItems"].(float64); ok && len(value) < int(least) {
			return at
		}
		for _, item := range value {
			if found := invalidAt(schema["items"].(map[string]any), item, at+"[]"); found != "" {
				return found
			}
		}
	case int:
		least, most := schema["minimum"], schema["maximum"]
		if least != nil && (float64(value) < least.(float64) || float64(value) > most.(float64)) || math.Abs(float64(value)) > math.MaxInt32 {
			return at
		}
	case string:
		if pattern, ok := schema["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(value) || value == "" {
			return at
		}
	}
	return ""
}

func asList(value any) []any {
	list, _ := value.([]any)
	return list
}

// TestJSONSchema: the example with all its keys matches the schema, and an editor marks
// what the configuration refuses.
func TestJSONSchema(t *testing.T) {
	content, err := JSONSchema()
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(content, &schema); err != nil {
		t.Fatal(err)
	}
	check := func(text string) string {
		t.Helper()
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		return invalidAt(schema, value, "")
	}
	example, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`(?m)^( *)#([^ \n].*)$`).ReplaceAllString(string(example), "$1$2")
	if found := check(all); found != "" {
		t.Errorf("the example with every key is invalid at %s", found)
	}
	if !strings.HasPrefix(string(example), "# yaml-language-server: $schema=docs/config.schema.json\n") {
		t.Error("the example does not name its schema")
	}
	for change, want := range map[string]string{
		"max_attempts: 3|max_attempts: 11":                     "connections[].rotation.max_attempts",
		"max_attempts: 3|max_attempts: many":                   "connections[].rotation.max_attempts",
		"cooldown: 24h|cooldown: daily":                        "connections[].rotation.cooldown",
		"trigger: alert|trigger: always":                       "connections[].rotation.trigger",
		"trigger: alert|triger: alert":                         "connections[].rotation.triger",
		"delete_expired_token: true|delete_expired_token: 'n'": "connections[].rotation.delete_expired_token",
		"region: eu-central-1    |region: Frankfurt    ":       "connections[].aws.region",
		"      region: eu-central-1    |      #":               "connections[].aws.region",
		"cloud: public|cloud: private":                         "tenants[].cloud",
		"directory: /var|directory: [a] #":                     "state.directory",
	} {
		before, after, _ := strings.Cut(change, "|")
		if !strings.Contains(all, before) {
			t.Fatalf("the example has no %s", before)
		}
		if found := check(strings.Replace(all, before, after, 1)); found != want {
			t.Errorf("%s: invalid at %q, want %q", after, found, want)
		}
	}
}
