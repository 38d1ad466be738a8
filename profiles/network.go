package profiles

import (
	"errors"
	"time"

	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/internal/strictyaml"
)

// MaxRTT is the longest round trip of a network.
const MaxRTT = time.Duration(netem.MaxRTTNs)

// Network is a path between a partner and a server, or between two servers.
type Network struct {
	Name, About string
	// RTT is the round trip without any jitter.
	RTT strictyaml.Duration
	// Jitter is added to the one-way delay of every segment.
	Jitter Percentiles
	// DNS is one look-up of the server's name.
	DNS Percentiles
	// Loss is that of TCP segments, each direction on its own.
	Loss Loss
	// Bandwidth limits each direction; 0 is no limit.
	Bandwidth Bandwidth

	source []byte
}

// Loss is a Gilbert–Elliott chain: a good and a bad state, each losing its
// share of segments, and the chances to change state before a segment.
// All are probabilities, 0 to 1.
type Loss struct {
	Good, Bad float64
	GoodToBad float64 `yaml:"good_to_bad"`
	BadToGood float64 `yaml:"bad_to_good"`
}

func (l Loss) chain() netem.GilbertElliott {
	return netem.GilbertElliott{GoodLoss: l.Good, BadLoss: l.Bad, GoodToBad: l.GoodToBad, BadToGood: l.BadToGood}
}

// LoadNetwork reads a path: a preset by name or a file by path. Errors are
// those of strictyaml.Presets and strictyaml.DecodeChecked, and an *strictyaml.Error
// for every value out of its range, joined in document order.
func LoadNetwork(nameOrPath string) (Network, error) {
	file, data, err := networkPresets.Read(nameOrPath)
	if err != nil {
		return Network{}, err
	}
	return parseNetwork(file, data)
}

// NetworkNames lists the embedded networks.
func NetworkNames() []string { return networkPresets.Names() }

// Spec returns the network as internal/netem plays it. The network must have
// been loaded.
func (n Network) Spec() netem.PathSpec {
	jitter, jitterErr := n.Jitter.Dist()
	dns, dnsErr := n.DNS.Dist()
	if err := errors.Join(jitterErr, dnsErr); err != nil {
		panic("BUG: network " + n.Name + " was not loaded: " + err.Error())
	}
	return netem.PathSpec{
		Name: n.Name, RTTNs: int64(n.RTT), Jitter: jitter, DNS: dns, Loss: n.Loss.chain(), RateBitsPerS: float64(n.Bandwidth),
	}
}

// Source returns the document that the network was read from.
func (n Network) Source() string { return string(n.source) }

func parseNetwork(file string, data []byte) (Network, error) {
	n := Network{source: data}
	err := strictyaml.DecodeChecked(file, data, &n, func(problems *strictyaml.Problems) {
		checkTitle(problems, n.Name, n.About)
		n.check(problems)
	})
	if err != nil {
		return Network{}, err
	}
	return n, nil
}

func (n Network) check(problems *strictyaml.Problems) {
	if time.Duration(n.RTT) > MaxRTT {
		problems.Add("rtt", "want at most %s, got %s", strictyaml.Duration(MaxRTT), n.RTT)
	}
	n.Jitter.check(problems, "jitter")
	n.DNS.check(problems, "dns")
	n.Loss.check(problems)
}

func (l Loss) check(problems *strictyaml.Problems) {
	for _, p := range []struct {
		key   string
		value float64
	}{{"good", l.Good}, {"bad", l.Bad}, {"good_to_bad", l.GoodToBad}, {"bad_to_good", l.BadToGood}} {
		if !(p.value >= 0 && p.value <= 1) {
			problems.Add("loss."+p.key, "want a probability of 0 to 1, got %v", p.value)
		}
	}
	switch {
	case problems.UnreadIn("loss"): // together they could be sound
	case l.chain().Mean() == 1:
		problems.Add("loss", "every segment is lost: nothing would ever arrive")
	case l.GoodToBad > 0 && !(l.BadToGood > 0):
		problems.Add("loss", "the bad state is never left: set bad_to_good above 0")
	case l.GoodToBad == 0 && (l.Bad > 0 || l.BadToGood > 0):
		problems.Add("loss", "the bad state is never entered: set good_to_bad above 0, or leave bad and bad_to_good out")
	}
}
