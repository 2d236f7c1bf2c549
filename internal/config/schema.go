package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	prommodel "github.com/prometheus/common/model"
)

// field is one key of the schema: a struct field and its tags. These are the words of a
// check tag:
//
//	required   the key must be present (a list: with at least one item)
//	a|b|c      one of these
//	1s..1d     a duration or number in this range
//	zero       0 is allowed besides the range
//	NAME       a rule, see rules.go
//
// The check of a list applies to each of its items.
type field struct {
	key          string
	index        int
	kind         reflect.Type
	checks       []string // the words of the check tag
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

// check applies the words of the check tag to a decoded value.
func (f field) check(value reflect.Value) error {
	for _, word := range f.checks {
		low, high, isRange := strings.Cut(word, "..")
		r, isRule := rules[word]
		switch {
		case isRange:
			if !inRange(value, low, high) && (!f.hasCheck("zero") || !value.IsZero()) {
				return fmt.Errorf("%v is out of range; it must be %s", value.Interface(), f.expected())
			}
		case strings.Contains(word, "|"):
			if allowed := strings.Split(word, "|"); !slices.Contains(allowed, value.String()) {
				return fmt.Errorf("%s is not one of %s", quoteSafe(value.String()), strings.Join(allowed, ", "))
			}
		case isRule:
			if !r.format.MatchString(value.String()) {
				return fmt.Errorf("%s is not %s", quoteSafe(value.String()), r)
			}
		}
		if word == "uuid" { // Graph returns them in lower case
			value.SetString(strings.ToLower(value.String()))
		}
	}
	return nil
}

// inRange compares a duration or whole number with the bounds of a tag.
func inRange(value reflect.Value, low, high string) bool {
	bound := func(text string) int64 {
		if value.Type() == reflect.TypeFor[Duration]() {
			d, _ := prommodel.ParseDuration(text)
			return int64(d)
		}
		n, _ := strconv.ParseInt(text, 10, 64)
		return n
	}
	return value.Int() >= bound(low) && value.Int() <= bound(high)
}

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

var listIndex = regexp.MustCompile(`\[[0-9]+\]`)

// describeUnknownKey explains a key that the mapping at path does not have.
func describeUnknownKey(key string, mapping []field, path string) string {
	known := make([]string, len(mapping))
	for i, f := range mapping {
		known[i] = f.key
	}
	if slices.Contains(known, key+"_file") {
		return "a secret must not be written into the config; put it into a file and name that: " + key + "_file: PATH"
	}
	if guess := suggest(key, known); guess != "" {
		return "unknown key; did you mean " + guess + "?"
	}
	var below, anywhere []string
	for _, k := range schemaKeys() {
		if k.key != key {
			continue
		}
		anywhere = append(anywhere, k.path)
		if strings.HasPrefix(k.path, listIndex.ReplaceAllString(path, "[]")+".") {
			below = append(below, k.path)
		}
	}
	if below != nil {
		anywhere = below
	}
	if anywhere != nil {
		return "unknown key at this place; it belongs to " + strings.Join(anywhere, " or ")
	}
	return "unknown key; known here: " + strings.Join(known, ", ")
}
