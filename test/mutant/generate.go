package mutant

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Generated is a mutant that follows from the syntax tree.
type Generated struct {
	Number   int
	File     string // relative to the module, as in the arguments of Generate
	Place    string // the function, Type.method or constant, after the last part of its package's path
	Operator string
	Text     string // what is changed; from the second time in one place on with its number
}

// Key identifies a mutant as long as its place and what it changes stay the same.
func (g Generated) Key() string { return g.Place + " | " + g.Operator + " | " + g.Text }

// The operators.
const (
	Negated  = "negated"  // a condition, or one operand of it
	Dropped  = "dropped"  // an operand of a condition
	LeftOut  = "left out" // an if statement with what it guards, a case, a return after other statements, a reset
	Shifted  = "shifted"  // a comparison: with equality or without
	Nothing  = "×0"       // a constant of time
	Tenfold  = "×10"      // a constant of time
	activeAs = "activeMutant"
)

// Set is all generated mutants of some files, and the source that contains them all: each
// is a branch on the number of the active mutant.
type Set struct {
	Mutants []Generated
	Source  map[string][]byte // by absolute path
}

// Generate rewrites these files of a module, given relative to its root. Other files of
// the same packages are only rewritten where they use a constant of these.
func Generate(root, module string, files []string) (Set, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return Set{}, err
	}
	g := &generator{module: module, constants: map[string]*constant{}, numbers: map[string]int{}, set: Set{Source: map[string][]byte{}}}
	directories := map[string][]string{}
	for _, file := range files {
		directories[path.Dir(file)] = append(directories[path.Dir(file)], file)
	}
	var sources []*generatedFile
	for _, directory := range slices.Sorted(mapKeys(directories)) {
		listed, err := build.ImportDir(filepath.Join(root, directory), 0)
		if err != nil {
			return g.set, err
		}
		for _, name := range listed.GoFiles {
			f := &generatedFile{generator: g, name: path.Join(directory, name), directory: directory}
			f.target = slices.Contains(directories[directory], f.name)
			f.path = filepath.Join(root, filepath.FromSlash(f.name))
			if f.source, err = os.ReadFile(f.path); err != nil {
				return g.set, err
			}
			if f.parsed, err = parser.ParseFile(token.NewFileSet(), f.path, f.source, 0); err != nil { //nolint:staticcheck // which names are local
				return g.set, err
			}
			sources = append(sources, f)
		}
	}
	for _, f := range sources {
		if f.target {
			f.findConstants()
		}
	}
	for _, f := range sources {
		if err := f.rewrite(); err != nil {
			return g.set, err
		}
	}
	return g.set, nil
}

func mapKeys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

type generator struct {
	module    string
	constants map[string]*constant // of time, by directory and name
	numbers   map[string]int       // how many mutants have a key
	set       Set
}

// constant is a constant of time of a package.
type constant struct {
	file             *generatedFile
	value            ast.Expr
	nothing, tenfold int // the numbers of its mutants
}

// add numbers a mutant.
func (g *generator) add(file, place, operator, text string) int {
	m := Generated{Number: len(g.set.Mutants) + 1, File: file, Place: place, Operator: operator, Text: text}
	key := m.Key()
	if g.numbers[key]++; g.numbers[key] > 1 {
		m.Text = fmt.Sprintf("%s #%d", text, g.numbers[key])
	}
	g.set.Mutants = append(g.set.Mutants, m)
	return m.Number
}

// generatedFile is one file that is rewritten.
type generatedFile struct {
	*generator
	name, path, directory string
	target                bool
	source                []byte
	parsed                *ast.File
	place                 string
	edits                 []rewriting
	leaves                map[ast.Expr]bool // conditions that have their mutants
}

// rewriting replaces a part of the source. Of several with the same extent, the later ones
// enclose the earlier ones.
type rewriting struct {
	from, to token.Pos
	make     func(whole string) string
}

// text is the source of a node, with everything in it rewritten.
func (f *generatedFile) text(from, to token.Pos) string { return f.render(from, to, f.edits) }

func (f *generatedFile) original(from, to token.Pos) string {
	return string(f.source[from-f.parsed.FileStart : to-f.parsed.FileStart])
}

// render applies the edits that are inside of this extent, the innermost first.
func (f *generatedFile) render(from, to token.Pos, edits []rewriting) string {
	var b strings.Builder
	at := from
	for i := 0; i < len(edits); {
		outer := edits[i]
		i++
		if outer.from < at || outer.to > to {
			continue
		}
		last := i
		for last < len(edits) && edits[last].from < outer.to {
			last++
		}
		b.WriteString(f.original(at, outer.from))
		b.WriteString(outer.make(f.render(outer.from, outer.to, edits[i:last])))
		at, i = outer.to, last
	}
	b.WriteString(f.original(at, to))
	return b.String()
}

func (f *generatedFile) edit(node ast.Node, change func(whole string) string) {
	f.edits = append(f.edits, rewriting{node.Pos(), node.End(), change})
}

// described is the source of a node on one line.
func (f *generatedFile) described(from, to token.Pos) string { return normalize(f.original(from, to)) }

func (f *generatedFile) mutant(operator, text string) int {
	return f.add(f.name, path.Base(f.directory)+"/"+f.place, operator, text)
}

// rewrite adds the mutants of a file to the set.
func (f *generatedFile) rewrite() error {
	f.leaves = map[ast.Expr]bool{}
	for _, declared := range f.parsed.Decls {
		function, ok := declared.(*ast.FuncDecl)
		if !ok || function.Body == nil {
			continue
		}
		f.place = function.Name.Name
		if function.Recv != nil {
			f.place = strings.TrimPrefix(types.ExprString(function.Recv.List[0].Type), "*") + "." + f.place
		}
		ast.Inspect(function.Body, f.visit)
	}
	if len(f.edits) == 0 {
		return nil
	}
	slices.SortStableFunc(f.edits, func(a, b rewriting) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(b.to, a.to))
	})
	f.reverseEqual()
	imports, body := fmt.Sprintf("\n\nimport %s %q\n", activeAs, f.module+"/test/mutant/active"), f.text(f.parsed.Name.End(), f.parsed.FileEnd)
	if !f.imports("time") { // a constant of another file may need it
		imports += "import \"time\"\n"
		body += "\nvar _ time.Duration\n"
	}
	changed := f.text(f.parsed.FileStart, f.parsed.Name.End()) + imports + body
	if _, err := parser.ParseFile(token.NewFileSet(), f.path, changed, parser.SkipObjectResolution); err != nil {
		return fmt.Errorf("%s cannot be rewritten: %w", f.name, err)
	}
	f.set.Source[f.path] = []byte(changed)
	return nil
}

// imports reports whether the file imports a package.
func (f *generatedFile) imports(importPath string) bool {
	return slices.ContainsFunc(f.parsed.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == strconv.Quote(importPath) })
}

// reverseEqual puts the later ones of several edits with the same extent first: these are
// the outer ones.
func (f *generatedFile) reverseEqual() {
	for i := 0; i < len(f.edits); {
		last := i
		for last < len(f.edits) && f.edits[last].from == f.edits[i].from && f.edits[last].to == f.edits[i].to {
			last++
		}
		slices.Reverse(f.edits[i:last])
		i = last
	}
}
