package config

import (
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	prommodel "github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"
)

// settler is a mapping that fills in, once its own keys are decoded, what depends on
// several of them, and reports what does not fit together.
type settler interface{ settle(at place) }

// place is where a mapping stands, for what its settle has to say.
type place struct {
	walk *walk
	path string
}

// fail reports a problem with a key of the mapping; "" is the mapping itself.
func (p place) fail(key, format string, args ...any) {
	path := p.path
	if key != "" {
		path = join(path, key)
	}
	p.walk.fail(path, format, args...)
}

// has reports whether the file has the key, with whatever value, even an unknown one.
func (p place) has(key string) bool {
	_, ok := p.walk.source.lines[join(p.path, key)]
	return ok
}

func (p place) in(key string) place { return place{p.walk, join(p.path, key)} }

func (p place) item(key string, i int) place {
	return place{p.walk, fmt.Sprintf("%s[%d]", join(p.path, key), i)}
}

// maxNodes bounds the work for a file whose aliases multiply.
const maxNodes = 100_000

// walk decodes a YAML tree into the schema's structs and goes on after each problem.
type walk struct {
	source    *source
	directory string // of relative paths
	problems  Problems
	nodes     int
}

// fail reports a problem, the first one of each key only: what follows from it is noise.
func (w *walk) fail(path, format string, args ...any) {
	if !slices.ContainsFunc(w.problems, func(p Problem) bool { return p.Path == path }) {
		w.problems = append(w.problems, w.source.problem(path, format, args...))
	}
}

func (w *walk) value(node *yaml.Node, into reflect.Value, f field, path string) {
	if w.nodes++; w.nodes > maxNodes {
		w.fail("", "the file has more than %d values; are there aliases within aliases?", maxNodes)
		return
	}
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	switch {
	case node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null":
		w.fail(path, "is empty; %s", f.instead(into.Type()))
	case into.Type() == reflect.TypeFor[time.Time]():
		w.scalar(node, into, f, path)
	case into.Kind() == reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		w.value(node, into.Elem(), f, path)
	case into.Kind() == reflect.Struct:
		w.mapping(node, into, path)
	case into.Kind() == reflect.Slice:
		w.list(node, into, f, path)
	case into.Kind() == reflect.Map:
		w.labels(node, into, path)
	default:
		w.scalar(node, into, f, path)
	}
}

func (w *walk) mapping(node *yaml.Node, into reflect.Value, path string) {
	schema := fields(into.Type())
	if node.Kind != yaml.MappingNode {
		w.fail(path, "must be keys with values, not %s", kindOf(node))
		return
	}
	given := w.pairs(node, path)
	for _, pair := range given {
		if !slices.ContainsFunc(schema, func(f field) bool { return f.key == pair.key.Value }) {
			w.unknown(pair.key, schema, path)
		}
	}
	for _, f := range schema {
		at, target := join(path, f.key), into.Field(f.index)
		i := slices.IndexFunc(given, func(p pair) bool { return p.key.Value == f.key })
		switch {
		case i >= 0:
			w.source.lines[at] = given[i].key.Line
			w.value(given[i].value, target, f, at)
		case f.says("required"):
			w.fail(at, "is missing; %s", f.wanted())
		case f.defaultValue != "":
			w.value(defaultNode(f.defaultValue), target, f, at)
		case target.Kind() == reflect.Struct:
			w.mapping(&yaml.Node{Kind: yaml.MappingNode}, target, at)
		}
	}
	if s, ok := into.Addr().Interface().(settler); ok {
		s.settle(place{w, path})
	}
}

func (w *walk) unknown(key *yaml.Node, schema []field, path string) {
	if !plain.MatchString(key.Value) {
		w.problems = append(w.problems, Problem{w.source.file, key.Line, path, "unknown key (not shown, it could be a secret)"})
		return
	}
	at := join(path, key.Value)
	w.source.lines[at] = key.Line
	w.fail(at, "%s", unknownKey(key.Value, schema, path))
}

type pair struct{ key, value *yaml.Node }

// pairs lists the keys of a mapping; those of a merge key (<<) come last and only
// where the mapping does not have its own.
func (w *walk) pairs(node *yaml.Node, path string) []pair {
	var own, merged []pair
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if w.nodes++; w.nodes > maxNodes {
			return nil
		}
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			w.problems = append(w.problems, Problem{w.source.file, key.Line, path, "a key must be a word, not " + kindOf(key)})
			continue
		}
		if key.ShortTag() == "!!merge" {
			merged = append(merged, w.merged(value, path)...)
			continue
		}
		if first := slices.IndexFunc(own, func(p pair) bool { return p.key.Value == key.Value }); first >= 0 {
			w.problems = append(w.problems, Problem{w.source.file, key.Line, path, fmt.Sprintf(
				"%s is there twice, first on line %d; keep one", shown(key.Value), own[first].key.Line)})
			continue
		}
		own = append(own, pair{key, value})
	}
	return append(own, merged...)
}

func (w *walk) merged(value *yaml.Node, path string) []pair {
	if value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	switch value.Kind {
	case yaml.MappingNode:
		return w.pairs(value, path)
	case yaml.SequenceNode:
		var all []pair
		for _, each := range value.Content {
			all = append(all, w.merged(each, path)...)
		}
		return all
	default:
		w.problems = append(w.problems, Problem{w.source.file, value.Line, path, "<< must name a mapping (<<: *anchor)"})
		return nil
	}
}

func (w *walk) list(node *yaml.Node, into reflect.Value, f field, path string) {
	if node.Kind != yaml.SequenceNode {
		w.fail(path, `must be a list (lines that begin with "- "), not %s`, kindOf(node))
		return
	}
	if len(node.Content) == 0 && f.says("required") {
		w.fail(path, "is empty; %s", f.wanted())
	}
	into.Set(reflect.MakeSlice(into.Type(), len(node.Content), len(node.Content)))
	for i, item := range node.Content {
		at := fmt.Sprintf("%s[%d]", path, i)
		w.source.lines[at] = item.Line
		w.value(item, into.Index(i), f, at)
	}
}

func (w *walk) labels(node *yaml.Node, into reflect.Value, path string) {
	if node.Kind != yaml.MappingNode {
		w.fail(path, "must be labels with values (rotate: scim-token), not %s", kindOf(node))
		return
	}
	into.Set(reflect.MakeMap(into.Type()))
	for _, pair := range w.pairs(node, path) {
		if !prommodel.LegacyValidation.IsValidLabelName(pair.key.Value) || pair.value.Kind != yaml.ScalarNode || pair.value.Value == "" {
			w.fail(path, "has a label that is not a name and a text; it looks like rotate: scim-token")
			continue
		}
		into.SetMapIndex(reflect.ValueOf(pair.key.Value), reflect.ValueOf(pair.value.Value))
	}
	if into.Len() == 0 {
		w.fail(path, "is empty, so every alert would match; it looks like {rotate: scim-token}")
	}
}

func (w *walk) scalar(node *yaml.Node, into reflect.Value, f field, path string) {
	if node.Kind != yaml.ScalarNode {
		w.fail(path, "must be one value, not %s: %s", kindOf(node), strings.TrimPrefix(f.wanted(), "it is "))
		return
	}
	if !slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp"}, node.ShortTag()) {
		w.fail(path, "has a YAML tag (!…); write the plain value")
		return
	}
	value := node.Value
	if strings.TrimSpace(value) == "" {
		w.fail(path, "is empty; %s", f.instead(into.Type()))
		return
	}
	var err error
	switch target := into.Addr().Interface().(type) {
	case *Duration:
		*target, err = parseDuration(value)
	case *time.Time:
		*target, err = parseTime(value)
	case *bool:
		if *target = value == "true"; !*target && value != "false" {
			err = fmt.Errorf("%s must be true or false", shown(value))
		}
	case *int:
		if *target, err = strconv.Atoi(value); err != nil {
			err = fmt.Errorf("%s is not a whole number", shownNumber(value))
		}
	case *SecretFile:
		*target, err = SecretFile(w.absolute(value)), checkPath(value)
	case *Path:
		*target, err = Path(w.absolute(value)), checkPath(value)
	default:
		into.SetString(value)
	}
	if err == nil {
		err = f.check(into)
	}
	if err != nil {
		w.fail(path, "%v", err)
	}
}

func (w *walk) absolute(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(w.directory, path)
}

func defaultNode(text string) *yaml.Node {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		panic(fmt.Sprintf("config: the schema's default %q is not YAML: %v", text, err)) // a tag of config.go
	}
	return document.Content[0]
}

func kindOf(node *yaml.Node) string {
	switch node.Kind {
	case yaml.MappingNode:
		return "keys with values"
	case yaml.SequenceNode:
		return "a list"
	default:
		return "one value"
	}
}
