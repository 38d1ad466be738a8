package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

const (
	maxFileLines = 500 // tests included
	maxFuncLines = 70  // from the word func to the closing brace
)

func sprintLines(what string, lines, limit int) string {
	return fmt.Sprintf("%s has %d lines, at most %d are allowed", what, lines, limit)
}

func sizes(s *source) (found []finding) {
	if s.isGenerated() {
		return nil
	}
	lines := bytes.Count(s.text, []byte{'\n'})
	if len(s.text) > 0 && s.text[len(s.text)-1] != '\n' {
		lines++
	}
	if lines > maxFileLines {
		found = append(found, finding{s.path, maxFileLines + 1, sprintLines("file", lines, maxFileLines), "split it by purpose"})
	}
	if s.isTest() {
		return found
	}
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			if lines := s.line(f.End()) - s.line(f.Pos()) + 1; lines > maxFuncLines {
				found = append(found, s.at(f.Pos(), "split it by purpose", "%s", sprintLines("function "+f.Name.Name, lines, maxFuncLines)))
			}
		}
	}
	return found
}

func noInit(s *source) (found []finding) {
	if s.isGenerated() {
		return nil
	}
	for _, d := range s.file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
			found = append(found, s.at(f.Pos(), "do it in a constructor or in main", "func init"))
		}
	}
	return found
}

var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "misc"}

func packageNames(s *source) []finding {
	name := strings.TrimSuffix(s.file.Name.Name, "_test")
	if slices.Contains(emptyNames, name) || slices.Contains(emptyNames, path.Base(s.dir())) {
		return []finding{s.at(s.file.Name.Pos(), "name it after what it provides", "package %s says nothing", s.path)}
	}
	return nil
}
