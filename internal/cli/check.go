package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/scenarios"
)

// maxCheckedBytes bounds a file that is read to find out what it is.
const maxCheckedBytes = 1 << 20

// checkFile loads a document as what its keys say it is.
func checkFile(file string) (kind string, err error) {
	kind, err = kindOf(file)
	if err != nil {
		return "", err
	}
	path := asPath(file)
	switch kind {
	case "scenario":
		_, err = scenarios.Load(path)
	case "variant":
		_, err = refserver.LoadVariant(path)
	case "partner":
		_, err = profiles.LoadPartner(path)
	case "network":
		_, err = profiles.LoadNetwork(path)
	default:
		_, err = profiles.Load(path)
	}
	return kind, err
}

// asPath makes sure that a file's name is not taken for a preset's.
func asPath(file string) string {
	if !slices.Contains([]byte(file), os.PathSeparator) {
		return "." + string(os.PathSeparator) + file
	}
	return file
}

// documentKind is what tells one kind of document from the others.
type documentKind struct {
	name  string
	keys  []string // that it allows
	signs []string // those that only it has, of the documents that are usual
}

// documentKinds lists the kinds; among equals the first is meant.
func documentKinds() []documentKind {
	return []documentKind{
		{"profile", strictyaml.Keys(profiles.Profile{}), nil},
		{"scenario", scenarios.Keys(), []string{"arrivals", "offers"}},
		{"variant", strictyaml.Keys(refserver.Composition{}), []string{"front", "caps"}},
		{"partner", strictyaml.Keys(profiles.Partner{}), []string{"template", "retries"}},
		{"network", strictyaml.Keys(profiles.Network{}), []string{"rtt"}},
	}
}

// knows is how well the keys of a document fit the kind: how many it allows,
// then how many are misspelt ones of it, then how many are its signs.
func (k documentKind) knows(keys []string) []int {
	fit := make([]int, 3)
	for _, key := range keys {
		switch {
		case slices.Contains(k.keys, key):
			fit[0]++
		case strictyaml.IsNear(key, k.keys):
			fit[1]++
		}
		if slices.Contains(k.signs, key) {
			fit[2]++
		}
	}
	return fit
}

// kindOf tells a document's kind: the one that knows most of its keys, so that
// a misspelt one is not held against the others. A document that is not even
// YAML is taken for a scenario, whose loader says where.
func kindOf(file string) (string, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return "", err
	case info.IsDir():
		return "", fmt.Errorf("%s: a directory; its files are %s", file, filepath.Join(file, "*.yaml"))
	case info.Size() > maxCheckedBytes || !info.Mode().IsRegular():
		return "", fmt.Errorf("%s: not a YAML file of at most %d bytes", file, maxCheckedBytes)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	keys := strictyaml.TopKeys(text)
	if len(keys) == 0 {
		return "scenario", nil
	}
	kinds := documentKinds()
	best := kinds[0]
	for _, kind := range kinds[1:] {
		if slices.Compare(kind.knows(keys), best.knows(keys)) > 0 {
			best = kind
		}
	}
	return best.name, nil
}

// mistakes takes the errors of several documents apart and leaves out what was
// said before: a scenario and a file that it names both say what is wrong there.
type mistakes struct {
	list manyErrors
	said map[string]bool
}

// add notes every mistake of a file once, a line each.
func (m *mistakes) add(err error) {
	var positioned *strictyaml.Error
	joined, several := err.(interface{ Unwrap() []error })
	if several && errors.As(err, &positioned) {
		for _, one := range joined.Unwrap() {
			m.add(one)
		}
		return
	}
	key := err.Error()
	if errors.As(err, &positioned) {
		if path, absErr := filepath.Abs(positioned.File); absErr == nil {
			same := *positioned
			same.File = path // one of them may be named from another folder
			key = same.Error()
		}
	}
	if m.said[key] {
		return
	}
	if m.said == nil {
		m.said = map[string]bool{}
	}
	m.said[key] = true
	m.list = append(m.list, err)
}
