package loadgen

import (
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/postbench/postbench/loadgen/transport"
)

// The same partners and the same server over real sockets, in real time: ten
// seeds of half a second.
func TestBooksAndLedgerBalanceOverSockets(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 8))
			s := newShop(t, seed, random)
			server := httptest.NewUnstartedServer(s)
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.Start()
			defer server.Close()

			cfg := shopConfig(t, s, random, 500*time.Millisecond)
			cfg.SleepUntil = SleepUntil
			for i := range cfg.Partners {
				cfg.Partners[i].NewSender = func() Sender {
					return transport.NewHTTP1(transport.HTTP1Config{Address: server.Listener.Addr().String(), Host: "me", CloseEach: i == forgetful})
				}
			}
			o := mustRun(t, t.Context(), cfg)
			server.Close() // no request is recorded any more
			checkThreeBooks(t, o, s.judge(&cfg, o), s)
			// Some attempts end before their request is on the wire, or with one
			// that net/http itself refuses.
			if n := s.counts["requests"]; n == 0 || n > o.Attempts.Total {
				t.Errorf("%d attempts, %d requests", o.Attempts.Total, n)
			}
		})
	}
}

// ServeHTTP does over a socket what the shop does in memory.
func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := s.arrive(r.RequestURI)
	timer := time.NewTimer(a.after)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
		return
	}
	if a.class != "" {
		panic(http.ErrAbortHandler)
	}
	w.WriteHeader(a.status)
	io.WriteString(w, a.body)
}
