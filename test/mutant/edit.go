package mutant

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/scanner"
	"go/token"
	"go/types"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Edit changes one place in the source, wherever it is and however it is laid out.
type Edit struct {
	// Place is a function, Type.method or struct type, after the directory of its package
	// unless that is the test's own: "token/guard.authorize".
	Place string
	// Pattern is one expression or statement of the function, or a statement up to its
	// block ("if err != nil"); "": the whole body, or all fields. It must match once.
	Pattern string
	// Replacement is what it becomes; "" drops a statement. In it, $ is what was there:
	// "f(); $" inserts a statement before, "!($)" negates a condition.
	Replacement string
}

// apply makes the edit in the files that have changed so far, by their paths.
func (e Edit) apply(changed map[string][]byte) error {
	directory, name := path.Split(e.Place)
	f, err := findFile(directory, name, changed)
	if err != nil {
		return err
	}
	from, to := f.block.Pos()+1, f.block.End()-1
	if e.Pattern != "" {
		node, err := f.findNode(e.Pattern)
		if err != nil {
			return err
		}
		from, to = node.Pos(), node.End()
	}
	replacement := strings.ReplaceAll(cmp.Or(e.Replacement, "{}"), "$", f.text(from, to))
	if parsed, err := parser.ParseExpr(replacement); err == nil {
		if _, binary := parsed.(*ast.BinaryExpr); binary { // it may become an operand
			replacement = "(" + replacement + ")"
		}
	}
	mutated := f.text(f.begin, from) + replacement + f.text(to, f.end)
	if _, err := parser.ParseFile(token.NewFileSet(), f.path, mutated, parser.SkipObjectResolution); err != nil {
		return fmt.Errorf("%s cannot stand for %s: %w", replacement, f.text(from, to), err)
	}
	changed[f.path] = []byte(mutated)
	return nil
}

// sourceFile is the file that declares a function or struct type.
type sourceFile struct {
	path       string
	source     []byte
	begin, end token.Pos
	block      ast.Node // the body or the fields, with their braces
}

func (f sourceFile) text(from, to token.Pos) string {
	return string(f.source[from-f.begin : to-f.begin])
}

// findFile searches the files of a package for a function, Type.method or struct type.
func findFile(directory, declared string, changed map[string][]byte) (sourceFile, error) {
	directory, err := filepath.Abs(directory)
	if err != nil {
		return sourceFile{}, err
	}
	listed, err := build.ImportDir(directory, 0)
	if err != nil {
		return sourceFile{}, err
	}
	for _, name := range listed.GoFiles {
		f := sourceFile{path: filepath.Join(directory, name)}
		if f.source = changed[f.path]; f.source == nil {
			if f.source, err = os.ReadFile(f.path); err != nil {
				return f, err
			}
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), f.path, f.source, parser.SkipObjectResolution)
		if err != nil {
			return f, err
		}
		f.begin, f.end = parsed.FileStart, parsed.FileEnd
		if f.block = findBlock(parsed, declared); f.block != nil {
			return f, nil
		}
	}
	return sourceFile{}, errors.New("no such function or struct type")
}

func findBlock(file *ast.File, name string) ast.Node {
	for node := range ast.Preorder(file) {
		switch node := node.(type) {
		case *ast.FuncDecl:
			declared := node.Name.Name
			if node.Recv != nil {
				declared = strings.TrimPrefix(types.ExprString(node.Recv.List[0].Type), "*") + "." + declared
			}
			if declared == name {
				return node.Body
			}
		case *ast.TypeSpec:
			if structure, ok := node.Type.(*ast.StructType); ok && node.Name.Name == name {
				return structure.Fields
			}
		}
	}
	return nil
}

// findNode finds the one expression or statement that the pattern describes.
func (f sourceFile) findNode(pattern string) (found ast.Node, err error) {
	wanted, matches := normalize(pattern), 0
	var candidates []string
	for node := range ast.Preorder(f.block) {
		text, head := normalize(f.text(node.Pos(), node.End())), ""
		switch node := node.(type) {
		case *ast.IfStmt:
			head = normalize(f.text(node.Pos(), node.Body.Pos()))
		case *ast.RangeStmt:
			head = normalize(f.text(node.Pos(), node.Body.Pos()))
		case ast.Expr, ast.Stmt:
		default:
			continue
		}
		candidates = append(candidates, cmp.Or(head, text))
		if text != wanted && head != wanted || found != nil && found.Pos() == node.Pos() { // a call is a statement and an expression
			continue
		}
		found = node
		matches++
	}
	if matches == 1 {
		return found, nil
	}
	slices.SortStableFunc(candidates, func(a, b string) int { return commonPrefix(b, wanted) - commonPrefix(a, wanted) })
	candidates = slices.Compact(candidates)
	return nil, fmt.Errorf("%d matches of %s; most similar:\n\t%s", matches, wanted, strings.Join(candidates[:min(5, len(candidates))], "\n\t"))
}

func commonPrefix(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// normalize joins the tokens of a piece of source, except those that line breaks add.
func normalize(source string) string {
	var scan scanner.Scanner
	scan.Init(token.NewFileSet().AddFile("", -1, len(source)), []byte(source), nil, 0)
	var texts []string
	for {
		_, kind, text := scan.Scan()
		switch kind {
		case token.EOF:
			return strings.Join(texts, " ")
		case token.SEMICOLON:
			continue
		case token.RPAREN, token.RBRACE: // a comma ends the last of several lines
			if last := len(texts) - 1; last >= 0 && texts[last] == "," {
				texts = texts[:last]
			}
		default:
		}
		if kind.IsOperator() {
			text = kind.String()
		}
		texts = append(texts, text)
	}
}
