package config

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// field is one key of the schema: a field of a struct and its tags.
type field struct {
	key          string
	index        int
	kind         reflect.Type
	checks       []string
	defaultValue string // YAML; "": none
}

// says reports whether the check tag has a word.
func (f field) says(word string) bool { return slices.Contains(f.checks, word) }

// fields reads the schema of one mapping from its struct.
func fields(of reflect.Type) []field {
	var found []field
	for i := range of.NumField() {
		tag := of.Field(i).Tag
		key, _, _ := strings.Cut(tag.Get("yaml"), ",")
		if key == "" {
			continue
		}
		found = append(found, field{
			key: key, index: i, kind: of.Field(i).Type,
			checks:       strings.Fields(tag.Get("check")),
			defaultValue: tag.Get("default"),
		})
	}
	return found
}

// schemaKey is a key with its place among all keys: "connections[].aws.region".
type schemaKey struct {
	path string
	field
}

// schemaKeys lists every key that a config file can have, in the order of the structs.
func schemaKeys() []schemaKey {
	var keys []schemaKey
	var list func(of reflect.Type, at string)
	list = func(of reflect.Type, at string) {
		for _, f := range fields(of) {
			path, inner := join(at, f.key), f.kind
			keys = append(keys, schemaKey{path, f})
			if inner.Kind() == reflect.Slice {
				path, inner = path+"[]", inner.Elem()
			}
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() {
				list(inner, path)
			}
		}
	}
	list(reflect.TypeFor[Config](), "")
	return keys
}

// unknownKey says what is wrong with a key that the mapping at path does not have.
func unknownKey(key string, here []field, path string) string {
	known := make([]string, len(here))
	for i, f := range here {
		known[i] = f.key
	}
	if slices.Contains(known, key+"_file") {
		return "a secret must not be written into the config; put it into a file and name that: " + key + "_file: PATH"
	}
	if guess := nearest(key, known); guess != "" {
		return "unknown key; did you mean " + guess + "?"
	}
	if places := placesOf(key, path); len(places) > 0 {
		return "unknown key at this place; it belongs to " + strings.Join(places, " or ")
	}
	return "unknown key; known here: " + strings.Join(known, ", ")
}

var indices = regexp.MustCompile(`\[[0-9]+\]`)

// placesOf lists where a key is known: below path, or else anywhere.
func placesOf(key, path string) []string {
	var below, anywhere []string
	for _, k := range schemaKeys() {
		if k.key != key {
			continue
		}
		anywhere = append(anywhere, k.path)
		if strings.HasPrefix(k.path, indices.ReplaceAllString(path, "[]")+".") {
			below = append(below, k.path)
		}
	}
	if below != nil {
		return below
	}
	return anywhere
}
