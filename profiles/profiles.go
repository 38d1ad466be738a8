// Package profiles describes where a scenario is played: the habits of the
// partners that send postbacks, and what is added to the machine that runs the
// server. Both are strict YAML, embedded presets or the user's own files.
package profiles

import (
	"crypto/sha256"
	"embed"
	"fmt"
	"strings"

	"github.com/postbench/postbench/internal/strictyaml"
)

//go:embed *.yaml partners/*.yaml
var presetFiles embed.FS

var (
	runPresets     = strictyaml.Presets{What: "profile", FS: presetFiles, Dir: "."}
	partnerPresets = strictyaml.Presets{What: "partner profile", FS: presetFiles, Dir: "partners"}
)

// MaxAboutBytes is the longest "about" line of a document.
const MaxAboutBytes = 200

// Profile says what a run adds to the bare machine.
type Profile struct {
	Name, About string

	source []byte
}

// Load reads a run profile: a preset by name or a file by path. Errors are
// those of strictyaml.Presets and strictyaml.Decode.
func Load(nameOrPath string) (Profile, error) {
	file, data, err := runPresets.Read(nameOrPath)
	if err != nil {
		return Profile{}, err
	}
	p := Profile{source: data}
	if err := strictyaml.Decode(file, data, &p); err != nil {
		return Profile{}, err
	}
	var problems strictyaml.Problems
	checkTitle(&problems, p.Name, p.About)
	if err := problems.In(file, data); err != nil {
		return Profile{}, err
	}
	return p, nil
}

// Names lists the embedded run profiles.
func Names() []string { return runPresets.Names() }

// Source returns the document that the profile was read from.
func (p Profile) Source() string { return string(p.source) }

// SHA256 is the hash of Source in hex, so that results of equal profiles are
// known.
func (p Profile) SHA256() string { return fmt.Sprintf("%x", sha256.Sum256(p.source)) }

func checkTitle(problems *strictyaml.Problems, name, about string) {
	if !strictyaml.IsName(name) {
		problems.Add("name", "want %s, got %q", strictyaml.NameRule, name)
	}
	if len(about) > MaxAboutBytes || strings.Contains(about, "\n") {
		problems.Add("about", "want one line of at most %d bytes", MaxAboutBytes)
	}
}
