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
	"time"
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

// schemaPrefix begins a reference to a schema.
const schemaPrefix = "#/components/schemas/"

type validator struct {
	schemas  map[string]*schema
	types    entityTypes
	closed   bool // objects have no other properties, and null is missing
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
		next := v.schemas[strings.TrimPrefix(s.Ref, schemaPrefix)]
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

// checkBody checks a JSON document against a schema.
func (v *validator) checkBody(s *schema, body []byte) {
	value, err := decode(body)
	if err != nil {
		v.findings.add("$", "%v", err)
		return
	}
	v.check("$", s, value)
}

// check checks a decoded JSON value against a schema.
func (v *validator) check(place string, s *schema, value any) {
	resolved := v.resolve(s)
	switch {
	case len(resolved.Enum) > 0:
		v.checkEnum(place, resolved, value)
	case resolved.Type == "object" || len(resolved.AllOf) > 0:
		if v.expect(place, "object", value) {
			v.checkObject(place, resolved, value.(map[string]any))
		}
	case resolved.Type != "" && v.expect(place, resolved.Type, value):
		switch value := value.(type) {
		case []any:
			for i, item := range value {
				v.check(fmt.Sprintf("%s[%d]", place, i), resolved.Items, item)
			}
		case string:
			if resolved.Pattern != "" && !matches(resolved.Pattern, value) {
				v.findings.add(place, "%q does not match %s", value, resolved.Pattern)
			}
			if resolved.Format == "base64url" && !isBase64(value) {
				v.findings.add(place, "%q is not base64", value)
			}
		}
	}
}

// expect reports whether a value is of a type, and finds fault if not.
func (v *validator) expect(place, kind string, value any) bool {
	fits := false
	switch value := value.(type) {
	case map[string]any:
		fits = kind == "object"
	case []any:
		fits = kind == "array"
	case bool:
		fits = kind == "boolean"
	case json.Number: // a timestamp is epoch seconds, or RFC 3339
		fits = kind == "number" || kind == "timestamp" || kind == "integer" && !strings.ContainsAny(value.String(), ".eE")
	case string:
		_, err := time.Parse(time.RFC3339Nano, value)
		fits = kind == "string" || kind == "timestamp" && err == nil
	}
	if !fits {
		v.findings.add(place, "%s where %s is described", describe(value), kind)
	}
	return fits
}

func (v *validator) checkEnum(place string, s *schema, value any) {
	if !v.expect(place, "string", value) {
		return
	}
	text := value.(string)
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

func (v *validator) checkObject(place string, s *schema, members map[string]any) {
	folded := v.fold(s)
	open := len(folded.properties) == 0 && !v.closed || slices.ContainsFunc(folded.titles, func(title string) bool { return v.types[title].open })
	for _, name := range folded.required {
		if value, found := members[name]; !found || value == nil && v.closed {
			v.findings.add(place, "%s is missing", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
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
