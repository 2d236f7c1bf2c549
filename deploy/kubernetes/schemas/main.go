// The command schemas writes the JSON Schemas with which kubeconform checks manifests, without a
// network: those of Kubernetes from its OpenAPI files, those of the Prometheus operator from its
// CRDs. An unknown field is an error in them.
//
//	schemas OUTPUT KUBERNETES_MODULE OPERATOR_MODULE
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 3 {
		return fmt.Errorf("3 folders are needed, not %d", len(arguments))
	}
	output := arguments[0]
	if err := os.MkdirAll(output, 0o750); err != nil { //nolint:gosec // the caller names it
		return err
	}
	apis, err := filepath.Glob(filepath.Join(arguments[1], "api/openapi-spec/v3/api*_openapi.json"))
	if err != nil {
		return err
	}
	for _, path := range apis {
		if err := convertAPI(path, output); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	crds, err := filepath.Glob(filepath.Join(arguments[2], "example/prometheus-operator-crd/*.yaml"))
	if err != nil {
		return err
	}
	for _, path := range crds {
		if err := convertCRD(path, output); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if len(apis) == 0 || len(crds) == 0 {
		return fmt.Errorf("%d OpenAPI files and %d CRDs found", len(apis), len(crds))
	}
	return nil
}

// convertAPI writes one schema for each kind of an API group.
func convertAPI(path, output string) error {
	content, err := os.ReadFile(path) //nolint:gosec // a file of the module
	if err != nil {
		return err
	}
	var api struct {
		Components struct {
			Schemas map[string]map[string]any `json:"schemas"`
		} `json:"components"`
	}
	if err := json.Unmarshal(content, &api); err != nil {
		return err
	}
	for _, schema := range api.Components.Schemas {
		closeObjects(schema)
	}
	for name, schema := range api.Components.Schemas {
		kinds, _ := schema["x-kubernetes-group-version-kind"].([]any)
		if len(kinds) != 1 { // types that every group shares have many
			continue
		}
		kind, _ := kinds[0].(map[string]any)
		group, _, _ := strings.Cut(fmt.Sprint(kind["group"]), ".")
		root := map[string]any{"$ref": "#/components/schemas/" + name, "components": api.Components}
		if err := write(output, root, fmt.Sprint(kind["kind"]), group, fmt.Sprint(kind["version"])); err != nil {
			return err
		}
	}
	return nil
}

// convertCRD writes one schema for each version of a custom resource.
func convertCRD(path, output string) error {
	content, err := os.ReadFile(path) //nolint:gosec // a file of the module
	if err != nil {
		return err
	}
	var definition struct {
		Spec struct {
			Group string
			Names struct{ Kind string }

			Versions []struct {
				Name   string
				Schema struct {
					OpenAPI map[string]any `yaml:"openAPIV3Schema"`
				}
			}
		}
	}
	if err := yaml.Unmarshal(content, &definition); err != nil {
		return err
	}
	group, _, _ := strings.Cut(definition.Spec.Group, ".")
	for _, version := range definition.Spec.Versions {
		closeObjects(version.Schema.OpenAPI)
		if err := write(output, version.Schema.OpenAPI, definition.Spec.Names.Kind, group, version.Name); err != nil {
			return err
		}
	}
	return nil
}

// write names the file as kubeconform's template {{.ResourceKind}}{{.KindSuffix}} does.
func write(output string, schema map[string]any, parts ...string) error {
	var named []string
	for _, part := range parts {
		if part != "" {
			named = append(named, strings.ToLower(part))
		}
	}
	content, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(output, strings.Join(named, "-")+".json"), content, 0o600) //nolint:gosec // below the output folder
}

// closeObjects forbids fields that an object does not list, unless it allows others.
func closeObjects(node any) {
	switch node := node.(type) {
	case []any:
		for _, each := range node {
			closeObjects(each)
		}
	case map[string]any:
		for _, each := range node {
			closeObjects(each)
		}
		_, lists := node["properties"].(map[string]any)
		_, decided := node["additionalProperties"]
		if open, _ := node["x-kubernetes-preserve-unknown-fields"].(bool); lists && !decided && !open {
			node["additionalProperties"] = false
		}
	}
}
