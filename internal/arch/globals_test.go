package arch

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// constructors make values that nobody changes afterwards.
var constructors = map[string][]string{
	"errors":     {"New"},
	"fmt":        {"Errorf"},
	"regexp":     {"MustCompile", "MustCompilePOSIX"},
	"hash/crc32": {"MakeTable"},
}

// globals allows package-level variables that are constants in all but the
// language's name: error sentinels, embedded files, compiled patterns and tables.
func globals(s *source) (found []finding) {
	if s.isTest() || s.isGenerated() {
		return nil
	}
	names := s.importNames()
	s.eachGlobal(func(decl *ast.GenDecl, spec *ast.ValueSpec, i int) {
		constant := i < len(spec.Values) && isReadOnly(spec.Values[i], names)
		if spec.Names[i].Name != "_" && !constant && !isEmbedded(decl.Doc, spec.Doc) {
			found = append(found, s.at(spec.Names[i].Pos(),
				"make it a constant, a table with its values in place, or a field of something that is passed",
				"package-level variable %s", spec.Names[i].Name))
		}
	})
	return found
}

// eachGlobal calls f for every name of every package-level var declaration.
func (s *source) eachGlobal(f func(decl *ast.GenDecl, spec *ast.ValueSpec, i int)) {
	for _, d := range s.file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.VAR {
			continue
		}
		for _, sp := range decl.Specs {
			spec := sp.(*ast.ValueSpec)
			for i := range spec.Names {
				f(decl, spec, i)
			}
		}
	}
}

func isEmbedded(docs ...*ast.CommentGroup) bool {
	for _, doc := range docs {
		if doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
			return strings.HasPrefix(c.Text, "//go:embed ")
		}) {
			return true
		}
	}
	return false
}

func isReadOnly(value ast.Expr, names map[string]string) bool {
	switch v := value.(type) {
	case *ast.CallExpr:
		if _, conversion := v.Fun.(*ast.ArrayType); conversion { // []byte("…")
			return true
		}
		sel, ok := v.Fun.(*ast.SelectorExpr)
		return ok && slices.Contains(constructors[qualifier(sel.X, names)], sel.Sel.Name)
	case *ast.CompositeLit:
		// An empty one is there to be filled.
		return len(v.Elts) > 0 && isTableType(v.Type, names) && !holdsState(v)
	}
	return false
}

// isTableType accepts slices, arrays, maps and structs of our own: those of other
// packages, sync.Pool for one, may carry state.
func isTableType(typ ast.Expr, names map[string]string) bool {
	switch x := typ.(type) {
	case *ast.ArrayType, *ast.MapType, *ast.StructType, *ast.Ident:
		return true
	case *ast.IndexExpr:
		return isTableType(x.X, names)
	case *ast.SelectorExpr:
		return strings.HasPrefix(qualifier(x.X, names), modulePath+"/")
	}
	return false
}

// holdsState finds pointers, maps and channels that a table would smuggle in.
func holdsState(table ast.Expr) (found bool) {
	ast.Inspect(table, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.FuncLit:
			return false // what it makes, it makes per call
		case *ast.UnaryExpr:
			found = found || x.Op == token.AND
		case *ast.CallExpr:
			id, ok := x.Fun.(*ast.Ident)
			found = found || ok && (id.Name == "make" || id.Name == "new")
		}
		return true
	})
	return found
}

// globalWrites makes sure that what globals lets pass is really never changed.
func globalWrites(dir []*source) (found []finding) {
	declared := make(map[string]bool)
	for _, s := range dir {
		if !s.isTest() && !s.isGenerated() {
			s.eachGlobal(func(_ *ast.GenDecl, spec *ast.ValueSpec, i int) { declared[spec.Names[i].Name] = true })
		}
	}
	for _, s := range dir {
		if s.isTest() || s.isGenerated() {
			continue
		}
		eachWrite(s.file, func(target ast.Expr) {
			if id := root(target); id != nil && declared[id.Name] && isPackageLevel(id, s) {
				found = append(found, s.at(target.Pos(),
					"package-level variables are read-only: keep state in a value that is passed",
					"package-level variable %s is changed", id.Name))
			}
		})
	}
	return found
}

// eachWrite calls f for everything that is assigned to, incremented or deleted from.
func eachWrite(file *ast.File, f func(target ast.Expr)) {
	ast.Inspect(file, func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.AssignStmt:
			for _, target := range x.Lhs {
				f(target)
			}
		case *ast.IncDecStmt:
			f(x.X)
		case *ast.CallExpr:
			id, ok := x.Fun.(*ast.Ident)
			if ok && len(x.Args) > 0 && (id.Name == "delete" || id.Name == "clear" || id.Name == "copy") {
				f(x.Args[0])
			}
		}
		return true
	})
}

// root is the variable that an expression such as a.b[i].c changes a part of.
func root(x ast.Expr) *ast.Ident {
	for {
		switch e := x.(type) {
		case *ast.Ident:
			return e
		case *ast.SelectorExpr:
			x = e.X
		case *ast.IndexExpr:
			x = e.X
		case *ast.SliceExpr:
			x = e.X
		case *ast.StarExpr:
			x = e.X
		case *ast.ParenExpr:
			x = e.X
		default:
			return nil
		}
	}
}

// isPackageLevel tells a package's variable from a local one of the same name:
// the parser has resolved the local one, and knows nothing of other files.
func isPackageLevel(id *ast.Ident, s *source) bool {
	if id.Name == "_" {
		return false
	}
	return id.Obj == nil || s.file.Scope.Lookup(id.Name) == id.Obj
}
