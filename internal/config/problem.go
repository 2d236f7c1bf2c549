package config

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Problem is one thing that is wrong, or doubtful, in a configuration file.
type Problem struct {
	File string
	Line int
	Path string // "connections[0].aws.region"; "": the file as a whole
	Text string // what is wrong, what would be right; never a value that may be secret
}

// String returns "file:line: key.path: text".
func (p Problem) String() string {
	if p.Path == "" {
		return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
	}
	return fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Path, p.Text)
}

// Problems are all that is wrong in a file, by line: the error that Load returns.
type Problems []Problem

// Error implements error with one problem a line.
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

// source remembers where each key of a file stands.
type source struct {
	file  string
	lines map[string]int // by key path; a missing key stands where its parent does
}

func (s *source) problem(path, format string, args ...any) Problem {
	line := 1
	for at := path; at != ""; at = parent(at) {
		if known, ok := s.lines[at]; ok {
			line = known
			break
		}
	}
	return Problem{File: s.file, Line: line, Path: path, Text: fmt.Sprintf(format, args...)}
}

func parent(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// What a mistyped key or enum value looks like; anything else may be a secret that
// was pasted into the wrong place.
var plain = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,31}$`)

// shown quotes a wrong value if it cannot be a secret of either cloud.
func shown(value string) string {
	if plain.MatchString(value) {
		return `"` + value + `"`
	}
	return "the value"
}

// What was meant for a number or a duration, as -5m or 1,5h; a secret is longer.
var numeric = regexp.MustCompile(`^-?[0-9][A-Za-z0-9 .,_-]{0,15}$`)

// shownNumber quotes a wrong number or duration.
func shownNumber(value string) string {
	if numeric.MatchString(value) {
		return `"` + value + `"`
	}
	return shown(value)
}

// nearest returns the candidate that was probably meant, or "".
func nearest(wrong string, candidates []string) string {
	best, bound := "", 1+len(wrong)/3
	for _, candidate := range candidates {
		if d := distance(strings.ToLower(wrong), candidate); d <= bound {
			best, bound = candidate, d-1
		}
	}
	return best
}

// distance is Levenshtein's: how many letters must change to make a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal, row[j+1] = row[j+1], min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
