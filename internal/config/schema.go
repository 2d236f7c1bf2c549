package config

import (
	"reflect"
	"slices"
	"strings"
	"time"
)

// field is one key of the schema: a struct field with its tags.
type field struct {
	key          string
	index        int
	kind         reflect.Type
	checks       []string // the words of the check tag, see rules.go
	defaultValue string   // in YAML; "": none
}

// fieldsOf returns the keys of a mapping from its struct.
func fieldsOf(mapping reflect.Type) []field {
	var found []field
	for i := range mapping.NumField() {
		tag := mapping.Field(i).Tag
		if key, _, _ := strings.Cut(tag.Get("yaml"), ","); key != "" {
			found = append(found, field{key, i, mapping.Field(i).Type, strings.Fields(tag.Get("check")), tag.Get("default")})
		}
	}
	return found
}

func (f field) hasCheck(word string) bool { return slices.Contains(f.checks, word) }

// expected describes the right values of a key.
func (f field) expected() string {
	for _, word := range f.checks {
		if strings.Contains(word, "|") {
			return "it is one of " + strings.ReplaceAll(word, "|", ", ")
		}
		if low, high, ok := strings.Cut(word, ".."); ok {
			text := "from " + low + " to " + high
			if f.hasCheck("zero") {
				text = "0 or " + text
			}
			return text
		}
		if r, ok := rules[word]; ok {
			return "it is " + r.String()
		}
	}
	switch f.kind {
	case reflect.TypeFor[time.Time]():
		return "it is a time such as 2026-03-01T00:00:00Z"
	case reflect.TypeFor[bool]():
		return "it is true or false"
	case reflect.TypeFor[Path](), reflect.TypeFor[SecretFile]():
		return "it is the path of a file"
	default: // a list
		return "at least one is needed"
	}
}

// hintIfEmpty says what to do about a key, or a list item of this kind, without a value.
func (f field) hintIfEmpty(kind reflect.Type) string {
	optional := kind.Kind() == reflect.Pointer
	if optional {
		kind = kind.Elem()
	}
	required := strings.Join(requiredKeys(kind), ", ")
	switch {
	case required != "" && optional:
		return "it needs " + required + ", or remove the key"
	case required != "":
		return "it needs " + required
	case f.hasCheck("required"):
		return f.expected()
	default:
		return "give it a value or remove the key"
	}
}

// requiredKeys lists the keys that a mapping needs, itself or in its sections.
func requiredKeys(kind reflect.Type) []string {
	if kind.Kind() != reflect.Struct {
		return nil
	}
	var required []string
	for _, f := range fieldsOf(kind) {
		if f.hasCheck("required") || len(requiredKeys(f.kind)) > 0 {
			required = append(required, f.key)
		}
	}
	return required
}

// schemaKey is a key with its path in the schema, such as "connections[].aws.region".
type schemaKey struct {
	path string
	field
}

// schemaKeys lists every key of a configuration file, in the order of the structs.
func schemaKeys() []schemaKey {
	var keys []schemaKey
	var add func(mapping reflect.Type, at string)
	add = func(mapping reflect.Type, at string) {
		for _, f := range fieldsOf(mapping) {
			path, inner := joinPath(at, f.key), f.kind
			keys = append(keys, schemaKey{path, f})
			if inner.Kind() == reflect.Slice {
				path, inner = path+"[]", inner.Elem()
			}
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
				add(inner, path)
			}
		}
	}
	add(reflect.TypeFor[Config](), "")
	return keys
}
