package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postbench/postbench/reports"
)

// Of the path to the server, in ms.
const (
	rttMs = 85
	dnsMs = 20
)

// farFolder is a scenario of partners that connect in one way each, over a path
// that only delays, and one partner nearby that says what the server takes.
func farFolder(t *testing.T) (dir string) {
	t.Helper()
	files := map[string]string{
		"far.yaml":    fmt.Sprintf("name: far\nabout: of a test\nrtt: %dms\ndns: {p50: %dms}\n", rttMs, dnsMs),
		"shaped.yaml": "name: shaped\nabout: of a test\ntls: true\npaths:\n  default: {central: ./far.yaml, edge: ./far.yaml}\n  near: {central: loopback, edge: loopback}\n",
	}
	list := ""
	for _, p := range []struct {
		name, version           string
		resume, keepAlive, near bool
	}{
		{"new-13", "1.3", false, false, false}, {"resumed-13", "1.3", true, false, false}, {"new-12", "1.2", false, false, false},
		{"resumed-12", "1.2", true, false, false}, {"kept", "1.3", false, true, false}, {"near", "1.3", false, true, true},
	} {
		files[p.name+".yaml"] = fmt.Sprintf("name: %s\nabout: of a test\ntemplate: plain\nkeep_alive: %v\ntls: {version: %q, resume: %v}\ndns_ttl: 0s\n",
			p.name, p.keepAlive, p.version, p.resume)
		region := ""
		if p.near {
			region = ", region: near"
		}
		list += fmt.Sprintf("  - {name: %s, profile: ./%[1]s.yaml%s}\n", p.name, region)
	}
	files["scenario.yaml"] = "name: far\narrivals: {process: constant, rate_per_s: 60}\nduration: 5s\nwarmup: 1s\npartners_zipf: 0.01\npartners:\n" +
		list + "offers:\n  - {id: o, share: 1, payout: 1, currency: EUR}\n"
	return folder(t, files)
}

// partnersByName indexes a variant's partners.
func partnersByName(v *reports.Variant) map[string]*reports.Partner {
	partners := map[string]*reports.Partner{}
	for i := range v.Partners {
		partners[v.Partners[i].Name] = &v.Partners[i]
	}
	return partners
}

// within is a limit of so many per cent around a figure in ms.
func within(name string, us *float64, percent, wantMs float64) limits {
	return limits{{name, us, wantMs * (1 - percent/100), wantMs * (1 + percent/100)}}
}

// A new connection over 85 ms costs the look-up and three round trips with TLS
// 1.3 or a resumed session of TLS 1.2, and four with a full handshake of TLS
// 1.2; a kept one costs one. A busy machine spoils one run, a fault each.
func TestRoundTrips(t *testing.T) {
	dir := farFolder(t)
	const tries = 3
	for try := 1; ; try++ {
		p := play(t, "run", "--variant", "monolith", "--embedded", "--scenario", filepath.Join(dir, "scenario.yaml"), "--profile", filepath.Join(dir, "shaped.yaml"),
			"--settle", "300ms")
		v := &p.result.Variants[0]
		connectionsAreTrue(t, v)
		problems := roundTrips(t, v).broken()
		if len(problems) == 0 {
			return
		}
		text := strings.Join(append(problems, v.Validity.Reasons...), "; ")
		if try == tries {
			t.Fatal(text)
		}
		t.Logf("try %d: %s", try, text)
	}
}

// roundTrips says what the latencies must be.
func roundTrips(t *testing.T, v *reports.Variant) (want limits) {
	t.Helper()
	partners := partnersByName(v)
	near := known(t, "p50 of the partner nearby", partners["near"].Latency.Response.P50Us) / 1e3
	for name, trips := range map[string]float64{"new-13": 3, "resumed-13": 3, "new-12": 4, "resumed-12": 3} {
		partner := partners[name]
		want = append(want, within(name+" response", partner.Latency.Response.P50Us, 5, dnsMs+trips*rttMs)...)
		want = append(want, within(name+" dns", partner.Phases.DNS.P50Us, 5, dnsMs)...)
		want = append(want, within(name+" connect", partner.Phases.Connect.P50Us, 5, rttMs)...)
		want = append(want, within(name+" tls", partner.Phases.TLS.P50Us, 5, (trips-2)*rttMs)...)
	}
	return append(want, within("kept response", partners["kept"].Latency.Response.P50Us, 2, rttMs+near)...)
}

// connectionsAreTrue holds what the partners saw of connections against what
// the emulated path knows.
func connectionsAreTrue(t *testing.T, v *reports.Variant) {
	t.Helper()
	var handshakes, looked int64
	for name, p := range partnersByName(v) {
		if name == "near" {
			continue
		}
		handshakes += p.Handshakes
		fresh, resumes := name != "kept", strings.HasPrefix(name, "resumed")
		if fresh && (p.Handshakes != p.Ledger.Attempts || p.Phases.Connect.Count != p.Phases.Wait.Count || p.Phases.TLS.Count != p.Phases.Wait.Count) {
			t.Errorf("%s: %d attempts, %d handshakes; %d timed, %d connects, %d handshakes", name, p.Ledger.Attempts, p.Handshakes,
				p.Phases.Wait.Count, p.Phases.Connect.Count, p.Phases.TLS.Count)
		}
		if !fresh && p.Handshakes > p.Ledger.Attempts/2 {
			t.Errorf("%s: %d handshakes for %d attempts", name, p.Handshakes, p.Ledger.Attempts)
		}
		if resumes != (p.Resumed > p.Handshakes/2) || !resumes && p.Resumed != 0 {
			t.Errorf("%s: %d of %d handshakes resumed", name, p.Resumed, p.Handshakes)
		}
		if p.Network != "far" {
			t.Errorf("%s went over %q", name, p.Network)
		}
		if fresh {
			looked += p.Ledger.Attempts
		}
	}
	at := slices.IndexFunc(v.Networks, func(n reports.Network) bool { return n.Name == "far" })
	if at < 0 || len(v.Networks) != 2 {
		t.Fatalf("networks %+v", v.Networks)
	}
	// Attempts that begin while a name is looked up share that look-up.
	far := &v.Networks[at]
	if far.Connections != handshakes || far.Lookups > far.Connections || far.Lookups < looked/3 {
		t.Errorf("%d handshakes, the path saw %d connections and %d look-ups", handshakes, far.Connections, far.Lookups)
	}
	if far.Lost+far.Retransmissions+far.Timeouts != 0 || far.Segments < 6*far.Connections {
		t.Errorf("a path without loss: %+v", far)
	}
}
