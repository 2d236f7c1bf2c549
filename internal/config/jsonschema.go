package config

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// JSONSchema describes the configuration file for editors: its keys and their values.
// What is true between keys, only check-config tells.
func JSONSchema() ([]byte, error) {
	schema := mappingSchema(reflect.TypeFor[Config]())
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	schema["title"] = "Configuration of entra-aws-exporter"
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(schema)
	return text.Bytes(), err
}

func mappingSchema(mapping reflect.Type) map[string]any {
	properties := map[string]any{}
	for _, f := range fieldsOf(mapping) {
		schema := f.valueSchema(f.kind)
		if f.defaultValue != "" {
			var value any
			_ = defaultNode(f.defaultValue).Decode(&value) // defaultNode has parsed it
			schema["default"] = value
		}
		properties[f.key] = schema
	}
	schema := map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
	if required := requiredKeys(mapping); required != nil {
		schema["required"] = required
	}
	return schema
}

// valueSchema describes a value of this kind, with the checks of the key.
func (f field) valueSchema(kind reflect.Type) map[string]any {
	switch {
	case kind.Kind() == reflect.Pointer:
		return f.valueSchema(kind.Elem())
	case kind.Kind() == reflect.Slice:
		list := map[string]any{"type": "array", "items": f.valueSchema(kind.Elem())}
		if f.hasCheck("required") {
			list["minItems"] = 1
		}
		return list
	case kind.Kind() == reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "string"}}
	case kind.Kind() == reflect.Struct && kind != reflect.TypeFor[time.Time]():
		return mappingSchema(kind)
	case kind == reflect.TypeFor[Duration]():
		return map[string]any{"type": []string{"string", "integer"}, "pattern": `^([0-9]+(ms|[smhdwy]))+$|^0$`, "description": f.expected()}
	case kind.Kind() == reflect.Bool:
		return map[string]any{"type": "boolean"}
	case kind.Kind() == reflect.Int:
		schema := map[string]any{"type": "integer"}
		for _, word := range f.checks {
			if low, high, isRange := strings.Cut(word, ".."); isRange {
				schema["minimum"], _ = strconv.Atoi(low)
				schema["maximum"], _ = strconv.Atoi(high)
			}
		}
		return schema
	default:
		return f.textSchema()
	}
}

func (f field) textSchema() map[string]any {
	schema := map[string]any{"type": "string", "minLength": 1}
	for _, word := range f.checks {
		if strings.Contains(word, "|") {
			return map[string]any{"enum": slices.Collect(strings.SplitSeq(word, "|"))}
		}
		if r, isRule := rules[word]; isRule {
			schema["description"] = r.String()
			if pattern, isPattern := r.format.(*regexp.Regexp); isPattern {
				schema["pattern"] = pattern.String()
			}
		}
	}
	return schema
}
