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
	"sort"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"entra-aws-exporter/internal/model"
)

// Load reads a configuration file. Its error has all problems of the file (Problems).
// Load makes no network call and opens no other file; see Warnings.
func Load(path string) (*Config, error) {
	content, err := model.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("reading the configuration: %w; set its path with --config.file", err)
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

// parse decodes and validates the content of a file. Paths are relative to directory.
func parse(file, directory string, content []byte) (*Config, error) {
	root, problems := rootNode(file, content)
	if problems != nil {
		return nil, problems
	}
	c := &Config{source: &source{file: file, lines: map[string]int{}}}
	top := position{source: c.source}
	d := &decoder{directory: directory}
	d.value(root, reflect.ValueOf(c).Elem(), field{}, top)
	if d.nodes <= maxNodes {
		c.setDefaults()
		c.validate(top)
	}
	if problems := c.source.problems; len(problems) > 0 {
		problems.sort()
		return nil, problems
	}
	return c, nil
}

// rootNode returns the root of the only YAML document in a file.
func rootNode(file string, content []byte) (*yaml.Node, Problems) {
	empty := Problems{{File: file, Line: 1, Text: "the file is empty; at least tenants and connections are needed"}}
	documents := yaml.NewDecoder(bytes.NewReader(content))
	var first, second yaml.Node
	switch err := documents.Decode(&first); {
	case errors.Is(err, io.EOF):
		return nil, empty
	case err != nil:
		return nil, syntaxProblems(file, content)
	}
	switch err := documents.Decode(&second); {
	case err == nil:
		return nil, Problems{{File: file, Line: second.Line, Text: "a second YAML document begins here (---); the configuration is one document"}}
	case !errors.Is(err, io.EOF):
		return nil, syntaxProblems(file, content)
	}
	root := first.Content[0]
	if isNull(root) {
		return nil, empty
	}
	return root, nil
}

var (
	syntaxError   = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(?s:(.*))$`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '.*' referenced$`)
)

// syntaxProblems explains why a file is not YAML. It does not repeat what the parser
// quotes from the file.
func syntaxProblems(file string, content []byte) Problems {
	lines := strings.SplitAfter(strings.TrimRight(string(content), " \r\n"), "\n")
	if tabs := tabProblems(file, lines); tabs != nil {
		return tabs
	}
	begin, text := firstSyntaxError(lines)
	// The parser names where the list or mapping around the error begins. The error is on
	// the first line from there that makes the file fail like that when it ends there.
	begin = min(max(1, begin), len(lines))
	line := begin + sort.Search(len(lines)-begin, func(i int) bool {
		_, other := firstSyntaxError(lines[:begin+i])
		return other == text
	})
	problem := Problem{File: file, Line: line, Text: "is not YAML"}
	if unknownAnchor.MatchString(text) {
		problem.Text += ": a value begins with * and refers to an unknown anchor; quote it if it is plain text"
	} else if text != "" && !strings.Contains(text, "`") {
		problem.Text += ": " + text
	}
	return Problems{problem}
}

// firstSyntaxError returns the parser's text and the line that it names, which may be
// one too low; 0: none.
func firstSyntaxError(lines []string) (line int, text string) {
	// The parser counts from 0 and takes 0 for unknown, hence the empty line before.
	documents := yaml.NewDecoder(strings.NewReader("\n" + strings.Join(lines, "")))
	for {
		var document yaml.Node
		err := documents.Decode(&document)
		if errors.Is(err, io.EOF) {
			return 0, ""
		}
		if err == nil {
			continue
		}
		if found := syntaxError.FindStringSubmatch(err.Error()); found != nil {
			line, _ = strconv.Atoi(found[1]) // without a line: 0
			text = found[2]
		}
		return line - 1, text
	}
}

func tabProblems(file string, lines []string) Problems {
	var tabs Problems
	for i, line := range lines {
		text := strings.TrimLeft(line, " \t")
		if text != "" && strings.Contains(line[:len(line)-len(text)], "\t") {
			tabs = append(tabs, Problem{File: file, Line: i + 1, Text: "a tab in the indentation; YAML requires spaces"})
		}
	}
	return tabs
}

// String returns the configuration with every default as YAML. It has the paths of
// secret files, never their content.
func (c *Config) String() string {
	var text strings.Builder
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(c); err != nil {
		return "# " + err.Error() + "\n"
	}
	return text.String()
}
