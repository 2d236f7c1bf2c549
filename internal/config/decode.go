package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// decoder fills the structs of the schema from YAML nodes, applies the rules of their
// tags and records the line of each key. It reports every problem and continues.
type decoder struct {
	directory string // of relative paths
	nodes     int
}

// maxNodes limits the work for a file with aliases within aliases.
const maxNodes = 100_000

// value decodes a node into a value of any type of the schema. f has its checks.
func (d *decoder) value(node *yaml.Node, into reflect.Value, f field, at position) {
	if d.nodes++; d.nodes > maxNodes {
		position{source: at.source}.fail("the file has more than %d values; are there aliases within aliases?", maxNodes)
		return
	}
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch {
	case isNull(node):
		at.fail("is empty; %s", f.hintIfEmpty(into.Type()))
	case into.Kind() == reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		d.value(node, into.Elem(), f, at)
	case into.Kind() == reflect.Struct && into.Type() != reflect.TypeFor[time.Time]():
		d.mapping(node, into, at)
	case into.Kind() == reflect.Slice:
		d.list(node, into, f, at)
	case into.Kind() == reflect.Map:
		d.labels(node, into, at)
	default:
		d.scalar(node, into, f, at)
	}
}

func (d *decoder) mapping(node *yaml.Node, into reflect.Value, at position) {
	if node.Kind != yaml.MappingNode {
		at.fail("must be keys with values, not %s", describeKind(node))
		return
	}
	known, present := fieldsOf(into.Type()), d.pairs(node, at)
	for _, p := range present {
		if !slices.ContainsFunc(known, func(f field) bool { return f.key == p.key.Value }) {
			failUnknownKey(p.key, known, at)
		}
	}
	for _, f := range known {
		here, target := at.key(f.key), into.Field(f.index)
		i := slices.IndexFunc(present, func(p pair) bool { return p.key.Value == f.key })
		switch {
		case i >= 0:
			here.setLine(present[i].key.Line)
			d.value(present[i].value, target, f, here)
		case f.hasCheck("required"):
			here.fail("is missing; %s", f.expected())
		case f.defaultValue != "":
			d.value(defaultNode(f.defaultValue), target, f, here)
		case target.Kind() == reflect.Struct: // has defaults or required keys
			d.mapping(&yaml.Node{Kind: yaml.MappingNode}, target, here)
		}
	}
}

func failUnknownKey(key *yaml.Node, known []field, at position) {
	if !plain.MatchString(key.Value) {
		at.failLine(key.Line, "unknown key (not shown, it could be a secret)")
		return
	}
	at.key(key.Value).setLine(key.Line)
	at.key(key.Value).fail("%s", describeUnknownKey(key.Value, known, at.path))
}

// pair is a key of a mapping with its value.
type pair struct{ key, value *yaml.Node }

// pairs lists the keys of a mapping. Those of a merge key (<<) come last: the mapping's
// own keys have priority.
func (d *decoder) pairs(node *yaml.Node, at position) []pair {
	var own, merged []pair
	for i := 0; i+1 < len(node.Content); i += 2 {
		if d.nodes++; d.nodes > maxNodes { // value reports it
			return nil
		}
		key, value := node.Content[i], node.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		first := slices.IndexFunc(own, func(p pair) bool { return p.key.Value == key.Value })
		switch {
		case key.Kind != yaml.ScalarNode:
			at.failLine(key.Line, "a key must be a word, not %s", describeKind(key))
		case key.ShortTag() == "!!merge":
			merged = append(merged, d.mergedPairs(value, at)...)
		case first >= 0:
			at.failLine(key.Line, "%s is set twice, first on line %d; keep one", quoteSafe(key.Value), own[first].key.Line)
		default:
			own = append(own, pair{key, value})
		}
	}
	return append(own, merged...)
}

func (d *decoder) mergedPairs(value *yaml.Node, at position) []pair {
	if d.nodes++; d.nodes > maxNodes { // value reports it
		return nil
	}
	if value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	switch value.Kind {
	case yaml.MappingNode:
		return d.pairs(value, at)
	case yaml.SequenceNode:
		var all []pair
		for _, each := range value.Content {
			all = append(all, d.mergedPairs(each, at)...)
		}
		return all
	default:
		at.failLine(value.Line, "<< must refer to a mapping (<<: *anchor)")
		return nil
	}
}

func (d *decoder) list(node *yaml.Node, into reflect.Value, f field, at position) {
	if node.Kind != yaml.SequenceNode {
		at.fail(`must be a list (lines that begin with "- "), not %s`, describeKind(node))
		return
	}
	if len(node.Content) == 0 && f.hasCheck("required") {
		at.fail("is empty; %s", f.expected())
	}
	into.Set(reflect.MakeSlice(into.Type(), len(node.Content), len(node.Content)))
	for i, item := range node.Content {
		at.item(i).setLine(item.Line)
		d.value(item, into.Index(i), f, at.item(i))
	}
}

func (d *decoder) labels(node *yaml.Node, into reflect.Value, at position) {
	if node.Kind != yaml.MappingNode {
		at.fail("must be labels with values (rotate: scim-token), not %s", describeKind(node))
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for _, p := range d.pairs(node, at) {
		text := ""
		if p.value.Kind == yaml.ScalarNode {
			text = p.value.Value
		}
		into.SetMapIndex(reflect.ValueOf(p.key.Value), reflect.ValueOf(text))
	}
}

func (d *decoder) scalar(node *yaml.Node, into reflect.Value, f field, at position) {
	switch {
	case node.Kind != yaml.ScalarNode:
		at.fail("must be one value, not %s: %s", describeKind(node), strings.TrimPrefix(f.expected(), "it is "))
		return
	case !slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp"}, node.ShortTag()):
		at.fail("has a YAML tag (!…); write the plain value")
		return
	case strings.TrimSpace(node.Value) == "":
		at.fail("is empty; %s", f.hintIfEmpty(into.Type()))
		return
	}
	value := node.Value
	var err error
	switch target := into.Addr().Interface().(type) {
	case *Duration:
		*target, err = parseDuration(value)
	case *time.Time:
		*target, err = parseTime(value)
	case *bool:
		if *target = value == "true"; !*target && value != "false" {
			err = fmt.Errorf("%s must be true or false", quoteSafe(value))
		}
	case *int:
		if *target, err = strconv.Atoi(value); err != nil {
			err = fmt.Errorf("%s is not a whole number", quoteSafe(value))
		}
	case *SecretFile:
		*target, err = SecretFile(d.file(value, at)), checkPath(value)
	case *Path:
		*target, err = Path(d.file(value, at)), checkPath(value)
	default:
		into.SetString(value)
	}
	if err == nil {
		err = f.check(into)
	}
	if err != nil {
		at.fail("%v", err)
	}
}

// file returns the absolute path of a file that a key names.
func (d *decoder) file(path string, at position) string {
	if !filepath.IsAbs(path) {
		path = filepath.Join(d.directory, path)
	}
	path = filepath.Clean(path)
	at.source.files = append(at.source.files, namedFile{at.path, path})
	return path
}

func defaultNode(text string) *yaml.Node {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		panic(fmt.Sprintf("config: the default %q in a tag is not YAML: %v", text, err))
	}
	return document.Content[0]
}

func isNull(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null"
}

func describeKind(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "keys with values"
	case yaml.SequenceNode:
		return "a list"
	default:
		return "one value"
	}
}
