package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/reports"
	"github.com/postbench/postbench/scenarios"
)

// folder writes files into one directory, so that they can name each other.
func folder(t *testing.T, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// disturbance is something done to a run, and how its result shows that it
// really happened.
type disturbance struct {
	args   string
	inPlay func(v *reports.Variant) bool
}

// disturbancesOfMixed make the partners of mixed retry, time out, drop and give
// up; retries are due in time because time runs a thousand times as fast.
func disturbancesOfMixed() []disturbance {
	return []disturbance{
		{"", func(v *reports.Variant) bool { return *v.Ledger.LossRate == 0 && v.Path.Unaccounted() != nil }},
		// A record that vanished may be there by its duplicate.
		{"--udp-loss 10%", func(v *reports.Variant) bool {
			return *v.Ledger.LostAfterAck > 0 && *v.Ledger.LostAfterAck <= v.Netem.DroppedRecords
		}},
		{"--chaos kill:edge@300ms+300ms --time-scale 1000", func(v *reports.Variant) bool {
			tried := slices.ContainsFunc(v.Partners, func(p reports.Partner) bool { return len(p.AttemptsPerIntent) > 3 })
			return v.Ledger.Errored > 0 && *v.Ledger.LostAtPartner > 0 && tried
		}},
		{"--chaos kill:collector@400ms+300ms", func(v *reports.Variant) bool { return v.Path.Restarts == 1 }},
		{"--chaos stop:edge@300ms+2500ms --time-scale 1000", func(v *reports.Variant) bool { return v.Ledger.TimedOut > 0 }},
	}
}

// The books of a run with duplicates, retries, timeouts, drops, forgeries and
// chains balance whatever the seed, as a whole and partner by partner.
func TestMixedAtTenSeeds(t *testing.T) {
	t.Parallel()
	for i := range 10 {
		seed := fmt.Sprint(i + 1)
		t.Run(seed, func(t *testing.T) {
			t.Parallel()
			d := disturbancesOfMixed()[i%len(disturbancesOfMixed())]
			p := play(t, append([]string{"run", "--variant", "udp-batch", "--scenario", "mixed", "--duration", "1s", "--settle", "500ms", "--seed", seed},
				strings.Fields(d.args)...)...)
			v := &p.result.Variants[0]
			got := sheet(t, v)
			if got["forged_accepted"]+got["phantom"]+got["double_counted"]+got["wrong_verdict"]+got["wrong_payload"] != 0 {
				t.Errorf("%v", got)
			}
			partnersAddUp(t, v)
			partnersAreListed(t, p.stdout, v, "mixed")
			if chaos := strings.Contains(d.args, "--chaos"); chaos != (len(v.Faults) == 1) || !d.inPlay(v) {
				t.Errorf("%q is not in play: faults %+v, path %+v, relay %+v, %v", d.args, v.Faults, v.Path, v.Netem, got)
			}
		})
	}
}

// partnersAreListed wants a line for each of a scenario's partners.
func partnersAreListed(t *testing.T, stdout string, v *reports.Variant, scenario string) {
	t.Helper()
	s, err := scenarios.Load(scenario)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Partners) != len(v.Partners) {
		t.Fatalf("%d partners in the result, the scenario has %d", len(v.Partners), len(s.Partners))
	}
	for i := range v.Partners {
		p := &v.Partners[i]
		row := regexp.MustCompile(fmt.Sprintf(`(?m)^  %s +%d +%d `, s.Partners[i].Name, p.Ledger.Intents, p.Ledger.Attempts))
		if p.Name != s.Partners[i].Name || !row.MatchString(stdout) {
			t.Errorf("no row %v:\n%s", row, stdout)
		}
	}
}

// fatesOf lists what became of intents.
func fatesOf(f *reports.Fates) [6]int64 {
	var list [6]int64
	for i, n := range []*int64{f.Recorded, f.RecordedUnacked, f.LostAfterAck, f.LostAtPartner, f.Rejected, f.ForgedAccepted} {
		if n != nil {
			list[i] = *n
		}
	}
	return list
}

// partnersAddUp wants the partners' parts to be the whole.
func partnersAddUp(t *testing.T, v *reports.Variant) {
	t.Helper()
	var intents, attempts, waits int64
	var fates [6]int64
	money := map[string]reports.Money{}
	for i := range v.Partners {
		p := &v.Partners[i]
		attemptsAddUp(t, p)
		intents, attempts, waits = intents+p.Ledger.Intents, attempts+p.Ledger.Attempts, waits+p.Phases.Wait.Count
		for i, n := range fatesOf(&p.Ledger.Fates) {
			fates[i] += n
		}
		for _, m := range p.Money {
			sum := money[m.Currency]
			money[m.Currency] = reports.Money{Currency: m.Currency,
				PartnerCount: sum.PartnerCount + m.PartnerCount, PartnerMicros: sum.PartnerMicros + m.PartnerMicros,
				RecordedCount: sum.RecordedCount + m.RecordedCount, RecordedMicros: sum.RecordedMicros + m.RecordedMicros,
				MissingCount: sum.MissingCount + m.MissingCount, MissingMicros: sum.MissingMicros + m.MissingMicros,
				SurplusCount: sum.SurplusCount + m.SurplusCount, SurplusMicros: sum.SurplusMicros + m.SurplusMicros,
				LeftOutCount: sum.LeftOutCount + m.LeftOutCount, LeftOutMicros: sum.LeftOutMicros + m.LeftOutMicros}
		}
	}
	l := &v.Ledger
	if intents != l.Intents || attempts != l.Attempts || waits != v.Phases.Wait.Count || fates != fatesOf(&l.Fates) {
		t.Errorf("the partners have %d intents, %d attempts, %d waits, fates %v; the whole has %d, %d, %d, %v",
			intents, attempts, waits, fates, l.Intents, l.Attempts, v.Phases.Wait.Count, fatesOf(&l.Fates))
	}
	for _, m := range l.Money {
		if money[m.Currency] != m {
			t.Errorf("money of the partners\n %+v, of the whole\n %+v", money[m.Currency], m)
		}
	}
	if len(money) != len(l.Money) || len(money) == 0 {
		t.Errorf("%d currencies of the partners, %d of the whole", len(money), len(l.Money))
	}
	mechanismsAddUp(t, l)
}

func attemptsAddUp(t *testing.T, p *reports.Partner) {
	t.Helper()
	var intents, attempts int64
	for n, count := range p.AttemptsPerIntent {
		intents, attempts = intents+count, attempts+int64(n)*count
	}
	if intents != p.Ledger.Intents || attempts != p.Ledger.Attempts && len(p.AttemptsPerIntent) <= reports.MaxAttemptsCounted {
		t.Errorf("%s: %d intents with %d attempts, attempts per intent %v", p.Name, p.Ledger.Intents, p.Ledger.Attempts, p.AttemptsPerIntent)
	}
	// Whoever gave up during the warm-up has nothing that was timed.
	if p.Phases.Wait.Count == 0 && !p.Deactivated || p.Phases.Body.Count != p.Phases.Wait.Count || p.Phases.Connect.Count > p.Phases.Wait.Count {
		t.Errorf("%s: phases with %d waits, %d bodies, %d connects", p.Name, p.Phases.Wait.Count, p.Phases.Body.Count, p.Phases.Connect.Count)
	}
	for _, m := range p.Money {
		if m.PartnerMicros-m.MissingMicros+m.SurplusMicros != m.RecordedMicros || m.PartnerCount-m.MissingCount+m.SurplusCount != m.RecordedCount {
			t.Errorf("%s: %+v does not balance", p.Name, m)
		}
	}
}

// mechanismsAddUp wants the causes of lost money to explain all of it.
func mechanismsAddUp(t *testing.T, l *reports.Ledger) {
	t.Helper()
	missing, surplus := map[string]int64{}, map[string]int64{}
	for _, m := range l.LostMoney {
		if m.Surplus {
			surplus[m.Currency] += m.Micros
		} else {
			missing[m.Currency] += m.Micros
		}
	}
	for _, m := range l.Money {
		if missing[m.Currency] != m.MissingMicros || surplus[m.Currency] != m.SurplusMicros {
			t.Errorf("the mechanisms cost %d and gave %d, want %+v", missing[m.Currency], surplus[m.Currency], m)
		}
	}
}

// forgedScenario has all partners that a front must tell apart, a third of
// whose postbacks are of one illegitimate kind.
const forgedScenario = `name: forged
arrivals: {process: constant, rate_per_s: 500}
duration: 1s
warmup: 0s
partners_zipf: 0.01
partners:
%smix: {%s}
offers:
  - {id: o, share: 1, payout: 1.5, currency: EUR}
grace: 500ms
`

// forgedFolder is that scenario with its partners beside it.
func forgedFolder(t *testing.T, mix string, unexpanded float64) (dir string, habits map[string]profiles.Partner) {
	t.Helper()
	habits, files, list := map[string]profiles.Partner{}, map[string]string{}, ""
	own := regexp.MustCompile(`(?m)^unexpanded_macros:.*\n`)
	for _, name := range profiles.PartnerNames() {
		p, err := profiles.LoadPartner(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, dialect := p.Dialect(name, make([]byte, 32)); !dialect && name != "plain" && name != "signed" {
			continue // those differ in their habits only
		}
		habits[name] = p
		files[name+".yaml"] = own.ReplaceAllString(p.Source(), "") + fmt.Sprintf("unexpanded_macros: %v\n", unexpanded)
		list += fmt.Sprintf("  - {name: %s, profile: ./%[1]s.yaml}\n", name)
	}
	files["forged.yaml"] = fmt.Sprintf(forgedScenario, list, mix)
	return folder(t, files), habits
}

// Whoever forges is turned away in every dialect, at every kind of front, and
// everybody else is let in.
func TestForgeries(t *testing.T) {
	t.Parallel()
	everybody := func(profiles.Partner) bool { return true }
	for _, c := range []struct {
		name, mix  string
		unexpanded float64
		status     int
		forges     func(profiles.Partner) bool
	}{
		{"signature", "bad_signatures: 0.3", 0, 403, profiles.Partner.Authenticates},
		{"stranger", "unknown_partner: 0.3", 0, 403, func(p profiles.Partner) bool { return p.Template != profiles.TemplatePlain }},
		{"malformed", "malformed: 0.3", 0, 400, everybody},
		{"macro", "", 0.3, 400, everybody},
	} {
		for _, variant := range []string{"udp-batch", "monolith"} {
			t.Run(c.name+"@"+variant, func(t *testing.T) {
				t.Parallel()
				dir, habits := forgedFolder(t, c.mix, c.unexpanded)
				p := play(t, "run", "--variant", variant, "--embedded", "--scenario", filepath.Join(dir, "forged.yaml"), "--settle", "300ms")
				v := &p.result.Variants[0]
				for _, partner := range v.Partners {
					rejected, forged := *partner.Ledger.Rejected, *partner.Ledger.ForgedAccepted
					if forged != 0 || (rejected > 0) != c.forges(habits[partner.Name]) || rejected == partner.Ledger.Intents {
						t.Errorf("%s: %d rejected and %d let in of %d", partner.Name, rejected, forged, partner.Ledger.Intents)
					}
				}
				got := sheet(t, v)
				if got["recorded"]+got["rejected"] != v.Ledger.Intents || got["wrong_verdict"]+got["wrong_payload"]+got["phantom"] != 0 {
					t.Errorf("%v of %d intents", got, v.Ledger.Intents)
				}
				want := map[int]int64{200: got["recorded"], c.status: got["rejected"]}
				if answers := answersOf(v); !maps.Equal(answers, want) {
					t.Errorf("answers %v, want %v", answers, want)
				}
			})
		}
	}
}

// answersOf counts the answers by status; 0 is none at all.
func answersOf(v *reports.Variant) map[int]int64 {
	answers := map[int]int64{}
	for _, r := range v.Responses {
		answers[r.Status] += r.Count
	}
	return answers
}

const uncappedScenario = `name: uncapped
arrivals: {process: constant, rate_per_s: 400}
duration: 2s
warmup: 0s
partners_zipf: 0.5
partners:
  - {name: big-network, profile: signed}
  - {name: tune, profile: tune}
  - {name: keitaro, profile: keitaro}
  - {name: offerwall, profile: offerwall}
  - {name: make-money, profile: make-money}
  - {name: binom, profile: binom}
  - {name: appsflyer, profile: appsflyer}
mix:
  duplicates: 0.05
  unknown_clicks: 0.05
  bad_signatures: 0.05
  malformed: 0.05
  unknown_partner: 0.05
  late: 0.05
  leads: 0.1
  chains:
    - {events: [lead, sale, rejected], share: 0.05}
    - {events: [lead, sale], share: 0.05}
    - {events: [sale, refund], share: 0.05}
  chain_after: 250ms
offers:
  - {id: usd, count: 6, zipf: 1, share: 0.6, payout: 12.5, currency: USD, attribution_window: 24h}
  - {id: eur, count: 4, share: 0.4, payout: 7.25, currency: EUR, attribution_window: 24h}
grace: 1s
`

// Without caps, whose verdicts depend on the order of arrival, equal traffic is
// judged equally by every architecture, partner by partner.
func TestEqualTrafficEqualVerdicts(t *testing.T) {
	t.Parallel()
	scenario := write(t, "uncapped.yaml", uncappedScenario)
	var first string
	for i, variant := range []string{"monolith", "udp-batch"} {
		p := play(t, "run", "--variant", variant, "--embedded", "--scenario", scenario, "--seed", "7", "--settle", "500ms")
		v := &p.result.Variants[0]
		partnersAddUp(t, v)
		for _, verdict := range []string{"billable", "non_billable", "reversal", "late", "unattributed"} {
			if v.Ledger.Verdicts[verdict] == 0 {
				t.Errorf("%s: none is %s: %v", variant, verdict, v.Ledger.Verdicts)
			}
		}
		if got := sheet(t, v); got["lost_after_ack"]+got["lost_at_partner"]+got["wrong_verdict"]+got["double_counted"]+got["forged_accepted"] != 0 {
			t.Errorf("%s: %v", variant, got)
		}
		text := fmt.Sprintln(v.Ledger.Verdicts) // sorted
		for _, partner := range v.Partners {
			fates := fatesOf(&partner.Ledger.Fates)
			text += fmt.Sprintln(partner.Name, "recorded", fates[0]+fates[1], "rejected", fates[4], partner.Money)
		}
		if i == 0 {
			first = text
		} else if text != first {
			t.Errorf("at %s:\n%s\nat monolith:\n%s", variant, text, first)
		}
	}
}

// serveWith starts a server and returns where it listens.
func serveWith(t *testing.T, args ...string) (p *process, url string) {
	t.Helper()
	p = start(t, append([]string{"serve", "--addr", "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "data")}, args...)...)
	pattern := regexp.MustCompile(`http://127\.0\.0\.1:\d+`)
	eventually(t, "the server listens", func() bool {
		url = pattern.FindString(p.stdout.String())
		return url != ""
	})
	return p, url
}

// What partners prints is all that a server must know of the dialects; with
// the secrets of other traffic it turns away whoever authenticates.
func TestPartnersByHand(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		seed string // of the secrets
		fits bool
	}{{"5", true}, {"6", false}} {
		file := write(t, "partners.json", must(t, "partners", "--scenario", "mixed", "--seed", c.seed).stdout)
		server, url := serveWith(t, "--variant", "monolith", "--embedded", "--partners", file)
		p := play(t, "run", "--target", url, "--scenario", "mixed", "--seed", "5", "--duration", "1s", "--settle", "300ms",
			"--populate", url+"/population", "--ledger", url+"/ledger", "--caps", url)
		stop(t, server)
		v := &p.result.Variants[0]
		partnersAreListed(t, p.stdout, v, "mixed")
		for _, partner := range v.Partners {
			// Signed ones go by the keys that run brought along.
			secret := slices.Contains([]string{"tune", "keitaro", "offerwall"}, partner.Name)
			lost, recorded := *partner.Ledger.LostAtPartner, *partner.Ledger.Recorded
			if taken := c.fits || !secret; taken && lost > 0 || !taken && recorded > 0 || lost+recorded == 0 {
				t.Errorf("secrets of seed %s: %s: %d recorded, %d lost", c.seed, partner.Name, recorded, lost)
			}
		}
		if n := *v.Ledger.ForgedAccepted; n != 0 {
			t.Errorf("%d forgeries let in", n)
		}
	}
	refused(t, strings.Fields("run --target http://127.0.0.1:1/mine --scenario mixed"), "has a path of its own")
}

const stormScenario = `name: storm
arrivals: {process: constant, rate_per_s: 200}
duration: 4s
warmup: 0s
partners:
  - {name: hasty, profile: ./hasty.yaml, share: 0.5}
  - {name: rude, profile: ./rude.yaml, share: 0.5}
mix: {duplicates: 0.01}
offers:
  - {id: o, share: 1, payout: 1, currency: EUR}
time_scale: 10
server_slow: {at: 1s, for: 1s, add: 2s}
expect:
  - double_counted = 0
  - lost_after_ack = 0
`

// A server that is slower for a second than its partners wait: attempts time
// out, queues fill, and all of it comes back.
func TestRetryStorm(t *testing.T) {
	t.Parallel()
	const hasty = `name: %s
about: of a test
template: %s
keep_alive: true
connections: %d
timeout: 500ms
queue: 5000
retries: [5s, 5s, 5s]
retry_on: [timeout, 5xx, error]
`
	dir := folder(t, map[string]string{
		"storm.yaml": stormScenario,
		"hasty.yaml": fmt.Sprintf(hasty, "hasty", "signed", 4),
		"rude.yaml":  fmt.Sprintf(hasty, "rude", "/r?cid={click_id}&tx={txid}&offer={offer_id}&sum={payout}&cur={currency}&ev={event}", 16),
	})
	for _, variant := range []string{"udp-batch", "monolith"} {
		t.Run(variant, func(t *testing.T) {
			t.Parallel()
			p := play(t, "run", "--variant", variant, "--embedded", "--scenario", filepath.Join(dir, "storm.yaml"), "--settle", "500ms")
			v := &p.result.Variants[0]
			got := sheet(t, v)
			partnersAddUp(t, v)
			if v.Ledger.TimedOut == 0 || v.Ledger.Attempts <= v.Ledger.Intents || got["double_counted"]+got["lost_after_ack"] != 0 {
				t.Errorf("%d intents, %d attempts, %d timed out; %v", v.Ledger.Intents, v.Ledger.Attempts, v.Ledger.TimedOut, got)
			}
			for i := range v.Partners {
				roseAndFell(t, &v.Partners[i])
			}
			if len(v.Faults) != 1 || v.Faults[0].Do != "slow" || v.Faults[0].ForNs != 1e9 || v.Faults[0].AddNs != 2e9 || v.Faults[0].AtNs < 1e9 {
				t.Errorf("faults %+v", v.Faults)
			}
			if !strings.Contains(p.stdout, "answered 2.00s later from 1.0") {
				t.Errorf("the report does not tell the fault:\n%s", p.stdout)
			}
			if len(p.result.Expectations) != 2 || !p.result.Expectations[0].Holds || !p.result.Expectations[1].Holds {
				t.Errorf("expectations %+v", p.result.Expectations)
			}
		})
	}
}

// roseAndFell wants retries, and a queue that was there and is gone.
func roseAndFell(t *testing.T, p *reports.Partner) {
	t.Helper()
	const crowd = 20
	queue := p.QueueDepthPerS
	if len(p.AttemptsPerIntent) < 3 || p.AttemptsPerIntent[2] == 0 {
		t.Errorf("%s: nothing was tried again: %v", p.Name, p.AttemptsPerIntent)
	}
	if len(queue) < 4 || queue[0] > crowd/2 || slices.Max(queue) < crowd || queue[len(queue)-1] > crowd/2 || slices.Max(queue) != known(t, "queue depth", p.QueueDepth) {
		t.Errorf("%s: the queue was %v deep, second by second", p.Name, queue)
	}
}
