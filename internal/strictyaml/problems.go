package strictyaml

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Problems collects what is wrong with the meaning of a document, so that one
// look shows all of it.
type Problems struct {
	list []problem
}

type problem struct{ path, msg string }

// Add notes a mistake of the value at path, such as "partners[1].share". The
// message gets the path as its prefix, as those of Decode do.
func (p *Problems) Add(path, format string, args ...any) {
	p.list = append(p.list, problem{path, path + ": " + fmt.Sprintf(format, args...)})
}

// Append adds the mistakes that were collected apart.
func (p *Problems) Append(more Problems) { p.list = append(p.list, more.list...) }

// Err returns the problems as plain errors without positions, joined, for
// values that come from no document; nil if there are none.
func (p *Problems) Err() error {
	var errs []error
	for _, problem := range p.list {
		errs = append(errs, errors.New(problem.msg))
	}
	return joinOrSingle(errs)
}

// In returns the problems as *Error positioned in the document, in its order,
// joined; nil if there are none.
func (p *Problems) In(file string, data []byte) error {
	if len(p.list) == 0 {
		return nil
	}
	root, err := parse(file, data)
	if err != nil {
		return err
	}
	found := make([]*Error, len(p.list))
	for i, problem := range p.list {
		found[i] = errorAt(file, find(root, problem.path), problem.msg)
	}
	slices.SortStableFunc(found, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	errs := make([]error, len(found))
	for i, e := range found {
		errs[i] = e
	}
	return joinOrSingle(errs)
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
