package deploy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestContributingNamesExist checks that the functions and types in the two ways through the
// house exist.
func TestContributingNamesExist(t *testing.T) {
	_, ways, _ := strings.Cut(read(t, "../CONTRIBUTING.md"), "## Two ways through the house")
	ways, _, _ = strings.Cut(ways, "\n## ")
	named := regexp.MustCompile("`([a-z]+)((?:\\.[A-Za-z]+)+)`").FindAllStringSubmatch(ways, -1)
	if len(named) < 30 {
		t.Fatalf("only %d names found", len(named))
	}
	declared := map[string]map[string]bool{}
	for _, match := range named {
		pkg, name := match[1], match[2][1:]
		if declared[pkg] == nil {
			declared[pkg] = declarations(t, pkg)
		}
		if !declared[pkg][name] {
			t.Errorf("CONTRIBUTING.md names %s.%s, which does not exist", pkg, name)
		}
	}
}

// declarations returns the functions, methods and types of the packages with a name.
func declarations(t *testing.T, pkg string) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for _, pattern := range []string{"../*/*.go", "../*/*/*.go"} {
		for _, path := range glob(t, pattern) {
			if filepath.Base(filepath.Dir(path)) != pkg || strings.HasSuffix(path, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			for _, declaration := range file.Decls {
				addNames(found, declaration)
			}
		}
	}
	return found
}

func addNames(found map[string]bool, declaration ast.Decl) {
	switch d := declaration.(type) {
	case *ast.FuncDecl:
		name := d.Name.Name
		if d.Recv != nil {
			receiver := d.Recv.List[0].Type
			if pointer, isPointer := receiver.(*ast.StarExpr); isPointer {
				receiver = pointer.X
			}
			if identifier, isPlain := receiver.(*ast.Ident); isPlain {
				name = identifier.Name + "." + name
			}
		}
		found[name] = true
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			if definition, isType := spec.(*ast.TypeSpec); isType {
				found[definition.Name.Name] = true
			}
		}
	}
}
