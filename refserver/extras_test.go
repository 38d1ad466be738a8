package refserver_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/postbench/postbench/internal/dist"
	"github.com/postbench/postbench/internal/netem"
	"github.com/postbench/postbench/internal/postback"
	"github.com/postbench/postbench/refserver"
	"github.com/postbench/postbench/refserver/cost"
)

const workerTime = 60 * time.Millisecond

// oneWorker is a stage that serves one request after another.
func oneWorker(stage string) cost.Spec {
	return cost.Spec{Stage: stage, Workers: 1, Points: []dist.Point{{Percentile: 50, Ns: int64(workerTime)}}}
}

// Requests that come at once are answered one after another by a stage of one
// worker, and what it did can be asked.
func TestCostsAreSeenInLatency(t *testing.T) {
	t.Parallel()
	each(t, 1, func(t *testing.T, config refserver.Config) {
		stage := map[bool]string{true: "php", false: "edge"}[config.Composition.Uplink == refserver.None]
		config.Costs = []cost.Spec{oneWorker(stage), oneWorker("central")}
		s, at := run(t, config)
		const requests = 4
		start := time.Now()
		var wait sync.WaitGroup
		for i := range requests {
			wait.Go(func() { s.want("GET", sale(fmt.Sprint(i)), "", 200, "OK") })
		}
		wait.Wait()
		if took := time.Since(start); took < requests*workerTime {
			t.Errorf("%d requests took %v, want at least %v", requests, took, requests*workerTime)
		}
		got := stages(t, at.Admin)[stage]
		if got.Count != requests || got.ServedNs != requests*int64(workerTime) || got.MaxQueue < 1 || got.WaitNs < int64(workerTime) || got.Refused != 0 {
			t.Errorf("%+v", got)
		}
		if config.Composition.Uplink == refserver.None {
			return
		}
		eventually(t, "all rows", func() bool { return len(s.ledger()) == requests })
		if central := stages(t, at.Admin)["central"]; central.Count < 1 || central.Count > requests {
			t.Errorf("a commit of a batch enters central once: %+v", central)
		}
	})
}

// Every front reads a partner's own dialect, answers in its words, and refuses
// who does not know the secret.
func TestDialect(t *testing.T) {
	t.Parallel()
	tune := postback.Dialect{
		Partner: "tune-1", Target: "/aff_lsr?transaction_id={click_id}&amount={payout}&adv_sub={txid}&security_token={token}",
		Auth: postback.AuthToken, Secret: secret, OK: "success=true;",
	}
	each(t, 1, func(t *testing.T, config refserver.Config) {
		config.Dialects = []postback.Dialect{tune}
		s, _ := run(t, config)
		const target = "/p/tune-1/aff_lsr?transaction_id=f-1&amount=1.5&adv_sub=t&security_token="
		s.want("GET", target+fmt.Sprintf("%x", secret[:16]), "", 200, "success=true;")
		for _, forged := range []string{target + fmt.Sprintf("%x", secret[1:17]), "/p/stranger/aff_lsr?transaction_id=f-1"} {
			if response, body := s.do("GET", forged, ""); response.StatusCode != 403 {
				t.Errorf("%s: %d %s, want 403", forged, response.StatusCode, body)
			}
		}
		var rows []map[string]any
		eventually(t, "the row", func() bool { rows = s.ledger(); return len(rows) > 0 })
		if len(rows) != 1 || rows[0]["txid"] != "t" || rows[0]["payout"] != "1.5" {
			t.Errorf("rows %v", rows)
		}
	})
}

// A slow server answers that much later while it lasts, all its edges alike.
func TestSlow(t *testing.T) {
	t.Parallel()
	each(t, 2, func(t *testing.T, config refserver.Config) {
		s, at := run(t, config)
		const late, requests = 300 * time.Millisecond, 8
		began := time.Now()
		tell(t, at.Admin, "/chaos", fmt.Sprintf(`{"do":"slow","add_ns":%d,"for_ns":%d}`, late, time.Hour), 204)
		var wait sync.WaitGroup
		for i := range requests { // connections of their own: to both edges
			wait.Go(func() {
				start := time.Now()
				s.want("GET", sale(fmt.Sprint("slow-", i)), "", 200, "OK")
				if took := time.Since(start); took < late {
					t.Errorf("answered after %v, want at least %v", took, late)
				}
			})
		}
		wait.Wait()
		tell(t, at.Admin, "/chaos", `{"do":"slow"}`, 204)
		begin := time.Now()
		for i := range requests {
			s.want("GET", sale(fmt.Sprint("fast-", i)), "", 200, "OK")
		}
		if took := time.Since(begin); took >= requests*late {
			t.Errorf("still slow: %v for %d one after another (it began %v ago)", took, requests, time.Since(began))
		}
		tell(t, at.Admin, "/chaos", `{"do":"slow","add_ns":-1}`, 400)
		tell(t, at.Admin, "/chaos", `{"do":"explode"}`, 400)
		if response, _ := s.do("POST", "/chaos", `{"do":"slow"}`); response.StatusCode != http.StatusNotFound && response.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("partners can ask for faults: %d", response.StatusCode)
		}
	})
}

// What an edge has answered comes to central one way later.
func TestUplink(t *testing.T) {
	t.Parallel()
	const roundTrip = 400 * time.Millisecond
	for _, name := range []string{"udp-batch", "edge-redis"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := variant(t, name, 1)
			config.Uplink = &netem.PathSpec{Name: "far", RTTNs: int64(roundTrip), Jitter: dist.Constant(1)}
			s, _ := run(t, config)
			start, rows := time.Now(), 1
			// The answer does not wait for the way; on a busy machine one of
			// several tries shows it.
			for ; ; rows++ {
				start = time.Now()
				s.want("GET", sale(fmt.Sprint("t", rows)), "", 200, "OK")
				if answered := time.Since(start); answered <= roundTrip/2 {
					break
				} else if rows == 5 {
					t.Fatalf("answered after %v, not before half a round trip", answered)
				}
			}
			eventually(t, "the row", func() bool { return len(s.ledger()) == rows })
			if took := time.Since(start); took < roundTrip/2 {
				t.Errorf("recorded after %v, half a round trip is %v", took, roundTrip/2)
			}
		})
	}
}
