package cli

import (
	"fmt"
	"os"
	"slices"

	"github.com/goccy/go-yaml"

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

// kindOf tells a document's kind by a key that only this kind has. A document
// that is not even YAML is taken for a scenario, whose loader says where.
func kindOf(file string) (string, error) {
	info, err := os.Stat(file)
	if err != nil {
		return "", err
	}
	if info.Size() > maxCheckedBytes || !info.Mode().IsRegular() {
		return "", fmt.Errorf("%s: not a YAML file of at most %d bytes", file, maxCheckedBytes)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	var keys map[string]any
	if yaml.Unmarshal(text, &keys) != nil {
		return "scenario", nil
	}
	for _, sign := range [][2]string{{"arrivals", "scenario"}, {"offers", "scenario"}, {"front", "variant"}, {"caps", "variant"},
		{"template", "partner"}, {"retries", "partner"}, {"rtt", "network"}} {
		if _, ok := keys[sign[0]]; ok {
			return sign[1], nil
		}
	}
	return "profile", nil
}
