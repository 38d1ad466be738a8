package cli

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/hist"
	"github.com/postbench/postbench/loadgen"
	"github.com/postbench/postbench/loadgen/audit"
	"github.com/postbench/postbench/reports"
)

func TestCapsOf(t *testing.T) {
	sheet := &audit.Sheet{Caps: []audit.CapWindow{
		{Cap: 100, Billable: 110, OverCap: 5, BeforeClosing: 115, VisibleNs: 20e6},
		{Cap: 50, Billable: 45, OverCap: 3, BeforeClosing: 48, VisibleNs: -1},
	}}
	later := audit.CapWindow{Cap: 10, Billable: 12, Unwatched: true, VisibleNs: -1}
	windows := &audit.Sheet{Caps: append(slices.Clone(sheet.Caps), later)}
	for name, c := range map[string]struct {
		sheet  *audit.Sheet
		routed bool
		want   string
	}{
		"no ledger":        {nil, true, "none"},
		"no capped offers": {&audit.Sheet{}, true, "none"},
		"no router":        {sheet, false, "offers 2 billed 10 max 10 (10 %)"},
		"a router":         {sheet, true, "offers 2 billed 10 max 10 (10 %) under 3 traffic mean 15 max 15 visible 20000"},
		"a later window":   {windows, true, "offers 3 billed 12 max 2 (20 %) under 3 traffic mean 15 max 15 visible 20000"},
		"none reached":     {&audit.Sheet{Caps: sheet.Caps[1:]}, true, "offers 1 billed 0 max 0 (0 %) under 3"},
		"nothing watched":  {&audit.Sheet{Caps: []audit.CapWindow{later}}, true, "offers 1 billed 2 max 2 (20 %) under 0"},
	} {
		if got := capsText(capsOf(c.sheet, c.routed, 20e6)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func num(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

func capsText(c *reports.Caps) string {
	if c == nil {
		return "none"
	}
	text := "offers " + num(float64(c.Offers)) + " billed " + num(float64(c.BilledOvershoot)) + " max " + num(float64(c.BilledOvershootMax)) +
		" (" + num(c.BilledOvershootMaxPct) + " %)"
	if c.Undershoot != nil {
		text += " under " + num(float64(*c.Undershoot))
	}
	if c.TrafficOvershootMeanPct != nil {
		text += " traffic mean " + num(*c.TrafficOvershootMeanPct) + " max " + num(*c.TrafficOvershootMaxPct)
	}
	if c.VisibleP95Us != nil {
		text += " visible " + num(float64(int(*c.VisibleP95Us/1000))*1000)
	}
	return text
}

func TestRouted(t *testing.T) {
	periods := hist.New()
	for range 200 {
		periods.Record(20e6)
	}
	for failures, known := range map[int64]bool{0: true, 2: true, 3: false} {
		m, stderr := &measurement{}, &strings.Builder{}
		m.routed(loadgen.CapObservation{PollPeriod: periods, Failures: failures}, stderr)
		if (m.caps != nil) != known || (stderr.Len() == 0) != known {
			t.Errorf("%d failures: %+v, %s", failures, m.caps, stderr)
		}
	}
}

func TestTimelineOf(t *testing.T) {
	list := timelineOf([]loadgen.Second{
		{Second: 0, Intents: 10, Acked: 10, P50Ns: 1500, P99Ns: 2000, MaxNs: 3000},
		{Second: 1, Intents: 10, Acked: 5, P50Ns: 1500, P99Ns: -1, MaxNs: 3000},
		{Second: 2, Intents: 10, P50Ns: -1, P99Ns: -1},
	})
	if got := *list[0].P50Us; got != 1.5 {
		t.Errorf("p50 %v µs", got)
	}
	if list[1].P99Us != nil || list[1].MaxUs == nil || list[2].MaxUs != nil || list[2].Due != 10 {
		t.Errorf("%+v", list)
	}
}

func TestResponsesOf(t *testing.T) {
	got := responsesOf(map[string]int64{"200": 5, "503": 2, "timeout": 1})
	want := reports.NewResponses(map[int]int64{200: 5, 503: 2}, map[string]int64{"timeout": 1})
	if !reflect.DeepEqual(got, want) || len(got) != 3 {
		t.Errorf("%v", got)
	}
}

func TestRates(t *testing.T) {
	p := planOf(t, "--rate", "100", "--duration", "10s")
	for name, c := range map[string]struct {
		outcome           loadgen.Outcome
		acked             int64
		lastDue, lastAck  time.Duration
		offered, achieved float64
	}{
		"whole":       {loadgen.Outcome{Intents: 1000, Duration: 9990 * time.Millisecond}, 900, 9990 * time.Millisecond, 9995 * time.Millisecond, 100, 90},
		"with a tail": {loadgen.Outcome{Intents: 1000, Duration: 20 * time.Second}, 900, 9990 * time.Millisecond, 20 * time.Second, 100, 45},
		"who waits":   {loadgen.Outcome{Intents: 1000, Duration: 3600 * time.Second}, 900, 9990 * time.Millisecond, 9995 * time.Millisecond, 100, 90},
		"interrupted": {loadgen.Outcome{Intents: 300, Duration: 4 * time.Second, Interrupted: true}, 300, 3 * time.Second, 4 * time.Second, 100, 75},
		"at once":     {loadgen.Outcome{Interrupted: true}, 0, 0, 0, 0, 0},
	} {
		m := &measurement{outcome: &c.outcome, acked: c.acked, lastDue: c.lastDue, lastAck: c.lastAck}
		if offered, achieved := p.rates(m); offered != c.offered || achieved != c.achieved {
			t.Errorf("%s: offered %v/s, achieved %v/s", name, offered, achieved)
		}
	}
}

func TestManifest(t *testing.T) {
	clicks := file(t, "clicks.txt", "a\nb\n")
	p := planOf(t, "--clicks", clicks, "--rate", "2", "--duration", "1s", "--seed", "9")
	m := &measurement{runNumber: 4, outcome: &loadgen.Outcome{Start: now, Attempts: loadgen.Attempts{Total: 7}},
		caps: &loadgen.CapObservation{ClosedSeenNs: []int64{5, audit.NeverClosed}, PollPeriod: hist.New(),
			Closings: []audit.Closing{{Offer: 1, Window: "w", ClosedNs: 5}}},
		clock: clockState{known: true, offset: loadgen.ClockOffset{AddNs: -3}}}
	dir := t.TempDir()
	if err := saveManifest(dir, p, m); err != nil {
		t.Fatal(err)
	}
	got, err := loadManifest(dir)
	if err != nil {
		t.Fatal(err)
	}
	generator, err := got.generator()
	if err != nil {
		t.Fatal(err)
	}
	spec := generator.Spec()
	config := got.auditConfig(generator, nil)
	if spec.Seed != 9 || spec.RunNumber != 4 || spec.Clicks.Len() != 2 || config.ClockOffsetNs != -3 || !config.ClockKnown ||
		config.StartUnixNs != now.UnixNano() || !reflect.DeepEqual(config.ClosedSeenNs, m.caps.ClosedSeenNs) ||
		!reflect.DeepEqual(config.Closings, m.caps.Closings) ||
		!reflect.DeepEqual(config.Carries, p.carries()) || got.Attempts != 7 {
		t.Errorf("%+v", got)
	}
	if err := os.WriteFile(clicks, []byte("a\nc\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := got.generator(); err == nil || !strings.Contains(err.Error(), "has changed since") {
		t.Errorf("other clicks: %v", err)
	}
}

func TestManifestRefused(t *testing.T) {
	if _, err := loadManifest(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	for name, text := range map[string]string{"no JSON": "{", "another version": `{"schema":"postbench.run/v9"}`, "an unknown field": `{"what":1}`} {
		if _, err := loadManifest(filepath.Dir(file(t, manifestFile, text))); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
