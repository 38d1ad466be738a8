package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/postbench/postbench/reports"
)

const (
	rttMs = 85.0
	// rttDNSMs is constant, so that the sum can be told: the percentiles of sums
	// are no sums of percentiles.
	rttDNSMs = 15.0
	// The tolerances for an exchange on a new connection, and on a kept one.
	newTolerance, keptTolerance = 0.05, 0.02
	// rttSamples are the exchanges that a percentile must rest on.
	rttSamples = 200
)

// The networks of the two runs, and none at all.
const (
	rttPlainNetwork = `name: plain-85ms
about: Europe and the east of the USA without jitter or loss
rtt: 85ms
dns: {p50: 15ms}
`
	rttProfile = `name: %[1]s
about: TLS over the network %[1]s, no modelled stages
tls: true
paths:
  default: {central: %[2]s, edge: %[2]s}
`
	rttBareProfile = `name: no-network
about: TLS, nothing emulated
tls: true
`
	rttPartner = `name: %s
about: TLS %s
template: plain
connections: 0
timeout: 10s
queue: 100000
keep_alive: %t
tls: {version: "%s", resume: %t}
dns_ttl: %s
`
	rttScenario = `name: ways
about: six ways to connect, 38 to 48/s each
arrivals: {process: poisson, rate_per_s: 240}
duration: 12s
warmup: 2s
partners:
%soffers:
  - {id: offer, share: 1, payout: 1, currency: USD}
`
)

// rttKind is a way to reach the server and what it costs.
type rttKind struct {
	name, text  string
	keepAlive   bool
	version     string
	resume      bool
	roundTrips  float64
	wantResumed bool
}

// rttKinds: TCP's handshake takes one round trip, the exchange another. TLS 1.3
// adds one, resumed or not (RFC 8446, section 2: no early data is sent), TLS 1.2
// two (RFC 5246, section 7.3) and resumed one.
func rttKinds() []rttKind {
	return []rttKind{
		{"tls12-full", "new connection, TLS 1.2, full", false, "1.2", false, 4, false},
		{"tls12-resumed", "new connection, TLS 1.2, resumed", false, "1.2", true, 3, true},
		{"tls13-full", "new connection, TLS 1.3, full", false, "1.3", false, 3, false},
		{"tls13-resumed", "new connection, TLS 1.3, resumed", false, "1.3", true, 3, true},
		{"plain-text", "new connection, no TLS", false, "none", false, 2, false},
		{"keep-alive", "kept connection", true, "1.3", true, 1, false},
	}
}

// rttExperiment counts round trips end to end.
func rttExperiment() experiment {
	return experiment{
		name: "rtt", title: "Round trips, end to end",
		claim: fmt.Sprintf("EU–US-East (%g ms), udp-batch without modelled stages: the response p50 on new connections is dns + n round trips ± %g %%, on kept ones one round trip + service ± %g %%. Service is the p50 of the same exchange on kept connections with nothing emulated.",
			rttMs, newTolerance*100, keptTolerance*100),
		run: func(ctx context.Context, l *lab) (finding, error) {
			runs, err := writeRTTFiles(filepath.Join(l.dir, "rtt"))
			if err != nil {
				return finding{}, err
			}
			f := finding{holds: true}
			partners := map[string]map[string]*reports.Partner{}
			for _, r := range runs {
				p, err := l.play(ctx, "run", "--variant", "udp-batch", "--scenario", r.scenario, "--profile", r.profile)
				if err != nil {
					return finding{}, err
				}
				f.commands = append(f.commands, strings.ReplaceAll(p.command, filepath.Dir(r.profile)+string(filepath.Separator), ""))
				v := &p.result.Variants[0]
				if !v.Validity.Valid() {
					f.holds, f.short = false, "a run was "+validity(v)
				}
				partners[nameOf(r.profile)] = byName(v.Partners)
			}
			service := p50Ms(&partners["no-network"]["keep-alive"].Latency.Response)
			f.body = fmt.Sprintf("Service: %.2f ms. Without jitter or loss, and a look-up of %g ms for every connection:\n\n", service, rttDNSMs)
			f.judgeRTT(partners["plain-85ms"], rttDNSMs, service)
			f.body += "\nThe preset `eu-us-east` as it is, jitter (p50 0.3 ms a segment) and loss included; the name is looked up once:\n\n"
			f.judgeRTT(partners["eu-us-east"], 0, service)
			return f, nil
		},
	}
}

// rttRun is one run: paths of its documents.
type rttRun struct{ scenario, profile string }

// writeRTTFiles writes the documents of the runs. Partners that look up every
// time are for the network whose look-ups take a constant time.
func writeRTTFiles(dir string) ([]rttRun, error) {
	files := map[string]string{
		"plain-85ms-network": rttPlainNetwork, "no-network": rttBareProfile,
		"plain-85ms": fmt.Sprintf(rttProfile, "plain-85ms", "./plain-85ms-network.yaml"), "eu-us-east": fmt.Sprintf(rttProfile, "eu-us-east", "eu-us-east"),
	}
	for suffix, ttl := range map[string]string{"": "0s", "-known": "1h"} {
		var list strings.Builder
		for _, k := range rttKinds() {
			files[k.name+suffix] = fmt.Sprintf(rttPartner, k.name, k.version, k.keepAlive, k.version, k.resume, ttl)
			share := 0.16
			if k.keepAlive {
				share = 0.2 // the rest
			}
			fmt.Fprintf(&list, "  - {name: %[1]s, profile: ./%[1]s%[2]s.yaml, share: %[3]g}\n", k.name, suffix, share)
		}
		files["ways"+suffix] = fmt.Sprintf(rttScenario, list.String())
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := func(name string) string { return filepath.Join(dir, name+".yaml") }
	for name, text := range files {
		if err := os.WriteFile(path(name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return []rttRun{{path("ways"), path("no-network")}, {path("ways"), path("plain-85ms")}, {path("ways-known"), path("eu-us-east")}}, nil
}

// judgeRTT adds a network's table and holds its rows against the sums.
func (f *finding) judgeRTT(partners map[string]*reports.Partner, dnsMs, serviceMs float64) {
	t := newTable("exchange", "exchanges", "resumed", "dns", "connect", "tls", "wait", "response p50", "expected", "difference")
	for _, k := range rttKinds() {
		p := partners[k.name]
		response, expected, tolerance, sum := &p.Latency.Response, dnsMs+k.roundTrips*rttMs, newTolerance, fmt.Sprintf("dns + %g RTT", k.roundTrips)
		if k.keepAlive {
			expected, tolerance, sum = rttMs+serviceMs, keptTolerance, "1 RTT + service"
		}
		difference := p50Ms(response)/expected - 1
		cell := fmt.Sprintf("%+.2f %%", 100*difference)
		if short := k.short(p, difference, tolerance); short != "" {
			f.holds, f.short, cell = false, k.text+": "+short, cell+" (falls short)"
		}
		t.row(k.text, fmt.Sprint(response.Count), k.resumed(p), phase(&p.Phases.DNS), phase(&p.Phases.Connect), phase(&p.Phases.TLS), phase(&p.Phases.Wait),
			ms(response.P50Us), fmt.Sprintf("%s = %.1f ms", sum, expected), cell)
	}
	f.body += t.String()
}

// short says what is wrong with a row; "" if nothing is.
func (k *rttKind) short(p *reports.Partner, difference, tolerance float64) string {
	const mostly = 0.95 // the first connections of a partner have nothing to resume
	switch resumed := float64(p.Resumed) / float64(max(p.Handshakes, 1)); {
	case p.Latency.Response.Count < rttSamples:
		return fmt.Sprintf("%d exchanges, want at least %d", p.Latency.Response.Count, rttSamples)
	case !(math.Abs(difference) <= tolerance):
		return fmt.Sprintf("p50 differs by %+.2f %%, want ± %g %%", 100*difference, 100*tolerance)
	case k.keepAlive:
		return ""
	case k.wantResumed && resumed < mostly:
		return fmt.Sprintf("%.0f %% of the handshakes resumed a session, want %.0f %%", 100*resumed, 100*mostly)
	case !k.wantResumed && p.Resumed > 0:
		return fmt.Sprintf("%d handshakes resumed a session, want none", p.Resumed)
	}
	return ""
}

// phase is the p50 of a phase; a dash where there was none to speak of.
func phase(l *reports.Latency) string {
	const littleUs = 10 // a look-up that the cache answers
	if l.Empty() || value(l.P50Us) < littleUs {
		return "–"
	}
	return ms(l.P50Us)
}

// resumed says nothing where connections are kept: the few handshakes are of
// the run's beginning.
func (k *rttKind) resumed(p *reports.Partner) string {
	if k.keepAlive {
		return "–"
	}
	return share(p.Resumed, p.Handshakes)
}

func p50Ms(l *reports.Latency) float64 { return value(l.P50Us) / 1e3 }

func nameOf(path string) string { return strings.TrimSuffix(filepath.Base(path), ".yaml") }

func byName(partners []reports.Partner) map[string]*reports.Partner {
	m := map[string]*reports.Partner{}
	for i := range partners {
		m[partners[i].Name] = &partners[i]
	}
	return m
}
