// Package scenarios describes what partners send and for how long: strict YAML
// documents, embedded presets or the user's own files.
package scenarios

import (
	"crypto/sha256"
	"embed"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/internal/strictyaml"
	"github.com/postbench/postbench/profiles"
)

//go:embed *.yaml
var presetFiles embed.FS

var presets = strictyaml.Presets{What: "scenario", FS: presetFiles, Dir: "."}

// The arrival processes.
const (
	ProcessConstant = "constant"
	ProcessPoisson  = "poisson"
)

// Defaults of what a document leaves out.
const (
	DefaultProcess        = ProcessConstant
	DefaultRouterPoll     = 20 * time.Millisecond
	DefaultDuplicateAfter = 50 * time.Millisecond
)

// Scenario is what partners send.
type Scenario struct {
	Name, About string
	Arrivals    Arrivals
	// Duration is the whole run, warm-up included.
	Duration strictyaml.Duration
	// Warmup is the first part of Duration: audited, not timed.
	Warmup   strictyaml.Duration
	Partners []Partner
	Mix      Mix
	Offers   []OfferGroup `yaml:"-"` // see document
	// RouterPoll is how often the router looks at the caps.
	RouterPoll strictyaml.Duration `yaml:"router_poll"`

	source []byte
}

// Arrivals says when intents are due.
type Arrivals struct {
	Process  string  // ProcessConstant or ProcessPoisson
	RatePerS float64 `yaml:"rate_per_s"` // of all partners together
}

// Partner is one sender.
type Partner struct {
	Name string // also the key id (kid) of its signatures
	// Profile names its habits: a preset of package profiles or a path, which in
	// a document counts from the document's own folder.
	Profile string
	Share   float64 // of all intents
	// Habits is what Profile named.
	Habits profiles.Partner `yaml:"-"`
}

// Mix gives shares of all intents, each 0 to 1.
type Mix struct {
	// Duplicates are sent a second time, DuplicateAfter later on average.
	Duplicates float64
	// UnknownClicks carry a click id that the server was never told of.
	UnknownClicks float64 `yaml:"unknown_clicks"`
	// BadSignatures were altered after signing; UnknownPartner are signed with
	// a key that nobody registered. Both need signed templates.
	BadSignatures  float64 `yaml:"bad_signatures"`
	Malformed      float64
	UnknownPartner float64 `yaml:"unknown_partner"`
	// Leads pay nothing.
	Leads          float64
	DuplicateAfter strictyaml.Duration `yaml:"duplicate_after"`
}

// OfferGroup is Count alike offers that split Share evenly.
type OfferGroup struct {
	ID       string            // of the only offer, or the prefix of Count offers
	Count    int               `yaml:"-"`
	Share    float64           // of all intents, the whole group
	Payout   postback.Money    `yaml:"-"`
	Currency postback.Currency `yaml:"-"`
	Cap      int64             // payable conversions per offer and cap window; 0 = none
	// AttributionWindow is how long after its click a conversion counts, in
	// whole seconds; 0 = for ever.
	AttributionWindow strictyaml.Duration `yaml:"attribution_window"`
}

// OfferIDs lists the ids of the group: ID itself, or ID-01, ID-02, … with as
// many digits as the last one needs.
func (g OfferGroup) OfferIDs() []string {
	if g.Count == 1 {
		return []string{g.ID}
	}
	digits := len(fmt.Sprint(g.Count))
	ids := make([]string, g.Count)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%0*d", g.ID, digits, i+1)
	}
	return ids
}

// Load reads a preset by name or a file by path. Errors are those of
// strictyaml.Presets and Parse.
func Load(nameOrPath string) (Scenario, error) {
	file, data, err := presets.Read(nameOrPath)
	if err != nil {
		return Scenario{}, err
	}
	return Parse(file, data)
}

// Names lists the embedded scenarios.
func Names() []string { return presets.Names() }

// Default is the scenario of a run that names none: one plain partner, 100/s
// at a constant rate for 10 s, one offer without a cap, no faults.
func Default() Scenario {
	s, err := Load("default")
	if err != nil {
		panic("BUG: the embedded default scenario: " + err.Error())
	}
	return s
}

// Source returns the document that the scenario was read from.
func (s Scenario) Source() string { return string(s.source) }

// SHA256 is the hash of Source in hex. Changes made to the scenario after it
// was read (a flag's rate) do not show in it.
func (s Scenario) SHA256() string { return fmt.Sprintf("%x", sha256.Sum256(s.source)) }

// partnerPath lets a scenario name partner files beside itself.
func partnerPath(scenarioFile, profile string) string {
	if !strictyaml.IsPath(profile) || filepath.IsAbs(profile) {
		return profile
	}
	joined := filepath.Join(filepath.Dir(scenarioFile), profile)
	if !strings.ContainsRune(joined, filepath.Separator) {
		return "." + string(filepath.Separator) + joined
	}
	return joined
}
