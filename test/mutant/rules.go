package mutant

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"path"
	"slices"
	"strings"
)

// findConstants finds the constants of time that a file declares.
func (f *generatedFile) findConstants() {
	for _, declared := range f.parsed.Decls {
		group, ok := declared.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			values := spec.(*ast.ValueSpec)
			if len(values.Names) != 1 || len(values.Values) != 1 || !f.isTime(values.Values[0]) {
				continue
			}
			name := values.Names[0].Name
			f.place = name
			text := f.described(values.Values[0].Pos(), values.Values[0].End())
			f.constants[f.directory+"."+name] = &constant{f, values.Values[0], f.mutant(Nothing, text), f.mutant(Tenfold, text)}
		}
	}
}

// isTime reports whether a constant expression has a unit of time, or a constant of time.
func (f *generatedFile) isTime(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return f.isTime(e.X)
	case *ast.BinaryExpr:
		return (e.Op == token.MUL || e.Op == token.ADD || e.Op == token.SUB) && f.isConstant(e.X) && f.isConstant(e.Y) && (f.isTime(e.X) || f.isTime(e.Y))
	default:
		return f.isUnit(e) || f.constantOf(e) != nil
	}
}

func (f *generatedFile) isConstant(e ast.Expr) bool {
	_, literal := e.(*ast.BasicLit)
	return literal || f.isTime(e)
}

func (f *generatedFile) isUnit(e ast.Expr) bool {
	selector, ok := e.(*ast.SelectorExpr)
	return ok && types.ExprString(selector.X) == "time" && slices.Contains([]string{"Hour", "Minute", "Second", "Millisecond"}, selector.Sel.Name)
}

// constantOf is the constant of time that a name stands for; nil: it is none.
func (f *generatedFile) constantOf(e ast.Expr) *constant {
	switch e := e.(type) {
	case *ast.Ident:
		if e.Obj == nil || e.Obj.Kind == ast.Con {
			return f.constants[f.directory+"."+e.Name]
		}
	case *ast.SelectorExpr:
		for _, imported := range f.parsed.Imports {
			importPath := strings.Trim(imported.Path.Value, `"`)
			if x, ok := e.X.(*ast.Ident); ok && x.Obj == nil && path.Base(importPath) == x.Name {
				return f.constants[strings.TrimPrefix(importPath, f.module+"/")+"."+e.Sel.Name]
			}
		}
	}
	return nil
}

// expand is the value of a constant expression, with the mutants of all constants in it.
func (f *generatedFile) expand(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.ParenExpr:
		return "(" + f.expand(e.X) + ")"
	case *ast.BinaryExpr:
		return f.expand(e.X) + e.Op.String() + f.expand(e.Y)
	default:
		text := f.original(e.Pos(), e.End())
		c := f.constantOf(e)
		if c == nil {
			return text
		}
		if c.file.directory == f.directory {
			text = c.file.expand(c.value)
		}
		return fmt.Sprintf("%s.Duration(%d, %d, %s)", activeAs, c.nothing, c.tenfold, text)
	}
}

// visit adds the mutants of one node.
func (f *generatedFile) visit(node ast.Node) bool {
	switch node := node.(type) {
	case *ast.GenDecl: // constants and types
		return node.Tok == token.VAR
	case *ast.KeyValueExpr:
		if _, field := node.Key.(*ast.Ident); field { // not a constant of that name
			ast.Inspect(node.Value, f.visit)
			return false
		}
	case ast.Expr:
		if f.isTime(node) {
			f.constantUse(node)
			return false
		}
	}
	if !f.target {
		return true
	}
	switch node := node.(type) {
	case *ast.IfStmt:
		f.ifStatement(node)
	case *ast.ForStmt:
		f.condition(node.Cond)
	case *ast.SwitchStmt:
		f.switchStatement(node)
	case *ast.BlockStmt:
		f.statements(node.List)
	case *ast.CaseClause:
		f.statements(node.Body)
	case *ast.BinaryExpr:
		f.binary(node)
	case *ast.CallExpr:
		if selector, ok := node.Fun.(*ast.SelectorExpr); ok {
			if name := selector.Sel.Name; name == "Round" || name == "Truncate" { // of a message
				return false
			}
			f.comparison(node, selector)
		}
	}
	return true
}

// constantUse adds the mutants of a constant of time where it is used.
func (f *generatedFile) constantUse(e ast.Expr) {
	if f.constantOf(e) == nil && f.target {
		text := f.described(e.Pos(), e.End())
		nothing, tenfold := f.mutant(Nothing, text), f.mutant(Tenfold, text)
		f.edit(e, func(string) string {
			return fmt.Sprintf("%s.Duration(%d, %d, %s)", activeAs, nothing, tenfold, f.expand(e))
		})
		return
	}
	if expanded := f.expand(e); expanded != f.original(e.Pos(), e.End()) {
		f.edit(e, func(string) string { return expanded })
	}
}

func (f *generatedFile) ifStatement(node *ast.IfStmt) {
	f.condition(node.Cond)
	n := f.mutant(LeftOut, "if "+f.described(node.Cond.Pos(), node.Cond.End()))
	f.edit(node.Cond, func(whole string) string { return fmt.Sprintf("(!%s.On(%d) && (%s))", activeAs, n, whole) })
	if last := len(node.Body.List) - 1; node.Else == nil && last > 0 {
		if returned, ok := node.Body.List[last].(*ast.ReturnStmt); ok {
			f.leaveOut(returned)
		}
	}
}

func (f *generatedFile) leaveOut(node ast.Stmt) {
	n := f.mutant(LeftOut, f.described(node.Pos(), node.End()))
	f.edit(node, func(whole string) string { return fmt.Sprintf("if !%s.On(%d) { %s }", activeAs, n, whole) })
}

func (f *generatedFile) switchStatement(node *ast.SwitchStmt) {
	for _, clause := range node.Body.List {
		for _, value := range clause.(*ast.CaseClause).List {
			n := 0
			if node.Tag == nil {
				f.condition(value)
				n = f.mutant(LeftOut, "case "+f.described(value.Pos(), value.End()))
				f.edit(value, func(whole string) string { return fmt.Sprintf("(!%s.On(%d) && (%s))", activeAs, n, whole) })
			} else {
				n = f.mutant(LeftOut, "case "+f.described(value.Pos(), value.End()))
				f.edit(value, func(whole string) string { return fmt.Sprintf("%s.Case(%d, %s)", activeAs, n, whole) })
			}
		}
	}
}

// condition adds the mutants of a condition's operands, however they are nested.
func (f *generatedFile) condition(e ast.Expr) {
	switch operand := e.(type) {
	case nil:
		return
	case *ast.ParenExpr:
		f.condition(operand.X)
		return
	case *ast.BinaryExpr:
		if operand.Op == token.LAND || operand.Op == token.LOR {
			return // visited on its own
		}
	}
	if f.leaves[e] {
		return
	}
	f.leaves[e] = true
	n := f.mutant(Negated, f.described(e.Pos(), e.End()))
	f.edit(e, func(whole string) string { return fmt.Sprintf("(%s.On(%d) != (%s))", activeAs, n, whole) })
}

// shiftedTo is the comparison that differs in equality only.
func shiftedTo(operator token.Token) token.Token {
	return map[token.Token]token.Token{token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR}[operator]
}

func (f *generatedFile) binary(node *ast.BinaryExpr) {
	switch node.Op {
	case token.LAND, token.LOR:
		for _, operand := range []ast.Expr{node.X, node.Y} {
			n := 0
			f.condition(operand)
			n = f.mutant(Dropped, f.described(operand.Pos(), operand.End()))
			f.edit(operand, func(whole string) string {
				if node.Op == token.LAND {
					return fmt.Sprintf("(%s.On(%d) || (%s))", activeAs, n, whole)
				}
				return fmt.Sprintf("(!%s.On(%d) && (%s))", activeAs, n, whole)
			})
		}
	case token.EQL, token.NEQ:
		f.condition(node)
	case token.LSS, token.LEQ, token.GTR, token.GEQ:
		n := f.mutant(Shifted, f.described(node.Pos(), node.End()))
		shifted := shiftedTo(node.Op).String()
		f.innermost(node, func(string) string {
			x, y := f.text(node.X.Pos(), node.X.End()), f.text(node.Y.Pos(), node.Y.End())
			return fmt.Sprintf("(%s.On(%d) && (%s) %s (%s) || !%s.On(%d) && (%s) %s (%s))", activeAs, n, x, shifted, y, activeAs, n, x, node.Op, y)
		})
		f.condition(node)
	default:
	}
}

// comparison adds the mutant of a comparison by a method.
func (f *generatedFile) comparison(node *ast.CallExpr, selector *ast.SelectorExpr) {
	shifted := map[string]string{"Before": "!(%s).After(%s)", "After": "!(%s).Before(%s)", "AtLeast": "(%[1]s).AtLeast(%[2]s) && (%[1]s) != (%[2]s)"}[selector.Sel.Name]
	if shifted == "" || len(node.Args) != 1 {
		return
	}
	n := f.mutant(Shifted, f.described(node.Pos(), node.End()))
	f.innermost(node, func(string) string {
		x, y := f.text(selector.X.Pos(), selector.X.End()), f.text(node.Args[0].Pos(), node.Args[0].End())
		return fmt.Sprintf("(%s.On(%d) && %s || !%s.On(%d) && (%s).%s(%s))", activeAs, n, fmt.Sprintf(shifted, x, y), activeAs, n, x, selector.Sel.Name, y)
	})
}

// innermost adds an edit inside of the other ones with the same extent.
func (f *generatedFile) innermost(node ast.Node, change func(string) string) {
	at := slices.IndexFunc(f.edits, func(e rewriting) bool { return e.from == node.Pos() && e.to == node.End() })
	if at < 0 {
		at = len(f.edits)
	}
	f.edits = slices.Insert(f.edits, at, rewriting{node.Pos(), node.End(), change})
}

// statements adds the mutants of the resets in a list of statements.
func (f *generatedFile) statements(list []ast.Stmt) {
	for _, statement := range list {
		assignment, ok := statement.(*ast.AssignStmt)
		if !ok || assignment.Tok != token.ASSIGN || len(assignment.Lhs) != len(assignment.Rhs) {
			continue
		}
		if len(assignment.Lhs) == 1 {
			if isZero(assignment.Rhs[0]) {
				f.leaveOut(assignment)
			}
			continue
		}
		for i, target := range assignment.Lhs {
			if isZero(assignment.Rhs[i]) {
				n := f.mutant(LeftOut, f.described(target.Pos(), target.End())+" = "+f.described(assignment.Rhs[i].Pos(), assignment.Rhs[i].End()))
				f.edit(assignment.Rhs[i], func(whole string) string {
					return fmt.Sprintf("%s.Keep(%d, %s, %s)", activeAs, n, f.original(target.Pos(), target.End()), whole)
				})
			}
		}
	}
}

// isZero reports whether an assignment of this value is a reset.
func isZero(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "nil" || e.Name == "false"
	case *ast.BasicLit:
		return e.Value == `""` || e.Value == "0"
	case *ast.CompositeLit:
		return len(e.Elts) == 0
	default:
		return false
	}
}
