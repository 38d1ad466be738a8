package cli

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/postbench/postbench/loadgen/schedule"
)

var now = time.Unix(1_700_000_000, 0)

// trafficOf reads traffic flags.
func trafficOf(t *testing.T, args ...string) *traffic {
	t.Helper()
	tr := &traffic{}
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	tr.register(flags, "")
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return tr
}

func planOf(t *testing.T, args ...string) *plan {
	t.Helper()
	p, err := newPlan(trafficOf(t, args...), nil, now)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsOverTheScenario(t *testing.T) {
	for _, c := range []struct {
		args             string
		rate             float64
		duration, warmup time.Duration
		epoch            int64
	}{
		{"", 100, 10 * time.Second, 0, now.Unix()},
		{"--rate 0.5 --duration 4s --epoch 5", 0.5, 4 * time.Second, 0, 5},
		{"--scenario smoke", 200, 10 * time.Second, time.Second, now.Unix()},
		{"--scenario smoke --warmup 0s", 200, 10 * time.Second, 0, now.Unix()},
		{"--scenario smoke --duration 500ms", 200, 500 * time.Millisecond, 100 * time.Millisecond, now.Unix()},
	} {
		p := planOf(t, strings.Fields(c.args)...)
		if got := p.scenario.Arrivals.RatePerS; got != c.rate || p.duration() != c.duration || p.warmup != c.warmup || p.spec.EpochUnixS != c.epoch {
			t.Errorf("%q: %v/s for %v, warm-up %v, epoch %d", c.args, got, p.duration(), p.warmup, p.spec.EpochUnixS)
		}
	}
}

func TestPartnerFlagReplacesAllHabits(t *testing.T) {
	p := planOf(t, "--scenario", "smoke", "--partner", "patient")
	paths, err := p.openWays(atCentral, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer paths.close()
	partners, err := p.partners(&connection{origin: "http://127.0.0.1:80"}, paths)
	if err != nil {
		t.Fatal(err)
	}
	for _, partner := range partners {
		if partner.Connections != 16 || partner.Timeout != 3*time.Second || partner.Queue != 2000 ||
			!slices.Equal(partner.Retry.DelaysNs, []int64{1e9, 5e9}) || !partner.Retry.OnTimeout || partner.Retry.OnError {
			t.Errorf("%+v", partner)
		}
	}
	// 3 s, 1 s, 3 s, 5 s, 3 s and the tail.
	if want := 15*time.Second + tailGrace; p.grace != want {
		t.Errorf("grace %v, want %v", p.grace, want)
	}
}

func TestOffersOf(t *testing.T) {
	p := planOf(t, "--scenario", "smoke")
	offers := p.spec.Offers
	if len(offers) != 10 || offers[0].ID != "open-usd-1" || offers[9].ID != "capped-eur-2" || offers[9].Cap != 100 ||
		offers[0].AttributionWindowS != 24*3600 {
		t.Errorf("%+v", offers)
	}
	sum := 0.0
	for _, o := range offers {
		sum += o.Share
	}
	if sum < 0.999 || sum > 1.001 {
		t.Errorf("shares sum to %v", sum)
	}
}

// All variants of a round get the same traffic, each round another.
func TestSchedulePerRound(t *testing.T) {
	p := planOf(t, "--scenario", "smoke")
	due := func(round uint32) []int64 {
		s, err := p.schedule(round)
		if err != nil {
			t.Fatal(err)
		}
		var list []int64
		for ns, ok := s.Next(); ok; ns, ok = s.Next() {
			list = append(list, ns)
		}
		return list
	}
	if !slices.Equal(due(0), due(0)) || slices.Equal(due(0), due(1)) {
		t.Error("rounds do not have a schedule each")
	}
	later := planOf(t, "--scenario", "smoke", "--run-number", "1")
	s, err := later.schedule(0)
	if err != nil {
		t.Fatal(err)
	}
	if first, _ := s.Next(); first != due(1)[0] {
		t.Error("round 1 of run number 0 differs from round 0 of run number 1")
	}
}

func TestClicks(t *testing.T) {
	path := file(t, "clicks.txt", "a\nb\nc\n")
	p := planOf(t, "--clicks", path, "--rate", "3", "--duration", "1s")
	if p.clicks.path != path || len(p.clicks.sha256) != 64 || p.spec.Clicks.Len() != 3 {
		t.Errorf("%+v", p.clicks)
	}
	_, err := newPlan(trafficOf(t, "--clicks", path, "--rate", "4", "--duration", "1s"), nil, now)
	if err == nil || !strings.Contains(err.Error(), "holds 3 click ids, the run needs 4") {
		t.Error(err)
	}
}

func TestCheckOfRounds(t *testing.T) {
	p := planOf(t, "--run-number", "16777215")
	if err := p.check(1); err != nil {
		t.Error(err)
	}
	if err := p.check(2); err == nil {
		t.Error("the run number of round 2 has no room")
	}
}

func TestReplayIntoThePlan(t *testing.T) {
	log := file(t, "access.log", `- - - [10/Oct/2026:13:55:30 +0000] "GET /a HTTP/1.1" 200 1
- - - [10/Oct/2026:13:55:50 +0000] "GET /b HTTP/1.1" 200 1
`)
	targets := file(t, "targets", "GET /a\n\nGET /b\n\nGET /c\n")
	for _, c := range []struct {
		file, speed, args string
		intents           uint64
		duration          time.Duration
		warmup            time.Duration
	}{
		{log, "1x", "", 2, 20 * time.Second, 0},
		{log, "2", "", 2, 10 * time.Second, 0},
		{log, "1x", "--warmup 15s", 2, 20 * time.Second, 15 * time.Second}, // longer than the default scenario
		{targets, "1x", "--rate 2", 3, 1500 * time.Millisecond, 0},
		{targets, "1x", "--rate 2 --duration 5s", 10, 5 * time.Second, 0},
	} {
		tr := trafficOf(t, strings.Fields(c.args)...)
		tr.recorded = true
		p, err := newPlan(tr, nil, now)
		if err != nil {
			t.Fatal(err)
		}
		r := replayFlags{file: c.file, speed: c.speed}
		if err := r.load(p, tr); err != nil {
			t.Errorf("%s: %v", c.args, err)
			continue
		}
		n, err := p.intents(0)
		if got := p.duration().Round(time.Millisecond); err != nil || n != c.intents || got != c.duration || p.warmup != c.warmup {
			t.Errorf("%q at %s: %d intents in %v, warm-up %v, %v", c.args, c.speed, n, got, p.warmup, err)
		}
	}
}

func TestReplayRefused(t *testing.T) {
	log := file(t, "access.log", "- - - [10/Oct/2026:13:55:30 +0000] \"GET /a HTTP/1.1\" 200 1\n")
	targets := file(t, "targets", "GET /a\n")
	for _, c := range []struct{ file, speed, args, words string }{
		{log, "1x", "--rate 5", "use --speed"},
		{log, "1x", "--duration 5s", "use --speed"},
		{log, "fast", "", `--speed "fast"`},
		{log, "0x", "", "impossible speed"},
		{log, "1x", "--scenario smoke", "single partner"},
		{log, "1x", "--warmup 1s", "that the recording lasts"},
		{targets, "1x", "", "give --rate"},
	} {
		tr := trafficOf(t, strings.Fields(c.args)...)
		tr.recorded = true
		p, err := newPlan(tr, nil, now)
		if err != nil {
			t.Fatal(err)
		}
		r := replayFlags{file: c.file, speed: c.speed}
		if err := r.load(p, tr); err == nil || !strings.Contains(err.Error(), c.words) {
			t.Errorf("%q at %s: %v, want %q", c.args, c.speed, err, c.words)
		}
	}
	if _, _, err := new(plan).readReplay(file(t, "empty", "")); !errors.Is(err, schedule.ErrEmpty) {
		t.Errorf("an empty file: %v", err)
	}
}

func TestUntellablePostbacksAreRefused(t *testing.T) {
	clicks := file(t, "clicks", strings.Repeat("a\nb\n", 2000))
	leads := file(t, "leads.yaml", `{name: leads, about: x, arrivals: {rate_per_s: 100}, duration: 1s, mix: {leads: 0.1},
  partners: [{name: a, profile: plain, share: 1}], offers: [{id: o, share: 1, payout: 1, currency: EUR}]}`)
	for _, c := range []struct{ url, args, words string }{
		{"http://127.0.0.1:1/pb?cid={click_id}", "--scenario " + leads, "neither {event} nor {payout}"},
		{"http://127.0.0.1:1/pb?cid={click_id}&e={event}", "--scenario " + leads, ""},
		{"http://127.0.0.1:1/pb?cid={click_id}", "--clicks " + clicks, "more than once"},
		{"http://127.0.0.1:1/pb?cid={click_id}&tx={txid}", "--clicks " + clicks, ""},
	} {
		own := &ownTemplate{url: c.url}
		if err := own.resolve(); err != nil {
			t.Fatal(err)
		}
		_, err := newPlan(trafficOf(t, strings.Fields(c.args)...), own, time.Unix(1, 0))
		if c.words == "" && err != nil || c.words != "" && (err == nil || !strings.Contains(err.Error(), c.words)) {
			t.Errorf("%s %s: %v, want %q", c.url, c.args, err, c.words)
		}
	}
}
