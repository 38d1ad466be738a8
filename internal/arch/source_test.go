package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/postbench/postbench"

// source is one parsed Go file.
type source struct {
	path string // slash-separated, from the module's root
	text []byte
	fset *token.FileSet
	file *ast.File
}

// finding is one breach of a rule: where, what is wrong, what to do instead.
type finding struct {
	path    string
	line    int
	wrong   string
	instead string
}

func (f finding) String() string {
	return fmt.Sprintf("%s:%d: %s; %s", f.path, f.line, f.wrong, f.instead)
}

// rule inspects the files of one directory, tests included.
type rule func(dir []*source) []finding

// perFile makes a rule of a check that looks at one file at a time.
func perFile(check func(*source) []finding) rule {
	return func(dir []*source) (found []finding) {
		for _, s := range dir {
			found = append(found, check(s)...)
		}
		return found
	}
}

func parseSource(name string, text []byte) (*source, error) {
	s := &source{path: name, text: text, fset: token.NewFileSet()}
	var err error
	s.file, err = parser.ParseFile(s.fset, name, text, parser.ParseComments)
	return s, err
}

func (s *source) dir() string  { return path.Dir(s.path) }
func (s *source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

func (s *source) isGenerated() bool {
	return strings.HasSuffix(s.path, ".pb.go") || strings.HasSuffix(s.path, ".capnp.go")
}

func (s *source) line(p token.Pos) int { return s.fset.Position(p).Line }

func (s *source) at(p token.Pos, instead, wrong string, args ...any) finding {
	return finding{s.path, s.line(p), fmt.Sprintf(wrong, args...), instead}
}

// in reports whether a directory is one of the trees or lies below it. "." is
// the root directory alone.
func in(dir string, trees ...string) bool {
	return slices.ContainsFunc(trees, func(tree string) bool {
		return dir == tree || strings.HasPrefix(dir, tree+"/")
	})
}

func importPath(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil {
		panic("BUG: the parser accepts import " + spec.Path.Value)
	}
	return p
}

// importNames maps the names under which a file knows its imports to their paths.
func (s *source) importNames() map[string]string {
	names := make(map[string]string, len(s.file.Imports))
	for _, spec := range s.file.Imports {
		p := importPath(spec)
		name := path.Base(p)
		if isMajorVersion(name) {
			name = path.Base(path.Dir(p))
		}
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = p
	}
	return names
}

func isMajorVersion(s string) bool {
	digits, ok := strings.CutPrefix(s, "v")
	_, err := strconv.Atoi(digits)
	return ok && err == nil
}

// eachQualified calls f for every use pkg.Name of an imported package. A local
// variable that hides the package is not taken for it.
func (s *source) eachQualified(f func(sel *ast.SelectorExpr, pkg, name string)) {
	names := s.importNames()
	ast.Inspect(s.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if pkg := qualifier(sel.X, names); pkg != "" {
				f(sel, pkg, sel.Sel.Name)
			}
		}
		return true
	})
}

// qualifier is the import path that an identifier stands for, or "".
func qualifier(x ast.Expr, names map[string]string) string {
	id, ok := x.(*ast.Ident)
	if !ok || id.Obj != nil { // the parser resolved it within the file: a variable
		return ""
	}
	return names[id.Name]
}

// loadTree parses every Go file of the module, by directory. A file that does not
// parse is reported and left out.
func loadTree(t *testing.T, root string) map[string][]*source {
	t.Helper()
	tree := make(map[string][]*source)
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && p != root && skipDir(e.Name()) {
			return filepath.SkipDir
		}
		if e.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		s, err := parseSource(filepath.ToSlash(rel), text)
		if err != nil {
			t.Errorf("%v; make it compile", err)
			return nil
		}
		tree[s.dir()] = append(tree[s.dir()], s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// skipDir leaves out what the go command ignores too, and the build's output.
func skipDir(name string) bool {
	return name == "testdata" || name == "out" || strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_")
}

func moduleRoot(t *testing.T) string {
	t.Helper()
	root := filepath.Join("..", "..")
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil || !bytes.HasPrefix(mod, []byte("module "+modulePath+"\n")) {
		t.Fatalf("%s is not the root of %s: %v", root, modulePath, err)
	}
	return root
}
