package cli

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbench/postbench/loadgen"
	"github.com/postbench/postbench/profiles"
	"github.com/postbench/postbench/reports"
)

func TestExitCode(t *testing.T) {
	for want, err := range map[int]error{
		exitFine: nil, exitUsage: errors.New("no"), exitInvalid: fmt.Errorf("outside: %w", invalid("late by %d", 1)),
		exitFailed: &exitError{code: exitFailed, err: errors.New("gate")},
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: %d, want %d", err, got, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errors.New("one"), "postbench: one"},
		{errors.Join(errors.New("one"), errors.New("two")), "postbench: one; two"},
		{manyErrors{errors.New("one"), errors.New("two")}, "postbench: one\npostbench: two"},
	} {
		if got := errorText(c.err); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestResolve(t *testing.T) {
	const own = "http://me/pb?cid={click_id}"
	for _, c := range []struct {
		own                ownTemplate
		origin, path, what string // what: the template's method and target
	}{
		{ownTemplate{target: "http://127.0.0.1:8080"}, "http://127.0.0.1:8080", "", ""},
		{ownTemplate{target: "https://me/"}, "https://me", "", ""},
		{ownTemplate{target: "http://me/deep/pb"}, "http://me", "/deep/pb", ""},
		{ownTemplate{url: own}, "http://me", "", "GET /pb?cid={click_id}"},
		{ownTemplate{url: own, body: "sum={payout}"}, "http://me", "", "POST /pb?cid={click_id}"},
		{ownTemplate{url: own, body: "sum={payout}", method: "put"}, "http://me", "", "PUT /pb?cid={click_id}"},
		{ownTemplate{url: "http://me/pb", body: "{click_id}"}, "http://me", "", "POST /pb"},
	} {
		if err := c.own.resolve(); err != nil {
			t.Errorf("%+v: %v", c.own, err)
			continue
		}
		what := ""
		if c.own.template != nil {
			what = c.own.template.Method + " " + c.own.template.Target.String()
		}
		if c.own.origin != c.origin || c.own.path != c.path || what != c.what {
			t.Errorf("%+v: origin %s, path %s, template %s", c.own, c.own.origin, c.own.path, what)
		}
	}
	for name, bad := range map[string]ownTemplate{
		"both": {target: "http://me", url: own}, "no scheme": {target: "me:80"}, "another scheme": {target: "ftp://me"},
		"a query": {target: "http://me/?a=b"}, "a user": {target: "http://me@me"}, "a fragment": {target: "http://me/#a"},
		"headers of what": {target: "http://me", headers: []string{"A: b"}}, "no click id": {url: "http://me/pb"},
		"no header": {url: own, headers: []string{"A"}}, "no method": {url: own, method: "GET /"}, "a macro": {url: own, body: "{nothing}"},
	} {
		if err := bad.resolve(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestTemplateFor(t *testing.T) {
	plain, signed := &profiles.Partner{Name: "p", Template: profiles.TemplatePlain}, &profiles.Partner{Name: "s", Template: profiles.TemplateSigned}
	target := func(own *ownTemplate, habits *profiles.Partner) string {
		if own != nil {
			if err := own.resolve(); err != nil {
				t.Fatal(err)
			}
		}
		template, err := own.templateFor(habits, "p", make([]byte, 32))
		if err != nil {
			return "error"
		}
		path, _, _ := strings.Cut(template.Target.String(), "?")
		return fmt.Sprintf("%s %v", path, template.Signed)
	}
	for _, c := range []struct {
		own    *ownTemplate
		habits *profiles.Partner
		want   string
	}{
		{nil, plain, "/pb false"},
		{nil, signed, "/pb/signed true"},
		{&ownTemplate{target: "http://me/x"}, plain, "/x false"},
		{&ownTemplate{target: "http://me/x"}, signed, "/x true"},
		{&ownTemplate{url: "http://me/y?c={click_id}"}, plain, "/y false"},
		{&ownTemplate{url: "http://me/y?c={click_id}"}, signed, "error"},
	} {
		if got := target(c.own, c.habits); got != c.want {
			t.Errorf("%+v for %s: %s, want %s", c.own, c.habits.Name, got, c.want)
		}
	}
}

func TestContenders(t *testing.T) {
	for _, c := range []struct {
		flags      compareFlags
		want, base string
	}{
		{compareFlags{}, "monolith edge-redis udp-batch", "monolith"},
		{compareFlags{base: "monolith", vary: "caps=atomic,check-then-insert"}, "monolith[caps=atomic] monolith[caps=check-then-insert]", "monolith[caps=atomic]"},
		{compareFlags{variants: "monolith", vary: "caps=atomic"}, "monolith monolith[caps=atomic]", "monolith"},
		{compareFlags{variants: "monolith,testdata/variant.yaml"}, "monolith mine", "monolith"},
		{compareFlags{variants: "monolith,testdata/variant.yaml", base: "testdata/variant.yaml"}, "monolith mine", "mine"},
		{compareFlags{variants: "monolith,testdata/variant.yaml", base: "mine"}, "monolith mine", "mine"},
	} {
		list, err := c.flags.contenders()
		if err != nil {
			t.Errorf("%+v: %v", c.flags, err)
			continue
		}
		var names []string
		for _, one := range list {
			names = append(names, one.name)
		}
		base, err := c.flags.baseOf(list)
		if got := strings.Join(names, " "); got != c.want || base != c.base || err != nil {
			t.Errorf("%+v: %s against %s, %v", c.flags, got, base, err)
		}
	}
}

func TestColumnsOf(t *testing.T) {
	for _, c := range []struct {
		ledger, text string
		ok           bool
	}{
		{"", "", true}, {"a.ndjson", "", true}, {"a.CSV", "click_id=c", true},
		{"", "click_id=c", false}, {"http://me/ledger", "click_id=c", false}, {"a.csv", "nothing=c", false},
	} {
		if _, err := columnsOf(c.ledger, c.text); (err == nil) != c.ok {
			t.Errorf("%q with %q: %v", c.ledger, c.text, err)
		}
	}
}

func TestClockOf(t *testing.T) {
	for ledger, want := range map[string]string{"http://me:8/x/ledger?a=b": "http://me:8/clock", "export.csv": "", "": ""} {
		if got := clockOf(ledger); got != want {
			t.Errorf("%q: %q", ledger, got)
		}
	}
}

func TestProgressText(t *testing.T) {
	for want, p := range map[string]loadgen.Progress{
		"0/s  p99 so far -  failed attempts 0  10s left":                                                 {P99Ns: -1},
		"50/s  p99 so far 1.23ms  failed attempts 1  8s left":                                            {Elapsed: 2 * time.Second, Intents: 100, Acked: 99, Failed: 1, P99Ns: 1_234_567},
		"120/s  p99 so far unacked  failed attempts 7  everything sent, waiting for answers and retries": {Elapsed: 12 * time.Second, Intents: 1200, Acked: 3, Failed: 7, P99Ns: -1},
		"100/s  p99 so far 123.46ms  failed attempts 0  5s left":                                         {Elapsed: 5 * time.Second, Intents: 500, Acked: 1, P99Ns: 123_456_789},
	} {
		if got := progressText(p, 10*time.Second); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestWatcherPrintsLinesWhenPiped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		w := &watcher{out: &out, label: "run"}
		w.end() // nothing has begun: nothing to end
		w.observe(20*time.Second)(time.Now(), func() loadgen.Progress { return loadgen.Progress{Elapsed: time.Second, Intents: 7, P99Ns: -1} })
		time.Sleep(2*lineEvery + time.Second) // of the bubble's own time
		w.end()
		line := "run  7/s  p99 so far -  failed attempts 0  19s left\n"
		if got := out.String(); got != line+line {
			t.Errorf("%q", got)
		}
	})
}

func TestBar(t *testing.T) {
	var out bytes.Buffer
	w := &watcher{out: &out, label: "run"}
	w.bar(10 * time.Second)(loadgen.Progress{Elapsed: 5 * time.Second, Intents: 500, Acked: 500, P99Ns: 2e6})
	if got := out.String(); !strings.Contains(got, "run  100/s  p99 so far 2ms  failed attempts 0  5s left") || !strings.Contains(got, "50%") {
		t.Errorf("%q", got)
	}
}

func TestByName(t *testing.T) {
	groups := byName([]reports.Variant{{Name: "b"}, {Name: "a"}, {Name: "b"}})
	if len(groups) != 2 || len(groups[0]) != 2 || groups[0][0].Name != "b" || len(groups[1]) != 1 {
		t.Errorf("%v", groups)
	}
}

func TestSettingsCheck(t *testing.T) {
	for _, c := range []struct {
		settle, drainMax time.Duration
		ok               bool
	}{{5, 10, true}, {0, 1, true}, {5, 5, true}, {-1, 5, false}, {6, 5, false}, {0, 0, false}} {
		if err := (&settings{settle: c.settle, drainMax: c.drainMax}).check(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
