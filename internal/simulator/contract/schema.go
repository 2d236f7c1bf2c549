package contract

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// schema is the part of an OpenAPI schema that is checked.
type schema struct {
	Ref        string             `yaml:"$ref"`
	Title      string             `yaml:"title"`
	Type       string             `yaml:"type"`
	Format     string             `yaml:"format"`
	Pattern    string             `yaml:"pattern"`
	Nullable   bool               `yaml:"nullable"`
	Enum       []string           `yaml:"enum"`
	Flags      *yamlFlags         `yaml:"x-ms-enum-flags"`
	Required   []string           `yaml:"required"`
	Properties map[string]*schema `yaml:"properties"`
	Items      *schema            `yaml:"items"`
	AllOf      []*schema          `yaml:"allOf"`
}

// yamlFlags marks an enumeration whose values are joined by commas.
type yamlFlags struct {
	IsFlags bool `yaml:"isFlags"`
}

type validator struct {
	schemas  map[string]*schema
	types    entityTypes
	findings *findings
}

// object is a schema with its references and its ancestors folded in.
type object struct {
	titles     []string
	required   []string
	properties map[string]*schema
	owner      map[string]string // the title of the type that declares a property
}

func (v *validator) resolve(s *schema) *schema {
	for s.Ref != "" {
		next := v.schemas[strings.TrimPrefix(s.Ref, "#/components/schemas/")]
		if next == nil {
			return &schema{}
		}
		s = next
	}
	return s
}

func (v *validator) fold(s *schema) object {
	s = v.resolve(s)
	folded := object{properties: map[string]*schema{}, owner: map[string]string{}}
	for _, ancestor := range s.AllOf {
		above := v.fold(ancestor)
		folded.titles = append(folded.titles, above.titles...)
		folded.required = append(folded.required, above.required...)
		maps.Copy(folded.properties, above.properties)
		maps.Copy(folded.owner, above.owner)
	}
	folded.titles = append(folded.titles, s.Title)
	folded.required = append(folded.required, s.Required...)
	for name, property := range s.Properties {
		folded.properties[name], folded.owner[name] = property, s.Title
	}
	return folded
}

// check holds a decoded JSON value to a schema.
func (v *validator) check(place string, s *schema, value any) {
	resolved := v.resolve(s)
	switch {
	case len(resolved.Enum) > 0:
		v.checkEnum(place, resolved, value)
	case resolved.Type == "array":
		items, isArray := value.([]any)
		if !isArray {
			v.findings.add(place, "%s where an array is described", describe(value))
			return
		}
		for i, item := range items {
			v.check(fmt.Sprintf("%s[%d]", place, i), resolved.Items, item)
		}
	case resolved.Type == "object" || len(resolved.AllOf) > 0:
		v.checkObject(place, resolved, value)
	default:
		v.checkScalar(place, resolved, value)
	}
}

func (v *validator) checkEnum(place string, s *schema, value any) {
	text, isText := value.(string)
	if !isText {
		v.findings.add(place, "%s where one of %s is described", describe(value), strings.Join(s.Enum, "|"))
		return
	}
	parts := []string{text}
	if s.Flags != nil && s.Flags.IsFlags {
		parts = strings.Split(text, ",")
	}
	for _, part := range parts {
		if !slices.Contains(s.Enum, strings.TrimSpace(part)) {
			v.findings.add(place, "%q is not one of %s", part, strings.Join(s.Enum, "|"))
		}
	}
}

func (v *validator) checkObject(place string, s *schema, value any) {
	members, isObject := value.(map[string]any)
	if !isObject {
		v.findings.add(place, "%s where an object is described", describe(value))
		return
	}
	folded := v.fold(s)
	open := len(folded.properties) == 0 || slices.ContainsFunc(folded.titles, func(title string) bool { return v.types[title].open })
	for _, name := range folded.required {
		if _, found := members[name]; !found {
			v.findings.add(place, "%s is missing", name)
		}
	}
	for _, name := range sortedKeys(members) {
		property, found := folded.properties[name]
		switch {
		case found && members[name] == nil:
			if !v.nullable(property, folded.owner[name], name) {
				v.findings.add(place+"."+name, "null where it may not be")
			}
		case found:
			v.check(place+"."+name, property, members[name])
		case !open && !strings.Contains(name, "@"):
			v.findings.add(place+"."+name, "no such property")
		}
	}
}

// nullable follows the CSDL where it knows the property: OpenAPI cannot say whether a
// referenced type may be null.
func (v *validator) nullable(property *schema, owner, name string) bool {
	if known, found := v.types[owner].required[name]; found {
		return !known && v.resolve(property).Type != "array"
	}
	return property.Nullable || property.Ref != ""
}

func (v *validator) checkScalar(place string, s *schema, value any) {
	switch s.Type {
	case "string":
		text, isText := value.(string)
		switch {
		case !isText:
			v.findings.add(place, "%s where a string is described", describe(value))
		case s.Pattern != "" && !matches(s.Pattern, text):
			v.findings.add(place, "%q does not match %s", text, s.Pattern)
		case s.Format == "base64url" && !isBase64(text):
			v.findings.add(place, "%q is not base64", text)
		}
	case "boolean":
		if _, isBool := value.(bool); !isBool {
			v.findings.add(place, "%s where a boolean is described", describe(value))
		}
	case "integer", "number":
		number, isNumber := value.(json.Number)
		if !isNumber || (s.Type == "integer" && strings.ContainsAny(number.String(), ".eE")) {
			v.findings.add(place, "%s where a %s is described", describe(value), s.Type)
		}
	}
}

func matches(pattern, text string) bool {
	compiled, err := regexp.Compile(pattern)
	return err == nil && compiled.MatchString(text)
}

// isBase64 accepts both alphabets: Graph documents base64url and sends standard.
func isBase64(text string) bool {
	text = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(text), "=")
	_, err := base64.RawStdEncoding.DecodeString(text)
	return err == nil
}

func decode(body []byte) (any, error) {
	if len(body) == 0 {
		return nil, errors.New("no body where one is described")
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON document")
	}
	return value, nil
}

func describe(value any) string {
	text, err := json.Marshal(value)
	if err != nil || len(text) > 60 {
		return fmt.Sprintf("a %T", value)
	}
	return string(text)
}
