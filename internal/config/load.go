package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Load reads a configuration file. What is wrong in it comes back as Problems, all at
// once. Nothing is asked over the network, and no secret file is opened: they are read
// at every use, see Warnings.
func Load(path string) (*Config, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the operator names the file
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading the configuration: %w (--config.file names it)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	directory, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("finding the directory of %s: %w", path, err)
	}
	return parse(path, directory, content)
}

// parse decodes a file's content; relative paths are those in directory.
func parse(file, directory string, content []byte) (*Config, error) {
	source := &source{file: file, lines: map[string]int{}}
	root, problems := document(file, content)
	if problems != nil {
		return nil, problems
	}
	w := &walk{source: source, directory: directory}
	config := &Config{source: source}
	w.value(root, reflect.ValueOf(config).Elem(), field{}, "")
	if len(w.problems) > 0 {
		w.problems.sort()
		return nil, w.problems
	}
	return config, nil
}

// document returns the root of the one YAML document in a file.
func document(file string, content []byte) (*yaml.Node, Problems) {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var first, second yaml.Node
	err := decoder.Decode(&first)
	switch {
	case errors.Is(err, io.EOF):
		return nil, Problems{{File: file, Line: 1, Text: "the file is empty; at least tenants and connections are needed"}}
	case err != nil:
		return nil, syntaxProblems(file, content, err)
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		return nil, Problems{{File: file, Line: second.Line, Text: "a second YAML document begins here (---); the configuration is one document"}}
	case !errors.Is(err, io.EOF):
		return nil, syntaxProblems(file, content, err)
	}
	root := first.Content[0]
	if root.Kind == yaml.ScalarNode && root.ShortTag() == "!!null" {
		return nil, Problems{{File: file, Line: 1, Text: "the file is empty; at least tenants and connections are needed"}}
	}
	return root, nil
}

var (
	syntaxError   = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(?s:(.*))$`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// syntaxProblems explains why a file is not YAML. What the parser quotes from the file
// is not repeated.
func syntaxProblems(file string, content []byte, err error) Problems {
	lines := strings.Split(string(content), "\n")
	if tabs := tabProblems(file, lines); tabs != nil {
		return tabs
	}
	problem := Problem{File: file, Line: 1, Text: "is not YAML"}
	found := syntaxError.FindStringSubmatch(err.Error())
	if found == nil {
		return Problems{problem}
	}
	if n, err := strconv.Atoi(found[1]); err == nil {
		problem.Line = min(n, len(lines))
	}
	if anchor := unknownAnchor.FindStringSubmatch(found[2]); anchor != nil {
		problem.Line = 1 + max(0, slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, "*"+anchor[1]) }))
		problem.Text += ": a value begins with * and refers to an anchor that is not there; quote it if it is a plain text"
	} else if !strings.Contains(found[2], "`") {
		problem.Text += ": " + found[2]
	}
	return Problems{problem}
}

func tabProblems(file string, lines []string) Problems {
	var tabs Problems
	for i, line := range lines {
		text := strings.TrimLeft(line, " \t")
		if text != "" && strings.Contains(line[:len(line)-len(text)], "\t") {
			tabs = append(tabs, Problem{File: file, Line: i + 1, Text: "a tab in the indentation; YAML wants spaces"})
		}
	}
	return tabs
}

// String returns the effective configuration as YAML: every default filled in. The
// paths of secret files are in it, their content never was.
func (c *Config) String() string {
	var text strings.Builder
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(c); err != nil {
		return "# " + err.Error() + "\n"
	}
	return text.String()
}
