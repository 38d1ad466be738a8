// Package profiles describes where a scenario is played: the habits of the
// partners that send postbacks, the networks between them and the server, and
// what is added to the machine that runs the server. All are strict YAML,
// embedded presets or the user's own files.
package profiles

import (
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/postbench/postbench/internal/strictyaml"
)

//go:embed *.yaml partners/*.yaml networks/*.yaml
var presetFiles embed.FS

var (
	runPresets     = strictyaml.Presets{What: "profile", FS: presetFiles, Dir: "."}
	partnerPresets = strictyaml.Presets{What: "partner profile", FS: presetFiles, Dir: "partners"}
	networkPresets = strictyaml.Presets{What: "network", FS: presetFiles, Dir: "networks"}
)

// Limits of a profile.
const (
	// MaxAboutBytes is the longest "about" line of a document.
	MaxAboutBytes = 200
	// MaxRegions is how many regions a profile may tell apart.
	MaxRegions = 64
)

// DefaultRegion is the region of partners that name none, or one that the
// profile does not know.
const DefaultRegion = "default"

// SessionsAtEdge: only edges keep TLS sessions, a central server that answers
// partners itself keeps none.
const SessionsAtEdge = "edge"

// Profile says what a run adds to the bare machine.
type Profile struct {
	Name, About string
	// TLS: variants serve TLS, and partners use it unless their version is
	// TLSNone.
	TLS bool
	// Sessions says where variants keep TLS sessions, so that partners can resume
	// them: SessionsAtEdge, or "" for everywhere.
	Sessions string
	// Paths are the networks from partners to the server, by the partners'
	// region. Empty shapes nothing; otherwise DefaultRegion is among them.
	Paths map[string]RegionPaths
	// Uplink is the network from edges to central: a preset's name or a file,
	// "" for none. In a document a file counts from the document's own folder.
	Uplink string
	// UplinkNetwork is what Uplink named.
	UplinkNetwork Network `yaml:"-"`
	// Proxy is where an edge stands that is a proxy in the partner's own data
	// centre; nil where such a variant takes the paths of other edges.
	Proxy *ProxyPaths
	// Stages are the service times that the server's stages take in addition.
	Stages []Stage

	source []byte
}

// RegionPaths are the networks from one region's partners to the server.
type RegionPaths struct {
	// Central leads to the central server, Edge to the nearest edge of a
	// variant that has edges. Names or files, as Uplink.
	Central, Edge string
	// CentralNetwork and EdgeNetwork are what they named.
	CentralNetwork Network `yaml:"-"`
	EdgeNetwork    Network `yaml:"-"`
}

// ProxyPaths are the networks of a proxy in the partner's data centre: Partner
// from the partner to it, Uplink from it to central. Names or files, as
// Profile.Uplink.
type ProxyPaths struct {
	Partner, Uplink string
	// PartnerNetwork and UplinkNetwork are what they named.
	PartnerNetwork Network `yaml:"-"`
	UplinkNetwork  Network `yaml:"-"`
}

// Load reads a run profile: a preset by name or a file by path, and the
// networks that it names. Errors are those of strictyaml.Presets and
// strictyaml.DecodeChecked, and an *strictyaml.Error for every value that is out of
// its range, joined in document order.
func Load(nameOrPath string) (Profile, error) {
	file, data, err := runPresets.Read(nameOrPath)
	if err != nil {
		return Profile{}, err
	}
	return parseProfile(file, data, LoadNetwork)
}

// Names lists the embedded run profiles.
func Names() []string { return runPresets.Names() }

// Source returns the document that the profile was read from.
func (p Profile) Source() string { return string(p.source) }

// SHA256 is the hash of Source in hex, so that results of equal profiles are
// known.
func (p Profile) SHA256() string { return fmt.Sprintf("%x", sha256.Sum256(p.source)) }

// Region returns the paths of the partners in a region, those of DefaultRegion
// for one that the profile does not know. ok is false when it shapes nothing.
func (p Profile) Region(name string) (paths RegionPaths, ok bool) {
	if paths, ok = p.Paths[name]; !ok {
		paths, ok = p.Paths[DefaultRegion]
	}
	return paths, ok
}

// Modelled tells whether the profile adds anything to the machine.
func (p Profile) Modelled() bool { return len(p.Stages) > 0 || len(p.Paths) > 0 }

// RegionNames lists the regions that the profile knows, in alphabetical order.
func (p Profile) RegionNames() []string { return slices.Sorted(maps.Keys(p.Paths)) }

func parseProfile(file string, data []byte, load func(string) (Network, error)) (Profile, error) {
	p := Profile{source: data}
	var networkErr error
	err := strictyaml.DecodeChecked(file, data, &p, func(problems *strictyaml.Problems) {
		checkTitle(problems, p.Name, p.About)
		p.checkSessions(problems)
		p.checkPaths(problems)
		checkStages(problems, p.Stages)
		networkErr = p.loadNetworks(file, load, problems)
	})
	if err := errors.Join(err, networkErr); err != nil {
		return Profile{}, err
	}
	return p, nil
}

func (p Profile) checkSessions(problems *strictyaml.Problems) {
	switch {
	case p.Sessions != "" && p.Sessions != SessionsAtEdge:
		problems.Add("sessions", "want %s, or nothing for everywhere, got %q", SessionsAtEdge, p.Sessions)
	case p.Sessions != "" && !p.TLS:
		problems.Add("sessions", "%q without tls: true: there are no sessions to keep", p.Sessions)
	}
}

func (p Profile) checkPaths(problems *strictyaml.Problems) {
	if len(p.Paths) > MaxRegions {
		problems.Add("paths", "%d regions, want at most %d", len(p.Paths), MaxRegions)
	}
	if _, ok := p.Paths[DefaultRegion]; !ok && len(p.Paths) > 0 {
		problems.Add("paths", "want %q among the regions, for partners that name none", DefaultRegion)
	}
	for _, region := range p.RegionNames() {
		if !strictyaml.IsName(region) {
			problems.Add("paths."+region, "want as region %s, got %q", strictyaml.NameRule, region)
		}
	}
}

// loadNetworks fills the networks. Mistakes inside a network's own file have
// positions there and are returned; the others become problems.
func (p *Profile) loadNetworks(file string, load func(string) (Network, error), problems *strictyaml.Problems) error {
	var errs []error
	read := func(key string, name *string) (n Network) {
		if *name == "" {
			problems.Add(key, "want a network: %s or a path", strings.Join(NetworkNames(), ", "))
			return n
		}
		*name = strictyaml.Beside(file, *name)
		n, err := load(*name)
		var positioned *strictyaml.Error
		switch {
		case errors.As(err, &positioned):
			errs = append(errs, err)
		case err != nil:
			problems.Add(key, "%v", err)
		}
		return n
	}
	for _, region := range p.RegionNames() {
		paths := p.Paths[region]
		paths.CentralNetwork = read("paths."+region+".central", &paths.Central)
		paths.EdgeNetwork = read("paths."+region+".edge", &paths.Edge)
		p.Paths[region] = paths
	}
	if p.Uplink != "" {
		p.UplinkNetwork = read("uplink", &p.Uplink)
	}
	if p.Proxy != nil {
		p.Proxy.PartnerNetwork = read("proxy.partner", &p.Proxy.Partner)
		p.Proxy.UplinkNetwork = read("proxy.uplink", &p.Proxy.Uplink)
	}
	return errors.Join(errs...)
}

func checkTitle(problems *strictyaml.Problems, name, about string) {
	if !strictyaml.IsName(name) {
		problems.Add("name", "want %s, got %q", strictyaml.NameRule, name)
	}
	if len(about) > MaxAboutBytes || strings.Contains(about, "\n") {
		problems.Add("about", "want one line of at most %d bytes", MaxAboutBytes)
	}
}
