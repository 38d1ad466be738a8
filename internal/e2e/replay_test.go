package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/labtarget"
)

// accessLog has 10 requests in each of some seconds, and is written as servers
// do: when a request ends, so that seconds may be out of order.
func accessLog(seconds int) (log string, targets []string) {
	var lines []string
	for s := range seconds {
		for i := range 10 {
			target := fmt.Sprintf("/pb?click_id=c%d-%d&payout=1", s, i)
			targets = append(targets, target)
			lines = append(lines, fmt.Sprintf(`192.0.2.1 - - [10/Oct/2026:13:55:%02d +0000] "GET %s HTTP/1.1" 200 2 "-" "network/1.0"`, 30+s, target))
		}
	}
	lines[9], lines[10] = lines[10], lines[9]
	return strings.Join(lines, "\n") + "\n", targets
}

func TestReplayOfAnAccessLog(t *testing.T) {
	t.Parallel()
	log, targets := accessLog(3)
	file := write(t, "access.log", log)
	for _, c := range []struct {
		args []string
		last time.Duration // when the last request was due
	}{
		{nil, 2900 * time.Millisecond},
		{[]string{"--speed", "2x"}, 1450 * time.Millisecond},
	} {
		target := lab(t, labtarget.Options{KeepRequests: 100})
		p := play(t, append([]string{"run", "--target", target.URL(), "--replay", file, "--partner", write(t, "one.yaml", partnerFile("one", "connections: 1"))}, c.args...)...)
		var got []string
		for _, r := range target.Requests() {
			got = append(got, r.Target)
		}
		if !slices.Equal(got, targets) {
			t.Errorf("%v: on the wire %q", c.args, got)
		}
		if last := target.Requests()[len(got)-1].At; last < c.last-50*time.Millisecond || last > c.last+1300*time.Millisecond {
			t.Errorf("%v: the last request came after %v, want about %v", c.args, last, c.last)
		}
		if l := p.result.Variants[0].Ledger; l.Intents != 30 || l.Acked != 30 || l.Judged() {
			t.Errorf("%v: %d intents, %d acked, judged %v", c.args, l.Intents, l.Acked, l.Judged())
		}
	}
}

func TestReplayOfVegetaTargets(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"http": "GET http://elsewhere/pb?click_id=a\nX-Network: one\n\nGET http://elsewhere/pb?click_id=b\n",
		"json": `{"method":"GET","url":"http://elsewhere/pb?click_id=a","header":{"X-Network":["one"]}}` + "\n" +
			`{"method":"POST","url":"/pb?click_id=b","body":"Ym9keQ=="}` + "\n",
	} {
		target := lab(t, labtarget.Options{KeepRequests: 100})
		p := play(t, "run", "--target", target.URL(), "--replay", write(t, "targets", text), "--rate", "50", "--duration", "100ms",
			"--partner", write(t, "one.yaml", partnerFile("one", "connections: 1")))
		requests := target.Requests()
		if len(requests) != 5 || p.result.Variants[0].Ledger.Acked != 5 {
			t.Errorf("%s: %d requests, want the two in turn, 5 in all", name, len(requests))
			continue
		}
		if first, last := requests[0], requests[4]; first.Raw != last.Raw || first.Target != "/pb?click_id=a" || !strings.Contains(first.Raw, "\r\nX-Network: one\r\n") {
			t.Errorf("%s: first %q, last %q", name, first.Raw, last.Raw)
		}
		if second := requests[1]; second.Target != "/pb?click_id=b" || strings.HasSuffix(second.Raw, "\r\n\r\nbody") != (name == "json") {
			t.Errorf("%s: second %q", name, second.Raw)
		}
	}
}
