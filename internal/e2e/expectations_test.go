package e2e

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/postbench/postbench/internal/labtarget"
)

const expectingScenario = `name: expecting
arrivals: {process: constant, rate_per_s: 300}
duration: 1s
partners:
  - {name: partner, profile: plain, share: 1}
offers:
  - {id: offer, share: 1, payout: 12.5, currency: USD}
expect: [%s]
`

// What a scenario expects is checked at the end, and what is not known does not
// hold.
func TestExpectations(t *testing.T) {
	for _, c := range []struct {
		name, expect     string // all hold or none
		observed, stderr string // of those that fail
		ledger           bool
	}{
		{"all hold", `p50 < 5s, "partner: loss = 0%", forged_accepted = 0`, "", "", true},
		{"latency", `p50 > 1h, p99 > 2h`, `^[0-9.]+[µm]s$`, "postbench: expected p50 > 1h, observed ", false},
		{"no ledger", `double_counted = 0, loss < 1%`, `^-$`, "postbench: expected double_counted = 0, observed -", false},
		{"no caps", `traffic_overshoot_mean < 5%`, `^-$`, "postbench: expected traffic_overshoot_mean < 5%, observed -", true},
		{"nothing lost", `"partner: lost_after_ack > 0", discrepancy > 0%`, `^0%?$`,
			"postbench: expected partner: lost_after_ack > 0, observed 0", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			scenario := write(t, "s.yaml", fmt.Sprintf(expectingScenario, c.expect))
			expecting(t, scenario, c.ledger, regexp.MustCompile(c.observed), c.stderr)
		})
	}
}

// expecting plays until a run is valid: one that cannot be trusted says nothing
// about expectations.
func expecting(t *testing.T, scenario string, ledger bool, observed *regexp.Regexp, stderr string) {
	t.Helper()
	const tries = 5
	for try := 1; ; try++ {
		target, dir := lab(t, labtarget.Options{}), filepath.Join(t.TempDir(), "out")
		args := []string{"run", "--target", target.URL(), "--scenario", scenario, "--out", dir}
		if ledger {
			args = append(args, "--ledger", target.URL()+"/ledger", "--settle", "200ms")
		}
		o := postbench(t, args...)
		list := readResult(t, dir).Expectations
		if len(list) == 0 {
			t.Fatalf("no expectations in the result; stderr:\n%s", o.stderr)
		}
		for _, e := range list {
			if e.Variant != "target" || e.Holds != (stderr == "") || !observed.MatchString(e.Observed) || !strings.Contains(o.stdout, e.Text) {
				t.Errorf("%+v; stdout:\n%s", e, o.stdout)
			}
		}
		switch {
		case o.code == 4 && try < tries:
			t.Logf("try %d: %s", try, o.stderr)
			continue
		case stderr == "" && o.code != 0:
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		case stderr != "":
			oneLine(t, o, 1, stderr)
		}
		return
	}
}

// brokenFiles have mistakes of meaning and of form, and want all of them named,
// each with line, column and key.
func brokenFiles() map[string]struct {
	text string
	want []string
} {
	type file = struct {
		text string
		want []string
	}
	return map[string]file{
		"partner.yaml": {`name: a partner
template: /p?cid={click_id}&x={offre}
timeout: 0s
retries: [1s]
queue_full: drop-odl
tls: {version: "1.1"}
`, []string{"1:7: name", "2:11: template", "{offre}", "3:10: timeout", "4:10: retries", `5:13: queue_full`, `did you mean "drop-old"?`, "6:16: tls.version"}},
		"network.yaml": {`name: far
rtt: 99h
jitter: {p50: 5ms, p95: 1ms}
loss: {good: 2}
`, []string{"2:6: rtt", "3:25: jitter.p95", "4:14: loss.good"}},
		"profile.yaml": {`name: p
paths:
  us: {central: eu-euu, edge: metro}
uplink: nowhere
stages:
  - {name: pph, workers: 0, queue: 5, time: {p50: 1ms}}
`, []string{`:3: paths: want "default"`, `3:17: paths.us.central`, `did you mean "eu-eu"?`, "4:9: uplink", `6:12: stages[0].name`, "6:26: stages[0].workers"}},
		"scenario.yaml": {`name: s
arrivals: {process: poison, rate_per_s: 5}
duration: 0s
partners:
  - {name: a, profile: plian, share: 0.5}
  - {name: a, profile: signed, share: 0.6}
mix: {duplicates: 2}
offers:
  - {id: o, share: 0.9, payout: 1, currency: EUR, cap_every: 1h}
expect: ["p99 << 5ms", "b: p99 < 5ms"]
`, []string{"2:21: arrivals.process", "3:11: duration", `5:24: partners[0].profile`, `did you mean "plain"?`, "6:12: partners[1].name", "the shares sum to 1.1",
			"7:19: mix.duplicates", "9:62: offers[0].cap_every", "the shares sum to 0.9", "10:10: expect[0]", "10:24: expect[1]"}},
		"variant.yaml": {`name: v
summary: of a test
front: zerocpy
caps: atomc
edges: 70
uplnk: none
`, []string{"3:8: front", `did you mean "zerocopy"?`, "4:7: caps", `did you mean "atomic"?`, "5:8: edges", "6:1: unknown field", "1:1: answer: missing"}},
		"form.yaml": {`name: form
template: plain
connectoins: 5
timeout: soon
keep_alive: perhaps
queue: -1
retries: [1s]
`,
			[]string{"3:1: unknown field", `did you mean "connections"?`, "4:10: timeout", "5:13: keep_alive", "6:8: queue", "7:10: retries: nothing"}},
		"typo.yaml": {`name: t
arivals: {process: poisson, rate_per_s: 5}
duraton: 1s
partners:
  - {name: a, profile: plian, share: half}
ofers: []
mix: {duplicates: 2}
expect:
  - b: p99 < 5ms
`, []string{"2:1: unknown field", `did you mean "arrivals"?`, "3:1: unknown field", "5:24: partners[0].profile", "5:38: partners[0].share", "6:1: unknown field",
			"7:19: mix.duplicates", `text with a colon needs quotes: "b: p99 < 5ms"`}},
		"sign.yaml": {`name: n
rrt: 5ms
loss: {good: 2}
`, []string{"2:1: unknown field", `did you mean "rtt"?`, "3:14: loss.good"}},
		"yaml.yaml": {`name: [
`, []string{"1:7: "}},
	}
}

// check names every mistake of every file in one go, and what is correct.
func TestCheckFindsEverything(t *testing.T) {
	t.Parallel()
	files := map[string]string{"correct.yaml": partnerFile("correct", "")}
	for name, file := range brokenFiles() {
		files[name] = file.text
	}
	dir := folder(t, files)
	args := []string{"check"}
	for name := range files {
		args = append(args, filepath.Join(dir, name))
	}
	o := postbench(t, args...)
	if o.code != 2 || o.stdout != filepath.Join(dir, "correct.yaml")+": a correct partner\n" {
		t.Errorf("exit code %d, stdout:\n%s", o.code, o.stdout)
	}
	position := regexp.MustCompile(`^postbench: ` + regexp.QuoteMeta(dir) + `/[a-z]+\.yaml:[0-9]+:[0-9]+: `)
	for line := range strings.Lines(o.stderr) {
		if !position.MatchString(line) {
			t.Errorf("a line without file, line and column: %s", line)
		}
	}
	for name, file := range brokenFiles() {
		var about strings.Builder // this file's lines
		for line := range strings.Lines(o.stderr) {
			if strings.Contains(line, string(filepath.Separator)+name+":") {
				about.WriteString(line)
			}
		}
		for _, want := range file.want {
			if !strings.Contains(about.String(), want) {
				t.Errorf("%s: not said: %s\n%s", name, want, about.String())
			}
		}
	}
}
