package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/labtarget"
	"github.com/postbench/postbench/reports"
)

// In millionths.
const (
	oneUnit = 1_000_000
	paid    = 12.5 * oneUnit
)

// sheet is what a ledger says, counts that are 0 left out.
func sheet(t *testing.T, v *reports.Variant) map[string]int64 {
	t.Helper()
	l := &v.Ledger
	counts := map[string]int64{}
	add := func(name string, n int64) {
		if n != 0 {
			counts[name] += n
		}
	}
	for name, n := range map[string]*int64{
		"recorded": l.Recorded, "recorded_unacked": l.RecordedUnacked, "lost_after_ack": l.LostAfterAck, "lost_at_partner": l.LostAtPartner,
		"rejected": l.Rejected, "forged_accepted": l.ForgedAccepted, "double_counted": l.DoubleCounted, "phantom": l.Phantom,
		"wrong_verdict": l.WrongVerdict, "wrong_payload": l.WrongPayload,
	} {
		add(name, known(t, name, n))
	}
	for _, m := range l.Money {
		add("missing_count", m.MissingCount)
		add("missing_micros", m.MissingMicros)
		add("surplus_count", m.SurplusCount)
		add("surplus_micros", m.SurplusMicros)
	}
	for _, p := range v.Partners {
		for reason, n := range p.Drops {
			add("drop "+reason, n)
		}
	}
	if v.Caps != nil {
		add("billed_overshoot", v.Caps.BilledOvershoot)
		if v.Caps.Undershoot != nil {
			add("undershoot", *v.Caps.Undershoot)
		}
	}
	return counts
}

const capScenario = `name: capped
arrivals: {process: constant, rate_per_s: 400}
duration: 1s
partners:
  - {name: partner, profile: plain, share: 1}
offers:
  - {id: offer, share: 1, payout: 12.5, currency: USD, cap: 100}
`

// Each fault of a target's books is told to the postback and under its own
// name, and nothing else is wrong.
func TestFaultsOfTheBooks(t *testing.T) {
	t.Parallel()
	caps := map[string]int64{"offer": 100}
	for name, c := range map[string]struct {
		options labtarget.Options
		want    func(truth labtarget.Truth) map[string]int64
	}{
		"none": {labtarget.Options{Caps: caps}, func(labtarget.Truth) map[string]int64 {
			return map[string]int64{"recorded": 400}
		}},
		"loses and counts twice": {labtarget.Options{LoseEvery: 100, TwiceEvery: 200}, func(truth labtarget.Truth) map[string]int64 {
			lost, twice := int64(len(truth.Lost)), int64(len(truth.Twice))
			return map[string]int64{"recorded": 400 - lost, "lost_after_ack": lost, "double_counted": twice,
				"missing_count": lost, "missing_micros": lost * paid, "surplus_count": twice, "surplus_micros": twice * paid}
		}},
		"phantoms": {labtarget.Options{PhantomEvery: 50}, func(truth labtarget.Truth) map[string]int64 {
			n := int64(len(truth.Phantoms))
			return map[string]int64{"recorded": 400, "phantom": n, "surplus_count": n, "surplus_micros": n * paid}
		}},
		"bills over the cap": {labtarget.Options{BillOverCap: true, Caps: caps}, func(truth labtarget.Truth) map[string]int64 {
			return map[string]int64{"recorded": 400, "billed_overshoot": int64(len(truth.BilledOverCap))}
		}},
		"changes payouts": {labtarget.Options{ChangePayoutEvery: 40}, func(truth labtarget.Truth) map[string]int64 {
			n := int64(len(truth.ChangedPayout))
			return map[string]int64{"recorded": 400, "wrong_payload": n, "surplus_micros": n * oneUnit}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := lab(t, c.options)
			args := []string{"run", "--target", target.URL(), "--rate", "400", "--duration", "1s", "--ledger", target.URL() + "/ledger", "--settle", "300ms"}
			if c.options.Caps != nil {
				args = append(args, "--scenario", write(t, "capped.yaml", capScenario), "--caps", target.URL())
			}
			p := play(t, args...)
			truth, v := target.Truth(), &p.result.Variants[0]
			if got, want := sheet(t, v), c.want(truth); !maps.Equal(got, want) {
				t.Errorf("\n got %v\nwant %v", got, want)
			}
			if v.Ledger.Attempts != truth.Postbacks || v.Ledger.Acked != truth.Acked {
				t.Errorf("%d attempts, %d acked; the target saw %d and acked %d", v.Ledger.Attempts, v.Ledger.Acked, truth.Postbacks, truth.Acked)
			}
			if got := worstIDs(v); !slices.Equal(got, slices.Sorted(slices.Values(truth.Lost))) {
				t.Errorf("worst names %v, lost were %v", got, truth.Lost)
			}
		})
	}
}

func worstIDs(v *reports.Variant) []string {
	var ids []string
	for _, lost := range v.Ledger.Worst {
		ids = append(ids, lost.ClickID)
	}
	slices.Sort(ids)
	return ids
}

// Requests that get no good answer: every one has its fate and its reason.
func TestFaultsOfRequests(t *testing.T) {
	t.Parallel()
	const patient, hasty, retrying = "", "timeout: 3s", "retries: [20ms, 20ms]\nretry_on: [5xx, timeout, error]"
	for name, c := range map[string]struct {
		options labtarget.Options
		partner string
		want    func(truth labtarget.Truth) string
	}{
		"refuses": {labtarget.Options{RefuseEvery: 10}, patient, func(truth labtarget.Truth) string {
			return fmt.Sprintf("acked 270 refused 30 timed_out 0 errored 0 | drop refused:%d lost_at_partner:%[1]d recorded:270", truth.Refused)
		}},
		"hangs": {labtarget.Options{HangEvery: 10}, hasty, func(truth labtarget.Truth) string {
			return fmt.Sprintf("acked 270 refused 0 timed_out 30 errored 0 | drop timed_out:%d lost_at_partner:%[1]d recorded:270", truth.Hung)
		}},
		"closes": {labtarget.Options{CloseEvery: 10}, patient, func(truth labtarget.Truth) string {
			return fmt.Sprintf("acked 270 refused 0 timed_out 0 errored 30 | drop errored:%d lost_at_partner:%[1]d recorded:270", truth.Closed)
		}},
		"stores and hangs": {labtarget.Options{HangEvery: 10, StoreFirst: true}, hasty, func(truth labtarget.Truth) string {
			return fmt.Sprintf("acked 270 refused 0 timed_out 30 errored 0 | recorded:270 recorded_unacked:%d", truth.Hung)
		}},
		"refuses everything": {labtarget.Options{RefuseEvery: 1}, retrying, func(truth labtarget.Truth) string {
			return fmt.Sprintf("acked 0 refused %d timed_out 0 errored 0 | drop retries_exhausted:300 lost_at_partner:300", 3*300)
		}},
		"a retry helps": {labtarget.Options{RefuseEvery: 300}, retrying, func(truth labtarget.Truth) string {
			return "acked 300 refused 1 timed_out 0 errored 0 | recorded:300"
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := lab(t, c.options)
			p := play(t, "run", "--target", target.URL(), "--partner", write(t, "p.yaml", partnerFile("p", c.partner)),
				"--rate", "300", "--duration", "1s", "--ledger", target.URL()+"/ledger", "--settle", "300ms")
			v := &p.result.Variants[0]
			l := &v.Ledger
			got := fmt.Sprintf("acked %d refused %d timed_out %d errored %d | %s", l.Acked, l.Refused, l.TimedOut, l.Errored, fatesText(sheet(t, v)))
			if want := c.want(target.Truth()); got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
			if truth := target.Truth(); l.Attempts != truth.Postbacks {
				t.Errorf("%d attempts, the target saw %d", l.Attempts, truth.Postbacks)
			}
		})
	}
}

// fatesText lists fates and reasons; money has its own tests.
func fatesText(counts map[string]int64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if !strings.HasPrefix(name, "missing") {
			parts = append(parts, fmt.Sprintf("%s:%d", name, counts[name]))
		}
	}
	return strings.Join(parts, " ")
}

func TestEqualSeedsGiveEqualBytes(t *testing.T) {
	t.Parallel()
	target := lab(t, labtarget.Options{})
	scenario := write(t, "mix.yaml", `name: mix
arrivals: {process: poisson, rate_per_s: 300}
duration: 1s
partners:
  - {name: partner, profile: ./one.yaml, share: 1}
mix: {duplicates: 0.1, duplicate_after: 20ms, unknown_clicks: 0.1, bad_signatures: 0.1, malformed: 0.1, unknown_partner: 0.1, leads: 0.1}
offers:
  - {id: offer, count: 10, share: 1, payout: 12.5, currency: USD}
`)
	writeBeside(t, scenario, "one.yaml", strings.Replace(partnerFile("one", "connections: 1"), "plain", "signed", 1))
	hash := func(seed, runNumber, epoch string) string {
		target.Reset()
		play(t, "run", "--target", target.URL(), "--scenario", scenario, "--seed", seed, "--run-number", runNumber, "--epoch", epoch)
		return target.Hash()
	}
	first := hash("7", "3", "1700000000")
	if again := hash("7", "3", "1700000000"); again != first {
		t.Error("the same seed, run number and epoch gave other bytes")
	}
	for name, other := range map[string]string{
		"seed": hash("8", "3", "1700000000"), "run number": hash("7", "4", "1700000000"), "epoch": hash("7", "3", "1700000001"),
	} {
		if other == first {
			t.Errorf("another %s gave the same bytes", name)
		}
	}
}
