package refserver_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/postbench/postbench/refserver"
)

// TestCapWindows sends more than a cap of 5 a second through some seconds of
// real time, one postback after another: every second the whole cap is billed
// and no more, and the cap's status follows.
func TestCapWindows(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, axis, choice string }{
		{"monolith", "caps", refserver.CapsCheckThenInsert}, {"monolith", "caps", refserver.CapsAtomic},
		{"udp-batch", "caps", refserver.CapsAtomic}, {"edge-redis", "caps", refserver.CapsAtomic},
	} {
		t.Run(test.name+" "+test.choice, func(t *testing.T) {
			t.Parallel()
			s, _ := run(t, variant(t, test.name, 1, test.axis, test.choice))
			s.want("POST", "/population/offers", "offer_id,cap,payout,currency,attribution_window_s,cap_window_s\ncapped,5,12.5,EUR,0,1\n", 200, `{"loaded":1}`)
			sent, closed := fillWindows(s)
			eventually(t, "all rows", func() bool { return len(s.ledger()) == sent })
			requireWindows(t, s.ledger(), closed)
		})
	}
}

// fillWindows returns how many postbacks it has sent, and in which windows the
// cap was seen closed.
func fillWindows(s *server) (sent int, closed map[string]bool) {
	closed = map[string]bool{}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(3200 * time.Millisecond); time.Now().Before(end); <-ticker.C {
		s.want("GET", fmt.Sprintf("/pb?click_id=c-1&event=sale&payout=1&currency=EUR&txid=t-%d", sent), "", 200, "OK")
		sent++
		var status struct {
			Cap, Billable int64
			Closed        bool
			CapWindow     string `json:"cap_window"`
		}
		if _, body := s.do("GET", "/offers/capped/cap", ""); json.Unmarshal([]byte(body), &status) != nil ||
			status.Closed != (status.Billable >= 5) || status.Billable > 5 || status.CapWindow == "" {
			s.t.Errorf("cap status %s", body)
		}
		if status.Closed {
			closed[status.CapWindow] = true
		}
	}
	return sent, closed
}

func requireWindows(t *testing.T, rows []map[string]any, closed map[string]bool) {
	t.Helper()
	billed, received := map[string]int{}, map[string]int{}
	for _, row := range rows {
		window, _ := row["cap_window"].(string)
		receivedUnixNs, _ := row["received_unix_ns"].(float64)
		// A float64 holds Unix ns to some hundred ns: no row lies so near to a second's end but by chance.
		if at := time.Unix(0, int64(receivedUnixNs)).UTC(); at.Format(time.RFC3339) != window && at.Sub(at.Round(time.Second)).Abs() > time.Microsecond {
			t.Errorf("received %v in window %q", at, window)
		}
		received[window]++
		if row["verdict"] == "billable" {
			billed[window]++
		}
	}
	if len(received) < 3 || len(closed) < 2 {
		t.Errorf("rows in %d windows, %d of them seen closed, of more than 3 s", len(received), len(closed))
	}
	for window, n := range received {
		if billed[window] != min(5, n) {
			t.Errorf("window %s: %d billed of %d, cap 5", window, billed[window], n)
		}
	}
	for window := range closed {
		if billed[window] != 5 {
			t.Errorf("window %s was seen closed, %d billed", window, billed[window])
		}
	}
}
