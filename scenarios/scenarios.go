// Package scenarios describes what partners send and for how long: strict YAML
// documents, embedded presets or the user's own files.
package scenarios

import (
	"crypto/sha256"
	"embed"
	"fmt"
	"math"
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

// Defaults of what a document leaves out.
const (
	DefaultProcess        = ProcessConstant
	DefaultRouterPoll     = 20 * time.Millisecond
	DefaultDuplicateAfter = 50 * time.Millisecond
	DefaultChainAfter     = 100 * time.Millisecond
	DefaultTimeScale      = 1.0
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
	// PartnersZipf, if above 0, gives the partners their shares: that of the
	// k-th in the list is proportional to 1/k^PartnersZipf.
	PartnersZipf float64      `yaml:"partners_zipf"`
	Mix          Mix          `yaml:"-"` // see document
	Offers       []OfferGroup `yaml:"-"` // see document
	// RouterPoll is how often the router looks at the caps.
	RouterPoll strictyaml.Duration `yaml:"router_poll"`
	// TimeScale compresses time, at least 1: the partners' retry schedules and
	// DNS lifetimes, attribution windows and cap days become that many times
	// shorter. A timeout or a measured latency never does.
	TimeScale float64 `yaml:"time_scale"`
	// Grace is how long after the last due time partners go on trying; 0 = as
	// long as their retry schedules last.
	Grace strictyaml.Duration
	// ServerSlow makes the reference server slow for a while; nil = never.
	ServerSlow *ServerSlow `yaml:"server_slow"`
	// Expect says what must hold at the end, in the language of package expect.
	Expect []string

	source []byte
}

// ServerSlow is a fault of the reference server: from At on, for For, it
// answers every postback Add later.
type ServerSlow struct{ At, For, Add strictyaml.Duration }

// Partner is one sender.
type Partner struct {
	Name string // also the key id (kid) of its signatures
	// Profile names its habits: a preset of package profiles or a path, which in
	// a document counts from the document's own folder.
	Profile string
	Share   float64 // of all intents
	// Region names the network path that the partner is on, among those of the
	// run's profile; "" is its default path.
	Region string
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
	// Late come after the attribution window of their click, of the offers that
	// have one.
	Late float64
	// Chains are several events of one conversion, each ChainAfter after the
	// one before, on average.
	Chains     []Chain             `yaml:"-"` // see document
	ChainAfter strictyaml.Duration `yaml:"chain_after"`
}

// Chain is a conversion that changes its status: lead, sale, rejected.
type Chain struct {
	Events []postback.Event // MinChainEvents to MaxChainEvents of them
	Share  float64          // of all intents: those that begin such a chain
}

// OfferGroup is Count alike offers that split Share evenly, or by Zipf.
type OfferGroup struct {
	ID       string            // of the only offer, or the prefix of Count offers
	Count    int               `yaml:"-"`
	Share    float64           // of all intents, the whole group
	Zipf     float64           // above 0: the k-th offer's part of Share is proportional to 1/k^Zipf
	Payout   postback.Money    `yaml:"-"`
	Currency postback.Currency `yaml:"-"`
	Cap      int64             // payable conversions per offer and cap window; 0 = none
	// CapEvery is how long a cap counts before it counts anew, in whole
	// seconds; 0 = the whole life. Such windows follow each other from the Unix
	// epoch: those of 24h begin at midnight UTC.
	CapEvery strictyaml.Duration `yaml:"cap_every"`
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

// OfferShare is the share of all intents that one offer gets.
type OfferShare struct {
	ID    string
	Share float64
}

// OfferShares lists every offer with its share, group after group in the order
// of OfferIDs.
func (s Scenario) OfferShares() []OfferShare {
	var shares []OfferShare
	for _, g := range s.Offers {
		parts := zipf(g.Count, g.Zipf)
		for i, id := range g.OfferIDs() {
			shares = append(shares, OfferShare{id, g.Share * parts[i]})
		}
	}
	return shares
}

// MeanRatePerS is the expected mean rate over the whole run.
func (s Scenario) MeanRatePerS() float64 {
	return s.Arrivals.MeanRatePerS(time.Duration(s.Duration))
}

// ChainLag is ChainAfter counted in intents at the mean rate, at least 1; 0
// where there are no chains.
func (s Scenario) ChainLag() uint64 {
	if len(s.Mix.Chains) == 0 {
		return 0
	}
	return uint64(max(1, math.Round(s.MeanRatePerS()*time.Duration(s.Mix.ChainAfter).Seconds())))
}

// zipf returns n shares that sum to 1, the k-th proportional to 1/k^exponent;
// 0 makes them even.
func zipf(n int, exponent float64) []float64 {
	shares := make([]float64, max(0, n))
	sum := 0.0
	for i := range shares {
		shares[i] = math.Pow(float64(i+1), -exponent)
		sum += shares[i]
	}
	for i := range shares {
		shares[i] /= sum
	}
	return shares
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
	if !strictyaml.IsPath(profile) {
		return profile
	}
	return besides(scenarioFile, profile)
}

// besides is the path of a file that a scenario names, from its own folder.
func besides(scenarioFile, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	joined := filepath.Join(filepath.Dir(scenarioFile), path)
	if !strings.ContainsRune(joined, filepath.Separator) {
		return "." + string(filepath.Separator) + joined
	}
	return joined
}
