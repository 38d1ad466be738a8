package strictyaml

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Problems collects what is wrong with the meaning of a document, so that one
// look shows all of it. Of what could not be read at all it takes no more
// mistakes: they would only be consequences.
type Problems struct {
	list   []problem
	unread map[string]bool // of the decoder
	above  map[string]bool // paths above those
}

type problem struct{ path, msg string }

func newProblems(unread map[string]bool) *Problems {
	p := &Problems{unread: unread, above: map[string]bool{}}
	for path := range unread {
		for parent := range parents(path) {
			p.above[parent] = true
		}
	}
	return p
}

// Add notes a mistake of the value at path, such as "partners[1].share". The
// message gets the path as its prefix, as those of Decode do.
func (p *Problems) Add(path, format string, args ...any) {
	if !p.Unread(path) {
		p.list = append(p.list, problem{path, path + ": " + fmt.Sprintf(format, args...)})
	}
}

// Len is how many mistakes were noted.
func (p *Problems) Len() int { return len(p.list) }

// Unread reports whether the document has something at one of the paths that
// could not be read, or under a misspelt key: its value means nothing, and what
// depends on it cannot be judged.
func (p *Problems) Unread(paths ...string) bool {
	for _, path := range paths {
		if _, at := p.unread[path]; at {
			return true
		}
		for parent := range parents(path) {
			if p.unread[parent] {
				return true
			}
		}
	}
	return false
}

// UnreadIn is Unread for a mapping or list and all that is in it; "" is the
// whole document.
func (p *Problems) UnreadIn(path string) bool { return p.above[path] || p.Unread(path) }

// parents yields the paths above one: "a[1]", "a" and "" for "a[1].b".
func parents(path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for path != "" {
			path = path[:max(0, strings.LastIndexAny(path, ".["))]
			if !yield(path) {
				return
			}
		}
	}
}

// Err returns the problems as plain errors without positions, joined, for
// values that come from no document; nil if there are none.
func (p *Problems) Err() error {
	var errs []error
	for _, problem := range p.list {
		errs = append(errs, errors.New(problem.msg))
	}
	return joinOrSingle(errs)
}

// positions finds the problems in the document. A missing key's is that of its
// nearest parent that exists.
func (p *Problems) positions(file string, root ast.Node) []*Error {
	found := make([]*Error, len(p.list))
	for i, problem := range p.list {
		found[i] = errorAt(file, find(root, problem.path), problem.msg)
	}
	return found
}

// inOrder sorts mistakes as a reader meets them.
func inOrder(found []*Error) []error {
	slices.SortStableFunc(found, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs := make([]error, len(found))
	for i, e := range found {
		errs[i] = e
	}
	return errs
}

func joinOrSingle(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// MaxNameBytes is the longest name of IsName.
const MaxNameBytes = 32

// NameRule says in words what IsName accepts.
const NameRule = "a name of 1 to 32 letters, digits, -, _ or ."

// IsName reports whether s can name a scenario, a partner or an offer: it goes
// into URLs, file names and tables without quoting.
func IsName(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.' {
			return false
		}
	}
	return s != "" && len(s) <= MaxNameBytes
}
