package profiles

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/netem"
)

func TestNetworkPresets(t *testing.T) {
	want := []string{"cis-bad-isp", "cis-edge", "edge-uplink", "eu-eu", "eu-us-east", "loopback", "metro", "partner-dc-proxy", "same-dc", "us-us"}
	if got := NetworkNames(); !slices.Equal(got, want) {
		t.Fatalf("names %q, want %q", got, want)
	}
	words := ""
	for _, name := range want {
		n, err := LoadNetwork(name)
		if err != nil {
			t.Fatal(err)
		}
		spec := n.Spec()
		if err := spec.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n.Name != name || spec.Name != name || n.About == "" || !strings.HasPrefix(n.Source(), "# ") {
			t.Errorf("%s is called %q, or says nothing of itself", name, n.Name)
		}
		words += n.Describe() + "\n"
	}
	golden(t, "networks", words)
}

func TestLoopbackChangesNothing(t *testing.T) {
	n, err := LoadNetwork("loopback")
	if err != nil {
		t.Fatal(err)
	}
	spec := n.Spec()
	if spec.RTTNs != 0 || !spec.Jitter.Zero() || !spec.DNS.Zero() || spec.Loss != (netem.GilbertElliott{}) || spec.RateBitsPerS != 0 {
		t.Errorf("loopback shapes: %+v", spec)
	}
}

func TestNetworkSpec(t *testing.T) {
	n, err := parseNetwork("n.yaml", []byte("name: n\nrtt: 85ms\njitter: {p95: 8ms, p50: 2ms}\ndns: {p50: 15ms}\n"+
		"loss: {good: 0.001, bad: 0.5, good_to_bad: 0.01, bad_to_good: 0.24}\nbandwidth: 2.5Mbit/s\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := n.Spec()
	if s.Name != "n" || s.RTTNs != 85e6 || s.RateBitsPerS != 2.5e6 {
		t.Errorf("got %+v", s)
	}
	if p50, p95 := s.Jitter.At(0.5), s.Jitter.At(0.95); p50 != 2e6 || math.Abs(float64(p95)-8e6) > 10 {
		t.Errorf("jitter p50 %d, p95 %d", p50, p95)
	}
	if s.DNS.At(0.9) != int64(15*time.Millisecond) || math.Abs(s.Loss.Mean()-0.02096) > 1e-9 {
		t.Errorf("dns %d, mean loss %v", s.DNS.At(0.9), s.Loss.Mean())
	}
}

func TestNetworkErrors(t *testing.T) {
	parse := func(data []byte) error {
		_, err := parseNetwork("n.yaml", data)
		return err
	}
	golden(t, "network-mistakes", errorsOf(t, parse,
		"name: a b\nrrt: 1s\n",
		"name: a\nrtt: 4s\n",
		"name: a\nrtt: 85\n",
		"name: a\njitter: {p50: 2ms, p99.9: 1ms, p0: 1ms}\ndns: {p95: 2m, p95.0: 1ms, x: 1ms}\n",
		"name: a\nloss: {good: 2, bad: -1}\n",
		"name: a\nloss: {bad: 0.5}\n",
		"name: a\nloss: {bad: 0.5, good_to_bad: 0.1}\n",
		"name: a\nloss: {good: 1}\n",
		"name: a\nbandwidth: 10\n",
		"name: a\nbandwidth: 9kbit/s\n",
		"name: a\nbandwidth: 10 MB/s\n",
		"name: a\nbandwidth: 1e12Gbit/s\n",
		"name: a\nrtt: 99h\njitter: {p50: 2ms, p99: 1 ms, p99.9: 1ms}\nloss: {bad: 2, god_to_bad: 0.1}\n",
	))
}

func TestBandwidth(t *testing.T) {
	for text, want := range map[string]Bandwidth{"1Gbit/s": 1e9, "2.5 Mbit/s": 2.5e6, "512kbit/s": 512e3, "10000bit/s": 1e4} {
		var got Bandwidth
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
		var again Bandwidth
		if err := again.UnmarshalText([]byte(got.String())); err != nil || again != got {
			t.Errorf("%s is written as %s", text, got)
		}
	}
}
