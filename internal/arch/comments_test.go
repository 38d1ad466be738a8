package arch

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// docs wants a comment on every exported declaration of non-test files.
func docs(s *source) (found []finding) {
	if s.isTest() || s.isGenerated() {
		return nil
	}
	undocumented := func(p token.Pos, name string) {
		found = append(found, s.at(p, "say what it is, with units, shapes and errors", "exported %s has no comment", name))
	}
	for _, d := range s.file.Decls {
		switch decl := d.(type) {
		case *ast.FuncDecl:
			if isExportedFunc(decl) && decl.Doc.Text() == "" {
				undocumented(decl.Pos(), decl.Name.Name)
			}
		case *ast.GenDecl:
			for _, name := range s.undocumentedNames(decl) {
				undocumented(name.Pos(), name.Name)
			}
		}
	}
	return found
}

// isExportedFunc is false for a method of a type that nobody outside can name.
func isExportedFunc(f *ast.FuncDecl) bool {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return f.Name.IsExported()
	}
	typ := f.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.IndexListExpr:
			typ = x.X
		case *ast.Ident:
			return f.Name.IsExported() && x.IsExported()
		default:
			return f.Name.IsExported()
		}
	}
}

// undocumentedNames are the exported names that a declaration leaves without a
// comment. One comment may serve a whole declaration, or the lines right below it
// if it mentions their names.
func (s *source) undocumentedNames(decl *ast.GenDecl) (names []*ast.Ident) {
	above, lastLine := "", 0
	for _, spec := range decl.Specs {
		text, declared := decl.Doc.Text(), []*ast.Ident(nil)
		switch x := spec.(type) {
		case *ast.TypeSpec:
			text, declared = text+x.Doc.Text(), []*ast.Ident{x.Name}
		case *ast.ValueSpec:
			text, declared = text+x.Doc.Text()+x.Comment.Text(), x.Names
		}
		switch {
		case text != "":
			above = text
		case s.line(spec.Pos()) != lastLine+1:
			above = ""
		}
		lastLine = s.line(spec.End())
		for _, name := range declared {
			if text == "" && name.IsExported() && !mentions(above, name.Name) {
				names = append(names, name)
			}
		}
	}
	return names
}

func mentions(text, name string) bool {
	return slices.Contains(strings.FieldsFunc(text, func(r rune) bool {
		return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}), name)
}

// packageComment wants one in a file that is not a test, if there is any.
func packageComment(dir []*source) []finding {
	var speakers []*source
	for _, s := range dir {
		if !s.isTest() {
			speakers = append(speakers, s)
		}
	}
	if len(speakers) == 0 {
		speakers = dir
	}
	for _, s := range speakers {
		want := "Package " + s.file.Name.Name + " "
		text := s.file.Doc.Text()
		if strings.HasPrefix(text, want) || s.file.Name.Name == "main" && text != "" {
			return nil
		}
	}
	return []finding{speakers[0].at(speakers[0].file.Package,
		"begin a comment above the package clause with its name", "package %s has no package comment", speakers[0].dir())}
}

// sleeps wants a reason beside every time.Sleep of a test.
func sleeps(s *source) (found []finding) {
	if !s.isTest() {
		return nil
	}
	commented := make(map[int]bool)
	for _, group := range s.file.Comments {
		for line := s.line(group.Pos()); line <= s.line(group.End()); line++ {
			commented[line] = true
		}
	}
	s.eachQualified(func(sel *ast.SelectorExpr, pkg, name string) {
		line := s.line(sel.Pos())
		if pkg == "time" && name == "Sleep" && !commented[line] && !commented[line-1] {
			found = append(found, s.at(sel.Pos(),
				"use testing/synctest or poll with a deadline, or say why not in a comment beside it", "time.Sleep in a test"))
		}
	})
	return found
}

var marker = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)

func markers(s *source) (found []finding) {
	for _, group := range s.file.Comments {
		for _, c := range group.List {
			for _, at := range marker.FindAllStringIndex(c.Text, -1) {
				found = append(found, s.at(c.Pos()+token.Pos(at[0]), "do it now or open an issue", "%s", c.Text[at[0]:at[1]]))
			}
		}
	}
	return found
}
