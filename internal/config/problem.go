package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong or questionable in a configuration file.
type Problem struct {
	File string
	Line int
	Path string // "connections[0].aws.region"; "": the file as a whole
	Text string // what is wrong, what would be right; never a value that may be secret

	Harmless bool // a key has no effect; everything else works
}

// String returns "file:line: key.path: text".
func (p Problem) String() string {
	if p.Path == "" {
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
	}
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Path, p.Text)
}

// Problems are all problems of a file, by line. They are the error of Load.
type Problems []Problem

// Error returns one problem per line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

func (p Problems) sort() {
	slices.SortStableFunc(p, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
}

// source is a configuration file.
type source struct {
	file     string
	lines    map[string]int // of the keys, by key path
	files    []namedFile
	problems Problems
}

// namedFile is a file that a key of the configuration names.
type namedFile struct{ key, path string }

// problem returns a problem with a key. A missing key has the line of its parent.
func (s *source) problem(path, format string, args ...any) Problem {
	line := 1
	for at := path; at != ""; at = at[:max(0, strings.LastIndexAny(at, ".["))] {
		if known, ok := s.lines[at]; ok {
			line = known
			break
		}
	}
	return Problem{File: s.file, Line: line, Path: path, Text: fmt.Sprintf(format, args...)}
}

// position is a key or a list item of a file.
type position struct {
	source *source
	path   string // "": the file as a whole
}

// key returns the position of a key or of a path of keys below this one.
func (p position) key(name string) position { return position{p.source, joinPath(p.path, name)} }

func (p position) item(i int) position {
	return position{p.source, fmt.Sprintf("%s[%d]", p.path, i)}
}

func (p position) setLine(line int) { p.source.lines[p.path] = line }

// has reports whether the file has this key or path of keys here, with any value.
func (p position) has(name string) bool {
	_, ok := p.source.lines[joinPath(p.path, name)]
	return ok
}

// failed reports whether this key itself has a problem.
func (p position) failed() bool {
	return slices.ContainsFunc(p.source.problems, func(other Problem) bool { return other.Path == p.path })
}

// fail reports a problem of this key. Later problems of the same key are consequences
// and are dropped.
func (p position) fail(format string, args ...any) {
	if !p.failed() {
		p.source.problems = append(p.source.problems, p.source.problem(p.path, format, args...))
	}
}

// failLine reports a problem of a line inside this mapping. Several are reported.
func (p position) failLine(line int, format string, args ...any) {
	p.source.problems = append(p.source.problems, Problem{File: p.source.file, Line: line, Path: p.path, Text: fmt.Sprintf(format, args...)})
}

func joinPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
